"""Displacement and velocity fields (3, n, n, n) in NumPy files, as map2map has them, with a description beside them.

The description is YAML, or JSON, which YAML contains:

    box_size: 100.0               # Mpc/h
    scale_factor: 1.0
    cosmology: {Omega_m: 0.3111, h: 0.6766}   # and, where known, Omega_b, n_s, sigma8
    displacement: disp.npy        # position − lattice point [length]
    velocity: vel.npy             # peculiar [km/s]
    length: Mpc/h                 # or kpc/h: of box_size and displacement
    offset: 0.5                   # lattice point i is (i + offset) L/n: 0.5, 0, or another of a run with gas
    left_out: {gas: 262144}       # particles that the run had beside these, if any
"""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np
import yaml
from pydantic import Field, ValidationError

from supercosm.errors import DataError
from supercosm.formats.header import Arrays, Header, LengthUnit, Units, check
from supercosm.sentences import sentence
from supercosm.settings import Settings
from supercosm.units import KPC

SUFFIXES = (".yaml", ".yml", ".json")
LARGEST = 1 << 20  # bytes of a description
FAULTS = 3  # of a description that one sentence names


class Cosmology(Settings):
    """What is known of the cosmology."""

    Omega_m: float = Field(gt=0, lt=1)
    h: float = Field(gt=0.1, lt=2)
    Omega_b: float | None = Field(None, gt=0, lt=1)
    n_s: float | None = Field(None, gt=0, lt=2)
    sigma8: float | None = Field(None, gt=0, lt=3)


class Description(Settings):
    """The file beside the fields."""

    box_size: float = Field(gt=0)
    scale_factor: float = Field(gt=0)
    cosmology: Cosmology
    displacement: str
    velocity: str
    length: LengthUnit = "Mpc/h"
    offset: float = Field(0.5, ge=-0.5, le=1.5)
    left_out: dict[str, int] = Field(default_factory=dict)


def description_in(path: Path) -> Path | None:
    """Return the description that a path is, or that lies in a folder; None where there is no single one."""
    if path.is_file():
        return path if path.suffix in SUFFIXES else None
    found = sorted(file for suffix in SUFFIXES for file in path.glob(f"*{suffix}"))
    return found[0] if len(found) == 1 else None


def describe(path: Path) -> Description:
    """Read a description; raise DataError for anything else."""
    if path.stat().st_size > LARGEST:
        raise DataError(f"{path} has {path.stat().st_size} bytes, too many for the description of a snapshot")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise DataError(f"{path} is no description of a snapshot: it holds no keys; docs/own.md shows one")
        if "weights_sha256" in content:
            raise DataError(f"{path.parent} is the folder of a model, no snapshot: `supercosm inspect` tells more")
        return Description.model_validate(content)
    except ValidationError as error:
        schema = Description.model_json_schema
        faults = "; ".join(sentence(fault, schema, "key") for fault in error.errors()[:FAULTS])
        raise DataError(f"{path} is no description of a snapshot: {faults}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read as the description of a snapshot ({' '.join(str(error).split())})"
        ) from None


def files_of(path: Path) -> list[Path]:
    """List the files of a snapshot: the description and both fields."""
    described = describe(path)
    return [path, path.parent / described.displacement, path.parent / described.velocity]


def read_header(path: Path) -> Header:
    """Read what the description says; the number of particles is that of the fields."""
    described = describe(path)
    field, velocity = (_open(file) for file in files_of(path)[1:])
    if field.shape != velocity.shape:
        raise DataError(f"{path}: displacement and velocity have the shapes {field.shape} and {velocity.shape}")
    counts = (0, field[0].size)
    header = Header(
        box_size=described.box_size,
        scale_factor=described.scale_factor,
        cosmology=described.cosmology.model_dump(exclude_none=True),
        counts=counts,
        totals=counts,
        units=Units(lengths=KPC if described.length == "kpc/h" else 1.0, stated=True, root_a=False),
    )
    check(header, path, field.nbytes + velocity.nbytes + 4 * header.count)
    return header


def read_arrays(path: Path, header: Header) -> Arrays:
    """Read the fields as particles, in the units of the header."""
    described = describe(path)
    displacement, velocity = (np.array(_open(file)) for file in files_of(path)[1:])
    n, axes = displacement.shape[-1], np.arange(displacement.shape[-1])
    positions = np.moveaxis(displacement, 0, -1).astype(np.float64)
    for axis in range(3):
        points = (axes + described.offset) * (header.box_size / n)
        positions[..., axis] += points.reshape([n if a == axis else 1 for a in range(3)])
    return Arrays(
        (positions.reshape(-1, 3) % header.box_size).astype(np.float32),
        np.ascontiguousarray(np.moveaxis(velocity, 0, -1).reshape(-1, 3)),
        np.arange(1, n**3 + 1, dtype=np.uint64),
    )


def _open(path: Path) -> np.ndarray:
    """Map a field, which takes no memory and fails when the file is shorter than it says; never unpickle anything."""
    if not path.is_file():
        raise DataError(f"there is no field {path}; correct its name in the description")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, OverflowError, SyntaxError, TypeError, MemoryError, TokenError) as error:
        raise DataError(
            f"{path} cannot be read as a field (truncated, damaged or no .npy file: {str(error)[:200]})"
        ) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise DataError(f"{path} holds no floating-point numbers; a field has the shape (3, n, n, n)")
    if array.ndim != 4 or len(array) != 3 or len(set(array.shape[1:])) != 1 or not array.size:
        raise DataError(f"{path} has the shape {array.shape}; a field has the shape (3, n, n, n)")
    return array
