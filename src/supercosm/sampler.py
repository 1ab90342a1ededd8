"""One super-resolved sample: a model, or a baseline, applied to a snapshot tile by tile.

A cell's outcome does not depend on the tiling: halos are as wide as the network's reach, a tile that is the
whole box is periodic, and noise and small-scale modes are functions of the place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from supercosm.cellnoise import CellNoise
from supercosm.cosmology import growth
from supercosm.errors import ConfigurationError, DataError
from supercosm.fields import DensityField, from_log_density, log_density, slabs_of
from supercosm.initial import SAMPLE, Phases
from supercosm.mesh import interpolation_matrix, paint
from supercosm.model import Model
from supercosm.nbody import velocity_factor
from supercosm.pairs import check_lattice, phases_of
from supercosm.provenance import provenance
from supercosm.schemes import Region
from supercosm.smallscales import SmallScales
from supercosm.snapshot import Snapshot
from supercosm.states import States
from supercosm.told import numbers, units

PhaseChoice = Literal["none", "known", "drawn"]
Tick = Callable[[], None]

TILE = 16  # low-resolution cells per side where nobody says otherwise: a few hundred MB


@dataclass(frozen=True)
class Options:
    """How to apply a model.

    phases: where the small scales come from: "known" (the seed of the snapshot's initial conditions), "drawn"
    (from `seed`), "none"; None picks what the model was made for. tile: side of the tiles in low-resolution
    cells, a divisor of the snapshot's side; None: about 16, so that memory does not grow with the box.
    override: apply a model outside what it was trained on.
    """

    phases: PhaseChoice | None = None
    seed: int = 1000
    tile: int | None = None
    device: str = "auto"
    override: bool = False


@dataclass(frozen=True)
class Baseline:
    """What a network has to beat: "low", the up-sampled low run; "linear", that plus linear small scales."""

    name: Literal["low", "linear"]
    factor: int

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise ConfigurationError(f"factor = {self.factor} does not up-sample; it must be 2 or more")


class Sampler:
    """One snapshot, one model or baseline, one seed.

    Raises ConfigurationError for phases or tiles that do not suit, CoverageError for a snapshot the model was
    not trained for, DataError for a snapshot that cannot be super-resolved.
    """

    def __init__(self, snapshot: Snapshot, model: Model | Baseline, options: Options) -> None:
        self.snapshot, self.model, self.options = snapshot, model, options
        self.baseline = isinstance(model, Baseline)
        self.factor = model.factor if self.baseline else model.card.factor
        self.low, self.high = snapshot.side, snapshot.side * self.factor
        self.settings = None if self.baseline else model.card.settings
        self.density = not self.baseline and self.settings.fields == "density"
        self.dimensions = 3 if self.baseline else self.settings.dimensions
        self.white = not self.baseline and self.settings.needs_white
        self.scheme = None if self.baseline else model.scheme()
        self.device = torch.device("cpu") if self.baseline else next(model.network.parameters()).device
        _check_snapshot(snapshot)
        if not self.baseline and not options.override:
            model.check_covers(snapshot)
        self.units = (1.0, 1.0) if self.baseline else units(self.settings, snapshot)
        self.phases = self._choose_phases()
        self.tile, halo = self._choose_tile()
        self.periodic = self.dimensions == 2 or self.tile == self.low  # what the network sees is the whole box
        self.halo = 0 if self.periodic else halo

    @property
    def passes(self) -> int:
        """Evaluations of the network for one sample."""
        return 1 if self.baseline else self.scheme.passes

    @property
    def work(self) -> int:
        """Number of evaluations of tiles, or of projected slabs, for one sample."""
        return self.passes * (self.slab_count if self.dimensions == 2 else (self.low // self.tile) ** 3)

    @property
    def slab_count(self) -> int:
        """Projected slabs per box, of the thickness the model was trained on."""
        return max(1, round(self.model.card.slabs_per_length * self.snapshot.box_size))

    def _choose_phases(self) -> Phases | None:
        """Return the small-scale modes that go in; None for a model that takes none."""
        asked = self.options.phases
        needed = self.model.name == "linear" if self.baseline else self.settings.sees_initial
        if not needed:
            if asked == "known" or (asked == "drawn" and not self.white):
                raise ConfigurationError(f"phases: {asked} was asked for, but this model takes no small-scale modes")
            if asked == "none" and self.white:
                raise ConfigurationError("this model draws white noise for every sample: choose phases: drawn")
            return None
        known = self.baseline or "initial" in self.settings.condition
        choice = asked or ("known" if known else "drawn")
        if choice == "none":
            raise ConfigurationError("this model needs small-scale modes: choose phases: known or drawn")
        return phases_of(self.snapshot) if choice == "known" else Phases(self.options.seed, stream=SAMPLE)

    def _choose_tile(self) -> tuple[int, int]:
        """Return the sides of tiles, and of the halo that parts of a box need [low-resolution cells]."""
        step, halo = (1, 0) if self.baseline else self.settings.tiling(self.factor)
        tile = self.options.tile
        if tile is None:
            fitting = [t for t in range(max(TILE, halo), self.low) if self.low % t == 0 and t % step == 0]
            tile = min(fitting, default=self.low)
        if tile < 1 or self.low % tile:
            raise ConfigurationError(
                f"tile = {tile} does not divide the snapshot's {self.low} cells per side; choose a divisor"
            )
        fault = None if self.baseline or self.dimensions == 2 else self.settings.tile_fault(tile, self.low, self.factor)
        if fault:
            raise ConfigurationError(fault)
        return tile, halo

    def attributes(self) -> dict[str, Any]:
        """Return what the output inherits from the snapshot, and where it comes from."""
        low = self.snapshot
        origin = provenance(
            "superresolve",
            {"phases": self._phase_name(), "sample_seed": self.options.seed, "tile": self.tile},
            model=self.model.name if self.baseline else self.model.card.name,
            weights=None if self.baseline else self.model.card.weights_sha256,
            low_side=self.low,
            factor=self.factor,
            parents=[low.provenance],
        )
        return {"scale_factor": low.scale_factor, "cosmology": low.cosmology, "provenance": origin}

    def _phase_name(self) -> str:
        if self.phases is None:
            return "white" if self.white else "none"
        return "drawn" if self.phases.stream == SAMPLE else "known"

    def density_field(self, tick: Tick) -> DensityField:
        """Return the super-resolved density; its mean is one, as mass conservation asks."""
        if self.dimensions == 2:
            logs = self._projected(tick)
        else:
            logs = np.concatenate([fields for _, fields in self.slabs(tick)], axis=1)[0]
        density = from_log_density(logs)
        density = (density / density.mean(dtype=np.float64)).astype(np.float32)
        return DensityField(density, self.snapshot.box_size, dimensions=self.dimensions, **self.attributes())

    def slabs(self, tick: Tick) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first plane, fields (channels, planes, n, n)) along x, one row of tiles after the other.

        Channels: displacement [Mpc/h] and velocity [km/s], or log density.
        """
        low, last = self._low_fields(), self.passes - 1
        with self._modes() as modes, self._states() as states:
            for number in range(last):
                for x in range(0, self.low, self.tile):
                    states.put(x * self.factor, self._row(low, modes, states, (number, x), tick))
                states.turn()
            for x in range(0, self.low, self.tile):
                yield x * self.factor, self._row(low, modes, states, (last, x), tick)

    def _row(
        self, low: Tensor, modes: SmallScales | None, states: States | None, place: tuple[int, int], tick: Tick
    ) -> np.ndarray:
        """Make one pass over a row of tiles: the next state, or the fields after the last pass."""
        number, x = place
        tile, halo, side = self.tile * self.factor, self.halo * self.factor, self.high
        span = tile + 2 * halo
        planes = None if modes is None else modes.planes(x * self.factor - halo, span)
        carried = None if number == 0 else states.planes(x * self.factor - halo, span)
        channels = len(low) if number == self.passes - 1 else self.scheme.width
        out = np.empty((channels, tile, side, side), np.float32)
        inner = slice(halo, halo + tile)
        along_x = self._interpolate(low, 0, x)
        for y in range(0, self.low, self.tile):
            along_xy = self._interpolate(along_x, 1, y)
            for z in range(0, self.low, self.tile):
                first = tuple(i * self.factor - halo for i in (x, y, z))
                region = self._interpolate(along_xy, 2, z)[None].to(self.device)
                small, state = (
                    None if field is None else _cut(field, first[1:], span)[None].to(self.device)
                    for field in (planes, carried)
                )
                fields = self._apply(number, region, (small, state), first)[0, :, inner, inner, inner]
                ends = (
                    slice(y * self.factor, y * self.factor + tile),
                    slice(z * self.factor, z * self.factor + tile),
                )
                out[:, :, ends[0], ends[1]] = fields.cpu().numpy()
                tick()
        return out

    def _interpolate(self, field: Tensor, axis: int, start: int) -> Tensor:
        """Up-sample one axis to a tile with its halo and one border cell."""
        span = (self.tile + 2 * self.halo) * self.factor + 2
        first = (start - self.halo) * self.factor - 1
        matrix = interpolation_matrix(self.low, self.high, first, span)
        return torch.movedim(torch.tensordot(field, matrix, dims=([1 + axis], [1])), -1, 1 + axis)

    @torch.no_grad()
    def _apply(
        self, number: int, low: Tensor, fields: tuple[Tensor | None, Tensor | None], origin: tuple[int, ...]
    ) -> Tensor:
        """Make pass `number` over one region: the next state, or super-resolved fields (1, c, n, …) after the last.

        low: up-sampled fields (1, c, n+2, …). fields: small scales and the state of the pass before, (1, c, n, …).
        """
        small, state = fields
        if self.baseline:
            return _baseline(low, small, self.snapshot)
        features = self.model.features()
        noise = CellNoise([self.options.seed], [origin], self.high) if self.white else None
        exact = (
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if self.device.type == "cuda" else nullcontext()
        )
        told = numbers(self.settings.told, self.snapshot)[None].to(low) if self.settings.told else None
        region = Region(features.encode(low, small), state, noise, self.periodic, told)
        with exact:
            output = self.scheme.run(number, self.model.network, region)
        return self._physical(features.decode(output, low)) if number == self.passes - 1 else output

    def _physical(self, fields: Tensor) -> Tensor:
        """Give displacement and velocity (1, 6, n, …) back the units that they were divided by."""
        if self.units == (1.0, 1.0):
            return fields
        return torch.cat([part * unit for part, unit in zip(fields.chunk(2, dim=1), self.units, strict=True)], dim=1)

    def _projected(self, tick: Tick) -> np.ndarray:
        """Super-resolve every projected slab on its own, whole: log densities (slabs, n, n)."""
        count = self.slab_count
        density = paint(self.snapshot.positions, self.snapshot.box_size, self.low).numpy()
        low = torch.from_numpy(log_density(slabs_of(density, count)))
        small = self._projected_modes(count)
        matrix = interpolation_matrix(self.low, self.high, -1, self.high + 2)  # with a border cell, like a tile's
        out = np.empty((count, self.high, self.high), np.float32)
        for slab in range(count):
            region = (matrix @ low[slab] @ matrix.T)[None, None].to(self.device)
            modes = None if small is None else small[slab][None, None].to(self.device)
            state = None
            for number in range(self.passes):
                state = self._apply(number, region, (modes, state), (0, 0, slab))
                tick()
            out[slab] = state[0, 0].cpu().numpy()
        return out

    def _projected_modes(self, count: int) -> Tensor | None:
        """Return the small-scale linear overdensity, averaged through each slab along z: (slabs, n, n)."""
        if self.phases is None:
            return None
        with self._modes() as modes:
            shape = (self.high, count, self.high // count)
            planes = [modes.planes(x, 1)[0, 0].view(shape).mean(-1) for x in range(self.high)]
        return torch.stack(planes).permute(2, 0, 1).contiguous()

    def _low_fields(self) -> Tensor:
        """Return the low-resolution displacement and velocity (6, n, n, n), or log density (1, n, n, n)."""
        low = self.snapshot
        if self.density:
            return torch.from_numpy(log_density(paint(low.positions, low.box_size, self.low).numpy()))[None]
        vectors = zip((low.displacement(), low.velocity()), self.units, strict=True)
        return torch.from_numpy(np.concatenate([field / unit for field, unit in vectors]))

    def _states(self) -> Any:
        """Open what is carried from pass to pass, or nothing."""
        return nullcontext() if self.passes == 1 else closing(States(self.scheme.width, self.high))

    def _modes(self) -> Any:
        """Open the small-scale modes, or nothing."""
        if self.phases is None:
            return nullcontext()
        low = self.snapshot
        cosmology = low.cosmology if self.baseline else self.model.likely_cosmology(low)  # which shaped the power
        D = growth(cosmology, low.scale_factor).D / self.units[0]
        sides = (self.low, self.high)
        return closing(SmallScales(self.phases, cosmology, low.box_size, sides, growth=D, overdensity=self.density))


def _baseline(low: Tensor, small: Tensor | None, snapshot: Snapshot) -> Tensor:
    """Return the up-sampled fields without their border, plus small scales that move by linear theory."""
    inner = low[(..., *(slice(1, -1),) * 3)]
    if small is None:
        return inner
    a = snapshot.scale_factor
    rate = velocity_factor(snapshot.cosmology, a) / growth(snapshot.cosmology, a).D
    return inner + torch.cat([small, small * rate], dim=1)


def _cut(planes: Tensor, first: tuple[int, ...], span: int) -> Tensor:
    """Cut `span` cells along y and z from periodic planes (c, x, n, n)."""
    side = planes.shape[-1]
    y, z = (torch.arange(start, start + span) % side for start in first)
    return planes[:, :, y][..., z]


def _check_snapshot(snapshot: Snapshot) -> None:
    """Raise DataError for NaN and for particles that belong to no even lattice."""
    for name in ("positions", "velocities"):
        if not np.isfinite(getattr(snapshot, name)).all():
            raise DataError(f"the snapshot holds NaN or infinite {name}; it cannot be super-resolved")
    check_lattice(snapshot)
