"""The arrays of an HDF5 file, read whole in pieces: what they hold, and whether their checksums agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from supercosm.files import hdf5_reader

PIECE = 1 << 24  # numbers that are read at once


def describe_arrays(path: str | Path, kind: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read all arrays of a file; return how many there are and have checksums, and a row for each.

    HDF5 compares what it reads with the checksum: raises DataError, as `hdf5_reader` does, where one does not agree.
    """
    import hdf5plugin  # noqa: F401 - which tells HDF5 how to read compressed fields

    rows, guarded, unwritten = [], 0, []
    with hdf5_reader(path, kind) as file:
        for name, data in datasets(file):
            shape = None if data.shape is None else list(data.shape)
            rows.append({"array": name, "shape": shape, "type": str(data.dtype), **_numbers(data)})
            guarded += data.fletcher32 or not data.size
            unwritten += [name] if is_unwritten(data) else []
    facts: dict[str, Any] = {"arrays": len(rows), "arrays_with_a_checksum_that_agrees": guarded}
    return facts | ({"arrays_not_written_to_the_end": unwritten} if unwritten else {}), rows


def is_unwritten(data: h5py.Dataset) -> bool:
    """Tell whether an array, or a part of it, was never written; its numbers are those that it was made with."""
    if not data.size or data.is_virtual or data.external:
        return False
    if data.chunks is None:
        return data.id.get_storage_size() == 0
    chunks = np.prod([-(-length // chunk) for length, chunk in zip(data.shape, data.chunks, strict=True)], dtype=object)
    return data.id.get_num_chunks() < chunks


def datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the names and arrays of a file in the order of their names."""
    names: list[str] = []
    file.visititems(lambda name, entry: names.append(name) if isinstance(entry, h5py.Dataset) else None)
    yield from ((name, file[name]) for name in sorted(names))


def pieces(data: h5py.Dataset) -> Iterator[Any]:
    """Yield the slices along the first axes that cut an array into parts of a bounded size; none of a null one."""
    if data.shape is None:
        return
    if data.size <= PIECE or data.ndim == 0:
        yield ()
        return
    lead = next(axis for axis in range(data.ndim) if np.prod(data.shape[axis + 1 :]) <= PIECE)
    step = max(1, PIECE // int(np.prod(data.shape[lead + 1 :])))
    for corner in np.ndindex(*data.shape[:lead]):
        for start in range(0, data.shape[lead], step):
            yield (*corner, slice(start, start + step))


def _written(data: h5py.Dataset) -> Iterator[Any]:
    """Yield the slices of what was written of an array: its shape may claim more than anybody has room for."""
    if not is_unwritten(data):
        yield from pieces(data)
    elif data.chunks is not None:
        for number in range(data.id.get_num_chunks()):
            corner = data.id.get_chunk_info(number).chunk_offset
            yield tuple(slice(start, start + length) for start, length in zip(corner, data.chunks, strict=True))


def _numbers(data: h5py.Dataset) -> dict[str, Any]:
    """Return the least and the greatest number of what was written of an array, and its rms; nothing for text."""
    numeric = data.dtype.kind in "iufb"
    low, high, square, count = np.inf, -np.inf, 0.0, 0
    for piece in _written(data):
        values = np.asarray(data[piece])
        if numeric and values.size:
            low, high = min(low, float(np.min(values))), max(high, float(np.max(values)))
            square += float(np.sum(np.square(values, dtype=np.float64)))
            count += values.size
    if not count:
        return {"smallest": None, "largest": None, "rms": None}
    return {"smallest": low, "largest": high, "rms": float(np.sqrt(square / count))}
