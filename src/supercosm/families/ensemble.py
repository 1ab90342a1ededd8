"""Samples trained by a proper score: two draws for every crop, close to the truth and as far apart as they err.

No critic: the score is smallest where the draws come from the distribution of the truth, so their spread is an error
bar by construction (Gneiting & Raftery 2007; Pacchiardi et al. 2024; Lang et al. 2024 for weather).
"""

from __future__ import annotations

import torch
from torch import Tensor

from supercosm.crops import Crop
from supercosm.families.base import Family
from supercosm.family_settings import Ensemble
from supercosm.losses import score, spectrum_distance


class EnsembleFamily(Family):
    """One network, drawn from twice."""

    settings: Ensemble

    def loss(self, network: torch.nn.Module, crop: Crop, seed: int) -> Tensor:
        """Return the weighted scores of two draws."""
        settings = self.settings
        first, size = self.batch_around(seed, len(crop["low"]))
        target = self.features.target(crop["low"], crop["high"])
        seeds = [seed + first + number * size for number in (0, 1)]  # all first draws of a batch before all second ones
        draws = [self.generate(network, _draw(crop, number), seeds[number]) for number in (0, 1)]
        fields = (*draws, target)
        total = target.new_zeros(())
        for name, weight in sorted(settings.loss.items()):
            seen = [self.inner(self.features.weigh(x) if name == "field" else self.painted(x, crop)) for x in fields]
            if name == "spectrum":
                term = sum(spectrum_distance(draw, seen[-1]) for draw in seen[:2]) / 2
            else:
                term = score(*seen, settings.block)
            total = total + weight * term
        return total


def _draw(crop: Crop, number: int) -> Crop:
    """Return a crop with the small scales of one draw instead of its own, where the noise is in them."""
    drawn = crop.get(f"drawn{number}")
    return crop if drawn is None else {**crop, "small": drawn}
