"""The power spectrum of particles in one call: mesh, bins that aliases do not reach, and shot noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from supercosm.errors import DataError
from supercosm.statistics.assignment import Assignment, density_modes
from supercosm.statistics.power import bin_edges, power
from supercosm.statistics.shells import shells, weighted_counts

ALIASES = 0.015  # tolerated share of aliases in white noise: cloud in cell has it at half the mesh's Nyquist frequency
DIAGONALS = [(1, 0, 0), (1, 1, 0), (1, 1, 1)]


@dataclass(frozen=True)
class ParticlePower:
    """Power spectrum of particles, each array (bins,).

    k: mean wave number of the modes [h/Mpc]. modes: their number. power: P(k) with its shot noise [(Mpc/h)³].
    shot_noise: what Poisson particles without clustering would show, V/N and its aliases [(Mpc/h)³].
    """

    k: np.ndarray
    modes: np.ndarray
    power: np.ndarray
    shot_noise: np.ndarray

    @property
    def clustering(self) -> np.ndarray:
        """P(k) without shot noise [(Mpc/h)³]; too low for particles that still remember their lattice."""
        return self.power - self.shot_noise


def particle_power(
    positions: np.ndarray | torch.Tensor,
    box_size: float,
    assignment: Assignment,
    edges: np.ndarray | None = None,
    bins: int = 24,
) -> ParticlePower:
    """Measure P(k) of particles (N, 3) [Mpc/h] in a periodic box [Mpc/h].

    edges: bins in |n| = k L / 2π, half open; by default logarithmic ones up to `safe_limit`. Raises DataError for
    particles that cannot be measured, and for edges beyond the mesh's Nyquist frequency.
    """
    edges = safe_edges(assignment, len(positions), bins) if edges is None else check_edges(edges, assignment.cells)
    keep = min(int(np.ceil(edges[-1])), assignment.cells // 2)
    modes = density_modes(positions, box_size, assignment, keep)
    found = power(modes, modes, box_size, edges, assignment.cells)
    noise = box_size**3 / len(positions) * noise_factor(assignment, edges, keep)
    return ParticlePower(found.k, found.modes, found.first, noise)


def check_edges(edges: np.ndarray, cells: int) -> np.ndarray:
    """Return bin edges in |n| as an array; raise DataError beyond the Nyquist frequency, cells/2."""
    edges = np.asarray(edges, float)
    if edges.size and edges.max() > cells / 2:
        raise DataError(
            f"bins up to |n| = {edges.max():g} lie beyond the Nyquist frequency {cells / 2:g} of a mesh of {cells} "
            "cells; use a finer mesh"
        )
    return edges


def safe_edges(assignment: Assignment, count: int, bins: int) -> np.ndarray:
    """Choose logarithmic bin edges in |n| for `count` particles, up to `safe_limit`."""
    side = 2 * int(safe_limit(assignment, count))
    if side < 4:
        raise DataError(
            f"{count} particles on a mesh of {assignment.cells} cells have no mode to measure; use more of both"
        )
    return bin_edges(side, bins)


def safe_limit(assignment: Assignment, count: int) -> float:
    """Return the largest |n| at which mesh and particles can be trusted.

    The mesh: aliases of white noise, whose spectrum falls less steeply than that of matter, stay below 1.5 % of
    every mode. The particles: their Nyquist frequency, N^⅓/2, beyond which the initial conditions have no modes.
    Haloes and other samples have no such limit: choose your own bins for them.
    """
    nyquist = assignment.cells // 2
    factors = assignment.white_noise(nyquist)
    grid = np.arange(nyquist + 1)
    worst = 0.0 * grid
    for direction in DIAGONALS:
        along = [np.round(grid * x / np.linalg.norm(direction)).astype(int) for x in direction]
        worst = np.maximum(worst, sum(np.prod([f[n] for n in along], axis=0) for f in factors) - 1)
    bad = np.flatnonzero(worst > ALIASES)
    return min(float(bad[0] if len(bad) else nyquist), count ** (1 / 3) / 2)


def noise_factor(assignment: Assignment, edges: np.ndarray, keep: int) -> np.ndarray:
    """Return the measured power of unit white noise in each bin: one plus aliases, (bins,)."""
    lattice = shells(density_shape(assignment, keep), edges, assignment.cells)
    factors = assignment.white_noise(keep)
    sums = sum(weighted_counts(lattice, factor)[0] for factor in factors)
    return sums / weighted_counts(lattice, np.ones(keep + 1))[0]


def density_shape(assignment: Assignment, keep: int) -> tuple[int, int, int]:
    """Return the shape of one channel of modes |n_i| ≤ keep, as `power.transform` makes them."""
    side = min(2 * keep + 1, assignment.cells)
    return side, side, keep + 1
