"""Invertible maps whose Jacobian is known: Haar's wavelets, and what a coupling does to each number by itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LIMIT = 3.0  # largest |ln| of a scale: what a float32 can undo after several layers
BINS, BOUND = 8, 5.0  # of a spline; beyond the bound, in deviations, it is the identity (Durkan et al. 2019)


def haar(x: Tensor) -> Tensor:
    """Turn blocks of 2ᵈ cells into an average and 2ᵈ − 1 details, orthonormal: (b, c, n, …) → (b, c 2ᵈ, n/2, …).

    The first c channels are the averages, times 2^(d/2). Made of sums, it stays exact where products are bfloat16.
    """
    for axis in range(2, x.ndim):
        even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
        x = torch.cat([even + odd, even - odd], dim=1) * 0.5**0.5
    return x


def inverse_haar(x: Tensor) -> Tensor:
    """Invert `haar`: (b, c 2ᵈ, n, …) → (b, c, 2n, …)."""
    for axis in reversed(range(2, x.ndim)):
        total, difference = x.chunk(2, dim=1)
        x = torch.stack([total + difference, total - difference], dim=axis + 1).flatten(axis, axis + 1) * 0.5**0.5
    return x


@dataclass(frozen=True)
class Affine:
    """z = (x − shift) exp(−log_scale), where the scale is bounded (Dinh et al. 2017, eq. 7)."""

    shift: Tensor
    log_scale: Tensor

    numbers = 2  # that it is made of, for each number it maps

    @classmethod
    def of(cls, said: Tensor) -> Affine:
        """Make it of (b, c · numbers, n, …); the identity where that is zero."""
        shift, free = said.chunk(2, dim=1)
        return cls(shift, LIMIT * torch.tanh(free / LIMIT))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (b, c, n, …) and ln |dz/dx| of the same shape."""
        return (x - self.shift) * torch.exp(-self.log_scale), -self.log_scale

    def decode(self, z: Tensor) -> Tensor:
        """Return x."""
        return self.shift + z * torch.exp(self.log_scale)


class Spline:
    """Monotonic rational-quadratic spline on (−BOUND, BOUND), the identity beyond (Durkan et al. 2019)."""

    numbers = 3 * BINS - 1  # widths and heights of the bins, slopes at the knots between them

    def __init__(self, widths: Tensor, heights: Tensor, slopes: Tensor) -> None:
        """Unconstrained numbers (b, c, n, …, bins), of the slopes bins − 1."""
        from zuko.transforms import MonotonicRQSTransform

        self._transform = MonotonicRQSTransform(widths, heights, slopes, bound=BOUND)

    @classmethod
    def of(cls, said: Tensor) -> Spline:
        """Make it of (b, c · numbers, n, …); the identity where that is zero."""
        numbers = said.unflatten(1, (-1, cls.numbers)).movedim(2, -1)
        return cls(*numbers.split([BINS, BINS, BINS - 1], dim=-1))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (b, c, n, …) and ln |dz/dx| of the same shape."""
        return self._transform.call_and_ladj(x)

    def decode(self, z: Tensor) -> Tensor:
        """Return x."""
        return self._transform.inv(z)
