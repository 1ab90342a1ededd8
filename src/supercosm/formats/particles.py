"""From what files hold to particles in this package's units and order, checked.

Files of this package carry /Provenance: they were checked when they were written, and their IDs name lattice points.
All others are foreign: masses must fill the box, and `supercosm.lattice` finds out what the IDs mean.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.formats.header import DARK_MATTER, Header, LengthUnit
from supercosm.formats.masses import Matter, check_mass
from supercosm.formats.reading import Found, read
from supercosm.lattice import CENTRES, find_lattice, in_c_order
from supercosm.sentences import sentence

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Particles:
    """What a snapshot is made of; see `supercosm.snapshot.Snapshot`, whose fields these are."""

    positions: np.ndarray
    velocities: np.ndarray
    ids: np.ndarray
    box_size: float
    scale_factor: float
    cosmology: Cosmology
    provenance: dict[str, Any]
    offset: float = CENTRES
    fault: str = ""
    left_out: dict[str, int] = field(default_factory=dict)


def read_particles(path: str | Path, length_unit: LengthUnit | None = None) -> Particles:
    """Read a snapshot of any known format; see `supercosm.snapshot.read_snapshot`."""
    return particles_of(read(path, length_unit))


def particles_of(found: Found) -> Particles:
    """Bring what files hold into this package's units and order; raise DataError where it is no snapshot."""
    name, header, arrays = found.paths[0], found.header, found.arrays
    lengths = np.float32 if arrays.positions.dtype == np.float32 else np.float64
    _check_columns(found, name)
    ids, positions, velocities = _by_id(arrays.ids, arrays.positions, arrays.velocities, name)
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number is told below
        own = positions if positions.dtype == lengths else None  # a new array only where the type changes
        positions = np.divide(positions, lengths(header.units.lengths), out=own).astype(np.float32, copy=False)
        velocities = velocities.astype(np.float32, copy=False)
    particles = Particles(
        positions=positions,
        velocities=velocities,
        ids=ids,
        box_size=header.box_size / header.units.lengths,
        scale_factor=header.scale_factor,
        cosmology=cosmology_of(found.origin, found.header, name),
        provenance=found.origin.get("provenance", {}),
        offset=found.origin.get("offset", CENTRES),
        left_out=found.left_out,
    )
    _check_positions(particles, name)
    if found.origin:
        return particles
    weighed = (arrays.mass, arrays.others, particles.left_out)
    alone = check_mass(Matter(header, len(particles.ids), *weighed, particles.cosmology.Omega_m), name)
    if particles.left_out:
        shown = ", ".join(f"{number} of {kind}" for kind, number in particles.left_out.items())
        log.info("%s: its dark matter is taken for all matter; left out are %s", name, shown)
    return _on_lattice(particles, found.stated, shared=not alone)


def _check_columns(found: Found, path: Path) -> None:
    arrays, count = found.arrays, len(found.arrays.ids)
    if arrays.positions.shape != (count, 3) or arrays.velocities.shape != (count, 3) or arrays.ids.shape != (count,):
        raise DataError(
            f"{path}: a snapshot needs positions (N, 3), velocities (N, 3) and ids (N,), not "
            f"{arrays.positions.shape}, {arrays.velocities.shape}, {arrays.ids.shape}"
        )
    expected = found.header.totals[DARK_MATTER]
    if not found.origin and count != expected:
        raise DataError(f"{path} holds {count} particles, and its header tells of {expected}; it is damaged")


def _by_id(
    ids: np.ndarray, positions: np.ndarray, velocities: np.ndarray, path: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort particles by ID; raise DataError when some have the same."""
    if ids.dtype.kind not in "iu" or (ids.dtype.kind == "i" and len(ids) and ids.min() < 0):
        raise DataError(f"{path}: particle IDs are no numbers from 0 on, so the particles have no place on a lattice")
    if not np.all(ids[1:] > ids[:-1]):
        order = np.argsort(ids, kind="stable")
        ids, positions, velocities = ids[order], positions[order], velocities[order]
        if np.any(ids[1:] == ids[:-1]):
            raise DataError(f"{path}: particle IDs repeat, so the particles have no place on a lattice")
    return ids.astype(np.uint64, copy=False), positions, velocities


def cosmology_of(origin: dict[str, Any], header: Header, path: Path) -> Cosmology:
    """Return the cosmology of a snapshot: its own, or what a foreign header tells; raise DataError for none."""
    if "cosmology" in origin:
        return origin["cosmology"]
    try:
        return Cosmology(**header.cosmology)
    except ValidationError as error:
        fault = sentence(error.errors()[0], Cosmology.model_json_schema)
        raise DataError(f"{path}: its header tells of no universe that is known: {fault}") from None


def _check_positions(particles: Particles, path: Path) -> None:
    """Raise DataError for what is no place or no velocity; wrap particles that left the box into it."""
    for name in ("positions", "velocities"):
        bad = np.count_nonzero(~np.isfinite(getattr(particles, name)))
        if bad:
            raise DataError(f"{path}: {bad} of the {name} are NaN or infinite; the file cannot be used")
    positions, box = particles.positions, particles.box_size
    low, high = positions.min(initial=0), positions.max(initial=0)
    if low < -box or high > 2 * box:
        raise DataError(
            f"{path}: positions run from {low:g} to {high:g} Mpc/h in a box of {box:g} Mpc/h; "
            "coordinates and BoxSize must both be in comoving kpc/h"
        )
    if low < 0 or high > box * 1.000001:
        outside = np.count_nonzero(((positions < 0) | (positions > box * 1.000001)).any(axis=1))
        log.warning(
            "%s: %d of %d particles lie outside the box of %g Mpc/h, at %g to %g; they are wrapped into it",
            *(path, outside, len(positions), box, positions.min(), positions.max()),
        )
    if low < 0 or high >= box:
        np.remainder(positions, np.float32(box), out=positions)
        positions[positions >= box] = 0.0  # float32 may round up to the box side, which is the point 0


def _on_lattice(particles: Particles, stated: float | None, shared: bool) -> Particles:
    """Bring particles into the order of their lattice; where there is none, say why and leave them as they are."""
    try:
        lattice = find_lattice(particles.positions, particles.ids, particles.box_size, stated, shared)
    except DataError as error:
        return replace(particles, fault=str(error))
    count = len(particles.ids)
    side = round(count ** (1 / 3))
    positions, velocities = (
        np.ascontiguousarray(in_c_order(values, side, lattice.order)).reshape(-1, 3)
        for values in (particles.positions, particles.velocities)
    )
    log.info(
        "lattice: %d³ particles, IDs from %d on in %s order, lattice points at (i + %g) L/%d, rms displacement %.3g "
        "Mpc/h per axis, neighbours correlated by %.2f",
        *(side, lattice.first, lattice.order, lattice.offset, side, lattice.rms, lattice.correlation),
    )
    ids = np.arange(1, count + 1, dtype=np.uint64)
    return replace(particles, positions=positions, velocities=velocities, ids=ids, offset=lattice.offset)
