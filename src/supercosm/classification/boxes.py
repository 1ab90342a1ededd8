"""Boxes with a class each, in splits: read once, checked once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from supercosm.compare import read_sample
from supercosm.errors import DataError
from supercosm.fields import DensityField, density_of
from supercosm.snapshot import Snapshot

SPLITS = ("training", "validation", "test")
UNKNOWN = 1_000_000  # boxes that record no seed are numbered from minus this down, apart in every split


@dataclass(frozen=True)
class Box:
    """The density 1 + δ of one box, float32 (m, m, m), its class, and the seed of its initial conditions."""

    label: str
    seed: int
    density: np.ndarray
    box_size: float
    provenance: Mapping[str, Any]


def read_splits(arguments: Mapping[str, Sequence[str]]) -> dict[str, list[Box]]:
    """Read the boxes of every split; each is given as `class=file`, a snapshot or a density field.

    Raises DataError for boxes that are no three-dimensional densities of one size.
    """
    splits = {}
    for number, split in enumerate(SPLITS):
        counts: dict[str, int] = {}
        splits[split] = []
        for argument in arguments.get(split, ()):
            label, _, path = argument.partition("=")
            if not label or not path:
                raise DataError(f"--{split} {argument}: give a class and a file, like high=box.hdf5")
            count = counts[label] = counts.get(label, 0) + 1
            splits[split].append(_read(label, Path(path), -UNKNOWN * (number + 1) - count))
    _check_sizes([box for boxes in splits.values() for box in boxes])
    return splits


def digest_of(splits: Mapping[str, Sequence[Box]]) -> str:
    """Tell boxes in splits apart by class, seed, and what they hold, in hexadecimal digits."""
    found = hashlib.sha256()
    for split in SPLITS:
        for box in splits.get(split, ()):
            found.update(f"{split} {box.label} {box.seed} {box.box_size}".encode())
            found.update(np.ascontiguousarray(box.density))
    return found.hexdigest()


def _read(label: str, path: Path, number: int) -> Box:
    try:
        sample = read_sample(path)
    except DataError as error:
        raise DataError(f"class '{label}', {path}: {error}") from error
    field = density_of(sample, sample.side) if isinstance(sample, Snapshot) else sample
    if not isinstance(field, DensityField) or field.dimensions != 3:
        raise DataError(f"class '{label}': {path} holds projected slabs; classification needs whole boxes")
    seed = seed_of(field.provenance)
    return Box(label, number if seed is None else seed, field.data, field.box_size, field.provenance)


def seed_of(provenance: Mapping[str, Any]) -> int | None:
    """Return the seed of the initial conditions that a box, or the low run it was made from, started with."""
    while "seed" not in provenance:
        parents = provenance.get("parents")
        if not parents:
            return None
        provenance = parents[0]
    return int(provenance["seed"])


def _check_sizes(boxes: Sequence[Box]) -> None:
    sizes = {(len(box.density), box.box_size) for box in boxes}
    if len(sizes) > 1:
        told = ", ".join(f"{cells}³ cells in {size:g} Mpc/h" for cells, size in sorted(sizes))
        raise DataError(f"the boxes differ in size ({told}), which gives the classes away; give boxes of one size")


def check_splits(splits: Mapping[str, Sequence[Box]], same_seeds: bool) -> tuple[str, ...]:
    """Return the classes in the order of the training boxes.

    same_seeds: whether all classes must have the same seeds in each split, so that their large scales agree.
    Raises DataError for one class, a class without examples, a class that is never trained, a seed in two splits.
    """
    classes = tuple(dict.fromkeys(box.label for box in splits["training"]))
    if len(classes) < 2:
        raise DataError(
            f"there is one class only ({', '.join(classes) or 'none'}); nothing can be told apart: give two"
        )
    for split in SPLITS:
        if split == "validation" and not splits[split]:
            continue
        there = {box.label for box in splits[split]}
        if unknown := sorted(there - set(classes)):
            raise DataError(
                f"class '{unknown[0]}' of the {split} boxes is none of those trained on ({', '.join(classes)})"
            )
        if lacking := [label for label in classes if label not in there]:
            raise DataError(f"class '{lacking[0]}' has no {split} box; give --{split} {lacking[0]}=file")
        if same_seeds:
            _check_same_seeds(split, splits[split], classes)
    check_disjoint(splits)
    return classes


def check_disjoint(splits: Mapping[str, Sequence[Box]]) -> None:
    """Raise DataError where a seed is in two splits."""
    seen: dict[int, str] = {}
    for split in SPLITS:
        for seed in {box.seed for box in splits[split]}:
            if seed in seen:
                raise DataError(
                    f"seed {seed} is in the {seen[seed]} and the {split} boxes: what was learnt of it would be taken "
                    "for skill; give every split its own seeds"
                )
            seen[seed] = split


def _check_same_seeds(split: str, boxes: Sequence[Box], classes: Sequence[str]) -> None:
    seeds = {label: sorted(box.seed for box in boxes if box.label == label) for label in classes}
    first = seeds[classes[0]]
    for label, own in seeds.items():
        if own != first:
            raise DataError(
                f"the {split} boxes of '{label}' have seeds {own}, those of '{classes[0]}' {first}: other large scales "
                "would be told apart, not the classes; give both the same seeds, or say --other-seeds"
            )
