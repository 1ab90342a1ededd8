"""Conditional normalizing flow: an invertible map of the truth to white noise, so that its likelihood is known exactly.

The residual to what a regression says is split into Haar's wavelets, whose determinant is one, and described from
coarse to fine: p(residual) = p(coarsest) Π p(details | coarser) (Yu et al. 2020). At every level a shift and a scale
that depend on the input and the coarser fields make a Gaussian of any variance from place to place; couplings of one
half of the channels, given the other half, make it any distribution (Dinh et al. 2017). What scales them is a small
network of a few cells of that level.

A state between the passes of a sample holds the residual, with noise where nothing is made of it yet, and the
regression. Haar's transform of white noise is white noise, so the two need no telling apart.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from supercosm.family_settings import Flow
from supercosm.networks.bijections import Affine, Spline, haar, inverse_haar
from supercosm.networks.multiscale import MultiScale, fold
from supercosm.schemes.scheme import OWN_NOISE, Region, Scheme

EVERY, NONE = slice(None), slice(0)
TRANSFORMS = {"affine": Affine, "spline": Spline}


def log_likelihood(
    network: CouplingFlow, seen: Tensor, y: Tensor, periodic: bool = False, told: Tensor | None = None
) -> Tensor:
    """Return ln p(y | seen) of normalised residuals (b, outputs, n, …), (b,) [nats].

    seen, y: what `Features.encode` and `Features.target` return. periodic: the region is a whole box; elsewhere the
    network sees zeros beyond it. told: numbers that a model is told, (b, numbers).
    """
    return network.log_density(Region(seen, periodic=periodic, told=told), y).flatten(1).sum(1)


def halves(channels: int, number: int) -> tuple[slice, slice]:
    """Return which channels coupling `number` changes, and which ones tell it how: all are changed in two in a row."""
    middle = channels // 2
    by_turns, by_order = (slice(0, None, 2), slice(1, None, 2)), (slice(middle), slice(middle, None))
    first, second = by_order if number // 2 % 2 else by_turns
    return (second, first) if number % 2 else (first, second)


class Coupling(nn.Module):
    """Maps some channels, each number by itself, as the input and other channels say; all of them, given none."""

    def __init__(self, width: int, inputs: int, parts: tuple[slice, slice], transform: str, **shape: int) -> None:
        """`parts`: which of `width` channels are mapped, and which are seen beside so many inputs."""
        super().__init__()
        self.active, self.passive = parts
        self.transform = TRANSFORMS[transform]
        active, passive = (len(range(width)[part]) for part in parts)
        self.conditioner = MultiScale(inputs + passive, active * self.transform.numbers, levels=1, patch=1, **shape)

    def encode(self, x: Tensor, context: Tensor, region: Region) -> tuple[Tensor, Tensor]:
        """Return z (b, channels, n, …), and per cell the sum over channels of ln |dz/dx|, (b, n, …)."""
        mapped, grown = self._map(x, context, region).encode(x[:, self.active])
        return self._with(x, mapped), grown.sum(dim=1)

    def decode(self, z: Tensor, context: Tensor, region: Region) -> Tensor:
        """Return x."""
        return self._with(z, self._map(z, context, region).decode(z[:, self.active]))

    def _map(self, x: Tensor, context: Tensor, region: Region) -> Affine | Spline:
        seen = torch.cat([context, x[:, self.passive]], dim=1)
        return self.transform.of(self.conditioner(seen, None, region.periodic, region.told).to(x.dtype))

    def _with(self, x: Tensor, mapped: Tensor) -> Tensor:
        found = x.clone()
        found[:, self.active] = mapped
        return found


class Level(nn.Module):
    """The couplings of one level of wavelets, from a Gaussian of uneven width to any distribution."""

    def __init__(self, number: int, inputs: int, outputs: int, settings: Flow) -> None:
        """Build level `number`, whose cells are 2^number high-resolution ones wide."""
        super().__init__()
        dimensions, channels = settings.dimensions, settings.conditioner_channels
        self.half = 2 ** (number - 1)
        self.averages = outputs if number < settings.wavelet_levels else 0  # left to coarser levels, if there are any
        width = outputs * 2**dimensions - self.averages
        pointwise = nn.Conv3d if dimensions == 3 else nn.Conv2d
        self.look = pointwise((inputs + outputs) * 2**dimensions, channels, 1)
        shape = {"channels": channels, "blocks": settings.conditioner_blocks, "dimensions": dimensions}
        shape |= {"told": len(settings.told), "smooth": len(settings.told)}
        seen = channels + self.averages
        self.layers = nn.ModuleList([Coupling(width, seen, (EVERY, NONE), "affine", **shape)])
        for index in range(settings.couplings):
            self.layers.append(Coupling(width, seen, halves(width, index), settings.transform, **shape))

    def split(self, field: Tensor) -> tuple[Tensor, Tensor]:
        """Return the averages that are left to coarser levels, and the wavelets of this one."""
        wavelets = haar(field)
        return wavelets[:, : self.averages], wavelets[:, self.averages :]

    def context(self, region: Region, mean: Tensor, coarser: Tensor) -> Tensor:
        """Return what all couplings see: input and regression, of cells of the level before, and coarser averages."""
        known = fold(_pool(torch.cat([region.seen, mean], dim=1), self.half), 2)
        average = coarser * (2 * self.half) ** (1 - mean.ndim / 2)  # wavelets of one amplitude grow with their cells
        return torch.cat([functional.silu(self.look(known)), average], dim=1)

    def encode(self, x: Tensor, context: Tensor, region: Region) -> tuple[Tensor, Tensor]:
        """Map wavelets to z, and return ln |dz/dx|, (b, n, …) of high-resolution cells."""
        grown = torch.zeros_like(x[:, 0])
        for layer in self.layers:
            x, more = layer.encode(x, context, region)
            grown = grown + more
        return x, _spread(grown, 2 * self.half)


class CouplingFlow(MultiScale):
    """The regression, as a U-Net of its own would be, and the couplings of the residual, level after level."""

    def __init__(self, inputs: int, outputs: int, settings: Flow) -> None:
        """Build for so many channels in and out; at first it is the identity."""
        told, dimensions = len(settings.told), settings.dimensions
        shape = {"dimensions": dimensions, "told": told, "smooth": told, **settings.network.model_dump()}
        super().__init__(inputs, outputs, **shape)
        numbers = range(1, settings.wavelet_levels + 1)
        self.couplings = nn.ModuleList(Level(number, inputs, outputs, settings) for number in numbers)

    def regress(self, region: Region, like: Tensor) -> Tensor:
        """Return what the couplings are relative to: the mean of the truth, where its distribution is symmetric."""
        return self(region.seen, None, region.periodic, region.told).to(like.dtype)

    def encode(self, region: Region, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (b, outputs, n, …), white noise if y is as the model has it, and per cell ln |dz/dy|, (b, n, …)."""
        mean = self.regress(region, y)
        coarse, parts, grown = y - mean, [], torch.zeros_like(y[:, 0])
        for level in self.couplings:
            coarse, wavelets = level.split(coarse)
            z, more = level.encode(wavelets, level.context(region, mean, coarse), region)
            parts.append(z)
            grown = grown + more
        return _join(coarse, parts), grown

    def log_density(self, region: Region, y: Tensor) -> Tensor:
        """Return what each cell adds to ln p(y | seen), (b, n, …) [nats]; exact for whole blocks of 2^levels."""
        z, grown = self.encode(region, y)
        return grown - (z.square() + math.log(2 * math.pi)).sum(dim=1) / 2

    def decode(self, place: tuple[int, int], region: Region, field: Tensor, mean: Tensor) -> Tensor:
        """Undo a coupling, (level, number), in a residual whose coarser wavelets are made and whose finer are noise."""
        last, number = place
        coarse, parts = field, []
        for level in self.couplings[:last]:
            coarse, wavelets = level.split(coarse)
            parts.append(wavelets)
        context = level.context(region, mean, coarse)
        parts[-1] = level.layers[number].decode(wavelets, context, region)
        return _join(coarse, parts)


