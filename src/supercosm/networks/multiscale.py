"""The multi-scale network shared by every family: a U-Net with an output at every level.

It is a convolution over cells of the high-resolution lattice, without any normalisation over space, so what
it says about a cell depends on a bounded neighbourhood (`reach`) and not on the tile it was computed in.
Numbers that hold for the whole region, like the time of a diffusion or the scale factor, modulate every block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from supercosm.model_settings import Network

EMBEDDING = 64  # size of the vector that modulates the blocks

Noise = Callable[[int, int, Tensor], Tensor]
"""noise(index, stride, like): white noise (b, 1, …) for one injection; stride in high-resolution cells."""


def fold(x: Tensor, patch: int) -> Tensor:
    """Fold patches of cells into channels: (b, c, p·n, …) → (b, c pᵈ, n, …)."""
    b, c, *sizes = x.shape
    d = len(sizes)
    split = [part for size in sizes for part in (size // patch, patch)]
    x = x.reshape(b, c, *split)
    cells = [2 + 2 * axis for axis in range(d)]
    inner = [3 + 2 * axis for axis in range(d)]
    return x.permute(0, 1, *inner, *cells).reshape(b, c * patch**d, *(size // patch for size in sizes))


def unfold(x: Tensor, patch: int) -> Tensor:
    """Invert `fold`: (b, c pᵈ, n, …) → (b, c, p·n, …)."""
    b, c, *sizes = x.shape
    d = len(sizes)
    x = x.reshape(b, c // patch**d, *([patch] * d), *sizes)
    order = [index for axis in range(d) for index in (2 + d + axis, 2 + axis)]
    return x.permute(0, 1, *order).reshape(b, c // patch**d, *(size * patch for size in sizes))


def wrap(x: Tensor) -> Tensor:
    """Add a periodic cell at both ends of every axis: (b, c, n, …) → (b, c, n + 2, …).

    The outcome is laid out channels last: the channels-first copy that circular padding makes would slow the
    convolution of it down on a CPU, several times.
    """
    dimensions = x.ndim - 2
    shape = (*x.shape[:2], *(size + 2 for size in x.shape[2:]))
    padded = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_layout(dimensions))
    padded[(..., *(slice(1, -1),) * dimensions)] = x
    for axis in range(2, x.ndim):  # edges and corners are whole once the last axis is
        padded.select(axis, 0).copy_(padded.select(axis, -2))
        padded.select(axis, -1).copy_(padded.select(axis, 1))
    return padded


class Embedding(nn.Module):
    """Numbers of order one as a vector: sines and cosines of eight wavelengths each, then two dense layers.

    The last few, `smooth`, go in as they are: a network that is trained at few values of them shall not tell apart
    what lies between.
    """

    waves = 8

    def __init__(self, numbers: int, smooth: int, size: int) -> None:
        super().__init__()
        self.waving = numbers - smooth
        seen = self.waving * 2 * self.waves + smooth
        self.layers = nn.Sequential(nn.Linear(seen, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, told: Tensor) -> Tensor:
        """Map (b, numbers) to (b, size); the longest wave is of length 8, the shortest of 1/16."""
        waving, smooth = told[:, : self.waving], told[:, self.waving :]
        angles = waving[:, :, None] * (math.pi / 4) * 2 ** torch.arange(self.waves, device=told.device)
        waves = torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)
        return functional.silu(self.layers(torch.cat([waves, smooth], dim=1)))


class Block(nn.Module):
    """Residual block: 3ᵈ convolution, optional noise and modulation, SiLU, pointwise convolution that starts at zero.

    The noise has one learnt amplitude per channel, zero at first (Karras et al. 2019, section 2; Li et al.
    2021). The modulation is a scale and a shift per channel, one and zero at first (FiLM, Perez et al. 2018).
    """

    def __init__(self, channels: int, dimensions: int, noisy: bool, embedding: int = 0) -> None:
        super().__init__()
        conv = _conv(dimensions)
        self.spatial = conv(channels, channels, 3, padding=1)
        self.pointwise = conv(channels, channels, 1)
        nn.init.zeros_(self.pointwise.weight)
        nn.init.zeros_(self.pointwise.bias)
        self.amplitude = nn.Parameter(torch.zeros(1, channels, *(1,) * dimensions)) if noisy else None
        self.modulation = nn.Linear(embedding, 2 * channels) if embedding else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        x: Tensor,
        noise: Callable[[Tensor], Tensor] | None,
        periodic: bool = False,
        embedded: Tensor | None = None,
    ) -> Tensor:
        """Transform (b, c, …) to the same shape; `noise(like)` gives (b, 1, …); `embedded`: (b, embedding)."""
        h = _convolve(self.spatial, x, periodic)
        if self.amplitude is not None and noise is not None:
            h = h + self.amplitude * noise(h)
        if self.modulation is not None and embedded is not None:
            scale, shift = self.modulation(embedded).view(*embedded.shape[:1], -1, *(1,) * (x.ndim - 2)).chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return x + self.pointwise(functional.silu(h))


class MultiScale(nn.Module):
    """U-Net over folded patches whose decoder adds an output at every level, coarse to fine."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: int,
        levels: int,
        blocks: int,
        patch: int,
        dimensions: int = 3,
        noisy: bool = False,
        told: int = 0,
        smooth: int = 0,
    ) -> None:
        """Build for so many channels in and out at high-resolution cells; see config.Network.

        told: how many numbers it is told. smooth: how many of them, the last ones, it depends on smoothly.
        """
        super().__init__()
        self.recompute = False  # activations of the blocks, where gradients need them: less memory, more time
        embedding = EMBEDDING if told else 0
        self.embedding = Embedding(told, smooth, embedding) if told else None
        conv, transposed = _conv(dimensions), _transposed(dimensions)
        widths = [channels * 2**level for level in range(levels)]
        self.shape = Network.model_construct(channels=channels, levels=levels, blocks=blocks, patch=patch)
        self.patch, self.levels, self.dimensions = patch, levels, dimensions
        self.stem = conv(inputs * patch**dimensions, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(_blocks(blocks, w, dimensions, noisy, embedding) for w in widths)
        self.decoder = nn.ModuleList(_blocks(blocks, w, dimensions, noisy, embedding) for w in widths[:-1])
        self.down = nn.ModuleList(conv(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(transposed(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.heads = nn.ModuleList(
            conv(w, outputs * (patch * 2**level) ** dimensions, 1) for level, w in enumerate(widths)
        )
        for head in self.heads:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    @property
    def unit(self) -> int:
        """Sides and origins of what it is applied to are multiples of this many high-resolution cells."""
        return self.shape.unit

    @property
    def reach(self) -> int:
        """Cells beyond a region that can influence the output inside it."""
        return self.shape.reach

    def forward(
        self, x: Tensor, noise: Noise | None = None, periodic: bool = False, told: Tensor | None = None
    ) -> Tensor:
        """Map (b, inputs, n, …) to (b, outputs, n, …), n a multiple of `unit`; zeros lie beyond, or x again.

        told: numbers that modulate the blocks, (b, numbers).
        """
        embedded = None if self.embedding is None else self.embedding(told)
        x = fold(x, self.patch).contiguous(memory_format=_layout(self.dimensions))
        x = _convolve(self.stem, x, periodic)
        skips, site = [], 0
        for level in range(self.levels):
            for block in self.encoder[level]:
                injected = _injection(noise, site, self.patch * 2**level)
                x, site = self._through(block, x, injected, periodic, embedded), site + 1
            if level < self.levels - 1:
                skips.append(x)
                x = self.down[level](x)
        output = unfold(self.heads[-1](x), self.unit)
        for level in reversed(range(self.levels - 1)):
            x = self.up[level](x) + skips[level]
            for block in self.decoder[level]:
                injected = _injection(noise, site, self.patch * 2**level)
                x, site = self._through(block, x, injected, periodic, embedded), site + 1
            output = output + unfold(self.heads[level](x), self.patch * 2**level)
        return output

    def _through(self, block: Block, *arguments: Any) -> Tensor:
        """Apply a block; what it computes on the way is kept for the gradients, or computed again for them."""
        if self.recompute and torch.is_grad_enabled():  # no generator to restore: its noise is a function
            return checkpoint(block, *arguments, use_reentrant=False, preserve_rng_state=False)
        return block(*arguments)


def _convolve(layer: nn.Module, x: Tensor, periodic: bool) -> Tensor:
    """Apply a 3ᵈ convolution, made to pad by a zero cell, to a tile or to a periodic box."""
    if not periodic:
        return layer(x)
    convolution = functional.conv3d if x.ndim == 5 else functional.conv2d
    return convolution(wrap(x), layer.weight, layer.bias)


def _injection(noise: Noise | None, site: int, stride: int) -> Callable[[Tensor], Tensor] | None:
    return None if noise is None else lambda like: noise(site, stride, like)


def _blocks(count: int, channels: int, dimensions: int, noisy: bool, embedding: int) -> nn.ModuleList:
    return nn.ModuleList(Block(channels, dimensions, noisy, embedding) for _ in range(count))


def _conv(dimensions: int) -> type[nn.Module]:
    return nn.Conv3d if dimensions == 3 else nn.Conv2d


def _transposed(dimensions: int) -> type[nn.Module]:
    return nn.ConvTranspose3d if dimensions == 3 else nn.ConvTranspose2d


def _layout(dimensions: int) -> torch.memory_format:
    return torch.channels_last_3d if dimensions == 3 else torch.channels_last
