"""Regression: minimising D(OUTPUT, TARGET) teaches the mean (mse) or the median (l1) of what may be."""

from __future__ import annotations

import torch
from torch import Tensor

from supercosm.crops import Crop
from supercosm.families.base import Family


class UnetFamily(Family):
    """One network, one loss."""

    def training_step(self, crop: Crop, index: int) -> Tensor:
        """Return D(OUTPUT, TARGET) of a batch of crops."""
        target = self.features.target(crop["low"], crop["high"])
        output = self.generate(self.network, crop, self.step_number(index) * len(target))
        loss = self.distance(output, target, crop)
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(target))
        self.note(len(target), train_loss=loss)
        return loss

    def on_train_batch_end(self, *_: object) -> None:
        """Follow the weights with their moving average."""
        self.ema.update_parameters(self.network)

    def configure_optimizers(self) -> dict:
        """Return AdamW with the one-cycle schedule."""
        optimiser = self.optimiser()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self.learning_rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
