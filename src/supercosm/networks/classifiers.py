"""Networks that tell classes of a field apart: normalised patches (b, 1, p, …) in, a logit for each class out.

All of them have `first`, the convolution whose filters can be looked at, and `last`, the layer whose maps (b, c, q, …)
decide, which Grad-CAM looks at.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from supercosm.networks.multiscale import _conv, _convolve, _layout, fold


class Residual(nn.Module):
    """Small residual network (He et al. 2016), periodic where what it sees is a whole period of the box.

    The mean over all cells in the end makes the classes independent of where in the patch things are; with a `side`,
    what is told is of the centre, and every cell has its own weight. Batches are normalised, single patches are not:
    the amplitude of a field is what tells universes apart.
    """

    def __init__(
        self,
        classes: int,
        *,
        channels: int,
        levels: int,
        patch: int,
        dimensions: int = 2,
        periodic: bool = False,
        side: int | None = None,
    ) -> None:
        """Build for `levels` resolutions, the first of patches of so many cells, each with twice the channels."""
        super().__init__()
        conv = _conv(dimensions)
        widths = [channels * 2**level for level in range(levels)]
        self.patch, self.dimensions, self.periodic, self.centred = patch, dimensions, periodic, side is not None
        left = (side // (patch * 2 ** (levels - 1))) ** dimensions if side else 1
        self.first = conv(patch**dimensions, widths[0], 3, padding=1, bias=False)
        self.norm = _norm(dimensions, widths[0])
        self.blocks = nn.ModuleList(ResidualBlock(width, dimensions, periodic) for width in widths)
        self.down = nn.ModuleList(conv(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.head = nn.Linear(widths[-1] * left, classes)

    @property
    def last(self) -> nn.Module:
        """The layer whose maps decide."""
        return self.blocks[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, 1, p, …), p a multiple of patch × 2^(levels - 1), to logits (b, classes)."""
        x = fold(x, self.patch).contiguous(memory_format=_layout(self.dimensions))
        x = functional.relu(self.norm(_convolve(self.first, x, self.periodic)))
        for level, block in enumerate(self.blocks):
            x = block(x)
            if level < len(self.down):
                x = self.down[level](x)
        return self.head(x.flatten(1) if self.centred else x.flatten(2).mean(dim=2))


class ResidualBlock(nn.Module):
    """Two normalised 3ᵈ convolutions beside the identity, which they leave alone at first."""

    def __init__(self, channels: int, dimensions: int, periodic: bool) -> None:
        super().__init__()
        conv = _conv(dimensions)
        self.periodic = periodic
        self.convolutions = nn.ModuleList(conv(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(_norm(dimensions, channels) for _ in range(2))
        nn.init.zeros_(self.norms[1].weight)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (b, c, n, …) to the same shape."""
        h = functional.relu(self.norms[0](_convolve(self.convolutions[0], x, self.periodic)))
        return functional.relu(x + self.norms[1](_convolve(self.convolutions[1], h, self.periodic)))


class Lectures(nn.Module):
    """The CNN of textbooks on digits: three convolutions without padding, two poolings, a dense layer.

    Conv 32 (10×10) – Conv 64 (3×3) – max-pool – Conv 32 (3×3) – max-pool – flatten – dense 128 – softmax, ReLU
    throughout; the softmax is left to the loss, which is exact in logits.
    """

    def __init__(self, classes: int, *, side: int) -> None:
        """Build for patches of `side` cells, at least 19."""
        super().__init__()
        self.first = nn.Conv2d(1, 32, 10)
        self.second = nn.Conv2d(32, 64, 3)
        self.third = nn.Conv2d(64, 32, 3)
        left = (((side - 9 - 2) // 2) - 2) // 2
        self.dense = nn.Linear(32 * left**2, 128)
        self.head = nn.Linear(128, classes)

    @property
    def last(self) -> nn.Module:
        """The layer whose maps decide."""
        return self.third

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, 1, side, side) to logits (b, classes)."""
        x = functional.relu(self.second(functional.relu(self.first(x))))
        x = functional.relu(self.third(functional.max_pool2d(x, 2)))
        x = functional.max_pool2d(x, 2).flatten(1)
        return self.head(functional.relu(self.dense(x)))


def parameters(network: nn.Module) -> int:
    """Count the trained numbers of a network."""
    return sum(p.numel() for p in network.parameters())


def _norm(dimensions: int, channels: int) -> nn.Module:
    """Normalise batches; the running means follow fast, since trainings have some hundred steps only."""
    return (nn.BatchNorm3d if dimensions == 3 else nn.BatchNorm2d)(channels, momentum=0.3)
