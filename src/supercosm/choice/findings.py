"""Say in sentences which family is right for whom, from the table of families.

The reference takes part and is named where it wins. Differences within the scatter between test boxes are ties; of
costs, which are measured once, differences of less than a fifth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import QTable, Row

from supercosm.choice.choicefigures import contenders, name_of
from supercosm.choice.words import words
from supercosm.limits import SPREAD

CLOSE = 0.2  # share by which costs must differ
FOUND_OUT = 0.75  # share of patches told rightly from which boxes do not pass for true ones
GOOD_ENOUGH = 0.1  # share by which fewer evaluations may be worse than the best number of them


@dataclass(frozen=True)
class Measure:
    """A column in which small is good. what: its name in a sentence. unit: what follows the number."""

    column: str
    what: str
    unit: str = ""
    paid: bool = False


POWER = Measure("P_error", "max |P/P_HR − 1| up to 2 k_Ny")
BARS = Measure("spread_error", "mean |spread/error − 1|")
SCORE = Measure("crps_1", "CRPS of the finest cells")
REAL = Measure("accuracy", "share of patches told from the true run")
FAST = Measure("sampling", "cost of a sample", " busy s", paid=True)
TAUGHT = Measure("training", "cost of the training", " busy s", paid=True)
MEASURES = (
    POWER,
    Measure("T_error", "mean |T − 1|"),
    Measure("bispectrum", "bispectrum"),
    Measure("distribution", "PDF of the density"),
    Measure("haloes", "halo mass function"),
    SCORE,
    BARS,
    Measure("diversity_error", "diversity"),
    REAL,
    FAST,
    TAUGHT,
)
NEEDS = (
    ("you need one sample fast", FAST),
    ("power matters most", POWER),
    ("you need the best forecast of every cell", SCORE),
)
NEEDS += (("boxes must pass for true ones", REAL), ("you train often and sample little", TAUGHT))


def value(row: Row, measure: Measure) -> float:
    """Return a number without its unit."""
    found = row[measure.column]
    return float(getattr(found, "value", found))


def ties(one: Row, other: Row, measure: Measure) -> bool:
    """Tell whether two entries differ by no more than chance: the scatter of both, added in squares."""
    x, y = value(one, measure), value(other, measure)
    if measure.paid:
        return max(x, y) <= (1 + CLOSE) * min(x, y)
    scatter = np.hypot(*(float(row[f"{measure.column}_std"]) for row in (one, other)))
    return abs(x - y) <= (scatter if np.isfinite(scatter) else 0.0)


def ranked(rows: Sequence[Row], measure: Measure) -> list[Row]:
    """Sort the entries whose number is known, the best first."""
    known = [row for row in rows if np.isfinite(value(row, measure))]
    return sorted(known, key=lambda row: value(row, measure))


def leaders(rows: Sequence[Row], measure: Measure) -> list[Row]:
    """Return the best entry, then those that tie with it."""
    found = ranked(rows, measure)
    return [row for row in found if ties(found[0], row, measure)]


def sentences(table: QTable, curves: Mapping[str, QTable] | None = None) -> list[str]:
    """Recommend a family for each need, and say what the reference already does; curves: as `choicefigures.cost`."""
    rows = contenders(table)
    found = [sentence for need, measure in NEEDS for sentence in _need(rows, need, measure)]
    found[1:1] = [*_error_bars(rows), _likelihood(rows)]
    found += _reference(rows)
    found += _regression(rows, table)
    found += _nature(rows, table)
    found += [sentence for entry, curve in (curves or {}).items() for sentence in _enough(entry, curve)]
    if table.meta["boxes"] == 1:
        found.append(
            "There is one test box, which shows no scatter: small differences between these numbers may be chance."
        )
    return found


def _shown(row: Row, measure: Measure) -> str:
    return f"{name_of(row)} ({value(row, measure):.3g}{measure.unit})"


def _need(rows: Sequence[Row], need: str, measure: Measure) -> Iterator[str]:
    """Name the best, and those that cannot be told from it."""
    best, *others = leaders(rows, measure) or [None]
    if best is None or len(ranked(rows, measure)) < 2:
        return
    text = f"If {need}: {_shown(best, measure)}, by the {measure.what}"
    if others:
        text += f"; {', '.join(_shown(row, measure) for row in others)} {'ties' if len(others) == 1 else 'tie'} with it"
    if measure is REAL and value(best, measure) > FOUND_OUT:
        text += "; but even that is found out as a rule (50 % is chance)"
    yield text + "."


def _error_bars(rows: Sequence[Row]) -> Iterator[str]:
    """Say whose spread is the error, at every size of cells; if nobody's, whose is closest."""
    columns = [name for name in rows[0].colnames if name.startswith("ratio_") and not name.endswith("_std")]
    ratios = {str(row["entry"]): [float(row[name]) for name in columns if np.isfinite(row[name])] for row in rows}
    found = leaders(rows, BARS)
    if not found:
        return
    calibrated = [row for row in rows if _within(ratios[str(row["entry"])])]
    shown = [f"{name_of(row)} ({', '.join(f'{r:.2f}' for r in ratios[str(row['entry'])])})" for row in found]
    ties_too = f", with which {', '.join(shown[1:])} {'ties' if len(shown) == 2 else 'tie'}" if shown[1:] else ""
    text = f"If you need error bars: the spread of {shown[0]} is closest to the error at all sizes of cells{ties_too}; "
    if not calibrated:
        yield text + f"but nobody's lies within {SPREAD[0]:g} and {SPREAD[1]:g} of it everywhere, so rescale it first."
    else:
        yield text + f"within {SPREAD[0]:g} and {SPREAD[1]:g} of it: {', '.join(name_of(row) for row in calibrated)}."


