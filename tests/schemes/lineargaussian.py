"""Train any family on linear-Gaussian super-resolution, and draw samples of it.

c is white, with a border cell as the low run's crops have, and h = c + target. Of the target, 0.8 c to 0.3 c is known:
a kernel of 3² cells. The rest is noise of one of three colours.
"""

from __future__ import annotations

import torch
from gaussianfields import Posterior, filtered, waves
from learning import FAMILIES
from torch.nn import functional

from supercosm.cellnoise import CellNoise
from supercosm.families import build_family
from supercosm.features import Features, Scales
from supercosm.schemes import Region

SIDE = 32
CX, CY = (torch.cos(axis) for axis in waves(SIDE))
MEAN = 0.55 + 0.125 * (CX + CY)
WHITE = Posterior(MEAN, torch.full_like(MEAN, 0.25))
KERNEL = Posterior(MEAN, (0.5 + 0.06 * (CX + CY)) ** 2)  # white noise seen through a kernel of 3² cells: 0.38 to 0.14
BLOCKS = Posterior(MEAN, 0.16 + 0.09 * (1 + CX) * (1 + CY))  # white noise, and that of blocks of 2²: 0.52 to 0.16

# what a family can learn in seconds: latents know nothing of each other, so those of a VAE make blocks
TRUTHS = {"ensemble": KERNEL, "vae": BLOCKS, "flow_matching": KERNEL, "diffusion": KERNEL}
SETTINGS = {
    "gan": {
        "adversarial": "non-saturating", "adversarial_weight": 1.0, "loss": {"mse": 0.01}, "warm_up": 100,
        "penalty": 0.1, "penalty_every": 1, "critic_channels": 16, "critic_learning_rate": 4e-3,
    },
    "ensemble": {"block": 2},
    "vae": {"latents": 4},
    "flow_matching": {"begin": "white", "solver": "heun", "evaluations": 10},
    "diffusion": {"solver": "heun", "evaluations": 33},
}  # fmt: skip
NETWORKS = {"vae": {"patch": 2, "channels": 16}}  # other networks have a patch of 1: noise inside for every cell
BUDGETS = {"gan": {"steps": 800, "batch": 4}, "vae": {"steps": 700, "learning_rate": 1e-2}}


def truth_of(name):
    """Return the posterior that a family has to learn: with white noise, where nothing is said of it."""
    return TRUTHS.get(name, WHITE)


def crops(truth, seed, count):
    """Return a batch of periodic crops."""
    generator = torch.Generator().manual_seed(seed)
    c, white = torch.randn(2, count, 1, SIDE, SIDE, generator=generator, dtype=torch.float64)
    rest = filtered(torch.sqrt(truth.power), white)
    if truth is BLOCKS:
        coarse = torch.randn(count, 1, SIDE // 2, SIDE // 2, generator=generator, dtype=torch.float64)
        rest = 0.4 * white + 0.3 * coarse.kron(torch.ones(1, 1, 2, 2))
    low = functional.pad(c, (1, 1, 1, 1), mode="circular")
    return {"low": low.float(), "high": (c + truth.mean(c) + rest).float()}


def learn(name):
    """Train a family through its own training steps and optimisers, without the files around them."""
    budget = {"steps": 600, "batch": 8, "learning_rate": 5e-3, **BUDGETS.get(name, {})}
    training = {"crop": SIDE, "margin": 4, "validate_every": budget["steps"], **budget}
    network = {"channels": 8, "levels": 1, "blocks": 2, "patch": 1, **NETWORKS.get(name, {})}
    common = {"fields": "density", "dimensions": 2, "noise": "white", "network": network, "training": training}
    settings = FAMILIES[name](**common, **SETTINGS.get(name, {}))
    family = build_family(settings, Features(settings, 1.0, Scales()))
    family.log = family.log_dict = lambda *_, **__: None
    family.manual_backward = lambda loss: loss.backward()
    optimisers = family.configure_optimizers()
    family.optimizers = lambda: optimisers
    for step in range(budget["steps"]):
        loss = family.training_step(crops(truth_of(name), step, budget["batch"]), step)
        if family.automatic_optimization:
            optimisers["optimizer"].zero_grad()
            loss.backward()
            optimisers["optimizer"].step()
            optimisers["lr_scheduler"]["scheduler"].step()
        family.on_train_batch_end()
    return family


class Scaled(CellNoise):
    """White noise of another strength."""

    strength = 1.0

    def __call__(self, site, stride, like):
        return self.strength * super().__call__(site, stride, like)


@torch.no_grad()
def samples(family, low, count, strength=1.0):
    """Return samples of the target for one c with its border, (count, 1, n, n), through all passes."""
    seen = family.features.encode(low, None).expand(count, -1, -1, -1)
    noise = Scaled(range(count), [(0, 0, 0)] * count, SIDE)
    noise.strength = strength
    state = None
    for number in range(family.scheme.passes):
        state = family.scheme.run(number, family.trained, Region(seen, state, noise, periodic=True))
    return state.double()
