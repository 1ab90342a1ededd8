"""Draw the figures of the report: pure matplotlib, tables and arrays in, a Figure out.

Bands span the lowest and highest test seed; dotted lines mark the low run's Nyquist frequency and twice it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import QTable
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from supercosm.strokes import STYLE, band, is_few_steps, label, mark_nyquist, stroke, ticks_inside

UNITS = {"density": r"$(\mathrm{Mpc}/h)^3$", "displacement": r"$(\mathrm{Mpc}/h)^5$"}
WIDEST = 7  # panels side by side
FLOOR = 0.02  # density below which pixels look the same: an empty one has no logarithm


@dataclass(frozen=True)
class Panel:
    """One column of the density picture: 1 + δ of the slab (m, m) and of its zoom (m, m), first axis x."""

    title: str
    slab: np.ndarray
    zoom: np.ndarray


def density(panels: Sequence[Panel], box_size: float, zoom: tuple[float, float, float]) -> Figure:
    """Show slabs of all panels on the last one's colour scale, above their zooms (x, y, side) [Mpc/h]."""
    true = np.log10(np.maximum(panels[-1].slab, FLOOR))
    norm = Normalize(*np.percentile(true, (2, 99.8)))
    bands = math.ceil(len(panels) / WIDEST)  # pairs of rows, so that many models are still seen
    columns = math.ceil(len(panels) / bands)
    figure = Figure(figsize=(2.3 * columns + 0.8, 5.0 * bands), **STYLE)
    axes = figure.subplots(2 * bands, columns, squeeze=False)
    x, y, side = zoom
    for number, panel in enumerate(panels):
        pair, column = divmod(number, columns)
        above, below = axes[2 * pair, column], axes[2 * pair + 1, column]
        image = _image(above, panel.slab, (0, box_size, 0, box_size), norm)
        _image(below, panel.zoom, (x, x + side, y, y + side), norm)
        above.add_patch(Rectangle((x, y), side, side, fill=False, edgecolor="white", linewidth=0.8))
        above.set_title(panel.title, fontsize=10)
        below.set_xlabel("x [Mpc/h]")
        for ax in (above, below):
            if column:
                ax.set_yticklabels([])
            else:
                ax.set_ylabel("y [Mpc/h]")
    for ax in axes[-2:, len(panels) - columns * (bands - 1) :].flat:
        ax.set_axis_off()
    figure.colorbar(image, ax=axes, label=r"$\log_{10}(1+\delta)$", shrink=0.8 / bands, extend="both", pad=0.01)
    return figure


def _image(ax: Axes, field: np.ndarray, extent: tuple[float, float, float, float], norm: Normalize) -> AxesImage:
    values = np.log10(np.maximum(field, FLOOR))
    return ax.imshow(values.T, origin="lower", extent=extent, norm=norm, cmap="inferno", interpolation="bilinear")


def power(spectra: QTable, field: str) -> Figure:
    """Draw P(k) of every entry and of the true high-resolution run, and the ratio to it below."""
    figure, (top, bottom) = _two_panels()
    rows = _entries(spectra, field)[0][1]
    true = rows[f"{field}_P_reference"].value
    top.loglog(rows["k"].value, true, color="black", linewidth=2.2, alpha=0.8, label="true high resolution")
    for entry, rows in _entries(spectra, field):
        k, T = rows["k"].value, rows[f"{field}_T"]
        line = stroke(entry, spectra["entry"])
        top.loglog(k, rows[f"{field}_P"].value, label=label(entry), **line)
        bottom.semilogx(k, np.square(T), **line)
        band(bottom, k, np.square(rows[f"{field}_T_min"]), np.square(rows[f"{field}_T_max"]), line)
    _target(bottom, 0.15)
    bottom.set_ylim(0, 1.6)
    top.set_ylim(bottom=max(top.get_ylim()[0], 1e-3 * true.min()))  # up-sampling leaves no power at all there
    bottom.set_ylabel(r"$P/P_\mathrm{HR}$")
    top.set_ylabel(rf"$P(k)$ of the {field} [{UNITS[field]}]")
    top.legend(fontsize=8, frameon=False)
    return _finish(figure, [top, bottom], spectra)


