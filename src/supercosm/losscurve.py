"""Draw the loss curve of a training, titled by what a person would see in it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from supercosm.history import History, diagnose, read_history, smooth
from supercosm.strokes import COLOURS, STYLE


def loss_curve(path: str | Path) -> Figure:
    """Draw history.csv: losses, critic's scores if there is one, learning rate; titled by its diagnosis."""
    history = read_history(path)
    heights = [3, 1.6, 1] if history.adversarial else [3, 1]
    figure = Figure(figsize=(6, 1.2 * sum(heights)), **STYLE)
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _losses(axes[0], history)
    if history.adversarial:
        for name, colour, what in (
            ("critic_real", COLOURS[0], "real"),
            ("critic_fake", COLOURS[1], "generated"),
        ):
            steps, values = history.known(name)
            axes[1].plot(steps, values, color=colour, label=what)
        axes[1].set_ylabel("critic's score")
        axes[1].legend(fontsize=8, frameon=False, ncols=2)
    steps, rate = history.known("learning_rate")
    axes[-1].plot(steps, rate, color="black")
    axes[-1].set_ylabel("learning rate")
    axes[-1].set_ylim(bottom=0)
    axes[-1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    axes[-1].set_xlabel("optimiser step")
    figure.suptitle("\n".join(textwrap.wrap(diagnose(path), 82)), fontsize=9, x=0.02, ha="left")
    return figure


def _losses(ax: Axes, history: History) -> None:
    steps, train = history.known("train_loss")
    ax.plot(steps, train, color=COLOURS[0], alpha=0.3, linewidth=0.8)
    ax.plot(steps, smooth(train), color=COLOURS[0], label="training (running mean)")
    steps, validation = history.known("validation_loss")
    if steps.size:
        ax.plot(steps, validation, "o-", markersize=3, color=COLOURS[1], label="validation")
        best = np.argmin(validation)
        ax.plot(steps[best], validation[best], "*", markersize=11, color=COLOURS[1], label="best validation")
    everything = np.concatenate([train, validation])
    if everything.size and everything.min() > 0:
        ax.set_yscale("log")
    ax.set_ylabel("loss (normalised fields)")
    ax.legend(fontsize=8, frameon=False)
