"""Patches of the density field: slabs projected from boxes, pieces drawn from them by a seed, and their symmetries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from supercosm.errors import DataError
from supercosm.fields import log_density

SYMMETRIES = {2: 8, 3: 48}
AXES = {2: ((0, 1), (1, 0)), 3: ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))}


@dataclass(frozen=True)
class Place:
    """Where a patch was cut: number of the box, axis of projection, number of the slab, first cell along each side."""

    box: int
    axis: int
    slab: int
    start: tuple[int, ...]


def slab_cells(thickness: float, box_size: float, cells: int) -> int:
    """Return how many cells of a mesh come nearest to a thickness [Mpc/h] and divide it."""
    wanted = max(1.0, thickness * cells / box_size)
    return min((n for n in range(1, cells + 1) if cells % n == 0), key=lambda n: abs(np.log(n / wanted)))


def log_slabs(density: np.ndarray, thick: int) -> np.ndarray:
    """Project 1 + δ (n, n, n) through `thick` cells along each axis: log density, float32 (3, n / thick, n, n)."""
    n = len(density)
    slabs = [
        np.moveaxis(density, axis, 0).reshape(n // thick, thick, n, n).mean(axis=1, dtype=np.float32)
        for axis in range(3)
    ]
    return log_density(np.stack(slabs))


def draw_patches(boxes: Sequence[np.ndarray], side: int, count: int, seed: int) -> tuple[Tensor, list[Place]]:
    """Cut periodic patches of log density at random.

    boxes: (3, slabs, n, n) each, as `log_slabs` makes them. Returns patches (count, 1, side, side) and their places.
    Raises DataError when a patch does not fit.
    """
    n = boxes[0].shape[-1]
    if side > n:
        raise DataError(f"compression.patches.side = {side} is larger than the boxes of {n} cells per side; lower it")
    draw = np.random.default_rng([seed, side])
    patches = np.empty((count, 1, side, side), np.float32)
    places = []
    for number in range(count):
        box = int(draw.integers(len(boxes)))
        axis, slab = int(draw.integers(3)), int(draw.integers(boxes[box].shape[1]))
        start = tuple(int(i) for i in draw.integers(n, size=2))
        rows, columns = (np.arange(first, first + side) % n for first in start)
        patches[number, 0] = boxes[box][axis, slab][np.ix_(rows, columns)]
        places.append(Place(box, axis, slab, start))
    return torch.from_numpy(patches), places


def draw_cubes(boxes: Sequence[np.ndarray], side: int, count: int, seed: int) -> Tensor:
    """Cut periodic cubes (count, 1, side, side, side) of log density (n, n, n) at random."""
    n = boxes[0].shape[-1]
    if side > n:
        raise DataError(f"cubes of {side} cells do not fit into boxes of {n} cells per side; lower patches.block")
    draw = np.random.default_rng([seed, side, 3])
    cubes = np.empty((count, 1, side, side, side), np.float32)
    for number in range(count):
        box = boxes[int(draw.integers(len(boxes)))]
        cubes[number, 0] = box[np.ix_(*(np.arange(i, i + side) % n for i in draw.integers(n, size=3)))]
    return torch.from_numpy(cubes)


def turned(x: Tensor, symmetry: int) -> Tensor:
    """Apply one of the symmetries of the square (8) or cube (48) to patches (b, 1, p, …)."""
    dimensions = x.ndim - 2
    permutations = AXES[dimensions]
    axes = permutations[symmetry % len(permutations)]
    flips = symmetry // len(permutations)
    x = x.permute(0, 1, *(2 + axis for axis in axes))
    return x.flip([2 + axis for axis in range(dimensions) if flips >> axis & 1])
