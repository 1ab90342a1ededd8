"""Denoising diffusion: the truth under white noise of any strength, from which the network has to recover it.

Of Karras et al. 2022 (table 1): a lognormal distribution of the noise in training, and a weight that lets the network's
own output count alike at every level. Or as Ho et al. 2020 (eq. 14): the noise of one of a thousand levels
is the target.
"""

from __future__ import annotations

import torch
from torch import Tensor

from supercosm.crops import Crop
from supercosm.families.base import Family
from supercosm.family_settings import Diffusion
from supercosm.schemes.diffusion import CLASSIC_STEPS, DiffusionScheme, classic_levels


class DiffusionFamily(Family):
    """One network for all levels of noise."""

    settings: Diffusion
    scheme: DiffusionScheme

    def loss(self, network: torch.nn.Module, crop: Crop, seed: int) -> Tensor:
        """Return the weighted mean squared error of the denoised field, at one level for each crop."""
        target = self.features.target(crop["low"], crop["high"])
        sigma = self.levels(target, seed)
        s = sigma.view(-1, *(1,) * (target.ndim - 1))
        clean = self.scheme.denoise(network, self.region(crop), target + s * self.white(target, seed), sigma)
        weight = {"noise": 1 / s, "preconditioned": torch.sqrt(1 + s**2) / s}.get(self.settings.target, 1.0)
        return self.weighed_error(weight * (clean - target))

    def levels(self, like: Tensor, seed: int) -> Tensor:
        """Return the noise of the crops from `seed` on, (b,)."""
        fraction = self.fractions(like, seed)
        if self.settings.target == "noise":
            return classic_levels().to(like)[(fraction * CLASSIC_STEPS).long().clamp(max=CLASSIC_STEPS - 1)]
        settings = self.settings
        return torch.exp(settings.log_noise_mean + settings.log_noise_deviation * torch.special.ndtri(fraction))
