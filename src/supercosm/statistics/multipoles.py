"""Redshift space: where particles appear to be, and the multipoles of their power spectrum.

The line of sight is parallel to an axis of the box. With v the peculiar velocity and H(a) = 100 E(a) km/s per
Mpc/h, a particle at comoving x appears at s = x + v_∥ / (a H) (Kaiser 1987, MNRAS 227, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import torch

from supercosm.config import Cosmology
from supercosm.cosmology import HUBBLE, expansion
from supercosm.errors import DataError
from supercosm.snapshot import Snapshot
from supercosm.statistics.assignment import Assignment, density_modes
from supercosm.statistics.particles import check_edges, noise_factor, safe_edges
from supercosm.statistics.shells import REORDER, Shells, counts, first_in, pairs, shells

LEGENDRE = np.array([[1, 0, 0], [-1 / 2, 3 / 2, 0], [3 / 8, -30 / 8, 35 / 8]])  # L₀, L₂, L₄ in powers of μ²


@dataclass(frozen=True)
class Multipoles:
    """Multipoles of the power spectrum about a line of sight, each array (bins,).

    k: mean wave number of the modes [h/Mpc]. modes: their number. monopole (with its shot noise), quadrupole,
    hexadecapole: P₀, P₂, P₄ [(Mpc/h)³]. shot_noise: its share of the monopole, V/N and aliases; 0 where unknown.
    """

    k: np.ndarray
    modes: np.ndarray
    monopole: np.ndarray
    quadrupole: np.ndarray
    hexadecapole: np.ndarray
    shot_noise: np.ndarray


def redshift_space(
    positions: np.ndarray,
    velocities: np.ndarray,
    box_size: float,
    scale_factor: float,
    cosmology: Cosmology,
    axis: int = 2,
) -> np.ndarray:
    """Move particles (N, 3) [Mpc/h] along `axis` by v / (a H), v in peculiar km/s; float32, wrapped into [0, box)."""
    if axis not in (0, 1, 2):
        raise DataError(f"the line of sight is axis 0, 1 or 2, not {axis}")
    if velocities.shape != positions.shape:
        raise DataError(f"{len(positions)} positions and {len(velocities)} velocities do not match; give one for each")
    per_velocity = 1 / (scale_factor * HUBBLE * expansion(cosmology, scale_factor))
    moved = positions.astype(np.float32)
    seen = (positions[:, axis] + per_velocity * velocities[:, axis].astype(float)) % box_size
    moved[:, axis] = seen
    moved[moved[:, axis] >= np.float32(box_size), axis] = 0.0  # float32 may round up to the box side, the point 0
    return moved


def snapshot_multipoles(
    snapshot: Snapshot,
    assignment: Assignment,
    edges: np.ndarray | None = None,
    axis: int = 2,
    bins: int = 24,
    separate: bool = False,
) -> Multipoles:
    """Measure P₀, P₂ and P₄ of a snapshot's particles in redshift space, seen along `axis`.

    edges: bins in |n| = k L / 2π, half open; by default logarithmic ones up to `particles.safe_limit`. separate: see
    `multipoles`.
    """
    cells, box, count = assignment.cells, snapshot.box_size, len(snapshot.positions)
    edges = safe_edges(assignment, count, bins) if edges is None else check_edges(edges, cells)
    keep = min(int(np.ceil(edges[-1])), cells // 2)
    seen = redshift_space(snapshot.positions, snapshot.velocities, box, snapshot.scale_factor, snapshot.cosmology, axis)
    modes = density_modes(seen, box, assignment, keep)
    noise = box**3 / count * noise_factor(assignment, edges, keep)
    return multipoles(modes, box, edges, cells, axis, noise, separate)


def multipoles(
    modes: torch.Tensor,
    box_size: float,
    edges: np.ndarray,
    cells: int,
    axis: int = 2,
    shot_noise: np.ndarray | float = 0.0,
    separate: bool = False,
) -> Multipoles:
    """Average (2 l + 1) V |δ_k|² L_l(μ), l = 0, 2, 4, over the modes (1, x, y, z) in each bin of |n|.

    μ is the cosine between k and the line of sight. A bin's modes, points of a lattice, sample μ unevenly, so a P(k)
    without any anisotropy has some P₂ and P₄: per cents of P₀ even with thousands of modes. `separate` fits
    Σ P_l L_l(μ) to the modes by least squares instead, which takes that out as long as higher l are small (of
    least norm where a bin has fewer than three different μ²).
    """
    if axis not in (0, 1, 2):
        raise DataError(f"the line of sight is axis 0, 1 or 2, not {axis}")
    lattice = shells(modes.shape[1:], edges, cells)
    number, distances = counts(lattice)
    sums = _moments(modes.cpu(), lattice, axis) / number
    averages = LEGENDRE @ sums[:3]
    if separate:
        overlap = np.einsum("li,mj,ijb->blm", LEGENDRE, LEGENDRE, sums[3:][np.add.outer(range(3), range(3))])
        poles = np.einsum("blm,mb->lb", np.linalg.pinv(overlap, rcond=1e-9, hermitian=True), averages)
    else:
        poles = averages * np.array([[1], [5], [9]])
    noise = np.broadcast_to(np.asarray(shot_noise, float), number.shape)
    k = 2 * np.pi / box_size * distances / number
    return Multipoles(k, number.astype(int), *(poles * box_size**3), noise)


def _moments(modes: torch.Tensor, lattice: Shells, axis: int) -> np.ndarray:
    """Sum |δ|² μ^j, j = 0, 2, 4, and μ^j, j = 0…8, over the modes of each shell: (8, bins)."""
    sums = np.zeros((len(lattice.x), 8, lattice.bins))
    numbers = pairs(modes, lattice)[0]
    _sum_moments(numbers, lattice.x, lattice.y, lattice.multiplicity, lattice.starts, axis, sums)
    return sums.sum(axis=0)


@numba.njit(parallel=True, fastmath=REORDER, cache=True)
def _sum_moments(
    modes: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    multiplicity: np.ndarray,
    starts: np.ndarray,
    axis: int,
    sums: np.ndarray,
) -> None:
    length = len(multiplicity)
    for i in numba.prange(len(x)):
        for j in range(len(y)):
            s = x[i] ** 2 + y[j] ** 2
            across = 0 if axis == 2 else (x[i] ** 2 if axis == 0 else y[j] ** 2)
            deep = 1 if axis == 2 else 0
            row = modes[i, j]
            stop = first_in(starts[0] - s, length)
            for b in range(len(starts) - 1):
                start, stop = stop, first_in(starts[b + 1] - s, length)
                p0, p2, p4, m0, m2, m4, m6, m8 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
                for z in range(start, stop):
                    weight = multiplicity[z]
                    power = weight * (row[2 * z] * row[2 * z] + row[2 * z + 1] * row[2 * z + 1])
                    mu2 = (across + deep * z * z) / max(s + z * z, 1)
                    mu4 = mu2 * mu2
                    p0 += power
                    p2 += power * mu2
                    p4 += power * mu4
                    m0 += weight
                    m2 += weight * mu2
                    m4 += weight * mu4
                    m6 += weight * mu4 * mu2
                    m8 += weight * mu4 * mu4
                for line, value in enumerate((p0, p2, p4, m0, m2, m4, m6, m8)):
                    sums[i, line, b] += value
