"""What a network is told of a whole box, and the growth of its fields, which it then need not learn.

One network serves several redshifts and cosmologies when numbers that name them modulate it (FiLM, Perez et al. 2018;
for cosmic structure Jamieson et al. 2024, arXiv:2408.07699).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from supercosm.config import Cosmology, Model
from supercosm.cosmology import growth
from supercosm.familiarity import describe
from supercosm.model_settings import Told
from supercosm.nbody import velocity_factor


class Box(Protocol):
    """Whatever has a time and a cosmology: a snapshot, a pair file."""

    box_size: float
    scale_factor: float
    cosmology: Cosmology


# brought to order one, by the same functions for every model
NUMBERS: dict[Told, Callable[[Box], float]] = {
    "scale_factor": lambda box: 1 + math.log2(box.scale_factor),
    "Omega_m": lambda box: (box.cosmology.Omega_m - 0.3) / 0.1,
    "sigma8": lambda box: (box.cosmology.sigma8 - 0.8) / 0.2,
}


def numbers(told: Sequence[Told], box: Box) -> Tensor:
    """Return what a network is told of a box, float32 (numbers,), in the order in which they are named."""
    return torch.tensor([NUMBERS[name](box) for name in told], dtype=torch.float32)


def linear_growth(model: Model, box: Box) -> tuple[float, float]:
    """Return displacement and velocity of linear theory at a box's time in units of those today, D and a H f D.

    (1, 1) for a model that is not told the scale factor, whatever the time.
    """
    if "scale_factor" not in model.told:
        return 1.0, 1.0
    a, cosmology = box.scale_factor, box.cosmology
    return growth(cosmology, a).D, velocity_factor(cosmology, a) / velocity_factor(cosmology, 1.0)


def describe_today(model: Model, box: Box, displacement: np.ndarray, velocity: np.ndarray) -> dict[str, float]:
    """Return what is usual about a low run (see supercosm.familiarity), as linear theory would have it today."""
    of_displacement, of_velocity = linear_growth(model, box)
    fields = ((displacement, of_displacement), (velocity, of_velocity))
    return describe(*(field if unit == 1 else field / unit for field, unit in fields), box.box_size)  # no copy for 1


def units(model: Model, box: Box) -> tuple[float, float]:
    """Return the factors that displacement and velocity of a box are divided by before a network sees them.

    Displacements grow with D. Most of what a network adds to velocities is of second order and virial, so they are
    taken to grow once more with D: the rms of every channel then stays within a factor 1.5 from z = 3 to 0, and all
    outputs weigh alike in the loss. Logarithms of densities grow by little; they stay as they are.
    """
    if model.fields == "density":
        return 1.0, 1.0
    displacement, velocity = linear_growth(model, box)
    return displacement, displacement * velocity
