"""Conditional variational autoencoder (Sohn et al. 2015): an encoder says which latents the truth speaks for.

The loss is the evidence bound per cell: how unlikely the truth is under the decoder, with a learnt deviation of each
output (Rybkin et al. 2021), and by how much the encoder's latents differ from the standard normal ones of samples. That
term is given its weight gradually, or the latents would be left unused (Bowman et al. 2016).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from supercosm.crops import Crop
from supercosm.families.base import VALIDATION_SEED, Family
from supercosm.family_settings import Vae
from supercosm.features import Features
from supercosm.networks.multiscale import MultiScale
from supercosm.schemes.latent import LatentScheme


class VaeFamily(Family):
    """Encoder and decoder; the decoder alone is kept."""

    settings: Vae
    scheme: LatentScheme

    def __init__(self, settings: Vae, features: Features) -> None:
        """Build both networks."""
        super().__init__(settings, features)
        shape = settings.network.model_dump()
        inputs = features.inputs + features.outputs
        self.encoder = MultiScale(inputs, 2 * settings.latents, dimensions=settings.dimensions, **shape)
        layout = torch.channels_last_3d if settings.dimensions == 3 else torch.channels_last
        self.encoder.to(memory_format=layout)

    def encode(self, seen: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the latents, (b, latents, n / unit, …)."""
        pool = functional.avg_pool3d if target.ndim == 5 else functional.avg_pool2d
        said = pool(self.encoder(torch.cat([seen, target], dim=1)).float(), self.settings.unit)
        mean, log_variance = said.chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 5)

    def loss(self, network: torch.nn.Module, crop: Crop, seed: int) -> Tensor:
        """Return the evidence bound [nats per output and cell], with the weight of its second term."""
        target, region = self.features.target(crop["low"], crop["high"]), self.region(crop)
        mean, log_variance = self.encode(region.seen, target)
        latents = mean + torch.exp(log_variance / 2) * self.white(mean, seed)
        decoded = self.scheme.decode(network, region, latents)
        log_deviation = network.log_deviation.view(1, -1, *(1,) * (target.ndim - 2))
        error = self.inner((target - decoded) * torch.exp(-log_deviation))
        unlikely = (error.square() / 2 + log_deviation + math.log(2 * math.pi) / 2).mean()
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
        return unlikely + self.patience(self.batch_around(seed, len(target))[0]) * divergence / error.numel()

    def patience(self, seed: int) -> float:
        """Return the weight of the Kullback–Leibler term at a step; in validation, the final one."""
        training = self.settings.training
        grown = self.settings.warm_up * training.steps * training.batch
        return self.settings.beta * (1.0 if seed >= VALIDATION_SEED or seed >= grown else seed / grown)

    def optimiser(self) -> torch.optim.Optimizer:
        """Return AdamW over both networks."""
        training = self.settings.training
        both: list[nn.Parameter] = [*self.network.parameters(), *self.encoder.parameters()]
        return torch.optim.AdamW(both, lr=training.learning_rate, weight_decay=training.weight_decay)
