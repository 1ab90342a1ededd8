"""Large scales that stay those of the low run: what a sample adds to them is found, and taken away.

Both lattices have their points at (i + 1/2) L/n, so a mode k of a lattice of n points is
f_k = n⁻³ Σ f(x) exp(−i k·x) with x = (i + 1/2) L/n, and f_k of the low run and of its up-sampled fields are the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from supercosm.mesh import interpolation_matrix


def excess(low: Tensor, rows: Iterable[tuple[int, Tensor]], high: int, fraction: float) -> Tensor:
    """Return what fields have beyond the low run in modes |k| < fraction × its Nyquist frequency: (c, n, n, n).

    low: (c, n, n, n), n even. rows: all planes of the fields, (first plane, (c, planes, high, high)). The result is on
    the low lattice, which holds these modes exactly. Memory: a few times that of `low`.
    """
    n = low.shape[-1]
    largest = math.ceil(fraction * n / 2) - 1
    wave = torch.arange(-largest, largest + 1)
    half = wave[largest:]
    found = _modes(rows, wave, high) - _modes([(0, low)], wave, n)
    squared = wave.view(-1, 1, 1) ** 2 + wave.view(1, -1, 1) ** 2 + half.view(1, 1, -1) ** 2
    found *= squared < (fraction * n / 2) ** 2
    full = torch.zeros((len(low), n, n, n // 2 + 1), dtype=torch.complex128)
    index = wave % n
    full[:, index[:, None], index[None, :], : largest + 1] = found * _phase(wave, n, 1)
    return torch.fft.irfftn(full, s=(n, n, n), norm="forward").float()


def _modes(rows: Iterable[tuple[int, Tensor]], wave: Tensor, cells: int) -> Tensor:
    """Sum f_k over planes (c, p, n, n), complex128 (c, K, K, K//2 + 1): FFT in a plane, one sum over planes."""
    index, half = wave % cells, len(wave) // 2 + 1
    total = 0.0
    for first, fields in rows:
        flat = torch.fft.rfft2(fields)[:, :, index, :half].to(torch.complex128)
        planes = torch.arange(first, first + fields.shape[1])
        angle = -2 * math.pi / cells * (wave.view(-1, 1) * planes.view(1, -1)).double()
        total = total + torch.einsum("kp,cpyz->ckyz", torch.polar(torch.ones_like(angle), angle), flat)
    return total * _phase(wave, cells, -1) / cells**3


def _phase(wave: Tensor, cells: int, sign: int) -> Tensor:
    """Return exp(± i k·Δ/2), by which modes at cell centres differ from those at corners."""
    half = wave[len(wave) // 2 :]
    angle = sign * math.pi / cells * (wave.view(-1, 1, 1) + wave.view(1, -1, 1) + half.view(1, 1, -1)).double()
    return torch.polar(torch.ones_like(angle), angle)


def planes_of(low: Tensor, high: int, first: int, count: int) -> Tensor:
    """Up-sample planes first…first+count of fields (c, n, n, n): (c, count, high, high)."""
    for axis, (start, size) in enumerate(((first, count), (0, high), (0, high))):
        matrix = interpolation_matrix(low.shape[1 + axis], high, start, size)
        low = torch.movedim(torch.tensordot(low, matrix, dims=([1 + axis], [1])), -1, 1 + axis)
    return low
