"""Tell whether the spread of a model's samples of one box is the error that they make.

Beside the model stands nature: high-resolution runs with the same large scales and other small-scale modes are true
samples of what the low run does not know, so they are calibrated by construction and show the best score there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from astropy.table import QTable, vstack

from supercosm.compare import Grid, comparison_grid, modes_of, modes_on, read_sample
from supercosm.config import Evaluation
from supercosm.errors import DataError
from supercosm.fields import DensityField, density_of, log_density
from supercosm.provenance import provenance
from supercosm.snapshot import Snapshot, read_snapshot
from supercosm.statistics import calibration, power
from supercosm.tables import DENSITY_POWER, LENGTH, WAVE_NUMBER, write_table

AXES = {"spectra": ["k", "modes"], "cells": ["source", "samples", "side"]}
MERGED = 1, 2, 4  # cells per side that are merged into one: calibration at three sizes
BLOCKS = 4  # per axis, between which the scatter of rank histograms is measured: how many cells count as independent


def calibrate(
    samples: Sequence[Path], reference: Path, universes: Sequence[Path], output: Path, settings: Evaluation
) -> None:
    """Calibrate samples of one box against its truth; write spectra.ecsv and cells.ecsv into a folder.

    universes: high-resolution runs that share the truth's large scales and have other small-scale modes. Raises
    DataError on fewer than two samples, or boxes that do not belong together.
    """
    if len(samples) < 2:
        raise DataError(f"calibration needs at least 2 samples of one box, but there are {len(samples)}; draw more")
    truth, first = read_snapshot(reference), read_sample(samples[0])
    grid = comparison_grid(first, truth, settings)
    meta = {
        "entry": Path(samples[0]).absolute().parent.parent.name,
        "seed": Path(samples[0]).absolute().parent.name,
        "samples": len(samples),
        "universes": len(universes),
        "provenance": provenance("calibrate", settings.model_dump(), sample=first.provenance),
    }
    del first
    for name, table in (
        ("spectra", spectra(samples, truth, universes, grid, settings)),
        ("cells", cells(samples, truth, universes, grid)),
    ):
        table.meta = meta | {"axis": AXES[name]}
        write_table(Path(output) / f"{name}.ecsv", table)


def spectra(
    samples: Sequence[Path], truth: Snapshot, universes: Sequence[Path], grid: Grid, settings: Evaluation
) -> QTable:
    """Tabulate P(k) of the samples beside the truth, its calibration, and how samples correlate; one row per bin.

    P, P_spread, P_reference, P_universes and P_universes_spread [(Mpc/h)³]; crps of ln P; rank of the truth, 0 to S;
    z = (truth − mean) in units of the spread, of ln P; twin and r: correlations of samples with each other and with the
    truth; physical: the same of true runs that share the large scales. NaN where there are no universes. Raises
    DataError when a sample or universe is not of the truth's box and time.
    """
    reference = modes_on(truth, grid).density
    kept, found = [], []
    for path in samples:
        kept.append(modes_of(path, truth, grid, settings).density)
        found.append(_power(kept[-1], reference, grid).first)
    agreement = calibration.diversity(kept, reference, grid.box_size, grid.edges, grid.cells)
    pair = _power(reference, reference, grid)
    logs, true = np.log(np.array(found)), np.log(pair.second)
    table = QTable({"k": pair.k * WAVE_NUMBER, "modes": pair.modes})
    table["P"], table["P_spread"] = np.mean(found, 0) * DENSITY_POWER, np.std(found, 0, ddof=1) * DENSITY_POWER
    table["P_reference"] = pair.second * DENSITY_POWER
    table["crps"] = calibration.crps(logs, true)
    table["rank"] = calibration.ranks(logs, true)
    table["z"] = calibration.curve_calibration(logs[:, None], true[None]).z[0]
    table["twin"], table["r"] = agreement.twin, agreement.truth
    others = [modes_on(_universe(path, truth, settings), grid).density for path in universes]
    _add_universes(table, others, reference, grid)
    return table


def _universe(path: Path, truth: Snapshot, settings: Evaluation) -> Snapshot:
    snapshot = read_snapshot(path)
    comparison_grid(snapshot, truth, settings)  # refuses other boxes and times
    return snapshot


def _power(first: torch.Tensor, second: torch.Tensor, grid: Grid) -> power.Spectra:
    found = power.power(first, second, grid.box_size, grid.edges, grid.cells, power.CLOUD_IN_CELL)
    scale = grid.thickness
    return power.Spectra(found.k, found.modes, found.first * scale, found.second * scale, found.cross * scale)


def _add_universes(table: QTable, others: list[torch.Tensor], reference: torch.Tensor, grid: Grid) -> None:
    """Add the columns of true runs: all of them, the truth among them, are samples of nature."""
    table["P_universes"] = table["P_universes_spread"] = np.full(len(table), np.nan) * DENSITY_POWER
    table["physical"] = np.full(len(table), np.nan)
    if not others:
        return
    nature = [reference, *others]
    found = np.array([_power(one, one, grid).first for one in nature])
    agreement = calibration.diversity(nature, reference, grid.box_size, grid.edges, grid.cells)
    table["P_universes"] = found.mean(0) * DENSITY_POWER
    table["P_universes_spread"] = found.std(0, ddof=1) * DENSITY_POWER
    table["physical"] = agreement.twin


def cells(samples: Sequence[Path], truth: Snapshot, universes: Sequence[Path], grid: Grid) -> QTable:
    """Tabulate the calibration of ln(1 + δ + 0.1) of density cells; rows: size of the cells × samples of model, nature.

    source, samples, side [Mpc/h]; crps, spread, error, bias; ratio of spread to error, 1 if calibrated;
    coverage_<level> and its expectation; rank counts (S + 1 of them, the rest 0), the number of cells that count as
    independent, p_value.
    """
    target = _density(truth, grid, grid.side or grid.cells)
    rows, most = [], max(len(samples), len(universes))
    for source, paths in (("model", samples), ("nature", universes)):
        if len(paths) < 2:
            continue
        fields = np.stack([_density(read_sample(path), grid, grid.side or grid.cells) for path in paths])
        for factor, x, y in _coarsened(fields, target, grid):
            rows.append(_calibration_row(source, x, y, factor * grid.box_size / (grid.side or grid.cells), most))
    return vstack(rows)


def absolute_errors(sample: Path, reference: Path, settings: Evaluation) -> dict[int, float]:
    """Return the mean absolute error of ln(1 + δ + 0.1) of one prediction, by the cells merged per side: 1, 2, 4.

    It is the CRPS of a prediction without any spread, so it stands beside that of samples. Raises DataError when the
    boxes do not belong together.
    """
    truth, data = read_snapshot(reference), read_sample(sample)
    grid = comparison_grid(data, truth, settings)
    size = grid.side or grid.cells
    pairs = _coarsened(_density(data, grid, size), _density(truth, grid, size), grid)
    return {factor: float(np.abs(x - y).mean()) for factor, x, y in pairs}


def _coarsened(fields: np.ndarray, target: np.ndarray, grid: Grid) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield the cells merged per side, and ln(1 + δ + 0.1) of fields and truth in such cells."""
    for factor in MERGED:
        if (grid.side or grid.cells) % factor == 0:
            yield factor, *(log_density(_coarse(part, factor, grid.dimensions)) for part in (fields, target))


