"""Densities of many boxes in one go, without their particles: what classifiers learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from supercosm.choices import Options
from supercosm.config import Config
from supercosm.errors import ConfigurationError
from supercosm.fields import density_of, write_density
from supercosm.progress import progress
from supercosm.simulate import simulate
from supercosm.snapshot import Snapshot, read_snapshot
from supercosm.superresolution import sample_of, source_of

APART = 10_000  # between the sample seeds of boxes: more samples of one box nobody draws


def simulate_densities(config: Config, seeds: Sequence[int], folder: Path) -> None:
    """Simulate the high resolution of many seeds; write the density of the last output of each, <seed>.hdf5."""
    for seed in seeds:
        *_, snapshot = simulate(config, seed, "high")
        write_density(Path(folder) / f"{seed}.hdf5", density_of(snapshot, snapshot.side))


def superresolve_densities(
    snapshots: Sequence[Path], outputs: Sequence[Path], source: Path | str, options: Options, factor: int | None
) -> None:
    """Super-resolve many low runs; write the density of one sample of each.

    Every box has a sample seed of its own, so that no two share small scales, nor one with a sample of a test box.
    Boxes of the model's own training are welcome: a classifier is tested on others.
    """
    if len(snapshots) != len(outputs):
        raise ConfigurationError(
            f"{len(snapshots)} snapshots and {len(outputs)} outputs do not match: give one --output for each snapshot"
        )
    model = source_of(source, factor, options.device)
    with progress(f"super-resolve, {source}", len(snapshots)) as tick:
        for number, (snapshot, output) in enumerate(zip(snapshots, outputs, strict=True)):
            low = read_snapshot(snapshot)
            seed = options.seed + APART * (1 + int(low.provenance.get("seed", number)))
            sample = sample_of(low, [model], replace(options, seed=seed, training_boxes=True))
            write_density(output, density_of(sample, sample.side) if isinstance(sample, Snapshot) else sample)
            tick()
