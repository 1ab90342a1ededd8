"""Density profiles of haloes: counted in spherical shells of all particles, and stacked in bins of mass.

All particles count, not the halo's members only, so that a profile goes on smoothly beyond the halo's edge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np

from supercosm.errors import DataError
from supercosm.statistics.friends import cell_keys, checked_positions

FINEST = 512  # cells per side of the search grid, at most: its table stays at 1 GB


@dataclass(frozen=True)
class Profiles:
    """Mean profiles of haloes in bins of mass.

    mass_edges: (M + 1,) [Msun/h]. numbers: haloes per mass bin (M,). edges: of the shells (R + 1,) [Mpc/h]. density:
    (M, R), in units of the mean density; NaN without a halo. error: (M, R), standard error of that mean from the
    scatter between haloes; NaN below two haloes.
    """

    mass_edges: np.ndarray
    numbers: np.ndarray
    edges: np.ndarray
    density: np.ndarray
    error: np.ndarray

    @property
    def radii(self) -> np.ndarray:
        """Logarithmic centre of each shell [Mpc/h]."""
        return np.sqrt(self.edges[:-1] * self.edges[1:])


def stack(densities: np.ndarray, masses: np.ndarray, mass_edges: np.ndarray, edges: np.ndarray) -> Profiles:
    """Average profiles (H, R) of haloes of masses (H,) in half-open bins of mass, every halo weighing the same."""
    bins = len(mass_edges) - 1
    index = np.digitize(masses, mass_edges) - 1
    numbers = np.array([np.count_nonzero(index == b) for b in range(bins)])
    density, error = np.full((2, bins, len(edges) - 1), np.nan)
    for b in range(bins):
        chosen = densities[index == b]
        if numbers[b]:
            density[b] = chosen.mean(axis=0)
        if numbers[b] > 1:
            error[b] = chosen.std(axis=0, ddof=1) / math.sqrt(numbers[b])
    return Profiles(np.asarray(mass_edges, float), numbers, np.asarray(edges, float), density, error)


def profiles(centres: np.ndarray, positions: np.ndarray, box_size: float, edges: np.ndarray) -> np.ndarray:
    """Return the density around centres (H, 3) in shells, in units of the mean density: (H, R).

    Take the densest point of a halo for its centre (`Haloes.centres`), not the centre of mass: a group of two
    clumps has that between them, and a stack around it shows a core that no halo has.
    """
    counts = shell_counts(centres, positions, box_size, edges)
    volumes = 4 / 3 * np.pi * np.diff(np.asarray(edges, float) ** 3)
    return counts / (volumes * len(positions) / box_size**3)


def shell_counts(centres: np.ndarray, positions: np.ndarray, box_size: float, edges: np.ndarray) -> np.ndarray:
    """Count particles (N, 3) in half-open shells, edges (R + 1,), around centres (H, 3), all [Mpc/h]: int64 (H, R).

    Raises DataError when the edges do not rise or the outermost is beyond half the box.
    """
    edges = np.asarray(edges, float)
    if edges.ndim != 1 or len(edges) < 2 or edges[0] < 0 or not np.all(np.diff(edges) > 0):
        raise DataError(f"shell edges must be two or more radii that rise from 0 or more, not {np.array2string(edges)}")
    if edges[-1] > box_size / 2:
        raise DataError(
            f"a shell out to {edges[-1]:g} Mpc/h meets itself in a box of {box_size:g} Mpc/h; "
            f"end it at {box_size / 2:g} or before"
        )
    points = checked_positions(positions, box_size)
    if not len(centres):
        return np.zeros((0, len(edges) - 1), np.int64)
    around = checked_positions(centres, box_size)
    side = min(FINEST, max(1, int(2 * box_size / edges[-1])), math.ceil(len(points) ** (1 / 3)))
    keys = cell_keys(points, side / box_size, side)
    order = np.argsort(keys, kind="stable")
    starts = np.zeros(side**3 + 1, np.int64)
    np.cumsum(np.bincount(keys, minlength=side**3), out=starts[1:])
    return _count(np.asarray(around, float), points[order], starts, side, float(box_size), edges**2)


@numba.njit(parallel=True, cache=True)
def _count(centres, points, starts, side, box, squares):
    counts = np.zeros((len(centres), len(squares) - 1), np.int64)
    reach = int(math.sqrt(squares[-1]) * side / box) + 1
    width = min(2 * reach + 1, side)  # each cell once, however small the box
    for h in numba.prange(len(centres)):
        x0 = int(centres[h, 0] * side / box) - reach
        y0 = int(centres[h, 1] * side / box) - reach
        z0 = int(centres[h, 2] * side / box) - reach
        for cell in range(width**3):
            x, y, z = x0 + cell // width**2, y0 + cell // width % width, z0 + cell % width
            key = (x % side * side + y % side) * side + z % side
            for p in range(starts[key], starts[key + 1]):
                square = 0.0
                for axis in range(3):
                    apart = points[p, axis] - centres[h, axis]
                    apart -= box * np.round(apart / box)
                    square += apart * apart
                if squares[0] <= square < squares[-1]:
                    counts[h, np.searchsorted(squares, square, side="right") - 1] += 1
    return counts


def overdensity_masses(
    counts: np.ndarray, edges: np.ndarray, mean_number: float, threshold: float = 200.0
) -> np.ndarray:
    """Return the particles (H,) inside the sphere whose mean density is `threshold` times the mean.

    counts: of shells (H, R), the innermost from 0; edges (R + 1,) [Mpc/h]; mean_number: particles per (Mpc/h)³. The
    enclosed density is interpolated between edges, log-log, and its first fall through the threshold taken; NaN
    where there is none: halo too small for the first edge, or too large for the last.
    """
    edges = np.asarray(edges, float)
    if edges[0] != 0:
        raise DataError(f"shells that begin at {edges[0]:g} Mpc/h enclose no sphere; begin them at 0")
    inside = np.cumsum(counts, axis=1)
    volumes = 4 / 3 * np.pi * edges[1:] ** 3
    density = inside / (volumes * mean_number * threshold)
    found = np.full(len(counts), np.nan)
    falls = (density[:, :-1] >= 1) & (density[:, 1:] < 1)
    for h in np.flatnonzero(falls.any(axis=1)):
        i = int(np.argmax(falls[h]))
        upper, lower = np.log(density[h, i]), np.log(density[h, i + 1])
        ln_volume = np.interp(0, [lower, upper], np.log([volumes[i + 1], volumes[i]]))
        found[h] = np.exp(ln_volume) * mean_number * threshold
    return found
