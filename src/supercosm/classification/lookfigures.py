"""Figures of where a network looks: fields, gradients and Grad-CAM, what deleting cells does, filters and maps."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from supercosm.classification.classfigures import class_name, line_of, ticks_everywhere
from supercosm.classification.results import Part
from supercosm.strokes import STYLE

LOG_DENSITY = "ln(1+δ+0.1)"
ORDERS = {
    "salient": "most salient first",
    "densest": "densest first",
    "random": "at random",
    "least": "least salient first",
}
WIDE = 19  # letters of a title on one line
FILTERS = 16  # shown of the first layer
PER_LINE = 8


def looks(part: Part) -> Figure:
    """Show test examples, integrated gradients and Grad-CAM below them, and the mean |gradients| of every class."""
    found, classes = part.looks, [class_name(c) for c in part.classes]
    order = np.argsort(found["labels"], kind="stable")
    labels = found["labels"][order]
    present = list(dict.fromkeys(labels))
    figure = Figure(figsize=(1.3 * len(order) + 1.6, 6.2), **STYLE)
    names = [[f"{row}{e}" for e in range(len(order))] for row in "xgc"] + [[f"m{c}" for c in labels]]
    axes = figure.subplot_mosaic(names)
    size = found["cell"][0] * found["x"].shape[1]
    for row, (name, label, cmap, signed) in zip("xgc", PICTURES, strict=True):
        pictures = flat(found[name][order], 1)
        _row(figure, [axes[f"{row}{e}"] for e in range(len(order))], pictures, (label, cmap, signed), size)
    means = flat(found["mean_gradients"][present], 1)
    _row(figure, [axes[f"m{c}"] for c in present], means, ("mean |gradients|\n[logit / cell]", "magma", False), size)
    for e, label in enumerate(labels):
        chance = found["probabilities"][order[e], label]
        axes[f"x{e}"].set_title(f"{textwrap.fill(classes[label], WIDE)}\np {percent(chance)}", fontsize=7.5)
    for c in present:
        axes[f"m{c}"].set_title(f"all of {classes[c]}", fontsize=7.5)
    cut = "central slice" if found["x"].ndim == 4 else "projected slab"
    figure.supxlabel(f"x [Mpc/h], {cut}; p: probability given to the true class, which is above it", fontsize=8)
    figure.supylabel("y [Mpc/h]", fontsize=8)
    return figure


PICTURES = (
    ("x", LOG_DENSITY, "inferno", False),
    ("gradients", "integrated\ngradients\n[logit / cell]", "RdBu_r", True),
    ("gradcam", "Grad-CAM\n[logit]", "viridis", False),
)


def percent(share: float) -> str:
    """Write what a probability equals or exceeds, in per cent, without a certainty that there is not."""
    value = 100 * share
    return "> 99.9 %" if value > 99.9 else "< 0.1 %" if value < 0.1 else f"= {value:.1f} %"


def flat(pictures: np.ndarray, first: int) -> np.ndarray:
    """Cut the central slice out of three-dimensional pictures, whose axes start at `first`; leave flat ones."""
    return pictures if pictures.ndim == first + 2 else pictures[..., pictures.shape[-1] // 2]


def norm_of(pictures: np.ndarray, signed: bool) -> Normalize:
    """Return one colour scale of many pictures: around 0 if they are signed; the outermost 0.5 % saturate."""
    if signed:
        largest = float(np.percentile(np.abs(pictures), 99.5)) or 1.0
        return Normalize(-largest, largest)
    low, high = np.percentile(pictures, (0.5, 99.5))
    return Normalize(low, high if high > low else low + 1)


def _row(figure: Figure, axes: Sequence[Axes], pictures: np.ndarray, look: tuple[str, str, bool], size: float) -> None:
    label, cmap, signed = look
    norm = norm_of(pictures, signed)
    for ax, picture in zip(axes, pictures, strict=True):
        image = ax.imshow(picture.T, origin="lower", cmap=cmap, norm=norm, extent=(0, size, 0, size))
        ax.tick_params(labelsize=6.5, labelleft=ax is axes[0])
    _bar(figure, image, axes, label)


def _bar(figure: Figure, image: Any, axes: Sequence[Axes], label: str) -> None:
    bar = figure.colorbar(image, ax=list(axes), pad=0.01, aspect=12, fraction=0.05)
    for ax in axes:
        ax.set_anchor("C")  # a colour bar draws panels to its side
    bar.set_label(label, fontsize=7)
    bar.ax.tick_params(labelsize=6.5)


def occlusion(part: Part) -> Figure:
    """Draw the probability of the true class as cells are deleted, and how much is looked at by density."""
    found = part.looks
    figure = Figure(figsize=(7.5, 3.6), **STYLE)
    left, right = figure.subplots(1, 2)
    for number, (order, name) in enumerate(ORDERS.items()):
        line = line_of(number) | {"markersize": 4}
        left.plot(100 * found["shares"], found[f"occlusion_{order}"], label=name, **line)
    left.axhline(1 / len(part.classes), color="0.4", linestyle="--", linewidth=1, label="chance")
    left.set(
        xlabel="cells replaced by the mean around [%]", ylabel="mean probability of the true class", ylim=(0, 1.02)
    )
    for number, (name, values) in enumerate(zip(part.classes, found["by_density"], strict=True)):
        line = line_of(number)
        right.stairs(values, found["density_edges"], label=class_name(name), baseline=None,
                     color=line["color"], linewidth=1.4)  # fmt: skip
    right.axhline(1, color="0.6", linewidth=0.8)
    right.set(
        xlabel=f"{LOG_DENSITY} of the cell", ylabel="mean |integrated gradient| / that of all cells", yscale="log"
    )
    right.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for ax in (left, right):
        ticks_everywhere(ax)
        ax.legend(fontsize=7, frameon=False)
    return figure


def filters(part: Part) -> Figure:
    """Show an example, the filters of the first layer, and what the first and the last layer make of the example."""
    found = part.looks
    dimensions = found["x"].ndim - 1
    pictures = flat(unfolded(found["filters"])[:FILTERS], 1)
    blocks = (
        (pictures, f"filters of the first layer, {pictures.shape[1]} × {pictures.shape[2]} cells", "RdBu_r", True),
        (flat(found["maps_first"], 1), "maps of the first layer", "RdBu_r", True),
        (flat(found["maps_last"], 1), "maps of the last layer", "viridis", False),
    )
    lines = [-(-len(block[0]) // PER_LINE) for block in blocks]
    figure = Figure(figsize=(8.5, 0.8 * sum(lines) + 1.2), **STYLE)
    left, right = figure.subfigures(1, 2, width_ratios=[1, 2.6])
    _example(left.subplots(), part)
    for place, block, height in zip(right.subfigures(3, 1, height_ratios=[n + 0.4 for n in lines]), blocks, lines,
                                    strict=True):  # fmt: skip
        _block(place, block, height, " (central slices)" if dimensions == 3 else "")
    return figure


def _example(ax: Axes, part: Part) -> None:
    found = part.looks
    picture, label = flat(found["x"][:1], 1)[0], int(found["labels"][0])
    size = found["cell"][0] * len(picture)
    image = ax.imshow(picture.T, origin="lower", cmap="inferno", extent=(0, size, 0, size))
    chance = percent(found["probabilities"][0, label])
    ax.set_title(f"{textwrap.fill(class_name(part.classes[label]), WIDE)}\np {chance}", fontsize=8)
    ax.set_xlabel("x [Mpc/h]" + (", central slice" if found["x"].ndim == 4 else ""), fontsize=8)
    ax.set_ylabel("y [Mpc/h]", fontsize=8)
    ax.tick_params(labelsize=7)
    bar = ax.figure.colorbar(image, ax=ax, location="bottom", pad=0.02)
    bar.set_label(LOG_DENSITY, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _block(place: Any, block: tuple[np.ndarray, str, str, bool], lines: int, cut: str) -> None:
    pictures, title, cmap, signed = block
    axes = place.subplots(lines, PER_LINE, squeeze=False)
    norm = norm_of(pictures, signed)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, picture in zip(axes.flat, pictures, strict=False):
        image = ax.imshow(picture.T, origin="lower", cmap=cmap, norm=norm)
    place.suptitle(title + cut, fontsize=8)
    bar = place.colorbar(image, ax=axes, pad=0.01, aspect=12)
    bar.ax.tick_params(labelsize=6.5)
    bar.set_label("weight" if "filters" in title else "activation", fontsize=7)


def unfolded(filters: np.ndarray) -> np.ndarray:
    """Lay the channels of filters (f, pᵈ, s, …), which are cells of a patch, side by side: (f, s p, …)."""
    count, channels, *sides = filters.shape
    d = len(sides)
    patch = round(channels ** (1 / d))
    order = [axis for i in range(d) for axis in (1 + d + i, 1 + i)]
    parted = filters.reshape(count, *[patch] * d, *sides)
    return parted.transpose(0, *order).reshape(count, *(side * patch for side in sides))
