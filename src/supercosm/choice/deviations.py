"""Sum up in one number how far the rows of a statistic are from the truth's.

Tables are the combined ones of a run. Each function returns a mean deviation and its scatter: the mean scatter between
boxes of the rows' deviations, each box compared with its own truth, which is an upper bound of that of their mean.
"""

from __future__ import annotations

import numpy as np
from astropy.table import QTable

from supercosm.stages import TRUTH

COUNTED = 25  # true haloes in all boxes from which a mass bin counts: its Poisson error is then 20 %
NOTHING = (np.nan, np.nan)


def of_triangles(table: QTable, entry: str) -> tuple[float, float]:
    """Return the mean |Q/Q_HR − 1| of the reduced bispectrum, in which the power spectrum has no part."""
    own, true = _rows(table, entry)
    if not len(own):
        return NOTHING
    return _relative(own, true, "Q", np.isfinite(np.asarray(true["Q"])) & (np.asarray(true["Q"]) != 0))


def of_haloes(table: QTable, entry: str) -> tuple[float, float]:
    """Return the mean |N/N_HR − 1| over bins of mass in which the truth has enough haloes."""
    own, true = _rows(table, entry)
    if not len(own):
        return NOTHING
    return _relative(own, true, "haloes", np.asarray(true["haloes"]) * np.asarray(true["boxes"]) >= COUNTED)


def of_pdf(table: QTable, entry: str) -> tuple[float, float]:
    """Return Σ |p − p_HR| / Σ p_HR over all bins and radii: rare densities count as often as they are."""
    own, true = _rows(table, entry)
    total = float(np.sum(true["pdf"]))
    if not len(own) or not total > 0:
        return NOTHING
    return float(np.sum(np.abs(own["pdf"] - true["pdf"]))) / total, float(np.sum(own["pdf_paired"])) / total


def _rows(table: QTable, entry: str) -> tuple[QTable, QTable]:
    """Return the rows of an entry and of the truth, none where they do not match."""
    own, true = (table[table["entry"] == name] for name in (entry, TRUTH))
    return (own, true) if len(own) == len(true) else (own[:0], true[:0])


def _relative(own: QTable, true: QTable, name: str, counts: np.ndarray) -> tuple[float, float]:
    if not counts.any():
        return NOTHING
    x, y, scatter = (np.asarray(column, float)[counts] for column in (own[name], true[name], own[f"{name}_paired"]))
    return float(np.mean(np.abs(x / y - 1))), float(np.mean(np.abs(scatter / y)))
