"""The stage of classification: files in, tables and arrays out; the science is in the modules beside this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from supercosm.classification.boxes import SPLITS, Box, check_disjoint, check_splits, digest_of, read_splits
from supercosm.classification.examples import cut
from supercosm.classification.looks import look
from supercosm.classification.results import write_part
from supercosm.classification.study import (
    MAIN,
    Data,
    Outcome,
    cosmology_runs,
    environment_run,
    outcomes,
    realism_run,
)
from supercosm.classification_settings import AnyTask, Environment, Realism
from supercosm.config import Config
from supercosm.device import choose_device
from supercosm.epochs import Epochs, epochs_in
from supercosm.errors import ConfigurationError, DataError
from supercosm.progress import progress
from supercosm.provenance import provenance
from supercosm.stages import TRUTH
from supercosm.statistics.environment import CLASSES
from supercosm.threads import one_thread

Splits = dict[str, list[Box]]


def classify(
    config: Config,
    name: str,
    boxes: Mapping[str, Sequence[str]],
    output: Path,
    other_seeds: bool = False,
    checkpoints: Path | None = None,
) -> None:
    """Run one part of a task and write its files into a folder.

    boxes: `class=file` of every split. Of a task of kind environment the classes are fields: one, and the true run
    `high`, or that alone. other_seeds: classes may have different seeds. checkpoints: folder for what the same call
    goes on from when SIGTERM or SIGUSR1 ended it, with a StoppedError.
    """
    task = _task(config, name)
    splits = read_splits(boxes)
    fingerprint = {"stage": "classify", "task": task.model_dump(mode="json"), "data": digest_of(splits)}
    with epochs_in(checkpoints, fingerprint) as epochs, one_thread():
        if isinstance(task, Environment):
            classes: tuple[str, ...] = CLASSES
            data, known = environment_run(_fields(splits), task)
            runs = [data]
        else:
            classes, known = check_splits(splits, same_seeds=not other_seeds), []
            runs = list(_runs(task, splits, classes))
        found, looks = _try(runs, task, classes, config.device, epochs)
    meta = {"task": name, "kind": task.kind, "part": Path(output).name, "classes": list(classes)}
    seeds = {split: sorted({box.seed for box in splits[split]}) for split in SPLITS}
    origin = provenance("classify", task.model_dump(mode="json"), seeds=seeds)
    write_part(Path(output), [*found, *known], looks, meta | origin)


def _task(config: Config, name: str) -> AnyTask:
    tasks = config.classification.tasks
    if name not in tasks:
        known = ", ".join(tasks) or "none"
        raise ConfigurationError(f"there is no task '{name}' in the configuration (classification.tasks: {known})")
    return tasks[name]


def _runs(task: AnyTask, splits: Splits, classes: Sequence[str]) -> Iterator[Data]:
    if isinstance(task, Realism):
        yield realism_run(splits, classes, task)
    else:
        yield from cosmology_runs(splits, classes, task)


def _try(
    runs: Sequence[Data], task: AnyTask, classes: Sequence[str], device: str, epochs: Epochs
) -> tuple[list[Outcome], dict[str, np.ndarray]]:
    """Try all classifiers on all runs, and look where the first network of the main run looks."""
    found: list[Outcome] = []
    looks: dict[str, np.ndarray] = {}
    with progress(f"classify {' | '.join(classes)}", len(runs)) as tick:
        for data in runs:
            made = list(outcomes(data, task, len(classes), choose_device(device), epochs))
            if data.run == MAIN:
                looks = look(made[0].trained, cut(data.test, data.side), len(classes))
            found += made
            tick()
    return found, looks


def _fields(splits: Splits) -> dict[str, tuple[list[Box], list[Box]]]:
    """Return the boxes of the field and of the true run by split; raise DataError for other than those two."""
    check_disjoint(splits)
    labels = list(dict.fromkeys(box.label for split in SPLITS for box in splits[split]))
    if TRUTH not in labels or len(labels) > 2:
        raise DataError(
            f"fields given: {', '.join(labels) or 'none'}; the environment is that of the true run: give it as "
            f"{TRUTH}=file, and one other field, or none"
        )
    field = next((label for label in labels if label != TRUTH), TRUTH)
    found = {}
    for split in (split for split in SPLITS if splits[split] or split != "validation"):
        mine, true = ([box for box in splits[split] if box.label == label] for label in (field, TRUTH))
        if not mine or not true:
            lacking = TRUTH if mine else field
            raise DataError(f"there is no {split} box of {lacking}; give --{split} {lacking}=file")
        found[split] = mine, true
    return found
