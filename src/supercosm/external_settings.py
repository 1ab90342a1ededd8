"""Settings of runs that other codes made, and what a workflow cannot do with them."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from supercosm.basic_settings import Settings

FIELDS = ("seed", "output")


class External(Settings):
    """Your own pairs of snapshots, in place of simulations."""

    low: str = Field(description="low-resolution snapshots: a path with {seed} and, of several outputs, {output}")
    high: str = Field(description="high-resolution snapshots, likewise")
    outputs: list[str] = Field(
        default_factory=list, description="what stands for {output}: one for each of scale_factors, ascending"
    )
    length_unit: Literal["kpc/h", "Mpc/h"] | None = Field(
        None, description="unit of lengths in files that do not say it; none: what they say, or kpc/h"
    )

    @model_validator(mode="before")
    @classmethod
    def _both(cls, content: Any) -> Any:
        """Say what to do with low runs that have no high ones."""
        if isinstance(content, dict) and "low" in content and content.get("high") is None:
            raise ValueError(
                "simulation.external has no 'high': a workflow trains and judges models, and needs the true "
                "high-resolution run of every box; low runs alone are super-resolved by a trained model, with "
                "`supercosm superresolve SNAPSHOT --model results/NAME/models/MODEL --output FILE`"
            )
        return content

    @model_validator(mode="after")
    def _patterns(self) -> External:
        for name in ("low", "high"):
            pattern = getattr(self, name)
            try:
                used = [field for _, field, _, _ in string.Formatter().parse(pattern) if field is not None]
            except ValueError as error:
                raise ValueError(f"external.{name} = '{pattern}' is no pattern: {error}") from None
            if "seed" not in used or set(used) - set(FIELDS):
                raise ValueError(
                    f"external.{name} = '{pattern}' must hold {{seed}}, may hold {{output}}, and nothing else in braces"
                )
            if ("output" in used) != bool(self.outputs):
                raise ValueError(f"external.{name} = '{pattern}': {{output}} and external.outputs belong together")
        return self

    def fault(self, outputs: int) -> str | None:
        """Say what does not fit the number of outputs of the configuration."""
        if len(self.outputs) != outputs and (outputs > 1 or self.outputs):
            return (
                f"external.outputs = {self.outputs} has {len(self.outputs)} names for {outputs} scale_factors: name "
                "each, and use it as {output} in the paths"
            )
        return None

    def path(self, resolution: str, seed: int, number: int) -> Path:
        """Return the path of one snapshot; number: of the output, from 0."""
        values = {"seed": seed, **({"output": self.outputs[number]} if self.outputs else {})}
        return Path(getattr(self, resolution).format(**values)).expanduser()


def conflicts(config: Any) -> Iterator[str]:
    """Say which parts of a whole configuration need simulations of this package, or initial phases that it knows."""
    audit = config.audit
    simulated = "needs simulations of this package, and simulation.external has others"
    for key, value, none in (("few_steps", audit.few_steps, "[]"), ("shifts", audit.shifts, "[]")):
        if value:
            yield f"audit.{key} = {value} {simulated}: set it to {none}"
    if audit.universes:
        yield f"audit.universes = {audit.universes} {simulated}: set it to 0"
    for name, model in config.models.items():
        if model.sees_initial:
            yield (
                f"models.{name} learns from initial phases, which nobody knows of simulation.external: give it "
                "condition: [low], with noise: white or none"
            )
    for name, task in config.classification.tasks.items():
        if task.kind == "cosmology":
            yield f"classification.tasks.{name} {simulated}: set it to null"
