"""The cosmic web by the tidal tensor: void, sheet, filament or knot for every cell.

T_ij = ∂_i ∂_j φ with ∇²φ = δ, of the density smoothed by a Gaussian. A cell collapses along each axis whose
eigenvalue exceeds a threshold λ_th: along none in a void, one in a sheet, two in a filament, three in a knot
(Hahn et al. 2007, MNRAS 375, 489, with λ_th = 0; Forero-Romero et al. 2009, MNRAS 396, 1815, with 0.2 to 0.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import torch

from supercosm.errors import DataError
from supercosm.mesh import wave_numbers
from supercosm.statistics.onepoint import filter_modes, forward, overdensity, window

CLASSES = ("void", "sheet", "filament", "knot")  # by the number of collapsing axes
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class WebFractions:
    """Shares of volume and mass in voids, sheets, filaments and knots, each array (4,) and of sum one."""

    volume: np.ndarray
    mass: np.ndarray


def tidal_tensor(density: torch.Tensor | np.ndarray, box_size: float, radius: float) -> torch.Tensor:
    """Return T_xx, T_yy, T_zz, T_xy, T_xz, T_yz of a density mesh 1 + δ, float32 (6, m, m, m).

    Its trace is δ smoothed by a Gaussian of `radius` [Mpc/h]: T_ij(k) = k_i k_j / k² δ_k exp(−k² R²/2).
    """
    delta = overdensity(density)
    cells = len(delta)
    table = window("gaussian", radius, box_size, cells)
    table[1:] /= np.arange(1, len(table))
    modes = filter_modes(forward(delta), table)
    waves = [w.float() for w in wave_numbers(cells, delta.device)]
    result = torch.empty((6, *delta.shape), dtype=torch.float32, device=delta.device)
    for row, (i, j) in enumerate(PAIRS):
        product = (waves[i] if i == j else _odd(waves[i], cells)) * (waves[j] if i == j else _odd(waves[j], cells))
        result[row] = torch.fft.irfftn(product * modes, s=delta.shape, norm="forward")
    return result


def _odd(wave: torch.Tensor, cells: int) -> torch.Tensor:
    """Drop the Nyquist wave number: a first derivative of a real field has no such mode."""
    return torch.where(wave.abs() * 2 == cells, 0.0, wave)


@numba.njit(inline="always")
def _ordered(xx: float, yy: float, zz: float, xy: float, xz: float, yz: float) -> tuple[float, float, float]:
    """Return the eigenvalues of a symmetric 3 × 3 matrix, largest first (Smith 1961, Comm. ACM 4, 168)."""
    mean = (xx + yy + zz) / 3
    a, b, c = xx - mean, yy - mean, zz - mean
    scale = math.sqrt((a * a + b * b + c * c + 2 * (xy * xy + xz * xz + yz * yz)) / 6)
    if scale == 0.0:
        return mean, mean, mean
    determinant = a * (b * c - yz * yz) - xy * (xy * c - yz * xz) + xz * (xy * yz - b * xz)
    angle = math.acos(min(1.0, max(-1.0, determinant / (2 * scale**3)))) / 3
    first = mean + 2 * scale * math.cos(angle)
    third = mean + 2 * scale * math.cos(angle + 2 * math.pi / 3)
    return first, 3 * mean - first - third, third


@numba.njit(parallel=True, cache=True)
def _eigenvalues(tensor: np.ndarray, result: np.ndarray) -> None:
    n = tensor.shape[1]
    for i in numba.prange(n):
        for j in range(n):
            for k in range(n):
                first, second, third = _ordered(
                    np.float64(tensor[0, i, j, k]),
                    np.float64(tensor[1, i, j, k]),
                    np.float64(tensor[2, i, j, k]),
                    np.float64(tensor[3, i, j, k]),
                    np.float64(tensor[4, i, j, k]),
                    np.float64(tensor[5, i, j, k]),
                )
                result[0, i, j, k], result[1, i, j, k], result[2, i, j, k] = first, second, third


@numba.njit(parallel=True, cache=True)
def _collapsing_axes(eigenvalues: np.ndarray, threshold: float, result: np.ndarray) -> None:
    n = eigenvalues.shape[1]
    for i in numba.prange(n):
        for j in range(n):
            for k in range(n):
                count = 0
                for axis in range(3):
                    count += eigenvalues[axis, i, j, k] > threshold
                result[i, j, k] = count


def tidal_eigenvalues(density: torch.Tensor | np.ndarray, box_size: float, radius: float) -> np.ndarray:
    """Return the eigenvalues λ₁ ≥ λ₂ ≥ λ₃ of the tidal tensor of a density mesh 1 + δ, float32 (3, m, m, m)."""
    tensor = tidal_tensor(density, box_size, radius).cpu().numpy()
    result = np.empty((3, *tensor.shape[1:]), np.float32)
    _eigenvalues(tensor, result)
    return result


def classify(density: torch.Tensor | np.ndarray, box_size: float, radius: float, threshold: float) -> np.ndarray:
    """Classify the cells of a density mesh 1 + δ as 0 void, 1 sheet, 2 filament or 3 knot, uint8 (m, m, m).

    radius of the Gaussian smoothing in Mpc/h; threshold λ_th in units of δ.
    """
    eigenvalues = tidal_eigenvalues(density, box_size, radius)
    result = np.empty(eigenvalues.shape[1:], np.uint8)
    _collapsing_axes(eigenvalues, float(threshold), result)
    return result


def web_fractions(classes: np.ndarray, density: torch.Tensor | np.ndarray) -> WebFractions:
    """Return the shares of volume and mass in each class (m, m, m) of a density mesh 1 + δ (m, m, m)."""
    field = np.asarray(torch.as_tensor(density).detach().cpu())
    if field.shape != np.shape(classes):
        raise DataError(
            f"classes of shape {np.shape(classes)} do not belong to a density mesh of shape {field.shape}; "
            "classify that mesh"
        )
    flat = np.ravel(classes)
    cells = np.bincount(flat, minlength=len(CLASSES))
    mass = np.bincount(flat, weights=field.ravel(), minlength=len(CLASSES))
    return WebFractions(cells / cells.sum(), mass / mass.sum())
