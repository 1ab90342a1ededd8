"""Apply a model folder, or a baseline, to a low-resolution snapshot: seeded, in tiles, written in slabs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from supercosm.config import BASELINES
from supercosm.cosmology import linear_power
from supercosm.device import choose_device
from supercosm.errors import ConfigurationError
from supercosm.fields import DensityField, write_density
from supercosm.metering import Meter
from supercosm.model import Model, load_model
from supercosm.progress import progress
from supercosm.sampler import Baseline, Options, PhaseChoice, Sampler, Tick
from supercosm.snapshot import Snapshot, from_lattice, lattice_positions, read_snapshot, snapshot_writer

log = logging.getLogger(__name__)

__all__ = ["Baseline", "Options", "load_model", "superresolve", "superresolve_file"]


def superresolve(
    snapshot: Snapshot,
    model: Model | Baseline,
    seed: int = 1000,
    tile: int | None = None,
    phases: PhaseChoice | None = None,
    override: bool = False,
) -> Snapshot | DensityField:
    """Super-resolve a low-resolution snapshot in memory.

    Returns a Snapshot with `factor`³ times the particles, or a DensityField for a model of densities. The
    same seed gives the same sample whatever the tiling. Raises CoverageError for a snapshot the model was not
    trained for.
    """
    sampler = Sampler(snapshot, model, Options(phases=phases, seed=seed, tile=tile, override=override))
    _voice_doubts(snapshot, model)
    if sampler.density:
        return sampler.density_field(_silent)
    fields = np.concatenate([slab for _, slab in sampler.slabs(_silent)], axis=1)
    return from_lattice(fields[:3], fields[3:], snapshot.box_size, **sampler.attributes())


def _voice_doubts(snapshot: Snapshot, model: Model | Baseline) -> None:
    """Warn when a snapshot is unlike those the model was trained on."""
    doubts = [] if isinstance(model, Baseline) else model.doubts(snapshot)
    if doubts:
        log.warning(
            "warning: this snapshot is unlike those that model '%s' was trained on (%s); expect structure as in the "
            "training boxes rather than its own",
            model.card.name,
            "; ".join(doubts),
        )


def _silent() -> None:
    """Show no progress."""


def superresolve_file(
    snapshot: Path,
    outputs: Sequence[Path],
    source: Path | str,
    options: Options,
    factor: int | None = None,
    cost: Path | None = None,
) -> None:
    """Super-resolve a snapshot file with a model folder or a baseline; output i has sample seed seed + i.

    Snapshots are written slab by slab, whole or not at all. `factor` is needed for baselines only. cost: file for what
    each sample cost.
    """
    model = source_of(source, factor, options.device)
    write_samples(read_snapshot(snapshot), model, outputs, options).write(cost)


def write_samples(low: Snapshot, model: Model | Baseline, outputs: Sequence[Path], options: Options) -> Meter:
    """Super-resolve a snapshot once for each output, as `superresolve_file` does; return what every sample cost."""
    meter = Meter(torch.device("cpu"))
    if outputs:
        sampler = Sampler(low, model, options)  # refuses what cannot be done before anything is said about what can
        _voice_doubts(low, model)
        if sampler.phases is not None:
            linear_power(low.cosmology)  # once for all samples, so it is no part of what one costs
        meter = Meter(sampler.device)
    for number, output in enumerate(outputs):
        with meter.measure("sample"):
            sampler = Sampler(low, model, replace(options, seed=options.seed + number))
            with progress(f"super-resolve {Path(output).name}", sampler.work) as tick:
                _write(sampler, Path(output), tick)
    return meter


def source_of(source: Path | str, factor: int | None, device: str) -> Model | Baseline:
    """Load a model folder, or name a baseline; raise ConfigurationError for a baseline without its factor."""
    if str(source) not in BASELINES:
        return load_model(source, choose_device(device))
    if factor is None:
        raise ConfigurationError(f"the baseline '{source}' needs the up-sampling factor: give --factor")
    return Baseline(str(source), factor)


def _write(sampler: Sampler, path: Path, tick: Tick) -> None:
    """Write the super-resolved snapshot, or density field."""
    if sampler.density:
        write_density(path, sampler.density_field(tick))
        return
    box_size = sampler.snapshot.box_size
    like = SimpleNamespace(box_size=box_size, **sampler.attributes())
    with snapshot_writer(path, like, sampler.high**3) as put:
        for first, fields in sampler.slabs(tick):
            positions = lattice_positions(fields[:3], box_size, first)
            velocities = np.moveaxis(fields[3:], 0, -1).reshape(-1, 3)
            start = first * sampler.high**2
            put(
                start,
                positions,
                velocities,
                np.arange(start + 1, start + 1 + len(positions), dtype=np.uint64),
            )
