"""Networks that describe a patch of a field by few numbers: `encode` gives the latents, `decode` the patch again.

All of them take and give normalised patches (b, 1, p, …) of two or three dimensions. Latents are (b, k). Those of
blocks (`Linear`, `Convolutional`) take any whole number of blocks per side, too, up to a whole box: (b, 1, m p, …) to
(b, k, m, …).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from supercosm.networks.multiscale import MultiScale, fold, unfold


class Downsampling(nn.Module):
    """The mean of s cells per side, and linear interpolation back: how much is due to resolution alone."""

    def __init__(self, patch: int, dimensions: int, side: int) -> None:
        """`side`: numbers per side, so that latents = side^dimensions."""
        super().__init__()
        self.patch, self.dimensions, self.side = patch, dimensions, side

    def encode(self, x: Tensor) -> Tensor:
        """Average (b, 1, p, …) to (b, side^d)."""
        pool = functional.adaptive_avg_pool3d if self.dimensions == 3 else functional.adaptive_avg_pool2d
        return pool(x, self.side).flatten(1)

    def decode(self, z: Tensor) -> Tensor:
        """Interpolate (b, side^d) to (b, 1, p, …)."""
        coarse = z.reshape(len(z), 1, *(self.side,) * self.dimensions)
        mode = "trilinear" if self.dimensions == 3 else "bilinear"
        return functional.interpolate(coarse, size=(self.patch,) * self.dimensions, mode=mode, align_corners=False)


class Linear(nn.Module):
    """Principal components of blocks: amplitudes of orthonormal patterns.

    The best linear code of so many numbers (Pearson 1901; Hotelling 1933).
    """

    def __init__(self, patch: int, dimensions: int, latents: int) -> None:
        super().__init__()
        self.patch, self.dimensions = patch, dimensions
        self.register_buffer("mean", torch.zeros(patch**dimensions))
        self.register_buffer("components", torch.zeros(latents, patch**dimensions))

    def encode(self, x: Tensor) -> Tensor:
        """Project blocks (b, 1, m p, …) onto the components: (b, k, m, …), (b, k) for one block."""
        return project(x, self.patch, self.components, self.mean)

    def decode(self, z: Tensor) -> Tensor:
        """Sum the components: (b, k, m, …) to (b, 1, m p, …)."""
        return compose(z, self.patch, self.dimensions, self.components, self.mean)

    @torch.no_grad()
    def fit(self, x: Tensor) -> Tensor:
        """Take the components from patches (n, 1, p, …); return their variances (k,), largest first."""
        flat = x.flatten(1).double()
        mean = flat.mean(dim=0)
        values, vectors = torch.linalg.eigh(torch.cov(flat.T))
        k = len(self.components)
        components = vectors.flip(1)[:, :k].T
        # the sign of an eigenvector is arbitrary: the largest entry is made positive, on every machine
        peak = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
        self.components.copy_(components * peak.sign())
        self.mean.copy_(mean)
        return values.flip(0)[:k]


class Dense(nn.Module):
    """Fully connected autoencoder, ReLU inside: p^d – hidden… – latents – …hidden – p^d."""

    def __init__(
        self,
        patch: int,
        dimensions: int,
        hidden: Sequence[int],
        latents: int,
        bottleneck: Literal["relu", "linear"],
        ending: Literal["linear", "sigmoid"],
    ) -> None:
        super().__init__()
        self.patch, self.dimensions, self.ending = patch, dimensions, ending
        widths = [patch**dimensions, *hidden, latents]
        self.encoder = _layers(widths, bottleneck == "relu")
        self.decoder = _layers(widths[::-1], False)

    def encode(self, x: Tensor) -> Tensor:
        """(b, 1, p, …) to (b, k)."""
        return self.encoder(x.flatten(1))

    def decode(self, z: Tensor) -> Tensor:
        """(b, k) to (b, 1, p, …), in (0, 1) for a sigmoid ending."""
        x = self.decode_logits(z)
        return torch.sigmoid(x) if self.ending == "sigmoid" else x

    def decode_logits(self, z: Tensor) -> Tensor:
        """Decode without the ending, from which cross-entropy is computed without overflow."""
        return self.decoder(z).reshape(len(z), 1, *(self.patch,) * self.dimensions)


class Convolutional(nn.Module):
    """Autoencoder that starts as the principal components and learns what they miss.

    encode: z = A (x + E(x) - mean) / s; decode: y = B s z + mean, x̂ = y + D(y). A and B start as the principal
    components of deviations s, the U-Nets E and D, whose last layers are zero at first, at nothing: training starts
    from PCA and goes on from there. Everything is a convolution over blocks, periodic where one is the whole box.
    """

    def __init__(
        self,
        patch: int,
        dimensions: int,
        latents: int,
        network: dict[str, int],
        variational: bool = False,
        periodic: bool = False,
    ) -> None:
        """`network`: channels, levels, blocks and patch of E and D, as in the settings."""
        super().__init__()
        self.linear = Linear(patch, dimensions, latents)
        self.analysis = nn.Parameter(torch.zeros_like(self.linear.components))
        self.synthesis = nn.Parameter(torch.zeros_like(self.linear.components))
        self.register_buffer("deviation", torch.ones(latents))
        self.before = MultiScale(1, 2 if variational else 1, dimensions=dimensions, **network)
        self.after = MultiScale(1, 1, dimensions=dimensions, **network)
        if variational:
            self.spread = nn.Parameter(torch.zeros_like(self.linear.components))
            self.log_variance = nn.Parameter(torch.full((latents,), -2.0))
        self.patch, self.dimensions = patch, dimensions
        self.variational, self.periodic = variational, periodic

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Start from the principal components of patches (n, 1, p, …)."""
        variances = self.linear.fit(x)
        self.deviation.copy_(variances.clamp(min=1e-12).sqrt())
        self.analysis.copy_(self.linear.components)
        self.synthesis.copy_(self.linear.components)

    def encode(self, x: Tensor) -> Tensor:
        """(b, 1, m p, …) to (b, k, m, …), the mean of a Gaussian for a variational coder; (b, k) for one block."""
        return self.posterior(x)[0]

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the latents; the latter is constant where the coder is not variational."""
        corrections = self.before(x, periodic=self.periodic)
        mean = self._project(x + corrections[:, :1], self.analysis, self.linear.mean)
        if not self.variational:
            return mean, torch.zeros_like(mean)
        shape = (-1, *(1,) * (mean.ndim - 2))
        spread = self._project(corrections[:, 1:], self.spread, None)
        return mean, (self.log_variance.reshape(shape) + spread).clamp(-12, 4)

    @torch.no_grad()
    def standardise(self, deviation: Tensor) -> None:
        """Give latents of these standard deviations (k,) a deviation of one, as the prior has, and nothing else."""
        self.deviation *= deviation
        if self.variational:
            self.spread *= deviation[:, None]
            self.log_variance -= 2 * deviation.log()

    def _project(self, x: Tensor, kernels: Tensor, mean: Tensor | None) -> Tensor:
        return project(x, self.patch, kernels / self.deviation[:, None], mean)

    def decode(self, z: Tensor) -> Tensor:
        """(b, k, m, …) to (b, 1, m p, …)."""
        kernels = self.synthesis * self.deviation[:, None]
        y = compose(z, self.patch, self.dimensions, kernels, self.linear.mean)
        return y + self.after(y, periodic=self.periodic)


def project(x: Tensor, patch: int, kernels: Tensor, mean: Tensor | None) -> Tensor:
    """Return the sums of blocks (b, 1, m p, …), about a mean block, weighted by kernels (k, pᵈ): (b, k, m, …).

    A single block a side gives (b, k).
    """
    cells = fold(x, patch)  # (b, pᵈ, m, …)
    flat = cells.flatten(2)
    if mean is not None:
        flat = flat - mean[:, None]
    z = (kernels @ flat).reshape(len(x), len(kernels), *cells.shape[2:])
    return z.flatten(1) if cells.shape[2:].numel() == 1 else z


def compose(z: Tensor, patch: int, dimensions: int, kernels: Tensor, mean: Tensor) -> Tensor:
    """Return the blocks (b, 1, m p, …) that latents (b, k, m, …), or (b, k), make of kernels (k, pᵈ) and a mean."""
    z = z.reshape(*z.shape, *(1,) * dimensions) if z.ndim == 2 else z
    cells = kernels.T @ z.flatten(2) + mean[:, None]
    return unfold(cells.reshape(len(z), -1, *z.shape[2:]), patch)


def _layers(widths: Sequence[int], activate_last: bool) -> nn.Sequential:
    """Stack dense layers with ReLU between them, started as Keras does (Glorot & Bengio 2010)."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        linear = nn.Linear(a, b)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*(layers if activate_last else layers[:-1]))
