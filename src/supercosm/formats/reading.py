"""Read a snapshot of any known format: what it is shows in its content, not in its name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from supercosm.errors import DataError
from supercosm.files import hdf5_reader, sha256
from supercosm.formats import bigfolder, gadgetbinary, gadgethdf5, latticefields, parts, swift
from supercosm.formats.header import Arrays, Header, LengthUnit, check_alike
from supercosm.formats.origin import read_origin
from supercosm.units import KPC

HDF5 = b"\x89HDF\r\n\x1a\n"
KNOWN = (
    "HDF5 of Gadget-2, -3, -4, AREPO and SWIFT, Gadget's binary formats 1 and 2, BigFile folders of MP-Gadget, and "
    ".npy fields with a description in YAML"
)


@dataclass(frozen=True)
class Found:
    """A snapshot as its files hold it.

    origin: what this package's own files tell of provenance, cosmology, offset. left_out: numbers of particles beside
    dark matter, by type. stated: offset of the lattice that a description states.
    """

    format: str
    paths: list[Path]
    header: Header
    arrays: Arrays
    origin: dict[str, Any]
    left_out: dict[str, int]
    stated: float | None = None


def read(path: str | Path, length_unit: LengthUnit | None = None) -> Found:
    """Read all files of a snapshot, in their units. length_unit: of files that do not say it, or say it wrongly.

    Raises DataError when something is missing, truncated, damaged, or of no known format.
    """
    name, paths, headers, arrays_of = _headers(path)
    if length_unit is not None:
        units = replace(headers[0].units, lengths=KPC if length_unit == "kpc/h" else 1.0, stated=True)
        headers = [replace(header, units=units) for header in headers]
    found = [arrays_of(part, header) for part, header in zip(paths, headers, strict=True)]
    origin = read_origin(paths) if name in ("gadget-hdf5", "swift") else {}
    left_out, stated = origin.pop("left_out", {}) or headers[0].left_out, None
    if name == "npy":
        described = latticefields.describe(paths[0])
        left_out, stated = described.left_out, described.offset
    return Found(name, paths, headers[0], _joined(found, headers), origin, left_out, stated)


def hdf5_parts(path: str | Path) -> tuple[list[Path], list[Header], dict[str, Any]]:
    """Return files, headers and origin (see `Found`) of a Gadget-style HDF5 snapshot, particles unread.

    Raises DataError for other formats, and for what `read` would refuse of headers.
    """
    name, paths, headers, _ = _headers(path)
    if name != "gadget-hdf5":
        raise DataError(
            f"{path} is of the format {name}, which is read whole only; where there is memory for that, "
            "`supercosm convert --to gadget` makes an HDF5 snapshot of it, which can be read in blocks"
        )
    return paths, headers, read_origin(paths)


def totals_of(path: str | Path) -> tuple[str, Header]:
    """Return the format of a snapshot and its first header, without reading particles; raise DataError as `read`."""
    name, _, headers, _ = _headers(path)
    return name, headers[0]


def _headers(path: str | Path) -> tuple[str, list[Path], list[Header], Callable[[Path, Header], Arrays]]:
    name, paths, header_of, arrays_of = _recognise(Path(path))
    headers = [header_of(part) for part in paths]
    check_alike(headers, paths)
    return name, paths, headers, arrays_of


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


def _joined(found: Sequence[Arrays], headers: Sequence[Header]) -> Arrays:
    """Join the particles of all files."""
    if len(found) == 1:
        return found[0]
    counts = [header.count for header in headers if header.count]
    full = [arrays for arrays, header in zip(found, headers, strict=True) if header.count]
    masses = [arrays.mass for arrays in full]
    return Arrays(
        *(np.concatenate([getattr(arrays, name) for arrays in full]) for name in ("positions", "velocities", "ids")),
        None if None in masses else float(np.average(masses, weights=counts)),
        sums([arrays.others for arrays in found]),
    )


def sums(others: Sequence[dict[int, float | None]]) -> dict[int, float | None]:
    """Add the masses of other types over all files; None for a type whose masses one of them does not give."""
    kinds = sorted({kind for part in others for kind in part})
    weights = {kind: [part[kind] for part in others if kind in part] for kind in kinds}
    return {kind: None if None in known else float(sum(known)) for kind, known in weights.items()}