def _within(ratios: Sequence[float]) -> bool:
    return bool(ratios) and all(SPREAD[0] <= ratio <= SPREAD[1] for ratio in ratios)


def _likelihood(rows: Sequence[Row]) -> str:
    able = [name_of(row) for row in rows if words(str(row["family"])).likelihood]
    if able:
        return f"If you need a likelihood: {', '.join(able)}; no other family here has one."
    return "If you need a likelihood: none of these has one; add a model of family flow."


def _reference(rows: Sequence[Row]) -> Iterator[str]:
    """Say in what the reference wins, in what it ties with the best, and by whom it is beaten."""
    if rows[0]["kind"] != "reference":
        return
    wins, shared, lost = [], [], []
    for measure in MEASURES:
        order = ranked(rows, measure)
        if len(order) < 2 or not np.isfinite(value(rows[0], measure)):
            continue
        best = order[0]
        if best["entry"] != rows[0]["entry"] and not ties(best, rows[0], measure):
            lost.append(f"{measure.what} (by {name_of(best)})")
        elif best["entry"] == rows[0]["entry"] and not ties(best, order[1], measure):
            wins.append(measure.what)
        else:
            shared.append(measure.what)
    name = f"the reference, {name_of(rows[0]).removesuffix(' (reference)')}"
    if wins:
        yield f"Nothing beats {name}, in: {', '.join(wins)}."
    if shared:
        yield f"Nothing is better than {name}, by more than chance in: {', '.join(shared)}."
    if lost:
        yield f"{name[0].upper()}{name[1:]}, is beaten in: {', '.join(lost)}."


def _regression(rows: Sequence[Row], table: QTable) -> Iterator[str]:
    """Put the best CRPS beside the error of a prediction without spread, which is its CRPS."""
    best = leaders(rows, SCORE)
    for row in table[table["kind"] == "regression"]:
        if best and np.isfinite(row["crps_1"]):
            told = "told the low run alone" if row["phases"] == "none" else "told the true small-scale modes as well"
            yield (
                f"A regression without spread, {name_of(row)}, {told}, has its mean absolute error as CRPS: "
                f"{row['crps_1']:.3f}; the best of the samples has {value(best[0], SCORE):.3f}."
            )


def _nature(rows: Sequence[Row], table: QTable) -> Iterator[str]:
    best = leaders(rows, SCORE)
    for row in table[table["kind"] == "nature"]:
        if best and np.isfinite(row["crps_1"]):
            yield (
                "True runs with other small scales, the best samples there can be, have a CRPS of "
                f"{row['crps_1']:.3f}; that of {name_of(best[0])} is "
                f"{100 * (value(best[0], SCORE) / float(row['crps_1']) - 1):+.1f} % from it."
            )


def _enough(entry: str, curve: QTable) -> Iterator[str]:
    """Say how few evaluations are within a tenth of the best of them, in power and in CRPS."""
    power, score = (np.asarray(curve[name], float) for name in ("P_error", "crps"))
    if not (np.isfinite(power).all() and np.isfinite(score).all()):
        return
    good = (power <= (1 + GOOD_ENOUGH) * power.min()) & (score <= (1 + GOOD_ENOUGH) * score.min())
    if good.any():
        first, own = int(np.flatnonzero(good)[0]), curve.meta["own"]
        count = int(curve["evaluations"][first])
        few = f"{count} evaluation{'s are' if count > 1 else ' is'}"
        yield (
            f"{entry}: {few} within {100 * GOOD_ENOUGH:.0f} % of the best of those tried in both power and CRPS, at "
            f"{curve['sampling'][first].value:.3g} busy s a sample on one box (the other numbers here are for {own})."
        )
    else:
        yield (
            f"{entry}: no number of evaluations is near the best in both power and CRPS: power is best with "
            f"{curve['evaluations'][int(power.argmin())]}, CRPS with {curve['evaluations'][int(score.argmin())]}."
        )
