"""Friends of friends: which particles of a periodic box belong together.

Two particles are friends when they are at most the linking length apart, usually 0.2 mean separations; friends of
friends form a group (Davis et al. 1985, section III). Particles in one cell of side ≤ length/√3 are friends by
construction, so cells are linked instead of particles: a dense core costs no more than its number of cells.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from supercosm.errors import DataError

BLOCKS = 16  # slabs of cells linked side by side
REACH = 2  # a cell's friends are at most so many cells away: three would be 2 sides > length apart
TABLE = 2048  # rows of cells per side that are always affordable; more must be warranted by the particles


class Cells(NamedTuple):
    """Occupied cells, sorted by (x, y, z): what the linking reads, and the forest `parents` that it grows.

    heights: z of each cell (C,). rows: first cell of each row x side + y (planes side + 1,). starts: first particle of
    each cell (C + 1,). points: particles in the cells' order (N, 3) [Mpc/h]. parents: (C,), a root being its own.
    planes: of cells along x, `side` of a whole box; x counts from the first of them.
    """

    heights: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    points: np.ndarray
    parents: np.ndarray
    planes: int
    side: int
    box: float
    length: float


def friends_of_friends(positions: np.ndarray, box_size: float, length: float) -> np.ndarray:
    """Label each particle (N, 3) [Mpc/h] by the smallest index in its group: (N,) int64.

    Friends are at most `length` [Mpc/h] apart across the periodic boundary, too. The groups depend neither on the
    order in which pairs are met nor on the number of threads. Raises DataError for NaN, for positions outside
    the box, and for a length above a fifth of the box or so short that hardly any particle has a friend.
    """
    points = checked_positions(positions, box_size)
    side = cells_per_side(len(points), box_size, length)
    keys = cell_keys(points, side / box_size, side)
    order = np.argsort(keys, kind="stable")
    grid = occupied(keys[order], points[order], side, side, (box_size, length))
    link(grid, side)
    return _label(grid.parents, grid.starts, order)


def occupied(keys: np.ndarray, points: np.ndarray, planes: int, side: int, lengths: tuple[float, float]) -> Cells:
    """List the occupied cells of points (N, 3) [Mpc/h] sorted by their cells' keys (N,), (x side + y) side + z.

    planes: of cells along x. lengths: box side and linking length [Mpc/h].
    """
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1], [True]]))
    cells = keys[starts[:-1]]
    rows = np.zeros(planes * side + 1, np.int64)
    np.cumsum(np.bincount(cells // side, minlength=planes * side), out=rows[1:])
    box, length = map(float, lengths)
    return Cells(cells % side, rows, starts, points, np.arange(len(cells)), planes, side, box, length)


def link(grid: Cells, own: int) -> None:
    """Link the cells of the first `own` planes with each other and with those of the REACH planes above them.

    All planes of a whole box are its own; the planes above the last are then the first.
    """
    planes = np.linspace(0, own, max(1, min(BLOCKS, own // REACH)) + 1).astype(np.int64)
    _link_blocks(grid, planes)
    _link_seams(grid, planes)


@numba.njit(cache=True)
def roots(parents: np.ndarray) -> np.ndarray:
    """Return the root of each cell (C,), the first cell of its group."""
    found = np.empty(len(parents), np.int64)
    for i in range(len(parents)):
        found[i] = _root(parents, i)
    return found


def checked_positions(positions: np.ndarray, box_size: float) -> np.ndarray:
    """Return positions (N, 3) [Mpc/h] as a float array in [0, box_size), or raise DataError.

    A position on the box's far side, up to the rounding of float32, is the point 0.
    """
    points = np.ascontiguousarray(positions)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise DataError(f"positions of shape {points.shape} hold no particles; one or more rows of three are needed")
    low, high = float(points.min()), float(points.max())
    if math.isnan(low + high):
        bad = np.count_nonzero(~np.isfinite(points).all(axis=1))
        raise DataError(f"the positions of {bad} of {len(points)} particles are NaN or infinite; leave them out")
    if low < 0 or high > box_size * 1.000001:
        raise DataError(
            f"positions run from {low:g} to {high:g} Mpc/h in a box of {box_size:g} Mpc/h; wrap them into the box"
        )
    return np.where(points >= box_size, points.dtype.type(0), points) if high >= box_size else points


def cells_per_side(count: int, box_size: float, length: float) -> int:
    """Choose cells whose diagonal is at most the linking length."""
    if not 0 < length <= box_size / 5:
        raise DataError(
            f"a linking length of {length:g} Mpc/h in a box of {box_size:g} Mpc/h has no meaning; "
            "it must be positive and at most a fifth of the box"
        )
    side = math.ceil(box_size * math.sqrt(3) / length * (1 + 1e-9))  # the hair keeps rounding inside the diagonal
    if side > max(TABLE, 35 * count ** (1 / 3)):
        share = length * count ** (1 / 3) / box_size
        raise DataError(
            f"a linking length of {length:g} Mpc/h is {share:.2g} mean separations of {count} particles; "
            "take at least 0.05 (0.2 is usual)"
        )
    return side


@numba.njit(parallel=True, cache=True)
def cell_keys(points: np.ndarray, per_length: float, side: int) -> np.ndarray:
    """Return the flat index, C order, of the cell that each point (N, 3) lies in: (N,) int64."""
    keys = np.empty(len(points), np.int64)
    for p in numba.prange(len(points)):
        key = 0
        for axis in range(3):
            key = key * side + min(int(points[p, axis] * per_length), side - 1)
        keys[p] = key
    return keys


@numba.njit(cache=True)
def _root(parents: np.ndarray, i: int) -> int:
    while parents[i] != i:
        parents[i] = parents[parents[i]]  # path halving
        i = parents[i]
    return i


@numba.njit(cache=True)
def _touch(points: np.ndarray, a: tuple[int, int], b: tuple[int, int], box: float, length: float) -> bool:
    """Tell whether any particle of cell a is a friend of one of cell b, each a range of points.

    Particles of a too far from the bounding box of all that b holds are passed over: so two dense clumps that are
    just no friends cost the sum of their particles, not the product.
    """
    low, high, shift = np.empty(3), np.empty(3), np.empty(3)
    for axis in range(3):
        low[axis] = high[axis] = points[b[0], axis]
        # one shift serves all pairs: the cells are at most two apart, and there are nine or more per side
        shift[axis] = box * np.round((points[a[0], axis] - low[axis]) / box)
        for q in range(b[0] + 1, b[1]):
            low[axis], high[axis] = min(low[axis], points[q, axis]), max(high[axis], points[q, axis])
    limit = length * length
    for p in range(a[0], a[1]):
        x, y, z = points[p, 0] - shift[0], points[p, 1] - shift[1], points[p, 2] - shift[2]
        outside = max(low[0] - x, 0.0, x - high[0]) ** 2
        outside += max(low[1] - y, 0.0, y - high[1]) ** 2 + max(low[2] - z, 0.0, z - high[2]) ** 2
        if outside > limit:
            continue
        for q in range(b[0], b[1]):
            if (x - points[q, 0]) ** 2 + (y - points[q, 1]) ** 2 + (z - points[q, 2]) ** 2 <= limit:
                return True
    return False


@numba.njit(cache=True)
def _join(grid: Cells, i: int, j: int) -> None:
    """Merge the groups of two cells if they touch; the smaller root stays, so the result has one form."""
    parents, starts = grid.parents, grid.starts
    first, second = _root(parents, i), _root(parents, j)
    if first == second:
        return
    a, b = (starts[i], starts[i + 1]), (starts[j], starts[j + 1])
    if _touch(grid.points, a, b, grid.box, grid.length):
        parents[max(first, second)] = min(first, second)


@numba.njit(cache=True)
def _link_rows(grid: Cells, source: int, target: int) -> None:
    """Link the cells of two rows along z; a row is linked with itself from each cell upwards.

    Both rows are sorted, so the window of cells within reach moves on with the source cell.
    """
    heights, side = grid.heights, grid.side
    first, last = grid.rows[target], grid.rows[target + 1]
    begin = first
    for i in range(grid.rows[source], grid.rows[source + 1]):
        z = heights[i]
        if source == target:
            begin = i + 1
        while begin < last and heights[begin] < z - REACH:
            begin += 1
        j = begin
        while j < last and heights[j] <= z + REACH:
            _join(grid, i, j)
            j += 1
        j = first
        while j < last and heights[j] <= z + REACH - side:  # across the boundary above
            _join(grid, i, j)
            j += 1
        j = last - 1
        while source != target and j >= first and heights[j] >= z - REACH + side:  # and below
            _join(grid, i, j)
            j -= 1


@numba.njit(cache=True)
def _link_planes(grid: Cells, x: int, dx: int) -> None:
    """Link the rows of plane x with those within reach in plane x + dx, each pair of rows once."""
    side, rows = grid.side, grid.rows
    for y in range(side):
        source = x * side + y
        if rows[source] == rows[source + 1]:
            continue
        for dy in range(-REACH if dx else 0, REACH + 1):
            target = (x + dx) % grid.planes * side + (y + dy) % side
            if rows[target] < rows[target + 1]:
                _link_rows(grid, source, target)


@numba.njit(parallel=True, cache=True)
def _link_blocks(grid: Cells, planes: np.ndarray) -> None:
    """Link inside slabs of planes: each thread touches the parents of its own slab only."""
    for block in numba.prange(len(planes) - 1):
        for x in range(planes[block], planes[block + 1]):
            for dx in range(min(REACH + 1, planes[block + 1] - x)):
                _link_planes(grid, x, dx)


@numba.njit(cache=True)
def _link_seams(grid: Cells, planes: np.ndarray) -> None:
    """Link each slab with the next, the last with the first."""
    for stop in planes[1:]:
        for x in range(stop - REACH, stop):
            for dx in range(stop - x, REACH + 1):
                _link_planes(grid, x, dx)


@numba.njit(cache=True)
def _label(parents: np.ndarray, starts: np.ndarray, order: np.ndarray) -> np.ndarray:
    smallest = order[starts[:-1]].copy()  # the sort is stable: a cell's first particle has its smallest index
    for i in range(len(parents)):
        root = _root(parents, i)
        smallest[root] = min(smallest[root], smallest[i])
    labels = np.empty(len(order), np.int64)
    for i in range(len(parents)):
        for p in range(starts[i], starts[i + 1]):
            labels[order[p]] = smallest[_root(parents, i)]
    return labels
