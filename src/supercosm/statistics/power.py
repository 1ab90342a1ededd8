"""Power spectra of periodic fields: P(k), cross spectra, and what follows from them.

Convention: δ_k = (1/N) Σ_x δ(x) exp(−i k·x) with k = 2π n / L, so P(k) = L^d ⟨|δ_k|²⟩ in (Mpc/h)^d. Shot
noise, (L/N)³ for N³ particles, is not subtracted: it belongs to the particle field that is compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from supercosm.errors import DataError
from supercosm.statistics.shells import counts, products, shells

CLOUD_IN_CELL = 2  # W(k) = Π sinc^2


@dataclass(frozen=True)
class Spectra:
    """Auto and cross spectra of two fields, each array (bins,).

    k: mode-weighted mean wave number [h/Mpc]. modes: number of modes averaged, both members of a ±k pair and
    every slab counted. first, second, cross: spectra [(Mpc/h)^d times the square of the field's unit]; the
    cross spectrum is the real part.
    """

    k: np.ndarray
    modes: np.ndarray
    first: np.ndarray
    second: np.ndarray
    cross: np.ndarray

    @property
    def correlation(self) -> np.ndarray:
        """Cross-correlation coefficient r(k) = P₁₂ / √(P₁ P₂)."""
        return correlation(self.first, self.second, self.cross)

    @property
    def transfer(self) -> np.ndarray:
        """Transfer function T(k) = √(P₁ / P₂), the first field against the second; NaN where P₂ = 0."""
        ratio = np.full(self.first.shape, np.nan)
        return np.sqrt(np.divide(self.first, self.second, out=ratio, where=self.second > 0))

    @property
    def stochasticity(self) -> np.ndarray:
        """Fraction 1 − r² of the power that no linear filter of the other field predicts."""
        return 1 - self.correlation**2


def correlation(first: np.ndarray, second: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """Cross-correlation coefficient r(k) = P₁₂ / √(P₁ P₂); NaN where a field has no power."""
    scale = np.sqrt(np.asarray(first, float) * np.asarray(second, float))
    return np.divide(cross, scale, out=np.full(scale.shape, np.nan), where=scale > 0)


def bin_edges(side: int, bins: int) -> np.ndarray:
    """Choose bin edges (≤ bins + 1,) in |n| = k L / 2π, from the fundamental mode to the Nyquist one, side/2.

    Logarithmic, except that no bin is narrower than one fundamental mode: so every bin holds at least the
    modes on the axes. A lattice too small for `bins` such bins gets as many as fit.
    """
    start, stop = 0.5, side / 2
    count = min(bins, int(stop - start))
    if count < 1:
        raise ValueError(f"a lattice of {side} points per side has no mode below its Nyquist frequency; it needs 4")
    low, high = 1.0, stop / start
    for _ in range(100):
        ratio = math.sqrt(low * high)
        if _grow(start, ratio, count)[-1] < stop:
            low = ratio
        else:
            high = ratio
    edges = _grow(start, low, count)
    edges[-1] = stop
    return edges


def _grow(start: float, ratio: float, count: int) -> np.ndarray:
    edges = [start]
    for _ in range(count):
        edges.append(max(edges[-1] + 1, edges[-1] * ratio))
    return np.array(edges)


def transform(field: torch.Tensor | np.ndarray, dimensions: int, keep: int) -> torch.Tensor:
    """Fourier modes |n_i| ≤ keep of periodic fields (channels, m, …) over their last `dimensions` axes.

    Returns δ_k, complex64, (channels, 2 keep + 1, …, keep + 1) with n = 0…keep, −keep…−1 along all but the
    last axis. Channels are transformed one by one, and only the modes kept outlive the call. At keep = m/2
    both Nyquist planes, ±m/2, would be one plane twice; it is then kept once: (channels, m, …, m/2 + 1).
    """
    field = torch.as_tensor(field)
    cells = field.shape[-1]
    if len(set(field.shape[-dimensions:])) != 1:
        sides = " × ".join(str(side) for side in field.shape[-dimensions:])
        raise DataError(f"a mesh of {sides} cells has no common Nyquist frequency; give one of equal sides")
    if keep > cells // 2:
        raise ValueError(f"modes up to {keep} were asked of a mesh of {cells} cells, which holds {cells // 2}")
    axes = tuple(range(-dimensions, 0))
    modes = (_crop(torch.fft.rfftn(one, dim=axes, norm="forward"), keep) for one in field)
    return next(modes)[None] if len(field) == 1 else torch.stack(list(modes))


def _crop(modes: torch.Tensor, keep: int) -> torch.Tensor:
    for axis in range(modes.ndim - 1):
        cells = modes.shape[axis]
        if cells > 2 * keep + 1:
            modes = torch.cat([modes.narrow(axis, 0, keep + 1), modes.narrow(axis, cells - keep, keep)], axis)
    return modes[..., : keep + 1].contiguous()


def power(
    first: torch.Tensor,
    second: torch.Tensor,
    box_size: float,
    edges: np.ndarray,
    cells: int,
    window: int = 0,
) -> Spectra:
    """Bin auto and cross spectra of two transforms (channels, …) in one pass over their modes.

    Three-dimensional channels are the components of a vector, so their spectra are summed; two-dimensional
    ones are slabs, so they are averaged. `cells` is the mesh the transforms come from; `window` the power of
    its sinc assignment window to divide out (2 = cloud in cell, 0 = none; Jing 2005, eq. 19 without
    aliasing). `edges` in |n|, half open; modes outside are left out.
    """
    if first.shape != second.shape:
        raise ValueError(f"transforms of shapes {tuple(first.shape)} and {tuple(second.shape)} cannot be compared")
    dimensions = first.ndim - 1
    lattice = shells(first.shape[1:], edges, cells)
    modes, distances = counts(lattice)
    divide = np.sinc(np.arange(max(first.shape[1:])) / cells) ** (-2 * window) if window else None
    slabs = len(first) if dimensions == 2 else 1
    scale = box_size**dimensions / slabs / modes
    sums = products(first, second, lattice, divide) * scale
    return Spectra(2 * np.pi / box_size * distances / modes, (modes * slabs).astype(int), *sums)


def compare(
    first: torch.Tensor | np.ndarray,
    second: torch.Tensor | np.ndarray,
    box_size: float,
    edges: np.ndarray,
    dimensions: int = 3,
    window: int = 0,
) -> Spectra:
    """Transform two fields (channels, m, …) and bin their auto and cross spectra.

    Painted density: (1, m, m, m) with window = CLOUD_IN_CELL, in (Mpc/h)³. Displacement [Mpc/h] on the
    Lagrangian lattice: (3, n, n, n) without window, in (Mpc/h)⁵. Projected slabs: (slabs, m, m), dimensions =
    2, in (Mpc/h)².
    """
    cells = first.shape[-1]
    keep = min(math.ceil(edges[-1]), cells // 2)
    a = transform(first, dimensions, keep)
    b = a if second is first else transform(second, dimensions, keep)
    return power(a, b, box_size, edges, cells, window)
