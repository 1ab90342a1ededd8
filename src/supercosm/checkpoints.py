"""Samples of one call in a folder that the same call goes on from: finished ones, and rows of the next."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from supercosm.files import locked, sha256, whole, write_json
from supercosm.journal import cost_noted
from supercosm.leftovers import discard_foreign, empty, read_plain
from supercosm.metering import Cost, Meter, cost_from


class Checkpoints:
    """<n>.hdf5 is a finished sample, <n>.json its checksum and cost, <n>/ the rows of one under way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, number: int, meter: Meter, write: Callable[[Path, Path, Callable[[], Cost]], None]) -> None:
        """Have a sample written unless it is there: write(file, folder for rows, what it has cost so far)."""
        sample, note, rows = (self.folder / f"{number}{end}" for end in (".hdf5", ".json", ""))
        cost = self._finished(sample, note)
        if cost is not None:
            meter.costs.append(cost)
            return
        noted = [cost_noted(folder) for folder in rows.glob("*")]
        earlier = max((cost for cost in noted if cost), key=lambda cost: cost.seconds, default=None)
        with meter.measure("sample", earlier) as spent:
            write(sample, rows, spent)
        write_json(note, {"sha256": sha256(sample), "cost": asdict(meter.costs[-1])})
        shutil.rmtree(rows, ignore_errors=True)

    def _finished(self, sample: Path, note: Path) -> Cost | None:
        """Return what a sample has cost that is there and as it was written."""
        found = read_plain(note)
        if not isinstance(found, dict) or not sample.is_file() or sha256(sample) != found.get("sha256"):
            return None
        return cost_from(found.get("cost"))

    def publish(self, outputs: Sequence[Path]) -> None:
        """Put the samples where they belong, as second names of the same files: none is lost if this is killed."""
        for number, output in enumerate(outputs):
            with whole(output) as part:
                try:
                    os.link(self.folder / f"{number}.hdf5", part)
                except OSError:  # another file system, or one without such names
                    shutil.copyfile(self.folder / f"{number}.hdf5", part)


@contextmanager
def checkpoints_in(folder: str | Path, fingerprint: dict[str, Any]) -> Iterator[Checkpoints]:
    """Lock a folder, discard what was made for something else, and empty it when the block ends without an error.

    Raises DataError for a folder that holds anything but checkpoints.
    """
    folder = Path(folder)
    with locked(folder):
        discard_foreign(folder, fingerprint)
        yield Checkpoints(folder)
        empty(folder)
