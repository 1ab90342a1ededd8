"""Samples trained by a proper score: two draws for every crop, close to the truth and as far apart as they err.

No critic: the score is smallest where the draws come from the distribution of the truth, so their spread is an error
bar by construction (Gneiting & Raftery 2007; Pacchiardi et al. 2024; Lang et al. 2024 for weather).
"""

from __future__ import annotations

import torch
from torch import Tensor

from supercosm.config import Ensemble
from supercosm.crops import Crop
from supercosm.families.base import VALIDATION_SEED
from supercosm.families.unet import UnetFamily
from supercosm.losses import score


class EnsembleFamily(UnetFamily):
    """One network, drawn from twice."""

    settings: Ensemble

    def training_step(self, crop: Crop, index: int) -> Tensor:
        """Return the score of two samples of a batch of crops."""
        loss = self._score(self.network, crop, 2 * self.step_number(index) * len(crop["low"]))
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(crop["low"]))
        self.note(len(crop["low"]), train_loss=loss)
        return loss

    def validation_step(self, crop: Crop, index: int) -> None:
        """Measure the score of the moving average on a validation crop."""
        loss = self._score(self.trained, crop, VALIDATION_SEED + 2 * index * len(crop["low"]))
        self.note(len(crop["low"]), validation_loss=loss)

    def _score(self, network: torch.nn.Module, crop: Crop, seed: int) -> Tensor:
        """Return the weighted scores of two draws, whose noise begins at `seed`."""
        settings, count = self.settings, len(crop["low"])
        target = self.features.target(crop["low"], crop["high"])
        draws = [self.generate(network, _draw(crop, number), seed + number * count) for number in (0, 1)]
        fields = (*draws, target)
        total = target.new_zeros(())
        for name, weight in sorted(settings.loss.items()):
            seen = [self.painted(x, crop) if name == "density" else self.features.weigh(x) for x in fields]
            total = total + weight * score(*(self.inner(x) for x in seen), settings.block)
        return total


def _draw(crop: Crop, number: int) -> Crop:
    """Return a crop with the small scales of one draw instead of its own, where the noise is in them."""
    drawn = crop.get(f"drawn{number}")
    return crop if drawn is None else {**crop, "small": drawn}
