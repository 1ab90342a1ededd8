"""The runs of a task: networks and their classical opponents on the same examples, and on controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from supercosm.classification import alter, classical
from supercosm.classification.boxes import Box
from supercosm.classification.examples import Examples, boxes_of, cut, of_boxes, shuffled, skewed, slabs_of_boxes
from supercosm.classification.fit import Setup, Trained, train
from supercosm.classification.predictions import Predictions
from supercosm.classification.verdict import BOXES
from supercosm.classification.webpatches import web_patches
from supercosm.classification_settings import Environment, Opponent, Realism, Task, Universes
from supercosm.epochs import Epochs
from supercosm.errors import DataError
from supercosm.statistics.environment import CLASSES

MAIN = "all"  # the run on everything there is
EVERY_AXIS = (0, 1, 2)


@dataclass(frozen=True)
class Data:
    """One run: what is trained on, what stops it, and what is judged; slabs are cut to patches of `side` cells.

    main: whether all networks and opponents are tried, not the first network and the cheap opponents alone. altered:
    the fields are no log density, of which δ could be had. steps: per epoch, where it is not one pass.
    """

    run: str
    training: Examples
    validation: Examples | None
    test: Examples
    side: int
    main: bool = True
    altered: bool = False
    balance: bool = True
    steps: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What one classifier made of one run: its predictions, before temperature scaling too, and the network."""

    run: str
    classifier: str
    predictions: Predictions
    uncalibrated: Predictions | None = None
    trained: Trained | None = None


def outcomes(
    data: Data, task: Task, classes: int, device: torch.device, epochs: Epochs | None = None
) -> Iterator[Outcome]:
    """Try the networks and the opponents of a task on one run; epochs: a file beside those trainings go on from."""
    test = cut(data.test, data.side)
    for classifier in task.networks if data.main else task.networks[:1]:
        setup = Setup(classifier, task, classes, data.side, data.balance, device)
        file = (epochs or Epochs()).beside(f"{data.run}-{classifier}")
        trained = train(setup, data.training, data.validation, data.steps, file)
        made = [_predictions(trained.probabilities(test.x, calibrated), test) for calibrated in (True, False)]
        yield Outcome(data.run, classifier, *made, trained)
    opponents = [name for name in task.opponents if data.main or name in ("log_power", "logistic")]
    yield from _opponents(data, [o for o in opponents if not (data.altered and o == "power")], test, classes)


def _opponents(data: Data, opponents: Sequence[Opponent], test: Examples, classes: int) -> Iterator[Outcome]:
    if not opponents:
        return
    training = cut(data.training, data.side)
    summaries = classical.Summaries.of(training)
    measures = {"power": summaries.density_power, "log_power": summaries.power}
    measured: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for opponent in opponents:
        what = opponent if opponent in measures else "everything"
        if what not in measured:
            measure = measures.get(what, summaries.everything)
            measured[what] = measure(training), measure(test)
        known, features = measured[what]
        learn = classical.boosted if opponent == "boosted" else classical.logistic
        probabilities = learn(known, training.labels, features, classes, data.balance)
        yield Outcome(data.run, opponent, _predictions(probabilities, test))


def _predictions(probabilities: np.ndarray, test: Examples) -> Predictions:
    return Predictions(probabilities, test.labels, test.seeds, test.places)


def realism_run(splits: dict[str, list[Box]], classes: Sequence[str], task: Realism) -> Data:
    """Return the one run of the task `realism`."""
    parts = {
        split: slabs_of_boxes(boxes, classes, task.thickness, _axes(split, boxes)) if boxes else None
        for split, boxes in splits.items()
    }
    return Data(MAIN, parts["training"], parts["validation"], parts["test"], task.side, balance=task.balance)


def cosmology_runs(splits: dict[str, list[Box]], classes: Sequence[str], task: Universes) -> Iterator[Data]:
    """Yield the runs of the task `cosmology`: everything, altered fields, fewer boxes, skewed and shuffled classes."""
    thickness = task.box_size / task.slabs
    parts = {s: slabs_of_boxes(boxes, classes, thickness, _axes(s, boxes)) for s, boxes in splits.items() if boxes}
    training, test = parts["training"], parts["test"]
    steps = max(1, len(training) // task.fit.batch)
    usual = Data(MAIN, training, parts.get("validation"), test, task.particles, balance=task.balance, steps=steps)
    yield usual
    yield from _curve(usual, task.curve)
    for kind in task.altered:
        changed = {split: _altered(examples, kind, training) for split, examples in parts.items()}
        data = replace(usual, run=kind, **changed, main=False, altered=True)
        yield data
        yield from _curve(data, task.curve if kind == "matched" else ())
    control = replace(usual, main=False)
    if task.skew is not None:
        few = skewed(training, task.skew, task.fit.seed)
        yield replace(control, run="skewed", training=few, balance=False)
        yield replace(control, run="skewed-balanced", training=few, balance=True)
    if task.shuffled:
        meaningless = {split: shuffled(part, task.fit.seed) for split, part in parts.items()}
        yield replace(control, run="shuffled", **meaningless)


def _curve(data: Data, counts: Sequence[int]) -> Iterator[Data]:
    """Yield a run on fewer boxes in as many steps, by the name of the whole one and their number."""
    name = "" if data.run == MAIN else f"{data.run}-"
    most = min(len(seeds) for seeds in boxes_of(data.training))
    for count in (count for count in counts if count < most):
        yield replace(data, run=f"{name}boxes{count}", training=of_boxes(data.training, count), main=False)


def environment_run(splits: dict[str, tuple[list[Box], list[Box]]], task: Environment) -> tuple[Data, list[Outcome]]:
    """Return the one run of the task `environment` on one field, and what the field's own tidal tensor says.

    splits: boxes of the field, and of the true run, by split.
    """
    patches = {split: web_patches(*boxes, task) for split, boxes in splits.items()}
    training, test = patches["training"], patches["test"]
    labels = training.examples.labels
    if lacking := [name for number, name in enumerate(CLASSES) if number not in labels]:
        raise DataError(
            f"none of {len(labels)} training patches has a {lacking[0]} at its centre; raise patches or boxes, or "
            f"change threshold = {task.threshold:g} or radius = {task.radius:g}"
        )
    validation = patches["validation"].examples if "validation" in patches else None
    data = Data(MAIN, training.examples, validation, test.examples, task.side, balance=task.balance)
    probabilities = classical.logistic(training.eigenvalues, labels, test.eigenvalues, len(CLASSES), task.balance)
    return data, [
        Outcome(MAIN, "eigenvalues", _predictions(probabilities, test.examples)),
        Outcome(MAIN, "tidal", _predictions(np.eye(len(CLASSES))[test.own], test.examples)),
    ]


def _axes(split: str, boxes: Sequence[Box]) -> tuple[int, ...]:
    """Return the axes to project along: of few test boxes but one, so that no piece of space is counted three times."""
    few = split == "test" and len({box.seed for box in boxes}) < BOXES
    return EVERY_AXIS[2:] if few else EVERY_AXIS


def _altered(examples: Examples, kind: str, training: Examples) -> Examples:
    if kind == "matched":
        return replace(examples, x=alter.matched(examples.x, alter.ring_power(training.x)))
    return replace(examples, x=alter.randomised(examples.x, abs(int(examples.seeds[0]))))
