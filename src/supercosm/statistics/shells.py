"""Sums over spherical shells of a periodic lattice: the one pass over the modes that every spectrum makes.

Lattice vectors n are whole numbers, so a shell is a range of the whole number n² and, along each row of the
last axis, a range of n_z: no mode needs an index of its own. The last axis runs over n_z ≥ 0 only, as in a
real Fourier transform. On the CPU numba sums plane by plane and the planes are added in order, so the result
is bit for bit the same on any number of threads; elsewhere torch does the same sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import torch

from supercosm.errors import DataError

CHUNK = 1 << 21  # modes summed at once by torch: bounds the float64 copies to some tens of MB
REORDER = {"reassoc", "nsz", "contract"}  # lets the compiler vectorise sums; their order is still fixed


@dataclass(frozen=True)
class Shells:
    """Half a Fourier lattice (x, y, z ≥ 0) cut into spherical shells.

    x, y: integer frequencies along the first two axes. multiplicity: how many modes of the whole lattice each
    n_z stands for, (z,). starts: smallest n² of each shell, and of what lies beyond the last, (bins + 1,).
    edges: the same in |n|, as asked for.
    """

    x: np.ndarray
    y: np.ndarray
    multiplicity: np.ndarray
    starts: np.ndarray
    edges: np.ndarray

    @property
    def bins(self) -> int:
        """Number of shells."""
        return len(self.starts) - 1


def shells(shape: tuple[int, ...], edges: np.ndarray, cells: int) -> Shells:
    """Cut the half lattice of a transform (x, y, z) or (x, z) of a mesh of `cells` points per side into shells.

    `edges` in |n|, increasing, half open. The planes n_z = 0 and, on a whole even mesh, n_z = cells/2 hold
    their own conjugates and count once, all others twice.
    """
    edges = np.asarray(edges, float)
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0) or edges[0] < 0:
        raise DataError(f"bin edges must be two or more increasing numbers from 0 on, not {edges}")
    multiplicity = np.full(shape[-1], 2.0)
    multiplicity[0] = 1.0
    if cells % 2 == 0 and shape[-1] == cells // 2 + 1:
        multiplicity[-1] = 1.0
    rows = frequencies(shape[1]) if len(shape) == 3 else np.zeros(1, np.int64)
    return Shells(frequencies(shape[0]), rows, multiplicity, np.array([_smallest(edge) for edge in edges]), edges)


def frequencies(length: int) -> np.ndarray:
    """Return the integer frequencies 0…, −…−1 of a transform of `length` points, int64."""
    return np.round(np.fft.fftfreq(length, 1 / length)).astype(np.int64)


def _smallest(edge: float) -> int:
    """Return the smallest whole number whose root is at least `edge`."""
    square = math.ceil(edge**2)
    while square > 0 and math.sqrt(square - 1) >= edge:
        square -= 1
    while math.sqrt(square) < edge:
        square += 1
    return square


@numba.njit(inline="always")
def first_in(remainder: int, length: int) -> int:
    """Return the first n_z ≥ 0 with n_z² ≥ remainder, at most `length`."""
    if remainder <= 0:
        return 0
    return min(math.ceil(math.sqrt(remainder)), length)


@numba.njit(parallel=True, cache=True)
def _count(
    x: np.ndarray,
    y: np.ndarray,
    weights: tuple[np.ndarray, np.ndarray, np.ndarray],
    starts: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Sum w and w |n| over each shell, w the product of one weight per axis."""
    wx, wy, wz = weights
    bins = len(starts) - 1
    for i in numba.prange(len(x)):
        for j in range(len(y)):
            s, scale = x[i] ** 2 + y[j] ** 2, wx[i] * wy[j]
            stop = first_in(starts[0] - s, len(wz))
            for b in range(bins):
                start, stop = stop, first_in(starts[b + 1] - s, len(wz))
                for z in range(start, stop):
                    sums[i, 0, b] += scale * wz[z]
                    sums[i, 1, b] += scale * wz[z] * math.sqrt(s + z * z)


def weighted_counts(lattice: Shells, factor: np.ndarray) -> np.ndarray:
    """Sum the weight Π factor[|n_i|], and that times |n|, over the modes of each shell: (2, bins)."""
    x, many_x = np.unique(np.abs(lattice.x), return_counts=True)
    y, many_y = np.unique(np.abs(lattice.y), return_counts=True)
    weights = (many_x * factor[x], many_y * factor[y], lattice.multiplicity * factor[: len(lattice.multiplicity)])
    sums = np.zeros((len(x), 2, lattice.bins))
    _count(x, y, weights, lattice.starts, sums)
    return sums.sum(axis=0)


