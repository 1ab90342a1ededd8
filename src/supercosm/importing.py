"""Bring a snapshot of another code into this package's format, once, and check it against the configuration."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from supercosm.config import Config
from supercosm.cosmology import growth
from supercosm.errors import DataError
from supercosm.formats import LengthUnit, checksum
from supercosm.nbody import velocity_factor
from supercosm.pairs import check_lattice
from supercosm.provenance import provenance
from supercosm.snapshot import Snapshot, is_foreign, read_snapshot, write_snapshot

log = logging.getLogger(__name__)

Resolution = Literal["low", "high"]
CLOSE = 1e-3  # of a value of the configuration: codes write the output nearest to the one asked for
LINEAR = 1 / 3, 3.0  # velocities along the displacement, in those of linear theory, that are believed


def import_snapshot(
    snapshot: Path,
    output: Path,
    config: Config | None = None,
    resolution: Resolution | None = None,
    scale_factor: float | None = None,
    length_unit: LengthUnit | None = None,
) -> None:
    """Read a snapshot of another code, check it, against a configuration if one is given, and write it as ours.

    resolution: whose particles per side it must have; scale_factor: that it must have; length_unit: of files that do
    not say it. Raises DataError for a snapshot that cannot be read, has no lattice, moves unlike its structure, or is
    not what the configuration tells of.
    """
    external = config.simulation.external if config else None
    found = read_snapshot(snapshot, length_unit or (external.length_unit if external else None))
    _check_readable(found, snapshot)
    if config is not None:
        _check_configured(found, snapshot, config, resolution)
    if scale_factor is not None:
        _check_value(snapshot, "scale factor", found.scale_factor, scale_factor)
    origin = provenance(
        "import",
        {"length_unit": length_unit, "resolution": resolution},
        source=snapshot.resolve().name,  # not its path: results are moved, and published
        sha256=checksum(snapshot),
        cosmology="header" if config is None else "configuration",
        **({"left_out": dict(found.left_out)} if found.left_out else {}),
        **({"parents": [found.provenance]} if found.provenance else {}),
    )
    known = {"provenance": origin}
    known |= {} if scale_factor is None else {"scale_factor": scale_factor}
    if config is not None:  # all boxes of a run agree to the last bit, whatever their units have been rounded to
        box_size = config.simulation.box_size
        known |= {"cosmology": config.cosmology, "box_size": box_size, "positions": _scaled(found, box_size)}
    write_snapshot(output, replace(found, **known))


def _scaled(found: Snapshot, box_size: float) -> np.ndarray:
    """Return positions in a box whose side is another one by a rounding of units."""
    positions = found.positions * np.float32(box_size / found.box_size)
    positions[positions >= box_size] = 0.0  # which is the same point
    return positions


def _check_readable(found: Snapshot, path: Path) -> None:
    """Raise DataError unless there is an even lattice and motion about as in linear theory; say what was found."""
    if not is_foreign(found.provenance):
        raise DataError(f"{path} is a snapshot of this package already; there is nothing to import")
    check_lattice(found)
    displacement, a = found.displacement().astype("f8"), found.scale_factor
    rate = velocity_factor(found.cosmology, a) / growth(found.cosmology, a).D
    speed = float((found.velocity() * displacement).sum() / (displacement**2).sum() / rate)
    log.info(
        "%s: %d³ particles in %g Mpc/h at a = %.4f, Omega_m = %g, h = %g; lattice points at (i + %g) L/n; rms "
        "displacement %.3g Mpc/h per axis, velocities along it %.2f times those of linear theory",
        *(path, found.side, found.box_size, a, found.cosmology.Omega_m, found.cosmology.h, found.offset),
        *(displacement.std(), speed),
    )
    if not LINEAR[0] < speed < LINEAR[1]:
        raise DataError(
            f"{path}: velocities along the displacement are {speed:.3g} times those of linear theory, and 0.5 to 1 "
            "is usual: their unit or convention (peculiar, or over √a) was misread, or the header's time is wrong"
        )


def _check_configured(found: Snapshot, path: Path, config: Config, resolution: Resolution | None) -> None:
    """Raise DataError unless a snapshot is what the configuration tells of, naming both values."""
    simulation = config.simulation
    _check_value(path, "box size [Mpc/h]", found.box_size, simulation.box_size)
    for name in sorted(found.cosmology.model_fields_set):
        _check_value(path, f"cosmology.{name}", getattr(found.cosmology, name), getattr(config.cosmology, name))
    if resolution is not None and found.side != getattr(simulation, resolution):
        raise DataError(
            f"{path} has {found.side} particles per side, and simulation.{resolution} is "
            f"{getattr(simulation, resolution)}; correct the configuration or the path"
        )


def _check_value(path: Path, name: str, found: float, expected: float) -> None:
    if abs(found / expected - 1) > CLOSE:
        raise DataError(
            f"{path} has {name} = {found:g}, and the configuration {expected:g}; correct the one that is wrong"
        )
