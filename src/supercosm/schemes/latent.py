"""Conditional variational autoencoder, its decoder: latents drawn from their prior, and what they do not explain.

The latents live on the cells of the network's coarsest level, a few standard normal numbers on each, and are given to
it as further input. What is left is white, with one learnt deviation per output (Rybkin et al. 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supercosm.family_settings import Vae
from supercosm.networks.multiscale import MultiScale
from supercosm.schemes.scheme import OWN_NOISE, Region, Scheme


class Decoder(MultiScale):
    """The network, and the deviation of what it leaves unexplained: of any unit at first."""

    def __init__(self, inputs: int, outputs: int, **shape: object) -> None:
        super().__init__(inputs, outputs, **shape)
        self.log_deviation = nn.Parameter(torch.zeros(outputs))


class LatentScheme(Scheme):
    """One evaluation of the decoder."""

    settings: Vae
    kind = Decoder

    @property
    def extra_inputs(self) -> int:
        """The decoder sees the latents."""
        return self.settings.latents

    def decode(self, network: nn.Module, region: Region, latents: Tensor) -> Tensor:
        """Return the mean of the truth given latents on coarse cells, (b, latents, n / unit, …)."""
        unit = self.settings.network.unit
        for axis in range(2, latents.ndim):
            latents = latents.repeat_interleave(unit, dim=axis)
        return network(torch.cat([region.seen, latents], dim=1), None, region.periodic, region.told).float()

    def run(self, number: int, network: nn.Module, region: Region) -> Tensor:
        """Draw latents, decode them, and add what they leave unexplained, unless that grain is not wanted."""
        unit, count = self.settings.network.unit, self.settings.latents
        coarse = region.seen[(..., *(slice(None, None, unit),) * self.settings.dimensions)]
        mean = self.decode(network, region, region.noise.fields(OWN_NOISE, count, coarse, unit))
        if not self.settings.grain:
            return mean
        white = region.noise.fields(OWN_NOISE + count, self.features.outputs, mean)
        return mean + network.log_deviation.exp().view(1, -1, *(1,) * (mean.ndim - 2)) * white
