"""Compute for accuracy: what a high-resolution box costs by each way of making one, and how good it is.

The ways: the simulation itself, the same in few steps, and a low-resolution run that a baseline or a model
super-resolves. A model has also to be paid for once: the runs it learns from, and its training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.table import QTable

from supercosm.config import Config, Entry, entries
from supercosm.metering import Cost, read_costs
from supercosm.model import read_card
from supercosm.provenance import provenance
from supercosm.tables import read_table, write_table
from supercosm.variants import variants

QUALITY = ("T_error_double", "P_worst_double", "r_double")  # of the density, from the table of metrics
TRUTH = "high"


@dataclass(frozen=True)
class Way:
    """One way to a high-resolution box: busy seconds per box and once, wall seconds and memory [MB] of its last stage.

    Busy seconds are those of a core, or of a GPU.
    """

    name: str
    kind: str
    box: float
    seconds: float
    memory: float
    training: float = 0.0
    data: float = 0.0
    parameters: int = 0

    def break_even(self, truth: float) -> float:
        """Return the number of boxes from which this way is cheaper than the simulation; infinite if it never is."""
        saved = truth - self.box
        return max(1.0, np.ceil((self.training + self.data) / saved)) if saved > 0 else np.inf


def cost(config: Config, results: str | Path, output: str | Path) -> None:
    """Gather the cost files of a run, its model cards and its metrics, and write one table.

    Raises DataError when a file is missing.
    """
    results = Path(results)
    table = tabulate(list(_ways(config, results)), read_table(results / "evaluation" / "metrics.ecsv"))
    table.meta = {
        "what": "cost of one high-resolution box at the last output, start-up of the commands left out",
        "units": "busy seconds are core-seconds on the CPU, GPU-seconds where a GPU computed",
        "provenance": provenance("cost", config.model_dump(mode="json", include={"audit", "seeds", "simulation"})),
    }
    write_table(output, table)


def tabulate(ways: Sequence[Way], metrics: QTable) -> QTable:
    """Put costs and quality side by side: one row for each way, the simulation first.

    box: busy seconds of one box. saving: how many times less than the simulation. break_even: boxes from which it is
    cheaper, training and training data included.
    """
    truth = next(way.box for way in ways if way.name == TRUTH)
    table = QTable({"entry": [way.name for way in ways], "kind": [way.kind for way in ways]})
    for name, unit in (("box", u.s), ("seconds", u.s), ("training", u.s), ("data", u.s), ("memory", u.MB)):
        table[name] = [getattr(way, name) for way in ways] * unit
    table["parameters"] = [way.parameters for way in ways]
    table["saving"] = [truth / way.box for way in ways]
    table["break_even"] = [1.0 if way.name == TRUTH else way.break_even(truth) for way in ways]
    known = {row["entry"]: row for row in metrics}
    perfect = {f"density_{name}": float(name == "r_double") for name in QUALITY}
    for name in (f"density_{quality}{end}" for quality in QUALITY for end in ("", "_std")):
        table[name] = [perfect.get(name, 0.0) if way.name == TRUTH else known[way.name][name] for way in ways]
    return table


def _ways(config: Config, results: Path) -> Iterator[Way]:
    tests = config.seeds.test
    runs = {seed: _by_name(results / "costs" / "simulate" / f"{seed}.json") for seed in config.seeds.all}
    high, low = ([runs[seed][name] for seed in tests] for name in ("high", "low"))
    yield Way(TRUTH, "simulation", _busy(high), _mean(high, "seconds"), _peak(high))
    for variant in variants(config).values():
        if variant.kind == "steps":
            found = [read_costs(results / "costs" / "variants" / variant.name / f"{seed}.json")[0] for seed in tests]
            yield Way(variant.name, "few steps", _busy(found), _mean(found, "seconds"), _peak(found))
    data = sum(cost.busy for seed in config.seeds.training + config.seeds.validation for cost in runs[seed].values())
    for entry in entries(config):
        if entry.scale_factor == config.simulation.scale_factors[-1]:
            yield way_of(config, results, entry, _busy(low), data)


def way_of(config: Config, results: Path, entry: Entry, low: float = 0.0, data: float = 0.0) -> Way:
    """Gather what one entry costs; low: busy seconds of the low run that it starts from, data: of its training runs.

    Raises DataError when a cost file or a card is missing.
    """
    found = [
        cost
        for seed in config.seeds.test
        for cost in read_costs(results / "costs" / "superresolved" / entry.name / f"{seed}.json")
    ]
    box, seconds, memory = low + _busy(found), _mean(found, "seconds"), _peak(found)
    if entry.model is None:
        return Way(entry.name, "baseline", box, seconds, memory)
    training, parameters = 0.0, 0
    for name in filter(None, (entry.model, getattr(config.models[entry.model], "start", None))):
        card = read_card(results / "models" / name)
        training += card.training_seconds * card.training_cores
        parameters = parameters or card.parameters
    return Way(entry.name, "model", box, seconds, memory, training, data, parameters)


def _by_name(path: Path) -> dict[str, Cost]:
    return {cost.what: cost for cost in read_costs(path)}


def _mean(costs: Sequence[Cost], name: str) -> float:
    return float(np.mean([getattr(cost, name) for cost in costs]))


def _busy(costs: Sequence[Cost]) -> float:
    return _mean(costs, "busy")


def _peak(costs: Sequence[Cost]) -> float:
    return max(cost.memory for cost in costs)
