"""Draw the families side by side: a radar chart, quality against the cost of a sample, and calibration.

`table` is the one of families, `order` the entries of the run as they stand in the table of spectra, by which each has
one colour in all figures. The reference is marked in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.table import QTable, Row
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from supercosm.calibrate import MERGED
from supercosm.strokes import STYLE, label, legend_below, stroke

MOST = 8  # polygons that can be told apart
HALF_WAY = {"quality": 0.05, "calibration": 0.1, "diversity": 0.25}  # errors that stand half way out
NATURE = {"color": "black", "linestyle": "--"}
NATURE_NAME = "true runs, other small scales"
MARKERS = dict(zip(MERGED, ("o", "s", "^"), strict=True))
LEAST = 1e-4  # of what is drawn on a logarithmic axis


def contenders(table: QTable) -> list[Row]:
    """List the rows of the families, the reference first."""
    return [row for row in table if row["kind"] in ("reference", "contender")]


def name_of(row: Row) -> str:
    """Name an entry; the reference says so."""
    return label(str(row["entry"])) + (" (reference)" if row["kind"] == "reference" else "")


def marks(rows: Sequence[Row]) -> list[dict[str, float]]:
    """Return the marks of every row on the axes of the radar chart, 0 to 1; NaN where nothing is known.

    An error e is marked 1/(1 + e/h), half-way out at e = h (`HALF_WAY`). quality: e is the mean of mean |T − 1|,
    max |P/P_HR − 1|, and the errors of bispectrum, PDF and mass function. calibration: mean |spread/error − 1|.
    diversity: that of 1 − r of two samples against 1 − r with the truth. realism: twice the share of patches that the
    best classifier gets wrong. speed, training: least cost of the rows over the own one.
    """
    known = ("T_error", "P_error", "bispectrum", "distribution", "haloes")
    known = [name for name in known if all(np.isfinite(row[name]) for row in rows)]  # the same for all
    errors = {
        "quality": [float(np.mean([row[name] for name in known])) if known else np.nan for row in rows],
        "calibration": [float(row["spread_error"]) for row in rows],
        "diversity": [float(row["diversity_error"]) for row in rows],
    }
    found = {name: [1 / (1 + error / HALF_WAY[name]) for error in values] for name, values in errors.items()}
    found["realism"] = [2 * (1 - float(np.maximum(row["accuracy"], 0.5))) for row in rows]
    for name, column in (("speed", "sampling"), ("cheap training", "training")):
        paid = [float(row[column].value) for row in rows]
        found[name] = [np.nanmin(paid) / own for own in paid] if np.isfinite(paid).any() else paid
    order = ("quality", "calibration", "diversity", "realism", "speed", "cheap training")
    return [{name: found[name][number] for name in order} for number in range(len(rows))]


def radar(table: QTable, order: Sequence[str]) -> Figure:
    """Draw one polygon for each family: outward is better on every axis; axes nobody has a number on are left out."""
    rows = contenders(table)[:MOST]
    found = marks(rows)
    names = [name for name in found[0] if any(np.isfinite(own[name]) for own in found)] or list(found[0])
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    figure = Figure(figsize=(5.6, 5.4), **STYLE)
    ax = figure.add_subplot(projection="polar")
    ax.set_theta_zero_location("N")
    ax.set_theta_direction(-1)
    for row, own in zip(rows, found, strict=True):
        values = np.array([own[name] for name in names])
        line = stroke(str(row["entry"]), order) | {"linewidth": 2.2 if row["kind"] == "reference" else 1.3}
        closed = np.append(angles, angles[0]), np.append(values, values[0])
        ax.plot(*closed, marker="o", markersize=3.5, label=name_of(row), **line)
        if row["kind"] == "reference":
            ax.fill(*closed, color=line["color"], alpha=0.12, linewidth=0)
    ax.set_ylim(0, 1)
    ax.set_yticks([0.25, 0.5, 0.75, 1.0], ["", "½", "", "1"], fontsize=8, color="0.4")
    ax.set_rlabel_position(180 / len(names))
    ax.set_xticks(angles, names, fontsize=9)
    for text, angle in zip(ax.get_xticklabels(), angles, strict=True):  # away from the rim, to either side
        side = round(float(np.sin(angle)), 6)
        text.set_horizontalalignment("left" if side > 0 else "right" if side < 0 else "center")
    ax.grid(color="0.85", linewidth=0.8)
    legend_below(figure, ax)
    return figure


def cost(table: QTable, order: Sequence[str], curves: Mapping[str, QTable]) -> Figure:
    """Draw quality against the cost of one sample: a point for each family, and a curve over evaluations.

    curves: by entry, tables of `supercosm evaluations`.
    """
    figure = Figure(figsize=(8.6, 4.4), **STYLE)
    axes = figure.subplots(1, 2)
    panels = (
        ("P_error", "P_error", r"max $|P/P_\mathrm{HR}-1|$, $k \leq 2k_\mathrm{Ny}$"),
        ("crps_1", "crps", rf"CRPS of $\ln(1+\delta+0.1)$, cells of {table.meta['cell']:.2g} Mpc/$h$"),
    )
    for ax, (name, column, title) in zip(axes, panels, strict=True):
        for row in contenders(table):
            colour = stroke(str(row["entry"]), order)
            star = {"marker": "*", "markersize": 12} if row["kind"] == "reference" else {"marker": "o", "markersize": 6}
            ax.errorbar(
                row["sampling"].value, max(row[name], LEAST), _error(row, name), color=colour["color"],
                linestyle="none", markerfacecolor=colour["color"] if colour["linestyle"] == "-" else "none",
                label=name_of(row), **star,
            )  # fmt: skip
        for entry, curve in curves.items():
            _curve(ax, curve, column, stroke(entry, order))
        _nature(ax, table, name)
        ax.set_xscale("log")
        ax.set_yscale("log" if name == "P_error" else "linear")  # scores differ by a few per cent
        ax.set_xlim(*_span(table, curves))
        ax.set_xlabel("cost of one sample [busy seconds]")
        ax.set_ylabel(title)
        _decimal(ax)
    legend_below(figure, axes[1])
    return figure


def _span(table: QTable, curves: Mapping[str, QTable]) -> tuple[float, float]:
    """Return the costs between which the axis runs: a factor of two beyond all, so that equal costs look equal."""
    paid = np.concatenate([part["sampling"].value for part in (table, *curves.values())])
    paid = paid[np.isfinite(paid) & (paid > 0)]
    return (paid.min() / 2, 2 * paid.max()) if len(paid) else (0.1, 10.0)


def _error(row: Row, name: str) -> float:
    return float(np.nan_to_num(row[f"{name}_std"]))


def _curve(ax: Axes, curve: QTable, column: str, line: Mapping[str, Any]) -> None:
    """Join the numbers of evaluations of one family, each written at its point."""
    x, y = curve["sampling"].value, np.maximum(np.asarray(curve[column]), LEAST)
    ax.plot(x, y, marker=".", markersize=4, linewidth=1, color=line["color"], linestyle=line["linestyle"])
    for number, place in zip(curve["evaluations"], zip(x, y, strict=True), strict=True):
        ax.annotate(f"{number}", place, xytext=(3, 4), textcoords="offset points", fontsize=7, color=line["color"])


def _nature(ax: Axes, table: QTable, name: str) -> None:
    for row in table[table["kind"] == "nature"]:
        if np.isfinite(row[name]):
            ax.axhline(row[name], linewidth=1, label=NATURE_NAME, **NATURE)


def _decimal(ax: Axes) -> None:
    """Write plain numbers on logarithmic axes, with more numbers where they span little."""
    ax.tick_params(which="both", direction="in", top=True, right=True)
    for axis in (ax.xaxis, ax.yaxis):
        low, high = axis.get_view_interval()
        if axis.get_scale() == "log" and low > 0:  # an axis without any number may begin below
            decades = np.log10(high / low)
            subs = np.arange(1, 10, 0.5) if decades < 0.4 else (1, 1.5, 2, 3, 4, 5, 7) if decades < 0.8 else (1, 2, 5)
            axis.set_major_locator(LogLocator(subs=subs if decades < 2 else (1,)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
            axis.set_minor_formatter(NullFormatter())


def calibration(table: QTable, order: Sequence[str]) -> Figure:
    """Draw CRPS, spread over error and coverage of every family in three sizes of cells, nature's below them.

    Dotted lines are the reference's numbers in the finest cells.
    """
    rows = contenders(table) + [row for row in table if row["kind"] == "nature" and np.isfinite(row["ratio_1"])]
    first = rows[0] if rows[0]["kind"] == "reference" else None
    relative = first is not None
    panels = (
        (("crps_{}_of_reference", "CRPS / that of the reference") if relative else ("crps_{}", "CRPS"), None),
        (("ratio_{}", "spread / error"), 1),
        (("coverage_{}", "mean |found − expected share|\nin 50, 68, 90 % intervals"), 0),
    )
    figure = Figure(figsize=(9.2, 1.6 + 0.42 * len(rows)), **STYLE)
    axes = figure.subplots(1, 3, sharey=True)
    for ax, ((column, title), perfect) in zip(axes, panels, strict=True):
        for height, row in enumerate(rows):
            line = NATURE if row["kind"] == "nature" else stroke(str(row["entry"]), order)
            _sizes(ax, row, column, height, line)
        if first is not None and np.isfinite(first[column.format(1)]):
            ax.axvline(first[column.format(1)], color=stroke(str(first["entry"]), order)["color"], linestyle=":")
        if perfect is not None:
            ax.axvline(perfect, color="0.6", linewidth=0.8)
        ax.set_xlabel(title, fontsize=9)
        ax.tick_params(direction="in", top=True, right=True)
        ax.grid(axis="y", color="0.92")
    axes[0].set_yticks(
        range(len(rows)), [NATURE_NAME if r["kind"] == "nature" else name_of(r) for r in rows], fontsize=9
    )
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    for merged, marker in MARKERS.items():
        side = merged * table.meta["cell"]
        axes[1].plot([], [], marker, color="0.4", markersize=4.5, label=f"cells of {side:.2g} Mpc/$h$")
    legend_below(figure, axes[1])
    return figure


def _sizes(ax: Axes, row: Row, column: str, height: int, line: Mapping[str, Any]) -> None:
    """Mark the three sizes of cells one above the other."""
    for shift, (merged, marker) in zip((-0.2, 0, 0.2), MARKERS.items(), strict=True):
        name = column.format(merged)
        scatter = float(np.nan_to_num(row[f"{name}_std"])) if f"{name}_std" in row.colnames else 0.0
        fill = line["color"] if line["linestyle"] == "-" else "none"
        ax.errorbar(
            row[name], height + shift, xerr=scatter, fmt=marker, markersize=4.5, color=line["color"],
            markerfacecolor=fill,
        )  # fmt: skip
