"""Whether outputs follow the cosmology of the input, or drift to that of the training.

The amplitude A of the power between one and two Nyquist frequencies of the low run, which a low run does not hold,
grows with each parameter. Read off the true runs it says which parameter an output looks like; a model that ignores
the input's cosmology returns that of its training whatever the truth is: slope 0 instead of 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.table import QTable

from supercosm.errors import DataError
from supercosm.tables import read_table, write_table

BAND = (1.0, 2.0)  # in low Nyquist frequencies


def drift(tables: Sequence[Path], output: Path) -> None:
    """Read comparisons in several cosmologies, as `supercosm compare` writes them, and write what they tell."""
    write_table(output, regress([read_table(path) for path in tables]))


def regress(tables: Sequence[QTable]) -> QTable:
    """Infer the varied parameter of every output; one row per parameter, entry and box.

    true, inferred: the parameter. slope: of inferred on true over all rows of an entry and parameter, 1 if the model
    follows and 0 if it stays at its training. T_error: mean |T − 1| up to two low Nyquist frequencies. A box that was
    run at one value of a parameter tells nothing of it. Raises DataError where this holds for all.
    """
    known: dict[str, dict[str, tuple[Mapping[str, float], float]]] = {}
    outputs = []
    for table in tables:
        cosmology = _cosmology(table)
        key = ",".join(f"{name}={cosmology[name]:.6g}" for name in sorted(cosmology))
        own, true, error = _amplitudes(table)
        known.setdefault(table.meta["seed"], {})[key] = (cosmology, true)
        outputs.append((table.meta["entry"], table.meta["seed"], cosmology, own, error))
    usual = _most_common([cosmology for _, _, cosmology, _, _ in outputs])
    rows = []
    for parameter in _varied(outputs, usual):
        for entry, seed, cosmology, own, error in outputs:
            if _changed(cosmology, usual) - {parameter}:
                continue
            points = sorted((c[parameter], a) for c, a in known[seed].values() if not _changed(c, usual) - {parameter})
            if len(points) < 2:
                continue
            rows.append((parameter, entry, str(seed), cosmology[parameter], _invert(points, own), error))
    if not rows:
        raise DataError("no parameter was run at two values, so nothing can drift; compare runs in other cosmologies")
    table = QTable(rows=rows, names=("parameter", "entry", "seed", "true", "inferred", "T_error"))
    table["slope"] = [_slope(table, row["parameter"], row["entry"]) for row in table]
    table.meta["what"] = "the parameter that the power between 1 and 2 low Nyquist frequencies tells of"
    return table


def _cosmology(table: QTable) -> dict[str, float]:
    try:
        return dict(table.meta["provenance"]["reference"]["settings"]["cosmology"])
    except (KeyError, TypeError):
        raise DataError(
            f"the comparison of entry '{table.meta.get('entry', '?')}' does not name the cosmology of its reference; "
            "compare with a run that `supercosm simulate` made"
        ) from None


def _amplitudes(table: QTable) -> tuple[float, float, float]:
    """Return ln A of the samples and of the truth, and mean |T − 1| up to the band's end."""
    if not table.meta.get("k_Nyquist_low"):
        raise DataError(
            f"the comparison of entry '{table.meta['entry']}' does not name the low run's resolution; compare what "
            "`supercosm superresolve` made"
        )
    k = table["k"].value / table.meta["k_Nyquist_low"]
    band, below = (k > BAND[0]) & (k <= BAND[1]), k <= BAND[1]
    if not band.any():
        raise DataError("no bin lies between one and two low Nyquist frequencies; measure with more bins")
    own, true = (np.asarray(table[f"density_{name}"].value) for name in ("P", "P_reference"))
    error = np.abs(np.sqrt(own / true) - 1)[below].mean()
    return float(np.log(own[band]).mean()), float(np.log(true[band]).mean()), float(error)


def _most_common(cosmologies: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """Return the cosmology from which all others differ least: each shift changes it in its own parameters."""
    return min(cosmologies, key=lambda one: sum(len(_changed(other, one)) for other in cosmologies))


def _changed(cosmology: Mapping[str, float], usual: Mapping[str, float]) -> set[str]:
    return {name for name, value in cosmology.items() if abs(value - usual[name]) > 1e-9}


def _varied(outputs: Sequence[tuple], usual: Mapping[str, float]) -> list[str]:
    alone = [_changed(cosmology, usual) for _, _, cosmology, _, _ in outputs]
    return sorted({min(names) for names in alone if len(names) == 1})


def _invert(points: Sequence[tuple[float, float]], amplitude: float) -> float:
    """Return the parameter at an amplitude, by a parabola (two points: a line) through those of the true runs."""
    values, amplitudes = np.array(points).T
    curve = np.polyfit(amplitudes, values, min(2, len(points) - 1))
    return float(np.polyval(curve, amplitude))


def _slope(table: QTable, parameter: str, entry: str) -> float:
    rows = table[(table["parameter"] == parameter) & (table["entry"] == entry)]
    if np.ptp(rows["true"]) == 0:
        return np.nan
    return float(np.polyfit(rows["true"], rows["inferred"], 1)[0])
