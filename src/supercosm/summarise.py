"""Put the tables of all entries and boxes side by side: mean over boxes, and the scatter between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.table import Column, QTable, vstack

from supercosm.config import Config
from supercosm.errors import DataError
from supercosm.stages import is_truth, tables_of
from supercosm.tables import read_table, write_table

ALIKE = 0.1  # relative difference of what names a row between boxes: mean separations of haloes and the like differ


def summarise(config: Config, results: Path, output: Path) -> None:
    """Combine every statistic of the boxes that a configuration names, and write <statistic>.ecsv into a folder.

    Raises DataError when a table is missing.
    """
    for name, paths in tables_of(config, Path(results)).items():
        write_table(Path(output) / f"{name}.ecsv", combine([read_table(path) for path in paths]))


def combine(tables: Sequence[QTable]) -> QTable:
    """Return entries below each other, in the order of their first appearance, averaged over boxes row by row.

    Columns that name a row ("axis" in the header) stay; of every other one there are the mean over boxes and
    <name>_std, the scatter between boxes, NaN where there is one. Missing values are left out of both. Where truths are
    among the entries there is also <name>_paired, the scatter of the difference to the truth of the same box, which
    does not hold the scatter that all boxes have. `boxes` is their number. Raises DataError when the
    rows of two boxes do not match.
    """
    if not tables:
        raise DataError("there is nothing to combine: give the tables of one statistic")
    groups: dict[str, list[QTable]] = {}
    for table in tables:
        lacking = [key for key in ("entry", "seed", "axis") if key not in table.meta]
        if lacking:
            raise DataError(f"a table lacks {', '.join(lacking)} in its header; give tables that Supercosm measured")
        groups.setdefault(table.meta["entry"], []).append(table)
    truths = {_box(table): table for table in tables if is_truth(table.meta["entry"])}
    combined = vstack([_average(entry, group, truths) for entry, group in groups.items()], metadata_conflicts="silent")
    first = tables[0].meta
    combined.meta = {key: first[key] for key in first if key not in ("entry", "seed")}
    return combined


def _average(entry: str, group: Sequence[QTable], truths: Mapping[tuple, QTable]) -> QTable:
    first, axis = group[0], group[0].meta["axis"]
    for table in group[1:]:
        same = len(table) == len(first) and table.colnames == first.colnames
        if not same or not all(_alike(table[name], first[name]) for name in axis):
            raise DataError(f"the boxes of entry '{entry}' were measured differently; measure them again")
    found = QTable({"entry": [entry] * len(first), "boxes": [len(group)] * len(first)})
    for name in first.colnames:
        values = [table[name] for table in group]
        if name in axis:
            found[name] = _mean_axis(values)
            continue
        stack, unit = _stack(values), getattr(values[0], "unit", None)
        mean, scatter = _mean_and_scatter(stack)
        columns = {name: mean, f"{name}_std": scatter}
        if truths:
            columns[f"{name}_paired"] = _mean_and_scatter(stack - _truth_of(group, name, truths))[1]
        for column, numbers in columns.items():
            found[column] = numbers if unit is None else numbers * unit
    return found


def _stack(columns: Sequence[Column]) -> np.ndarray:
    return np.array([np.asarray(getattr(column, "value", column), float) for column in columns])


def _truth_of(group: Sequence[QTable], name: str, truths: Mapping[tuple, QTable]) -> np.ndarray:
    """Return a column of the truths of a group's boxes (boxes, rows), NaN for boxes that have none with such rows."""
    empty = np.full(len(group[0]), np.nan)
    found = [truths.get(_box(table), ()) for table in group]
    return _stack([truth[name] if len(truth) == len(empty) else empty for truth in found])


def _box(table: QTable) -> tuple:
    return table.meta.get("scale_factor"), table.meta["seed"]


def _alike(one: Column, other: Column) -> bool:
    """Tell whether two columns name the same rows."""
    if one.dtype.kind in "US":
        return bool(np.all(one == other))
    return np.allclose(*(getattr(column, "value", column) for column in (one, other)), rtol=ALIKE, equal_nan=True)


def _mean_axis(values: Sequence[Column]) -> Column:
    """Average what names a row: haloes' mean separations and the like differ a little from box to box."""
    if values[0].dtype.kind in "US":
        return values[0]
    return values[0] if len(values) == 1 else sum(values[1:], values[0]) / len(values)


def _mean_and_scatter(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(stack)
    count = known.sum(0)
    filled = np.where(known, stack, 0.0)
    mean = np.where(count > 0, filled.sum(0) / np.maximum(count, 1), np.nan)
    squared = np.where(known, (filled - mean) ** 2, 0.0).sum(0)
    return mean, np.where(count > 1, np.sqrt(squared / np.maximum(count - 1, 1)), np.nan)
