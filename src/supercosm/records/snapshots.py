"""What there is to know about a snapshot, ours or anybody's: header, particle types, lattice, density."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from supercosm.errors import DataError
from supercosm.records.arrays import describe_arrays
from supercosm.records.found import Found

UNITS = {
    "box_size": "Mpc/h",
    "lattice_points_at": "cells from i L/n",
    "particle_mass": "Msun/h",
    "rms_displacement": "Mpc/h",
    "rms_velocity": "km/s",
    "density_cell": "Mpc/h",
    "smallest_density": "of the mean",
    "largest_density": "of the mean",
}
MOST = 1 << 28  # particles that are read: 645 per side, which take about 20 GB
COARSEST, FINEST = 4, 128  # cells per side of the mesh of the density
PER_CELL = 2  # particles per side of a cell, where the mesh is not the finest: eight, in the mean


def snapshot(path: Path) -> Found:
    """Describe a snapshot; of one that is too large to be read, its header."""
    from supercosm.formats.reading import totals_of

    name, header = totals_of(path)
    if sum(header.totals) > MOST:
        return _header_alone(name, header)
    return _whole(path)


def _header_alone(name: str, header: Any) -> Found:
    count, lengths = header.totals[1], header.units.lengths
    facts: dict[str, Any] = {"format": name, "particles": count, "files": header.files}
    facts |= {"box_size": header.box_size / lengths, "scale_factor": header.scale_factor}
    facts |= {"redshift": 1 / header.scale_factor - 1, "cosmology": dict(header.cosmology)}
    rows = [{"type": kind, "particles": number} for kind, number in {"dark matter": count, **header.left_out}.items()]
    note = f"Only its header was read: it has more than {MOST} particles, and more would take too much memory here."
    return Found("snapshot", facts, UNITS, {"particle_types": rows}, notes=[note])


def _whole(path: Path) -> Found:
    from supercosm.formats.particles import particles_of
    from supercosm.formats.reading import read
    from supercosm.snapshot import Snapshot, is_foreign

    found = read(path)
    box = Snapshot(**vars(particles_of(found)))
    facts: dict[str, Any] = {"format": found.format, "files": len(found.paths), "particles": len(box.ids)}
    lattice, notes = _lattice(box)
    facts |= lattice | {"box_size": box.box_size, "scale_factor": box.scale_factor, "redshift": box.redshift}
    facts["cosmology"] = box.cosmology.model_dump()
    if is_foreign(box.provenance):
        facts["cosmology"] = {name: facts["cosmology"][name] for name in ("Omega_m", "h")}
        notes.append("Made by another code: no seed is known, nor more of the cosmology than Omega_m and h.")
    facts |= {
        "particle_mass": box.particle_mass * 1e10,
        "rms_velocity": float(np.sqrt(3 * np.mean(np.square(box.velocities, dtype=np.float64)))),
        "seed": box.provenance.get("seed"),
        **_density(box),
    }
    tables = {}
    if box.left_out:
        tables["particle_types"] = _types(found, box)
        notes.append("Its dark matter is taken for all matter; particles of other types are left out.")
    if path.is_file() and h5py.is_hdf5(path):
        facts |= describe_arrays(path, "snapshot")[0]
    return Found("snapshot", facts, UNITS, tables, box.provenance, notes)


def _lattice(box: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the facts of the lattice that the particles started from, or a note why there is none."""
    try:
        displacement = box.displacement()
    except DataError as error:
        return {}, [f"No lattice: {error}."]
    rms = float(np.sqrt(3 * np.mean(np.square(displacement, dtype=np.float64))))
    facts = {"particles_per_side": box.side, "lattice_points_at": box.offset, "rms_displacement": rms}
    if displacement.std() > 0.2 * box.box_size:
        return facts, ["Particles are nowhere near the lattice points that their IDs name: this order is no lattice."]
    return facts, []


def _density(box: Any) -> dict[str, Any]:
    """Return the range of 1 + δ, and the rms of δ, on a coarse mesh that holds several particles a cell."""
    from supercosm.mesh import paint

    cells = int(np.clip(round(len(box.ids) ** (1 / 3)) // PER_CELL, COARSEST, FINEST))
    density = paint(box.positions, box.box_size, cells).numpy()
    return {
        "density_cell": box.box_size / cells,
        "smallest_density": float(density.min()),
        "largest_density": float(density.max()),
        "rms_overdensity": float(density.std(dtype=np.float64)),
    }


def _types(found: Any, box: Any) -> list[dict[str, Any]]:
    """Return a row for every particle type: number, mean mass [Msun/h], part of the mass of the matter in the box."""
    from supercosm.formats.header import LEFT_OUT

    unit, matter = found.header.units.mass * 1e10, box.particle_mass * 1e10 * len(box.ids)
    kinds = {name: kind for kind, name in LEFT_OUT.items()}
    weights = {"dark matter": (found.arrays.mass or np.nan) * len(box.ids)}
    weights |= {name: found.arrays.others.get(kinds[name]) for name in box.left_out if name in kinds}
    counts = {"dark matter": len(box.ids), **box.left_out}
    rows = []
    for name, count in counts.items():
        weight = weights.get(name)
        known = None if weight is None or not np.isfinite(weight) or not weight else weight * unit
        rows.append(
            {
                "type": name,
                "particles": count,
                "mean_mass": None if known is None else known / count,
                "part_of_matter": None if known is None else known / matter,
            }
        )
    return rows
