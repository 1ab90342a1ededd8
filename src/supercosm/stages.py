"""What each stage depends on: the part of the configuration that a workflow rule hands to its command.

Snakemake reruns a job when this text changes, so it holds what the result depends on and nothing else.
"""

from __future__ import annotations

import json
from typing import Any

from supercosm.config import Config

SECTIONS = {
    "simulate": ("cosmology", "device", "simulation"),
    "pair": ("pairs", "simulation"),
    "train": ("device", "simulation"),
    "superresolve": ("device", "simulation", "superresolution"),
    "measure": ("evaluation",),
    "report": tuple(Config.model_fields),
}


def stage_settings(config: Config, stage: str, model: str | None = None) -> str:
    """Return the settings of one stage as JSON with sorted keys, which `load_config` reads again.

    With a model, its own section goes along, and that of the model it starts from.
    """
    full = config.model_dump(mode="json")
    # sections that are checked against others get values that suit any, where a stage needs none
    neutral = {"pairs": {"slabs": 1}, "superresolution": {"tile": config.simulation.low if model else 1}}
    part: dict[str, Any] = {**neutral, **{section: full[section] for section in SECTIONS[stage]}}
    if model is not None:
        family = [model, getattr(config.models[model], "start", None)]
        part["models"] = {name: full["models"][name] for name in family if name}
    return json.dumps(part, sort_keys=True)
