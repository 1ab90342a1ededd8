"""Apply a model folder, or a baseline, to a low-resolution snapshot: seeded, in tiles, written in slabs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from supercosm.baselines import Baseline
from supercosm.chain import Chain
from supercosm.checkpoints import checkpoints_in
from supercosm.choices import Options, PhaseChoice
from supercosm.config import BASELINES
from supercosm.cosmology import linear_power
from supercosm.device import choose_device
from supercosm.errors import ConfigurationError
from supercosm.fields import DensityField, write_density
from supercosm.formats import checksum
from supercosm.metering import Meter
from supercosm.model import Model, load_model
from supercosm.progress import progress, silent
from supercosm.provenance import provenance
from supercosm.snapshot import Snapshot, lattice_positions, read_snapshot, snapshot_writer
from supercosm.stopping import stoppable

__all__ = ["Baseline", "Options", "load_model", "superresolve", "superresolve_file"]


def superresolve(
    snapshot: Snapshot,
    model: Model | Baseline | Sequence[Model | Baseline],
    seed: int = 1000,
    tile: int | None = None,
    phases: PhaseChoice | None = None,
    override: bool = False,
    consistency: float | None = None,
) -> Snapshot | DensityField:
    """Super-resolve a low-resolution snapshot in memory, by one model or by several, one after the other.

    Returns a Snapshot with `factor`³ times the particles, or a DensityField for a model of densities. The
    same seed gives the same sample whatever the tiling. consistency: fraction of the low run's Nyquist frequency
    below which its modes are kept. Raises CoverageError for a snapshot the model was not trained for.
    """
    models = [model] if isinstance(model, Model | Baseline) else list(model)
    options = Options(phases=phases, seed=seed, tile=tile, override=override, consistency=consistency)
    return sample_of(snapshot, models, options)


def sample_of(snapshot: Snapshot, models: Sequence[Model | Baseline], options: Options) -> Snapshot | DensityField:
    """Super-resolve a snapshot in memory as `superresolve` does, with all the options there are."""
    sampler = Chain(snapshot, models, options).sampler(options.seed)
    return sampler.density_field(silent) if sampler.density else sampler.snapshot_of(silent)


def superresolve_file(
    snapshot: Path,
    outputs: Sequence[Path],
    source: Path | str | Sequence[Path | str],
    options: Options,
    factor: int | None = None,
    cost: Path | None = None,
    checkpoints: Path | None = None,
) -> None:
    """Super-resolve a snapshot file with model folders or baselines; output i has sample seed seed + i.

    Snapshots are written slab by slab, whole or not at all. `factor` is needed for baselines only. cost: file for what
    each sample cost. checkpoints: folder from which the same call goes on when it was killed; samples are kept there
    until all are done, and SIGTERM or SIGUSR1 raise StoppedError after the row of tiles under way.
    """
    low = read_snapshot(snapshot)
    sources = [source] if isinstance(source, Path | str) else source
    models = [source_of(one, factor, options.device) for one in sources]
    if checkpoints is None:
        write_samples(low, models, outputs, options).write(cost)
        return
    chain, meter = _prepare(low, models, options)
    with checkpoints_in(checkpoints, fingerprint(snapshot, chain)) as kept, stoppable():
        for number in range(len(outputs)):
            kept.make(number, meter, partial(_write, chain, options.seed + number))
        kept.publish([Path(output) for output in outputs])
        meter.write(cost)


def write_samples(
    low: Snapshot, models: Sequence[Model | Baseline], outputs: Sequence[Path], options: Options
) -> Meter:
    """Super-resolve a snapshot once for each output, as `superresolve_file` does; return what every sample cost."""
    chain, meter = _prepare(low, models, options)
    for number, output in enumerate(outputs):
        with meter.measure("sample"):
            _write(chain, options.seed + number, Path(output))
    return meter


def _prepare(low: Snapshot, models: Sequence[Model | Baseline], options: Options) -> tuple[Chain, Meter]:
    chain = Chain(low, models, options)
    if chain.sees_modes:
        linear_power(low.cosmology)  # once for all samples, so it is no part of what one costs
    return chain, Meter(chain.device)


def fingerprint(snapshot: Path, chain: Chain) -> dict[str, Any]:
    """Describe what finished rows and samples belong to: snapshot, weights, options, code."""
    made_by = [asdict(m) if isinstance(m, Baseline) else m.card.model_dump(mode="json") for m in chain.models]
    options = asdict(replace(chain.options, device=str(chain.device)))
    content = provenance("superresolve", options, models=made_by, snapshot=checksum(snapshot))
    return json.loads(json.dumps(content))


def source_of(source: Path | str, factor: int | None, device: str) -> Model | Baseline:
    """Load a model folder, or name a baseline; raise ConfigurationError for a baseline without its factor."""
    if str(source) not in BASELINES:
        return load_model(source, choose_device(device))
    if factor is None:
        raise ConfigurationError(f"the baseline '{source}' needs the up-sampling factor: give --factor")
    return Baseline(str(source), factor)


def _write(chain: Chain, seed: int, path: Path, rows: Path | None = None, spent: Any = None) -> None:
    """Write the super-resolved snapshot, or density field; rows: folder for finished ones, spent: what they cost."""
    sampler = chain.sampler(seed, None if rows is None else (rows, spent))
    with progress(f"super-resolve {path.name}", sampler.work) as tick:
        if sampler.density:
            write_density(path, sampler.density_field(tick))
            return
        box_size, offset = sampler.snapshot.box_size, sampler.snapshot.offset
        like = SimpleNamespace(box_size=box_size, offset=offset, **sampler.attributes())
        with snapshot_writer(path, like, sampler.high**3) as put:
            for first, fields in sampler.slabs(tick):
                positions = lattice_positions(fields[:3], box_size, first, offset)
                velocities = np.moveaxis(fields[3:], 0, -1).reshape(-1, 3)
                start = first * sampler.high**2
                put(start, positions, velocities, np.arange(start + 1, start + 1 + len(positions), dtype=np.uint64))
