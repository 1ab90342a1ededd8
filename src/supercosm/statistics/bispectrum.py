"""Bispectra of a periodic density mesh for chosen triangles, by FFT.

With δ_n = (1/N) Σ_x δ(x) exp(−i k·x), k = 2π n / L, and shells of |n| around the sides k₁, k₂, k₃,

    B = V² Σ δ_n1 δ_n2 δ_n3 / N_tri    over all n1 + n2 + n3 = 0, one vector in each shell.

Both the sum and the number of triangles are products of shell-filtered fields in real space (Scoccimarro 2015, PRD
92, 083532; Sefusatti et al. 2016, MNRAS 460, 3624, eq. 36). Shot noise is not subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numba
import numpy as np
import torch
from scipy.fft import next_fast_len

from supercosm.errors import DataError
from supercosm.statistics.onepoint import forward, overdensity

Shell = tuple[int, int]  # n² from the first up to, not including, the second
Triangle = tuple[Shell, Shell, Shell]
PERMUTATIONS = {1: 6, 2: 2, 3: 1}  # s_B by the number of different shells: 6 equilateral, 2 isosceles, 1 general


@dataclass(frozen=True)
class Bispectrum:
    """Bispectra of T triangles.

    sides: (T, 3), mean wave number of each shell [h/Mpc]. triangles: number of triangles averaged, (T,). power:
    (T, 3) spectra of the shells [(Mpc/h)³]. bispectrum: (T,) [(Mpc/h)⁶]. error: its standard deviation for a
    Gaussian field, √(s_B V P₁ P₂ P₃ / N_tri) (Scoccimarro et al. 2004, PRD 69, 103513, eq. A16), where the
    shells of a triangle are the same or do not overlap.
    """

    sides: np.ndarray
    triangles: np.ndarray
    power: np.ndarray
    bispectrum: np.ndarray
    error: np.ndarray

    @property
    def _hierarchical(self) -> np.ndarray:
        p, q, r = np.where(np.all(self.power > 0, axis=1), self.power.T, np.nan)
        return p * q + q * r + r * p

    @property
    def reduced(self) -> np.ndarray:
        """Reduced bispectrum Q = B / (P₁P₂ + P₂P₃ + P₃P₁), (T,); NaN where a shell has no power."""
        return self.bispectrum / self._hierarchical

    @property
    def reduced_error(self) -> np.ndarray:
        """Standard deviation of Q when only B scatters, (T,)."""
        return self.error / self._hierarchical


def equilateral(k: np.ndarray) -> np.ndarray:
    """Return triangles (k, k, k) of wave numbers (T,) [h/Mpc], (T, 3)."""
    return np.repeat(np.asarray(k, float)[:, None], 3, axis=1)


def squeezed(k: np.ndarray, soft: float) -> np.ndarray:
    """Return triangles (soft, k, k) of one long wave and wave numbers (T,) [h/Mpc], (T, 3)."""
    return np.stack([np.full(len(k), float(soft)), k, k], axis=1)


def opening(first: float, second: float, angles: np.ndarray) -> np.ndarray:
    """Return triangles of sides k₁, k₂ [h/Mpc] and angles (T,) from 0 to π between the two vectors, (T, 3).

    k₃² = k₁² + k₂² + 2 k₁ k₂ cos θ; first = second gives isosceles triangles.
    """
    third = np.sqrt(first**2 + second**2 + 2 * first * second * np.cos(angles))
    return np.stack([np.full(len(third), float(first)), np.full(len(third), float(second)), third], axis=1)


def bispectrum(
    density: torch.Tensor | np.ndarray,
    box_size: float,
    sides: np.ndarray,
    width: float = 1.0,
    window: int = 0,
) -> Bispectrum:
    """Measure B of a density mesh 1 + δ (m, m, m) for triangles of sides (T, 3) [h/Mpc].

    Shells are `width` fundamental modes 2π/L wide. `window`: power of the sinc assignment window to divide out,
    as in `power.power`. Raise DataError for sides beyond the mesh's Nyquist frequency and for shells that
    close no triangle.
    """
    delta = overdensity(density)
    shells = _shells(sides, box_size, width)
    keep = max(_reach(shell) for triangle in shells for shell in triangle)
    cells = len(delta)
    if 2 * keep >= cells:
        raise DataError(
            f"sides up to {np.max(sides):g} h/Mpc need modes up to {keep}, but a mesh of {cells} cells holds those "
            f"below {cells / 2:g}; use a finer mesh or shorter sides"
        )
    rows = _axis(keep, delta.device)
    modes = forward(delta)[rows[:, None], rows, : keep + 1]
    if window:
        square = torch.sinc(rows / cells).pow(-window)
        modes = modes * square[:, None, None] * square[:, None] * square[: keep + 1]
    return _measure(modes, box_size, shells)


def bispectrum_of_modes(modes: torch.Tensor, box_size: float, sides: np.ndarray, width: float = 1.0) -> Bispectrum:
    """Measure B from modes δ_k (2 K + 1, 2 K + 1, K + 1), deconvolved and laid out as by `power.transform`."""
    keep = modes.shape[-1] - 1
    if modes.shape != (2 * keep + 1, 2 * keep + 1, keep + 1):
        raise DataError(f"modes of shape {tuple(modes.shape)} are not (2 K + 1, 2 K + 1, K + 1); take one channel")
    shells = _shells(sides, box_size, width)
    reach = max(_reach(shell) for triangle in shells for shell in triangle)
    if reach > keep:
        raise DataError(
            f"sides up to {np.max(sides):g} h/Mpc need modes up to {reach}, but {keep} were kept; keep more"
        )
    return _measure(modes, box_size, shells)


def _shells(sides: np.ndarray, box_size: float, width: float) -> tuple[Triangle, ...]:
    """Turn sides [h/Mpc] into shells k/k_F ± width/2, half open, without the mean mode."""
    sides = np.asarray(sides, float)
    if sides.ndim != 2 or sides.shape[1] != 3 or not len(sides) or not np.all(sides > 0) or not width > 0:
        raise DataError(
            f"triangles need sides (T, 3) above 0 and shells wider than 0, not an array of shape {sides.shape} and a "
            f"width of {width:g}; give three wave numbers in h/Mpc for each triangle"
        )
    centres = sides * (box_size / (2 * np.pi))
    # rounded, so that a side of a whole number of modes does not lose those on the shell's edge to a last bit
    low = np.maximum(np.round(centres - width / 2, 9), 0.5)
    high = np.round(centres + width / 2, 9)
    first, stop = np.ceil(low**2).astype(int), np.ceil(high**2).astype(int)
    return tuple(tuple(zip(a, b, strict=True)) for a, b in zip(first.tolist(), stop.tolist(), strict=True))


def _reach(shell: Shell) -> int:
    """Return the largest component that a wave vector of a shell can have."""
    return math.isqrt(max(shell[1] - 1, 0))


def _measure(modes: torch.Tensor, box_size: float, shells: tuple[Triangle, ...]) -> Bispectrum:
    # components of three vectors then never add up to the mesh's size: no alias closes a triangle
    reaches = [[_reach(shell) for shell in triangle] for triangle in shells]
    mesh = next_fast_len(max(max(sum(reach), 2 * max(reach)) for reach in reaches) + 1, real=True)
    counts = np.array(_triangle_counts(shells, mesh))
    if not np.all(counts):
        bad = [tuple(round(math.sqrt(s[0]), 2) for s in t) for t, n in zip(shells, counts, strict=True) if not n]
        raise DataError(
            f"shells from |n| = {', '.join(map(str, bad[0]))} close no triangle; choose sides of which none exceeds "
            "the sum of the others, or wider shells"
        )
    volume = float(box_size) ** 3
    k, power = _shell_spectra(modes, shells)
    value = volume**2 * np.array(list(_triple_sums(modes, shells, mesh))) / counts
    symmetry = np.array([PERMUTATIONS[len(set(triangle))] for triangle in shells])
    power = volume * power
    error = np.sqrt(symmetry * volume * power.prod(1) / counts)
    return Bispectrum(2 * np.pi / box_size * k, counts, power, value, error)


@lru_cache(maxsize=16)
def _triangle_counts(shells: tuple[Triangle, ...], mesh: int) -> tuple[int, ...]:
    """Count closed triangles; cached, because every field of a box has the same."""
    return tuple(round(total) for total in _triple_sums(None, shells, mesh))


def _triple_sums(modes: torch.Tensor | None, shells: tuple[Triangle, ...], mesh: int) -> Iterator[float]:
    """Yield Σ f₁ f₂ f₃ / cells of each triangle's three shells, with f = 1 in Fourier space if there are no modes."""
    last = {shell: index for index, triangle in enumerate(shells) for shell in triangle}
    fields: dict[Shell, torch.Tensor] = {}
    for index, triangle in enumerate(shells):
        for shell in triangle:
            if shell not in fields:
                fields[shell] = _shell_field(modes, shell, mesh)
        yield _triple_sum(*(fields[shell] for shell in triangle)) / mesh**3
        for shell in set(triangle):
            if last[shell] == index:
                del fields[shell]  # what later triangles do not need makes room


