"""What each stage depends on: the part of the configuration that a workflow rule hands to its command.

Snakemake reruns a job when this text changes, so it holds what the result depends on and nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supercosm.config import Config, entries
from supercosm.variants import skewed

OF_FIELDS = ("spectrum", "bispectrum", "moments", "distribution", "extrema", "minkowski", "web")
OF_PARTICLES = ("haloes", "profiles", "bias", "multipoles", "correlation", "flows", "pairwise")  # statistics, by need
AUDITS_OF_FIELDS = ("environment",)
AUDITS_OF_PARTICLES = ("halomass",)
CALIBRATIONS = ("spectra", "cells")

FIGURES = {  # of statistics, by section of the report; `curves.SHOWN` says what each draws
    "Two-point statistics": ("multipoles", "correlation"),
    "Higher order and one point": ("bispectrum", "distribution", "moments", "peaks", "minima", "minkowski", "shares"),
    "Haloes": ("haloes", "profiles", "bias"),
    "Motions": ("flows", "pairwise"),
}

# what decides which files there are
WHAT_IS_RUN = ("audit", "cosmology", "models", "pairs", "seeds", "simulation", "superresolution")
SECTIONS = {
    "simulate": ("cosmology", "device", "simulation"),
    "pair": ("pairs", "simulation"),
    "train": ("device", "simulation"),
    "superresolve": ("device", "simulation", "superresolution"),
    "compare": ("evaluation",),
    "measure": ("statistics",),
    "audit": ("statistics",),
    "calibrate": ("evaluation",),
    "summarise": WHAT_IS_RUN,
    "cost": WHAT_IS_RUN,
    "report": tuple(Config.model_fields),
}
TRUTH = "high"


def is_truth(entry: str) -> bool:
    """Tell whether an entry is the true high-resolution run, at any output."""
    return entry.partition("_a")[0] == TRUTH


@dataclass(frozen=True)
class Measured:
    """One line of the statistics: a truth or an entry of the comparison, and what can be measured of it."""

    name: str
    scale_factor: float
    truth: bool
    statistics: tuple[str, ...]
    audits: tuple[str, ...] = ()
    calibrated: bool = False


def measured(config: Config) -> list[Measured]:
    """List what is measured by itself: at each output used the true run, then every entry that is a whole box."""
    compared = entries(config)
    found = [
        Measured(f"{TRUTH}{config.simulation.tag(a)}", a, True, OF_FIELDS + OF_PARTICLES)
        for a in sorted({entry.scale_factor for entry in compared}, reverse=True)
    ]
    for entry in compared:
        model = config.models.get(entry.model)
        particles = model is None or model.fields == "displacement"
        if model is not None and model.dimensions != 3:
            continue
        statistics = OF_FIELDS + (OF_PARTICLES if particles else ())
        audits = AUDITS_OF_FIELDS + (AUDITS_OF_PARTICLES if particles else ())
        calibrated = entry.samples > 1
        found.append(Measured(entry.name, entry.scale_factor, False, statistics, audits, calibrated))
    return found


def figures_of(config: Config) -> dict[str, tuple[str, ...]]:
    """List the figures of statistics and audits that a configuration gets, by section of the report."""
    found = dict(FIGURES)
    last = config.simulation.scale_factors[-1]
    boxes = [entry for entry in measured(config) if entry.scale_factor == last]
    models = any(entry.model and entry.scale_factor == last for entry in entries(config))
    if any(entry.calibrated for entry in boxes):
        found["Calibration"] = ("ranks", "spread_and_coverage", "diversity")
    audits = ["environments", "halo_masses"] if any(entry.audits for entry in boxes) else []
    audits += ["drift"] if config.audit.shifts and config.audit.seeds and models else []
    audits += ["skew"] if config.audit.skew.model and config.audit.seeds else []
    found["Bias audit"] = tuple(audits)
    found["Compute for accuracy"] = ("cost",)
    return found


def tables_of(config: Config, results: Path) -> dict[str, list[Path]]:
    """List the tables of every statistic: of one box by itself, against the truth, and of samples of one box."""
    found: dict[str, list[Path]] = {}
    for entry in measured(config):
        for seed in config.seeds.test:
            for name in entry.statistics:
                found.setdefault(name, []).append(results / "statistics" / entry.name / str(seed) / f"{name}.ecsv")
            for name in entry.audits:
                found.setdefault(name, []).append(results / "audits" / entry.name / str(seed) / f"{name}.ecsv")
            for name in CALIBRATIONS if entry.calibrated else ():
                table = results / "calibrations" / entry.name / str(seed) / f"{name}.ecsv"
                found.setdefault(f"calibration_{name}", []).append(table)
    for name in skewed(config):
        for seed in config.seeds.test[: config.audit.seeds]:
            table = results / "skewed" / "audits" / name / str(seed) / "environment.ecsv"
            found.setdefault("skew", []).append(table)
    return found


def stage_settings(config: Config, stage: str, model: str | None = None) -> str:
    """Return the settings of one stage as JSON with sorted keys, except models, which `load_config` reads again.

    With a model, its own section goes along, and that of the model it starts from.
    """
    full = config.model_dump(mode="json")
    # sections that are checked against others get values that suit any, where a stage needs none
    neutral = {
        "audit": {"shifts": []},
        "pairs": {"slabs": 1},
        "superresolution": {"tile": config.simulation.low if model else 1},
    }
    part: dict[str, Any] = {**neutral, **{section: full[section] for section in SECTIONS[stage]}}
    if model is not None:
        family = [model, getattr(config.models[model], "start", None)]
        part["models"] = {name: full["models"][name] for name in family if name}
    plain = json.loads(json.dumps(part, sort_keys=True))
    if "models" in part:  # they keep their order, in which figures and tables show them
        plain["models"] = {name: plain["models"][name] for name in part["models"]}
    return json.dumps(plain)
