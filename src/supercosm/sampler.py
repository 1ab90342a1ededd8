"""One super-resolved sample: a model, or a baseline, applied to a snapshot tile by tile.

A cell's outcome does not depend on the tiling: halos are as wide as the network's reach, a tile that is the
whole box is periodic, and noise and small-scale modes are functions of the place.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
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
from supercosm.rows import Tick, along_x, strips
from supercosm.schemes import Region
from supercosm.smallscales import SmallScales
from supercosm.snapshot import Snapshot, from_lattice, outline
from supercosm.states import States
from supercosm.told import numbers, units

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
        self.depth = self.tile  # of a tile along x; it is as wide as `tile` along y and z
        if options.shape is not None:
            self.depth, self.tile = options.shape
        # what the network sees is the whole box, or all of it but along x, where a halo covers what padding does
        self.periodic = self.dimensions == 2 or self.tile == self.low
        self.halos = (0 if self.depth == self.low else halo, 0 if self.periodic else halo)  # along x, along y and z
        self.consistency = None if self.baseline else options.consistency  # baselines add no large scales

    @property
    def passes(self) -> int:
        """Evaluations of the network for one sample."""
        return 1 if self.baseline else self.scheme.passes

    @property
    def work(self) -> int:
        """Number of evaluations of tiles, or of projected slabs, for one sample."""
        return self.passes * (self.slab_count if self.dimensions == 2 else self.low // self.depth * self.row_work)

    @property
    def row_work(self) -> int:
        """Number of tiles in a row."""
        return (self.low // self.tile) ** 2

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
                **({} if self.depth == self.tile else {"depth": self.depth}),
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
        low, last = self.low_fields(), self.passes - 1
        kept = self.journal is not None or self.consistency is not None
        widths = [0 if self.baseline else self.scheme.width] * last + [len(low) * kept]
        with self.modes() as modes, closing(States(widths, (self.high,) * 3, self.journal)) as states:
            for number, x in itertools.product(range(self.passes), range(0, self.low, self.depth)):
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
        for _ in range(self.row_work):
            tick()

    def _finished(self, low: Tensor, states: States) -> Iterator[tuple[int, np.ndarray]]:
        """Yield what the last pass has made, without what it added to the large scales that are to be kept."""
        last, planes = self.passes - 1, self.depth * self.factor
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
        first, span = (x - self.halos[0]) * self.factor, (self.depth + 2 * self.halos[0]) * self.factor
        carried = None if number == 0 else states.planes(number - 1, first, span)
        channels = len(low) if number == self.passes - 1 else self.scheme.width
        out = np.empty((channels, self.depth * self.factor, self.high, self.high), np.float32)
        for y, strip in strips(self, (along_x(self, low, x), modes, carried), place, self._apply, tick):
            out[:, :, y : y + strip.shape[2]] = strip
        return out

    def strips(self, low: Tensor, modes: SmallScales | None, x: int, tick: Tick) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first y, fields (6, planes, rows, n)) of the row of tiles at x [low cells] of a model of one pass.

        low: what `rows.along_x` makes of the low run's fields for this row.
        """
        return strips(self, (low, modes, None), (0, x), self._apply, tick)

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
        with self.modes() as modes:
            shape = (self.high, count, self.high // count)
            planes = [modes.planes(x, 1)[0, 0].view(shape).mean(-1) for x in range(self.high)]
        return torch.stack(planes).permute(2, 0, 1).contiguous()

    def low_fields(self) -> Tensor:
        """Return displacement and velocity (6, n, n, n), at points to be up-sampled, or log density (1, n, n, n)."""
        low, n = self.snapshot, self.low
        if self.density:
            return torch.from_numpy(log_density(paint(low.positions, low.box_size, n).numpy()))[None]
        fields = np.empty((6, n, n, n), np.float32)
        fields[:3] = low.displacement()
        fields[3:] = low.velocity()
        for vectors, unit in zip((fields[:3], fields[3:]), self.units, strict=True):
            vectors /= unit
        return recentred(torch.from_numpy(fields), self.factor, low.offset)

    def forget_particles(self) -> None:
        """Let go of the particles of the low run, when its fields are all that is needed from now on."""
        self.snapshot, self.origin = outline(self.snapshot), outline(self.origin)

    def modes(self, kept: Sequence[int] | None = None, shared: Path | None = None) -> Any:
        """Open the small-scale modes, or nothing; kept, shared: as of `SmallScales`."""
        if self.phases is None:
            return nullcontext()
        low = self.snapshot
        cosmology = low.cosmology if self.baseline else self.model.likely_cosmology(self.origin)  # it shaped the power
        D = growth(cosmology, low.scale_factor).D / self.units[0]
        sides = (self.low, self.high)
        more = {"growth": D, "overdensity": self.density, "kept": kept, "shared": shared}
        return closing(SmallScales(self.phases, cosmology, low.box_size, sides, **more))


def check_snapshot(snapshot: Snapshot) -> None:
    """Raise DataError for NaN and for particles that belong to no even lattice."""
    for name in ("positions", "velocities"):
        if not np.isfinite(getattr(snapshot, name)).all():
            raise DataError(f"the snapshot holds NaN or infinite {name}; it cannot be super-resolved")
    check_lattice(snapshot)
