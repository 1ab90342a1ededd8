"""What the passes over a box make of it: fields of the whole box, on disk, read and written in rows of planes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from supercosm.journal import Journal, checksum
from supercosm.paging import ScratchFolder
from supercosm.smallscales import scratch_array
from supercosm.stopping import stop_if_asked

log = logging.getLogger(__name__)


class States:
    """Fields (channels, planes, …) of every pass: two files take turns, what the last one makes has its own.

    They lie in scratch space, or in the folder of a journal, where a killed run finds them again.
    """

    def __init__(self, widths: Sequence[int], shape: tuple[int, ...], journal: Journal | None = None) -> None:
        """Take the space. widths: channels that each pass writes, 0 where they are not kept. shape: (planes, …)."""
        self._scratch = None if journal else ScratchFolder()
        self._folder = self._scratch.path if journal is None else journal.folder
        self.shape, self._journal, self._last = shape, journal, len(widths) - 1
        shapes = {self._name(number): (width, *shape) for number, width in enumerate(widths) if width}
        self._arrays: dict[str, np.memmap] = {}
        if journal and journal.rows:
            self._reopen(shapes)
        if not self._arrays:
            if journal:
                journal.clear()
            for name, full in shapes.items():
                self._arrays[name] = scratch_array(self._folder / name, full, np.float32)

    def has(self, number: int, first: int) -> bool:
        """Tell whether a killed run has finished the row of pass `number` that begins at plane `first`."""
        return self._journal is not None and self._journal.has(number, first)

    def put(self, number: int, first: int, fields: np.ndarray) -> None:
        """Write planes (channels, planes, …) from `first` on that pass `number` has made.

        With a journal, raises StoppedError afterwards if the process was asked to stop.
        """
        array = self._arrays[self._name(number)]
        array[:, first : first + fields.shape[1]] = fields
        if self._journal:
            array.flush()
            self._journal.note(number, first, fields)
            stop_if_asked()

    def planes(self, number: int, first: int, count: int) -> Tensor:
        """Return planes first…first+count, periodic, of what pass `number` has made."""
        index = np.arange(first, first + count) % self.shape[0]
        return torch.from_numpy(self._arrays[self._name(number)][:, index])

    def rows(self, number: int, count: int) -> Iterator[tuple[int, Tensor]]:
        """Yield all planes that pass `number` has made, `count` at a time: (first plane, fields)."""
        for first in range(0, self.shape[0], count):
            yield first, self.planes(number, first, min(count, self.shape[0] - first))

    def close(self) -> None:
        """Give scratch space back; what a journal tells of stays."""
        self._arrays.clear()
        if self._scratch:
            self._scratch.close()

    def _name(self, number: int) -> str:
        return "fields" if number == self._last else ("even", "odd")[number % 2]

    def _reopen(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Map what a killed run left, if every row that its journal tells of is there as it was written."""
        try:
            for name, full in shapes.items():
                path = self._folder / name
                if path.stat().st_size != np.prod(full) * np.dtype(np.float32).itemsize:
                    raise ValueError(f"{path} has another size")
                self._arrays[name] = np.memmap(path, np.float32, "r+", shape=full)
            journal = self._journal
            finished = len(journal.rows) * journal.planes >= self.shape[0]  # the next pass writes over the one before
            before = {} if finished else journal.before
            for number, rows in ((journal.number, journal.rows), (journal.number - 1, before)):
                for first, expected in rows.items():
                    if checksum(self._arrays[self._name(number)][:, first : first + journal.planes]) != expected:
                        raise ValueError(f"planes from {first} on of pass {number} are not what was written")
        except (OSError, ValueError, KeyError) as error:
            log.warning("what is left of this sample is damaged (%s); it is made from the start", error)
            self._arrays.clear()
