"""Gadget's binary formats 1 and 2 (user guide of Gadget-2, Springel 2005, section 6), in either byte order.

A record is a block between two 32-bit marks of its length; format 2 puts a record with a name of four letters before
each. The blocks are the header of 256 bytes, positions, velocities and IDs, then masses where the header gives none;
in each, the particles of type 0 come first, then those of type 1, and so on. A file without particles has no blocks.
Marks of blocks of 4 GB and more hold the length modulo 2³². There are no checksums: a flipped bit in a coordinate is
seen only where it makes no sense.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from supercosm.errors import DataError
from supercosm.formats.header import (
    DARK_MATTER,
    Arrays,
    Header,
    check,
    known_cosmology,
    no_particles,
    numbers,
    positive,
)

WHERE = "the header"
SIZE, NAME = 256, 8  # bytes of the header, and of the record that names a block
# counts, masses, time and redshift, flags, totals, flag and files, box with Ω's and h, flags, high words of totals
LAYOUT = "6I6d2d2i6I2i4d2i6I"
WRAP = 1 << 32
ORDER = ("POS ", "VEL ", "ID  ", "MASS")
PIECE = 1 << 22  # masses that are read at once


@dataclass(frozen=True)
class Kind:
    """Byte order ("<" or ">") and format (1 or 2) of a file."""

    order: str
    format: int


def kind_of(start: bytes) -> Kind | None:
    """Tell byte order and format from the first bytes of a file; None for anything else."""
    for order in "<>":
        first, format_2 = struct.pack(f"{order}I", SIZE), struct.pack(f"{order}I", NAME)
        if start[:4] == first:
            return Kind(order, 1)
        if start[:8] == format_2 + b"HEAD":
            return Kind(order, 2)
    return None


def read_header(path: Path, kind: Kind) -> Header:
    """Read the header of one file; raise DataError when it is cut short or impossible."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = _skip_name(file, path, kind, "HEAD")
        _mark(file, path, kind, SIZE, "header")
        content = file.read(SIZE)
        if len(content) < SIZE:
            raise _truncated(path, "header", start + SIZE, size)
        _mark(file, path, kind, SIZE, "header")
    fields = struct.unpack_from(kind.order + LAYOUT, content)
    counts, masses, (time, redshift) = fields[:6], fields[6:12], fields[12:14]
    totals, files, (box, matter, dark_energy, h), high = fields[16:22], fields[23], fields[24:28], fields[30:36]
    scale_factor = positive(time, "Time", WHERE, path)
    if not abs((1 + redshift) * scale_factor - 1) < 1e-3:
        raise DataError(
            f"{path}: Time = {time:g} is no scale factor of Redshift = {redshift:g}; only cosmological runs are known"
        )
    positive(matter, "Omega0", WHERE, path)
    header = Header(
        box_size=positive(box, "BoxSize", WHERE, path),
        scale_factor=scale_factor,
        cosmology=known_cosmology(
            {"Omega_m": matter, "Omega_lambda": dark_energy, "h": positive(h, "HubbleParam", WHERE, path)}, path
        ),
        counts=counts,
        totals=numbers(totals, high) if any(totals) or any(high) else counts,
        files=max(1, files),
        masses=masses,
    )
    check(header, path, size)
    return header


def read_arrays(path: Path, kind: Kind, header: Header) -> Arrays:
    """Read the dark matter of one file, in its units; whether numbers have 32 or 64 bits follows from the marks."""
    blocks = _blocks(path, kind, header)
    lacking = [name.strip() for name in _wanted(header) if name not in blocks]
    if lacking:
        raise DataError(f"{path} is no snapshot of Gadget's format 2 that is whole: it lacks the block {lacking[0]}")
    others = {i: header.mass_of(i) * header.counts[i] or _weight(path, header, blocks, i) for i in header.others()}
    if not header.count:
        return no_particles(others)
    first = sum(header.counts[:DARK_MATTER])
    positions, velocities, ids = (blocks[name].read(path, first, header.count) for name in ORDER[:3])
    velocity = header.units.velocity * np.sqrt(header.scale_factor)
    mass = header.mass or _weight(path, header, blocks, DARK_MATTER) / header.count
    return Arrays(positions, velocities * np.float32(velocity), ids, mass, others)


@dataclass(frozen=True)
class _Block:
    """Where a block begins, what its numbers are, and how many each particle has."""

    start: int
    kind: np.dtype
    width: int

    def read(self, path: Path, first: int, count: int) -> np.ndarray:
        """Read some particles."""
        offset = self.start + first * self.width * self.kind.itemsize
        values = np.fromfile(path, self.kind, count * self.width, offset=offset)
        values = values.astype(self.kind.newbyteorder("="), copy=False)
        return values.reshape(count, 3) if self.width == 3 else values


