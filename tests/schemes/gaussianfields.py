"""Linear-Gaussian super-resolution in two dimensions: what of a field is known, mode by mode, in closed form.

The network sees c, a Gaussian field; the target, given c, is Gaussian with mean M(k) c(k) and power V(k). Filters and
powers are real, (n, n) over the waves of `fft2`; white noise of unit variance has power 1 in every mode.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

BANDS = 6


def waves(side: int) -> tuple[Tensor, Tensor]:
    """Return the angular wave numbers of both axes, (n, 1) and (1, n), in radians per cell."""
    axis = 2 * torch.pi * torch.fft.fftfreq(side, dtype=torch.float64)
    return axis[:, None], axis[None, :]


def wave(side: int) -> Tensor:
    """Return |k|, (n, n), in radians per cell."""
    x, y = waves(side)
    return torch.hypot(x, y)


def filtered(factor: Tensor, field: Tensor) -> Tensor:
    """Multiply the modes of a periodic field (b, c, n, n) by real factors."""
    return torch.fft.ifft2(factor * torch.fft.fft2(field.double())).real


def power(field: Tensor) -> Tensor:
    """Return the power of every mode, (b, c, n, n)."""
    return torch.fft.fft2(field.double()).abs().square() / (field.shape[-1] * field.shape[-2])


def bands_of(side: int) -> Tensor:
    """Return the band of every mode, (n · n,): bands of |k| are equally wide."""
    k = wave(side)
    return (k / (k.max() * (1 + 1e-9)) * BANDS).long().flatten()


def band_counts(side: int) -> Tensor:
    """Return how many modes every band has: as many independent numbers, since those of k and −k are conjugate."""
    return torch.bincount(bands_of(side), minlength=BANDS)


def band_means(values: Tensor) -> Tensor:
    """Average (…, n, n) over the modes of every band: (…, BANDS)."""
    side = values.shape[-1]
    sums = torch.zeros(*values.shape[:-2], BANDS, dtype=values.dtype)
    return sums.index_add(-1, bands_of(side), values.flatten(-2)) / band_counts(side)


@dataclass(frozen=True)
class Posterior:
    """What is known of the target given c: M(k) and V(k)."""

    mean_filter: Tensor
    power: Tensor

    def mean(self, seen: Tensor) -> Tensor:
        """Return the mean of the target given c (b, 1, n, n)."""
        return filtered(self.mean_filter, seen)


def wiener(prior: Tensor, window: Tensor, noise: Tensor) -> Posterior:
    """Return the posterior of h − c for h of power `prior`, observed as c(k) = W(k) h(k) + noise."""
    observed = window**2 * prior + noise
    return Posterior(prior * window / observed - 1, prior * noise / observed)
