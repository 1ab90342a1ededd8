"""What each stage depends on: the part of the configuration that a workflow rule hands to its command.

Snakemake reruns a job when this text changes, so it holds what the result depends on and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supercosm.classification_settings import AnyTask, Realism, Universes
from supercosm.config import Config, Cosmology, entries, is_whole_box
from supercosm.errors import ConfigurationError
from supercosm.variants import skewed

OF_FIELDS = ("spectrum", "bispectrum", "moments", "distribution", "extrema", "minkowski", "web")
OF_PARTICLES = ("haloes", "profiles", "bias", "multipoles", "correlation", "flows", "pairwise")  # statistics, by need
BY_SLABS = ("spectrum", "moments", "distribution", "haloes")  # what can be measured of a box larger than memory
TABLES = {"peaks": "extrema", "minima": "extrema", "shares": "web"}  # of figures that have other names
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
    "import": ("cosmology", "simulation"),
    "pair": ("pairs", "simulation"),
    "train": ("device", "simulation"),
    "superresolve": ("device", "simulation", "superresolution"),
    "compare": ("evaluation",),
    "measure": ("statistics",),
    "audit": ("statistics",),
    "calibrate": ("evaluation",),
    "summarise": WHAT_IS_RUN,
    "cost": WHAT_IS_RUN,
    "evaluations": ("device", "evaluation", "simulation", "superresolution"),
    "report": tuple(name for name in Config.model_fields if name != "hardware"),
}
# sections that are checked against others get values that suit any, where a stage needs none
NOTHING = {"few_steps": [], "shifts": [], "universes": 0}
NEUTRAL = {"audit": NOTHING, "pairs": {"slabs": 1}, "superresolution": {"tile": 1}}
PLACELESS = ("pair", "train", "superresolve", "evaluations")  # stages that need not know where a user's own runs are
TRUTH = "high"
OTHER_SEEDS, UNIVERSES = "other-seeds", "universes"  # parts of tasks that are no entries


def is_truth(entry: str) -> bool:
    """Tell whether an entry is the true high-resolution run, at any output."""
    return entry.partition("_a")[0] == TRUTH


def split_entries(config: Config) -> list[str]:
    """List the entries whose boxes are made slab by slab, each by a job: particles, made in one pass."""
    if config.superresolution.files == 1 or config.superresolution.consistency is not None:
        return []
    cut = {n for n, model in config.models.items() if model.fields == "displacement" and not model.several_passes}
    return [entry.name for entry in entries(config) if entry.model is None or entry.model in cut]


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
    """List what is measured by itself: at each output used the true run, then every entry that is a whole box.

    With `statistics.slabs` > 1 boxes are larger than memory: there is what can be measured by slabs, and no audit.
    """
    compared, slabs = entries(config), config.statistics.slabs > 1
    of_fields, of_particles = OF_FIELDS, OF_PARTICLES
    if slabs:
        of_fields, of_particles = (tuple(n for n in names if n in BY_SLABS) for names in (OF_FIELDS, OF_PARTICLES))
    found = [
        Measured(f"{TRUTH}{config.simulation.tag(a)}", a, True, of_fields + of_particles)
        for a in sorted({entry.scale_factor for entry in compared}, reverse=True)
    ]
    for entry in compared:
        model = config.models.get(entry.model)
        particles = model is None or model.fields == "displacement"
        if model is not None and model.dimensions != 3:
            continue
        statistics = of_fields + (of_particles if particles else ())
        audits = () if slabs else AUDITS_OF_FIELDS + (AUDITS_OF_PARTICLES if particles else ())
        calibrated = entry.samples > 1
        found.append(Measured(entry.name, entry.scale_factor, False, statistics, audits, calibrated))
    return found


def figures_of(config: Config) -> dict[str, tuple[str, ...]]:
    """List the figures of statistics and audits that a configuration gets, by section of the report."""
    last = config.simulation.scale_factors[-1]
    boxes = [entry for entry in measured(config) if entry.scale_factor == last]
    tables = {name for entry in boxes for name in entry.statistics}
    found = {
        section: tuple(name for name in names if TABLES.get(name, name) in tables) for section, names in FIGURES.items()
    }
    models = any(entry.model and entry.scale_factor == last for entry in entries(config))
    if any(entry.calibrated for entry in boxes):
        found["Calibration"] = ("ranks", "spread_and_coverage", "diversity")
    audits = ["environments", "halo_masses"] if any(entry.audits for entry in boxes) else []
    audits += ["drift"] if config.audit.shifts and config.audit.seeds and models else []
    audits += ["skew"] if config.audit.skew.model and config.audit.seeds else []
    found["Bias audit"] = tuple(audits)
    if config.simulation.external is None:  # what a simulation of another code has cost, nobody told
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
    tile = {"superresolution": {"tile": config.simulation.low if model else 1}}
    part: dict[str, Any] = {**NEUTRAL, **tile, **{section: full[section] for section in SECTIONS[stage]}}
    if stage in PLACELESS:
        part["simulation"] = full["simulation"] | {"external": None}
    if stage in ("measure", "audit"):  # slabs change which jobs there are; runs without them stay as they were
        part["statistics"] = {key: value for key, value in part["statistics"].items() if key != "slabs"}
    if stage == "summarise" and config.statistics.slabs > 1:  # several, however many, decide which tables there are
        part["statistics"] = {"slabs": 2}
    if stage != "report" and "superresolution" in SECTIONS[stage]:  # slabs change which jobs there are, no result
        part["superresolution"] = {k: v for k, v in part["superresolution"].items() if k != "files"}
    if "evaluation" in part and stage in ("compare", "calibrate"):
        part["evaluation"] = {key: value for key, value in part["evaluation"].items() if key != "evaluations"}
    if model is not None:
        family = [model, getattr(config.models[model], "start", None)]
        part["models"] = {name: full["models"][name] for name in family if name}
    plain = json.loads(json.dumps(part, sort_keys=True))
    if "models" in part:  # they keep their order, in which figures and tables show them
        plain["models"] = {name: plain["models"][name] for name in part["models"]}
    if "compression" in part:  # and so do coders
        plain["compression"]["coders"] = {
            name: plain["compression"]["coders"][name] for name in part["compression"]["coders"]
        }
    return json.dumps(plain)


def compression_figures(config: Config) -> tuple[str, ...]:
    """List the figures of compression that a configuration gets, as their files are named after `compression_`.

    Raises ConfigurationError where there are coders, but none of projected patches, which most figures show.
    """
    coders = config.compression.expanded()
    if not coders:
        return ()
    if all(coder.dimensions == 3 for coder in coders.values()):
        raise ConfigurationError(
            "compression.coders has none of projected patches; add one, like pca64: {kind: pca, dimensions: 2}"
        )
    drawn = [name for name, coder in coders.items() if coder.kind == "variational" and coder.dimensions == 2]
    found = ["unexplained", "patches", "box", "particles", "gallery"]
    found += [f"{figure}_{name}" for name in drawn for figure in ("prior", "walks")]
    found += ["losses"] if any(hasattr(coder, "fit") for coder in coders.values()) else []
    sweeps = [getattr(coder, "sweep", {}) for coder in config.compression.coders.values() if coder.dimensions == 2]
    found += ["sweep"] if any(len(sweep.get("learning_rate", ())) > 1 for sweep in sweeps) else []
    mapped = config.compression.maps.coders
    return (*found, *(f"maps_{name}" for name in mapped), *(["sanity"] if mapped else []))


def compression_settings(
    config: Config, keys: tuple[str, ...], coders: Sequence[str] = (), environment: bool = False
) -> str:
    """Return settings of a stage of compression as sorted JSON: these keys, and some coders of those expanded.

    environment: with what decides on voids, sheets, filaments and knots.
    """
    compression = config.compression
    part = {key: compression.model_dump(mode="json")[key] for key in keys}
    if coders:
        found = compression.expanded()
        part["coders"] = {name: found[name].model_dump(mode="json") for name in coders}
    if "maps" in part:
        part["maps"]["coders"] = []  # whose latents are mapped decides which jobs there are, not what one does
    full: dict[str, Any] = NEUTRAL | {"compression": part}
    if environment:
        shared = ("environment_radius", "environment_threshold")
        full["statistics"] = {key: getattr(config.statistics, key) for key in shared}
    return json.dumps(full, sort_keys=True)


def parts_of(config: Config, task: AnyTask) -> list[str]:
    """List the parts of a task, each a job and a folder: entries, the true run, the control, or all universes."""
    if isinstance(task, Universes):
        return [UNIVERSES]
    if isinstance(task, Realism):
        boxes = [entry.name for entry in entries(config) if is_whole_box(config, entry)]
        control = [OTHER_SEEDS] if task.other_seeds and config.audit.universes else []
        return (task.entries or boxes) + control
    return [*task.entries, TRUTH]


def classified_entries(config: Config) -> list[str]:
    """List the entries whose boxes of training and validation seeds are needed, too."""
    parts = [part for task in config.classification.tasks.values() for part in parts_of(config, task)]
    return [name for name in dict.fromkeys(parts) if name not in (TRUTH, OTHER_SEEDS, UNIVERSES)]


def classification_figures(config: Config) -> dict[str, tuple[str, ...]]:
    """List the figures of every task, as their files are named after `classification_<task>_`."""
    found = {}
    for name, task in config.classification.tasks.items():
        curve = ("curve",) if isinstance(task, Universes) and task.curve else ()
        found[name] = ("accuracy", *curve, "confusion", "rates", "seeds", "losses", "looks", "occlusion", "filters")
    return found


def class_settings(config: Config, task: str, cosmology: Cosmology) -> str:
    """Return the settings of the simulations of one class of a task that tells cosmologies apart, as sorted JSON."""
    own = config.classification.tasks[task]
    simulation = config.simulation.model_dump(mode="json") | {
        "box_size": own.box_size,
        "low": own.particles // 2,
        "high": own.particles,
        "steps": own.steps,
        "scale_factors": config.simulation.scale_factors[-1:],
    }
    part = {"cosmology": cosmology.model_dump(mode="json"), "device": config.device, "simulation": simulation}
    return json.dumps(NEUTRAL | part, sort_keys=True)


def classification_settings(config: Config, task: str) -> str:
    """Return the settings of a task as sorted JSON, without what decides which jobs there are."""
    own = config.classification.tasks[task].model_dump(mode="json")
    own = {key: value for key, value in own.items() if key not in ("entries", "boxes", "other_seeds")}
    if "other_seeds" in type(config.classification.tasks[task]).model_fields:
        own["other_seeds"] = False
    sections = ("cosmology", "device") if own["kind"] == "cosmology" else ("device", "simulation")
    shared = {key: config.model_dump(mode="json")[key] for key in sections}
    shared |= {"simulation": shared["simulation"] | {"external": None}} if "simulation" in shared else {}
    return json.dumps(NEUTRAL | shared | {"classification": {"tasks": {task: own}}}, sort_keys=True)
