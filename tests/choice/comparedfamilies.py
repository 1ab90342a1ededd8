"""A small results folder of tables whose numbers are chosen so that each of what is made of them is known."""

import numpy as np
from astropy.table import QTable
from synthetic_results import write_model

from supercosm.config import check
from supercosm.files import write_json
from supercosm.tables import LENGTH, MASS, WAVE_NUMBER, write_table

NETWORK = {"channels": 8, "levels": 1, "blocks": 1, "patch": 2}
SHARED = {"network": NETWORK, "training": {"steps": 4, "crop": 16, "margin": 2, "validate_every": 4}}
MODELS = {
    "unet": {"family": "unet", "condition": ["low", "initial"], "noise": "initial", **SHARED},
    "gan": {"family": "gan", "noise": "initial", "start": "unet", **SHARED},
    "diff": {"family": "diffusion", "evaluations": 3, **SHARED},
}
ORDER = ["low", "linear", "unet", "unet-drawn", "gan", "diff"]
TRUTH_ROWS = {"Q": [1.0, 2.0, 0.0], "pdf": [0.2, 0.6, 0.2], "haloes": [100.0, 20.0, 2.0]}


def configured(**changes):
    content = {
        "seeds": {"training": [1], "validation": [2], "test": [8, 9]},
        "simulation": {"low": 16, "high": 32, "box_size": 50.0},
        "superresolution": {"tile": 16, "samples": 3},
        "audit": {"universes": 2},
        "models": MODELS,
        "classification": {"tasks": {"realism": {"kind": "realism", "boxes": 1, "side": 16, "other_seeds": False}}},
    }
    return check(content | changes)


def metrics(**rows):
    """Each row: (P_error, T_error, r, twin), with a tenth of each as the scatter between boxes."""
    table = QTable({"entry": list(rows)})
    names = ("P_worst_double", "T_error_double", "r_double", "twin_double")
    for number, name in enumerate(names):
        values = np.array([row[number] for row in rows.values()], float)
        table[f"density_{name}"], table[f"density_{name}_std"] = values, 0.1 * values
    table.meta["k_Nyquist_low"] = 1.0
    return table


def statistic(column, unit=1.0, **rows):
    """Stack the rows of the truth, `TRUTH_ROWS`, and of entries; the scatter of deviations is 0.1."""
    everyone = {"high": TRUTH_ROWS[column], **rows}
    entries = [name for name, values in everyone.items() for _ in values]
    table = QTable({"entry": entries, "boxes": [2] * len(entries)})
    table[column] = np.concatenate([np.array(values, float) for values in everyone.values()]) * unit
    table[f"{column}_paired"] = np.where(np.array(entries) == "high", 0.0, 0.1) * unit
    return table


def cells(**rows):
    """Each row: CRPS and spread over error in the finest cells; in larger ones both are a half and a quarter of it."""
    found = []
    for entry, (crps, ratio) in rows.items():
        for factor in (1, 2, 4):
            row = {"entry": entry, "source": "model", "side": 1.5 * factor, "crps": crps / factor, "crps_std": 0.01}
            row |= {"ratio": 1 + (ratio - 1) / factor, "ratio_std": 0.02}
            for level, gap in ((50, 0.1), (68, -0.2), (90, 0.3)):
                row |= {f"coverage_{level}": level / 200 + gap, f"expected_{level}": level / 200}
                row[f"coverage_{level}_std"] = 0.03
            found.append(row)
            if crps:
                found.append(row | {"source": "nature", "crps": 0.2 / factor, "ratio": 1.0})
    table = QTable(rows=found)
    table["side"] = table["side"] * LENGTH
    return table


def spectra(*entries):
    """The correlation of true runs with other small scales falls from 1 to 0.6 between k = 1 and 3: 0.8 at 2 k_Ny."""
    table = QTable({"entry": [entry for entry in entries for _ in range(2)]})
    table["k"] = [1.0, 3.0] * len(entries) * WAVE_NUMBER
    table["physical"] = [1.0, 0.6] * len(entries)
    return table


def fill(folder):
    """Write the tables, scores, cards and costs of `configured()` into a results folder."""
    drawn = ("unet-drawn", "gan", "diff")
    of_haloes = statistic("haloes", gan=[80.0, 30.0, 9.0])
    of_haloes["mass"] = [1e12, 1e13, 1e14] * 2 * MASS
    tables = {
        "metrics": metrics(
            unet=(0.1, 0.02, 0.95, np.nan), gan=(0.05, 0.03, 0.8, 0.9), diff=(0.2, 0.04, 0.8, 0.8),
            **{"unet-drawn": (0.1, 0.01, 0.9, 0.95)},
        ),
        "bispectrum": statistic("Q", gan=[1.2, 1.0, 5.0]),
        "distribution": statistic("pdf", gan=[0.3, 0.5, 0.2]),
        "haloes": of_haloes,
        "calibration_cells": cells(**{"unet-drawn": (0.5, 0.9), "gan": (0.4, 0.8), "diff": (0.6, 1.0)}),
        "calibration_spectra": spectra(*drawn),
    }  # fmt: skip
    for name, table in tables.items():
        write_table(folder / "evaluation" / f"{name}.ecsv", table)
    scores = QTable(
        {"run": ["all", "all", "other"], "accuracy": [0.7, 0.8, 0.9], "auc": [0.75, 0.85, 0.95]}
        | {"accuracy_low": [0.6, 0.76, 0.8], "accuracy_high": [0.8, 0.86, 1.0]}
    )
    write_table(folder / "classification" / "realism" / "gan" / "scores.ecsv", scores)
    for name, settings in configured().models.items():
        write_model(folder / "models" / name, name, settings)
    for name in (*drawn, "unet"):
        for seed, busy in ((8, 2.0), (9, 4.0)):
            costs = [{"what": "sample", "seconds": 1.0, "busy": busy, "memory": 100.0 * busy, "device": "cpu"}]
            write_json(folder / "costs" / "superresolved" / name / f"{seed}.json", costs)
    return folder
