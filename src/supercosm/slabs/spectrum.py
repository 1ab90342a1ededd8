"""P(k) of a box in slabs: the modes of one block of k_y are in memory at a time, and their squares are summed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from supercosm.slabs.meshes import Planes, paint_slab, read_lines
from supercosm.slabs.scratch import Scratch, missing
from supercosm.slabs.sorting import Layout
from supercosm.statistics.assignment import Assignment
from supercosm.statistics.power import Spectra
from supercosm.statistics.shells import Shells, counts, frequencies, products, shells

RESULT = "spectrum"


def meshes(assignment: Assignment, keep: int) -> list[Planes]:
    """List the meshes of a spectrum: one, or two that interlace."""
    shifts = (0.0, 0.5) if assignment.interlaced else (0.0,)
    return [Planes(f"{RESULT}-mesh{i}", assignment, keep, shift) for i, shift in enumerate(shifts)]


def paint_share(
    scratch: Scratch, layout: Layout, planes: list[Planes], count: int, slab: int, tick: Callable[[], None]
) -> None:
    """Paint one slab on all meshes, unless that was done."""
    for mesh in planes:
        missing(
            scratch, [f"{mesh.name}-{slab}"], lambda _, mesh=mesh: paint_slab(scratch, layout, mesh, slab, count), tick
        )


def gather(
    scratch: Scratch, layout: Layout, planes: list[Planes], count: int, edges: np.ndarray, tick: Callable[[], None]
) -> None:
    """Sum the squares of all modes in bins `edges` of |n|, and paint what was not: the array RESULT (bins,).

    One mesh after the other: its modes along y and z are removed before the next one is painted.
    """
    if scratch.has(RESULT):
        return
    blocks = planes[0].blocks
    lattice = shells((planes[0].lines, planes[0].lines, planes[0].keep + 1), edges, planes[0].cells)
    for number, mesh in enumerate(planes):
        names = [f"{RESULT}-part{number}-{block}" for block in range(len(blocks))]
        if not scratch.has(*names):
            paint = [lambda slab, mesh=mesh: paint_slab(scratch, layout, mesh, slab, count)][0]
            missing(scratch, mesh.names(layout.number), paint, tick)

        def make(block: int, number: int = number, names: list[str] = names) -> None:
            scratch.save(names[block], _part(scratch, layout, planes, lattice, (number, block)))

        missing(scratch, names, make, tick)
        scratch.remove(f"{mesh.name}-*")
    total = sum(scratch.load(f"{RESULT}-part{len(planes) - 1}-{block}") for block in range(len(blocks)))
    scratch.save(RESULT, total)
    scratch.remove(f"{RESULT}-part*")


def result(scratch: Scratch, mesh: Planes, box_size: float, edges: np.ndarray) -> Spectra:
    """Return the spectrum that `gather` summed."""
    modes, distances = counts(shells((mesh.lines, mesh.lines, mesh.keep + 1), edges, mesh.cells))
    power = scratch.load(RESULT) * (box_size**3 / modes)
    return Spectra(2 * np.pi / box_size * distances / modes, modes.astype(int), power, power, power)


def _part(
    scratch: Scratch, layout: Layout, planes: list[Planes], lattice: Shells, which: tuple[int, int]
) -> np.ndarray:
    """Transform one block of one mesh along x; return its modes, or of the last mesh the sums over bins (bins,)."""
    number, block = which
    mesh, rows = planes[number], planes[number].blocks[block]
    modes = torch.fft.fft(read_lines(scratch, layout, mesh, rows), dim=1, norm="forward")
    if modes.shape[1] > mesh.lines:
        modes = torch.cat([modes[:, : mesh.keep + 1], modes[:, -mesh.keep :]], 1)
    if number:
        first = torch.from_numpy(scratch.load(f"{RESULT}-part0-{block}"))
        modes = _interlaced(first, modes, lattice.y[slice(*rows)], mesh.cells)
    if number + 1 < len(planes):
        return modes.numpy()
    mine = Shells(lattice.x, lattice.y[slice(*rows)], lattice.multiplicity, lattice.starts, lattice.edges)
    transposed = modes.permute(1, 0, 2).contiguous()[None]
    return products(transposed, transposed, mine, mesh.assignment.window(mesh.keep) ** -2.0)[0]


def _interlaced(modes: torch.Tensor, shifted: torch.Tensor, y: np.ndarray, cells: int) -> torch.Tensor:
    """Return the mean of two meshes' modes (y, x, z), the second shifted back by half a cell: exp(i k·h/2)."""
    axes = y, frequencies(modes.shape[1]), np.arange(modes.shape[2])
    for dimension, axis in enumerate(axes):
        phase = torch.as_tensor(axis, dtype=torch.float64) * (math.pi / cells)
        shape = [-1 if d == dimension else 1 for d in range(3)]
        shifted *= torch.polar(torch.ones_like(phase), phase).to(modes.dtype).view(shape)
    return modes.add_(shifted).mul_(0.5)
