"""The report's section on families: what each is, tables of numbers, figures, and what they recommend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import QTable, Row

from supercosm.choice import choicefigures
from supercosm.choice.choicefigures import HALF_WAY, NATURE_NAME, contenders, name_of
from supercosm.choice.contenders import choice_figures, iterative
from supercosm.choice.contenders import contenders as entries_of
from supercosm.choice.findings import MEASURES, Measure, leaders, ranked, sentences
from supercosm.choice.words import words
from supercosm.config import Config
from supercosm.pictures import save_figure
from supercosm.tables import read_table

INTRODUCTION = (
    "Every family here learnt from the same pairs and draws whole boxes from the low run alone; all numbers are of the "
    "same test boxes. The reference is a plain regression that was told the true small-scale modes in training and is "
    "given drawn ones here. It was never taught to generate, so a generative model has to beat it."
)
LOOKS = {
    "radar": (
        "Families at a glance",
        "outward is better. Errors e stand at 1/(1 + e/h), half way out at h: quality, the mean of the errors of power "
        f"(mean |T−1|, max |P/P_HR−1|), bispectrum, PDF and halo mass function, h = {HALF_WAY['quality']:g}; "
        f"calibration, mean |spread/error − 1|, h = {HALF_WAY['calibration']:g}; diversity, |1 − (1 − r of two "
        f"samples)/(1 − r with the truth)| at 2 k_Ny, h = {HALF_WAY['diversity']:g}. Realism is twice the share of "
        "patches that the best classifier gets wrong; speed and cheap training are the least cost here over the own.",
    ),
    "cost": (
        "Quality against the cost of a sample",
        "left and down is better; the star is the reference. Points are means over the test boxes with their scatter; "
        "curves are two samples of one box with as many evaluations of the network as stand beside them. Dashed, where "
        "they were run: true runs with other small scales, which no sampler can beat.",
    ),
    "calibration": (
        "Scores and error bars",
        "left, small is good; spread over error should be 1, the last 0. Dotted: the reference in the finest cells. "
        "Bars: scatter between test boxes.",
    ),
}
PLAIN = "{:.3f}"
TABLES = (
    (
        "How close to the truth",
        (
            ("P_error", "max |P/P_HR−1|", "k ≤ 2 k_Ny", PLAIN),
            ("T_error", "mean |T−1|", "k ≤ 2 k_Ny", PLAIN),
            ("bispectrum", "bispectrum", "mean |Q/Q_HR−1|", PLAIN),
            ("distribution", "PDF", "Σ|Δ|/Σ", PLAIN),
            ("haloes", "halo mass function", "mean |N/N_HR−1|", PLAIN),
            ("accuracy", "told from HR", "0.5: not at all", PLAIN),
            ("auc", "its AUC", "0.5: not at all", PLAIN),
        ),
    ),
    (
        "As error bars",
        (
            ("crps_1", "CRPS", "1 cell", PLAIN),
            ("crps_2", "CRPS", "2³ cells", PLAIN),
            ("crps_4", "CRPS", "4³ cells", PLAIN),
            ("crps_1_of_reference", "over reference's", "1 cell", PLAIN),
            ("crps_1_of_regression", "over regression's", "1 cell", PLAIN),
            ("ratio_1", "spread / error", "1 cell", PLAIN),
            ("ratio_4", "spread / error", "4³ cells", PLAIN),
            ("coverage_1", "coverage error", "1 cell", PLAIN),
            ("r", "r", "k = 2 k_Ny", PLAIN),
            ("twin", "r of two samples", "k = 2 k_Ny", PLAIN),
        ),
    ),
    (
        "What it costs",
        (
            ("evaluations", "evaluations", "per sample", "{:.0f}"),
            ("sampling", "sample", "busy s", "{:.2f}"),
            ("seconds", "sample", "wall s", "{:.2f}"),
            ("training", "training", "busy s, start included", "{:.0f}"),
            ("memory", "memory", "MB", "{:.0f}"),
            ("parameters", "parameters", "", "{:,.0f}"),
        ),
    ),
)


def section(config: Config, results: Path, order: Sequence[str]) -> dict[str, Any] | None:
    """Draw the figures into results/figures and gather what the page shows; None with less than two families.

    order: the entries of the run, by which each has its colour. Raises DataError where a table is missing.
    """
    if not entries_of(config):
        return None
    table = read_table(results / "evaluation" / "families.ecsv")
    curves = {entry.name: read_table(results / "evaluations" / f"{entry.name}.ecsv") for entry in iterative(config)}
    drawers = {
        "radar": lambda: choicefigures.radar(table, order),
        "cost": lambda: choicefigures.cost(table, order, curves),
        "calibration": lambda: choicefigures.calibration(table, order),
    }
    shown = []
    for name in choice_figures(config):
        figure = drawers[name]()
        image = save_figure(figure, results / "figures" / f"families_{name}.png", config.report.pdf)
        title, look = LOOKS[name]
        shown.append({"image": image, "title": title, "look": look, "broad": name != "radar"})
    families = dict.fromkeys(str(row["family"]) for row in contenders(table))
    return {
        "introduction": INTRODUCTION,
        "families": {name: words(name) for name in families},
        "entries": [(name_of(row), str(row["family"])) for row in contenders(table)],
        "sentences": sentences(table, curves),
        "tables": [_numbers(table, title, columns) for title, columns in TABLES],
        "figures": shown,
        "cell": table.meta["cell"],
    }


def _numbers(table: QTable, title: str, columns: Sequence[tuple[str, str, str, str]]) -> dict[str, Any]:
    """List a table's cells as text; ★ for the best contender and all that tie with it, where some do not."""
    measures = {measure.column: measure for measure in MEASURES}
    best = {name: _starred(contenders(table), measures[name]) for name, *_ in columns if name in measures}
    rows = []
    for row in table:
        cells = [
            {**_text(row, name, form), "best": str(row["entry"]) in best.get(name, ())} for name, _, _, form in columns
        ]
        if any(cell["text"] != "–" for cell in cells):
            rows.append({"name": _name(row), "cells": cells})
    return {"title": title, "columns": [column[1:3] for column in columns], "rows": rows}


def _name(row: Row) -> str:
    told = " (regression, told the true modes)" if row["phases"] == "known" else " (regression)"
    return NATURE_NAME if row["kind"] == "nature" else name_of(row) + (told if row["kind"] == "regression" else "")


def _starred(rows: Sequence[Row], measure: Measure) -> set[str]:
    found = leaders(rows, measure)
    return {str(row["entry"]) for row in found} if len(found) < len(ranked(rows, measure)) else set()


def _text(row: Row, name: str, form: str) -> dict[str, str]:
    number, scatter = (float(getattr(x, "value", x)) for x in (row[name], _scatter(row, name)))
    known = np.isfinite(number)
    return {
        "text": form.format(number) if known else "–",
        "scatter": form.format(scatter) if known and np.isfinite(scatter) else "",
    }


def _scatter(row: Row, name: str) -> float:
    return row[f"{name}_std"] if f"{name}_std" in row.colnames else np.nan
