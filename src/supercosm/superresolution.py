"""Apply a model folder, or a baseline, to a low-resolution snapshot: tile by tile, seeded, written in slabs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from supercosm import cosmology as background
from supercosm.cellnoise import CellNoise
from supercosm.config import BASELINES, Cosmology
from supercosm.device import choose_device
from supercosm.errors import ConfigurationError, DataError
from supercosm.fields import DensityField, from_log_density, log_density, slabs_of, write_density
from supercosm.initial import SAMPLE, Phases
from supercosm.mesh import interpolation_matrix, paint
from supercosm.model import Model, load_model
from supercosm.pairs import phases_of
from supercosm.progress import progress
from supercosm.provenance import provenance
from supercosm.smallscales import SmallScales
from supercosm.snapshot import Snapshot, from_lattice, lattice_positions, read_snapshot, snapshot_writer

__all__ = ["Baseline", "Options", "load_model", "superresolve", "superresolve_file"]

PhaseChoice = Literal["none", "known", "drawn"]


@dataclass(frozen=True)
class Options:
    """How to apply a model.

    phases: where the small-scale modes come from: "known" (the seed of the snapshot's initial conditions), "drawn"
    (from `seed`), "none"; None picks what the model was made for. tile: side of the tiles in low-resolution cells, a
    divisor of the snapshot's side; None: the whole box. override: apply a model outside what it was trained on.
    """

    phases: PhaseChoice | None = None
    seed: int = 1000
    tile: int | None = None
    device: str = "auto"
    override: bool = False


@dataclass(frozen=True)
class Baseline:
    """What a network has to beat: "low", the up-sampled low run; "linear", that plus the linear small scales."""

    name: Literal["low", "linear"]
    factor: int


def superresolve(
    snapshot: Snapshot,
    model: Model | Baseline,
    seed: int = 1000,
    tile: int | None = None,
    phases: PhaseChoice | None = None,
    override: bool = False,
) -> Snapshot | DensityField:
    """Super-resolve a low-resolution snapshot in memory.

    Returns a Snapshot with `factor`³ times the particles, or a DensityField for a model of densities. The same seed
    gives the same sample whatever the tiling. Raises CoverageError for a snapshot the model was not trained for.
    """
    device = "cpu" if isinstance(model, Baseline) else next(model.network.parameters()).device.type
    options = Options(phases=phases, seed=seed, tile=tile, device=device, override=override)
    job = _Job(snapshot, model, options)
    if job.density:
        return job.density_field(lambda: None)
    slabs = [fields for _, fields in job.slabs(lambda: None)]
    fields = np.concatenate(slabs, axis=1)
    return from_lattice(fields[:3], fields[3:], snapshot.box_size, **job.attributes())


def superresolve_file(
    snapshot: Path, outputs: Sequence[Path], source: Path | str, options: Options, factor: int | None = None
) -> None:
    """Super-resolve a snapshot file with a model folder or a baseline name; output i has sample seed seed + i.

    Snapshots are written slab by slab, whole or not at all. `factor` is needed for baselines only.
    """
    low = read_snapshot(snapshot)
    if str(source) in BASELINES:
        if factor is None:
            raise ConfigurationError(f"the baseline '{source}' needs the up-sampling factor: give --factor")
        model: Model | Baseline = Baseline(source, factor)
    else:
        model = load_model(source, choose_device(options.device))
    for number, output in enumerate(outputs):
        job = _Job(low, model, replace(options, seed=options.seed + number))
        with progress(f"super-resolve {Path(output).name}", job.tiles) as tick:
            job.write(Path(output), tick)


class _Job:
    """One snapshot, one model, one sample."""

    def __init__(self, snapshot: Snapshot, model: Model | Baseline, options: Options) -> None:
        self.snapshot, self.model, self.options = snapshot, model, options
        self.baseline = isinstance(model, Baseline)
        self.factor = model.factor if self.baseline else model.card.factor
        self.low, self.high = snapshot.side, snapshot.side * self.factor
        self.settings = None if self.baseline else model.card.settings
        self.density = not self.baseline and self.settings.fields == "density"
        self.dimensions = 3 if self.baseline else self.settings.dimensions
        self.device = torch.device("cpu") if self.baseline else next(model.network.parameters()).device
        if not self.baseline and not options.override:
            model.check_covers(snapshot)
        self.phases = self._choose_phases()
        self.tile, self.halo = self._choose_tile()

    @property
    def tiles(self) -> int:
        """Number of tiles; for projected slabs, of slabs."""
        return self.slab_count if self.dimensions == 2 else (self.low // self.tile) ** 3

    @property
    def slab_count(self) -> int:
        """Projected slabs per box, of the thickness the model was trained on."""
        return round(self.model.card.slabs_per_length * self.snapshot.box_size)

    @property
    def needs_modes(self) -> bool:
        """Whether small-scale linear modes go in."""
        return self.model.name == "linear" if self.baseline else self.settings.sees_initial

    def _choose_phases(self) -> Phases | None:
        if not self.needs_modes:
            if self.options.phases in ("known", "drawn") and not self._white:
                raise ConfigurationError(
                    f"phases: {self.options.phases} was asked for, but this model takes no small-scale modes"
                )
            return None
        known = self.baseline or "initial" in self.settings.condition
        choice = self.options.phases or ("known" if known else "drawn")
        if choice == "none":
            raise ConfigurationError("this model needs small-scale modes: choose phases: known or drawn")
        return phases_of(self.snapshot) if choice == "known" else Phases(self.options.seed, stream=SAMPLE)

    @property
    def _white(self) -> bool:
        return not self.baseline and self.settings.noise == "white"

    def _choose_tile(self) -> tuple[int, int]:
        tile = self.low if self.options.tile is None else self.options.tile
        if tile < 1 or self.low % tile:
            raise ConfigurationError(f"tile = {tile} does not divide the snapshot's {self.low} cells per side")
        if self.baseline:
            return tile, 0
        network = self.model.network
        step = math.lcm(network.unit, self.factor) // self.factor
        halo = math.ceil(network.reach / self.factor / step) * step
        if tile % step:
            raise ConfigurationError(f"tile = {tile} must be a multiple of {step} low-resolution cells for this network")
        if tile < halo and self.dimensions == 3:
            raise ConfigurationError(
                f"tile = {tile} is smaller than the network's halo of {halo} low-resolution cells, so most of the work "
                f"would be thrown away; choose a tile of at least {halo}"
            )
        return tile, halo

    def attributes(self) -> dict[str, Any]:
        """Return what the output inherits from the snapshot, and where it comes from."""
        origin = provenance(
            "superresolve",
            {"phases": self._phase_name(), "sample_seed": self.options.seed, "tile": self.tile},
            model=self.model.name if self.baseline else self.model.card.name,
            weights=None if self.baseline else self.model.card.weights_sha256,
            low_side=self.low,
            factor=self.factor,
            parents=[self.snapshot.provenance],
        )
        low = self.snapshot
        return {"scale_factor": low.scale_factor, "cosmology": low.cosmology, "provenance": origin}

    def _phase_name(self) -> str:
        if self.phases is None:
            return "white" if self._white else "none"
        return "drawn" if self.phases.stream == SAMPLE else "known"

    def write(self, path: Path, tick: Any) -> None:
        """Write the super-resolved snapshot, or density field."""
        if self.density:
            write_density(path, self.density_field(tick))
            return
        like = SimpleNamespace(box_size=self.snapshot.box_size, **self.attributes())
        with snapshot_writer(path, like, self.high**3) as put:
            for first, fields in self.slabs(tick):
                positions = lattice_positions(fields[:3], self.snapshot.box_size, first)
                velocities = np.moveaxis(fields[3:], 0, -1).reshape(-1, 3)
                start = first * self.high**2
                put(start, positions, velocities, np.arange(start + 1, start + 1 + len(positions), dtype=np.uint64))

    def density_field(self, tick: Any) -> DensityField:
        """Return the super-resolved density; its mean is one, as mass conservation asks."""
        if self.dimensions == 2:
            logs = self._projected(tick)
        else:
            logs = np.concatenate([fields for _, fields in self.slabs(tick)], axis=1)[0]
        density = from_log_density(logs)
        density = density / density.mean(dtype=np.float64)
        return DensityField(
            density.astype(np.float32), self.snapshot.box_size, dimensions=self.dimensions, **self.attributes()
        )

    def slabs(self, tick: Any) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first plane, fields (channels, planes, n, n)) along x, one row of tiles after the other."""
        low = self._low_fields()
        with self._modes() as modes:
            for x in range(0, self.low, self.tile):
                yield x * self.factor, self._slab(low, modes, x, tick)

    def _slab(self, low: Tensor, modes: SmallScales | None, x: int, tick: Any) -> np.ndarray:
        tile, halo, side = self.tile * self.factor, self.halo * self.factor, self.high
        span = tile + 2 * halo
        planes = None if modes is None else modes.planes(x * self.factor - halo, span)
        out = np.empty((len(low), tile, side, side), np.float32)
        inner = slice(halo, halo + tile)
        along_x = self._interpolate(low, 0, x)
        for y in range(0, self.low, self.tile):
            along_xy = self._interpolate(along_x, 1, y)
            for z in range(0, self.low, self.tile):
                first = tuple(i * self.factor - halo for i in (x, y, z))
                region = self._interpolate(along_xy, 2, z)[None].to(self.device)
                small = None if planes is None else _cut(planes, first[1:], span)[None].to(self.device)
                fields = self._apply(region, small, first)[0, :, inner, inner, inner]
                ends = (slice(y * self.factor, y * self.factor + tile), slice(z * self.factor, z * self.factor + tile))
                out[:, :, ends[0], ends[1]] = fields.cpu().numpy()
                tick()
        return out

    def _interpolate(self, field: Tensor, axis: int, start: int) -> Tensor:
        """Up-sample one axis to a tile with its halo and one border cell."""
        span = (self.tile + 2 * self.halo) * self.factor + 2
        first = (start - self.halo) * self.factor - 1
        matrix = interpolation_matrix(field.shape[1 + axis], self.high, first, span)
        return torch.movedim(torch.tensordot(field, matrix, dims=([1 + axis], [1])), -1, 1 + axis)

    @torch.no_grad()
    def _apply(self, low: Tensor, small: Tensor | None, origin: tuple[int, ...]) -> Tensor:
        """Turn one region's up-sampled fields (1, c, n+2, …) into super-resolved ones (1, c, n, …)."""
        if self.baseline:
            inner = low[(..., *(slice(1, -1),) * 3)]
            if small is None:
                return inner
            g = background.growth(self.snapshot.cosmology, self.snapshot.scale_factor)
            rate = _linear_rate(self.snapshot.cosmology, self.snapshot.scale_factor)
            return inner + torch.cat([small, small * (rate * g.f)], dim=1)
        features = self.model.features()
        noise = CellNoise([self.options.seed], [origin], self.high) if self._white else None
        exact = torch.backends.cudnn.flags(allow_tf32=False) if self.device.type == "cuda" else nullcontext()
        with exact:
            output = self.model.network(features.encode(low, small), noise)
        return features.decode(output.float(), low)

    def _projected(self, tick: Any) -> np.ndarray:
        """Super-resolve every projected slab on its own: log densities (slabs, n, n)."""
        count, halo = self.slab_count, self.halo * self.factor
        density = paint(self.snapshot.positions, self.snapshot.box_size, self.low).numpy()
        low = torch.from_numpy(log_density(slabs_of(density, count)))
        small = self._projected_modes(count)
        rows = np.arange(-halo, self.high + halo) % self.high
        out = np.empty((count, self.high, self.high), np.float32)
        matrix = interpolation_matrix(self.low, self.high, -halo - 1, self.high + 2 * halo + 2)
        for slab in range(count):
            region = (matrix @ low[slab] @ matrix.T)[None, None].to(self.device)
            modes = None if small is None else small[slab][rows][:, rows][None, None].to(self.device)
            fields = self._apply(region, modes, (-halo, -halo, slab))[0, 0]
            out[slab] = fields[halo : halo + self.high, halo : halo + self.high].cpu().numpy()
            tick()
        return out

    def _projected_modes(self, count: int) -> Tensor | None:
        if self.phases is None:
            return None
        with self._modes() as modes:
            thick = self.high // count
            planes = [modes.planes(x, 1)[0, 0].view(self.high, count, thick).mean(-1) for x in range(self.high)]
        return torch.stack(planes).permute(2, 0, 1).contiguous()

    def _low_fields(self) -> Tensor:
        low = self.snapshot
        if self.density:
            density = paint(low.positions, low.box_size, self.low)
            return torch.from_numpy(log_density(density.numpy()))[None]
        displacement = low.displacement()
        _check_lattice(displacement, low.box_size)
        fields = torch.from_numpy(np.concatenate([displacement, low.velocity()]))
        if not torch.isfinite(fields).all():
            raise DataError("the snapshot holds NaN or infinite positions or velocities; it cannot be super-resolved")
        return fields

    def _modes(self) -> Any:
        """Open the small-scale modes, or nothing."""
        if self.phases is None:
            return nullcontext()
        low = self.snapshot
        cosmology = low.cosmology
        if not self.baseline and not low.provenance:  # a foreign header does not say how the power was shaped
            cosmology = self.model.card.cosmologies[0]
        return closing(
            SmallScales(
                self.phases,
                cosmology,
                low.box_size,
                (self.low, self.high),
                growth=background.growth(cosmology, low.scale_factor).D,
                overdensity=self.density,
            )
        )


def _linear_rate(cosmology: Cosmology, a: float) -> float:
    """Return a H(a) [km/s per Mpc/h]: linear velocity is a H f times linear displacement."""
    return a * background.HUBBLE * float(background.expansion(cosmology, a))


def _cut(planes: Tensor, first: tuple[int, ...], span: int) -> Tensor:
    """Cut `span` cells along y and z from periodic planes (c, x, n, n)."""
    side = planes.shape[-1]
    y, z = (torch.arange(start, start + span) % side for start in first)
    return planes[:, :, y][..., z]


def _check_lattice(displacement: np.ndarray, box_size: float) -> None:
    """Raise DataError when displacements look like those of random pairs, whose rms per axis is L/√12."""
    rms = float(displacement.std())
    if rms > 0.2 * box_size:
        raise DataError(
            f"particles lie {rms:.3g} Mpc/h (rms per axis) from the lattice points their IDs name, in a box of "
            f"{box_size:g} Mpc/h: ID − 1 is not the Lagrangian index in C order, so displacements cannot be formed"
        )
