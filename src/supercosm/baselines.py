"""What a network has to beat: the up-sampled low run, by itself or with the small scales that linear theory moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from supercosm.cosmology import growth
from supercosm.errors import ConfigurationError
from supercosm.nbody import velocity_factor
from supercosm.snapshot import Snapshot


@dataclass(frozen=True)
class Baseline:
    """What stands in for a model: "low", the up-sampled low run; "linear", that plus linear small scales."""

    name: Literal["low", "linear"]
    factor: int

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise ConfigurationError(f"factor = {self.factor} does not up-sample; it must be 2 or more")


def move_linearly(low: Tensor, small: Tensor | None, snapshot: Snapshot) -> Tensor:
    """Return the up-sampled fields without their border, plus small scales that move by linear theory.

    low: displacement [Mpc/h] and velocity [km/s] (1, 6, n+2, …). small: linear displacement [Mpc/h] (1, 3, n, …).
    """
    inner = low[(..., *(slice(1, -1),) * 3)]
    if small is None:
        return inner
    a = snapshot.scale_factor
    rate = velocity_factor(snapshot.cosmology, a) / growth(snapshot.cosmology, a).D
    return inner + torch.cat([small, small * rate], dim=1)
