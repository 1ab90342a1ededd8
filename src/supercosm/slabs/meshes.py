"""Meshes larger than memory: painted and transformed slab by slab along y and z, then line by line along x.

A slab's planes are kept as modes (k_y, plane, k_z), so that all slabs' lines of some k_y lie together in each file.
Planes at the border of two slabs are in both, and their sum counts: transforms are linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from supercosm.slabs.scratch import Scratch
from supercosm.slabs.sorting import POSITIONS, Layout, particles
from supercosm.statistics.assignment import Assignment, paint_planes, planes_touched
from supercosm.statistics.power import transform

BUDGET = 1 << 27  # bytes of modes at a time; what is done to them takes three times as much


@dataclass(frozen=True)
class Planes:
    """A mesh in slabs: how it is assigned, how far it is displaced [cells], and which modes |n| ≤ keep matter.

    name: of the arrays in the scratch folder, <name>-<slab>.
    """

    name: str
    assignment: Assignment
    keep: int
    shift: float = 0.0

    @property
    def cells(self) -> int:
        """Cells per side."""
        return self.assignment.cells

    @property
    def lines(self) -> int:
        """Number of k_y that are kept."""
        return min(2 * self.keep + 1, self.cells)

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """First and last-but-one k_y of blocks that are transformed along x at a time."""
        step = max(1, BUDGET // (8 * self.cells * (self.keep + 1)))
        return [(start, min(start + step, self.lines)) for start in range(0, self.lines, step)]

    def names(self, number: int) -> list[str]:
        """Name the arrays of all slabs."""
        return [f"{self.name}-{slab}" for slab in range(number)]


def paint_slab(scratch: Scratch, layout: Layout, mesh: Planes, slab: int, count: int, layers: int = 0) -> None:
    """Paint one slab of a box of `count` particles in all and keep its modes along y and z: density 1 + δ.

    layers: with some, the mean of so many along z is kept, too: image-<slab> (planes, y).
    """
    extent = planes_touched(mesh.assignment, layout.between(slab), mesh.shift)
    positions = particles(scratch, layout, POSITIONS, slab)
    painted = paint_planes(positions, layout.box_size, mesh.assignment, mesh.shift, extent)
    del positions
    painted *= np.float32(mesh.cells**3 / count)
    modes = np.empty((mesh.lines, len(painted), mesh.keep + 1), np.complex64)
    for i, plane in enumerate(painted):
        modes[:, i] = transform(plane[None], 2, mesh.keep)[0].numpy()
    if layers:
        scratch.save(f"image-{slab}", painted[:, :, :layers].mean(axis=2, dtype=np.float64))
    del painted
    scratch.save(f"{mesh.name}-{slab}", modes)


def read_lines(scratch: Scratch, layout: Layout, mesh: Planes, rows: tuple[int, int]) -> torch.Tensor:
    """Return modes of some k_y, all planes: complex64 (rows, cells, keep + 1)."""
    found = np.zeros((rows[1] - rows[0], mesh.cells, mesh.keep + 1), np.complex64)
    for slab in range(layout.number):
        first, count = planes_touched(mesh.assignment, layout.between(slab), mesh.shift)
        part = scratch.rows(f"{mesh.name}-{slab}", *rows)
        for start, stop, place in _runs(first, count, mesh.cells):
            found[:, place : place + stop - start] += part[:, start:stop]
    return torch.from_numpy(found)


def image_of(scratch: Scratch, layout: Layout, mesh: Planes) -> np.ndarray:
    """Return the mean of 1 + δ over the layers that `paint_slab` was told of, (x, y)."""
    found = np.zeros((mesh.cells, mesh.cells))
    for slab in range(layout.number):
        first, count = planes_touched(mesh.assignment, layout.between(slab), mesh.shift)
        part = scratch.load(f"image-{slab}")
        for start, stop, place in _runs(first, count, mesh.cells):
            found[place : place + stop - start] += part[start:stop]
    return found


def _runs(first: int, count: int, cells: int) -> Sequence[tuple[int, int, int]]:
    """Cut periodic planes first…first + count into runs: (start, stop) among them, and the plane of the box."""
    runs, start = [], 0
    while start < count:
        place = (first + start) % cells
        stop = min(count, start + cells - place)
        runs.append((start, stop, place))
        start = stop
    return runs
