"""Figures of what classifiers decide: accuracy, learning curves, confusion, scatter of boxes; and how all is named."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from supercosm.classification.predictions import Predictions
from supercosm.classification.results import Part
from supercosm.classification.study import MAIN
from supercosm.classification.verdict import balanced_accuracy, by_seed, interval
from supercosm.classification.verdict import confusion as counts_of
from supercosm.strokes import COLOURS, STYLE, label, legend_below, stroke

CLASSIFIERS = {
    "residual": "residual network",
    "lectures": "lectures' CNN",
    "power": "P(k) of δ",
    "log_power": "P(k) of ln(1+δ+0.1)",
    "logistic": "all summaries, logistic",
    "boosted": "all summaries, boosted",
    "eigenvalues": "own tidal eigenvalues",
    "tidal": "own tidal classes",
}
RUNS = {
    MAIN: "everything",
    "randomised": "phases randomised",
    "matched": "equal P(k)",
    "skewed": "skewed training set",
    "skewed-balanced": "skewed, weighed",
    "shuffled": "labels shuffled",
}
OTHERS = {"other-seeds": "true runs of other seeds"}
PARAMETERS = {"Omega_m": "Ωm", "Omega_b": "Ωb", "sigma8": "σ8", "n_s": "n_s", "h": "h"}
CHANGE = rf"({'|'.join(PARAMETERS)})_([-+.\de]+)"
EXAMPLES = {"realism": "patches", "cosmology": "slabs", "environment": "patches"}
PALETTE, MARKERS, DASHES = (*COLOURS, "black", "#777777"), "osD^vPX*", ("-", "--", "-.", ":")
MOST = 6  # confusion matrices of one part
WIDE, NARROW = 16, 11  # letters of a class's name on one line, beside and below a confusion matrix


def run_name(run: str) -> str:
    """Name a run for a figure."""
    whole, _, count = run.rpartition("boxes")
    if count.isdigit() and whole in ("", "matched-"):
        boxes = f"{count} training box" + ("es" if int(count) > 1 else "")
        return f"{RUNS['matched']}, {boxes}" if whole else boxes
    return RUNS.get(run, run)


def class_name(name: str) -> str:
    """Name a class, which is a universe, an entry or an environment."""
    if re.fullmatch(f"{CHANGE}(_{CHANGE})*", name):
        return ", ".join(f"{PARAMETERS[key]} = {value}" for key, value in re.findall(CHANGE, name))
    return OTHERS.get(name, label(name))


def part_name(name: str) -> str:
    """Name a part of a task: an entry, true runs of other seeds, or all universes."""
    return OTHERS.get(name, label(name))


@dataclass(frozen=True)
class Row:
    """One run of one part: its name and its line (colour, linestyle, marker) in a figure."""

    name: str
    part: Part
    run: str
    line: dict[str, Any]

    @property
    def classifiers(self) -> list[str]:
        """Classifiers of the run, the first network first."""
        return [c for run, c in zip(self.part.scores["run"], self.part.scores["classifier"], strict=True)
                if run == self.run]  # fmt: skip

    def predictions(self, classifier: str) -> Predictions:
        """Return the calibrated predictions of one classifier."""
        return self.part.predictions[self.run, classifier][0]

    def score(self, classifier: str, column: str) -> float:
        """Return one number of one classifier from the table of scores."""
        scores = self.part.scores
        return float(scores[column][(scores["run"] == self.run) & (scores["classifier"] == classifier)][0])


def rows_of(parts: Mapping[str, Part]) -> list[Row]:
    """List the main runs of several parts, or all runs of one."""
    part, *more = parts.values()
    runs = list(dict.fromkeys(map(str, part.scores["run"])))
    if not more and len(runs) > 1:
        return [Row(run_name(run), part, run, line_of(index)) for index, run in enumerate(runs)]
    entries = [name for name in parts if name not in OTHERS]
    found = []
    for number, (name, part) in enumerate(parts.items()):
        line = stroke(name, entries) if name in entries else {"color": "black", "linestyle": ":"}
        found.append(Row(part_name(name), part, MAIN, line | {"marker": MARKERS[number % len(MARKERS)]}))
    return found


def line_of(index: int) -> dict[str, Any]:
    """Return colour, linestyle and marker of the n-th of many."""
    dash = DASHES[index // len(PALETTE) % len(DASHES)]
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": dash, "marker": MARKERS[index % len(MARKERS)]}


def line_of_classifier(classifier: str) -> dict[str, Any]:
    """Return colour, linestyle and marker of a classifier, the same in every figure."""
    return line_of(list(CLASSIFIERS).index(classifier))


def accuracy(parts: Mapping[str, Part]) -> Figure:
    """Draw how often the classifiers of every part, or of every run of one part, are right, with 68 % intervals."""
    rows = rows_of(parts)
    used = [c for c in CLASSIFIERS if any(c in row.classifiers for row in rows)]
    height = len(rows) * (0.18 + 0.07 * len(used)) + 0.26 * math.ceil(len(used) / 3) + 0.9
    figure = Figure(figsize=(7.5, height), **STYLE)
    ax = figure.subplots()
    for shift, classifier in zip(_shifts(len(used)), used, strict=True):
        found = [(n + shift, *_rate(row, classifier)) for n, row in enumerate(rows) if classifier in row.classifiers]
        y, value, low, high = np.array(found).T
        line = line_of_classifier(classifier) | {"linestyle": "none", "markersize": 4.5, "elinewidth": 1.2}
        ax.errorbar(value, y, xerr=_bars(value, low, high), label=CLASSIFIERS[classifier], **line)
    for number in range(0, len(rows), 2):
        ax.axhspan(number - 0.5, number + 0.5, color="0.95", zorder=0, linewidth=0)
    ax.axvline(1 / len(rows[0].part.classes), color="0.4", linestyle="--", linewidth=1, label="chance")
    ax.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(right=min(ax.get_xlim()[1], 1.03))
    kind = kind_of(rows[0].part)
    what = f"share of test {EXAMPLES[kind]} decided rightly"
    what += ", mean over classes" if kind == "environment" else ""
    ax.set_xlabel(f"{what} (bars: 68 %)")
    ticks_everywhere(ax)
    legend_below(figure, ax)
    return figure


def _rate(row: Row, classifier: str) -> tuple[float, float, float]:
    """Return accuracy and interval; balanced accuracy where classes are not equally frequent in the test."""
    if kind_of(row.part) != "environment":
        accuracy, low, high = (row.score(classifier, f"accuracy{end}") for end in ("", "_low", "_high"))
        return accuracy, low, high
    return row.score(classifier, "balanced"), *interval(row.predictions(classifier), balanced_accuracy)


def kind_of(part: Part) -> str:
    """Return the kind of the task: realism, cosmology or environment."""
    return part.scores.meta["kind"]


def _shifts(count: int, width: float = 0.7) -> np.ndarray:
    """Return places beside each other around 0."""
    return (np.arange(count) - (count - 1) / 2) * width / count


def _bars(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return lengths of error bars, 0 where there is no interval or, by the chance of resampling, a negative one."""
    return np.maximum(np.nan_to_num([value - low, high - value]), 0)


