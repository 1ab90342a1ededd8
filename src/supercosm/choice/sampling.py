"""What a sample gains from more evaluations of the network: the cost of sampling by iterative families."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable

from supercosm import calibrate
from supercosm.compare import compare, comparison_grid, read_sample
from supercosm.config import AnyModel, Evaluation
from supercosm.device import choose_device
from supercosm.errors import ConfigurationError
from supercosm.evaluate import combine
from supercosm.model import Model, load_model
from supercosm.provenance import provenance
from supercosm.sampler import Options
from supercosm.snapshot import Snapshot, read_snapshot
from supercosm.superresolution import write_samples
from supercosm.tables import write_table

log = logging.getLogger(__name__)

SAMPLES = 2  # of every number of evaluations: what diversity and a fair score need


def evaluations(
    snapshot: Path, folder: Path, reference: Path, output: Path, options: Options, settings: Evaluation
) -> None:
    """Sample one low run with several numbers of evaluations, compare with the truth, and write one table.

    Raises ConfigurationError for a model whose samples are not made in steps.
    """
    model = load_model(folder, choose_device(options.device))
    counts = suitable(model.card.settings, settings.evaluations)
    low, truth = read_snapshot(snapshot), read_snapshot(reference)
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="supercosm-") as scratch:
            rows.append(_row(low, told(model, count), (Path(scratch), reference), truth, options, settings))
        log.info("%d evaluations: max |P/P_HR - 1| %.3f, CRPS %.3f", count, rows[-1]["P_error"], rows[-1]["crps"])
    table = QTable(rows=rows)
    for name in ("sampling", "seconds"):
        table[name] = table[name] * u.s
    table.meta = {
        "what": f"{SAMPLES} samples of one box by number of evaluations; CRPS and spread/error in the finest cells",
        "entry": Path(output).stem,
        "model": model.card.name,
        "own": model.card.settings.evaluations,
        "provenance": provenance("evaluations", settings.model_dump(), model=model.card.name, input=low.provenance),
    }
    write_table(output, table)


def suitable(settings: AnyModel, counts: Sequence[int]) -> list[int]:
    """Return the numbers of evaluations that suit a model, ascending, its own among them.

    Heun's steps of diffusion take two evaluations each but for the last, so even numbers get one more. Raises
    ConfigurationError for a model that has no such number.
    """
    if not hasattr(settings, "evaluations"):
        raise ConfigurationError(
            f"a model of family {settings.family} makes a sample in one evaluation; give one of flow_matching or "
            "diffusion"
        )
    odd = settings.family == "diffusion" and settings.solver == "heun"
    return sorted({count | 1 if odd else count for count in counts} | {settings.evaluations})


def told(model: Model, count: int) -> Model:
    """Return the model with another number of evaluations for a sample; its card is checked again."""
    settings = model.card.settings
    changed = type(settings).model_validate(settings.model_dump() | {"evaluations": count})
    return replace(model, card=model.card.model_copy(update={"settings": changed}))


def _row(
    low: Snapshot, model: Model, places: tuple[Path, Path], truth: Snapshot, options: Options, settings: Evaluation
) -> dict[str, Any]:
    """Sample, compare and time; places: an empty folder, and the file of the truth."""
    scratch, reference = places
    count = model.card.settings.evaluations
    paths = [scratch / f"{count}-evaluations-{number}.hdf5" for number in range(1, SAMPLES + 1)]
    cost = write_samples(low, [model], paths, options).costs[-1]  # the first one also warms up
    metrics = combine([compare(paths, reference, settings, model.card.name, 0)])[1][0]
    grid = comparison_grid(read_sample(paths[0]), truth, settings)
    cells = calibrate.cells(paths, truth, [], grid)
    finest = cells[np.argmin(cells["side"].value)]
    return {
        "evaluations": count,
        "P_error": float(metrics["density_P_worst_double"]),
        "T_error": float(metrics["density_T_error_double"]),
        "r": float(metrics["density_r_double"]),
        "twin": float(metrics["density_twin_double"]),
        "crps": float(finest["crps"]),
        "ratio": float(finest["ratio"]),
        "sampling": cost.busy,
        "seconds": cost.seconds,
    }
