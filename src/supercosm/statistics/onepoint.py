"""One-point statistics of a smoothed density mesh: moments, distribution, peaks and minima.

Smoothing is exact in Fourier space, by spheres of radius R (top-hat) or by Gaussians. The assignment window
stays in, so R should be two cells or more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np
import torch

from supercosm.errors import DataError

ROWS = 8  # planes of modes filtered at once: bounds the copies
SMALLEST = 4  # cells per side of the smallest mesh that has neighbours and derivatives
SLACK = 0.01  # a mean further than this from 1 is an overdensity or raw counts, passed by mistake


@dataclass(frozen=True)
class Moments:
    """Moments of δ per smoothing radius [Mpc/h], each array (radii,).

    variance: ⟨δ²⟩. skewness: S₃ = ⟨δ³⟩ / ⟨δ²⟩². kurtosis: S₄ = (⟨δ⁴⟩ − 3 ⟨δ²⟩²) / ⟨δ²⟩³ (Bernardeau et al.
    2002, Phys. Rep. 367, eq. 128). NaN where a field has no variance.
    """

    radii: np.ndarray
    variance: np.ndarray
    skewness: np.ndarray
    kurtosis: np.ndarray


@dataclass(frozen=True)
class Distribution:
    """Shares of volume and mass per bin of density and smoothing radius [Mpc/h].

    edges: (bins + 1,), of log10(1 + δ) or δ. volume, mass: (radii, bins + 2), the first and the last column
    hold what lies below and above the edges, so that each row sums to one.
    """

    radii: np.ndarray
    edges: np.ndarray
    volume: np.ndarray
    mass: np.ndarray

    @property
    def pdf(self) -> np.ndarray:
        """Volume-weighted probability per unit of the edges, (radii, bins)."""
        return self.volume[:, 1:-1] / np.diff(self.edges)

    @property
    def mass_pdf(self) -> np.ndarray:
        """Mass-weighted probability per unit of the edges, (radii, bins)."""
        return self.mass[:, 1:-1] / np.diff(self.edges)


@dataclass(frozen=True)
class Extrema:
    """Local maxima and minima of the smoothed δ, counted in bins of ν = δ/σ.

    edges: (bins + 1,) of ν. peaks, minima: counts (bins,). sigma: rms of the smoothed δ. volume in (Mpc/h)³.
    """

    edges: np.ndarray
    peaks: np.ndarray
    minima: np.ndarray
    sigma: float
    volume: float

    @property
    def peak_density(self) -> np.ndarray:
        """Peaks per volume and unit ν [(h/Mpc)³], (bins,)."""
        return self.peaks / np.diff(self.edges) / self.volume

    @property
    def minimum_density(self) -> np.ndarray:
        """Minima per volume and unit ν [(h/Mpc)³], (bins,)."""
        return self.minima / np.diff(self.edges) / self.volume


def overdensity(density: torch.Tensor | np.ndarray) -> torch.Tensor:
    """Return δ, float32 (m, m, m) of mean zero, of a density mesh 1 + δ; DataError unless that is a finite cube."""
    field = torch.as_tensor(density).detach()
    if field.ndim != 3 or len(set(field.shape)) != 1 or len(field) < SMALLEST:
        raise DataError(
            f"a density mesh needs the same number of cells, {SMALLEST} or more, along three axes, but this one has "
            f"shape {tuple(field.shape)}; paint the particles on a cubic mesh"
        )
    # torch splits sums by thread, numpy does not: the last bit must not depend on the number of threads
    mean = float(np.mean(field.numpy(), dtype=np.float64) if field.device.type == "cpu" else field.double().mean())
    if not math.isfinite(mean):
        raise DataError("the density mesh holds values that are not finite; check the positions that were painted")
    if abs(mean - 1) > SLACK:
        raise DataError(f"the density mesh has mean {mean:.4g}, but 1 + δ has mean 1; divide it by its mean first")
    return field.float() / mean - 1


def forward(field: torch.Tensor) -> torch.Tensor:
    """Transform a real field (m, m, m) to its modes (m, m, m/2 + 1), divided by m³."""
    # a single call for three axes has other last bits on one CPU thread than on several
    return torch.fft.fft(torch.fft.rfftn(field, dim=(1, 2), norm="forward"), dim=0, norm="forward")


def _top_hat(x: np.ndarray) -> np.ndarray:
    safe = np.maximum(x, 0.01)
    return np.where(x < 0.01, 1 - x**2 / 10, 3 * (np.sin(safe) - safe * np.cos(safe)) / safe**3)


KERNELS = {"top-hat": _top_hat, "gaussian": lambda x: np.exp(-(x**2) / 2)}


def window(kernel: str, radius: float, box_size: float, cells: int) -> np.ndarray:
    """Tabulate a smoothing kernel's transform W(|k| R) over n² = (|k| L / 2π)², float64 (3 (m/2)² + 1,)."""
    if kernel not in KERNELS:
        raise DataError(f"there is no smoothing kernel {kernel!r}; choose one of {', '.join(KERNELS)}")
    if not box_size > 0 or not 0 <= radius < box_size / 2:
        raise DataError(
            f"a smoothing radius of {radius:g} Mpc/h does not fit a box of {box_size:g} Mpc/h; "
            "choose one from 0 to half the box"
        )
    squares = np.arange(3 * (cells // 2) ** 2 + 1)
    return KERNELS[kernel](2 * np.pi / box_size * radius * np.sqrt(squares))


def filter_modes(modes: torch.Tensor, table: np.ndarray) -> torch.Tensor:
    """Multiply the modes (m, m, m/2 + 1) of a real transform by a table over n²; returns new modes."""
    cells = modes.shape[0]
    factors = torch.as_tensor(table, dtype=torch.float32, device=modes.device)
    square = torch.fft.fftfreq(cells, 1 / cells, device=modes.device).round().long() ** 2
    plane = square[:, None] + square[: modes.shape[2]]
    result = torch.empty_like(modes)
    for start in range(0, cells, ROWS):
        rows = slice(start, start + ROWS)
        result[rows] = modes[rows] * factors[square[rows, None, None] + plane]
    return result


def smoothed(
    density: torch.Tensor | np.ndarray, box_size: float, radii: Sequence[float], kernel: str
) -> Iterator[torch.Tensor]:
    """Yield δ, float32 (m, m, m), smoothed at each radius [Mpc/h] by a kernel, "top-hat" or "gaussian"."""
    delta = overdensity(density)
    tables = [window(kernel, radius, box_size, len(delta)) for radius in radii]
    modes = forward(delta)
    for table in tables:
        yield torch.fft.irfftn(filter_modes(modes, table), s=delta.shape, norm="forward")


@numba.njit(parallel=True, cache=True)
def _spectral_sums(modes: np.ndarray, cells: int) -> np.ndarray:
    """Sum n^2j |δ_n|², j = 0, 1, 2, over each plane of a real transform: planes are added later, in order."""
    sums = np.zeros((modes.shape[0], 3))
    for i in numba.prange(cells):
        for j in range(cells):
            across = min(i, cells - i) ** 2 + min(j, cells - j) ** 2
            for k in range(modes.shape[2]):
                value, square = modes[i, j, k], across + k * k
                # the planes n_z = 0 and m/2 hold their own conjugates
                norm = (1.0 if k in (0, cells - k) else 2.0) * (
                    np.float64(value.real) ** 2 + np.float64(value.imag) ** 2
                )
                sums[i, 0] += norm
                sums[i, 1] += norm * square
                sums[i, 2] += norm * square * square
    return sums


def spectral_moments(delta: torch.Tensor, box_size: float) -> tuple[float, float, float]:
    """Return σ₀, σ₁, σ₂ of a field (m, m, m): σ_j² = Σ_k k^2j |δ_k|², k in h/Mpc (Bardeen et al. 1986, eq. 4.6c)."""
    sums = _spectral_sums(forward(delta).cpu().numpy(), len(delta)).sum(0)
    return tuple(float(s) for s in np.sqrt(sums) * (2 * np.pi / box_size) ** np.arange(3))


@numba.njit(parallel=True, cache=True)
def power_sums(field: np.ndarray) -> np.ndarray:
    """Sum δ², δ³ and δ⁴ over each plane: planes are added later, in order."""
    sums = np.zeros((len(field), 3))
    for i in numba.prange(len(field)):
        for row in field[i]:
            for value in row:
                square = np.float64(value) * value
                sums[i, 0] += square
                sums[i, 1] += square * value
                sums[i, 2] += square * square
    return sums


def _array(field: torch.Tensor) -> np.ndarray:
    return field.contiguous().cpu().numpy()


def moments(
    density: torch.Tensor | np.ndarray, box_size: float, radii: Sequence[float], kernel: str = "top-hat"
) -> Moments:
    """Measure variance, S₃ and S₄ of a density mesh 1 + δ (m, m, m) smoothed at several radii [Mpc/h]."""
    fields = smoothed(density, box_size, radii, kernel)
    return moments_of(radii, np.array([power_sums(_array(f)).sum(0) / f.numel() for f in fields]))


def moments_of(radii: Sequence[float], means: np.ndarray) -> Moments:
    """Return the moments of fields whose δ², δ³ and δ⁴ have these means (radii, 3)."""
    second, third, fourth = means.T
    divide = np.where(second > 0, second, np.nan)
    return Moments(np.asarray(radii, float), second, third / divide**2, (fourth - 3 * second**2) / divide**3)


@numba.njit(parallel=True, cache=True)
def histogram(field: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count cells and sum 1 + δ between the limits of δ, per plane; first and last bin are open."""
    cells = np.zeros((field.shape[0], len(limits) + 1), np.int64)
    mass = np.zeros((field.shape[0], len(limits) + 1))
    for i in numba.prange(field.shape[0]):
        for row in field[i]:
            for value in row:
                place = np.searchsorted(limits, np.float64(value), side="right")
                cells[i, place] += 1
                mass[i, place] += 1.0 + value
    return cells, mass


def density_pdf(
    density: torch.Tensor | np.ndarray,
    box_size: float,
    radii: Sequence[float],
    edges: np.ndarray,
    kernel: str = "top-hat",
    logarithmic: bool = True,
) -> Distribution:
    """Measure the distribution of log10(1 + δ), or of δ, of a density mesh smoothed at several radii [Mpc/h]."""
    edges = increasing(edges, "edges of density")
    limits = 10.0**edges - 1 if logarithmic else edges
    volume, mass = [], []
    for field in smoothed(density, box_size, radii, kernel):
        counted, weighed = histogram(_array(field), limits)
        volume.append(counted.sum(0) / field.numel())
        mass.append(weighed.sum(0) / field.numel())
    return Distribution(np.asarray(radii, float), edges, np.array(volume), np.array(mass))


def increasing(edges: np.ndarray, what: str, least: int = 2) -> np.ndarray:
    """Return numbers, such as bin edges, as float64, or raise DataError unless there are `least` and they increase."""
    edges = np.asarray(edges, float)
    if edges.ndim != 1 or len(edges) < least or not np.all(np.diff(edges) > 0):
        given = np.array2string(edges, threshold=8)
        raise DataError(f"{what} must be {least} or more increasing numbers, not {given}; sort them")
    return edges


@numba.njit(inline="always")
def _kind(field: np.ndarray, i: int, j: int, k: int) -> int:
    """Return 1 for a cell above all its 26 periodic neighbours, −1 for one below all, else 0."""
    n = field.shape[0]
    value = field[i, j, k]
    above, below = True, True
    for a in range(-1, 2):
        for b in range(-1, 2):
            for c in range(-1, 2):
                if a == 0 and b == 0 and c == 0:
                    continue
                other = field[(i + a) % n, (j + b) % n, (k + c) % n]
                above = above and value > other
                below = below and value < other
                if not (above or below):
                    return 0
    return 1 if above else -1


@numba.njit(parallel=True, cache=True)
def _count_extrema(field: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Count minima and maxima per plane between the limits of δ, (m, 2, bins + 2); the ends are open."""
    n = field.shape[0]
    counts = np.zeros((n, 2, len(limits) + 1), np.int64)
    for i in numba.prange(n):
        for j in range(n):
            for k in range(n):
                kind = _kind(field, i, j, k)
                if kind != 0:
                    place = np.searchsorted(limits, np.float64(field[i, j, k]), side="right")
                    counts[i, (kind + 1) // 2, place] += 1
    return counts


def extrema(
    density: torch.Tensor | np.ndarray, box_size: float, radius: float, edges: np.ndarray, kernel: str = "gaussian"
) -> Extrema:
    """Count peaks and minima, cells above or below all 26 neighbours, in bins of ν = δ/σ after smoothing.

    radius in Mpc/h; with two cells or more a lattice finds the peaks of the field. Plateaus hold none.
    """
    edges = increasing(edges, "edges of peak height")
    (delta,) = smoothed(density, box_size, [radius], kernel)
    sigma, *_ = spectral_moments(delta, box_size)
    counts = _count_extrema(_array(delta), edges * sigma).sum(0)[:, 1:-1]
    return Extrema(edges, counts[1], counts[0], sigma, float(box_size) ** 3)
