"""The files that a snapshot consists of: the user names one of them, their folder, or what their names begin with."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from supercosm.errors import DataError

PART = re.compile(r"(?P<stem>.+)\.(?P<number>\d+)(?P<suffix>\.hdf5|\.h5)?")
SUFFIXES = (".hdf5", ".h5", "")


def first_file(path: Path) -> Path:
    """Return one file of the snapshot that a path means; raise DataError where there is none, or several are meant."""
    if path.is_file():
        return path
    if path.is_dir():
        return _only(path, [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")])
    named = [path.with_name(path.name + middle + suffix) for middle in (".0", "") for suffix in SUFFIXES]
    found = [file for file in named if file.is_file()]
    if not found:
        raise DataError(f"there is no snapshot {path}; check the path or run the stage that makes it")
    return found[0]


def names_of(path: Path, files: int) -> list[Path]:
    """Return the names of the files of a snapshot that is to be written: snap.hdf5, or snap.0.hdf5 and on."""
    return [path] if files == 1 else part_names(path, files)


def part_names(path: Path, files: int) -> list[Path]:
    """Return the names of the files that a snapshot is split into, like snap.0.hdf5."""
    return [path.with_name(f"{_stem(path)}.{number}.hdf5") for number in range(files)]


def any_file(path: Path) -> Path:
    """Return a file of the split snapshot that a path means, the first there is; raise DataError without any."""
    if path.is_file() or path.is_dir():
        return first_file(path)
    found = numbered(path)
    if not found:
        raise DataError(f"there is no {path.with_name(_stem(path))}.0.hdf5, nor any other file of it; check the path")
    return found[min(found)]


def numbered(output: Path) -> dict[int, Path]:
    """Return the files that lie where a snapshot of this name is split into several, by their number."""
    stem = _stem(output)
    files = output.parent.glob(f"{glob.escape(stem)}.*.hdf5")
    return {number: file for file in files if (number := _number(file, stem)) is not None}


def _stem(path: Path) -> str:
    return path.name.removesuffix(path.suffix) if path.suffix in (".hdf5", ".h5") else path.name


def _number(file: Path, stem: str) -> int | None:
    match = PART.fullmatch(file.name)
    return int(match["number"]) if match and match["stem"] == stem else None


def _only(folder: Path, files: list[Path]) -> Path:
    """Return the first part of the only snapshot in a folder."""
    found = {}
    for file in sorted(files):
        match = PART.fullmatch(file.name)
        name = (match["stem"], match["suffix"]) if match else (file.name, None)
        found.setdefault(name, file)
    if len(found) != 1:
        if not found:
            raise DataError(f"{folder} is a folder without files; name a snapshot")
        shown = ", ".join(sorted(file.name for file in found.values())[:4]) + (", …" if len(found) > 4 else "")
        raise DataError(f"{folder} is a folder with several files ({shown}); name the snapshot that is meant")
    return next(iter(found.values()))


def all_files(path: Path, files: int) -> list[Path]:
    """Return all files of a snapshot of which one is given; raise DataError where some are missing."""
    if files == 1:
        return [path]
    match = PART.fullmatch(path.name)
    if match is None:
        raise DataError(
            f"{path} is one of {files} files of a snapshot, but its name does not say which: name them like "
            f"snap.0.hdf5, snap.1.hdf5, …, or join them into a single file first"
        )
    names = (f"{match['stem']}.{number}{match['suffix'] or ''}" for number in range(min(files, 100_000)))
    found = []
    for name in names:
        part = path.with_name(name)
        if not part.is_file():
            raise DataError(f"{part} is missing: {path.name} is one of {files} files of a snapshot, and all are needed")
        found.append(part)
    return found


def shares(count: int, files: int) -> list[slice]:
    """Share particles out over files, as evenly as may be; raise DataError where some would have none."""
    if not 1 <= files <= count:
        raise DataError(f"{count} particles cannot be written into {files} files; give 1 to {count}")
    return [slice(number * count // files, (number + 1) * count // files) for number in range(files)]
