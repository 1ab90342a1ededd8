"""One super-resolved sample: a model, or a baseline, applied to a snapshot tile by tile.

A cell's outcome does not depend on the tiling: halos are as wide as the network's reach, a tile that is the
whole box is periodic, and noise and small-scale modes are functions of the place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from supercosm.baselines import Baseline, move_linearly
from supercosm.cellnoise import CellNoise
from supercosm.choices import Options, choose_phases, choose_tile
from supercosm.consistency import excess, planes_of
from supercosm.cosmology import growth
from supercosm.errors import DataError
from supercosm.fields import DensityField, from_log_density, log_density, slabs_of
from supercosm.initial import SAMPLE
from supercosm.journal import Journal
from supercosm.mesh import interpolation_matrix, paint, recentred
from supercosm.model import Model
from supercosm.noise import key_of
from supercosm.pairs import check_lattice
from supercosm.provenance import provenance
from supercosm.schemes import Region
from supercosm.smallscales import SmallScales
from supercosm.snapshot import Snapshot, from_lattice
from supercosm.states import States
from supercosm.told import numbers, units

Tick = Callable[[], None]

LINK = 5  # stream of the white noise that further models of a chain draw, beside that of the first


@dataclass(frozen=True)
class Link:
    """A sampler's place in a chain of models: its number, the low run that the chain begins with, what is finished."""

    number: int = 0
    origin: Snapshot | None = None
    journal: Journal | None = None


