"""MP-Gadget's BigFile folders: one folder a block, with a text header and binary files.

    Header/attr-v2                  attributes: name, type, number, hexadecimal bytes
    1/Position/header               DTYPE, NMEMB, NFILE, then for each file its name, rows and checksum
    1/Position/000000 …             the rows

The checksum is the sum of a file's bytes, so a flipped bit is seen. The layout is so plain that reading it takes less
than depending on a library that has to be compiled; the tests read what that library wrote.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
    numbers,
    positive,
    units_of,
)

WHERE = "Header/attr-v2"
ATTRIBUTES = 1 << 20  # bytes that a list of attributes may have
COSMOLOGY = {
    "Omega_m": ("Omega0", "OmegaM"),
    "Omega_lambda": ("OmegaLambda",),
    "Omega_b": ("OmegaBaryon", "OmegaB"),
    "h": ("HubbleParam",),
}


def is_bigfile(path: Path) -> bool:
    """Tell a BigFile folder from others."""
    return (path / "Header" / "attr-v2").is_file()


def files_of(path: Path) -> list[Path]:
    """List the files of a snapshot that are read."""
    folders = [path / str(DARK_MATTER) / name for name in ("Position", "Velocity", "ID")]
    return [path / "Header" / "attr-v2", *(file for folder in folders for file in sorted(folder.glob("*")))]


def read_header(path: Path) -> Header:
    """Read the header of a snapshot; raise DataError when something is missing or impossible."""
    attributes = _attributes(path / "Header" / "attr-v2")
    found = {}
    for ours, names in COSMOLOGY.items():
        known = [attributes[name][0] for name in names if name in attributes]
        found |= {ours: known[0]} if known else {}
    lacking = [name for name in ("BoxSize", "Time", "TotNumPart") if name not in attributes]
    lacking += [name for name in ("Omega_m", "h") if name not in found]
    if lacking:
        raise DataError(f"{path} is no snapshot of MP-Gadget: its {WHERE} lacks {', '.join(lacking)}")
    peculiar = bool(attributes.get("UsePeculiarVelocity", [0])[0])
    stated = {what: float(attributes[name][0]) for what, name in UNITS.items() if name in attributes}
    totals = numbers(attributes["TotNumPart"])
    masses = attributes.get("MassTable", np.zeros(DARK_MATTER + 1))
    if len(masses) <= DARK_MATTER:
        raise DataError(f"{path}: MassTable in {WHERE} has {len(masses)} values, one for each of six types is expected")
    header = Header(
        box_size=cube(attributes["BoxSize"], WHERE, path),
        scale_factor=positive(attributes["Time"], "Time", WHERE, path),
        cosmology=known_cosmology(found, path),
        counts=totals,
        totals=totals,
        masses=mass_table(masses),
        units=units_of(stated, path, root_a=not peculiar),
    )
    check(header, path, sum(file.stat().st_size for file in files_of(path)))
    return header


def read_arrays(path: Path, header: Header) -> Arrays:
    """Read the particles, in the units of the header."""
    kind = path / str(DARK_MATTER)
    positions = _block(kind / "Position", header.count, 3)
    weighed = (kind / "Mass" / "header").is_file()
    # if not peculiar, velocities are a² dx/dt in snapshots, and Gadget's v/√a in initial conditions, which lack masses
    power = 0.0 if not header.units.root_a else -1.0 if weighed else 0.5
    factor = header.units.velocity * header.scale_factor**power
    velocities = _block(kind / "Velocity", header.count, 3) * np.float32(factor)
    ids = _block(kind / "ID", header.count, 1)
    mass = header.mass or None
    if mass is None and weighed:
        mass = float(_block(kind / "Mass", header.count, 1).mean(dtype=np.float64))
    return Arrays(positions, velocities, ids, mass, {i: _weight(path, header, i) for i in header.others()})


def _weight(path: Path, header: Header, kind: int) -> float | None:
    """Return the mass of all particles of another type; None where the folder does not give it."""
    folder = path / str(kind) / "Mass"
    if header.mass_of(kind) or not (folder / "header").is_file():
        return header.mass_of(kind) * header.counts[kind] or None
    return float(_block(folder, header.counts[kind], 1).sum(dtype=np.float64))


def _text(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"there is no {path}: the BigFile folder lacks it; copy the snapshot again")
    if path.stat().st_size > ATTRIBUTES:
        raise DataError(f"{path} has {path.stat().st_size} bytes, too many for a text header; it is damaged")
    return path.read_text(encoding="latin-1")


def _attributes(path: Path) -> dict[str, np.ndarray]:
    """Read attributes that are numbers; raise DataError for a line that is none."""
    found = {}
    for line in filter(str.strip, _text(path).splitlines()):
        parts = line.split("#HUMANE")[0].split()
        try:
            name, kind, count, content = parts if len(parts) == 4 else (*parts, "")
            if np.dtype(_type(kind)).kind in "fiu" and int(count) > 0:  # without values it counts as missing
                found[name] = np.frombuffer(bytes.fromhex(content), _type(kind), int(count))
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(
                f"{path} is damaged: '{line[:60]}' is no attribute ({str(error)[:200]}); copy the snapshot again"
            ) from None
    return found


def _type(name: str) -> str:
    """Return numpy's name of a type: bigfile writes strings as a1."""
    if not re.fullmatch(r"[<>=|]?(?:[fiu][1248]|[aS]\d*)", name):
        raise ValueError(f"type '{name}' is unknown")
    return name.replace("a", "S")