def _axis(keep: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return the wave numbers 0…keep, −keep…−1."""
    return torch.cat([torch.arange(keep + 1, device=device), torch.arange(-keep, 0, device=device)])


def _squares(keep: int, device: torch.device | str = "cpu") -> torch.Tensor:
    square = _axis(keep, device) ** 2
    return square[:, None, None] + square[:, None] + square[: keep + 1]


def _shell_field(modes: torch.Tensor | None, shell: Shell, mesh: int) -> torch.Tensor:
    """Return the field of one shell's modes, float32, or of ones, float64: (mesh,)*3."""
    keep = _reach(shell)
    device = "cpu" if modes is None else modes.device
    rows, squares = _axis(keep, device), _squares(keep, device)
    inside = (squares >= shell[0]) & (squares < shell[1])
    # counts are differences of large numbers: in float32 a triangle that cannot close would have some
    part = inside.to(torch.complex128) if modes is None else modes[rows[:, None], rows, : keep + 1] * inside
    full = torch.zeros((mesh, mesh, mesh // 2 + 1), dtype=part.dtype, device=device)
    full[rows[:, None], rows, : keep + 1] = part
    return torch.fft.irfftn(full, s=(mesh,) * 3, norm="forward")


@numba.njit(parallel=True, cache=True)
def _plane_sums(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Sum a b c over each plane in float64: planes are added later, in order."""
    sums = np.zeros(a.shape[0])
    for i in numba.prange(a.shape[0]):
        for j in range(a.shape[1]):
            for k in range(a.shape[2]):
                sums[i] += np.float64(a[i, j, k]) * b[i, j, k] * c[i, j, k]
    return sums


def _triple_sum(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> float:
    if a.device.type == "cpu":
        return float(_plane_sums(a.numpy(), b.numpy(), c.numpy()).sum())
    return float((a * b * c).sum(dtype=torch.float64))


def _shell_spectra(modes: torch.Tensor, shells: tuple[Triangle, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return each shell's mean |n| and mean |δ_n|², both (T, 3)."""
    keep = modes.shape[-1] - 1
    squares = _squares(keep).flatten()
    weight = torch.full((keep + 1,), 2.0, dtype=torch.float64)
    weight[0] = 1.0  # the plane n_z = 0 holds its own conjugates
    weight = weight.expand(2 * keep + 1, 2 * keep + 1, keep + 1).flatten()
    norm = (modes.real.double() ** 2 + modes.imag.double() ** 2).cpu().flatten()
    counts = torch.bincount(squares, weight).numpy()
    totals = torch.bincount(squares, weight * norm).numpy()
    lengths = np.sqrt(np.arange(len(counts))) * counts
    spans = [[slice(*shell) for shell in triangle] for triangle in shells]
    modes_in = np.array([[counts[s].sum() for s in row] for row in spans])
    mean = np.array([[lengths[s].sum() for s in row] for row in spans]) / modes_in
    return mean, np.array([[totals[s].sum() for s in row] for row in spans]) / modes_in
