"""Flow matching, or stochastic interpolant: a velocity field that carries a start to the truth along straight lines.

x_t = (1 − t) x₀ + t x₁, and dx/dt = E[x₁ − x₀ | x_t, input] has the distribution of the truth at t = 1 (Lipman et al.
2023; Albergo et al. 2023). The start may be white noise, or the up-sampled low run with its small-scale modes moved
linearly, in which only what linear theory cannot know is noise: then the lines are short and few steps suffice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supercosm.family_settings import FlowMatching
from supercosm.schemes.scheme import OWN_NOISE, Region
from supercosm.schemes.stepping import SteppingScheme, advance


class FlowMatchingScheme(SteppingScheme):
    """Steps in t from a start that is a function of the input and of white noise."""

    settings: FlowMatching

    def begin(self, seen: Tensor, white: Tensor) -> Tensor:
        """Return x₀ (b, outputs, …) of the network's input and white noise."""
        if self.settings.begin == "white":
            return white
        small = self.features.linear_residual(seen)
        x = self.settings.jitter * white
        return torch.cat([x[:, : small.shape[1]] + small, x[:, small.shape[1] :]], dim=1)

    def outlook(self, network: nn.Module, region: Region, x: Tensor, t: Tensor | float) -> Tensor:
        """Return what the network says, dx/dt + x: at t = 0 the mean of the truth, as a regression would."""
        return network(torch.cat([region.seen, x], dim=1), None, region.periodic, self.tell(t, region)).float()

    def run(self, number: int, network: nn.Module, region: Region) -> Tensor:
        """Make one evaluation on the way from the start to the sample."""
        state = region.state
        if state is None:
            white = region.noise.fields(OWN_NOISE, self.features.outputs, region.seen)
            state = self.begin(region.seen, white)
        times = [step / self.steps for step in range(self.steps + 1)]

        def slope(x: Tensor, t: float) -> Tensor:
            return self.outlook(network, region, x, t) - x

        return advance(self.settings.solver, number, self.passes, times, slope, state)
