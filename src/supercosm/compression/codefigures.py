"""Figures of compression: rate–distortion curves, reconstructions, what a variational coder draws, sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import QTable
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from supercosm.strokes import COLOURS, STYLE, legend_below, ticks_inside

RIVALS = {  # how other compressors look: dashed, so that coders stand out
    "sz3": {"color": "#444444", "linestyle": "--", "marker": "s"},
    "zfp": {"color": "#888888", "linestyle": "--", "marker": "^"},
    "sperr": {"color": "#000000", "linestyle": "--", "marker": "D"},
    "float16": {"color": "#888888", "linestyle": "none", "marker": "P"},
    "zstd": {"color": "#888888", "linestyle": "none", "marker": "v"},
    "blosc2": {"color": "#444444", "linestyle": "none", "marker": "v"},
}
NAMES = {"sz3": "SZ3", "zfp": "ZFP", "sperr": "SPERR", "zstd": "Zstd (lossless)", "blosc2": "Blosc2 (lossless)"}
DISTORTIONS = {
    "rmse": "rms error of {of}",
    "power_error": r"max $|P'/P-1|$, $k\leq k_\mathrm{Ny}/2$",
    "distribution": r"distance of PDFs [$\ln(1+\delta+0.1)$]",
    "halo_mass": r"rms error of halo masses $M'/M-1$",
}
LARGEST = 12.0  # bits per cell that curves are shown to: beyond, all is kept anyway
MOST = 1.5  # unexplained variance that is shown: a training that failed leaves more
TARGET = 0.05  # error of P(k) at which files are compared


def name_of(coder: str) -> str:
    """Name a coder for a legend."""
    first, predicted, _ = coder.partition("-predicted")
    name = NAMES.get(first, first)
    return f"{name} of the difference to the prediction" if predicted else name


def stroke(coder: str, order: Sequence[str]) -> dict[str, Any]:
    """Return colour, line and marker of a coder among those of a figure."""
    if coder in RIVALS:
        return {"markersize": 4, **RIVALS[coder]}
    others = [name for name in dict.fromkeys(order) if name not in RIVALS]
    index = others.index(coder)
    line = {"color": COLOURS[index % len(COLOURS)], "linestyle": ("-", "-.", ":")[index // len(COLOURS) % 3]}
    return {"marker": "o", "markersize": 3.5, **line}


def rate_distortion(table: QTable, of: str) -> Figure:
    """Draw what is lost against bits per cell, for every coder of an arena, in four panels.

    of: what the rms error is of, with its unit.
    """
    figure = Figure(figsize=(7.5, 6.6), **STYLE)
    axes = figure.subplots(2, 2, sharex=True)
    table = table[np.asarray(table["bits"], float) <= LARGEST]
    order = list(dict.fromkeys(table["coder"]))
    for ax, (column, label) in zip(axes.flat, DISTORTIONS.items(), strict=True):
        for coder in order:
            rows = table[table["coder"] == coder]
            rows = rows[np.argsort(rows["bits"])]
            value = np.asarray(rows[column], float)
            keep = np.isfinite(value) & (value > 0)
            ax.plot(np.asarray(rows["bits"])[keep], value[keep], label=name_of(coder), **stroke(coder, order))
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_ylabel(label.replace("{of}", of), fontsize=9)
        if column == "power_error":
            ax.axhline(TARGET, color="0.6", linewidth=0.8, zorder=0)
    for ax in axes[1]:
        ax.set_xlabel("bits per cell of the file (float32: 32)")
    ticks_inside(axes.flat)
    legend_below(figure, axes[0, 0])
    return figure


def unexplained(table: QTable, kinds: dict[str, str]) -> Figure:
    """Draw the share of variance that latents, not yet quantised, leave unexplained, against their number.

    kinds: coder: kind, as in the configuration.
    """
    figure = Figure(figsize=(6, 4.2), **STYLE)
    ax = figure.subplots()
    rows = table[~np.isfinite(np.asarray(table["bits"], float)) & (np.asarray(table["latents"]) > 0)]
    for index, kind in enumerate(dict.fromkeys(kinds.values())):
        mine = rows[[kinds.get(coder) == kind for coder in rows["coder"]]]
        if not len(mine):
            continue
        numbers = sorted(set(np.asarray(mine["latents"])))
        line = {"color": COLOURS[index % len(COLOURS)], "marker": "osD^vP"[index % 6]}
        ax.plot(mine["latents"], mine["unexplained"], linestyle="none", alpha=0.5, markersize=5, **line)
        best = [np.min(np.asarray(mine["unexplained"])[np.asarray(mine["latents"]) == n]) for n in numbers]
        ax.plot(numbers, best, label=f"{kind} (best)", markersize=6, **line)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xlabel("numbers per patch")
    ax.set_ylabel("unexplained variance of log density")
    ax.set_ylim(top=min(ax.get_ylim()[1], MOST))
    ax.tick_params(which="both", direction="in", top=True, right=True)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.2g}")
    ax.yaxis.set_minor_formatter(lambda value, _: f"{value:.2g}")
    ax.tick_params(axis="y", which="minor", labelsize=7)
    ax.legend(fontsize=8, frameon=False)
    return figure


def reconstructions(gallery: dict[str, dict[str, np.ndarray]], names: Sequence[str], length: float) -> Figure:
    """Show original | latents | reconstruction of patches by several coders, all on one colour scale.

    length: side of a patch [Mpc/h].
    """
    original = gallery[names[0]]["original"]
    count = len(original)
    norm = Normalize(*np.percentile(original, (1, 99.7)))
    figure = Figure(figsize=(1.15 * count + 1.4, 1.12 * (1 + 1.45 * len(names)) + 0.3), **STYLE)
    heights = [1.0] + [0.25, 1.0] * len(names)
    axes = figure.subplots(1 + 2 * len(names), count, height_ratios=heights, squeeze=False)
    extent = (0, length, 0, length)
    for column in range(count):
        image = _patch(axes[0, column], original[column], norm, extent)
        for row, name in enumerate(names):
            z = gallery[name]["latents"]
            _bars(axes[1 + 2 * row, column], z[column], np.abs(z).max())
            _patch(axes[2 + 2 * row, column], gallery[name]["decoded"][column], norm, extent)
    axes[0, 0].set_ylabel("original", fontsize=8)
    for row, name in enumerate(names):
        axes[1 + 2 * row, 0].set_ylabel(f"{gallery[name]['latents'].shape[1]}\nlatents", fontsize=7)
        axes[2 + 2 * row, 0].set_ylabel(name, fontsize=8)
    bar = figure.colorbar(image, ax=axes, shrink=0.5, pad=0.01, extend="both")
    bar.set_label(r"$\ln(1+\delta+0.1)$", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.supxlabel(f"every patch is {length:.3g} Mpc/h wide", fontsize=7, color="0.3")
    return figure


def _patch(ax: Axes, patch: np.ndarray, norm: Normalize, extent: tuple[float, float, float, float]):
    image = ax.imshow(patch.T, origin="lower", norm=norm, cmap="inferno", extent=extent)
    ax.set_xticks([])
    ax.set_yticks([])
    return image


def _bars(ax: Axes, latents: np.ndarray, largest: float) -> None:
    ax.vlines(np.arange(len(latents)), 0, latents, color=COLOURS[0], linewidth=0.8)
    ax.axhline(0, color="0.5", linewidth=0.4)
    ax.set_ylim(-largest, largest)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def prior(table: QTable, information: Sequence[float]) -> Figure:
    """Draw P(k) of a variational coder's draws against the data's, and the information of every latent."""
    figure = Figure(figsize=(7.5, 3.4), **STYLE)
    left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])
    lines = {
        "sample": ("samples", {"color": COLOURS[1], "linewidth": 2}),
        "mean": ("samples without the noise of the likelihood", {"color": COLOURS[1], "linestyle": ":"}),
        "decoded": ("reconstructions", {"color": COLOURS[0], "linestyle": "--"}),
    }
    k = table["k"].value
    for column, (label, line) in lines.items():
        left.semilogx(k, np.asarray(table[column]) / np.asarray(table["data"]), label=label, **line)
    left.semilogx(k, np.asarray(table["density_sample"]) / np.asarray(table["density_data"]), color=COLOURS[2],
                  linewidth=1, label=r"samples, of $\delta$ instead of $\ln(1+\delta+0.1)$")  # fmt: skip
    left.axhspan(0.8, 1.2, color="0.9", zorder=0)
    left.axhline(1, color="black", linewidth=0.8)
    left.set_ylim(0, 2.0)
    left.set_xlabel(r"$k$ [$h$/Mpc]")
    left.set_ylabel(r"$P/P_\mathrm{data}$ of projected patches")
    left.legend(fontsize=7, frameon=False, loc="upper left")
    ticks_inside([left])
    right.bar(np.arange(1, len(information) + 1), information, color=COLOURS[0], width=0.9)
    right.set_xlabel("latent")
    right.set_ylabel("Kullback–Leibler divergence [nats]")
    right.tick_params(which="both", direction="in", top=True, right=True)
    return figure


def latent_walks(arrays: dict[str, np.ndarray], length: float) -> Figure:
    """Show prior samples, traversals of the most informative latents, and an interpolation of two patches."""
    traversal, between = arrays["traversal"], arrays["interpolation"]
    rows = [("sample of\nthe prior", arrays["drawn"]), ("its mean", arrays["drawn_means"])]
    rows += [(f"latent {n + 1}:\n−3 σ to 3 σ", t) for n, t in zip(arrays["traversed"], traversal, strict=True)]
    rows += [("between two,\nby latents", between[0]), ("straight", between[1])]
    count = len(between[0])
    norm = Normalize(*np.percentile(between, (1, 99.7)))
    figure = Figure(figsize=(0.95 * count + 1.6, 0.98 * len(rows) + 0.3), **STYLE)
    axes = figure.subplots(len(rows), count, squeeze=False)
    for line, (title, patches) in zip(axes, rows, strict=True):
        for ax, patch in zip(line, patches, strict=True):
            image = _patch(ax, patch, norm, (0, length, 0, length))
        line[0].set_ylabel(title, fontsize=7)
    bar = figure.colorbar(image, ax=axes, shrink=0.4, pad=0.01, extend="both")
    bar.set_label(r"$\ln(1+\delta+0.1)$", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.supxlabel(f"every patch is {length:.3g} Mpc/h wide", fontsize=7, color="0.3")
    return figure


def sweep(rates: np.ndarray, batches: np.ndarray, errors: np.ndarray, optimisers: Sequence[str]) -> Figure:
    """Draw the held-out error (n,) of coders that differ in learning rate and batch size alone, a curve per batch."""
    figure = Figure(figsize=(6, 3.4), **STYLE)
    ax = figure.subplots()
    kinds = sorted({*zip(optimisers, batches, strict=True)})
    for index, (optimiser, batch) in enumerate(kinds):
        mine = [o == optimiser and b == batch for o, b in zip(optimisers, batches, strict=True)]
        order = np.argsort(rates[mine])
        line = {"color": COLOURS[index % len(COLOURS)], "linestyle": "-" if optimiser == "adam" else "--"}
        ax.loglog(rates[mine][order], errors[mine][order], marker="o", label=f"{optimiser}, batch {batch}", **line)
    ax.set_xlabel("learning rate")
    ax.set_ylabel("unexplained variance of held-out patches")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.2g}")
    ax.yaxis.set_minor_formatter(lambda value, _: f"{value:.2g}")
    ax.tick_params(axis="y", which="minor", labelsize=7)
    ax.tick_params(which="both", direction="in", top=True, right=True)
    ax.legend(fontsize=8, frameon=False)
    return figure


def losses(histories: dict[str, dict[str, np.ndarray]]) -> Figure:
    """Draw training (thin) and validation (thick) losses of many coders, those of one loss in one panel.

    histories: coder: step, train, validation (epochs,) and "loss", the name of its loss.
    """
    groups: dict[str, list[str]] = {}
    for name, history in histories.items():
        groups.setdefault(str(history["loss"]), []).append(name)
    figure = Figure(figsize=(7.5, 2.9 * len(groups)), **STYLE)
    for ax, (loss, names) in zip(np.atleast_1d(figure.subplots(len(groups), 1)), groups.items(), strict=True):
        for index, name in enumerate(names):
            history = histories[name]
            line = {
                "color": COLOURS[index % len(COLOURS)],
                "linestyle": ("-", "--", ":", "-.")[index // len(COLOURS) % 4],
            }
            ax.plot(history["step"], history["train"], linewidth=0.6, alpha=0.6, **line)
            ax.plot(history["step"], history["validation"], linewidth=1.4, label=name, **line)
        if all(np.all(histories[name]["train"] > 0) for name in names):
            ax.set_yscale("log")
        ax.set_xscale("log")
        ax.set_ylabel(f"{loss}")
        ax.set_xlabel("optimiser step")
        ax.tick_params(which="both", direction="in", top=True, right=True)
        ax.legend(fontsize=6.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
