"""The report's section on classification: its figures, its tables, and what the numbers say in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from supercosm.classification import classfigures, lookfigures, ratefigures
from supercosm.classification.findings import best_of, network_of, sentences
from supercosm.classification.results import Part, read_part
from supercosm.classification.study import MAIN
from supercosm.classification.verdict import precision_recall
from supercosm.classification_settings import AnyTask, Realism, Universes
from supercosm.config import Config
from supercosm.history import History, diagnosis
from supercosm.patches import slab_cells
from supercosm.pictures import save_figure
from supercosm.stages import OTHER_SEEDS, classification_figures, parts_of

INTRODUCTION = (
    "What networks, and summary statistics without any network, tell apart on boxes that none of them has seen. "
    "Numbers are accuracies in per cent on test boxes, with 68 % intervals; a p-value is the chance that labels which "
    "mean nothing would give as much."
)
TITLES = {
    "realism": "Can it be told from the real thing?",
    "cosmology": "Which universe is it?",
    "environment": "Void, sheet, filament or knot?",
}
WORDS = {
    "accuracy": ("Accuracy", "right of the dashed line is better than chance; bars are 68 % intervals."),
    "curve": ("Learning curve", "accuracy against the number of boxes that were learnt from."),
    "confusion": ("Confusion", "rows are true classes and sum to 100 %; a perfect classifier has its diagonal alone."),
    "rates": (
        "Rates and reliability",
        "left, true against false positives; right, how often a classifier is right when it is so sure: on the "
        "diagonal its probabilities can be taken at their word.",
    ),
    "seeds": ("Test boxes one by one", "accuracy in every test box with its binomial error."),
    "losses": ("Loss curves", "cross-entropy of training (thin) and validation boxes (thick)."),
    "looks": (
        "Where it looks",
        "integrated gradients: which cells speak for the true class, and which against it; Grad-CAM: where its last "
        "layer decides.",
    ),
    "occlusion": (
        "Is that where it decides?",
        "left, cells lose their detail: each is replaced by the mean around it, the most salient first. The faster the "
        "fall, the more the saliency means. Right, at which densities the network looks.",
    ),
    "filters": ("Filters and feature maps", "what the first layer looks for, and what the first and last layers see."),
}
WIDE = 7  # inches from which a figure takes the whole width


def section(config: Config, results: Path) -> dict[str, Any] | None:
    """Draw the figures into results/figures and gather what the page shows; None where there is no task."""
    if not config.classification.tasks:
        return None
    tasks = [_task(config, results, name, task) for name, task in config.classification.tasks.items()]
    return {"introduction": INTRODUCTION, "tasks": tasks}


def realism(config: Config, results: Path) -> dict[str, dict[str, float]]:
    """Return for every entry of the first task of kind realism how well the best classifier tells it from the true run.

    By entry: accuracy, and half the width of its 68 % interval.
    """
    for name, task in config.classification.tasks.items():
        if isinstance(task, Realism):
            rows = {}
            for part in parts_of(config, task):
                if part != OTHER_SEEDS:
                    row = best_of(read_part(results / "classification" / name / part))
                    half = (float(row["accuracy_high"]) - float(row["accuracy_low"])) / 2
                    rows[part] = {"accuracy": float(row["accuracy"]), "error": half}
            return rows
    return {}


def _task(config: Config, results: Path, name: str, task: AnyTask) -> dict[str, Any]:
    parts = {part: read_part(results / "classification" / name / part) for part in parts_of(config, task)}
    shown = []
    for figure in classification_figures(config)[name]:
        drawn = _drawers(parts)[figure]()
        image = save_figure(drawn, results / "figures" / f"classification_{name}_{figure}.png", config.report.pdf)
        title, look = WORDS[figure]
        shown.append({"image": image, "title": title, "look": look, "broad": drawn.get_figwidth() > WIDE})
    return {
        "name": name,
        "title": TITLES[task.kind],
        "told": _told(config, task),
        "sentences": sentences(task.kind, parts),
        "rows": [row for part, read in parts.items() for row in _rows(part, read, len(parts) > 1)],
        "classes": [row for part, read in parts.items() for row in _class_rows(part, read)],
        "figures": shown,
    }


def _told(config: Config, task: AnyTask) -> str:
    """Say what is classified."""
    if isinstance(task, Realism):
        cell = config.simulation.box_size / config.simulation.high
        thick = cell * slab_cells(task.thickness, config.simulation.box_size, config.simulation.high)
        return (
            f"Projected patches {task.side * cell:.3g} Mpc/h wide and {thick:.3g} Mpc/h thick. Both classes have the "
            "same seeds, so the same large scales (the control of other seeds has them in its test boxes); the number "
            "is that of the classifier two-sample test."
        )
    if isinstance(task, Universes):
        return (
            f"Slabs of {task.box_size:g} × {task.box_size:g} × {task.box_size / task.slabs:.3g} (Mpc/h)³ of "
            f"simulations with {task.particles}³ particles in {task.steps} steps. All classes have the same seeds."
        )
    cell = task.coarsen * config.simulation.box_size / config.simulation.high
    return (
        f"The class of the centre of a block of {task.side}³ cells of {cell:.3g} Mpc/h, by the tidal tensor of the "
        f"true run, smoothed over {task.radius:g} Mpc/h, from the density of other fields there. Does super-resolution "
        "help?"
    )


def _drawers(parts: Mapping[str, Part]) -> dict[str, Callable[[], Figure]]:
    """Return what draws each figure; pictures of one network are of the part that is hardest to tell."""
    models = {name: part for name, part in parts.items() if name != OTHER_SEEDS}
    one = min(models.values(), key=lambda part: np.nan_to_num(float(part.scores["auc"][0]), nan=np.inf))
    return {
        "accuracy": lambda: classfigures.accuracy(parts),
        "curve": lambda: classfigures.curve(one),
        "confusion": lambda: classfigures.confusion(parts),
        "rates": lambda: ratefigures.rates(parts),
        "seeds": lambda: classfigures.seeds(parts),
        "losses": lambda: ratefigures.losses(parts),
        "looks": lambda: lookfigures.looks(one),
        "occlusion": lambda: lookfigures.occlusion(one),
        "filters": lambda: lookfigures.filters(one),
    }


def _rows(part: str, read: Part, named: bool) -> list[dict[str, Any]]:
    """List scores as the table shows them."""
    rows = []
    for row in read.scores:
        run, classifier = str(row["run"]), str(row["classifier"])
        what = classfigures.part_name(part) if named else classfigures.run_name(run)
        rows.append(
            {
                "what": what,
                "classifier": classfigures.CLASSIFIERS[classifier],
                "parameters": int(row["parameters"]),
                "curve": _diagnosis(read, run, classifier),
                **{key: float(row[key]) for key in ("accuracy", "accuracy_low", "accuracy_high", "balanced", "auc")},
                **{key: float(row[key]) for key in ("p", "ece", "ece_uncalibrated", "temperature")},
            }
        )
    return rows


def _diagnosis(read: Part, run: str, classifier: str) -> str:
    """Say in a word what the loss curve shows; nothing of what was not trained step by step."""
    table = read.histories
    if not len(table):
        return "–"
    rows = table[(table["run"] == run) & (table["classifier"] == classifier)]
    if not len(rows):
        return "–"
    columns = ("step", "learning_rate", "train_loss", "validation_loss")
    history = History({name: np.asarray(rows[name], float) for name in columns})
    return diagnosis(history).partition(":")[0].partition(".")[0]


def _class_rows(part: str, read: Part) -> list[dict[str, Any]]:
    """List precision and recall of every class in the main run, of the first network."""
    predictions, _ = read.predictions[MAIN, network_of(read)]
    precision, recall = precision_recall(predictions)
    counts = np.bincount(predictions.labels, minlength=predictions.classes)
    return [
        {
            "what": classfigures.part_name(part),
            "class": classfigures.class_name(name),
            "precision": float(precision[number]),
            "recall": float(recall[number]),
            "count": int(counts[number]),
        }
        for number, name in enumerate(read.classes)
    ]
