"""The compressors that people use for simulations, through the HDF5 filters of hdf5plugin.

A coded array describes itself: codec, shape, and for every part of up to three dimensions the error bound and the
HDF5 chunk that the filter made.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import h5py
import numpy as np

from supercosm.errors import ConfigurationError, DataError


@dataclass(frozen=True)
class Codec:
    """A compressor: its number in coded arrays, whether it loses anything, and whether it keeps an error bound."""

    number: int
    lossy: bool
    bounded: bool = False


CODECS = {
    "sz3": Codec(1, lossy=True, bounded=True),
    "zfp": Codec(2, lossy=True, bounded=True),
    "sperr": Codec(3, lossy=True, bounded=True),
    "zstd": Codec(4, lossy=False),
    "blosc2": Codec(5, lossy=False),
    "float16": Codec(6, lossy=True),
}
NAMES = {codec.number: name for name, codec in CODECS.items()}
TIGHTER = (1.0, 0.999, 0.99, 0.9, 0.5)  # of the bound: what a codec is asked for, in turn, until it keeps the bound
LARGEST = (1 << 32) - 1  # bytes of an HDF5 chunk
PART = "<BdI"  # codec, bound asked for, bytes


def encode(array: np.ndarray, codec: str, bound: float | None = None) -> bytes:
    """Code a float32 array of one to three dimensions, or (c, n, n, n) component by component.

    A codec that takes a bound keeps |decoded − array| ≤ bound in every cell: every part is decoded to see. Raises
    DataError for values that are not finite or that the codec cannot hold, ConfigurationError for a codec that is
    unknown or lacks its bound.
    """
    _check_codec(codec, bound)
    _check_array(array, codec)
    parts = array if array.ndim == 4 else [array]
    head = struct.pack(f"<BB{array.ndim}I", CODECS[codec].number, array.ndim, *array.shape)
    return head + b"".join(_encode_part(np.ascontiguousarray(part), codec, bound) for part in parts)


def decode(data: bytes) -> np.ndarray:
    """Decode what `encode` coded: float32; raise DataError when it is something else or damaged."""
    try:
        number, dimensions = struct.unpack_from("<BB", data)
        shape = struct.unpack_from(f"<{dimensions}I", data, 2)
        if number not in NAMES or not 1 <= dimensions <= 4:
            raise ValueError(f"codec {number}, {dimensions} dimensions")
        return _decode_parts(data, 2 + 4 * dimensions, shape)
    except (ValueError, OSError, RuntimeError, struct.error) as error:  # what HDF5 and its filters raise
        raise DataError(
            f"the compressed array of {len(data)} bytes cannot be decoded ({error}): it is damaged, something else, "
            "or of another version of hdf5plugin; make it again"
        ) from error


def _check_codec(codec: str, bound: float | None) -> None:
    if codec not in CODECS:
        raise ConfigurationError(f"there is no codec '{codec}'; choose among {', '.join(CODECS)}")
    if CODECS[codec].bounded and not (bound is not None and 0 < bound < np.inf):
        raise ConfigurationError(f"the codec '{codec}' needs an absolute error bound above 0, not {bound}")
    if not CODECS[codec].bounded and bound is not None:
        raise ConfigurationError(f"the codec '{codec}' keeps no error bound; leave out bound = {bound:g}")


def _check_array(array: np.ndarray, codec: str) -> None:
    if array.dtype != np.float32 or not 1 <= array.ndim <= 4 or not array.size:
        raise DataError(
            f"float32 arrays of one to four dimensions can be coded, not {array.dtype} of the shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise DataError(f"{np.count_nonzero(~np.isfinite(array))} values are NaN or infinite; they cannot be coded")
    largest = np.abs(array).max()
    if codec == "float16" and largest > np.finfo(np.float16).max:
        raise DataError(f"values up to {largest:g} do not fit float16, which ends at 65504; choose another codec")


def _encode_part(part: np.ndarray, codec: str, bound: float | None) -> bytes:
    """Code up to three dimensions with the first bound that keeps the one wanted, or without loss."""
    if part.nbytes > LARGEST:
        raise DataError(f"an array of the shape {part.shape} is larger than 4 GB, an HDF5 chunk's most; cut it first")
    if not CODECS[codec].bounded:
        return _frame(codec, 0.0, _compress(part, codec, 0.0))
    for factor in TIGHTER if _suits(part.shape, codec, bound) else ():
        chunk = _compress(part, codec, factor * bound)
        if len(chunk) >= part.nbytes:  # SZ3 can grow what it is to shrink
            break
        found = _decompress(chunk, part.shape, codec, factor * bound)
        # rounded to float32, what SZ3 and SPERR find breaks their promise now and then
        if np.abs(found.astype(np.float64) - part).max() <= bound:
            return _frame(codec, factor * bound, chunk)
    return _frame("zstd", 0.0, _compress(part, "zstd", 0.0))


def _suits(shape: tuple[int, ...], codec: str, bound: float) -> bool:
    """Return whether the filter can code such an array; what it cannot is tiny or absurd, and is coded without loss."""
    axes = [length for length in shape if length > 1]
    if codec == "sperr":  # two or three axes; its wavelets take no short ones, and it crashes from bounds of 1e18 on
        return len(axes) in (2, 3) and min(axes) >= 9 and bound < 1e15
    return len(axes) > 0


def _frame(codec: str, bound: float, chunk: bytes) -> bytes:
    return struct.pack(PART, CODECS[codec].number, bound, len(chunk)) + chunk


def _decode_parts(data: bytes, at: int, shape: tuple[int, ...]) -> np.ndarray:
    parts = []
    for _ in range(shape[0] if len(shape) == 4 else 1):
        number, bound, size = struct.unpack_from(PART, data, at)
        at += struct.calcsize(PART) + size
        if number not in NAMES or at > len(data):
            raise ValueError(f"part {len(parts) + 1} of codec {number} ends behind the data")
        parts.append(_decompress(data[at - size : at], shape[-3:], NAMES[number], bound))
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes follow")
    return np.stack(parts) if len(shape) == 4 else parts[0]


def _compress(part: np.ndarray, codec: str, bound: float) -> bytes:
    if codec == "float16":
        return part.astype("<f2").tobytes()
    with _dataset(part.shape, codec, bound) as dataset:
        dataset[...] = part
        dataset.flush()
        skipped, chunk = dataset.id.read_direct_chunk((0,) * part.ndim)
    if skipped:  # as HDF5 does without a word when a filter fails
        raise DataError(f"the filter of '{codec}' failed on an array of the shape {part.shape}; choose another codec")
    return chunk


def _decompress(chunk: bytes, shape: tuple[int, ...], codec: str, bound: float) -> np.ndarray:
    if codec == "float16":
        return np.frombuffer(chunk, "<f2").reshape(shape).astype(np.float32)
    with _dataset(shape, codec, bound) as dataset:
        dataset.id.write_direct_chunk((0,) * len(shape), chunk)
        return dataset[...]


@contextmanager
def _dataset(shape: tuple[int, ...], codec: str, bound: float) -> Iterator[h5py.Dataset]:
    """Open a float32 dataset of one chunk, in memory."""
    name = str(uuid4())  # HDF5 knows files in memory by their names, and refuses to open one twice
    with h5py.File(name, "w", driver="core", backing_store=False) as file:
        yield file.create_dataset("x", shape, "<f4", chunks=shape, **_filter(codec, bound))


def _filter(codec: str, bound: float) -> Any:
    try:
        import hdf5plugin
    except ImportError:
        raise ConfigurationError(
            f"the codec '{codec}' needs the library hdf5plugin, which is not installed: pip install hdf5plugin"
        ) from None
    if codec == "sz3":
        return hdf5plugin.SZ3(absolute=bound)
    if codec == "zfp":
        return hdf5plugin.Zfp(accuracy=bound)
    if codec == "sperr":
        return hdf5plugin.Sperr(absolute=bound, swap=True)  # SPERR counts axes from the fastest, HDF5 from the slowest
    if codec == "blosc2":
        return hdf5plugin.Blosc2(cname="zstd", clevel=5, filters=hdf5plugin.Blosc2.SHUFFLE)
    return hdf5plugin.Zstd(clevel=3)  # higher levels gain nothing on floats, and 1 % after Blosc's shuffling
