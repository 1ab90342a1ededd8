"""Halo catalogues as HDF5 files: units beside every column, provenance, and checksums."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.files import hdf5_reader, hdf5_writer
from supercosm.statistics.haloes import COLUMNS, Haloes
from supercosm.stored import positive

FORMAT = 1
CHUNK = 1 << 16  # haloes per HDF5 chunk
LENGTH = "comoving Mpc/h"
FILE_COLUMNS = {
    "ids": ("", "smallest particle ID in the halo"),
    "particles": ("", "number of particles"),
    "masses": ("Msun/h", "particles times particle mass, not corrected for their finite number"),
    "positions": (LENGTH, "centre of mass"),
    "centres": (LENGTH, "shrinking-sphere centre of the densest part"),
    "velocities": ("km/s", "mean peculiar velocity"),
    "dispersions": ("km/s", "rms of one component of the velocities about their mean"),
    "rms_radii": (LENGTH, "rms distance of the particles from the centre of mass"),
    "radii": (LENGTH, "largest distance of a particle from the centre of mass"),
}
NUMBERS = {
    "box_size": LENGTH,
    "scale_factor": "",
    "particle_mass": "Msun/h",
    "linking": "mean particle separations",
    "minimum": "particles",
}


def write_haloes(path: str | Path, haloes: Haloes) -> None:
    """Write a catalogue, from none to any number of haloes, whole or not at all."""
    with hdf5_writer(path) as file:
        header = file.create_group("Header").attrs
        header["format"] = FORMAT
        for name, unit in NUMBERS.items():
            header[name] = getattr(haloes, name)
            header[f"{name}_unit"] = np.bytes_(unit)
        header["cosmology"] = np.bytes_(haloes.cosmology.model_dump_json())
        header["provenance"] = np.bytes_(json.dumps(haloes.provenance, sort_keys=True))
        group = file.create_group("Haloes")
        for name, (unit, meaning) in FILE_COLUMNS.items():
            values = getattr(haloes, name)
            chunks = (min(len(haloes), CHUNK), *values.shape[1:]) if len(haloes) else None
            column = group.create_dataset(name, data=values, chunks=chunks, fletcher32=len(haloes) > 0)
            column.attrs["unit"], column.attrs["meaning"] = np.bytes_(unit), np.bytes_(meaning)


def read_haloes(path: str | Path) -> Haloes:
    """Read a catalogue; raise DataError when it is missing, damaged, of another kind or of a newer format."""
    with hdf5_reader(path, "halo catalogue") as file:
        header = _header(file, Path(path))
        columns = {name: file["Haloes"][name][:] for name in COLUMNS}
        return Haloes(
            **columns,
            box_size=positive(header, "box_size"),
            scale_factor=positive(header, "scale_factor"),
            particle_mass=positive(header, "particle_mass"),
            linking=float(header["linking"]),
            minimum=int(header["minimum"]),
            cosmology=Cosmology.model_validate_json(bytes(header["cosmology"])),
            provenance=json.loads(header["provenance"]),
        )


def _header(file: h5py.File, path: Path) -> dict:
    header = dict(file["Header"].attrs) if "Header" in file else {}
    wanted = ["format", *NUMBERS, "cosmology", "provenance"]
    lacking = [f"/Header {name}" for name in wanted if name not in header]
    lacking += [f"/Haloes/{name}" for name in COLUMNS if f"Haloes/{name}" not in file]
    if lacking:
        raise DataError(f"{path} is no halo catalogue: it lacks {', '.join(lacking[:3])}; make one of a snapshot")
    if int(header["format"]) > FORMAT:
        raise DataError(
            f"{path} has format {int(header['format'])}, and this version reads up to {FORMAT}; update supercosm"
        )
    return header
