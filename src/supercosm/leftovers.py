"""Folders with what a killed run left, from which the same run goes on: they belong to its inputs alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from supercosm.errors import DataError
from supercosm.files import read_json, write_json

NOTE = "made_for.json"


def discard_foreign(folder: str | Path, fingerprint: dict[str, Any]) -> None:
    """Empty a folder of leftovers unless they were made for this fingerprint, plain JSON values.

    Raises DataError where the folder holds something else: it would be lost.
    """
    note = Path(folder) / NOTE
    others = [path.name for path in Path(folder).iterdir() if not path.name.startswith(".")]
    if others and not note.is_file():
        raise DataError(
            f"{folder} holds {sorted(others)[0]} and is no folder of checkpoints, which are removed in the end; name "
            "an empty or a new one"
        )
    if read_plain(note) == fingerprint:
        return
    empty(folder)
    write_json(note, fingerprint)


def empty(folder: str | Path) -> None:
    """Remove everything but the lock; last the note of what it was made for, without which a folder is left alone."""
    for leftover in sorted(Path(folder).iterdir(), key=lambda path: path.name == NOTE):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        elif leftover.name != ".lock":
            leftover.unlink()


def read_plain(path: Path) -> Any:
    """Read a JSON file; None where there is none, or garbage."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None