def ticks_everywhere(ax: Axes) -> None:
    """Draw ticks on all sides, inward."""
    ax.tick_params(which="both", direction="in", top=True, right=True)


def curve(part: Part) -> Figure:
    """Draw the learning curve: accuracy against the number of training boxes; beside it, of fields of equal P(k)."""
    wholes = [whole for whole in (MAIN, "matched") if len(_boxes(part, whole)) > 1] or [MAIN]
    figure = Figure(figsize=(2 + 3.6 * len(wholes), 3.8), **STYLE)
    axes = figure.subplots(1, len(wholes), sharey=True, squeeze=False)[0]
    for ax, whole in zip(axes, wholes, strict=True):
        _draw_curve(ax, part, _boxes(part, whole))
        ax.axhline(1 / len(part.classes), color="0.4", linestyle="--", linewidth=1, label="chance")
        ax.set_title(run_name(whole), fontsize=9)
        ax.set_xlabel("training boxes of each class")
        ticks_everywhere(ax)
    axes[0].set_ylabel(f"share of test {EXAMPLES[kind_of(part)]}\ndecided rightly (bars: 68 %)")
    legend_below(figure, axes[0])
    return figure


def _boxes(part: Part, whole: str) -> dict[str, int]:
    """Return the numbers of training boxes of a run and of its runs on fewer, ascending."""
    name = "boxes" if whole == MAIN else f"{whole}-boxes"
    runs = {run: run.removeprefix(name) for run in dict.fromkeys(map(str, part.scores["run"]))}
    found = {run: int(count) for run, count in runs.items() if count != run and count.isdigit()}
    if whole in runs:
        found[whole] = len(part.scores.meta["seeds"]["training"])
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _draw_curve(ax: Axes, part: Part, boxes: Mapping[str, int]) -> None:
    rows = [Row("", part, run, {}) for run in boxes]
    used = [c for c in CLASSIFIERS if c in rows[-1].classifiers]
    for shift, classifier in zip(_shifts(len(used), 0.2), used, strict=True):
        mine = [row for row in rows if classifier in row.classifiers]
        x = np.array([boxes[row.run] * 2**shift for row in mine])  # side by side
        value, low, high = np.array([_rate(row, classifier) for row in mine]).T
        line = line_of_classifier(classifier) | {"markersize": 4, "linewidth": 1.2}
        ax.errorbar(x, value, _bars(value, low, high), label=CLASSIFIERS[classifier], **line)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sorted(set(boxes.values())), [str(count) for count in sorted(set(boxes.values()))])
    ax.minorticks_off()


