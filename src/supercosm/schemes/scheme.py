"""One evaluation of the network, which is how most families make a sample, and what all schemes have in common.

A scheme works in passes. Each maps a state on the lattice to the next one, the first makes it of noise, and the last
returns the normalised output. Between passes the whole box is there, so a pass needs no more of a region's
surroundings than the network's reach, however many passes there are; and noise is a function of seed, pass and cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from supercosm.cellnoise import CellNoise
from supercosm.family_settings import AnyModel
from supercosm.features import Features
from supercosm.networks.multiscale import MultiScale

OWN_NOISE = 1000  # first site of the noise that schemes draw, beyond those of the injections inside a network


@dataclass(frozen=True)
class Region:
    """What a pass is given of a region.

    seen: the network's input (b, inputs, n, …). state: of the pass before, (b, width, n, …), None in the first pass.
    noise: white noise by site and cell. periodic: the region is the whole box. told: numbers that hold for all of it.
    """

    seen: Tensor
    state: Tensor | None = None
    noise: CellNoise | None = None
    periodic: bool = False
    told: Tensor | None = None


class Scheme:
    """One evaluation: what the network says is the sample."""

    extra_inputs = 0  # channels that the network sees beside those of the features
    numbers = 0  # numbers that the scheme itself tells the network, before those that the settings name
    kind = MultiScale  # of network

    def __init__(self, settings: AnyModel, features: Features) -> None:
        """Read from the settings what is needed."""
        self.settings, self.features = settings, features

    @property
    def passes(self) -> int:
        """Evaluations of the network for one sample."""
        return 1

    @property
    def width(self) -> int:
        """Channels of the state between passes."""
        return 0

    def build(self) -> nn.Module:
        """Build the network with fresh weights."""
        settings = self.settings
        return self.kind(
            self.features.inputs + self.extra_inputs,
            self.features.outputs,
            dimensions=settings.dimensions,
            noisy=settings.injects,
            told=self.numbers + len(settings.told),
            smooth=len(settings.told),
            **settings.network.model_dump(),
        )

    def run(self, number: int, network: nn.Module, region: Region) -> Tensor:
        """Make pass `number`: return the next state, or after the last pass the normalised output, float32."""
        return network(region.seen, region.noise, region.periodic, region.told).float()

    def tell(self, value: Tensor | float, region: Region) -> Tensor:
        """Put a number of the scheme, one or (b,), before those that the region is told."""
        own = torch.as_tensor(value, dtype=torch.float32, device=region.seen.device).expand(len(region.seen))[:, None]
        return own if region.told is None else torch.cat([own, region.told], dim=1)