@dataclass(frozen=True)
class _Layout:
    kind: np.dtype
    width: int
    rows: list[int]
    sums: list[int]


def _layout(folder: Path) -> _Layout:
    """Read the header of a block."""
    path, values, rows, sums = folder / "header", {}, [], []
    for line in filter(str.strip, _text(path).splitlines()):
        name, *parts = (part.strip() for part in line.split(":"))
        try:
            if name in ("DTYPE", "NMEMB", "NFILE"):
                values[name] = np.dtype(_type(parts[0])) if name == "DTYPE" else int(parts[0])
            elif name == f"{len(rows):06X}":
                rows.append(int(parts[0]))
                sums.append(int(parts[1]))
            else:
                raise ValueError(f"'{name}' is unexpected")
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            raise DataError(f"{path} is damaged: {str(error)[:200]}; copy the snapshot again") from None
    if set(values) != {"DTYPE", "NMEMB", "NFILE"} or values["NFILE"] != len(rows) or min(rows, default=0) < 0:
        raise DataError(f"{path} is damaged: it tells of {values.get('NFILE')} files and lists {len(rows)}")
    return _Layout(values["DTYPE"], values["NMEMB"], rows, sums)


def _block(folder: Path, count: int, width: int) -> np.ndarray:
    layout = _layout(folder)
    if sum(layout.rows) != count or layout.width != width or layout.kind.kind not in "fiu":
        raise DataError(
            f"{folder} holds {sum(layout.rows)} rows of {layout.width} numbers of type {layout.kind}; {count} of "
            f"{width} are expected"
        )
    paths = [folder / f"{number:06X}" for number in range(len(layout.rows))]
    _check_sizes(paths, layout)
    found = np.empty((count, width) if width > 1 else (count,), layout.kind)
    start = 0
    for path, rows, expected in zip(paths, layout.rows, layout.sums, strict=True):
        raw = np.fromfile(path, np.uint8)
        if int(raw.sum(dtype=np.uint64)) % (1 << 32) != expected % (1 << 32):
            raise DataError(f"{path} is damaged: its bytes do not add up to the checksum in {folder / 'header'}")
        found[start : start + rows] = raw.view(layout.kind).reshape(found[start : start + rows].shape)
        start += rows
    return found.astype(layout.kind.newbyteorder("="), copy=False)


def _check_sizes(paths: Sequence[Path], layout: _Layout) -> None:
    for path, rows in zip(paths, layout.rows, strict=True):
        expected = rows * layout.width * layout.kind.itemsize
        size = path.stat().st_size if path.is_file() else -1
        if size != expected:
            what = "is missing" if size < 0 else f"has {size} bytes"
            raise DataError(f"{path} {what}, {expected} are expected; it is truncated: copy the snapshot again")