class Sampler:
    """One snapshot, one model or baseline, one seed; `Chain` checks first whether they suit each other."""

    def __init__(self, snapshot: Snapshot, model: Model | Baseline, options: Options, link: Link = Link()) -> None:
        self.snapshot, self.model, self.options = snapshot, model, options
        self.origin, self.journal = link.origin or snapshot, link.journal
        self.baseline = isinstance(model, Baseline)
        self.factor = model.factor if self.baseline else model.card.factor
        self.low, self.high = snapshot.side, snapshot.side * self.factor
        self.settings = None if self.baseline else model.card.settings
        self.density = not self.baseline and self.settings.fields == "density"
        self.dimensions = 3 if self.baseline else self.settings.dimensions
        self.white = not self.baseline and self.settings.needs_white
        self.white_seed = options.seed if link.number == 0 else key_of(options.seed, LINK, link.number)
        self.scheme = None if self.baseline else model.scheme()
        self.device = torch.device("cpu") if self.baseline else model.device
        self.units = (1.0, 1.0) if self.baseline else units(self.settings, snapshot)
        self.phases = choose_phases(self.origin, model, options)
        self.tile, halo = choose_tile(self.low, model, options)
        self.periodic = self.dimensions == 2 or self.tile == self.low  # what the network sees is the whole box
        self.halo = 0 if self.periodic else halo
        self.consistency = None if self.baseline else options.consistency  # baselines add no large scales

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

    def attributes(self) -> dict[str, Any]:
        """Return what the output inherits from the snapshot, and where it comes from."""
        low = self.snapshot
        origin = provenance(
            "superresolve",
            {
                "phases": self._phase_name(),
                "sample_seed": self.options.seed,
                "tile": self.tile,
                "consistency": self.consistency,
            },
            model=self.model.name if self.baseline else self.model.card.name,
            weights=None if self.baseline else self.model.card.weights_sha256,
            low_side=self.origin.side,
            factor=self.high // self.origin.side,
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

    def snapshot_of(self, tick: Tick) -> Snapshot:
        """Return the super-resolved snapshot."""
        fields = np.concatenate([slab for _, slab in self.slabs(tick)], axis=1)
        low = self.snapshot
        return from_lattice(fields[:3], fields[3:], low.box_size, offset=low.offset, **self.attributes())

    def slabs(self, tick: Tick) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first plane, fields (channels, planes, n, n)) along x, one row of tiles after the other.

        Channels: displacement [Mpc/h] and velocity [km/s], or log density. With a journal, or with large scales to
        keep, the last pass, too, goes to disk first.
        """
        low, last = self._low_fields(), self.passes - 1
        kept = self.journal is not None or self.consistency is not None
        widths = [0 if self.baseline else self.scheme.width] * last + [len(low) * kept]
        with self._modes() as modes, closing(States(widths, (self.high,) * 3, self.journal)) as states:
            for number, x in itertools.product(range(self.passes), range(0, self.low, self.tile)):
                first = x * self.factor
                if states.has(number, first):
                    self._skip(tick)
                    continue
                row = self._row(low, modes, states, (number, x), tick)
                if number < last or kept:
                    states.put(number, first, row)
                else:
                    yield first, row
            if kept:
                yield from self._finished(low, states)

    def _skip(self, tick: Tick) -> None:
        for _ in range((self.low // self.tile) ** 2):
            tick()

    def _finished(self, low: Tensor, states: States) -> Iterator[tuple[int, np.ndarray]]:
        """Yield what the last pass has made, without what it added to the large scales that are to be kept."""
        last, planes = self.passes - 1, self.tile * self.factor
        added = None
        if self.consistency is not None:
            low = self._physical(low[None])[0]
            added = excess(low, states.rows(last, self.factor), self.high, self.consistency)
        for first, fields in states.rows(last, planes):
            correction = 0 if added is None else planes_of(added, self.high, first, planes)
            yield first, (fields - correction).numpy()

    def _row(
        self, low: Tensor, modes: SmallScales | None, states: States, place: tuple[int, int], tick: Tick
    ) -> np.ndarray:
        """Make one pass over a row of tiles: the next state, or the fields after the last pass."""
        number, x = place
        tile, halo, side = self.tile * self.factor, self.halo * self.factor, self.high
        span = tile + 2 * halo
        planes = None if modes is None else modes.planes(x * self.factor - halo, span)
        carried = None if number == 0 else states.planes(number - 1, x * self.factor - halo, span)
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
            return move_linearly(low, small, self.snapshot)
        features = self.scheme.features
        noise = CellNoise([self.white_seed], [origin], self.high) if self.white else None
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
        with closing(States([1], (count, self.high, self.high), self.journal)) as states:
            for slab in range(count):
                region = (matrix @ low[slab] @ matrix.T)[None, None].to(self.device)
                modes = None if small is None else small[slab][None, None].to(self.device)
                state = None
                for number in range(0 if states.has(0, slab) else self.passes):
                    state = self._apply(number, region, (modes, state), (0, 0, slab))
                    tick()
                if state is not None:
                    states.put(0, slab, state.cpu().numpy())
            return states.planes(0, 0, count)[0].numpy()

    def _projected_modes(self, count: int) -> Tensor | None:
        """Return the small-scale linear overdensity, averaged through each slab along z: (slabs, n, n)."""
        if self.phases is None:
            return None
        with self._modes() as modes:
            shape = (self.high, count, self.high // count)
            planes = [modes.planes(x, 1)[0, 0].view(shape).mean(-1) for x in range(self.high)]
        return torch.stack(planes).permute(2, 0, 1).contiguous()

    def _low_fields(self) -> Tensor:
        """Return displacement and velocity (6, n, n, n), at points to be up-sampled, or log density (1, n, n, n)."""
        low = self.snapshot
        if self.density:
            return torch.from_numpy(log_density(paint(low.positions, low.box_size, self.low).numpy()))[None]
        vectors = zip((low.displacement(), low.velocity()), self.units, strict=True)
        fields = torch.from_numpy(np.concatenate([field / unit for field, unit in vectors]))
        return recentred(fields, self.factor, low.offset)

    def _modes(self) -> Any:
        """Open the small-scale modes, or nothing."""
        if self.phases is None:
            return nullcontext()
        low = self.snapshot
        cosmology = low.cosmology if self.baseline else self.model.likely_cosmology(self.origin)  # it shaped the power
        D = growth(cosmology, low.scale_factor).D / self.units[0]
        sides = (self.low, self.high)
        return closing(SmallScales(self.phases, cosmology, low.box_size, sides, growth=D, overdensity=self.density))


def _cut(planes: Tensor, first: tuple[int, ...], span: int) -> Tensor:
    """Cut `span` cells along y and z from periodic planes (c, x, n, n)."""
    side = planes.shape[-1]
    y, z = (torch.arange(start, start + span) % side for start in first)
    return planes[:, :, y][..., z]


def check_snapshot(snapshot: Snapshot) -> None:
    """Raise DataError for NaN and for particles that belong to no even lattice."""
    for name in ("positions", "velocities"):
        if not np.isfinite(getattr(snapshot, name)).all():
            raise DataError(f"the snapshot holds NaN or infinite {name}; it cannot be super-resolved")
    check_lattice(snapshot)
