"""Flow matching: the velocity along straight lines from a start to the truth (Lipman et al. 2023).

The network says v + x_t, whose target is (1 + t) x₁ − t x₀: at t = 0 the truth itself, so that a regression is a good
first guess, and one step of Euler's from there is that regression.
"""

from __future__ import annotations

import torch
from torch import Tensor

from supercosm.crops import Crop
from supercosm.families.base import Family
from supercosm.family_settings import FlowMatching
from supercosm.schemes.flowmatching import FlowMatchingScheme


class FlowMatchingFamily(Family):
    """One network for all times."""

    settings: FlowMatching
    scheme: FlowMatchingScheme

    def loss(self, network: torch.nn.Module, crop: Crop, seed: int) -> Tensor:
        """Return the mean squared error of the velocity, at one time for each crop."""
        target = self.features.target(crop["low"], crop["high"])
        region = self.region(crop)
        begin = self.scheme.begin(region.seen, self.white(target, seed))
        time = self.fractions(target, seed)
        t = time.view(-1, *(1,) * (target.ndim - 1))
        said = self.scheme.outlook(network, region, (1 - t) * begin + t * target, time)
        return self.weighed_error(said - ((1 + t) * target - t * begin))