def _density(data: Snapshot | DensityField, grid: Grid, size: int) -> np.ndarray:
    if isinstance(data, DensityField):
        return data.data
    return density_of(data, size, grid.slabs if grid.dimensions == 2 else None).data


def _coarse(field: np.ndarray, factor: int, dimensions: int) -> np.ndarray:
    """Average blocks of factor cells along each of the last `dimensions` axes: what larger cells would hold."""
    for axis in range(field.ndim - dimensions, field.ndim):
        shape = (*field.shape[:axis], field.shape[axis] // factor, factor, *field.shape[axis + 1 :])
        field = field.reshape(shape).mean(axis + 1)
    return field


def _calibration_row(source: str, samples: np.ndarray, truth: np.ndarray, side: float, most: int) -> QTable:
    blocks = BLOCKS if all(length % BLOCKS == 0 for length in truth.shape) else 0
    histogram = calibration.rank_histogram(samples, truth, blocks=blocks)
    covered = calibration.coverage(histogram.counts, histogram.effective)
    found = calibration.spread_skill(samples, truth)
    row = {
        "source": [source],
        "samples": [len(samples)],
        "side": [side] * LENGTH,
        "crps": [float(calibration.crps(samples, truth).mean())],
        "spread": [found.spread],
        "error": [found.error],
        "bias": [found.bias],
        "ratio": [found.ratio],
        "p_value": [histogram.p_value],
        "effective": [histogram.effective],
    }
    for level, share, expected in zip(covered.levels, covered.found, covered.expected, strict=True):
        row[f"coverage_{100 * level:.0f}"], row[f"expected_{100 * level:.0f}"] = [share], [expected]
    for rank, count in enumerate(np.pad(histogram.counts, (0, most + 1 - len(histogram.counts)))):
        row[f"rank_{rank}"] = [count]
    return QTable(row)
