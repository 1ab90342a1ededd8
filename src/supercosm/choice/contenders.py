"""Which entries are compared as families, and what their comparison depends on.

All of them draw whole boxes of displacements at the last output from the low run alone. The first is the reference: a
plain regression that was told the small-scale modes, given drawn ones. It was never taught to generate, so what does
not beat it need not be trained.
"""

from __future__ import annotations

import json

from supercosm.classification_settings import Realism
from supercosm.config import Config, Entry, entries, is_whole_box
from supercosm.stages import NEUTRAL, WHAT_IS_RUN

FIGURES = ("radar", "cost", "calibration")  # as their files are named after `families_`


def contenders(config: Config) -> list[Entry]:
    """List the entries that draw displacements of whole boxes, the reference first; none, if all are of one family."""
    found = [entry for entry in _boxes(config) if entry.phases == "drawn"]
    if len({config.models[entry.model].family for entry in found}) < 2:
        return []
    return sorted(found, key=lambda entry: entry != reference(config))


def reference(config: Config) -> Entry | None:
    """Return the regression told the small-scale modes, with drawn ones; None where there is no such entry."""
    drawn = (entry for entry in _boxes(config, "unet") if entry.phases == "drawn")
    return next((entry for entry in drawn if "initial" in config.models[entry.model].condition), None)


def regression(config: Config) -> Entry | None:
    """Return a regression without any spread: one told the low run alone if there is one, else one told more."""
    fixed = [entry for entry in _boxes(config, "unet") if entry.phases != "drawn"]
    return min(fixed, key=lambda entry: entry.phases != "none", default=None)


def iterative(config: Config) -> list[Entry]:
    """List the contenders whose samples take a number of evaluations that can be chosen."""
    return [entry for entry in contenders(config) if hasattr(config.models[entry.model], "evaluations")]


def _boxes(config: Config, family: str | None = None) -> list[Entry]:
    """List the entries of models that make displacements of whole boxes at the last output."""
    return [
        entry
        for entry in entries(config)
        if entry.model is not None
        and is_whole_box(config, entry)
        and config.models[entry.model].fields == "displacement"
        and family in (None, config.models[entry.model].family)
    ]


def realism_task(config: Config) -> str | None:
    """Return the name of the first task that tells entries from the true run; None where there is none."""
    tasks = config.classification.tasks
    return next((name for name, task in tasks.items() if isinstance(task, Realism)), None)


def choice_figures(config: Config) -> tuple[str, ...]:
    """List the figures of the section, as their files are named after `families_`."""
    return FIGURES if contenders(config) else ()


def choice_settings(config: Config) -> str:
    """Return what the table of families depends on as sorted JSON, models in their order."""
    full = config.model_dump(mode="json")
    part = {key: full[key] for key in (*WHAT_IS_RUN, "evaluation")}
    part["evaluation"] = {key: value for key, value in part["evaluation"].items() if key != "evaluations"}
    if config.statistics.slabs > 1:  # several, however many, decide which tables there are
        part["statistics"] = {"slabs": 2}
    if (task := realism_task(config)) is not None:
        part["classification"] = {"tasks": {task: full["classification"]["tasks"][task]}}
    plain = json.loads(json.dumps(NEUTRAL | part, sort_keys=True))
    plain["models"] = {name: plain["models"][name] for name in full["models"]}
    return json.dumps(plain)
