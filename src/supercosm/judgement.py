"""The judging half of the report: figures of statistics and audits, each with what to look for, and what models cannot.

All of it is for the last output, the one that the audits are run at; the tables hold the earlier ones, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import QTable
from matplotlib.figure import Figure

from supercosm import auditfigures
from supercosm.config import Config, entries
from supercosm.curves import SHOWN
from supercosm.limits import JUDGED, limits
from supercosm.pictures import save_figure
from supercosm.stages import TABLES, figures_of, measured, tables_of
from supercosm.statfigures import shares, statistic
from supercosm.strokes import label
from supercosm.tables import read_table
from supercosm.variants import skewed, variants

WIDE = 8.0  # inches from which a figure takes the whole width of the page

INTRODUCTIONS = {
    "Two-point statistics": "Amplitude of structure by scale, now with velocities and in separation.",
    "Higher order and one point": "What the power spectrum does not see: shapes, tails, peaks and topology.",
    "Haloes": "Friends-of-friends groups, as catalogues would be made of the boxes.",
    "Motions": "Whether velocities are those of the structure they belong to.",
    "Calibration": "Whether the spread of samples is the error they make: only then is it an error bar.",
    "Bias audit": "What models do where their training data were thin, or where the universe is another one.",
    "Compute for accuracy": "Whether super-resolution pays, and what it has to beat.",
}

# figure: table it is drawn of, title, what to look for
AUDITS = {
    "shares": ("web", "Cosmic web", "shares of volume and mass by the tidal tensor; a smooth model lacks knots."),
    "ranks": (
        "calibration_cells",
        "Rank of the truth",
        "flat if the truth is just one more sample. High ends mean too narrow a spread; a slope, a bias. Dashed, where "
        "they were run: nature's own samples, which differ in nothing but what the low run does not hold.",
    ),
    "spread_and_coverage": (
        "calibration_cells",
        "Spread and coverage",
        "1 on the left, the diagonal on the right; below it samples are too sure of themselves.",
    ),
    "diversity": (
        "calibration_spectra",
        "Diversity",
        "dotted (two samples) on solid (sample and truth) if calibrated, and both on the dashed line, where "
        "it was run, the best that anyone can do who knows the low run alone.",
    ),
    "environments": (
        "environment",
        "Errors by environment",
        "void, sheet, filament and knot of the true box. Entries that draw their small scales regress to the mean in "
        "cells that were chosen by the truth, as another true run would: compare them with each other.",
    ),
    "halo_masses": (
        "halomass",
        "Errors by halo mass",
        "where particles of a true halo end up, how fast, and whether they are in any halo.",
    ),
    "drift": (
        "drift",
        "Other cosmologies",
        "a slope of 1 follows the input; at 0 a model makes the small scales of its training whatever it is given.",
    ),
    "skew": (
        "skew",
        "Skewed training sets",
        "one network, one budget, three training sets: crops drawn evenly, or chosen to abound in one environment.",
    ),
    "cost": (
        "cost",
        "Compute for accuracy",
        "left and down is better. The dotted line joins runs of the N-body code itself in few steps, which need the "
        "initial conditions but no model; the vertical line is the whole simulation.",
    ),
}


def sections(config: Config, results: Path, order: Sequence[str], nyquist: float) -> list[dict[str, Any]]:
    """Draw the figures of statistics and audits into results/figures; list them with their words by section.

    order: the entries as they stand in the table of spectra, so that each has one colour in all figures.
    """
    found = []
    for section, names in figures_of(config).items():
        shown = [_figure(config, results, name, section, order, nyquist) for name in names]
        if shown:
            found.append({"title": section, "introduction": INTRODUCTIONS[section], "figures": shown})
    return found


def _figure(
    config: Config, results: Path, name: str, section: str, order: Sequence[str], nyquist: float
) -> dict[str, Any]:
    if name in AUDITS:
        table_name, title, look = AUDITS[name]
        table = _last(config, read_table(results / "evaluation" / f"{table_name}.ecsv"))
        figure = _drawers(nyquist)[name](table, order)
    else:
        shown = SHOWN[section][name]
        table_name = TABLES.get(name, name)
        table = _last(config, read_table(results / "evaluation" / f"{table_name}.ecsv"))
        title, look = shown.title, (config.simulation.external and shown.foreign) or shown.look
        figure = statistic(table, shown.curve(table), order, nyquist)
    if "subsample" in table.meta:
        look += f" Measured with {table.meta['subsample']}."
    image = save_figure(figure, results / "figures" / f"{name}.png", config.report.pdf)
    broad = figure.get_figwidth() > WIDE
    return {"image": image, "title": title, "look": look, "table": f"evaluation/{table_name}.ecsv", "broad": broad}


def _drawers(nyquist: float) -> dict[str, Callable[[QTable, Sequence[str]], Figure]]:
    return {
        "shares": shares,
        "ranks": auditfigures.ranks,
        "spread_and_coverage": auditfigures.spread_and_coverage,
        "diversity": lambda table, order: auditfigures.diversity(table, order, nyquist),
        "environments": auditfigures.environments,
        "halo_masses": auditfigures.halo_masses,
        "drift": auditfigures.drift,
        "skew": lambda table, order: auditfigures.skew(table),
        "cost": auditfigures.cost,
    }


def _last(config: Config, table: QTable) -> QTable:
    """Keep what the configuration names at the last output."""
    last = config.simulation.scale_factors[-1]
    wanted = [entry.name for entry in (*measured(config), *entries(config)) if entry.scale_factor == last]
    return table[np.isin(table["entry"], [*wanted, *variants(config), *skewed(config)])]


def shortcomings(config: Config, results: Path, nyquist: float) -> list[dict[str, Any]]:
    """List for every model of three dimensions at the last output what it cannot do."""
    drift = [name for names in figures_of(config).values() for name in names if name == "drift"]
    cost = [] if config.simulation.external else ["cost"]
    names = ["spectra", *cost, *drift, *tables_of(config, results)]  # none that an earlier configuration left behind
    paths = {name: results / "evaluation" / f"{name}.ecsv" for name in names if name in JUDGED}
    tables = {name: _last(config, read_table(path)) for name, path in paths.items()}
    last = config.simulation.scale_factors[-1]
    return [
        {"entry": label(entry.name), "sentences": limits(entry.name, tables, nyquist, entry.phases == "drawn")}
        for entry in entries(config)
        if entry.model and entry.scale_factor == last and config.models[entry.model].dimensions == 3
    ]