def counts(lattice: Shells) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of modes in each shell and the sum of their |n|, (bins,) each.

    Raises DataError when a shell holds no mode.
    """
    modes, distances = weighted_counts(lattice, np.ones(max(map(len, (lattice.x, lattice.y, lattice.multiplicity)))))
    if not np.all(modes):
        raise DataError(f"the bin from |n| = {lattice.edges[np.argmin(modes)]:g} holds no mode; use wider bins")
    return modes, distances


@numba.njit(parallel=True, fastmath=REORDER, cache=True)
def _products(
    first: np.ndarray,
    second: np.ndarray,
    same: bool,
    lattice: tuple[np.ndarray, np.ndarray, np.ndarray],
    weights: tuple[np.ndarray, np.ndarray, np.ndarray],
    sums: np.ndarray,
) -> None:
    """Sum a², b² and a b over each shell; (real, imaginary) pairs are neighbours along the last axis."""
    x, y, starts = lattice
    wx, wy, wz = weights
    length, bins = first.shape[3] // 2, len(starts) - 1
    for i in numba.prange(len(x)):
        for channel in range(first.shape[0]):
            for j in range(len(y)):
                s = x[i] ** 2 + y[j] ** 2
                a, b = first[channel, i, j], second[channel, i, j]
                scale = wx[i] * wy[j]
                stop = first_in(starts[0] - s, length)
                for shell in range(bins):
                    start, stop = stop, first_in(starts[shell + 1] - s, length)
                    if start == stop:
                        continue
                    aa, bb, ab = 0.0, 0.0, 0.0
                    if same:
                        for m in range(2 * start, 2 * stop):
                            aa += wz[m] * (a[m] * a[m])
                    else:
                        for m in range(2 * start, 2 * stop):
                            aa += wz[m] * (a[m] * a[m])
                            bb += wz[m] * (b[m] * b[m])
                            ab += wz[m] * (a[m] * b[m])
                    sums[i, 0, shell] += scale * aa
                    sums[i, 1, shell] += scale * bb
                    sums[i, 2, shell] += scale * ab


def products(first: torch.Tensor, second: torch.Tensor, lattice: Shells, window: np.ndarray | None) -> np.ndarray:
    """Sum |a|², |b|² and Re(a b*) of transforms (channels, x, [y,] z), complex64, over each shell: (3, bins).

    Channels are added. `window`: factors (n,) by which the product at frequency |n_i| = n is multiplied, for each axis.
    """
    weights = [np.ones(len(axis)) for axis in (lattice.x, lattice.y)] + [lattice.multiplicity]
    if window is not None:
        factors = (window[np.abs(lattice.x)], window[np.abs(lattice.y)], window[: len(lattice.multiplicity)])
        weights = [weight * factor for weight, factor in zip(weights, factors, strict=True)]
    same = second is first
    if first.device.type != "cpu":
        return _products_torch(first, second, lattice, weights)
    a = pairs(first, lattice)
    b = a if same else pairs(second, lattice)
    sums = np.zeros((len(lattice.x), 3, lattice.bins))
    wx, wy, wz = weights
    _products(a, b, same, (lattice.x, lattice.y, lattice.starts), (wx, wy, np.repeat(wz, 2)), sums)
    total = sums.sum(axis=0)
    return total[[0, 0, 0]] if same else total


def pairs(modes: torch.Tensor, lattice: Shells) -> np.ndarray:
    """View modes (channels, x, [y,] z) as real numbers (channels, x, y, 2 z); copies only what is not contiguous."""
    numbers = torch.view_as_real(modes.resolve_conj().contiguous())
    return numbers.reshape(len(modes), len(lattice.x), len(lattice.y), -1).numpy()


def _products_torch(
    first: torch.Tensor, second: torch.Tensor, lattice: Shells, weights: list[np.ndarray]
) -> np.ndarray:
    """Take running sums along the rows and difference them at the shells' borders: a fixed order, no atomics."""
    device, length = first.device, first.shape[-1]
    wx, wy, wz = (torch.as_tensor(w, device=device) for w in weights)
    x, y, starts = (torch.as_tensor(n, device=device) for n in (lattice.x, lattice.y, lattice.starts))
    sums = torch.zeros((3, lattice.bins), dtype=torch.float64, device=device)
    shape = (len(first), len(x), len(y), length)
    a, b = first.reshape(shape), second.reshape(shape)
    step = max(1, CHUNK // (len(y) * length))
    for begin in range(0, len(x), step):
        rows = slice(begin, begin + step)
        s = x[rows, None] ** 2 + y**2
        border = (starts - s[..., None]).clamp(min=0).double().sqrt().ceil().long().clamp(max=length)
        scale = (wx[rows, None] * wy)[..., None]
        for line, (p, q) in enumerate(((a, a), (b, b), (a, b))):
            values = (p[:, rows].real * q[:, rows].real + p[:, rows].imag * q[:, rows].imag).sum(0).double() * wz
            running = torch.nn.functional.pad(values.cumsum(-1), (1, 0))
            sums[line] += (running.gather(-1, border).diff(dim=-1) * scale).sum((0, 1))
    return sums.cpu().numpy()
