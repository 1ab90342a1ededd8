"""Normalizing flow: the truth is made likely, exactly, and nothing else is asked for.

A likelihood has no use for weights: velocities count by what is known of them, not by `velocity_weight`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from supercosm.crops import Crop
from supercosm.families.base import Family
from supercosm.family_settings import Flow
from supercosm.schemes.coupling import FlowScheme


class FlowFamily(Family):
    """One invertible map."""

    settings: Flow
    scheme: FlowScheme

    def loss(self, network: torch.nn.Module, crop: Crop, seed: int) -> Tensor:
        """Return −ln p(truth | input) [nats per output and cell], of the cells inside the margin."""
        target = self.features.target(crop["low"], crop["high"])
        return -self.inner(network.log_density(self.region(crop), target)).mean() / target.shape[1]
