"""What there is to know about one file: snapshots, pairs, densities, haloes, tables, compressed files and the like."""

from __future__ import annotations

import hashlib
import json
import lzma
import math
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from supercosm.errors import DataError
from supercosm.files import UNREADABLE, hdf5_reader
from supercosm.records import snapshots
from supercosm.records.arrays import describe_arrays
from supercosm.records.found import Found

BOX_UNITS = {"box_size": "Mpc/h", "cell": "Mpc/h"}
LARGEST = 16_000_000  # bytes of a list of the files in an export
UNPACKING = (  # what zip files raise that are damaged, encrypted, of another compression or by somebody else
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError),
    *(KeyError, TypeError, ValueError, RuntimeError, NotImplementedError, StopIteration),
)


def pairs(path: Path) -> Found:
    """Describe a file of paired fields."""
    from supercosm.pairs import PairFile

    file = PairFile(path)
    integrity, rows = describe_arrays(path, "pair file")
    bound = file.provenance.get("settings", {}).get("bound")
    facts = {
        "low_cells_per_side": file.low,
        "high_cells_per_side": file.high,
        "box_size": file.box_size,
        "scale_factor": file.scale_factor,
        "redshift": 1 / file.scale_factor - 1,
        "cosmology": file.cosmology.model_dump(),
        "seed": None if file.seed < 0 else file.seed,
        "slabs": file.slabs,
        "compressed_within": bound,
        "initial_conditions": file.has_initial,
    }
    units = BOX_UNITS | {"compressed_within": "Mpc/h"}
    return Found("pairs of fields", facts | integrity, units, {"arrays": rows}, file.provenance)


def density(path: Path) -> Found:
    """Describe a density field on a mesh, or projected slabs."""
    from supercosm.fields import read_density

    field = read_density(path)
    facts: dict[str, Any] = {
        "cells": list(field.data.shape),
        "dimensions": field.dimensions,
        "box_size": field.box_size,
    }
    facts |= {"cell": field.box_size / field.data.shape[-1]}
    facts |= {"thickness_of_slabs": field.thickness} if field.dimensions == 2 else {}
    facts |= {
        "scale_factor": field.scale_factor,
        "redshift": 1 / field.scale_factor - 1,
        "cosmology": field.cosmology.model_dump(),
        "smallest": float(field.data.min()),
        "largest": float(field.data.max()),
        "rms_overdensity": float(field.data.std(dtype=np.float64)),
    }
    units = BOX_UNITS | {"thickness_of_slabs": "Mpc/h", "smallest": "of the mean", "largest": "of the mean"}
    facts |= describe_arrays(path, "density field")[0]
    return Found("density field", facts, units, origin=field.provenance)


def haloes(path: Path) -> Found:
    """Describe a halo catalogue."""
    from supercosm.halofile import FILE_COLUMNS, read_haloes

    found = read_haloes(path)
    facts = {
        "haloes": len(found),
        "masses": [float(found.masses.min()), float(found.masses.max())] if len(found) else None,
        "least_particles": found.minimum,
        "linking_length": found.linking,
        "particle_mass": found.particle_mass,
        "box_size": found.box_size,
        "scale_factor": found.scale_factor,
        "redshift": 1 / found.scale_factor - 1,
        "cosmology": found.cosmology.model_dump(),
    }
    units = BOX_UNITS | {"masses": "Msun/h", "particle_mass": "Msun/h", "linking_length": "mean separations"}
    rows = [{"column": name, "unit": unit or None, "what": what} for name, (unit, what) in FILE_COLUMNS.items()]
    facts |= describe_arrays(path, "halo catalogue")[0]
    return Found("halo catalogue", facts, units, {"columns": rows}, found.provenance)


def hdf5(path: Path) -> Found:
    """Describe an HDF5 file by what it holds."""
    with hdf5_reader(path, "HDF5 file") as file:
        groups, attributes = set(file), set(file.attrs)
        kind = str(np.asarray(file.attrs.get("kind", "")).astype(str))
    if kind == "supercosm pairs":
        return pairs(path)
    if "density" in groups and "dimensions" in attributes:
        return density(path)
    if "Haloes" in groups:
        return haloes(path)
    if "Header" in groups:
        return snapshots.snapshot(path)
    integrity, rows = describe_arrays(path, "HDF5 file")
    return Found("HDF5 file", integrity, tables={"arrays": rows})


def table(path: Path) -> Found:
    """Describe an ECSV table: what it says of itself, and a row for each column."""
    from supercosm.tables import read_table

    content = read_table(path)
    rows = []
    for name in content.colnames:
        column = content[name]
        values = np.asarray(getattr(column, "value", column))
        known = values[np.isfinite(values)] if values.dtype.kind in "iuf" else values[:0]
        ends = [float(known.min()), float(known.max())] if known.size else [None, None]
        unit = str(column.unit) if getattr(column, "unit", None) else None
        rows.append({"column": name, "unit": unit, "type": str(values.dtype), "smallest": ends[0], "largest": ends[1]})
    said = {
        key: value for key, value in content.meta.items() if key != "provenance" and key != "__serialized_columns__"
    }
    facts = {"rows": len(content), "columns": len(rows), **_plain(said)}
    return Found("table", facts, tables={"columns": rows}, origin=_plain(content.meta.get("provenance") or {}))


