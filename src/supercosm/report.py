"""Write the report: one HTML page that needs nothing but itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import QTable
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from supercosm import figures
from supercosm.choice.section import section as choice
from supercosm.classification.section import realism
from supercosm.classification.section import section as classification
from supercosm.compare import read_sample
from supercosm.compression.section import section as compression
from supercosm.config import Config, Entry, entries
from supercosm.errors import DataError
from supercosm.evaluate import FIELDS
from supercosm.fields import DensityField, density_of
from supercosm.files import whole
from supercosm.history import diagnose
from supercosm.jobs import benchmarks
from supercosm.judgement import sections, shortcomings
from supercosm.losscurve import loss_curve
from supercosm.pictures import choose_view, panel, save_figure
from supercosm.provenance import machine, provenance
from supercosm.snapshot import Snapshot, read_snapshot
from supercosm.strokes import is_few_steps, label
from supercosm.tables import read_table

# metric: heading, its range, and whether the best value is the largest, the smallest, or is not marked
COLUMNS = {
    "T_error_nyquist": ("mean |T−1|", "k ≤ k_Ny", min),
    "T_error_double": ("mean |T−1|", "k ≤ 2 k_Ny", min),
    "P_worst_nyquist": ("max |P/P_HR−1|", "k ≤ k_Ny", min),
    "P_worst_double": ("max |P/P_HR−1|", "k ≤ 2 k_Ny", min),
    "r_worst_quarter": ("min r", "k ≤ k_Ny/4", max),
    "r_worst_nyquist": ("min r", "k ≤ k_Ny", max),
    "r_double": ("r", "k = 2 k_Ny", max),
    "twin_double": ("r of two samples", "k = 2 k_Ny", None),
}
TOLD = {
    "none": "the low run alone",
    "drawn": "the low run alone; small-scale phases or noise drawn",
    "known": "the low run and the true small-scale initial conditions",
}


def report(config: Config, results: str | Path, output: str | Path) -> None:
    """Draw the figures into results/figures and write the page; raise DataError when a file is missing."""
    results = Path(results)
    expected = entries(config)
    spectra = read_table(results / "evaluation" / "spectra.ecsv")
    metrics = read_table(results / "evaluation" / "metrics.ecsv")
    for name, table in (("spectra", spectra), ("metrics", metrics)):
        lacking = [entry.name for entry in expected if entry.name not in set(table["entry"])]
        if lacking:
            raise DataError(f"{results}/evaluation/{name}.ecsv lacks {', '.join(lacking)}; evaluate them first")
    told = realism(config, results)
    content = {
        "config": config,
        "models": [_model(results, name, config.report.pdf) for name in config.models],
        "meta": spectra.meta,
        "fields": list(FIELDS),
        "comparisons": [
            _comparison(config, results, group, (spectra, metrics), told) for group in _groups(expected, spectra)
        ],
        "choice": choice(config, results, list(spectra["entry"])),
        "sections": sections(config, results, list(spectra["entry"]), spectra.meta["k_Nyquist_low"]),
        "compression": compression(config, results),
        "classification": classification(config, results),
        "shortcomings": shortcomings(config, results, spectra.meta["k_Nyquist_low"]),
        "benchmarks": benchmarks(results / "benchmarks"),
        "entries": {entry.name: TOLD[entry.phases] for entry in expected},
        "machine": machine(),
        "provenance": provenance("report", config.model_dump(mode="json")),
    }
    text = files("supercosm").joinpath("report.html.jinja").read_text(encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters["pretty"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    page.filters["symbols"] = _symbols
    page.globals["label"] = label
    with whole(output) as part:
        part.write_text(page.from_string(text).render(**content), encoding="utf-8")


def _symbols(text: str) -> Markup:
    """Set the subscripts of k_Ny and P_HR."""
    return Markup(str(escape(text)).replace("_Ny", "<sub>Ny</sub>").replace("_HR", "<sub>HR</sub>"))


def _groups(expected: Iterable[Entry], spectra: QTable) -> Iterator[list[Entry]]:
    """Yield the entries that can be compared: same output time, same number of dimensions."""
    groups: dict[tuple[float, int], list[Entry]] = {}
    for entry in expected:
        row = spectra[spectra["entry"] == entry.name][0]
        groups.setdefault((-entry.scale_factor, -int(row["dimensions"])), []).append(entry)
    yield from (groups[key] for key in sorted(groups))


def _comparison(
    config: Config, results: Path, group: list[Entry], tables: tuple[QTable, QTable], told: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """Draw the figures and build the tables of one group, of spectra and metrics.

    told: how well a classifier tells entries from the true run.
    """
    spectra, metrics = tables
    names = [entry.name for entry in group]
    rows = spectra[np.isin(spectra["entry"], names)]
    dimensions, scale_factor = int(rows["dimensions"][0]), group[0].scale_factor
    tag = config.simulation.tag(scale_factor) + ("_slabs" if dimensions == 2 else "")
    shown = [f for f in FIELDS if np.isfinite(rows[f"{f}_T"]).any()]
    drawn: dict[str, dict[str, str]] = {}
    for field in shown:
        drawn[field] = {}
        for kind in ("power", "transfer", "correlation", "twins"):
            figure = getattr(figures, kind)(rows, field)
            if figure is not None:
                drawn[field][kind] = save_figure(
                    figure, results / "figures" / f"{kind}_{field}{tag}.png", config.report.pdf
                )
    return {
        "redshift": 1 / scale_factor - 1,
        "dimensions": dimensions,
        "picture": _picture(config, results, group, tag),
        "figures": drawn,
        "tables": {field: _table(group, metrics, field, told if field == "density" else {}) for field in shown},
    }


def _picture(config: Config, results: Path, group: list[Entry], tag: str) -> dict[str, Any]:
    """Draw the first test seed's slab and zoom: low run, first sample of every model, true high run."""
    seed, simulation = config.seeds.test[0], config.simulation
    time = simulation.tag(group[0].scale_factor)
    folder = results / "simulations" / str(seed)
    truth = read_snapshot(folder / f"high{time}.hdf5")
    mesh = _mesh(config, results, group, seed)
    depth = mesh.thickness if mesh and mesh.dimensions == 2 else config.report.slab
    view = choose_view(truth, depth, config.report.zoom, simulation.low)

    def show(title: str, data: Snapshot | DensityField) -> figures.Panel:
        """Show all on the mesh of the models of density, if there are any: sheets are sharper."""
        if mesh and isinstance(data, Snapshot):
            data = density_of(data, min(mesh.data.shape[-1], data.side))
        return panel(title, data, view)

    panels = [show("low resolution", read_snapshot(folder / f"low{time}.hdf5"))]
    for entry in group:
        if entry.model is not None:
            panels.append(show(label(entry.name), read_sample(_first_sample(results, entry, seed))))
    panels.append(show("true high resolution", truth))
    figure = figures.density(panels, simulation.box_size, view.zoom)
    image = save_figure(figure, results / "figures" / f"density{tag}.png", config.report.pdf)
    return {"image": image, "seed": seed, "depth": depth, "zoom": view.zoom[2], "mesh": mesh}


