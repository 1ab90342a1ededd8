"""How entries look in every figure: names, colours and strokes.

Colours are Okabe & Ito's, told apart by colour-blind readers; the truth is black and baselines are grey.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from supercosm.stages import TRUTH, is_truth

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe & Ito
STYLE = {"constrained_layout": True, "dpi": 150}
BASELINES = {"low": ("#777777", "--"), "linear": ("#777777", "-.")}
LABELS = {TRUTH: "true high resolution", "low": "up-sampled low run", "linear": "low run + linear small scales"}
FEW_STEPS = "steps"


def label(entry: str) -> str:
    """Name an entry for a legend; the tag of an earlier output stays."""
    name, _, tag = entry.partition("_a")
    if is_few_steps(name):
        return f"high run in {name.removeprefix(FEW_STEPS)} steps"
    return LABELS.get(name, name) + (f", a = {float(tag):g}" if tag else "")


def is_few_steps(entry: str) -> bool:
    """Tell whether an entry is the high-resolution run in few steps; no model has such a name beside them."""
    return entry.startswith(FEW_STEPS) and entry.removeprefix(FEW_STEPS).isdigit()


def is_model(entry: str) -> bool:
    """Tell whether an entry is a model: neither truth nor baseline nor a run in few steps."""
    return not (is_truth(entry) or is_few_steps(entry) or entry.partition("_a")[0] in BASELINES)


def stroke(entry: str, entries: Iterable[str]) -> dict[str, Any]:
    """Return colour and line of one among the entries of a run; the same in every figure of that run, at any output."""
    name = entry.partition("_a")[0]
    if is_truth(entry):
        return {"color": "black", "linestyle": "-"}
    if name in BASELINES:
        return dict(zip(("color", "linestyle"), BASELINES[name], strict=True))
    if is_few_steps(name):
        return {"color": "#444444", "linestyle": ":"}
    models = list(dict.fromkeys(e.partition("_a")[0] for e in entries if is_model(e)))
    turn, colour = divmod(models.index(name), len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": "--" if turn else "-"}  # who comes after the last colour is dashed


def band(ax: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, line: dict[str, Any]) -> None:
    """Shade between two curves in the colour of a line."""
    ax.fill_between(x, low, high, color=line["color"], alpha=0.2, linewidth=0)


def mark_nyquist(axes: Sequence[Axes], nyquist: float) -> None:
    """Mark the low run's Nyquist frequency and twice it, named above the first of the axes."""
    for ax in axes:
        for times in (1, 2):
            ax.axvline(times * nyquist, color="0.4", linestyle=":", linewidth=1)
    for times, text in ((1, r"$k_\mathrm{Ny,low}$"), (2, r"$2\,k_\mathrm{Ny,low}$")):
        place = (times * nyquist, 1.01)
        axes[0].annotate(text, place, xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8)


def ticks_inside(axes: Iterable[Axes]) -> None:
    """Draw ticks on all sides, inward; number logarithmic wave numbers, lengths and masses without crowding."""
    for ax in axes:
        ax.tick_params(which="both", direction="in", top=True, right=True)
        if ax.get_xscale() == "log":
            _number_decades(ax.xaxis)


def _number_decades(axis: Axis) -> None:
    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    subs = (1, 2, 3, 5) if decades < 0.9 else (1, 2, 5) if decades < 1.8 else (1,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_formatter(NullFormatter())
    if high < 1e4:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axis.set_major_formatter(FuncFormatter(lambda value, _: _power_of_ten(value)))


def _power_of_ten(value: float) -> str:
    exponent = int(np.floor(np.log10(value) + 1e-9))
    factor = value / 10.0**exponent
    return rf"$10^{{{exponent}}}$" if abs(factor - 1) < 1e-6 else rf"${factor:g}\cdot10^{{{exponent}}}$"


def legend_below(figure: Figure, ax: Axes) -> None:
    """Put the legend of one of the axes below all of them, in as many columns as there is room for."""
    handles, labels = ax.get_legend_handles_labels()
    columns = min(len(labels), 5 if figure.get_figwidth() > 8 else 3 if figure.get_figwidth() > 5.5 else 2)
    figure.legend(handles, labels, fontsize=8, frameon=False, ncols=columns, loc="outside lower center")
