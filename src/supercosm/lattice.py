"""Which lattice point a particle started from: read off its ID, and verified by the displacements that follow.

Codes number their particles differently: the last axis fastest (C order) or the first (F order), from 0, 1 or any
other number on, and they put the lattice points on the corners or the centres of cells. The right reading of the IDs is
the one in which particles lie near their lattice points and neighbours have moved alike; a wrong one looks like random
pairs, with an rms of L/√12 per axis.

The mean displacement tells corners from centres. Initial conditions have no mode k = 0 and gravity between particles
keeps the momentum of them all, so displacements from the true lattice points average to zero, whatever the sample
variance; from points half a cell away they average to half a cell.

Where there is gas, the momentum of dark matter alone is not kept, and generators of initial conditions move both kinds
apart by a part of a cell, so that the centre of mass stays: then the lattice points of dark matter are taken to be
where its mean displacement vanishes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from supercosm.errors import DataError

CENTRES = 0.5  # cells from the corner of its cell to a lattice point of this package's simulations
FAR = 0.2  # rms per axis beyond which particles are as good as random, in box sides: random pairs have 1/√12 = 0.29
APART = 0.5  # the reading taken has at most this much of the rms of the other
# correlation of the displacements of neighbours, of the component and direction where it is least: near 1 where the
# lattice resolves the motion, and below 0 for IDs that name the points of neighbours
ALIKE = 0.25
NEAR = 0.4  # cells: such IDs add at least 1/√3 cell to the rms per axis, so below this IDs are right in any case
OFFSETS = (0.0, 0.5, 1.0)  # cells from i L/n: corners, centres, and corners that are counted from 1
SAME_OFFSET = 0.02  # cells: offsets that were found, where gas shares the momentum, differ by the motion of the two
ANYWHERE = -0.5, 1.5  # cells: corners or centres, moved by half a cell at most on account of gas
SOME = 100_000  # displacements that tell about where the mean is, before all are wrapped about it
DRIFT = 0.1  # cells that a mean displacement may differ from one of these: codes keep momentum, to their accuracy


@dataclass(frozen=True)
class Lattice:
    """How the IDs of a snapshot name lattice points, and the numbers that say so.

    order: "C" or "F". first: the lowest ID. offset: lattice point of index i is (i + offset) L/n, in cells. rms: of the
    displacement per axis [Mpc/h]. correlation: least one of the displacements of neighbours. drift: rest of the mean
    [cells]. stride: from one ID to the next.
    """

    order: str
    first: int
    offset: float
    rms: float
    correlation: float
    drift: float
    stride: int = 1


def side_of(count: int) -> int:
    """Return the cube root of a number of particles; raise DataError when it is not whole."""
    side = round(count ** (1 / 3))
    if side**3 != count:
        raise DataError(f"{count} particles are no cube of a whole number, so they fill no Lagrangian lattice")
    return side


def find_lattice(
    positions: np.ndarray, ids: np.ndarray, box_size: float, stated: float | None = None, shared: bool = False
) -> Lattice:
    """Find how ascending IDs (N,) name the lattice points of positions (N, 3) [Mpc/h].

    stated: another offset that may be right, next to those of `OFFSETS`. shared: whether other particles share the
    momentum, so that any offset may be. Raises DataError, with the numbers, when no way to read them is clearly right.
    """
    side = side_of(len(ids))
    stride = _stride(ids)
    found = {order: _statistics(in_c_order(positions, side, order), box_size) for order in ("C", "F")}
    order = min(found, key=lambda name: found[name][1])
    other = found["F" if order == "C" else "C"][1]
    mean, rms, correlation = found[order]
    cell = box_size / side
    if rms > FAR * box_size or rms > APART * other or not (rms < NEAR * cell or correlation > ALIKE):
        raise DataError(
            f"particles lie {found['C'][1]:.3g} Mpc/h (rms per axis) from the lattice points that their IDs name in C "
            f"order, {found['F'][1]:.3g} in F order, and neighbours move alike with a correlation of {correlation:.2f} "
            f"at least; random ones lie {box_size / np.sqrt(12):.3g} away in a box of {box_size:g} Mpc/h: the IDs do "
            "not name a lattice (as after a start from a glass, or sorted anew), or the units of positions and box "
            "differ"
        )
    cells = mean / cell
    known = OFFSETS if stated is None else (*OFFSETS, stated)
    if shared and ANYWHERE[0] <= cells.mean() <= ANYWHERE[1]:
        known = (round(float(cells.mean()), 4),)
    offset = min(known, key=lambda value: abs(value - cells.mean()))
    drift = np.abs(cells - offset).max()
    if not drift <= DRIFT:
        shown = ", ".join(f"{value:.3f}" for value in cells)
        raise DataError(
            f"particles have moved by ({shown}) cells in the mean from the points i L/n, and (0, 0, 0), (½, ½, ½) or "
            "(1, 1, 1) are known, since gravity moves no centre of mass: the box is shifted, drifts or has another size"
        )
    return Lattice(order, int(ids[0]), float(offset), float(rms), float(correlation), float(drift), stride)


def _stride(ids: np.ndarray) -> int:
    """Return the step between ascending IDs, 1 or, where those of gas lie between, 2; raise DataError for gaps."""
    first, last = int(ids[0]), int(ids[-1])
    stride = int(ids[1]) - first if len(ids) > 1 else 1
    if last - first != stride * (len(ids) - 1) or not np.all(np.diff(ids) == stride):
        raise DataError(
            f"particle IDs run from {first} to {last} with gaps, and {len(ids)} consecutive ones would name the "
            "points of a lattice; particles of a zoom or a part of a box have none"
        )
    return stride


def in_c_order(values: np.ndarray, side: int, order: str) -> np.ndarray:
    """Return values (N, 3) of particles in the order of their IDs as (n, n, n, 3), x first."""
    grid = values.reshape(side, side, side, 3)
    return grid if order == "C" else grid.transpose(2, 1, 0, 3)


def _statistics(grid: np.ndarray, box_size: float) -> tuple[np.ndarray, float, float]:
    """Return mean displacement (3,) from the points i L/n, rms per axis about it, least correlation of neighbours."""
    side = len(grid)
    mean, squares, least = np.zeros(3), 0.0, 1.0
    for axis in range(3):
        points = (np.arange(side) * (box_size / side)).astype(grid.dtype)
        moved = grid[..., axis] - points.reshape([side if a == axis else 1 for a in range(3)])
        some = moved.reshape(-1)[:: max(1, moved.size // SOME)].astype(np.float64)
        angle = np.exp(2j * np.pi / box_size * some).mean()  # displacements live on a circle
        guess = float(np.angle(angle)) * box_size / (2 * np.pi)
        rest = _wrapped(moved - guess, box_size)
        centre = float(rest.mean(dtype=np.float64))
        mean[axis] = guess + centre
        rest -= centre
        square = float((rest**2).mean(dtype=np.float64))
        squares += square
        alike = (float((rest * np.roll(rest, 1, along)).mean(dtype=np.float64)) for along in range(3))
        least = min(least, *(value / square if square else 1.0 for value in alike))
    return mean, float(np.sqrt(squares / 3)), least


def _wrapped(values: np.ndarray, box_size: float) -> np.ndarray:
    return values - box_size * np.round(values / box_size)