def transfer(spectra: QTable, field: str) -> Figure:
    """Draw T(k) = √(P/P_HR) of every entry; the grey band is ±5 %."""
    figure = Figure(figsize=(6, 3.6), **STYLE)
    ax = figure.subplots()
    _curves(ax, spectra, field, "T")
    _target(ax, 0.05)
    ax.set_ylim(0, 1.4)
    ax.set_ylabel(rf"$T(k)$ of the {field}")
    ax.legend(fontsize=8, frameon=False, loc="lower left")
    return _finish(figure, [ax], spectra)


def correlation(spectra: QTable, field: str) -> Figure:
    """Draw r(k) with the true high-resolution run, and what it lacks to 1 below."""
    figure, (top, bottom) = _two_panels()
    _curves(top, spectra, field, "r")
    for entry, rows in _entries(spectra, field):
        bottom.loglog(rows["k"].value, np.maximum(1 - rows[f"{field}_r"], 1e-6), **stroke(entry, spectra["entry"]))
    top.set_ylim(min(0.0, *top.get_ylim()), 1.05)
    top.set_ylabel(rf"$r(k)$ of the {field}")
    bottom.set_ylabel(r"$1-r$")
    top.legend(fontsize=8, frameon=False, loc="lower left")
    return _finish(figure, [top, bottom], spectra)


def twins(spectra: QTable, field: str) -> Figure | None:
    """Draw how two samples agree beside how a sample agrees with the truth; None without stochastic entries.

    Samples of the true conditional distribution agree with each other as they agree with the truth.
    """
    drawn = [(e, rows) for e, rows in _entries(spectra, field) if np.isfinite(rows[f"{field}_twin"]).all()]
    if not drawn:
        return None
    figure, (top, bottom) = _two_panels()
    for entry, rows in drawn:
        k, twin, r = rows["k"].value, rows[f"{field}_twin"], rows[f"{field}_r"]
        line = stroke(entry, spectra["entry"])
        top.semilogx(k, r, label=f"{label(entry)}: sample with truth", **line)
        top.semilogx(k, twin, label=f"{label(entry)}: two samples", **(line | {"linestyle": ":"}))
        band(top, k, rows[f"{field}_twin_min"], rows[f"{field}_twin_max"], line)
        bottom.semilogx(k, twin - r, **line)
    bottom.axhspan(-0.1, 0.1, color="0.9", zorder=0)
    bottom.axhline(0, color="black", linewidth=0.8)
    bottom.set_ylabel("difference")
    top.set_ylim(min(0.0, *top.get_ylim()), 1.05)
    top.set_ylabel(rf"$r(k)$ of the {field}")
    top.legend(fontsize=8, frameon=False, loc="lower left")
    return _finish(figure, [top, bottom], spectra)


def _two_panels() -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(6, 5), **STYLE)
    return figure, figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])


def _entries(spectra: QTable, field: str) -> list[tuple[str, QTable]]:
    """List the entries that have this field, in the table's order; runs in few steps are for the cost alone."""
    names = [name for name in dict.fromkeys(spectra["entry"]) if not is_few_steps(name)]
    found = [(name, spectra[spectra["entry"] == name]) for name in names]
    return [(name, rows) for name, rows in found if np.isfinite(rows[f"{field}_T"]).all()]


def _curves(ax: Axes, spectra: QTable, field: str, name: str) -> None:
    for entry, rows in _entries(spectra, field):
        k, line = rows["k"].value, stroke(entry, spectra["entry"])
        ax.semilogx(k, rows[f"{field}_{name}"], label=label(entry), **line)
        band(ax, k, rows[f"{field}_{name}_min"], rows[f"{field}_{name}_max"], line)


def _target(ax: Axes, tolerance: float) -> None:
    ax.axhspan(1 - tolerance, 1 + tolerance, color="0.9", zorder=0)
    ax.axhline(1, color="black", linewidth=0.8)


def _finish(figure: Figure, axes: Sequence[Axes], spectra: QTable) -> Figure:
    mark_nyquist(axes, spectra.meta["k_Nyquist_low"])
    ticks_inside(axes)
    axes[-1].set_xlabel(r"$k$ [$h$/Mpc]")
    return figure
