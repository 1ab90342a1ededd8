"""Put the tables of all entries and boxes side by side: mean over boxes, and the scatter between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Column, QTable, vstack

from supercosm.config import Config
from supercosm.errors import DataError
from supercosm.stages import tables_of
from supercosm.tables import read_table, write_table


def summarise(config: Config, results: Path, output: Path) -> None:
    """Combine every statistic of the boxes that a configuration names, and write <statistic>.ecsv into a folder.

    Raises DataError when a table is missing.
    """
    for name, paths in tables_of(config, Path(results)).items():
        write_table(Path(output) / f"{name}.ecsv", combine([read_table(path) for path in paths]))


def combine(tables: Sequence[QTable]) -> QTable:
    """Return entries below each other, in the order of their first appearance, averaged over boxes row by row.

    Columns that name a row ("axis" in the header) stay; of every other one there are the mean over boxes and
    <name>_std, the scatter between boxes, NaN where there is one. Missing values are left out of both. `boxes` is the
    number of boxes. Raises DataError when the rows of two boxes do not match.
    """
    if not tables:
        raise DataError("there is nothing to combine: give the tables of one statistic")
    groups: dict[str, list[QTable]] = {}
    for table in tables:
        lacking = [key for key in ("entry", "seed", "axis") if key not in table.meta]
        if lacking:
            raise DataError(f"a table lacks {', '.join(lacking)} in its header; give tables that Supercosm measured")
        groups.setdefault(table.meta["entry"], []).append(table)
    combined = vstack([_average(entry, group) for entry, group in groups.items()], metadata_conflicts="silent")
    first = tables[0].meta
    combined.meta = {key: first[key] for key in first if key not in ("entry", "seed")}
    return combined


def _average(entry: str, group: Sequence[QTable]) -> QTable:
    first, axis = group[0], group[0].meta["axis"]
    for table in group[1:]:
        if len(table) != len(first) or table.colnames != first.colnames:
            raise DataError(f"the boxes of entry '{entry}' were measured differently; measure them again")
    found = QTable({"entry": [entry] * len(first), "boxes": [len(group)] * len(first)})
    for name in first.colnames:
        values = [table[name] for table in group]
        if name in axis:
            found[name] = _mean_axis(values)
            continue
        stack = np.array([np.asarray(getattr(value, "value", value), float) for value in values])
        unit = getattr(values[0], "unit", None)
        mean, scatter = _mean_and_scatter(stack)
        found[name], found[f"{name}_std"] = (x if unit is None else x * unit for x in (mean, scatter))
    return found


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
