"""Run the paired low- and high-resolution simulations of one seed and write their snapshots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from supercosm import nbody
from supercosm.config import Config
from supercosm.device import choose_device
from supercosm.initial import Phases
from supercosm.metering import Meter
from supercosm.progress import progress
from supercosm.provenance import provenance
from supercosm.snapshot import Snapshot, write_snapshot

SMALLEST = 8  # particles per side of a run that only warms up


def simulate_pair(
    config: Config,
    seed: int,
    folder: str | Path,
    resolutions: Sequence[str] = ("low", "high"),
    small_scales: int | None = None,
    cost: str | Path | None = None,
) -> None:
    """Run the resolutions of one seed and write `{low,high}<tag>.hdf5` for every output into a folder.

    cost: file for what each resolution cost. Linear theory and the compilation of kernels, which serve any number of
    runs, come before.
    """
    meter = Meter(choose_device(config.device))
    if cost is not None:
        short = config.simulation.model_copy(update={"steps": 1, "scale_factors": config.simulation.scale_factors[-1:]})
        list(nbody.run(short, config.cosmology, Phases(seed), SMALLEST, meter.device))
    for resolution in resolutions:
        with meter.measure(resolution):
            for snapshot in simulate(config, seed, resolution, small_scales):
                tag = config.simulation.tag(snapshot.scale_factor)
                write_snapshot(Path(folder) / f"{resolution}{tag}.hdf5", snapshot)
    meter.write(cost)


def simulate(config: Config, seed: int, resolution: str, small_scales: int | None = None) -> Iterator[Snapshot]:
    """Run one resolution ("low" or "high") of one seed; yield a Snapshot at every output scale factor.

    small_scales: seed of the modes that the low resolution does not hold, where it differs: another universe that
    looks the same at low resolution.
    """
    simulation, cosmology = config.simulation, config.cosmology
    device = choose_device(config.device)
    cells = getattr(simulation, resolution)
    phases = Phases(seed, fixed=simulation.amplitude == "fixed", other=small_scales, shared=simulation.low)
    origin = provenance(
        "simulate",
        {"simulation": simulation.model_dump(), "cosmology": cosmology.model_dump()},
        seed=seed,
        resolution=resolution,
        amplitude=simulation.amplitude,
        device=device.type,
        **({} if small_scales is None else {"small_scales": small_scales}),
    )
    steps = len(nbody.time_steps(simulation, cosmology)) - 1
    with progress(f"simulate seed {seed}, {cells}³", steps) as tick:
        for particles in nbody.run(simulation, cosmology, phases, cells, device, tick):
            yield _snapshot(particles, config, origin)


def _snapshot(particles: nbody.Particles, config: Config, origin: dict) -> Snapshot:
    box = config.simulation.box_size
    wrapped = torch.remainder(particles.positions, box)
    wrapped[wrapped >= box] = 0.0  # float32 may round up to the box side, which is the point 0
    return Snapshot(
        positions=wrapped.cpu().numpy(),
        velocities=nbody.peculiar_velocity(particles, config.cosmology).cpu().numpy(),
        ids=np.arange(1, len(wrapped) + 1, dtype=np.uint64),
        box_size=box,
        scale_factor=particles.a,
        cosmology=config.cosmology,
        provenance=origin,
    )
