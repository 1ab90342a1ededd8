"""The arrays of an HDF5 file, read whole in pieces: what they hold, and whether their checksums agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from supercosm.files import hdf5_reader
from supercosm.stored import check_size

PIECE = 1 << 24  # numbers that are read at once


def describe_arrays(path: str | Path, kind: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read all arrays of a file; return how many there are and have checksums, and a row for each.

    HDF5 compares what it reads with the checksum: raises DataError, as `hdf5_reader` does, where one does not agree.
    """
    import hdf5plugin  # noqa: F401 - which tells HDF5 how to read compressed fields

    rows, guarded = [], 0
    with hdf5_reader(path, kind) as file:
        for name, data in datasets(file):
            check_size(data, Path(path))
            rows.append({"array": name, "shape": list(data.shape), "type": str(data.dtype), **_numbers(data)})
            guarded += data.fletcher32 or data.size == 0
    return {"arrays": len(rows), "arrays_with_a_checksum_that_agrees": guarded}, rows


def datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the names and arrays of a file in the order of their names."""
    names: list[str] = []
    file.visititems(lambda name, entry: names.append(name) if isinstance(entry, h5py.Dataset) else None)
    yield from ((name, file[name]) for name in sorted(names))


def pieces(data: h5py.Dataset) -> Iterator[Any]:
    """Yield the slices along the first axes that cut an array into parts of a bounded size."""
    if data.size <= PIECE or data.ndim == 0:
        yield ()
        return
    lead = next(axis for axis in range(data.ndim) if np.prod(data.shape[axis + 1 :]) <= PIECE)
    step = max(1, PIECE // int(np.prod(data.shape[lead + 1 :])))
    for corner in np.ndindex(*data.shape[:lead]):
        for start in range(0, data.shape[lead], step):
            yield (*corner, slice(start, start + step))


def _numbers(data: h5py.Dataset) -> dict[str, Any]:
    """Return the smallest and the largest number of an array and its rms; nothing for text."""
    numeric = data.dtype.kind in "iufb" and data.size > 0
    low, high, square = np.inf, -np.inf, 0.0
    for piece in pieces(data):
        values = data[piece]
        if numeric:
            low, high = min(low, float(np.min(values))), max(high, float(np.max(values)))
            square += float(np.sum(np.square(values, dtype=np.float64)))
    if not numeric:
        return {"smallest": None, "largest": None, "rms": None}
    return {"smallest": low, "largest": high, "rms": float(np.sqrt(square / data.size))}
