"""Particles sorted into slabs along x, on disk.

Borders between slabs are borders of the planes of cells that friends of friends link (`statistics.friends`). The
particles of the lowest REACH planes of a slab lie apart: they are what the slab below has to know of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from supercosm.errors import ConfigurationError, DataError
from supercosm.files import read_json, write_json
from supercosm.formats.blocks import Blocks
from supercosm.slabs.scratch import Scratch, room_told
from supercosm.statistics.friends import REACH, cells_per_side

LOW, HIGH = "low", "high"  # parts of a slab
COLUMNS = ("positions", "velocities", "ids")
POSITIONS = "positions"
LARGEST = 1 << 32  # IDs below fit into four bytes
NOTES = "rows.json"  # how many particles each file of a column holds


@dataclass(frozen=True)
class Layout:
    """How a box is cut: into `number` slabs whose borders are planes of `cells` linking cells per side.

    box_size and the linking length in Mpc/h. count: particles in all.
    """

    number: int
    cells: int
    box_size: float
    length: float
    count: int

    @property
    def borders(self) -> np.ndarray:
        """First plane of each slab, and `cells` (number + 1,)."""
        return np.linspace(0, self.cells, self.number + 1).astype(np.int64)

    def planes(self, slab: int) -> int:
        """Return how many planes of cells a slab has."""
        return int(np.diff(self.borders)[slab])

    def between(self, slab: int) -> tuple[float, float]:
        """Return where a slab begins and ends, in box sides."""
        return float(self.borders[slab] / self.cells), float(self.borders[slab + 1] / self.cells)

    def places(self, positions: np.ndarray) -> np.ndarray:
        """Return slab and part of particles (N, 3) as 2 slab + part (N,), part 0 for the lowest planes."""
        planes = np.minimum(
            (positions[:, 0].astype(np.float64) * (self.cells / self.box_size)).astype(np.int64), self.cells - 1
        )
        slabs = np.searchsorted(self.borders, planes, side="right") - 1
        return (2 * slabs + (planes - self.borders[slabs] >= REACH)).astype(np.int16)


def layout_of(blocks: Blocks, number: int, linking: float) -> Layout:
    """Choose the borders of slabs; raise ConfigurationError where they would be thinner than what friends reach."""
    length = linking * blocks.box_size / blocks.count ** (1 / 3)
    cells = cells_per_side(blocks.count, blocks.box_size, length)
    if cells // number < REACH:
        raise ConfigurationError(
            f"{number} slabs are too many for {blocks.count} particles: take {cells // REACH} or fewer"
        )
    return Layout(number, cells, blocks.box_size, length, blocks.count)


def sort(
    blocks: Blocks, layout: Layout, scratch: Scratch, wanted: dict[str, Sequence[int]], tick: Callable[[], None]
) -> None:
    """Write files of all particles: for each of COLUMNS that is wanted, those of some slabs.

    Each column appears as a folder, <column>-<first>-<last slab>, whole or not at all. tick: called after each block.
    """
    parts = {name: _Part.new(scratch, name) for name in wanted}
    lists = {name: np.isin(np.arange(layout.number), slabs) for name, slabs in wanted.items()}
    for block in blocks:
        places = layout.places(block.positions)
        order = np.argsort(places, kind="stable")
        ends = np.flatnonzero(np.diff(places[order], append=-1)) + 1
        for start, stop in zip(np.append(0, ends[:-1]), ends, strict=True):
            slab, part = divmod(int(places[order[start]]), 2)
            for name, column in parts.items():
                if lists[name][slab]:
                    column.append(f"{slab}.{HIGH if part else LOW}", getattr(block, name)[order[start:stop]])
        tick()
    for name, column in parts.items():
        column.finish(scratch.folder / f"{name}-{wanted[name][0]}-{wanted[name][-1]}")


def is_sorted(scratch: Scratch, column: str, slabs: Sequence[int]) -> bool:
    """Tell whether a column of some slabs was written."""
    return all(_folder(scratch, column, slab) for slab in (slabs[0], slabs[-1]))


def particles(
    scratch: Scratch, layout: Layout, column: str, slab: int, parts: Sequence[tuple[int, str]] = ()
) -> np.ndarray:
    """Read one column of a slab's particles, those of its lowest planes first; raise DataError when it is not there.

    parts: (slab, LOW or HIGH), to read others along with it. What was sorted, and is there no more, is a DataError.
    """
    files = []
    for number, part in ((slab, LOW), (slab, HIGH), *parts):
        folder = _folder(scratch, column, number)
        if folder is None:
            raise DataError(f"{scratch.folder} holds no sorted particles; run the same command with --sort first")
        files.append(_file(scratch, layout, folder, f"{number}.{part}"))
    found = np.empty(sum(rows for _, rows, _ in files) * width(column), files[0][2])
    start = 0
    for path, rows, _ in files:
        stop = start + rows * width(column)
        if rows:
            with open(path, "rb") as file:
                file.readinto(found[start:stop].view(np.uint8))
        start = stop
    return found if column == "ids" else found.reshape(-1, 3)


def width(column: str) -> int:
    """Return how many numbers a particle has in a column."""
    return 1 if column == "ids" else 3


def _file(scratch: Scratch, layout: Layout, folder: Path, name: str) -> tuple[Path, int, np.dtype]:
    """Return where particles lie, their number, and the type of their numbers; raise DataError if some are gone.

    Of a file system that is purged, files disappear one by one; without them a slab would look empty.
    """
    path, column = folder / name, folder.name.split("-")[0]
    try:
        noted = read_json(folder / NOTES)
        rows, kind = noted["rows"], np.dtype(noted["kind"])
        expected = int(rows.get(name, 0))
        complete = column != POSITIONS or sum(rows.values()) == layout.count
        there = path.stat().st_size if expected else 0
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        complete, expected, there = False, 0, 0
    if not complete or there != expected * width(column) * kind.itemsize:
        raise DataError(
            f"particles that were sorted have disappeared from {path}; remove the scratch folder {scratch.folder} "
            "and start again"
        )
    return path, expected, kind


def _folder(scratch: Scratch, column: str, slab: int) -> Path | None:
    """Return the folder that holds a column of a slab, if there is one."""
    for folder in sorted(scratch.folder.glob(f"{column}-*-*")):
        first, last = map(int, folder.name.split("-")[1:])
        if first <= slab <= last:
            return folder
    return None


@dataclass
class _Part:
    """A column that is being written: the rows of each file, and the type of its numbers."""

    folder: Path
    rows: dict[str, int]
    kind: np.dtype

    @classmethod
    def new(cls, scratch: Scratch, column: str) -> _Part:
        """Return an empty one; one that was left half written is removed."""
        folder = scratch.folder / f"{column}.part"
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        return cls(folder, {}, np.dtype(np.uint32 if column == "ids" else np.float32))

    def append(self, name: str, rows: np.ndarray) -> None:
        """Add particles to a file; IDs take four bytes until one comes that needs eight."""
        if self.kind == np.uint32 and rows.max() >= LARGEST:
            self._widen()
        path = self.folder / name
        with room_told(path), open(path, "ab") as file:
            file.write(np.ascontiguousarray(rows.astype(self.kind, copy=False)).reshape(-1).view(np.uint8))
        self.rows[name] = self.rows.get(name, 0) + len(rows)

    def finish(self, folder: Path) -> None:
        """Note what was written, and give the folder its name."""
        write_json(self.folder / NOTES, {"rows": self.rows, "kind": self.kind.name})
        self.folder.rename(folder)

    def _widen(self) -> None:
        self.kind = np.dtype(np.uint64)
        for name in self.rows:
            path = self.folder / name
            wide = np.fromfile(path, np.uint32).astype(self.kind)
            with room_told(path):
                path.write_bytes(wide.view(np.uint8))