def confusion(parts: Mapping[str, Part]) -> Figure:
    """Show what the first network of every part, or every classifier of one part, decides of each true class [%]."""
    rows = rows_of(parts)
    if len(parts) == 1:
        main = next(row for row in rows if row.run == MAIN)
        panels = [(CLASSIFIERS[c], main.part, main.predictions(c)) for c in main.classifiers[:MOST]]
    else:
        panels = [(row.name, row.part, row.predictions(row.classifiers[0])) for row in rows]
    columns = min(len(panels), 4 if len(panels) != 6 else 3)
    lines = math.ceil(len(panels) / columns)
    size = 1.75 + 0.12 * len(panels[0][1].classes)
    figure = Figure(figsize=(size * columns + 0.8, size * lines), **STYLE)
    axes = figure.subplots(lines, columns, squeeze=False)
    for ax, (name, part, predictions) in zip(axes.flat, panels, strict=False):
        image = _matrix(ax, predictions, [class_name(c) for c in part.classes])
        ax.set_title(textwrap.fill(name, 24), fontsize=8)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("true", fontsize=8)
    for ax in axes.flat[max(0, len(panels) - columns) : len(panels)]:
        ax.set_xlabel("decided", fontsize=8)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label("share of the true class [%]", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def _matrix(ax: Axes, predictions: Predictions, classes: list[str]) -> Any:
    table = counts_of(predictions)
    with np.errstate(invalid="ignore"):
        share = 100 * table / table.sum(axis=1, keepdims=True)
    image = ax.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(share):
        text = "–" if np.isnan(value) else f"{value:.1f}" if len(classes) < 4 else f"{value:.0f}"
        colour = "white" if value > 65 else "black"
        ax.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
    below, beside = ([textwrap.fill(name, width) for name in classes] for width in (NARROW, WIDE))
    ax.set_xticks(range(len(classes)), below, fontsize=6.5, rotation=45 if len(classes) > 2 else 0)
    ax.set_yticks(range(len(classes)), beside, fontsize=6.5)
    return image


def seeds(parts: Mapping[str, Part]) -> Figure:
    """Draw the accuracy on every test box, with binomial errors, of the first network of every part or run."""
    rows = rows_of(parts)
    found = [by_seed(row.predictions(row.classifiers[0])) for row in rows]
    boxes = sorted({box for accuracies in found for box in accuracies})
    figure = Figure(figsize=(max(5.5, 1.8 + 1.1 * len(boxes)), 4.2), **STYLE)
    ax = figure.subplots()
    for shift, row, accuracies in zip(_shifts(len(rows)), rows, found, strict=True):
        x = [boxes.index(box) + shift for box in accuracies]
        value, error = np.array(list(accuracies.values())).T
        line = row.line | {"linestyle": "none", "markersize": 4, "elinewidth": 1.2}
        ax.errorbar(x, value, error, label=row.name, **line)
    for number in range(0, len(boxes), 2):
        ax.axvspan(number - 0.5, number + 0.5, color="0.95", zorder=0, linewidth=0)
    guess, name = _guess(rows[0].part)
    ax.axhline(guess, color="0.4", linestyle="--", linewidth=1, label=name)
    ax.set_xticks(range(len(boxes)), [str(box) for box in boxes])
    ax.set_xlim(-0.5, len(boxes) - 0.5)
    ax.set_xlabel("seed of the test box")
    ax.set_ylabel(f"share of test {EXAMPLES[kind_of(rows[0].part)]} decided rightly\n(bars: binomial error)")
    ticks_everywhere(ax)
    legend_below(figure, ax)
    return figure


def _guess(part: Part) -> tuple[float, str]:
    """Return the accuracy of one who knows nothing but how frequent the classes are, and its name."""
    labels = next(iter(part.predictions.values()))[0].labels
    share = np.bincount(labels, minlength=len(part.classes)).max() / len(labels)
    return share, "chance" if np.isclose(share, 1 / len(part.classes)) else "always the commonest class"
