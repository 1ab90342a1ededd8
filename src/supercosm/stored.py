"""What an HDF5 file stores, looked at before it is read.

A few flipped bytes, or somebody's intent, can make a file claim more than it holds, or point to other files. What is
read here lies in the file itself, is made of plain numbers or texts, and is no larger than what is stored can become.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py

from supercosm.errors import DataError

DEEPEST = 1100  # times that deflate, the strongest of HDF5's own filters, can shrink anything
BOUNDED = 100_000  # times that error-bounded compressors may shrink a smooth field
BUILT_IN = 255  # the highest number of a filter that is HDF5's own
OWN_FILTERS = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)  # which shrink nothing


def check_all(file: h5py.File, path: Path) -> None:
    """Raise DataError unless every entry of one of this package's files is stored in it, and plain."""
    groups: list[h5py.Group] = [file]

    def look(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Group):
            groups.append(entry)
        elif not isinstance(entry, h5py.Dataset):
            raise DataError(f"{path}: /{name} is no array; the file is damaged, or of another kind: make it again")
        else:
            check(entry, path, "fiubS")

    file.visititems(look)
    for group in groups:
        for name in group:
            if group.get(name, getclass=True, getlink=True) is not h5py.HardLink:
                raise DataError(f"{path}: {group.name.rstrip('/')}/{name} is a link; this package writes none")


def check(data: h5py.Dataset, path: Path, kinds: str = "fiu") -> None:
    """Raise DataError unless a data set is stored in its file, as large as it says, and of such kinds of numbers."""
    if data.shape is None:
        raise DataError(f"{path}: {data.name} holds nothing at all (a null dataspace); give a file with numbers in it")
    if data.dtype.kind not in kinds:
        raise DataError(f"{path}: {data.name} holds no numbers; the file is damaged, or not of this kind")
    if data.is_virtual or data.external:
        raise DataError(f"{path}: {data.name} lies in other files; name those, or their folder, instead")
    check_size(data, path)


def check_size(data: h5py.Dataset, path: Path) -> None:
    """Raise DataError where a data set says that it is larger than what is stored of it can become."""
    stored = data.id.get_storage_size()
    if data.shape is not None and math.prod(data.shape) * data.dtype.itemsize > stored * _growth(data):
        raise DataError(
            f"{path}: {data.name} has the shape {data.shape}, but only {stored} bytes are there: it was never "
            "written to the end, or the file is truncated or damaged; write it again"
        )


def _growth(data: h5py.Dataset) -> int:
    """Return how many times larger than what is stored of it a data set may be, and know how to unpack it."""
    pipeline = data.id.get_create_plist()
    filters = {pipeline.get_filter(i)[0] for i in range(pipeline.get_nfilters())} - set(OWN_FILTERS)
    if any(number > BUILT_IN for number in filters):
        import hdf5plugin  # noqa: F401  (registers the filters that people use)

        return BOUNDED
    return DEEPEST if filters else 1


def positive(attributes: Any, name: str) -> float:
    """Return an attribute as a float; raise ValueError unless it is one positive, finite number."""
    value = float(attributes[name])
    if not 0 < value < math.inf:
        raise ValueError(f"{name} = {value:g}, which must be a positive number")
    return value


def whole_number(attributes: Any, name: str, least: int = 1) -> int:
    """Return an attribute as an int; raise ValueError for anything else, and for less than the least."""
    value = int(attributes[name])
    if value != attributes[name] or value < least:
        raise ValueError(f"{name} = {attributes[name]}, which must be a whole number from {least} on")
    return value
