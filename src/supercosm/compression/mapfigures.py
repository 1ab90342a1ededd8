"""Draw maps of latent spaces: one column for each method, one row for each quantity that colours the points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from supercosm.compression.latentmaps import Scores
from supercosm.statistics.environment import CLASSES
from supercosm.strokes import STYLE

NAMES = {"pca": "PCA", "tsne": "t-SNE", "lle": "LLE", "isomap": "Isomap", "umap": "UMAP"}
SHAPES = {"s-curve": "S-curve", "swiss-roll": "Swiss roll"}
LABELS = {"mean density": "mean density $1+\\delta$\n[cosmic mean]", "cosmology": r"cosmology: $\sigma_8$"}
LOGARITHMIC = ("mean density",)
SCALES = {"mean density": "viridis", "cosmology": "plasma"}  # perceptually uniform; other quantities take OTHER
OTHER = "viridis"
ENVIRONMENTS = ("#0072B2", "#56B4E9", "#E69F00", "#D55E00")  # Okabe & Ito, from empty to full
UNKNOWN = "0.8"
WIDTH = 7.5  # of a figure in print, with the keys to its colours [inches]
KEYS = 1.0  # width of the column of keys [inches]
WIDEST = 2.1  # panel [inches]
FAR = 2.0  # times the range of 98 % of the points, beyond which the rest is cut off
SMALL = 7  # points of type
TICKS = 5


@dataclass(frozen=True)
class Check:
    """One row of `sanity_maps`: points on a bent sheet (n, 3), how far along it (n,), and their maps (n, 2)."""

    shape: str
    points: np.ndarray
    along: np.ndarray
    maps: dict[str, np.ndarray]
    scores: dict[str, Scores]


def latent_maps(maps: dict[str, np.ndarray], colours: dict[str, np.ndarray], scores: dict[str, Scores]) -> Figure:
    """Show the maps (n, 2) of all methods, coloured by each of the quantities (n,) in turn; NaN is grey.

    colours: "mean density" 1 + δ, "environment" 0 to 3 (void, sheet, filament, knot), "cosmology" σ8; any other
    quantity is labelled with its name.
    """
    figure, axes = _grid(len(colours), len(maps), KEYS, 0.8)
    for row, (name, values) in zip(axes, colours.items(), strict=True):
        cmap, norm = _colours(name, values)
        for ax, places in zip(row, maps.values(), strict=False):
            _scatter(ax, places, values, cmap, norm)
        if name == "environment":
            _classes(row[-1], values)
        else:
            _scale(figure, row[-1], values, cmap, norm).set_label(LABELS.get(name, name), fontsize=SMALL)
    for ax, method in zip(axes[0], maps, strict=False):
        ax.set_title(_scored(method, scores[method]), fontsize=SMALL)
    count = len(next(iter(maps.values())))
    _small_print(figure, f"{count} patches. The axes of a map have no unit: what counts is who is near whom.")
    return figure


def sanity_maps(checks: Sequence[Check]) -> Figure:
    """Show sheets that are known to unroll beside the map that each method makes of them, a row for each sheet."""
    methods = list(checks[0].maps)
    figure, axes = _grid(len(checks), len(methods) + 1, 0.6, 0.35 + 0.45 * len(checks))
    for row, check in zip(axes, checks, strict=True):
        cmap, norm = colormaps["viridis"], Normalize(check.along.min(), check.along.max())
        _sheet(row[0], check, cmap, norm)
        for ax, method in zip(row[1:], methods, strict=False):
            _scatter(ax, check.maps[method], check.along, cmap, norm)
            ax.set_title(_scored(method, check.scores[method]), fontsize=SMALL - 0.5)
        bar = figure.colorbar(ScalarMappable(norm, cmap), cax=row[-1])
        bar.set_ticks([norm.vmin, norm.vmax], labels=["start", "end"], fontsize=SMALL)
        bar.set_label("along the curve", fontsize=SMALL, labelpad=-8)
    _small_print(figure, "The axes of maps have no unit. A map that unrolls the sheet shows its colours in order.")
    return figure


def _grid(rows: int, columns: int, keys: float, text: float) -> tuple[Figure, np.ndarray]:
    """Return square panels and, to the right of each row, the place of its key.

    keys: width of these places; text: height of what stands above and below the panels [inches].
    """
    side = min(WIDEST, (WIDTH - keys) / columns)
    figure = Figure(figsize=(side * columns + keys, side * rows + text), **STYLE)
    figure.get_layout_engine().set(rect=(0, 0.01, 1, 0.97))  # titles of square panels would touch the edge
    return figure, figure.subplots(rows, columns + 1, squeeze=False, width_ratios=[1] * columns + [0.07])


def _colours(name: str, values: np.ndarray) -> tuple[Colormap, Normalize]:
    """Return a row's colours: of classes, or from the 2nd to the 98th percentile of what is known."""
    if name == "environment":
        return ListedColormap(ENVIRONMENTS).with_extremes(bad=UNKNOWN), Normalize(-0.5, len(CLASSES) - 0.5)
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, (2, 98)) if len(known) else (0.0, 1.0)
    norm = LogNorm(low, high) if name in LOGARITHMIC and low > 0 else Normalize(low, high)
    return colormaps[SCALES.get(name, OTHER)].with_extremes(bad=UNKNOWN), norm


