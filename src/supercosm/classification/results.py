"""What the classifiers of one part of a task found, and its files: scores, predictions, histories, looks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.table import QTable

from supercosm.classification.predictions import Predictions
from supercosm.classification.study import Outcome
from supercosm.classification.verdict import judged
from supercosm.files import hdf5_reader, hdf5_writer
from supercosm.networks.classifiers import parameters
from supercosm.tables import read_table, write_table

SCORES, PREDICTIONS, HISTORIES, LOOKS = "scores.ecsv", "predictions.hdf5", "histories.ecsv", "looks.hdf5"
FIELDS = ("probabilities", "labels", "seeds", "places")


@dataclass(frozen=True)
class Part:
    """All of one part of a task: a super-resolved entry, a field, or all universes.

    scores: a row for each run and classifier, its meta with task, kind, part and the names of the classes. predictions:
    by (run, classifier), calibrated and, of networks, as they came. histories: rows of run, classifier, step, losses.
    looks: arrays as `looks.look` makes them, of the first network of the main run.
    """

    scores: QTable
    predictions: dict[tuple[str, str], tuple[Predictions, Predictions | None]]
    histories: QTable
    looks: dict[str, np.ndarray]

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by number."""
        return list(self.scores.meta["classes"])


def write_part(
    folder: Path, outcomes: Iterable[Outcome], looks: Mapping[str, np.ndarray], meta: Mapping[str, Any]
) -> None:
    """Write the four files of a part."""
    outcomes = list(outcomes)
    scores = QTable(rows=[_score(outcome) for outcome in outcomes])
    scores.meta = dict(meta)
    histories = QTable(rows=[row for outcome in outcomes for row in _history(outcome)])
    with hdf5_writer(folder / PREDICTIONS) as file:
        for outcome in outcomes:
            group = file.create_group(f"{outcome.run}/{outcome.classifier}")
            for name in FIELDS:
                _write(group, name, getattr(outcome.predictions, name))
            if outcome.uncalibrated is not None:
                _write(group, "uncalibrated", outcome.uncalibrated.probabilities)
    with hdf5_writer(folder / LOOKS) as file:
        for name, array in looks.items():
            _write(file, name, array)
    write_table(folder / HISTORIES, histories)
    write_table(folder / SCORES, scores)


def _write(group: h5py.Group, name: str, array: np.ndarray) -> None:
    # one chunk, since checksums belong to chunks
    group.create_dataset(name, data=array, chunks=array.shape, fletcher32=True)


def _score(outcome: Outcome) -> dict[str, Any]:
    trained = outcome.trained
    plain = {"ece_uncalibrated": np.nan, "log_loss_uncalibrated": np.nan}
    learnt = {
        "temperature": trained.temperature if trained else np.nan,
        "epochs": len(trained.rows) if trained else 0,
        "parameters": parameters(trained.network) if trained else 0,
    }
    found = judged(outcome.predictions, outcome.uncalibrated)
    return {"run": outcome.run, "classifier": outcome.classifier} | plain | found | learnt


def _history(outcome: Outcome) -> list[dict[str, Any]]:
    rows = outcome.trained.rows if outcome.trained else []
    named = {"run": outcome.run, "classifier": outcome.classifier}
    return [named | {"validation_loss": np.nan} | row for row in rows]


def read_part(folder: Path) -> Part:
    """Read the four files of a part; raise DataError for one that is missing or damaged."""
    predictions = {}
    with hdf5_reader(folder / PREDICTIONS, "file of predictions") as file:
        for run, classifiers in file.items():
            for classifier, group in classifiers.items():
                arrays = {name: group[name][:] for name in FIELDS}
                plain = arrays | {"probabilities": group["uncalibrated"][:]} if "uncalibrated" in group else None
                predictions[run, classifier] = (Predictions(**arrays), Predictions(**plain) if plain else None)
    with hdf5_reader(folder / LOOKS, "file of looks") as file:
        looks = {name: file[name][()] for name in file}
    return Part(read_table(folder / SCORES), predictions, read_table(folder / HISTORIES), looks)
