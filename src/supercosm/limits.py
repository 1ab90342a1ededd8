"""Say in sentences what a model cannot do, from the numbers of a run.

Each rule reads one table and returns a sentence where a limit is exceeded; what a model does well needs no warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from astropy.table import QTable

from supercosm.strokes import TRUTH

POWER, PLACE = 0.10, 0.9  # deviation of P and correlation r that count as right
COUNTS, SIGMAS = 0.2, 3.0  # deviation of a number of haloes, and its Poisson errors that count as more than chance
SLOW = 0.1  # deviation of a velocity dispersion
BIAS = 0.05  # of ln(1 + δ + 0.1) in one environment, for those who know the small scales
SPREAD = 0.9, 1.1  # spread over error of a calibrated model, within what few boxes tell
FOLLOWS = 0.8, 1.2  # slope of inferred over true parameter


JUDGED = ("spectra", "haloes", "pairwise", "environment", "calibration_cells", "drift", "cost")


def limits(entry: str, tables: Mapping[str, QTable], nyquist: float, drawn: bool = False) -> list[str]:
    """List what one entry cannot do. tables: the combined ones of a run by name; a missing one tells nothing.

    drawn: its small scales are others than the truth's. Then cells chosen by the truth's environment regress to the
    mean, in any true run too, and a bias in them says nothing.
    """
    rules = (
        ("spectra", lambda table: _scales(table, entry, nyquist)),
        ("haloes", lambda table: _haloes(table, entry)),
        ("pairwise", lambda table: _motions(table, entry)),
        ("environment", lambda table: [] if drawn else _environments(table, entry)),
        ("calibration_cells", lambda table: _calibration(table, entry)),
        ("drift", lambda table: _drift(table, entry)),
        ("cost", lambda table: _cost(table, entry)),
    )
    return [sentence for name, rule in rules if name in tables for sentence in rule(tables[name])]


def _rows(table: QTable, entry: str) -> QTable:
    return table[table["entry"] == entry]


def _reach(k: np.ndarray, good: np.ndarray, nyquist: float) -> str | None:
    """Say up to where all is good; None where it is everywhere."""
    bad = np.flatnonzero(~good)
    if not len(bad):
        return None
    if bad[0] == 0:
        return "at no scale"
    last = k[bad[0] - 1]
    return f"only up to k = {last:.2g} h/Mpc, {last / nyquist:.2g} Nyquist frequencies of the low run"


def _scales(table: QTable, entry: str, nyquist: float) -> Sequence[str]:
    rows = _rows(table, entry)
    if not len(rows):
        return []
    k, power, r = rows["k"].value, np.asarray(rows["density_T"]) ** 2, np.asarray(rows["density_r"])
    found = []
    reach = _reach(k, np.abs(power - 1) <= POWER, nyquist)
    if reach is not None:
        found.append(
            f"Its density has the right power (within {100 * POWER:.0f} %) {reach}; at k = {k[-1]:.2g} it has "
            f"{power[-1]:.2f} of it."
        )
    reach = _reach(k, r >= PLACE, nyquist)
    if reach is not None:
        found.append(f"Structure is in its place (r ≥ {PLACE:g}) {reach}; at k = {k[-1]:.2g}, r = {r[-1]:.2f}.")
    return found


def _haloes(table: QTable, entry: str) -> Sequence[str]:
    own, true = _rows(table, entry), _rows(table, TRUTH)
    if not len(own):
        return []
    mass, counted, numbers = true["mass"].value, np.asarray(true["haloes"]), np.asarray(own["haloes"])
    boxes = np.asarray(true["boxes"])
    chance = SIGMAS * np.sqrt(boxes * (counted + numbers))  # as if the two were counted in different universes
    ratio = np.divide(numbers, counted, out=np.ones(len(counted)), where=counted > 0)
    wrong = (np.abs(ratio - 1) > COUNTS) & (boxes * np.abs(numbers - counted) > chance)
    if not wrong.any():
        return []
    worst = int(np.argmax(np.where(wrong, np.abs(np.log(np.maximum(ratio, 1e-3))), 0)))
    where = ", ".join(f"{m:.2g}" for m in mass[wrong])
    return [
        f"Its haloes are not those of the truth in number (beyond {100 * COUNTS:.0f} %) around {where} M☉/h: around "
        f"{mass[worst]:.2g} M☉/h it has {ratio[worst]:.2f} of them."
    ]


def _motions(table: QTable, entry: str) -> Sequence[str]:
    own, true = _rows(table, entry), _rows(table, TRUTH)
    if not len(own):
        return []
    ratio = own["dispersion"].value / true["dispersion"].value
    wrong = np.abs(ratio - 1) > SLOW
    if not np.any(wrong & np.isfinite(ratio)):
        return []
    worst = int(np.nanargmax(np.abs(ratio - 1)))
    return [
        f"Relative velocities of particles {true['separation'][worst].value:.2g} Mpc/h apart scatter by "
        f"{ratio[worst]:.2f} of what they should: do not use it for redshift-space distortions at that scale."
    ]


def _environments(table: QTable, entry: str) -> Sequence[str]:
    rows = _rows(table, entry)
    found = [row for row in rows if abs(row["bias"]) > BIAS]
    if not found:
        return []
    parts = ", ".join(f"{100 * np.expm1(row['bias']):+.0f} % in {row['environment']}s" for row in found)
    return [f"Its density (1 + δ + 0.1, typical cell) is biased where you look at one environment alone: {parts}."]


def _calibration(table: QTable, entry: str) -> Sequence[str]:
    rows = table[(table["entry"] == entry) & (table["source"] == "model")]
    if not len(rows):
        return []
    row = rows[np.argmin(rows["side"].value)]
    if SPREAD[0] <= row["ratio"] <= SPREAD[1]:
        return []
    kind = "too small" if row["ratio"] < SPREAD[0] else "too large"
    return [
        f"The spread of its samples is {kind}, {row['ratio']:.2f} of their error in cells of {row['side'].value:.2g} "
        f"Mpc/h: intervals that should hold {100 * row['expected_90']:.0f} % of the truth hold "
        f"{100 * row['coverage_90']:.0f} %. Do not take it for an error bar."
    ]


def _drift(table: QTable, entry: str) -> Sequence[str]:
    found = []
    for parameter in dict.fromkeys(table["parameter"]):
        rows = table[(table["entry"] == entry) & (table["parameter"] == parameter)]
        if len(rows) and np.isfinite(rows["slope"][0]) and not FOLLOWS[0] <= rows["slope"][0] <= FOLLOWS[1]:
            found.append(
                f"In another cosmology its small scales do not follow: of a change in {parameter} they show "
                f"{100 * rows['slope'][0]:.0f} %."
            )
    return found


def _cost(table: QTable, entry: str) -> Sequence[str]:
    own, true = _rows(table, entry), _rows(table, TRUTH)
    if not len(own):
        return []
    row, truth = own[0], true["box"][0].value
    if not np.isfinite(row["break_even"]):
        return [
            f"It does not pay here: a box costs {row['box'].value:.3g} busy seconds, and its simulation {truth:.3g}."
        ]
    cheaper = [
        other
        for other in table[table["kind"] == "few steps"]
        if other["box"] <= row["box"] and other["density_T_error_double"] <= row["density_T_error_double"]
        and other["density_r_double"] >= row["density_r_double"]
    ]  # fmt: skip
    found = [f"It pays only from {row['break_even']:.0f} boxes on, training and training data included."]
    if cheaper:
        steps = cheaper[0]["entry"].removeprefix("steps")
        found.append(f"Who has the initial conditions gets better structure for less from {steps} N-body steps.")
    return found
