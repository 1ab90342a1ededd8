"""One row for every family on the same pairs: quality, calibration, realism, diversity and cost.

Numbers that a run does not have are NaN: no realism task, one sample, no true runs with other small scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable

from supercosm.calibrate import MERGED, absolute_errors
from supercosm.choice.contenders import contenders, realism_task, reference, regression
from supercosm.choice.deviations import of_haloes, of_pdf, of_triangles
from supercosm.classification.results import SCORES
from supercosm.classification.study import MAIN
from supercosm.config import Config, Entry
from supercosm.cost import way_of
from supercosm.model import CARD, read_card
from supercosm.provenance import provenance
from supercosm.stages import tables_of
from supercosm.tables import read_table, write_table

NATURE = "universes"  # row of the true runs with other small scales
LEVELS = (50, 68, 90)
COLUMNS = {
    "P_error": "max |P/P_HR − 1| of the density, k ≤ 2 k_Ny",
    "T_error": "mean |T − 1| of the density, k ≤ 2 k_Ny",
    "r": "correlation with the truth at 2 k_Ny",
    "twin": "correlation of two samples at 2 k_Ny",
    "diversity": "(1 − r of two samples)/(1 − r with the truth) at 2 k_Ny; 1 if calibrated",
    "diversity_error": "its distance from 1",
    "bispectrum": "mean |Q/Q_HR − 1| of the reduced bispectrum over all triangles",
    "distribution": "sum |PDF − PDF_HR| / sum PDF_HR of ln(1 + δ) in spheres, over all radii and bins",
    "haloes": "mean |N/N_HR − 1| over mass bins with at least 25 true haloes in all boxes",
    **{
        f"crps_{n}": f"CRPS of ln(1 + δ + 0.1), {n} cells merged per side; absolute error of regressions"
        for n in MERGED
    },
    **{f"crps_{n}_of_reference": "the same over that of the reference" for n in MERGED},
    **{f"crps_{n}_of_regression": "the same over the mean absolute error of the regression" for n in MERGED},
    **{f"ratio_{n}": f"spread over error, {n} cells merged per side; 1 if calibrated" for n in MERGED},
    "spread_error": "mean |spread/error − 1| over the sizes of cells",
    **{f"coverage_{n}": "mean |found − expected share| in 50, 68, 90 % intervals" for n in MERGED},
    "accuracy": "of the best classifier that tells patches from the true run; 0.5: not at all",
    "auc": "its area under the curve of true against false positives",
    "training": "busy seconds of the training, and of that of the model it starts from",
    "evaluations": "of the network, for one sample",
    "sampling": "busy seconds of one sample, without the low run",
    "seconds": "wall-clock seconds of one sample",
    "memory": "largest memory of a sampling job",
    "parameters": "weights of the network",
}
SCATTERED = ("P_error", "T_error", "r", "twin", "diversity_error", "bispectrum", "distribution", "haloes", "accuracy")
SCATTERED += ("spread_error", *(f"{name}_{n}" for name in ("crps", "ratio", "coverage") for n in MERGED))
UNITS = {"training": u.s, "sampling": u.s, "seconds": u.s, "memory": u.MB}
TABLES = ("metrics", "bispectrum", "distribution", "haloes", "calibration_cells", "calibration_spectra")


def families(config: Config, results: str | Path, output: str | Path) -> None:
    """Gather the families of a run and write one table; raise DataError where nothing was evaluated."""
    write_table(output, gather(config, Path(results)))


def gather(config: Config, results: Path) -> QTable:
    """Return a row for each contender, the reference first, then for the regression and for nature.

    Columns as in `COLUMNS`, and for some <name>_std: the scatter between test boxes; of the accuracy, half of its 68 %
    interval. Raises DataError on a missing table of metrics and on damaged files.
    """
    paths = {name: results / "evaluation" / f"{name}.ecsv" for name in TABLES}
    known = {"metrics", *tables_of(config, results)}  # none that an earlier configuration left behind
    there = {name: path for name, path in paths.items() if name in known}
    tables = {name: read_table(path) for name, path in there.items() if name == "metrics" or path.is_file()}
    first, fixed = reference(config), regression(config)
    rows = []
    for entry in contenders(config):
        kind = "reference" if entry == first else "contender"
        measured = _quality(tables, entry.name) | _calibration(tables, entry.name, "model")
        rows.append(
            _named(config, entry, kind) | measured | _realism(config, results, entry) | _paid(config, results, entry)
        )
    if fixed is not None:
        measured = _quality(tables, fixed.name) | _absolute(config, results, fixed)
        rows.append(_named(config, fixed, "regression") | measured | _paid(config, results, fixed))
    nature = _nature(tables, [entry.name for entry in contenders(config)])
    rows += [{"entry": NATURE, "kind": "nature", "family": "nature", "phases": "drawn"} | nature] if nature else []
    return _table(_relative(rows), config, tables["metrics"])


def _named(config: Config, entry: Entry, kind: str) -> dict[str, Any]:
    return {"entry": entry.name, "kind": kind, "family": config.models[entry.model].family, "phases": entry.phases}


def _quality(tables: Mapping[str, QTable], entry: str) -> dict[str, float]:
    """Return how far an entry is from the truth: power, place, and what the power spectrum does not see."""
    found = {}
    for row in tables["metrics"][tables["metrics"]["entry"] == entry]:
        for name, metric in (("P_error", "P_worst_double"), ("T_error", "T_error_double"), ("r", "r_double")):
            found |= {name: row[f"density_{metric}"], f"{name}_std": row[f"density_{metric}_std"]}
        found |= {"twin": row["density_twin_double"], "twin_std": row["density_twin_double_std"]}
        found |= _diversity(found)
    for name, deviation in (("bispectrum", of_triangles), ("distribution", of_pdf), ("haloes", of_haloes)):
        if name in tables:
            found[name], found[f"{name}_std"] = deviation(tables[name], entry)
    return found


def _diversity(found: Mapping[str, float]) -> dict[str, float]:
    """Compare how samples differ from each other and from the truth; the scatter is that of both, added in squares."""
    lacking = 1 - found["r"]
    if not lacking > 0:
        return {}
    diversity = (1 - found["twin"]) / lacking
    scatter = np.hypot(found["twin_std"], diversity * found["r_std"]) / lacking
    return {"diversity": diversity, "diversity_error": abs(diversity - 1), "diversity_error_std": scatter}


def _calibration(tables: Mapping[str, QTable], entry: str, source: str) -> dict[str, float]:
    """Return scores of the samples of an entry, or of the true runs beside it, for each size of cells."""
    found: dict[str, float] = {}
    if "calibration_cells" not in tables:
        return found
    table = tables["calibration_cells"]
    rows = table[(table["entry"] == entry) & (table["source"] == source)]
    for row in rows:
        merged = round(float(row["side"] / rows["side"].min()))
        for name in ("crps", "ratio"):
            found |= {f"{name}_{merged}": float(row[name]), f"{name}_{merged}_std": float(row[f"{name}_std"])}
        gaps = [abs(row[f"coverage_{level}"] - row[f"expected_{level}"]) for level in LEVELS]
        found[f"coverage_{merged}"] = float(np.mean(gaps))
        found[f"coverage_{merged}_std"] = float(np.mean([row[f"coverage_{level}_std"] for level in LEVELS]))
    if len(rows):
        found["spread_error"] = float(np.mean(np.abs(rows["ratio"] - 1)))
        found["spread_error_std"] = float(np.mean(rows["ratio_std"]))
    return found


def _absolute(config: Config, results: Path, entry: Entry) -> dict[str, float]:
    """Return the mean absolute error of a prediction without spread, which is its CRPS, where its boxes are there."""
    pairs = [
        (
            results / "superresolved" / entry.name / str(seed) / "1.hdf5",
            results / "simulations" / str(seed) / "high.hdf5",
        )
        for seed in config.seeds.test
    ]
    if not all(path.is_file() for pair in pairs for path in pair):
        return {}
    errors = [absolute_errors(sample, truth, config.evaluation) for sample, truth in pairs]
    found = {}
    for merged in errors[0]:
        values = [error[merged] for error in errors]
        found[f"crps_{merged}"] = float(np.mean(values))
        found[f"crps_{merged}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
    return found


def _realism(config: Config, results: Path, entry: Entry) -> dict[str, float]:
    """Return how well the best classifier tells an entry from the true run, where it was asked."""
    path = results / "classification" / (realism_task(config) or "") / entry.name / SCORES
    if not path.is_file():
        return {}
    scores = read_table(path)
    best = max(scores[scores["run"] == MAIN], key=lambda row: row["accuracy"])
    half = (best["accuracy_high"] - best["accuracy_low"]) / 2
    return {"accuracy": best["accuracy"], "accuracy_std": half, "auc": best["auc"]}


def _paid(config: Config, results: Path, entry: Entry) -> dict[str, float]:
    """Return what training and sampling cost, as far as it is known."""
    start = getattr(config.models[entry.model], "start", None)
    cards = [results / "models" / name for name in (entry.model, start) if name]
    if not all((card / CARD).is_file() for card in cards):
        return {}
    found = {"evaluations": getattr(read_card(cards[0]).settings, "evaluations", 1)}
    costs = [results / "costs" / "superresolved" / entry.name / f"{seed}.json" for seed in config.seeds.test]
    if not all(path.is_file() for path in costs):
        return found
    way = way_of(config, results, entry)
    paid = {name: getattr(way, name) for name in ("training", "seconds", "memory", "parameters")}
    return found | paid | {"sampling": way.box}


def _nature(tables: Mapping[str, QTable], names: list[str]) -> dict[str, float]:
    """Return what true runs with other small scales score as samples; they stand beside every entry alike."""
    found = _calibration(tables, names[0], "nature") if names else {}
    if names and "calibration_spectra" in tables:
        rows = tables["calibration_spectra"][tables["calibration_spectra"]["entry"] == names[0]]
        place = 2 * tables["metrics"].meta["k_Nyquist_low"]
        known = len(rows) and np.isfinite(rows["physical"]).all()
        value = float(np.interp(place, rows["k"].value, rows["physical"])) if known else np.nan
        same = {"r": value, "twin": value, "diversity": 1.0, "diversity_error": 0.0}  # by construction
        found |= same if np.isfinite(value) else {}
    return found


def _relative(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add every CRPS in units of the reference's, and of the absolute error of the regression."""
    known = {row["kind"]: row for row in rows}
    for row in rows:
        for of in ("reference", "regression"):
            for merged in MERGED:
                unit = known.get(of, {}).get(f"crps_{merged}", np.nan)
                row[f"crps_{merged}_of_{of}"] = row.get(f"crps_{merged}", np.nan) / unit
    return rows


def _table(rows: list[dict[str, Any]], config: Config, metrics: QTable) -> QTable:
    table = QTable({name: [row[name] for row in rows] for name in ("entry", "kind", "family", "phases")})
    for name in COLUMNS:
        for column in (name, f"{name}_std") if name in SCATTERED else (name,):
            table[column] = np.array([row.get(column, np.nan) for row in rows], float) * UNITS.get(name, 1)
    table.meta = {
        "what": "families on the same pairs at the last output; <name>_std is the scatter between test boxes",
        "columns": dict(COLUMNS),
        "cell": config.simulation.box_size / config.simulation.high,
        "boxes": len(config.seeds.test),
        "k_Nyquist_low": metrics.meta["k_Nyquist_low"],
        "units": "cell Mpc/h, k_Nyquist_low h/Mpc; busy seconds are of a core, of a GPU where one computed",
        "provenance": provenance("families", config.model_dump(mode="json", include={"seeds", "simulation"})),
    }
    return table
