"""Folders with what a killed run left, from which the same run goes on: they belong to its inputs alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from supercosm.files import write_json

NOTE = "made_for.json"


def discard_foreign(folder: str | Path, fingerprint: dict[str, Any]) -> None:
    """Empty a folder unless what lies there was made for this fingerprint, plain JSON values."""
    note = Path(folder) / NOTE
    if read_plain(note) == fingerprint:
        return
    empty(folder)
    write_json(note, fingerprint)


def empty(folder: str | Path) -> None:
    """Remove everything but the lock."""
    for leftover in Path(folder).iterdir():
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        elif leftover.name != ".lock":
            leftover.unlink()


def read_plain(path: Path) -> Any:
    """Read a JSON file; None where there is none, or garbage."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
