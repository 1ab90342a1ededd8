"""Gadget-style HDF5: this package's own files, Gadget-2, -3 and -4, AREPO, and others that write like them.

/Header and, in Gadget-4 and AREPO, /Parameters hold attributes; /PartType1 holds the particles. Velocities are
peculiar ones over √a (Springel 2005; Gadget-4's and AREPO's data sets say so in the attribute a_scaling).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from supercosm import stored
from supercosm.errors import DataError
from supercosm.formats.header import (
    DARK_MATTER,
    UNITS,
    Arrays,
    Header,
    check,
    cube,
    known_cosmology,
    mass_table,
    no_particles,
    numbers,
    positive,
    units_of,
)

WHERE = "the /Header"
COLUMNS = ("PartType1/Coordinates", "PartType1/Velocities", "PartType1/ParticleIDs")
MASSES = ("Masses", "DynamicalMasses")  # the latter of SWIFT's black holes
PIECE = 1 << 22  # masses that are read at once
PARAMETERS = {
    "Omega_m": ("Omega0",),
    "h": ("HubbleParam",),
    "Omega_lambda": ("OmegaLambda",),
    "Omega_b": ("OmegaBaryon",),
}


def read_header(file: h5py.File, path: Path) -> Header:
    """Read the header of one file; raise DataError when something is missing or impossible."""
    if "Header" not in file:
        raise DataError(f"{path} is no Gadget-style snapshot: it lacks /Header; `supercosm inspect` tells what it is")
    attributes = dict(file["Header"].attrs)
    check_columns(file, attributes, path, "Gadget-style snapshot")
    parameters = {**_attributes(file, "Parameters"), **attributes}
    lacking = [name for name in ("BoxSize", "Time") if name not in attributes]
    lacking += [name for name in ("Omega0", "HubbleParam") if name not in parameters]
    if lacking:
        raise DataError(f"{path} is no Gadget-style snapshot: its /Header lacks {', '.join(lacking)}")
    files = int(attributes.get("NumFilesPerSnapshot", 1))
    found = {ours: parameters[name] for ours, names in PARAMETERS.items() for name in names if name in parameters}
    stated = {**parameters, **_attributes(file, "Units")}
    here = numbers(attributes["NumPart_ThisFile"] if "NumPart_ThisFile" in attributes else [0, len(file[COLUMNS[2]])])
    header = Header(
        box_size=cube(attributes["BoxSize"], WHERE, path),
        scale_factor=positive(attributes["Time"], "Time", WHERE, path),
        cosmology=known_cosmology(found, path),
        counts=here,
        totals=numbers(attributes.get("NumPart_Total", here), attributes.get("NumPart_Total_HighWord")),
        files=files,
        masses=mass_table(attributes.get("MassTable", [0.0, 0.0])),
        units=units_of({what: float(stated[name]) for what, name in UNITS.items() if name in stated}, path),
    )
    redshift = float(attributes.get("Redshift", 1 / header.scale_factor - 1))
    if not abs((1 + redshift) * header.scale_factor - 1) < 1e-3:
        raise DataError(
            f"{path}: Time = {header.scale_factor:g} is no scale factor of Redshift = {redshift:g}; only "
            "cosmological runs are known"
        )
    check(header, path, path.stat().st_size, stored.DEEPEST)
    return header


def read_arrays(file: h5py.File, path: Path, header: Header) -> Arrays:
    """Read the dark matter of one file, in its units."""
    others = {kind: weight(file, header, kind, path) for kind in header.others()}
    if not header.count:
        return no_particles(others)
    positions, velocities, ids = (column(file, name, path) for name in COLUMNS)
    masses = "PartType1/Masses"
    return Arrays(
        positions,
        scaled(velocities, np.float32(velocity_factor(file, header))),
        ids,
        mean_of(column(file, masses, path)) if header.mass == 0 and masses in file else header.mass or None,
        others,
    )


def check_columns(file: h5py.File, attributes: Mapping[str, Any], path: Path, what: str) -> None:
    """Raise DataError where a file lacks its dark matter; one of several files may have none."""
    here = numbers(attributes.get("NumPart_ThisFile", [0, 1]))
    if len(here) > DARK_MATTER and here[DARK_MATTER] == 0:
        return
    for name in ("PartType1", *COLUMNS):
        if name not in file:
            raise DataError(f"{path} is no {what}: it lacks /{name}")


def weight(file: h5py.File, header: Header, kind: int, path: Path) -> float | None:
    """Return the mass of all particles of another type in one file; None where the file does not give it."""
    if header.mass_of(kind):
        return header.mass_of(kind) * header.counts[kind]
    names = (f"PartType{kind}/{name}" for name in MASSES)
    name = next((name for name in names if name in file), None)
    if name is None:
        return None
    data = checked(file, name, path)
    pieces = (data[start : start + PIECE].sum(dtype=np.float64) for start in range(0, data.size, PIECE))
    return float(sum(pieces))


def scaled(values: np.ndarray, factor: np.float32) -> np.ndarray:
    """Multiply by a factor, in place where that keeps the type: these are the largest arrays there are."""
    return np.multiply(values, factor, out=values) if values.dtype.kind == "f" else values * factor


def velocity_factor(file: h5py.File, header: Header) -> float:
    """Return the factor to peculiar km/s: √a, or the power of a that the data set names."""
    power = float(file["PartType1/Velocities"].attrs.get("a_scaling", 0.5))
    root = np.sqrt(header.scale_factor) if power == 0.5 else header.scale_factor**power
    return header.units.velocity * root


def mean_of(masses: np.ndarray) -> float:
    """Return the mean of particle masses."""
    return float(masses.mean(dtype=np.float64))


def column(file: h5py.File, name: str, path: Path) -> np.ndarray:
    """Read a data set, once it is sure that the file is as large as it says."""
    return checked(file, name, path)[:]


def checked(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """Return a data set of numbers that the file holds as many of as it says; raise DataError for any other."""
    data = file[name]
    if not isinstance(data, h5py.Dataset):
        raise DataError(f"{path}: /{name} holds no numbers; the file is damaged, or not of this kind")
    if data.file.filename != file.filename:
        raise DataError(f"{path}: /{name} lies in other files; name those, or their folder, instead")
    stored.check(data, path)
    return data


def _attributes(file: h5py.File, group: str) -> dict[str, Any]:
    return dict(file[group].attrs) if group in file else {}
