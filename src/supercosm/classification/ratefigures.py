"""Figures of how sure classifiers are and how they learnt: ROC curves, calibration, losses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from supercosm.classification.classfigures import (
    CLASSIFIERS,
    Row,
    class_name,
    line_of,
    line_of_classifier,
    rows_of,
    ticks_everywhere,
)
from supercosm.classification.predictions import Predictions
from supercosm.classification.results import Part
from supercosm.classification.study import MAIN
from supercosm.classification.verdict import auc, calibration_error, reliability, roc_curve
from supercosm.strokes import STYLE

FEW = 20  # examples in a bin of probability below which its accuracy is not drawn
STEEP = 5.0  # losses that span more are drawn on a logarithmic axis
TITLES = "area under the curve", "calibration error (before scaling: dotted)"
RATES = np.linspace(0, 1, 1001)


class Drawn(NamedTuple):
    """One classifier as it is drawn: its predictions, and those before temperature scaling."""

    name: str
    line: dict[str, Any]
    made: Predictions
    plain: Predictions | None


def rates(parts: Mapping[str, Part]) -> Figure:
    """Draw ROC curves, and accuracy against probability after (solid) and before (dotted) temperature scaling.

    Of the first network of every part's main run, or of one part's classifiers. ROC curves of more than two classes are
    the mean over classes, each against the rest; of one part, the first network's of every class.
    """
    drawn = _drawn(parts)
    classes = next(iter(parts.values())).classes
    names = 0.4 + 0.16 * max(len(drawn), len(classes))  # height of the legends [inches]
    figure = Figure(figsize=(7.5, 4.1 + names), **STYLE)
    (left, right), below = figure.subplots(2, 2, height_ratios=[4.1, names])
    if len(parts) == 1 and len(classes) > 2:
        _roc_by_class(left, drawn[0].made, classes)
    else:
        for one in drawn:
            _roc(left, *mean_roc(one.made), f"{one.name}: {auc(one.made):.3f}", one.line)
    for one in drawn:
        _reliability(right, one)
    for ax, start in ((left, 0), (right, 1 / len(classes))):
        ax.plot([start, 1], [start, 1], color="0.6", linewidth=0.8, zorder=0)
        ticks_everywhere(ax)
    _name_rates(left, right, classes, len(parts) == 1)
    for ax, of, title in zip(below, (left, right), TITLES, strict=True):
        ax.set_axis_off()
        handles = of.get_legend_handles_labels()
        ax.legend(*handles, title=title, fontsize=7, title_fontsize=7.5, frameon=False, loc="upper center")
    return figure


def _drawn(parts: Mapping[str, Part]) -> list[Drawn]:
    rows = rows_of(parts)
    if len(parts) > 1:
        return [Drawn(row.name, row.line, *row.part.predictions[MAIN, row.classifiers[0]]) for row in rows]
    main = next(row for row in rows if row.run == MAIN)
    return [
        Drawn(CLASSIFIERS[c], line_of_classifier(c), *main.part.predictions[MAIN, c]) for c in main.classifiers
    ]  # fmt: skip


def mean_roc(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Return false and true positive rates of class 1 of two, or the mean over classes, each against the rest.

    Its area is `verdict.auc`.
    """
    if predictions.classes == 2:
        return roc_curve(predictions, 1)
    curves = [roc_curve(predictions, c) for c in np.unique(predictions.labels)]
    true = np.mean([np.interp(RATES, *curve) for curve in curves], axis=0)
    return np.append(0, RATES), np.append(0, true)


def _roc(ax: Axes, false: np.ndarray, true: np.ndarray, name: str, line: Mapping[str, Any]) -> None:
    shape = {"color": line["color"], "linestyle": line["linestyle"], "linewidth": 1.3}
    ax.plot(false, true, label=name, **shape)


def _roc_by_class(ax: Axes, predictions: Predictions, classes: list[str]) -> None:
    for number in np.unique(predictions.labels):
        false, true = roc_curve(predictions, number)
        area = np.sum(np.diff(false) * (true[1:] + true[:-1])) / 2
        _roc(ax, false, true, f"{class_name(classes[number])}: {area:.3f}", line_of(number))


