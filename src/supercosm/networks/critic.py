"""The patch critic: a score per neighbourhood instead of one per crop (Isola et al. 2017, section 3.2.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from supercosm.networks.multiscale import _conv, _layout, fold


class PatchCritic(nn.Module):
    """Convolutions over folded patches with one halving of the resolution; no normalisation (WGAN-GP)."""

    def __init__(self, inputs: int, *, channels: int, patch: int, dimensions: int = 3) -> None:
        """Build for `inputs` channels at high-resolution cells: up-sampled input, output, density."""
        super().__init__()
        conv = _conv(dimensions)
        self.patch, self.dimensions = patch, dimensions
        self.stem = conv(inputs * patch**dimensions, channels, 3, padding=1)
        self.fine = conv(channels, channels, 3, padding=1)
        self.down = conv(channels, 2 * channels, 2, stride=2)
        self.coarse = conv(2 * channels, 2 * channels, 3, padding=1)
        self.score = nn.ModuleList([conv(channels, 1, 1), conv(2 * channels, 1, 1)])

    def forward(self, x: Tensor) -> Tensor:
        """Score (b, inputs, n, …), n a multiple of 2 × patch: (b, scores), fine and coarse side by side."""
        x = self.stem(fold(x, self.patch).contiguous(memory_format=_layout(self.dimensions)))
        x = functional.leaky_relu(x, 0.2)
        fine = x + functional.leaky_relu(self.fine(x), 0.2)
        x = functional.leaky_relu(self.down(fine), 0.2)
        coarse = x + functional.leaky_relu(self.coarse(x), 0.2)
        scores = [head(level).flatten(1) for head, level in zip(self.score, (fine, coarse), strict=True)]
        return _balanced(*scores)


def _balanced(fine: Tensor, coarse: Tensor) -> Tensor:
    """Repeat the coarse scores so that either resolution has half the say in a mean."""
    return torch.cat([fine, coarse.repeat_interleave(fine.shape[1] // coarse.shape[1], dim=1)], dim=1)
