"""Read a snapshot of any known format: what it is shows in its content, not in its name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.files import hdf5_reader, sha256
from supercosm.formats import bigfolder, gadgetbinary, gadgethdf5, latticefields, parts, swift
from supercosm.formats.header import Arrays, Header, LengthUnit, check_alike
from supercosm.lattice import CENTRES
from supercosm.units import KPC

HDF5 = b"\x89HDF\r\n\x1a\n"
MADE_FOR = "made_for"  # attribute of /Provenance in files of a snapshot of several: what they all are made of
KNOWN = (
    "HDF5 of Gadget-2, -3, -4, AREPO and SWIFT, Gadget's binary formats 1 and 2, BigFile folders of MP-Gadget, and "
    ".npy fields with a description in YAML"
)


@dataclass(frozen=True)
class Found:
    """A snapshot as its files hold it. origin: what this package's own files tell of provenance, cosmology, offset."""

    format: str
    paths: list[Path]
    header: Header
    arrays: Arrays
    origin: dict[str, Any]


def read(path: str | Path, length_unit: LengthUnit | None = None) -> Found:
    """Read all files of a snapshot, in their units. length_unit: of files that do not say it, or say it wrongly.

    Raises DataError when something is missing, truncated, damaged, or of no known format.
    """
    name, paths, header_of, arrays_of = _recognise(Path(path))
    headers = [header_of(part) for part in paths]
    check_alike(headers, paths)
    if length_unit is not None:
        units = replace(headers[0].units, lengths=KPC if length_unit == "kpc/h" else 1.0, stated=True)
        headers = [replace(header, units=units) for header in headers]
    found = [arrays_of(part, header) for part, header in zip(paths, headers, strict=True)]
    return Found(name, paths, headers[0], _joined(found, headers), _origin(paths) if name == "gadget-hdf5" else {})


def files_of(path: str | Path) -> list[Path]:
    """List the files that a snapshot consists of."""
    name, paths, *_ = _recognise(Path(path))
    if name == "bigfile":
        return bigfolder.files_of(paths[0])
    return latticefields.files_of(paths[0]) if name == "npy" else paths


def checksum(path: str | Path) -> str:
    """Return the SHA-256 of a snapshot's file; of several files that of their checksums in order."""
    found = [sha256(file) for file in files_of(path)]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def is_hdf5(path: str | Path) -> bool:
    """Tell whether a file is HDF5."""
    return Path(path).is_file() and _start(Path(path)) == HDF5


Recognised = tuple[str, list[Path], Callable[[Path], Header], Callable[[Path, Header], Arrays]]


def _recognise(path: Path) -> Recognised:
    """Return the format's name, the files, and the functions that read header and particles of one of them."""
    if bigfolder.is_bigfile(path):
        return "bigfile", [path], bigfolder.read_header, bigfolder.read_arrays
    description = latticefields.description_in(path)
    if description is not None:
        return "npy", [description], latticefields.read_header, latticefields.read_arrays
    first = parts.first_file(path)
    start = _start(first)
    kind = gadgetbinary.kind_of(start)
    if kind is not None:
        header_of = partial(gadgetbinary.read_header, kind=kind)
        paths = parts.all_files(first, header_of(first).files)
        return "gadget-binary", paths, header_of, lambda part, header: gadgetbinary.read_arrays(part, kind, header)
    if start == HDF5:
        return _recognise_hdf5(first)
    shown = f"it begins with {start!r}" if start else "it is empty"
    raise DataError(
        f"{first} cannot be read as a snapshot (truncated, damaged or of another kind: {shown}); known are {KNOWN}"
    )


def _recognise_hdf5(first: Path) -> Recognised:
    with hdf5_reader(first, "snapshot") as file:
        kind = swift if swift.is_swift(file) else gadgethdf5
        files = kind.read_header(file, first).files

    def header_of(part: Path) -> Header:
        with hdf5_reader(part, "snapshot") as file:
            return kind.read_header(file, part)

    def arrays_of(part: Path, header: Header) -> Arrays:
        with hdf5_reader(part, "snapshot") as file:
            return kind.read_arrays(file, part, header)

    return "swift" if kind is swift else "gadget-hdf5", parts.all_files(first, files), header_of, arrays_of


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(len(HDF5))


def made_for(path: Path) -> dict[str, Any] | None:
    """Return what a file of a snapshot of several, written by this package, was made of; None for any other file."""
    with hdf5_reader(path, "snapshot") as file:
        found = file["Provenance"].attrs.get(MADE_FOR) if "Provenance" in file else None
        return None if found is None else dict(json.loads(bytes(found)))


def check_same_origin(paths: Sequence[Path]) -> None:
    """Raise DataError unless all files of a snapshot were made of the same, by this package."""
    first = made_for(paths[0])
    for path in paths[1:]:
        if made_for(path) != first:
            raise DataError(
                f"{path} was made of another snapshot, model or set of options than {paths[0]}; remove the files that "
                "do not belong there, and make them again"
            )


def _origin(paths: Sequence[Path]) -> dict[str, Any]:
    """Return what this package writes about its own files, checked; nothing of others."""
    check_same_origin(paths)
    path = paths[0]
    with hdf5_reader(path, "snapshot") as file:
        found = dict(file["Provenance"].attrs) if "Provenance" in file else {}
        if "json" not in found:
            return {}
        known = {"cosmology": Cosmology.model_validate_json(bytes(found["cosmology"]))} if "cosmology" in found else {}
        offset = float(found.get("lattice_offset", CENTRES))
        if not np.isfinite(offset):
            raise ValueError(f"lattice_offset = {offset}")
        return {"provenance": dict(json.loads(found["json"])), "offset": offset, **known}


def _joined(found: Sequence[Arrays], headers: Sequence[Header]) -> Arrays:
    """Join the particles of all files."""
    if len(found) == 1:
        return found[0]
    counts = [header.count for header in headers]
    masses = [arrays.mass for arrays in found]
    return Arrays(
        *(np.concatenate([getattr(arrays, name) for arrays in found]) for name in ("positions", "velocities", "ids")),
        None if None in masses else float(np.average(masses, weights=counts)),
    )
