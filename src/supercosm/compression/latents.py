"""What is measured of a trained coder: which of its latents are used, and what decoding them misses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from supercosm.compression.data import Data, cut_blocks
from supercosm.compression_settings import AnyCoder, Dense, Trained, Variational

STILL = 1e-6  # deviation, relative to the largest, below which a latent is dead


@dataclass(frozen=True)
class Measured:
    """What is measured of a trained coder; see `CoderCard` and `Coder`."""

    dead: int
    information: list[float]
    grain: Tensor
    residual_power: Tensor


def information_of(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the mean Kullback–Leibler divergence from the unit Gaussian of every latent (k,) [nats]."""
    each = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return each.mean(dim=[axis for axis in range(each.ndim) if axis != 1])


@torch.no_grad()
def measure(network: nn.Module, settings: AnyCoder, data: Data) -> Measured:
    """Measure the latents of the validation patches, and what decoding them misses."""
    x = data.validation
    z = network.encode(x)
    deviation = z.transpose(0, 1).flatten(1).std(dim=1)
    dead = deviation <= STILL * deviation.max().clamp(min=1e-30)
    decoded, information = network.decode(z), []
    if isinstance(settings, Variational):  # whose likelihood is about what latents drawn from their posterior decode to
        mean, log_variance = network.posterior(x)
        information = [float(v) for v in information_of(mean, log_variance)]
        decoded = network.decode(mean + torch.randn_like(mean) * (0.5 * log_variance).exp())
    residual = cut_blocks(x - decoded, data.patch)
    power = torch.fft.fftn(residual, dim=tuple(range(2, residual.ndim))).abs().square().mean(dim=(0, 1))
    return Measured(int(dead.sum()), information, grain_of(network, settings, deviation), power)


@torch.no_grad()
def match_prior(network: nn.Module, x: Tensor) -> None:
    """Give the latents of the training patches, sampled from their posterior, the deviation of the prior.

    At the best fit they have it; training comes close in the number of steps there is, and the rest is exact algebra.
    """
    variance: list[Tensor] = []
    for part in x.split(500):
        mean, log_variance = network.posterior(part)
        variance.append(
            mean.square().transpose(0, 1).flatten(1).mean(1) + log_variance.exp().transpose(0, 1).flatten(1).mean(1)
        )
    network.standardise(torch.stack(variance).mean(dim=0).sqrt())


def grain_of(network: nn.Module, settings: AnyCoder, deviation: Tensor) -> Tensor:
    """Return the relative size of a quantisation step for each latent (k,).

    Latents of principal components are amplitudes of orthonormal modes, so equal steps err alike; those in units of
    their deviation get it back; of others nothing is known but their own deviation.
    """
    if isinstance(settings, Trained) and hasattr(network, "deviation"):
        return 1 / network.deviation
    if isinstance(settings, Dense):
        return torch.where(deviation > 0, deviation, torch.ones_like(deviation)) / deviation.max().clamp(min=1e-30)
    return torch.ones_like(deviation)
