"""Write SWIFT's HDF5, as its own outputs are: comoving Mpc and 1e10 Msun without h, peculiar km/s, scalars in arrays.

The names are those that SWIFT, swiftsimio and yt know. Positions are kept in double precision, so that those in Mpc/h
come back to the last digit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from supercosm.files import hdf5_writer
from supercosm.formats.origin import write_made_for, write_origin
from supercosm.units import CRITICAL_DENSITY

TYPES = 7  # that SWIFT knows
LENGTH, MASS, TIME = 3.08567758149e24, 1.98841e43, 3.08567758149e19  # Mpc, 1e10 Msun, Mpc/(km/s), in cgs (IAU 2015)
CHUNK = 1 << 18  # particles per HDF5 chunk
DIMENSIONS = ("U_I", "U_L", "U_M", "U_T", "U_t")


def write(path: Path, snapshot: Any, part: slice, number: int, files: int) -> None:
    """Write some particles of a snapshot as one of several files, whole or not at all."""
    with hdf5_writer(path) as file:
        _write_header(file, snapshot, part.stop - part.start, number, files)
        _write_cosmology(file, snapshot)
        for name in ("Units", "InternalCodeUnits"):
            _write_units(file, name)
        _write_schemes(file, snapshot)
        _write_particles(file.create_group("PartType1"), snapshot, part)
        file["DMParticles"] = h5py.SoftLink("/PartType1")  # the name by which swiftsimio calls it
        write_origin(file, snapshot)
        if files > 1:
            write_made_for(file, snapshot.provenance)


def _one(value: Any) -> np.ndarray:
    """Return a number as SWIFT writes it."""
    return np.array([value])


def _numbers(count: int) -> np.ndarray:
    return np.array([count if kind == 1 else 0 for kind in range(TYPES)], np.uint64)


def _write_header(file: h5py.File, snapshot: Any, count: int, number: int, files: int) -> None:
    header, a, total = file.create_group("Header").attrs, snapshot.scale_factor, _numbers(len(snapshot.ids))
    header["Code"] = np.bytes_("SWIFT")  # whose conventions these are; /Provenance says who wrote it
    header["BoxSize"], header["Dimension"] = np.full(3, snapshot.box_size / snapshot.cosmology.h), _one(3)
    header["Time"] = _one(_age(snapshot))
    header["Redshift"], header["Scale-factor"] = _one(1 / a - 1), _one(a)
    header["NumPart_ThisFile"] = _numbers(count).astype(np.int64)
    header["NumPart_Total"] = (total & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    header["NumPart_Total_HighWord"] = (total >> np.uint64(32)).astype(np.uint32)
    header["NumFilesPerSnapshot"], header["ThisFile"] = _one(files), _one(number)
    header["NumPartTypes"], header["CanHaveTypes"] = _one(TYPES), _numbers(1).astype(np.int32)
    header["MassTable"], header["InitialMassTable"] = np.zeros(TYPES), np.zeros(TYPES)
    header["Flag_Entropy_ICs"], header["Virtual"] = _one(0), _one(0)
    for name, text in (("OutputType", "FullVolume"), ("SelectOutput", "Default"), ("RunName", "supercosm")):
        header[name] = np.bytes_(text)


def _age(snapshot: Any) -> float:
    """Return the age of a flat universe without radiation, in Mpc/(km/s)."""
    matter = snapshot.cosmology.Omega_m
    rest = np.sqrt(1 - matter)
    grown = np.arcsinh(rest / np.sqrt(matter) * snapshot.scale_factor**1.5)
    return float(2 / 3 * grown / rest / (100 * snapshot.cosmology.h))


def _write_cosmology(file: h5py.File, snapshot: Any) -> None:
    known, a = snapshot.cosmology, snapshot.scale_factor
    hubble = 100 * known.h  # km/s/Mpc, the inverse of the unit of time
    values = {
        "Cosmological run": 1, "Scale-factor": a, "Redshift": 1 / a - 1, "h": known.h, "H0 [internal units]": hubble,
        "Omega_m": known.Omega_m, "Omega_lambda": 1 - known.Omega_m, "Omega_b": known.Omega_b,
        "Omega_cdm": known.Omega_m - known.Omega_b, "Omega_r": 0.0, "Omega_k": 0.0, "Omega_nu": 0.0, "Omega_nu_0": 0.0,
        "w_0": -1.0, "w_a": 0.0, "w": -1.0, "T_CMB_0 [K]": 0.0, "N_eff": 0.0, "N_ur": 0.0, "N_nu": 0.0,
        "Critical density [internal units]": CRITICAL_DENSITY * known.h**2 * _expansion(known, a),
    }  # fmt: skip
    attributes = file.create_group("Cosmology").attrs
    for name, value in values.items():
        attributes[name] = _one(value)


def _expansion(cosmology: Any, a: float) -> float:
    """Return (H/H₀)² of a flat universe without radiation."""
    return cosmology.Omega_m / a**3 + 1 - cosmology.Omega_m


def _write_units(file: h5py.File, group: str) -> None:
    attributes = file.create_group(group).attrs
    attributes["Unit length in cgs (U_L)"] = _one(LENGTH)
    attributes["Unit mass in cgs (U_M)"] = _one(MASS)
    attributes["Unit time in cgs (U_t)"] = _one(TIME)  # so that velocities are in km/s
    attributes["Unit current in cgs (U_I)"] = _one(1.0)
    attributes["Unit temperature in cgs (U_T)"] = _one(1.0)


def _write_schemes(file: h5py.File, snapshot: Any) -> None:
    """Write the groups that readers expect to be there, empty where nothing is known."""
    file.create_group("Code").attrs["Code"] = np.bytes_("SWIFT")
    file.create_group("Policy").attrs["cosmological integration"] = _one(1)
    known, parameters = snapshot.cosmology, file.create_group("Parameters").attrs
    parameters["InitialConditions:periodic"] = np.bytes_("1")
    cosmology = {"Omega_cdm": known.Omega_m - known.Omega_b, "Omega_lambda": 1 - known.Omega_m}
    for name, value in {**cosmology, "Omega_b": known.Omega_b, "h": known.h}.items():
        parameters[f"Cosmology:{name}"] = np.bytes_(f"{value:.10g}")  # texts, as in a parameter file
    file.create_group("HydroScheme").attrs["Dimension"] = _one(3)
    file.create_group("GravityScheme")
    file.create_group("SubgridScheme")


def _write_particles(group: h5py.Group, snapshot: Any, part: slice) -> None:
    h, count = snapshot.cosmology.h, part.stop - part.start
    total = CRITICAL_DENSITY * snapshot.cosmology.Omega_m * snapshot.box_size**3 / h
    columns = {
        "Coordinates": (snapshot.positions[part].astype(np.float64) / h, {"U_L": 1}, 1, "Co-moving positions"),
        "Velocities": (snapshot.velocities[part], {"U_L": 1, "U_t": -1}, 0, "Peculiar velocities a dx/dt"),
        "Masses": (np.full(count, total / len(snapshot.ids), np.float32), {"U_M": 1}, 0, "Masses of the particles"),
        "ParticleIDs": (snapshot.ids[part], {}, 0, "Unique IDs of the particles, from 1 on in C order"),
    }
    for name, (values, dimension, power, text) in columns.items():
        chunks = (min(max(count, 1), CHUNK), *values.shape[1:])
        data = group.create_dataset(name, data=values, chunks=chunks, fletcher32=True)
        _describe(data.attrs, dimension, power, snapshot.scale_factor, text)


def _describe(attributes: Any, dimension: dict[str, int], power: int, a: float, text: str) -> None:
    """Say in which unit a column is, as SWIFT does for each of its own."""
    cgs = {"U_L": LENGTH, "U_M": MASS, "U_t": TIME}
    factor = float(np.prod([cgs[name] ** exponent for name, exponent in dimension.items()]))
    shown = " ".join(f"{name}^{exponent}" for name, exponent in dimension.items()) or "[ - ]"
    attributes["Description"] = np.bytes_(text)
    attributes["Expression for physical CGS units"] = np.bytes_(("a " if power else "") + shown)
    attributes["Lossy compression filter"] = np.bytes_("None")
    attributes["Conversion factor to CGS (not including cosmological corrections)"] = _one(factor)
    attributes["Conversion factor to physical CGS (including cosmological corrections)"] = _one(factor * a**power)
    for name in DIMENSIONS:
        attributes[f"{name} exponent"] = _one(float(dimension.get(name, 0)))
    attributes["a-scale exponent"], attributes["h-scale exponent"] = _one(float(power)), _one(0.0)
    attributes["Value stored as physical"], attributes["Property can be converted to comoving"] = _one(0), _one(1)