def _reliability(ax: Axes, one: Drawn) -> None:
    name = f"{one.name}: {calibration_error(one.made):.3f}"
    line = one.line | {"markersize": 4, "linewidth": 1.3}
    if one.plain is not None:
        name += f" ({calibration_error(one.plain):.3f})"
        ax.plot(*_filled(one.plain), **line | {"linestyle": ":", "linewidth": 1, "marker": "none"})
    ax.plot(*_filled(one.made), label=name, **line | {"linestyle": "-"})


def _filled(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Return mean probability and accuracy of the bins that hold enough examples."""
    sure, right, count = reliability(predictions)
    return sure[count >= FEW], right[count >= FEW]


def _name_rates(left: Axes, right: Axes, classes: list[str], alone: bool) -> None:
    what = f"of “{class_name(classes[1])}”"
    if len(classes) > 2:
        what = "of each class against the rest" if alone else "of a class against the rest (mean)"
    left.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), box_aspect=1, xlabel="false positive rate")
    left.set_ylabel(f"true positive rate {what}", fontsize=9)
    least = min(1 / len(classes) - 0.02, right.get_ylim()[0])
    right.set(xlim=(1 / len(classes) - 0.02, 1.02), ylim=(max(0, least), 1.02), box_aspect=1)
    right.set_xlabel("probability of the decided class")
    right.set_ylabel(f"share decided rightly, bins of {FEW} or more", fontsize=9)


def losses(parts: Mapping[str, Part]) -> Figure:
    """Draw training (thin) and validation (thick) loss of all networks and runs; a ring marks the network kept."""
    series = list(_series(rows_of(parts)))
    figure = Figure(figsize=(7.5, max(3.6, 0.9 + 0.2 * len(series))), **STYLE)
    ax = figure.subplots()
    for name, line, step, training, validation in series:
        held_out = np.isfinite(validation)
        ax.plot(step, training, label=None if held_out.any() else name, **line | {"linewidth": 0.7, "marker": "."})
        if held_out.any():
            best = np.nanargmin(validation)
            ax.plot(step[held_out], validation[held_out], label=name, **line | {"linewidth": 1.8, "marker": "none"})
            ax.plot(step[best], validation[best], "o", markersize=7, markerfacecolor="none", color=line["color"])
    classes = len(next(iter(parts.values())).classes)
    ax.axhline(math.log(classes), color="0.4", linestyle="--", linewidth=1, label=f"guessing: ln {classes}")
    _name_losses(ax, [np.append(training, validation) for *_, training, validation in series])
    return figure


def _name_losses(ax: Axes, drawn: list[np.ndarray]) -> None:
    values = np.concatenate([*drawn, [np.nan]])
    values = values[np.isfinite(values)]
    if len(values) and 0 < STEEP * values.min() < values.max():
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        if values.max() < 10 * values.min():
            ax.yaxis.set_minor_formatter(lambda value, _: f"{value:.1g}")
            ax.tick_params(axis="y", which="minor", labelsize=7)
        else:
            ax.yaxis.set_minor_formatter(NullFormatter())
    ax.plot([], [], color="0.3", linewidth=0.7, marker=".", label="training")
    ax.plot([], [], color="0.3", linewidth=1.8, label="validation")
    ax.plot([], [], "o", color="0.3", markersize=7, markerfacecolor="none", label="lowest validation loss: kept")
    ax.set_xlabel("optimiser step")
    ax.set_ylabel("cross-entropy [nats]")
    ax.set_xlim(left=0)
    ticks_everywhere(ax)
    ax.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _series(rows: list[Row]) -> Iterator[tuple[str, dict[str, Any], np.ndarray, np.ndarray, np.ndarray]]:
    """Yield name, line, step, training and validation loss of every training."""
    trained = [(row, c) for row in rows for c in row.classifiers if len(_history(row, c))]
    several = len({classifier for _, classifier in trained}) > 1
    for number, (row, classifier) in enumerate(trained):
        history = _history(row, classifier)
        name = f"{row.name}, {CLASSIFIERS[classifier]}" if several else row.name
        columns = (np.asarray(history[c], float) for c in ("step", "train_loss", "validation_loss"))
        yield name, row.line if not several else line_of(number), *columns


def _history(row: Row, classifier: str) -> Any:
    table = row.part.histories
    if not len(table):
        return table
    return table[(table["run"] == row.run) & (table["classifier"] == classifier)]
