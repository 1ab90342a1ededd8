"""By how much the numbers of two files differ; what depends on the day, not on the settings, is left out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from supercosm.errors import DataError
from supercosm.files import hdf5_reader
from supercosm.records.arrays import datasets, pieces

# columns and keys of these files that tell of times, memory and origin, which no run repeats
RUN_DEPENDENT = {
    "evaluation/cost.ecsv": ("box", "seconds", "training", "data", "memory", "saving", "break_even"),
    "evaluation/families.ecsv": ("training", "sampling", "seconds", "memory"),
    "evaluations/*.ecsv": ("sampling", "seconds"),
    "*/history.csv": ("seconds", "crops_per_second"),
    "*/model.json": ("training_seconds", "training_cores", "diagnosis", "provenance", "weights_sha256"),
}
COORDINATES = "PartType1/Coordinates"
NEVER = float("inf")  # the difference of what cannot be compared


@dataclass(frozen=True)
class Difference:
    """The largest relative difference of two files and the column, array or key that has it."""

    size: float = 0.0
    where: str = ""


def difference(first: Path, second: Path, name: str) -> Difference:
    """Compare the numbers of two files; name: that of the first in its results folder, e.g. evaluation/cost.ecsv.

    Raises DataError where one of them is damaged.
    """
    with open(first, "rb") as one, open(second, "rb") as other:
        if _same_bytes(one, other):
            return Difference()
    skipped = {key for pattern, keys in RUN_DEPENDENT.items() if fnmatch(name, pattern) for key in keys}
    return max(COMPARED[kind_of(name)](first, second, skipped), key=lambda found: found.size, default=Difference())


def kind_of(name: str) -> str | None:
    """Return the kind of a file that can be compared: its ending, or its name where that alone has numbers in it."""
    found = [kind for kind in COMPARED if name.endswith(kind)]
    return found[0] if found else None


def _same_bytes(one: Any, other: Any, size: int = 1 << 20) -> bool:
    while True:
        a, b = one.read(size), other.read(size)
        if a != b:
            return False
        if not a:
            return True


def _columns(a: Mapping[str, Any], b: Mapping[str, Any], skipped: set[str]) -> Iterator[Difference]:
    """Compare columns by name."""
    lacking = sorted((set(a) ^ set(b)) - skipped)
    if lacking:
        yield Difference(NEVER, f"{', '.join(lacking[:3])}: in one of them alone")
    for name in (name for name in a if name in b and name not in skipped):
        yield Difference(relative(np.asarray(a[name]), np.asarray(b[name])), name)


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest |a − b| over the larger of both, or over the median |a| where that is more.

    Infinite where the shapes differ, texts do, or one is a number and the other none.
    """
    if a.shape != b.shape:
        return NEVER
    if not {a.dtype.kind, b.dtype.kind} <= set("iufb"):
        return 0.0 if np.array_equal(a, b) else NEVER
    a, b = a.astype(np.float64), b.astype(np.float64)
    number = np.isfinite(a) & np.isfinite(b)
    if not np.array_equal(a[~number], b[~number], equal_nan=True):
        return NEVER
    a, b = a[number], b[number]
    gap = np.abs(a - b)
    if not gap.any():
        return 0.0
    scale = np.maximum(np.maximum(np.abs(a), np.abs(b)), np.median(np.abs(a)))
    return float(np.max(gap[gap > 0] / scale[gap > 0]))


def _tables(first: Path, second: Path, skipped: set[str]) -> Iterator[Difference]:
    from supercosm.tables import read_table

    both = [read_table(path) for path in (first, second)]
    plain = [{name: getattr(table[name], "value", table[name]) for name in table.colnames} for table in both]
    yield from _columns(*plain, skipped)


def _histories(first: Path, second: Path, skipped: set[str]) -> Iterator[Difference]:
    both = []
    for path in (first, second):
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        names = rows[0] if rows else ()
        both.append({name: np.array([float(row[name] or "nan") for row in rows]) for name in names})
    yield from _columns(*both, skipped)


def _cards(first: Path, second: Path, skipped: set[str]) -> Iterator[Difference]:
    both = []
    for path in (first, second):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is no whole card ({error}); train the model again") from error
        both.append(dict(_leaves({key: value for key, value in found.items() if key not in skipped})))
    yield from _columns(*both, set())


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the plain values of nested lists and mappings with their names, a.b.0."""
    if isinstance(value, dict | list):
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(entry, f"{name}.{key}" if name else str(key))
    else:
        yield name, np.nan if value is None else value


def _weights(first: Path, second: Path, skipped: set[str]) -> Iterator[Difference]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        both = [load_file(path) for path in (first, second)]
    except SafetensorError as error:
        raise DataError(f"the weights {first} or {second} are damaged ({error}); train the model again") from error
    if both[0].keys() != both[1].keys():
        yield Difference(NEVER, "the names of the weights")
        return
    yield from (Difference(_rms(a, both[1][name]), name) for name, a in both[0].items())


def _images(first: Path, second: Path, skipped: set[str]) -> Iterator[Difference]:
    from astropy.io import fits

    yield Difference(_rms(*(np.asarray(fits.getdata(path)) for path in (first, second))), "image")


def _arrays(first: Path, second: Path, skipped: set[str]) -> Iterator[Difference]:
    import hdf5plugin  # noqa: F401 - which tells HDF5 how to read compressed fields

    with hdf5_reader(first, "HDF5 file") as one, hdf5_reader(second, "HDF5 file") as other:
        a, b = dict(datasets(one)), dict(datasets(other))
        if a.keys() != b.keys():
            yield Difference(NEVER, f"{', '.join(sorted(a.keys() ^ b.keys())[:3])}: in one of them alone")
            return
        for name, data in a.items():
            period = float(one["Header"].attrs["BoxSize"]) if name == COORDINATES else None
            yield Difference(_rms(data, b[name], period), name)


def _rms(a: Any, b: Any, period: float | None = None) -> float:
    """Return the rms of a − b over the scatter of a, 0 where both are equal; arrays, or HDF5 data read in pieces."""
    if a.shape != b.shape:
        return NEVER
    numeric, gaps, total, squares = {a.dtype.kind, b.dtype.kind} <= set("iufb"), 0.0, 0.0, 0.0
    for piece in pieces(a) if isinstance(a, h5py.Dataset) else [()]:
        one, other = np.asarray(a[piece]), np.asarray(b[piece])
        if np.array_equal(one, other, equal_nan=numeric):
            gap = 0.0
        elif not numeric:
            return NEVER
        else:
            gap = one.astype(np.float64) - other
            gap -= period * np.round(gap / period) if period else 0.0
        gaps += float(np.sum(np.square(gap)))
        if numeric:
            total, squares = total + float(one.sum(dtype=np.float64)), squares + _square(one)
    if gaps == 0:
        return 0.0
    variance = squares / a.size - (total / a.size) ** 2
    size = float(np.sqrt(gaps / a.size / variance)) if variance > 0 else NEVER
    return size if np.isfinite(size) else NEVER


def _square(values: np.ndarray) -> float:
    return float(np.sum(np.square(values, dtype=np.float64)))


COMPARED: dict[str, Callable[[Path, Path, set[str]], Iterator[Difference]]] = {
    ".ecsv": _tables,
    ".hdf5": _arrays,
    ".safetensors": _weights,
    ".fits": _images,
    "model.json": _cards,
    "history.csv": _histories,
}
