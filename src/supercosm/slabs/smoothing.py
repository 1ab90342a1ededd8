"""Moments and distribution of a smoothed density in slabs: filtered line by line, transformed back plane by plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from supercosm.slabs.meshes import BUDGET, Planes, paint_slab, read_lines
from supercosm.slabs.scratch import Scratch, missing
from supercosm.slabs.sorting import Layout
from supercosm.statistics.onepoint import Distribution, Moments, histogram, moments_of, power_sums, window
from supercosm.statistics.shells import frequencies

RESULT = "smoothed"
LINES = f"{RESULT}-lines"


@dataclass(frozen=True)
class Spheres:
    """Spheres that a density is averaged over: radii [Mpc/h], and the edges of the bins in log10(1 + δ).

    layers: of cells along z that an image shows the mean of; 0 for none.
    """

    radii: Sequence[float]
    edges: np.ndarray
    layers: int = 0


def names(radii: int) -> list[str]:
    """Name the sums of so many radii."""
    return [f"{RESULT}-{number}" for number in range(radii)]


def paint_share(
    scratch: Scratch, layout: Layout, mesh: Planes, count: int, slab: int, layers: int, tick: Callable[[], None]
) -> None:
    """Paint one slab, unless that was done."""
    missing(scratch, [f"{mesh.name}-{slab}"], lambda _: paint_slab(scratch, layout, mesh, slab, count, layers), tick)


def gather(
    scratch: Scratch, layout: Layout, mesh: Planes, count: int, spheres: Spheres, tick: Callable[[], None]
) -> None:
    """Sum powers of δ and its histogram for every radius, and paint what was not: arrays RESULT-<radius's number>."""
    results = names(len(spheres.radii))
    if scratch.has(*results):
        return
    for slab in range(layout.number):
        paint_share(scratch, layout, mesh, count, slab, spheres.layers, tick)

    def smooth(number: int) -> None:
        table = window("top-hat", spheres.radii[number], layout.box_size, mesh.cells)
        lines = [f"{LINES}{number}-{block}" for block in range(len(mesh.blocks))]
        make = lambda block: scratch.save(lines[block], _filtered(scratch, layout, mesh, table, block))  # noqa: E731
        missing(scratch, lines, make, tick)
        sums = [_sums(scratch, mesh, lines, planes, spheres.edges) for planes in _slices(mesh)]
        scratch.save(results[number], sum(sums))
        scratch.remove(f"{LINES}{number}-*")

    missing(scratch, results, smooth, tick)
    scratch.remove(f"{mesh.name}-*")


def result(scratch: Scratch, mesh: Planes, spheres: Spheres) -> tuple[Moments, Distribution]:
    """Return moments and distribution that `gather` summed."""
    found = np.array([scratch.load(name) for name in names(len(spheres.radii))]) / mesh.cells**3
    bins = len(spheres.edges) + 1
    radii = np.asarray(spheres.radii, float)
    volume, mass = found[:, 3 : 3 + bins], found[:, 3 + bins :]
    return moments_of(spheres.radii, found[:, :3]), Distribution(radii, spheres.edges, volume, mass)


def _filtered(scratch: Scratch, layout: Layout, mesh: Planes, table: np.ndarray, block: int) -> np.ndarray:
    """Smooth δ of one block of k_y along x: complex64 (rows, cells, cells/2 + 1), lines along x in real space."""
    rows = mesh.blocks[block]
    modes = torch.fft.fft(read_lines(scratch, layout, mesh, rows), dim=1, norm="forward")
    factors = torch.as_tensor(table, dtype=torch.float32)
    square = torch.from_numpy(frequencies(mesh.cells)) ** 2
    plane = square[:, None] + torch.arange(mesh.keep + 1) ** 2
    for row in range(len(modes)):
        modes[row] *= factors[square[rows[0] + row] + plane]
    if rows[0] == 0:
        modes[0, 0, 0] = 0  # of 1 + δ the mean
    return torch.fft.ifft(modes, dim=1, norm="forward").numpy()


def _slices(mesh: Planes) -> list[slice]:
    step = max(1, BUDGET // (8 * mesh.cells * (mesh.keep + 1)))
    return [slice(start, min(start + step, mesh.cells)) for start in range(0, mesh.cells, step)]


def _sums(scratch: Scratch, mesh: Planes, lines: Sequence[str], planes: slice, edges: np.ndarray) -> np.ndarray:
    """Sum δ², δ³, δ⁴ over some planes, and cells and 1 + δ between the edges: one row of numbers."""
    blocks = zip(lines, mesh.blocks, strict=True)
    modes = np.concatenate([scratch.rows(name, 0, stop - start, planes) for name, (start, stop) in blocks])
    total = np.zeros(3 + 2 * (len(edges) + 1))
    for i in range(modes.shape[1]):
        plane = torch.from_numpy(np.ascontiguousarray(modes[:, i]))
        field = torch.fft.irfftn(plane, s=(mesh.cells, mesh.cells), norm="forward").numpy()[None]
        cells, mass = histogram(field, 10.0**edges - 1)
        total += np.concatenate([power_sums(field)[0], cells[0], mass[0]])
    return total
