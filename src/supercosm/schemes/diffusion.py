"""Denoising diffusion: from white noise to a sample, through ever less noise.

The network is asked for D(x; σ), the mean of the truth given the truth plus white noise of deviation σ. Between noise
levels, x follows the probability-flow equation (Karras et al. 2022, algorithm 1, Heun), or is denoised and given fresh
noise (Ho et al. 2020, the ancestral sampler of DDPM). Data have unit variance, so the σ_data of Karras et al. is 1.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from supercosm.family_settings import Diffusion
from supercosm.schemes.scheme import OWN_NOISE, Region
from supercosm.schemes.stepping import SteppingScheme, advance

STRETCH = 7.0  # ρ of Karras et al.: how much finer the steps become towards little noise
CLASSIC_STEPS, CLASSIC_BETA = 1000, (1e-4, 0.02)  # Ho et al. 2020, section 4


@cache
def classic_levels() -> Tensor:
    """Return σ of the steps of the classic DDPM, from the least noise to the most: (1000,)."""
    kept = torch.cumprod(1 - torch.linspace(*CLASSIC_BETA, CLASSIC_STEPS, dtype=torch.float64), dim=0)
    return torch.sqrt((1 - kept) / kept).float()


class DiffusionScheme(SteppingScheme):
    """Noise levels from the highest to none."""

    settings: Diffusion

    def levels(self) -> list[float]:
        """Return the noise levels σ of the steps, the last one none."""
        least, most = self.settings.noise_levels
        if self.settings.target == "noise":
            known = classic_levels()
            index = torch.linspace(CLASSIC_STEPS - 1, 0, self.steps).round().long()
            return [*(float(known[i]) for i in index), 0.0]
        position = torch.linspace(0, 1, self.steps, dtype=torch.float64)
        ends = most ** (1 / STRETCH), least ** (1 / STRETCH)
        return [*((ends[0] + position * (ends[1] - ends[0])) ** STRETCH).tolist(), 0.0]

    def denoise(self, network: nn.Module, region: Region, x: Tensor, sigma: Tensor) -> Tensor:
        """Return D(x; σ). sigma: (b,)."""
        s = sigma.view(-1, *(1,) * (x.ndim - 1))
        seen = torch.cat([region.seen, x / torch.sqrt(1 + s**2)], dim=1)
        said = network(seen, None, region.periodic, self.tell(sigma.log() / 4, region)).float()
        if self.settings.target == "noise":
            return x - s * said
        if self.settings.target == "data":
            return said
        return x / (1 + s**2) + said * s / torch.sqrt(1 + s**2)

    def run(self, number: int, network: nn.Module, region: Region) -> Tensor:
        """Make one evaluation on the way from noise to the sample."""
        levels, solver = self.levels(), self.settings.solver
        state, outputs = region.state, self.features.outputs
        if state is None:
            state = levels[0] * region.noise.fields(OWN_NOISE, outputs, region.seen)

        def slope(x: Tensor, sigma: float) -> Tensor:
            return (x - self.denoise(network, region, x, self._full(sigma, x))) / sigma

        if solver != "ddpm":
            return advance(solver, number, self.passes, levels, slope, state)
        now, after = levels[number : number + 2]
        clean = self.denoise(network, region, state, self._full(now, state))
        kept = (after / now) ** 2
        mean = clean + kept * (state - clean)
        if after == 0:
            return mean
        fresh = region.noise.fields(OWN_NOISE + outputs * (number + 1), outputs, region.seen)
        return mean + after * (1 - kept) ** 0.5 * fresh

    @staticmethod
    def _full(sigma: float, like: Tensor) -> Tensor:
        return torch.full((len(like),), sigma, device=like.device)