class FlowScheme(Scheme):
    """The regression, one coupling after the other from the coarsest, and in the last pass the sum."""

    settings: Flow

    @property
    def places(self) -> list[tuple[int, int]]:
        """The couplings in the order in which a sample needs them: (level, number)."""
        levels, numbers = range(self.settings.wavelet_levels, 0, -1), range(self.settings.couplings, -1, -1)
        return [(level, number) for level in levels for number in numbers]

    @property
    def passes(self) -> int:
        """Evaluations of a network for one sample."""
        return 1 + len(self.places)

    @property
    def width(self) -> int:
        """Channels of the state between passes: residual and regression."""
        return 2 * self.features.outputs

    def build(self) -> nn.Module:
        """Build the flow with fresh weights."""
        return CouplingFlow(self.features.inputs, self.features.outputs, self.settings)

    def run(self, number: int, network: nn.Module, region: Region) -> Tensor:
        """Regress and draw noise in the first pass; undo one coupling in every other one."""
        if number == 0:
            mean = network.regress(region, region.seen)
            return torch.cat([region.noise.fields(OWN_NOISE, self.features.outputs, mean), mean], dim=1)
        residual, mean = region.state.chunk(2, dim=1)
        residual = network.decode(self.places[number - 1], region, residual, mean)
        return residual + mean if number == self.passes - 1 else torch.cat([residual, mean], dim=1)


def _join(coarse: Tensor, parts: list[Tensor]) -> Tensor:
    """Make a field of its wavelets, given from fine to coarse."""
    for details in reversed(parts):
        coarse = inverse_haar(torch.cat([coarse, details], dim=1))
    return coarse


def _pool(x: Tensor, cells: int) -> Tensor:
    """Average blocks of so many cells a side."""
    return (functional.avg_pool3d if x.ndim == 5 else functional.avg_pool2d)(x, cells)


def _spread(x: Tensor, cells: int) -> Tensor:
    """Give each of the cells of a block its part: (b, n, …) → (b, n · cells, …) of the same sum."""
    for axis in range(1, x.ndim):
        x = x.repeat_interleave(cells, dim=axis) / cells
    return x
