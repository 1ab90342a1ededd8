"""Find out what a file or folder is, and have it described."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

from supercosm.errors import DataError
from supercosm.formats import bigfolder, gadgetbinary, is_hdf5, latticefields
from supercosm.formats.parts import first_file
from supercosm.leftovers import NOTE
from supercosm.records import files, folders, snapshots
from supercosm.records.found import Found

KNOWN = (
    "a snapshot, pairs, a density field, a halo catalogue, a table (.ecsv), a compressed file (.scz), a FITS image, a "
    "configuration (.yaml), an exported run (.zip), the folder of a model, a coder, checkpoints or results"
)
STARTS: dict[bytes, Callable[[Path], Found]] = {
    b"\x89HDF": files.hdf5,
    b"\x89SCZ": files.compressed,
    b"PK\x03\x04": files.packed,
    b"SIMPLE": files.slab,
    b"# %ECSV": files.table,
}
ENDS: dict[str, Callable[[Path], Found]] = {
    ".hdf5": files.hdf5,
    ".scz": files.compressed,
    ".fits": files.slab,
    ".zip": files.packed,
    ".ecsv": files.table,
    ".yaml": files.configuration,
    ".yml": files.configuration,
}
NAMES: dict[str, Callable[[Path], Found]] = {
    "history.csv": files.history,
    folders.CARD: lambda path: folders.model(path.parent),
    "model.safetensors": lambda path: folders.model(path.parent),
}


def describe(path: str | Path) -> Found:
    """Describe a file or folder; raise DataError where there is none, or it is damaged, or of no known kind."""
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        return describe(_first(path))
    if path.name in NAMES:
        return NAMES[path.name](path)
    with open(path, "rb") as file:
        start = file.read(8)
    for magic, described in STARTS.items():
        if start.startswith(magic):
            return described(path)
    return ENDS[path.suffix](path) if path.suffix in ENDS and not _is_description(path) else _foreign(path)


def _folder(path: Path) -> Found:
    if (path / folders.CARD).is_file():
        return folders.model(path)
    if (path / NOTE).is_file():
        return folders.checkpoints(path)
    run = folders.run_in(path)
    if run is not None:
        return folders.results(run)
    if [entry.name for entry in path.iterdir()] == [".lock"]:
        return folders.checkpoints(path)
    return _foreign(path)


def _first(path: Path) -> Path:
    """Return the first file of a snapshot whose names begin with the path."""
    try:
        return first_file(path)
    except DataError:
        raise DataError(f"there is no {path}; check the path") from None


def _foreign(path: Path) -> Found:
    """Take it for a snapshot of another program."""
    if not _is_snapshot(path):
        raise DataError(f"{path} is nothing that can be described: it is not {KNOWN}")
    return snapshots.snapshot(path)


def _is_snapshot(path: Path) -> bool:
    """Tell whether something begins as a snapshot of a known format does: what is wrong with it, its reader says."""
    description = latticefields.description_in(path)
    if description is not None and _is_description(description):
        return True
    if bigfolder.is_bigfile(path):
        return True
    try:
        first = first_file(path)
    except DataError:
        return False
    with open(first, "rb") as file:
        return is_hdf5(first) or gadgetbinary.kind_of(file.read(8)) is not None


def _is_description(path: Path) -> bool:
    """Tell whether a file describes a snapshot in .npy fields, well or not."""
    if path.suffix not in latticefields.SUFFIXES or path.stat().st_size > latticefields.LARGEST:
        return False
    try:
        content = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "displacement" in content