def _own_masses(header: Header) -> list[int]:
    """Return, by type, the particles of a file whose masses are not in its header, but in a block."""
    return [0 if header.masses[i] else count for i, count in enumerate(header.counts)]


def _wanted(header: Header) -> tuple[str, ...]:
    """Return the blocks that a file must have."""
    if not any(header.counts):
        return ()
    return ORDER if any(_own_masses(header)) else ORDER[:3]


def _blocks(path: Path, kind: Kind, header: Header) -> dict[str, _Block]:
    """Find the blocks that are wanted, and check that they are whole."""
    found, wanted, count = {}, _wanted(header), sum(header.counts)
    with open(path, "rb") as file:
        file.seek(2 * 4 + SIZE + (2 * 4 + NAME if kind.format == 2 else 0))
        for name in wanted if kind.format == 1 else iter(lambda: _name(file, path, kind), None):
            if name not in wanted:  # blocks of format 2 that nobody asked for
                _pass(file, path, kind, name)
                continue
            found[name] = _block(file, path, kind, name, sum(_own_masses(header)) if name == "MASS" else count)
    return found


def _weight(path: Path, header: Header, blocks: dict[str, _Block], kind: int) -> float:
    """Return the mass of all particles of a type that have their own."""
    own, total = _own_masses(header), 0.0
    for start in range(0, own[kind], PIECE):
        values = blocks["MASS"].read(path, sum(own[:kind]) + start, min(PIECE, own[kind] - start))
        total += float(values.sum(dtype=np.float64))
    return total


def _skip_name(file: BinaryIO, path: Path, kind: Kind, expected: str) -> int:
    if kind.format == 2 and _name(file, path, kind) != expected:
        raise DataError(f"{path} is damaged: it does not begin with the block {expected}")
    return file.tell()


def _name(file: BinaryIO, path: Path, kind: Kind) -> str | None:
    """Read the record that names the next block; None at the end of the file."""
    record = file.read(4 + NAME + 4)
    if not record:
        return None
    marks = [struct.unpack_from(f"{kind.order}I", record, at)[0] for at in (0, 12)] if len(record) == 16 else []
    if marks != [NAME, NAME]:
        raise DataError(
            f"{path} is truncated or damaged: there is no name of a block at byte {file.tell() - len(record)}"
        )
    return record[4:8].decode("latin-1").ljust(4)


def _mark(file: BinaryIO, path: Path, kind: Kind, expected: int | None, name: str) -> int:
    """Read the mark of a record's length; raise DataError unless it is the expected one."""
    at, raw = file.tell(), file.read(4)
    if len(raw) < 4:
        raise _truncated(path, name, at + 4, at + len(raw))
    (found,) = struct.unpack(f"{kind.order}I", raw)
    if expected is not None and found != expected % WRAP:
        raise DataError(
            f"{path} is damaged: the record mark of the block {name.strip()} at byte {at} is {found}, not "
            f"{expected % WRAP}"
        )
    return found


def _block(file: BinaryIO, path: Path, kind: Kind, name: str, count: int) -> _Block:
    width = 3 if name in ("POS ", "VEL ") else 1
    mark, start, end = _mark(file, path, kind, None, name), file.tell(), path.stat().st_size
    sizes = {size: count * width * size for size in (4, 8)}
    fitting = [size for size, length in sizes.items() if mark == length % WRAP and start + length + 4 <= end]
    if not fitting:
        if mark in (length % WRAP for length in sizes.values()):
            raise _truncated(path, name, start + mark + 4, end)
        raise DataError(
            f"{path} is damaged or of another layout: the record mark of the block {name.strip()} is {mark}, and "
            f"{count} particles need {sizes[4]} or {sizes[8]} bytes"
        )
    length = sizes[fitting[0]]
    file.seek(start + length)
    _mark(file, path, kind, length, name)
    letter = "u" if name == "ID  " else "f"
    return _Block(start, np.dtype(f"{kind.order}{letter}{fitting[0]}"), width)


def _pass(file: BinaryIO, path: Path, kind: Kind, name: str) -> None:
    length = _mark(file, path, kind, None, name)
    end = file.tell() + length
    if end + 4 > path.stat().st_size:
        raise _truncated(path, name, end + 4, path.stat().st_size)
    file.seek(end)
    _mark(file, path, kind, length, name)


def _truncated(path: Path, name: str, needed: int, size: int) -> DataError:
    return DataError(
        f"{path} is truncated: its block {name.strip()} ends at byte {needed}, the file at {size}; copy it again"
    )