def compressed(path: Path) -> Found:
    """Describe a .scz file; its SHA-256 is verified."""
    from supercosm.compression import bitstream

    header, blobs = bitstream.read(path)
    shape = header.get("shape") or [header.get("side")] * 3
    if not isinstance(shape, list) or not all(isinstance(side, int) and 0 < side < LARGEST for side in shape):
        raise DataError(f"{path} holds a field of the shape {str(shape)[:100]}, which is none; make it again")
    numbers = math.prod(shape) * (6 if header.get("kind") == "snapshot" else 1)
    size = path.stat().st_size
    names = ("box_size", "scale_factor", "cosmology", "bounds", "bound", "step", "error", "codec", "coder", "predicted")
    facts = {
        "holds": header.get("kind"),
        "shape": shape,
        "bytes": size,
        "times_smaller_than_float32": 4 * numbers / size,
        **{name: header[name] for name in names if name in header},
        "sha256_agrees": True,
    }
    rows = [{"part": name, "bytes": len(blob)} for name, blob in sorted(blobs.items())]
    own = header.get("provenance_of_file")
    origin = {**(own if isinstance(own, dict) else {"stage": "compress"}), "of": header.get("provenance") or None}
    return Found("compressed file", facts, BOX_UNITS, {"parts": rows}, origin)


def slab(path: Path) -> Found:
    """Describe a FITS image; its checksum is verified."""
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyWarning)
            with fits.open(path, checksum=True) as file:
                header, data = file[0].header, np.asarray(file[0].data, np.float64)
    except (AstropyWarning, *UNREADABLE) as error:
        raise DataError(
            f"{path} cannot be read as a FITS image ({' '.join(str(error).split())}); make it again"
        ) from error
    facts = {"pixels": list(data.shape), "smallest": float(data.min()), "largest": float(data.max())}
    names = {"BOXSIZE": "box_size", "DEPTH": "depth", "CDELT1": "pixel", "SCALEFAC": "scale_factor"}
    facts |= {name: header[key] for key, name in names.items() if key in header}
    facts["has_a_checksum_that_agrees"] = "CHECKSUM" in header
    return Found("FITS image", facts, {"box_size": "Mpc/h", "depth": "Mpc/h", "pixel": "Mpc/h"})


def packed(path: Path) -> Found:
    """Describe an exported run; the SHA-256 of every file that has one is verified."""
    from supercosm.records.crate import METADATA
    from supercosm.records.export import SUMS

    try:
        with zipfile.ZipFile(path) as file:
            lines = _small(file, SUMS).decode().splitlines()
            root = next(e for e in json.loads(_small(file, METADATA))["@graph"] if e["@id"] == "./")
            wrong = [name for digest, name in (line.split("  ", 1) for line in lines) if _sha256(file, name) != digest]
            facts = {"name": root["name"], "date": root["datePublished"], "files": len(file.namelist())}
    except UNPACKING as error:
        raise DataError(f"{path} is no exported run, or a damaged one ({error}); export it again") from error
    if wrong:
        raise DataError(f"{path}: {wrong[0]} is not what it was when the run was exported; export it again")
    return Found("exported run", facts | {"files_whose_sha256_agrees": len(lines)})


def _sha256(file: zipfile.ZipFile, name: str) -> str:
    with file.open(name) as member:
        return hashlib.file_digest(member, "sha256").hexdigest()


def _small(file: zipfile.ZipFile, name: str) -> bytes:
    """Read a member of a few kilobytes; a zip file from elsewhere may claim one that fills the memory."""
    size = file.getinfo(name).file_size
    if size > LARGEST:
        raise ValueError(f"{name} has {size} bytes, too many for a list of files")
    return file.read(name)


def history(path: Path) -> Found:
    """Describe the history of a training."""
    from supercosm.history import diagnose, read_history

    rows = read_history(path)
    facts = {"rows": len(rows["step"]), "steps": float(rows["step"][-1]) if len(rows["step"]) else None}
    for name in ("train_loss", "validation_loss"):
        known = rows.known(name)[1]
        facts[f"last_{name}"] = float(known[-1]) if len(known) else None
    return Found("history of a training", facts, notes=[diagnose(path)])


def configuration(path: Path) -> Found:
    """Describe a configuration file; one that is no whole configuration is read on top of config.yaml beside it."""
    from supercosm.config import load_config

    base = path.with_name("config.yaml")
    overlay = path.name != base.name and base.is_file()
    config = load_config([base, path] if overlay else [path])
    simulation = config.simulation
    facts = {
        "name": config.name,
        "read_on_top_of": base.name if overlay else None,
        "box_size": simulation.box_size,
        "particles_per_side": [simulation.low, simulation.high],
        "scale_factors": simulation.scale_factors,
        "cosmology": config.cosmology.model_dump(),
        **{f"{role}_seeds": getattr(config.seeds, role) for role in ("training", "validation", "test")},
        "samples": config.superresolution.samples,
        "device": config.device,
        "coders": list(config.compression.expanded()),
        "tasks_of_classification": list(config.classification.tasks),
    }
    rows = [
        {"model": name, "family": model.family, "told": model.condition + model.told, "steps": model.training.steps}
        for name, model in config.models.items()
    ]
    return Found("configuration", facts, BOX_UNITS, {"models": rows})


def _plain(value: Any) -> Any:
    """Turn what a table's header may hold into plain JSON values."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
