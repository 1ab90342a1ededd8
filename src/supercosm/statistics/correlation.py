"""The two-point correlation function ξ(r) of a periodic box, from its modes on a mesh.

Convention: ξ(r) = ⟨δ(x) δ(x + r)⟩ = Σ_k |δ_k|² exp(i k·r), so P(k) = ∫ ξ(r) exp(−i k·r) d³r. For particles it is
the excess of pairs over a uniform set, DD/RR − 1, whose pairs RR are the volume of the bin.

The inverse transform is averaged over the bin, a < r < b, in closed form: exp(i k·r) becomes
3 [g(kb) − g(ka)] / k³(b³ − a³) with g(x) = sin x − x cos x. Averaging the transform at the separations of cell
centres instead would give each bin the few r that the lattice has: at three cells an error of 5–10 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import torch

from supercosm.errors import DataError
from supercosm.mesh import BLOCKS
from supercosm.statistics.assignment import Assignment, density_modes
from supercosm.statistics.shells import Shells, pairs, shells


@dataclass(frozen=True)
class Correlation:
    """Correlation function in bins of separation, each array (bins,).

    r: mean separation of the points of the bin [Mpc/h]. xi: ξ averaged over the bin's volume.
    """

    r: np.ndarray
    xi: np.ndarray


def particle_correlation(
    positions: np.ndarray | torch.Tensor, box_size: float, assignment: Assignment, edges: np.ndarray
) -> Correlation:
    """Measure ξ(r) of particles (N, 3) [Mpc/h] in bins of r with `edges` [Mpc/h].

    The window and the pairs of a particle with itself are taken out. Structure smaller than a cell is missed, so
    bins should be a cell wide or lie above two cells. Interlacing takes out most aliases.
    """
    modes = density_modes(positions, box_size, assignment)
    noise = np.array(assignment.white_noise(assignment.cells // 2))
    if assignment.interlaced and assignment.cells % 2 == 0:
        noise[:, -1] = 0.0  # the Nyquist planes were set to zero, and have no self-pairs left
    return correlation_function(modes, box_size, edges, assignment.cells, (1 / len(positions), noise))


def correlation_function(
    modes: torch.Tensor,
    box_size: float,
    edges: np.ndarray,
    cells: int,
    noise: tuple[float, np.ndarray] | None = None,
) -> Correlation:
    """Transform |δ_k|² of modes (1, x, y, z) of a mesh of `cells` cells per side to ξ in bins of r [Mpc/h].

    noise: a level and factors (terms, n) to be subtracted from |δ_k|²: the level times the sum over terms of the
    product over axes of factor[|n_i|]. Raises DataError for bins that are not increasing, and for those beyond
    half the box, where pairs meet their own images.
    """
    edges = check_separations(edges, box_size)
    lattice = shells(modes.shape[1:], np.array([0.0, cells]), cells)
    level, factors = (0.0, np.zeros((1, modes.shape[-1]))) if noise is None else noise
    sums = _sum_by_square(modes, lattice, level, factors)
    squares = np.flatnonzero(sums)
    k = 2 * np.pi / box_size * np.sqrt(squares)
    balls = np.array([np.sum(sums[squares] * _ball(k, edge)) for edge in edges])
    r = 0.75 * np.diff(edges**4) / np.diff(edges**3)
    return Correlation(r, np.diff(balls) / (4 / 3 * np.pi * np.diff(edges**3)))


def check_separations(edges: np.ndarray, box_size: float) -> np.ndarray:
    """Return edges of bins in r [Mpc/h] as an array; raise DataError for what no box of `box_size` can have."""
    edges = np.asarray(edges, float)
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0) or edges[0] < 0:
        raise DataError(f"separations must be two or more increasing numbers from 0 on, not {edges}")
    if edges[-1] > box_size / 2:
        raise DataError(
            f"separations up to {edges[-1]:g} Mpc/h exceed half the box of {box_size:g} Mpc/h; end the bins there"
        )
    return edges


def _ball(k: np.ndarray, radius: float) -> np.ndarray:
    """Integrate exp(i k·r) over a ball: 4π (sin kR − kR cos kR) / k³ [(Mpc/h)³]."""
    x = k * radius
    return 4 * np.pi * (np.sin(x) - x * np.cos(x)) / k**3


def _sum_by_square(modes: torch.Tensor, lattice: Shells, level: float, factors: np.ndarray) -> np.ndarray:
    """Sum |δ_k|² less its noise over all modes of one n²: (largest n² + 1,) float64; n = 0 is left out."""
    largest = int((lattice.x**2).max() + (lattice.y**2).max() + (len(lattice.multiplicity) - 1) ** 2)
    sums = np.zeros((BLOCKS, largest + 1))
    numbers = pairs(modes.cpu(), lattice)[0]
    _add_by_square(numbers, lattice.x, lattice.y, lattice.multiplicity, level, factors, sums)
    total = sums.sum(axis=0)
    total[0] = 0.0
    return total


@numba.njit(parallel=True, cache=True)
def _add_by_square(
    modes: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    multiplicity: np.ndarray,
    level: float,
    factors: np.ndarray,
    sums: np.ndarray,
) -> None:
    blocks, planes = sums.shape[0], len(x)
    for block in numba.prange(blocks):
        for i in range(block * planes // blocks, (block + 1) * planes // blocks):
            for j in range(len(y)):
                s, row = x[i] ** 2 + y[j] ** 2, modes[i, j]
                for z in range(len(multiplicity)):
                    value = row[2 * z] * row[2 * z] + row[2 * z + 1] * row[2 * z + 1]
                    noise = 0.0
                    for term in range(factors.shape[0]):
                        noise += factors[term, abs(x[i])] * factors[term, abs(y[j])] * factors[term, z]
                    sums[block, s + z * z] += multiplicity[z] * (value - level * noise)