def _scatter(ax: Axes, places: np.ndarray, values: np.ndarray, cmap: Colormap, norm: Normalize) -> None:
    """Draw the points of a map in an order that favours no value, at the same scale along both axes."""
    order = np.random.default_rng(0).permutation(len(places))
    x, y = places[order].T
    ax.scatter(x, y, c=values[order], cmap=cmap, norm=norm, s=_size(len(x)), linewidths=0, plotnonfinite=True,
               rasterized=True)  # fmt: skip
    low, high = places.min(axis=0), places.max(axis=0)
    near, far = np.percentile(places, (1, 99), axis=0)
    if np.ptp(places, axis=0).max() > FAR * (far - near).max() > 0:  # a few points far out would hide all others
        low, high = near, far
    centre = (low + high) / 2
    half = 0.54 * (high - low).max() or 1.0
    ax.set_xlim(centre[0] - half, centre[0] + half)
    ax.set_ylim(centre[1] - half, centre[1] + half)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_box_aspect(1)


def _size(count: int) -> float:
    """Return the area of a point [points²] that lets `count` of them cover about a sixth of a panel, within reason."""
    return float(np.clip(1500 / count, 0.5, 8))


def _sheet(ax: Axes, check: Check, cmap: Colormap, norm: Normalize) -> None:
    """Put the sheet itself, in three dimensions, in the place of one of the axes."""
    place, figure = ax.get_subplotspec(), ax.figure
    ax.remove()
    solid = figure.add_subplot(place, projection="3d")
    solid.scatter(*check.points.T, c=check.along, cmap=cmap, norm=norm, s=2, linewidths=0, rasterized=True)
    solid.view_init(elev=18, azim=-72)
    solid.set_box_aspect(np.ptp(check.points, axis=0), zoom=1.1)
    solid.set_xticks([])
    solid.set_yticks([])
    solid.set_zticks([])
    solid.set_title(f"{SHAPES.get(check.shape, check.shape)}\nin three dimensions", fontsize=SMALL)


def _scale(figure: Figure, ax: Axes, values: np.ndarray, cmap: Colormap, norm: Normalize) -> Colorbar:
    """Draw a colour bar, with an arrow where values lie beyond it."""
    known = values[np.isfinite(values)]
    below, above = (known < norm.vmin).any(), (known > norm.vmax).any()
    extend = "both" if below and above else "min" if below else "max" if above else "neither"
    bar = figure.colorbar(ScalarMappable(norm, cmap), cax=ax, extend=extend)
    if isinstance(norm, LogNorm):
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        bar.ax.yaxis.set_major_locator(MaxNLocator(TICKS))
    bar.ax.tick_params(labelsize=SMALL)
    return bar


def _classes(ax: Axes, values: np.ndarray) -> None:
    """Write the legend of the environments, with the share of points in each."""
    ax.axis("off")
    known = values[np.isfinite(values)]
    shares = [(known == number).sum() / max(len(known), 1) for number in range(len(CLASSES))]
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=4, color=colour, label=f"{name}, {100 * share:.0f} %")
        for name, colour, share in zip(CLASSES, ENVIRONMENTS, shares, strict=True)
    ]
    ax.legend(handles=handles, title="environment", loc="center left", bbox_to_anchor=(-1.5, 0.5), frameon=False,
              fontsize=SMALL, title_fontsize=SMALL, handletextpad=0.1, borderpad=0, alignment="left")  # fmt: skip


def _scored(method: str, scores: Scores) -> str:
    return (
        f"{NAMES.get(method, method)}\ntrustworthiness {scores.trustworthiness:.2f}\n"
        f"neighbours kept {100 * scores.preservation:.0f} %"
    )


def _small_print(figure: Figure, text: str) -> None:
    figure.supxlabel(text, fontsize=SMALL - 0.5, color="0.3")
