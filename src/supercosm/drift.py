"""Whether outputs follow the cosmology of the input, or drift to that of the training.

The spectrum between one and two Nyquist frequencies of the low run, which a low run does not hold, responds to a
parameter. Its amplitude along the response of the true runs, translated as they have it, says which parameter an output
looks like; a model that ignores the input's cosmology returns that of its training whatever the truth is: slope 0
instead of 1. Some parameters hardly show there (Ω_m at fixed σ8 does not), and then nothing is inferred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import QTable

from supercosm.errors import DataError
from supercosm.tables import read_table, write_table

BAND = (1.0, 2.0)  # in low Nyquist frequencies
LEAST = 0.1  # change of ln P over all true runs, rms over the band, that a parameter can be read off


def drift(tables: Sequence[Path], output: Path) -> None:
    """Read comparisons in several cosmologies, as `supercosm compare` writes them, and write what they tell."""
    write_table(output, regress([read_table(path) for path in tables]))


@dataclass(frozen=True)
class Output:
    """One comparison: entry, box, cosmology, mesh (dimensions, cells), ln P in the band of output and truth, error."""

    entry: str
    seed: str
    cosmology: Mapping[str, float]
    mesh: tuple
    own: np.ndarray
    true: np.ndarray
    error: float


def regress(tables: Sequence[QTable]) -> QTable:
    """Infer the varied parameter of every output; one row per parameter, entry and box.

    true, inferred: the parameter. response: change of the truth's ln P over its runs, rms over the band; where it is
    too small to read a parameter off, inferred and slope are NaN. T_error: mean |T − 1| up to two low Nyquist
    frequencies. slope: of inferred on true over all rows of an entry and parameter, 1 if the model follows and 0 if it
    stays at its training. A box that was run at one value of a parameter tells nothing of it. Raises DataError where
    this holds for all.
    """
    outputs = [_read(table) for table in tables]
    usual = _most_common([output.cosmology for output in outputs])
    rows = []
    for parameter in _varied(outputs, usual):
        chosen = [output for output in outputs if not _changed(output.cosmology, usual) - {parameter}]
        for output in chosen:
            same = [other for other in chosen if (other.seed, other.mesh) == (output.seed, output.mesh)]
            runs = {other.cosmology[parameter]: other.true for other in same}
            if len(runs) > 1:
                values, spectra = np.array(sorted(runs)), np.array([runs[value] for value in sorted(runs)])
                found = _infer(values, spectra, output.own)
                rows.append((parameter, output.entry, output.seed, output.cosmology[parameter], *found, output.error))
    if not rows:
        raise DataError("no parameter was run at two values, so nothing can drift; compare runs in other cosmologies")
    table = QTable(rows=rows, names=("parameter", "entry", "seed", "true", "inferred", "response", "T_error"))
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


def _read(table: QTable) -> Output:
    if not table.meta.get("k_Nyquist_low"):
        raise DataError(
            f"the comparison of entry '{table.meta['entry']}' does not name the low run's resolution; compare what "
            "`supercosm superresolve` made"
        )
    cosmology = _cosmology(table)
    samples = len(table) // len(set(table["k"].value.tolist()))
    k = table["k"].value.reshape(samples, -1)[0] / table.meta["k_Nyquist_low"]
    band, below = (k > BAND[0]) & (k <= BAND[1]), k <= BAND[1]
    if not band.any():
        raise DataError("no bin lies between one and two low Nyquist frequencies; measure with more bins")
    own, true = (table[f"density_{name}"].value.reshape(samples, -1) for name in ("P", "P_reference"))
    error = float(np.abs(np.sqrt(own / true) - 1)[:, below].mean())
    logs = (np.log(spectra[:, band]).mean(0) for spectra in (own, true))
    mesh = (table.meta.get("dimensions"), table.meta.get("cells"))
    return Output(table.meta["entry"], str(table.meta["seed"]), cosmology, mesh, *logs, error)


def _most_common(cosmologies: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """Return the cosmology from which all others differ least: each shift changes it in its own parameters."""
    return min(cosmologies, key=lambda one: sum(len(_changed(other, one)) for other in cosmologies))


def _changed(cosmology: Mapping[str, float], usual: Mapping[str, float]) -> set[str]:
    return {name for name, value in cosmology.items() if abs(value - usual[name]) > 1e-9}


def _varied(outputs: Sequence[Output], usual: Mapping[str, float]) -> list[str]:
    alone = [_changed(output.cosmology, usual) for output in outputs]
    return sorted({min(names) for names in alone if len(names) == 1})


def _infer(values: np.ndarray, spectra: np.ndarray, own: np.ndarray) -> tuple[float, float]:
    """Return the parameter that an output's ln P (bins,) looks like, and the response of the true runs (runs, bins).

    The amplitude is that along the mean response; a parabola (of two runs: a line) through the true runs turns it into
    the parameter.
    """
    slope = np.polyfit(values, spectra, 1)[0]
    response = float(np.sqrt(np.mean(slope**2)) * np.ptp(values))
    if response < LEAST:
        return np.nan, response
    amplitudes = (spectra - spectra.mean(0)) @ slope
    curve = np.polyfit(amplitudes, values, min(2, len(values) - 1))
    return float(np.polyval(curve, (own - spectra.mean(0)) @ slope)), response


def _slope(table: QTable, parameter: str, entry: str) -> float:
    rows = table[(table["parameter"] == parameter) & (table["entry"] == entry)]
    if np.ptp(rows["true"]) == 0 or not np.isfinite(rows["inferred"]).all():
        return np.nan
    return float(np.polyfit(rows["true"], rows["inferred"], 1)[0])
