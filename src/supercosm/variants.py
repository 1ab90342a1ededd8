"""Variants of the simulations that models are audited with, each a named change of the configuration.

steps<n>: the high-resolution run in few steps, the sceptic's competitor · universe<i>: the high-resolution run with
other modes where the low run holds none, the physical diversity · <parameter>_<value>: another cosmology.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from supercosm.config import Config
from supercosm.errors import ConfigurationError

OTHER_SMALL_SCALES = 1_000_000  # times the number of a universe, added to a seed: far from seeds that people choose

Kind = Literal["steps", "universe", "shift"]


@dataclass(frozen=True)
class Variant:
    """How one variant differs: its whole configuration, the resolutions it needs, its number among the universes."""

    name: str
    kind: Kind
    config: Config
    resolutions: tuple[str, ...]
    universe: int | None = None

    def small_scales(self, seed: int) -> int | None:
        """Return the seed of the modes that the low run of a box does not hold; None: the same as of the others."""
        return None if self.universe is None else seed + OTHER_SMALL_SCALES * self.universe


def variants(config: Config) -> dict[str, Variant]:
    """List the variants that `audit` asks for, by name; all have the last output alone.

    Raises ConfigurationError when two shifts have one name, which shows four digits.
    """
    found: dict[str, Variant] = {}
    for variant in _variants(config):
        if variant.name in found:
            raise ConfigurationError(
                f"audit.shifts = {config.audit.shifts}: two of them are both named {variant.name}; let them differ in "
                "the first four digits of the parameter"
            )
        found[variant.name] = variant
    return found


def _variants(config: Config) -> Iterator[Variant]:
    audit, simulation = config.audit, config.simulation
    last = simulation.model_copy(update={"scale_factors": simulation.scale_factors[-1:]})
    usual = config.model_copy(update={"simulation": last})
    for steps in audit.few_steps:
        changed = usual.model_copy(update={"simulation": last.model_copy(update={"steps": steps})})
        yield Variant(f"steps{steps}", "steps", changed, ("high",))
    for number in range(1, audit.universes + 1):
        yield Variant(f"universe{number}", "universe", usual, ("high",), number)
    for shift in audit.shifts:
        cosmology = config.shifted(shift)
        name = "_".join(f"{key}_{getattr(cosmology, key):.4g}" for key in sorted(shift))
        yield Variant(name, "shift", usual.model_copy(update={"cosmology": cosmology}), ("low", "high"))


EVEN = "even"  # name of the fair training beside the skewed ones


def skewed(config: Config) -> dict[str, Config]:
    """List the skewed trainings, and the fair one beside them, by name: the configuration with that model changed.

    All are trained on the last output alone.
    """
    skew = config.audit.skew
    if skew.model is None:
        return {}
    settings = config.models[skew.model]
    found = {}
    for environment in (None, *skew.environments):
        changed = {
            "steps": skew.steps,
            "validate_every": skew.steps,
            "crop": skew.crop,
            "margin": skew.margin,
            "skew": environment,
        }
        training = settings.training.model_copy(update=changed)
        model = settings.model_copy(update={"scale_factor": None, "training": training})
        found[environment or EVEN] = config.model_copy(update={"models": {**config.models, skew.model: model}})
    return found
