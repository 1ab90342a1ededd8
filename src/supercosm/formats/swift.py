"""SWIFT's HDF5: comoving lengths and masses without h, peculiar velocities, units in /Units.

Every data set names the power of the scale factor that brings it to physical units (a-scale exponent: 1 for
Coordinates, 0 for Velocities), and may say that it is physical already (Value stored as physical).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from supercosm.errors import DataError
from supercosm.formats import gadgethdf5
from supercosm.formats.header import (
    Arrays,
    Header,
    check,
    cube,
    known_cosmology,
    no_particles,
    numbers,
    positive,
    units_of,
)
from supercosm.stored import DEEPEST

WHERE = "the /Header"
LENGTH, MASS, TIME = "Unit length in cgs (U_L)", "Unit mass in cgs (U_M)", "Unit time in cgs (U_t)"
NAMES = {"Omega_m": "Omega_m", "Omega_lambda": "Omega_lambda", "Omega_b": "Omega_b", "h": "h"}


def is_swift(file: h5py.File) -> bool:
    """Tell SWIFT's files from Gadget's."""
    return "Cosmology" in file and "Units" in file and LENGTH in file["Units"].attrs


def read_header(file: h5py.File, path: Path) -> Header:
    """Read the header of one file; raise DataError when something is missing or impossible."""
    if "Header" not in file:
        raise DataError(f"{path} is no snapshot of SWIFT: it lacks /Header")
    gadgethdf5.check_columns(file, file["Header"].attrs, path, "snapshot of SWIFT")
    attributes, cosmology, units = (dict(file[name].attrs) for name in ("Header", "Cosmology", "Units"))
    lacking = [n for n in ("BoxSize", "NumPart_ThisFile", "NumPart_Total") if n not in attributes]
    lacking += [n for n in ("Omega_m", "h", "Scale-factor") if n not in cosmology]
    lacking += [n for n in (MASS, TIME) if n not in units]
    if lacking:
        raise DataError(f"{path} is no cosmological snapshot of SWIFT: it lacks {', '.join(lacking)}")
    if not _one(cosmology.get("Cosmological run", 1)):
        raise DataError(f"{path} is no cosmological run, it says: only those are known")
    found = known_cosmology({ours: _one(cosmology[n]) for ours, n in NAMES.items() if n in cosmology}, path)
    cgs = {"length": _one(units[LENGTH]), "mass": _one(units[MASS])}
    cgs["velocity"] = cgs["length"] / _one(units[TIME])
    header = Header(
        box_size=cube(attributes["BoxSize"], WHERE, path),
        scale_factor=positive(cosmology["Scale-factor"], "Scale-factor", "/Cosmology", path),
        cosmology=found,
        counts=numbers(attributes["NumPart_ThisFile"]),
        totals=numbers(attributes["NumPart_Total"], attributes.get("NumPart_Total_HighWord")),
        files=int(_one(attributes.get("NumFilesPerSnapshot", 1))),
        units=units_of(cgs, path, root_a=False, h=found["h"]),
    )
    check(header, path, path.stat().st_size, DEEPEST)
    return header


def read_arrays(file: h5py.File, path: Path, header: Header) -> Arrays:
    """Read the dark matter of one file, in its units."""
    others = {kind: gadgethdf5.weight(file, header, kind, path) for kind in header.others()}
    if not header.count:
        return no_particles(others)
    positions, velocities, ids = (gadgethdf5.column(file, name, path) for name in gadgethdf5.COLUMNS)
    masses = "PartType1/Masses"
    if masses not in file:
        raise DataError(f"{path} is no snapshot of SWIFT: it lacks /{masses}")
    a = header.scale_factor
    comoving = _scaling(file[gadgethdf5.COLUMNS[0]], 1.0, a) / a
    return Arrays(
        positions if comoving == 1 else positions * comoving,
        velocities * np.float32(header.units.velocity * _scaling(file[gadgethdf5.COLUMNS[1]], 0.0, a)),
        ids,
        gadgethdf5.mean_of(gadgethdf5.column(file, masses, path)),
        others,
    )


def _scaling(data: h5py.Dataset, usual: float, a: float) -> float:
    """Return the factor that brings a data set to physical units at scale factor a, units aside."""
    if _one(data.attrs.get("Value stored as physical", 0)):
        return 1.0
    power = _one(data.attrs.get("a-scale exponent", usual))
    return a if power == 1 else a**power


def _one(value: Any) -> float:
    """Return an attribute, which SWIFT writes as an array of one, as a number."""
    return float(np.asarray(value).reshape(-1)[0])