def _mesh(config: Config, results: Path, group: list[Entry], seed: int) -> DensityField | None:
    """Read a sample of a model of density, if the group has one."""
    for entry in group:
        if entry.model is not None and config.models[entry.model].fields == "density":
            return read_sample(_first_sample(results, entry, seed))
    return None


def _first_sample(results: Path, entry: Entry, seed: int) -> Path:
    return results / "superresolved" / entry.name / str(seed) / "1.hdf5"


def _table(group: list[Entry], metrics: QTable, field: str, told: dict[str, dict[str, float]]) -> dict[str, Any]:
    """List sections of rows by what the entries are told, since only those compete; mark the best.

    told: how well a classifier tells entries from the true run, if one was asked.
    """
    told = {entry.name: told[entry.name] for entry in group if entry.name in told}
    sections = []
    few_steps = [name for name in metrics["entry"] if is_few_steps(name)] if _is_last(group, metrics) else []
    for names, title in (
        ([entry.name for entry in group if entry.phases != "known"], f"told {TOLD['none']}"),
        ([entry.name for entry in group if entry.phases == "known"], f"told {TOLD['known']}"),
        (few_steps, "the high-resolution run itself, in few steps"),
    ):
        rows = [metrics[metrics["entry"] == name][0] for name in names]
        rows = [row for row in rows if np.isfinite(row[f"{field}_T_error_all"])]
        if rows:
            cells = [_cells(row, rows, field) for row in rows]
            for row in cells if told else ():
                row["cells"].append(_told_cell(row["entry"], names, told))
            sections.append({"title": title, "rows": cells})
    columns = [heading[:2] for heading in COLUMNS.values()]
    return {"columns": [*columns, ("told from HR", "0.5: not at all")] if told else columns, "sections": sections}


def _told_cell(entry: str, rivals: list[str], told: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Show how often a classifier tells an entry from the true run; the least is the best."""
    if entry not in told:
        return {"text": "–", "scatter": "", "best": False}
    accuracies = [told[name]["accuracy"] for name in rivals if name in told]
    accuracy, error = told[entry]["accuracy"], told[entry]["error"]
    best = len(accuracies) > 1 and accuracy == min(accuracies)
    return {"text": _number(accuracy), "scatter": _number(error) if np.isfinite(error) else "", "best": best}


def _is_last(group: list[Entry], metrics: QTable) -> bool:
    """Tell whether a group can be compared with the runs in few steps: whole boxes at the last output."""
    rows = metrics[[is_few_steps(name) for name in metrics["entry"]]]
    dimensions = metrics[metrics["entry"] == group[0].name]["dimensions"][0]
    return len(rows) > 0 and dimensions == 3 and np.isclose(rows["scale_factor"][0], group[0].scale_factor)


def _cells(row: Any, rows: list[Any], field: str) -> dict[str, Any]:
    cells = []
    for key, (_, _, best) in COLUMNS.items():
        value, scatter = float(row[f"{field}_{key}"]), float(row[f"{field}_{key}_std"])
        winner = best(float(other[f"{field}_{key}"]) for other in rows) if best and len(rows) > 1 else np.nan
        shown = [_number(float(other[f"{field}_{key}"])) for other in rows]
        wins = np.isfinite(winner) and _number(value) == _number(winner) and len(set(shown)) > 1
        cells.append(
            {
                "text": _number(value),
                "scatter": _number(scatter) if np.isfinite(scatter) else "",
                "best": wins,
            }
        )
    return {
        "entry": str(row["entry"]),
        "seeds": int(row["seeds"]),
        "samples": int(row["samples"]),
        "cells": cells,
    }


def _number(value: float) -> str:
    if 0 < abs(value) < 0.0005:
        return "<0.001"
    return f"{value:.3f}" if np.isfinite(value) else "–"


def _model(results: Path, name: str, pdf: bool) -> dict[str, Any]:
    """Read a model's card and draw its history."""
    folder = results / "models" / name
    try:
        card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"there is no model card {folder}/model.json; train the model '{name}' first") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{folder}/model.json is not valid JSON ({error}); train the model again") from error
    history = folder / "history.csv"
    image = save_figure(loss_curve(history), results / "figures" / f"loss_{name}.png", pdf)
    return {"name": name, "card": card, "image": image, "diagnosis": diagnose(history)}
