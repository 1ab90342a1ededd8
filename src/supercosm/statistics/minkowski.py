"""Minkowski functionals of the excursion sets δ ≥ ν σ of a smoothed density mesh.

Per unit volume: V₀ = volume, V₁ = surface area / 6, V₂ = integrated mean curvature / 3π, V₃ = Euler characteristic
(Schmalzing & Buchert 1997, ApJ 482, L1). Crofton's formula gets them from the numbers of cubes, faces, edges and
vertices of the cells in the set. Cells that touch along an edge or at a corner only are connected if the set is
taken as closed and apart if its complement is; the mean of both is taken, because their errors of first
order in cell / radius are opposite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import torch
from scipy.special import erfc

from supercosm.statistics.onepoint import increasing, smoothed, spectral_moments


@dataclass(frozen=True)
class Functionals:
    """Minkowski functionals per volume at each threshold ν = δ/σ.

    thresholds: (T,). values: (4, T), V_j in (h/Mpc)^j. sigma: rms of the smoothed δ. slope: rms of its
    gradient [h/Mpc].
    """

    thresholds: np.ndarray
    values: np.ndarray
    sigma: float
    slope: float

    @property
    def gaussian(self) -> np.ndarray:
        """Functionals of a Gaussian field of the same σ and rms gradient, (4, T)."""
        return gaussian_functionals(self.thresholds, self.sigma, self.slope)


def gaussian_functionals(thresholds: np.ndarray, sigma: float, slope: float) -> np.ndarray:
    """Return V₀…V₃ of a Gaussian field at thresholds ν (T,), given rms and rms gradient [h/Mpc], (4, T).

    Tomita 1986, Prog. Theor. Phys. 76, 952; in this normalisation Schmalzing & Buchert 1997, eq. 5.
    """
    nu = np.asarray(thresholds, float)
    rate = slope / (math.sqrt(3) * sigma) if sigma > 0 else math.nan
    bell = np.exp(-(nu**2) / 2)
    return np.stack(
        [
            erfc(nu / math.sqrt(2)) / 2,
            rate / (3 * math.pi) * bell,
            rate**2 / (3 * math.pi * math.sqrt(2 * math.pi)) * nu * bell,
            rate**3 / (2 * math.pi) ** 2 * (nu**2 - 1) * bell,
        ]
    )


@numba.njit(parallel=True, cache=True)
def _levels(field: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Return how many limits each cell reaches: all that the counting needs to know, int16 (m, m, m)."""
    result = np.empty(field.shape, np.int16)
    for i in numba.prange(field.shape[0]):
        for j in range(field.shape[1]):
            for k in range(field.shape[2]):
                result[i, j, k] = np.searchsorted(limits, np.float64(field[i, j, k]), side="right")
    return result


@numba.njit(parallel=True, cache=True)
def _count_elements(levels: np.ndarray, bins: int) -> np.ndarray:
    """Count cubes, faces, edges and vertices by level, per plane: (m, 2, 4, bins).

    A face is shared by two cells, an edge by four, a vertex by eight; in the closed set (first) an element
    belongs to the highest of them, in the open one (second) to the lowest.
    """
    n = levels.shape[0]
    counts = np.zeros((n, 2, 4, bins), np.int64)
    for i in numba.prange(n):
        high, low = np.empty(8, np.int16), np.empty(8, np.int16)
        for j in range(n):
            for k in range(n):
                for corner in range(8):
                    x, y, z = i + (corner & 1), j + (corner >> 1 & 1), k + (corner >> 2)
                    high[corner] = levels[x if x < n else 0, y if y < n else 0, z if z < n else 0]
                    low[corner] = high[corner]
                for axis in range(3):  # spread along one axis after the other: corner c then spans the box from 0 to c
                    for corner in range(8):
                        if corner >> axis & 1:
                            high[corner] = max(high[corner], high[corner ^ (1 << axis)])
                            low[corner] = min(low[corner], low[corner ^ (1 << axis)])
                for corner in range(8):
                    dimensions = (corner & 1) + (corner >> 1 & 1) + (corner >> 2)
                    counts[i, 0, dimensions, high[corner]] += 1
                    counts[i, 1, dimensions, low[corner]] += 1
    return counts


def minkowski_functionals(
    density: torch.Tensor | np.ndarray,
    box_size: float,
    radius: float,
    thresholds: np.ndarray,
    kernel: str = "gaussian",
) -> Functionals:
    """Measure V₀…V₃ of a density mesh 1 + δ (m, m, m) smoothed at `radius` [Mpc/h], at thresholds ν = δ/σ (T,).

    With a radius of two cells or more the functionals of a Gaussian field come out to about 1 % of their maxima.
    Radii and thresholds that cannot be used raise DataError. A mesh without structure has σ = 0 and fills
    its box at every threshold.
    """
    nu = increasing(thresholds, "thresholds", 1)
    (delta,) = smoothed(density, box_size, [radius], kernel)
    sigma, slope, _ = spectral_moments(delta, box_size)
    levels = _levels(delta.contiguous().cpu().numpy(), nu * sigma)
    counts = _count_elements(levels, len(nu) + 1).sum(0)
    reached = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1][..., 1:]
    return Functionals(nu, _crofton(reached, delta.numel(), box_size / len(delta)), sigma, slope)


def _crofton(reached: np.ndarray, cells: int, cell: float) -> np.ndarray:
    """Turn numbers of elements (2, 4, T) of the closed and the open set into V₀…V₃ (4, T); cell in Mpc/h.

    Schmalzing & Buchert 1997, eq. 4; the complement has the same area and Euler characteristic and the
    opposite curvature.
    """
    cubes, faces, edges, vertices = reached.swapaxes(0, 1)
    curvature = (edges - 2 * faces + 3 * cubes).mean(0)
    euler = vertices - edges + faces - cubes
    values = [cubes[0], 2 / 9 * (faces[0] - 3 * cubes[0]), 2 / 9 * curvature, (euler[0] - euler[1]) / 2]
    return np.stack([value / cells / cell**power for power, value in enumerate(values)])
