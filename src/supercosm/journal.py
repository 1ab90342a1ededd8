"""Which rows of a box are finished, pass by pass, so that a killed run can go on with the next one."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from supercosm.files import write_json
from supercosm.leftovers import read_plain
from supercosm.metering import Cost, cost_from

NAME = "finished.json"


class Journal:
    """Rows of the pass under way and of the one before, which it reads: their first planes and CRC-32.

    It is written whole or not at all after every row, with what the sample has cost so far.
    """

    def __init__(self, folder: Path, spent: Callable[[], Cost]) -> None:
        """Read what is noted in a folder; garbage counts as nothing."""
        self.folder, self.spent = folder, spent
        folder.mkdir(parents=True, exist_ok=True)
        self.number, self.planes = 0, 0
        self.rows: dict[int, int] = {}
        self.before: dict[int, int] = {}
        try:
            found = read_plain(folder / NAME)
            rows, before = ({int(first): int(crc) for first, crc in found[k].items()} for k in ("rows", "before"))
            self.number, self.planes, self.rows, self.before = int(found["pass"]), int(found["planes"]), rows, before
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
            pass

    def note(self, number: int, first: int, fields: np.ndarray) -> None:
        """Note that a row (channels, planes, …) of pass `number` lies on disk."""
        if number != self.number:
            self.number, self.rows, self.before = number, {}, self.rows
        self.planes, self.rows[first] = fields.shape[1], checksum(fields)
        content = {"pass": number, "planes": self.planes, "rows": self.rows, "before": self.before}
        write_json(self.folder / NAME, content | {"cost": asdict(self.spent())})

    def has(self, number: int, first: int) -> bool:
        """Tell whether a row is finished."""
        return number < self.number or (number == self.number and first in self.rows)

    def clear(self) -> None:
        """Forget everything."""
        (self.folder / NAME).unlink(missing_ok=True)
        self.number, self.planes, self.rows, self.before = 0, 0, {}, {}


def cost_noted(folder: Path) -> Cost | None:
    """Return the cost so far that the journal of a folder holds, if there is one."""
    found = read_plain(folder / NAME)
    return cost_from(found.get("cost")) if isinstance(found, dict) else None


def checksum(fields: np.ndarray) -> int:
    """CRC-32 of an array."""
    return zlib.crc32(np.ascontiguousarray(fields))
