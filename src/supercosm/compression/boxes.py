"""Whole fields through a coder: cut, encode, quantise, pack; and back, without seams.

Coders of blocks see the field as they saw it in training, with the neighbours of each block: the field is padded
periodically by as many cells as a network looks around, so that the result does not depend on the tiles it was
computed in. Coders of single patches get patches that overlap, and are blended across the overlap.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from supercosm.compression import entropy
from supercosm.compression.coder import Coder
from supercosm.errors import DataError
from supercosm.networks.autoencoders import Convolutional, Linear

TILE = 128  # cells per side computed at once; memory grows with its cube
OVERLAP = 4  # cells that neighbouring patches share
SAFE = 1 - 1e-3  # of an error bound, so that another machine's rounding does not break it
ROUNDING = 1e-3  # of log density, by which networks may differ between machines


@dataclass(frozen=True)
class Encoded:
    """A field as integers: latents (k, n), and corrections (cells,) where an error bound is kept; else None."""

    latents: np.ndarray
    corrections: np.ndarray | None


def encode(field: np.ndarray, coder: Coder, step: float, bound: float | None = None) -> tuple[Encoded, np.ndarray]:
    """Encode log density, (x, y, z) for a coder of blocks or (slabs, x, y); return it with what decodes from it.

    step: size of a quantisation step, in rms of log density. bound: largest error of log density allowed, or None.
    Raises DataError for NaN, for a field of the wrong dimensions, and for steps and bounds too fine to be kept.
    """
    _check(field, coder, step, bound)
    latents = _analyse(field, coder)
    steps = (step * coder.grain.numpy())[:, None]
    symbols = _integers(latents / steps, f"quantisation step of {step:g}")
    decoded = decode(Encoded(symbols, None), coder, step, field.shape)
    if bound is None:
        return Encoded(symbols, None), decoded
    width = 2 * bound * SAFE
    missing = field.astype(np.float64) - decoded
    corrections = np.where(np.abs(missing) > bound * SAFE, missing / width, 0)
    corrections = _integers(corrections, f"error bound of {bound:g}")
    corrected = (decoded + width * corrections).astype(np.float32)
    return Encoded(symbols, corrections.ravel()), corrected


def decode(
    encoded: Encoded, coder: Coder, step: float, shape: tuple[int, ...], bound: float | None = None
) -> np.ndarray:
    """Decode log density (float32) of a shape from what `encode` returned."""
    latents = torch.from_numpy((encoded.latents * (step * coder.grain.numpy())[:, None]).astype(np.float32))
    decoded = _synthesise(latents, coder, shape)
    if encoded.corrections is None:
        return decoded
    width = 2 * bound * SAFE
    return (decoded + width * encoded.corrections.reshape(shape)).astype(np.float32)


def pack(encoded: Encoded) -> dict[str, bytes]:
    """Entropy-code the integers into named pieces of a file."""
    pieces = {"latents": entropy.pack(encoded.latents)}
    if encoded.corrections is not None:
        pieces["corrections"] = entropy.pack(encoded.corrections[None])
    return pieces


def unpack(pieces: dict[str, bytes], coder: Coder, shape: tuple[int, ...]) -> Encoded:
    """Invert `pack`; raise DataError when the pieces are not those of such a field."""
    if "latents" not in pieces:
        raise DataError(f"the file holds no latents but {', '.join(sorted(pieces)) or 'nothing'}; make it again")
    columns = latent_columns(coder, shape)
    latents = entropy.unpack(pieces["latents"], (coder.card.settings.latents, columns))
    corrections = None
    if "corrections" in pieces:
        corrections = entropy.unpack(pieces["corrections"], (1, math.prod(shape)))[0]
    return Encoded(latents, corrections)


def of_blocks(coder: Coder) -> bool:
    """Tell whether a coder codes blocks of a volume side by side, rather than single patches."""
    return coder.card.settings.dimensions == 3 and isinstance(coder.network, Linear | Convolutional)


def latent_columns(coder: Coder, shape: tuple[int, ...]) -> int:
    """Return how many patches, or blocks, a field of this shape is coded by."""
    p = coder.card.patch
    if of_blocks(coder):
        return math.prod(math.ceil(n / p) for n in shape)
    return sum(1 for _ in _places(coder, shape))


def _check(field: np.ndarray, coder: Coder, step: float, bound: float | None) -> None:
    if field.ndim != 3 or field.size == 0:
        raise DataError(f"a field to compress has three axes with cells along each, not the shape {field.shape}")
    if not np.isfinite(field).all():
        raise DataError("the field holds NaN or infinite values, which no coder can represent; make it again")
    if not (0 < step < math.inf and (bound is None or 0 < bound < math.inf)):
        raise DataError(f"the quantisation step ({step}) and the error bound ({bound}) must be positive and finite")
    # of the decoded value, and of the way to a density and back: exp, minus FLOOR, plus FLOOR, log
    rounding = float(np.spacing(np.float32(np.abs(field).max()))) + 4 * float(np.finfo(np.float32).eps)
    if bound is not None and bound * (1 - SAFE) < rounding:
        raise DataError(
            f"an error bound of {bound:g} is finer than float32 keeps for log density up to {np.abs(field).max():.3g}; "
            f"give at least {1.1 * rounding / (1 - SAFE):.2g}"
        )


def _integers(values: np.ndarray, what: str) -> np.ndarray:
    """Round to int32; raise DataError where that is too small."""
    if np.abs(values).max() > np.iinfo(np.int32).max - 1:
        raise DataError(f"a {what} is too fine: integers of 32 bits cannot count it; give a larger one")
    return np.rint(values).astype(np.int32)


def _analyse(field: np.ndarray, coder: Coder) -> np.ndarray:
    """Return the latents (k, n) of a field."""
    field = field.astype(np.float32, copy=False)
    if of_blocks(coder):
        return _through_tiles(field, coder)
    patches = np.stack([field[place] for place in _places(coder, field.shape)])
    sides = (coder.card.patch,) * coder.card.settings.dimensions  # of slabs, a patch has another axis of one cell
    return coder.encode(torch.from_numpy(patches.reshape(-1, 1, *sides))).numpy().T


def _synthesise(latents: Tensor, coder: Coder, shape: tuple[int, ...]) -> np.ndarray:
    if of_blocks(coder):
        return _from_tiles(latents, coder, shape)
    patches = coder.decode(latents.T.contiguous()).numpy()[:, 0]
    weight = _window(coder)
    total, norm = np.zeros(shape), np.zeros(shape)
    for place, patch in zip(_places(coder, shape), patches, strict=True):
        np.add.at(total, place, patch.astype(np.float64) * weight)
        np.add.at(norm, place, weight)
    return (total / norm).astype(np.float32)


def _places(coder: Coder, shape: tuple[int, ...]) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the cells of every patch as an open mesh of indices, periodic."""
    p, d = coder.card.patch, coder.card.settings.dimensions
    sides = shape[-d:]
    stride = max(1, p - min(OVERLAP, p // 4))
    starts = [range(0, n, stride if p < n else n) for n in sides]  # one patch covers a side that it is as long as
    for slab in range(shape[0]) if d == 2 else [None]:
        for corner in itertools.product(*starts):
            cells = [np.arange(first, first + p) % n for first, n in zip(corner, sides, strict=True)]
            yield np.ix_(*([np.array([slab])] if d == 2 else []), *cells)


def _window(coder: Coder) -> np.ndarray:
    """Return the weights of a patch's cells: they fall off linearly across the overlap."""
    p, d = coder.card.patch, coder.card.settings.dimensions
    overlap = min(OVERLAP, p // 4)
    edge = np.minimum(np.arange(p), np.arange(p)[::-1]) + 1.0
    profile = np.minimum(edge / (overlap + 1), 1.0)
    weight = profile
    for _ in range(d - 1):
        weight = np.multiply.outer(weight, profile)
    return weight[None] if d == 2 else weight


def _halo(coder: Coder) -> int:
    """Return how many blocks around a tile its networks look at."""
    network = coder.network
    return math.ceil(network.before.reach / coder.card.patch) if isinstance(network, Convolutional) else 0


def _tiles(blocks: tuple[int, ...], patch: int) -> Iterator[tuple[range, ...]]:
    """Yield ranges of blocks along each axis that cover a field of so many blocks."""
    count = max(1, TILE // patch)
    yield from itertools.product(*([range(i, min(i + count, n)) for i in range(0, n, count)] for n in blocks))


def _through_tiles(field: np.ndarray, coder: Coder) -> np.ndarray:
    p, halo = coder.card.patch, _halo(coder)
    blocks = tuple(math.ceil(n / p) for n in field.shape)
    latents = np.empty((coder.card.settings.latents, *blocks), np.float32)
    for tile in _tiles(blocks, p):
        around = [
            np.arange((r.start - halo) * p, (r.stop + halo) * p) % (b * p) % n
            for r, b, n in zip(tile, blocks, field.shape, strict=True)
        ]
        z = coder.encode(torch.from_numpy(field[np.ix_(*around)][None, None]))
        z = z.reshape(1, len(latents), *(len(r) + 2 * halo for r in tile))
        inside = tuple(slice(halo, halo + len(r)) for r in tile)
        latents[(slice(None), *(slice(r.start, r.stop) for r in tile))] = z[(0, slice(None), *inside)].numpy()
    return latents.reshape(len(latents), -1)


def _from_tiles(latents: Tensor, coder: Coder, shape: tuple[int, ...]) -> np.ndarray:
    p, halo = coder.card.patch, _halo(coder)
    blocks = tuple(math.ceil(n / p) for n in shape)
    latents = latents.reshape(-1, *blocks)
    padded = np.empty(tuple(b * p for b in blocks), np.float32)
    for tile in _tiles(blocks, p):
        around = [torch.arange(r.start - halo, r.stop + halo) % b for r, b in zip(tile, blocks, strict=True)]
        z = latents[:, around[0]][:, :, around[1]][:, :, :, around[2]]
        x = coder.decode(z[None])[0, 0].numpy()
        inside = tuple(slice(halo * p, (halo + len(r)) * p) for r in tile)
        padded[tuple(slice(r.start * p, r.stop * p) for r in tile)] = x[inside]
    return padded[tuple(slice(0, n) for n in shape)]
