"""Draw statistics of boxes: every entry beside the truth, with what it deviates below.

One description per figure says which columns of a combined table are drawn; the rest is the same for all. Lines are
means over the test boxes. Above, the band is the scatter of the truth between boxes; below, grey is what the truth is
uncertain by, and a coloured band the scatter of the deviation, each box compared with its own truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import QTable
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from supercosm.strokes import STYLE, TRUTH, band, is_truth, label, legend_below, stroke, ticks_inside

MOST_PANELS = 4
FEW = 4  # points that a line alone would not show
PREDICTION = "#8C510A"  # brown, which no entry has
DASHES = ((1, 1), (4, 1, 1, 1))
LIMIT = 0.5  # deviation at which residual panels end, unless all is smaller


@dataclass(frozen=True)
class Panel:
    """One curve of every entry: the column drawn, its title, and which rows of the table it takes."""

    y: str
    title: str = ""
    rows: tuple[str, float | str] | None = None


@dataclass(frozen=True)
class Curve:
    """What one figure shows of a combined table.

    panels: side by side. scale: column of the truth that deviations are measured in, that of the panel by default;
    "peak": the largest value of the truth. weight: power of x that the curves are multiplied by, which they would else
    span too many decades for the eye. errors: columns of the truth's measurement error, as (lower, upper).
    others: columns of predictions, with their names.
    """

    table: str
    name: str
    x: str
    x_label: str
    y_label: str
    panels: tuple[Panel, ...]
    x_log: bool = True
    y_log: bool = True
    scale: str | None = None
    weight: int = 0
    errors: tuple[str, str] | None = None
    others: tuple[tuple[str, str], ...] = ()
    nyquist: bool = False


def split(table: QTable, column: str, y: str, title: str, most: int = MOST_PANELS) -> tuple[Panel, ...]:
    """Make a panel for each value of a column, up to `most`; {} in the title is the value."""
    values = list(dict.fromkeys(np.asarray(getattr(table[column], "value", table[column])).tolist()))[:most]
    shown = (value if isinstance(value, str) else f"{value:.3g}" for value in values)
    return tuple(Panel(y, title.format(text), (column, value)) for value, text in zip(values, shown, strict=True))


def statistic(table: QTable, curve: Curve, order: Sequence[str], nyquist: float) -> Figure:
    """Draw the panels of a statistic and, below each, the deviation of every entry from the truth.

    order: all entries of the run, which sets their colours. nyquist: the low run's, [h/Mpc].
    """
    count = len(curve.panels)
    figure = Figure(figsize=(max(6.0, 3.1 * count), 4.6), **STYLE)
    axes = figure.subplots(2, count, sharex="col", height_ratios=[2, 1], squeeze=False)
    for column, panel in enumerate(curve.panels):
        _draw(axes[:, column], table, curve, panel, order)
        if curve.nyquist:
            for ax in axes[:, column]:
                ax.axvline(nyquist, color="0.4", linestyle=":", linewidth=1)
        axes[0, column].set_title(panel.title, fontsize=9)
        axes[1, column].set_xlabel(curve.x_label)
    axes[0, 0].set_ylabel(curve.y_label)
    axes[1, 0].set_ylabel(_deviation_label(curve))
    legend_below(figure, axes[0, 0])
    ticks_inside(axes.flat)
    return figure


def _deviation_label(curve: Curve) -> str:
    if curve.scale is None:
        return "relative\ndeviation"
    return "deviation\n/ largest" if curve.scale == "peak" else f"deviation\n/ {curve.scale}"


def _draw(axes: Sequence[Axes], table: QTable, curve: Curve, panel: Panel, order: Sequence[str]) -> None:
    top, bottom = axes
    rows = table if panel.rows is None else table[_plain(table[panel.rows[0]]) == panel.rows[1]]
    found = [(entry, rows[rows["entry"] == entry]) for entry in dict.fromkeys(rows["entry"])]
    truth = next(part for entry, part in found if is_truth(entry))
    true, scale = _plain(truth[panel.y]), _scale(truth, curve, panel)
    largest = 0.0
    for entry, part in found:
        x, y = _plain(part[curve.x]), _plain(part[panel.y])
        line = stroke(entry, order) | {"linewidth": 2.0 if is_truth(entry) else 1.4}
        marker = "o" if len(x) < FEW else None
        weight = x**curve.weight
        top.plot(x, weight * y, label=label(entry), marker=marker, **line, zorder=1 if is_truth(entry) else 2)
        if is_truth(entry):
            scatter = _plain(part[f"{panel.y}_std"])
            band(top, x, weight * (y - scatter), weight * (y + scatter), line)
            continue
        deviation, paired = (y - true) / scale, _plain(part[f"{panel.y}_paired"]) / scale
        bottom.plot(x, deviation, marker=marker, **line)
        band(bottom, x, deviation - paired, deviation + paired, line)
        if np.isfinite(deviation).any():
            largest = max(largest, float(np.nanquantile(np.abs(deviation), 0.95, method="lower")))
    _errors(top, bottom, truth, curve, panel, scale)
    for (column, name), dashes in zip(curve.others, DASHES, strict=False):
        top.plot(
            _plain(truth[curve.x]), _plain(truth[column]), color=PREDICTION, linewidth=1, dashes=dashes, label=name
        )
    bottom.axhline(0, color="black", linewidth=0.8)
    limit = 1.15 * min(largest, LIMIT) or 1.0
    bottom.set_ylim(-limit, limit)
    _scales(top, curve, true)


def _scale(truth: QTable, curve: Curve, panel: Panel) -> np.ndarray:
    true = _plain(truth[panel.y])
    if curve.scale is None:
        return np.where(true == 0, np.nan, np.abs(true))
    if curve.scale == "peak":
        return np.full(len(true), np.nanmax(np.abs(true)) or np.nan)
    return np.abs(_plain(truth[curve.scale]))


def _errors(top: Axes, bottom: Axes, truth: QTable, curve: Curve, panel: Panel, scale: np.ndarray) -> None:
    """Show what the truth itself is uncertain by: its measurement error where there is one, else its scatter."""
    x, y = _plain(truth[curve.x]), _plain(truth[panel.y])
    if curve.errors is None:
        scatter = _plain(truth[f"{panel.y}_std"])
        bottom.fill_between(x, -scatter / scale, scatter / scale, color="0.9", linewidth=0, zorder=0)
        return
    low, high = (_plain(truth[name]) for name in curve.errors)
    if curve.errors[0] == curve.errors[1]:  # one column, to both sides
        low, high = y - low, y + high
    boxes = np.sqrt(_plain(truth["boxes"]))  # the errors are those of one box, the curve is their mean
    low, high = y - (y - low) / boxes, y + (high - y) / boxes
    top.errorbar(x, y, (np.maximum(y - low, 0), np.maximum(high - y, 0)), fmt="none", ecolor="black", elinewidth=0.8)
    bottom.fill_between(x, (low - y) / scale, (high - y) / scale, color="0.9", linewidth=0, zorder=0)


def _scales(top: Axes, curve: Curve, true: np.ndarray) -> None:
    if curve.x_log:
        top.set_xscale("log")
    positive = true[np.isfinite(true) & (true > 0)]
    if curve.y_log and len(positive):
        top.set_yscale("log")
        top.set_ylim(bottom=positive.min() / 3, top=3 * positive.max())


def _plain(column: QTable) -> np.ndarray:
    """Return a column's values without its unit."""
    return np.asarray(getattr(column, "value", column))


def shares(table: QTable, order: Sequence[str]) -> Figure:
    """Draw the shares of volume and mass in voids, sheets, filaments and knots."""
    figure = Figure(figsize=(6.5, 3.4), **STYLE)
    axes = figure.subplots(1, 2)
    entries = list(dict.fromkeys(table["entry"]))
    for ax, name in zip(axes, ("volume", "mass"), strict=True):
        for number, entry in enumerate(entries):
            rows = table[table["entry"] == entry]
            line = stroke(entry, order)
            x = np.arange(len(rows)) + (number - (len(entries) - 1) / 2) * 0.8 / len(entries)
            marker = "D" if entry == TRUTH else "o"
            ax.errorbar(
                x, rows[name], rows[f"{name}_std"], fmt=marker, markersize=4, color=line["color"], label=label(entry),
                markerfacecolor="none" if line["linestyle"] != "-" else line["color"],
            )  # fmt: skip
        ax.set_xticks(range(len(rows)), rows["environment"])
        ax.set_ylabel(f"share of the {name}")
        ax.set_ylim(bottom=0)
    legend_below(figure, axes[0])
    ticks_inside(axes)
    return figure
