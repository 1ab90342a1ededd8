"""Draw how far models can be trusted: calibration, where they err, other cosmologies, skewed trainings, cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import QTable
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from supercosm.strokes import (
    COLOURS,
    STYLE,
    band,
    is_few_steps,
    is_model,
    is_truth,
    label,
    legend_below,
    mark_nyquist,
    stroke,
    ticks_inside,
)

NATURE = {"color": "black", "linestyle": "--"}
LEVELS = (50, 68, 90)
PARAMETERS = {
    "sigma8": r"$\sigma_8$",
    "Omega_m": r"$\Omega_m$",
    "Omega_b": r"$\Omega_b$",
    "n_s": r"$n_s$",
    "h": "$h$",
}
STEEP = 3.0  # rank histograms that reach higher are drawn on a logarithmic axis


def ranks(cells: QTable, order: Sequence[str]) -> Figure:
    """Draw the rank of the truth among the samples, in units of a flat histogram, for each size of cells."""
    sizes = np.unique(cells["side"].value)
    figure = Figure(figsize=(2.9 * len(sizes) + 0.6, 3.4), **STYLE)
    axes = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for ax, size in zip(axes, sizes, strict=True):
        for row in cells[cells["side"].value == size]:
            count = round(float(row["samples"])) + 1
            found = np.array([float(row[f"rank_{rank}"]) for rank in range(count)])
            line = stroke(row["entry"], order) if row["source"] == "model" else NATURE
            name = label(row["entry"]) if row["source"] == "model" else "true runs, other small scales"
            if row["source"] == "nature" and row["entry"] != cells["entry"][0]:
                continue  # the same runs beside every model
            place = np.append(np.arange(count) / count, 1.0)
            ax.stairs(count * found / found.sum(), place, label=name, **line)
        ax.axhline(1, color="0.6", linewidth=0.8)
        ax.set_title(f"cells of {size:.3g} Mpc/$h$", fontsize=9)
        ax.set_xlabel("rank of the truth")
        ax.set_xlim(0, 1)
    if axes[0].get_ylim()[1] > STEEP:
        axes[0].set_yscale("log")
    axes[0].set_ylabel("share / flat")
    return _legend(figure, axes)


def spread_and_coverage(cells: QTable, order: Sequence[str]) -> Figure:
    """Draw spread in units of the error, and how much less often than due the truth lies inside of intervals."""
    figure = Figure(figsize=(7.5, 3.6), **STYLE)
    left, right = figure.subplots(1, 2)
    for entry, source, rows in _ensembles(cells):
        line = stroke(entry, order) if source == "model" else NATURE
        name = label(entry) if source == "model" else "true runs, other small scales"
        left.errorbar(
            rows["side"].value, rows["ratio"], rows["ratio_std"], label=name, marker="o", markersize=4, **line
        )
        fine = rows[np.argmin(rows["side"].value)]
        found = [float(fine[f"coverage_{level}"]) for level in LEVELS]
        expected = [float(fine[f"expected_{level}"]) for level in LEVELS]
        right.plot(expected, found, marker="o", markersize=4, label=name, **line)
    left.axhline(1, color="0.6", linewidth=0.8)
    left.set_xscale("log")
    left.set_ylim(bottom=0)
    left.set_xlabel("side of the cells [Mpc/$h$]")
    left.set_ylabel("spread / error")
    right.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
    right.set_xlabel("expected share inside (50, 68, 90 % intervals)")
    right.set_ylabel(f"share found, cells of {np.min(cells['side'].value):.3g} Mpc/$h$")
    right.set_xlim(0, 1)
    right.set_ylim(0, 1)
    return _legend(figure, [left, right])


def _ensembles(cells: QTable) -> list[tuple[str, str, QTable]]:
    """List models, then nature once: the same true runs stand beside every model."""
    found = []
    for source in ("model", "nature"):
        part = cells[cells["source"] == source]
        entries = list(dict.fromkeys(part["entry"]))
        found += [(e, source, part[part["entry"] == e]) for e in (entries if source == "model" else entries[:1])]
    return found


def diversity(spectra: QTable, order: Sequence[str], nyquist: float) -> Figure:
    """Draw how samples agree with each other and the truth, beside true runs with other small scales; CRPS below."""
    figure = Figure(figsize=(6, 5.2), **STYLE)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    for entry in dict.fromkeys(spectra["entry"]):
        rows = spectra[spectra["entry"] == entry]
        k, line = rows["k"].value, stroke(entry, order)
        top.loglog(k, 1 - rows["r"], label=f"{label(entry)}: sample and truth", **line)
        top.loglog(
            k, np.maximum(1 - rows["twin"], 1e-7), label=f"{label(entry)}: two samples", **(line | {"linestyle": ":"})
        )
        bottom.semilogx(k, rows["crps"], **line)
    if np.isfinite(rows["physical"]).any():
        top.loglog(k, 1 - rows["physical"], label="true runs, other small scales", **NATURE)
    top.set_ylabel(r"$1-r(k)$ of the density")
    top.legend(fontsize=8, frameon=False)
    bottom.set_ylabel(r"CRPS of $\ln P$")
    bottom.set_ylim(bottom=0)
    bottom.set_xlabel(r"$k$ [$h$/Mpc]")
    mark_nyquist([top, bottom], nyquist)
    ticks_inside([top, bottom])
    return figure


def environments(table: QTable, order: Sequence[str]) -> Figure:
    """Draw, for each environment of the truth: its share found, the mass in it, bias and error of ln(1 + δ)."""
    panels = (
        ("recovered", "share of cells recovered"),
        ("mass", "mass / true mass"),
        ("bias", r"bias of $\ln(1+\delta+0.1)$"),
        ("error", r"rms error of $\ln(1+\delta+0.1)$"),
    )
    figure = Figure(figsize=(11, 3.6), **STYLE)
    axes = figure.subplots(1, 4)
    entries = list(dict.fromkeys(table["entry"]))
    for ax, (name, title) in zip(axes, panels, strict=True):
        for number, entry in enumerate(entries):
            rows = table[table["entry"] == entry]
            shift = (number - (len(entries) - 1) / 2) * 0.8 / len(entries)
            _points(ax, np.arange(len(rows)) + shift, rows, name, stroke(entry, order), label(entry))
        ax.set_xticks(range(len(rows)), rows["environment"], fontsize=8)
        ax.set_ylabel(title)
    axes[1].axhline(1, color="black", linewidth=0.8)
    axes[2].axhline(0, color="black", linewidth=0.8)
    return _legend(figure, axes)


def _points(ax: Axes, x: np.ndarray, rows: QTable, name: str, line: dict, text: str) -> None:
    fill = line["color"] if line["linestyle"] == "-" else "none"
    ax.errorbar(
        x, rows[name], rows[f"{name}_std"], fmt="o", markersize=4, color=line["color"], markerfacecolor=fill, label=text
    )  # fmt: skip


def halo_masses(table: QTable, order: Sequence[str]) -> Figure:
    """Draw errors of position and motion, and the haloes kept, by the mass of the true halo that a particle is in."""
    panels = (
        ("displacement", "rms position error\n[Mpc/$h$, per axis]"),
        ("velocity", "rms velocity error\n[km/s, per axis]"),
        ("flow", "rms error of a halo's velocity\n[km/s, per axis]"),
        ("kept", "share of particles in some halo"),
    )
    figure = Figure(figsize=(11, 3.6), **STYLE)
    axes = figure.subplots(1, 4)
    masses = table["mass_from"].value
    outside = masses[masses > 0].min() / 3  # where particles in no halo are drawn
    for ax, (name, title) in zip(axes, panels, strict=True):
        for entry in dict.fromkeys(table["entry"]):
            rows = table[table["entry"] == entry]
            x, line = np.where(rows["mass_from"].value > 0, rows["mass_from"].value, outside), stroke(entry, order)
            y, scatter = (np.asarray(getattr(rows[n], "value", rows[n])) for n in (name, f"{name}_std"))
            ax.plot(x, y, marker="o", markersize=3, label=label(entry), **line)
            band(ax, x, y - scatter, y + scatter, line)
        ax.set_xscale("log")
        ax.set_ylim(bottom=0)
        ax.set_xlabel(r"true halo mass from [$M_\odot/h$]" + "\n(left: no halo)", fontsize=8)
        ax.set_ylabel(title, fontsize=9)
    return _legend(figure, axes)


def drift(table: QTable, order: Sequence[str]) -> Figure:
    """Draw the parameter that each output looks like against the true one, and below how far off its amplitude is."""
    parameters = list(dict.fromkeys(table["parameter"]))
    figure = Figure(figsize=(3.6 * len(parameters) + 0.4, 5.4), **STYLE)
    axes = figure.subplots(2, len(parameters), squeeze=False, sharex="col", height_ratios=[2, 1])
    for (top, bottom), parameter in zip(axes.T, parameters, strict=True):
        rows, name = table[table["parameter"] == parameter], PARAMETERS[parameter]
        for entry in dict.fromkeys(rows["entry"]):
            part = rows[rows["entry"] == entry]
            part, line = part[np.argsort(part["true"])], stroke(entry, order) | {"marker": "o", "markersize": 4}
            text = label(entry) + (f": slope {part['slope'][0]:.2f}" if np.isfinite(part["slope"][0]) else "")
            top.plot(part["true"], part["inferred"], label=text, **line)
            bottom.plot(part["true"], part["T_error"], **line)
        ends = np.array([rows["true"].min(), rows["true"].max()])
        top.plot(ends, ends, color="black", linewidth=0.8)
        if not np.isfinite(rows["inferred"]).any():
            text = f"true runs differ by {100 * rows['response'].max():.0f} % in P:\ntoo little to tell {name}"
            top.text(0.5, 0.9, text, transform=top.transAxes, ha="center", va="top", fontsize=8)
        top.set_ylabel(f"{name} that the output looks like")
        bottom.set_ylim(bottom=0)
        bottom.set_ylabel(r"mean $|T-1|$, $k \leq 2k_\mathrm{Ny}$")
        bottom.set_xlabel(f"true {name}")
        top.legend(fontsize=8, frameon=False, loc="lower right")
    ticks_inside(axes.flat)
    return figure


def skew(table: QTable) -> Figure:
    """Draw bias and error by environment of models trained on crops that abound in one of them."""
    figure = Figure(figsize=(7.5, 3.6), **STYLE)
    axes = figure.subplots(1, 2)
    trainings = list(dict.fromkeys(table["entry"]))
    panels = (("bias", r"bias of $\ln(1+\delta+0.1)$"), ("error", r"rms error of $\ln(1+\delta+0.1)$"))
    for ax, (name, title) in zip(axes, panels, strict=True):
        for number, training in enumerate(trainings):
            rows = table[table["entry"] == training]
            colour = "black" if number == 0 else COLOURS[number - 1]
            x = np.arange(len(rows)) + (number - (len(trainings) - 1) / 2) * 0.15
            text = "even training" if number == 0 else f"training rich in {training}s"
            _points(ax, x, rows, name, {"color": colour, "linestyle": "-"}, text)
        ax.set_xticks(range(len(rows)), rows["environment"])
        ax.set_ylabel(title)
    axes[0].axhline(0, color="0.6", linewidth=0.8)
    return _legend(figure, axes)


def cost(table: QTable, order: Sequence[str]) -> Figure:
    """Draw accuracy against the cost of one box: amplitude to the left, place to the right."""
    figure = Figure(figsize=(8.5, 4.2), **STYLE)
    axes = figure.subplots(1, 2)
    panels = (
        ("density_T_error_double", r"mean $|T-1|$, $k \leq 2k_\mathrm{Ny}$"),
        ("density_r_double", r"$1-r$ at $2k_\mathrm{Ny}$"),
    )
    for ax, (name, title) in zip(axes, panels, strict=True):
        steps = []
        for row in table:
            if is_truth(row["entry"]):
                ax.axvline(row["box"].value, color="black", linewidth=1.2, label=label(row["entry"]))
                continue
            y = 1 - row[name] if name == "density_r_double" else row[name]
            line = stroke(row["entry"], order)
            marker = "o" if is_model(row["entry"]) else "^" if is_few_steps(row["entry"]) else "s"
            text = "high run in few steps" if is_few_steps(row["entry"]) else label(row["entry"])
            known = ax.get_legend_handles_labels()[1]
            ax.errorbar(
                row["box"].value, y, row[f"{name}_std"], fmt=marker, color=line["color"],
                label=None if text in known else text,
            )  # fmt: skip
            if is_few_steps(row["entry"]):
                steps.append((row["box"].value, y))
                ax.annotate(
                    row["entry"].removeprefix("steps"), steps[-1], xytext=(4, 4), textcoords="offset points", fontsize=7
                )
        if steps:
            ax.plot(*np.array(sorted(steps)).T, color="#444444", linestyle=":", linewidth=1)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("cost of one box [busy seconds]")
        ax.set_ylabel(title)
    return _legend(figure, axes)


def _legend(figure: Figure, axes: Sequence[Axes]) -> Figure:
    legend_below(figure, axes[0])
    ticks_inside(axes)
    return figure
