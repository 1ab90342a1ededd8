"""Rows of tiles: what one pass of a sampler makes of a slab of the box, strip by strip.

A row has the thickness of a tile along x. Its strips have the side of a tile along y and all of the box along z: with
one strip in memory at a time, memory does not grow with the square of the box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from supercosm.mesh import interpolation_matrix
from supercosm.smallscales import SmallScales

if TYPE_CHECKING:
    from supercosm.sampler import Sampler

Tick = Callable[[], None]


def strips(
    sampler: Sampler,
    fields: tuple[Tensor, SmallScales | None, Tensor | None],
    place: tuple[int, int],
    apply: Callable[..., Tensor],
    tick: Tick,
) -> Iterator[tuple[int, np.ndarray]]:
    """Make one pass over a row of tiles: yield (first y, (channels, planes, rows, n)), the next state or the fields.

    fields: the low run's, up-sampled for this row by `along_x`, small scales, and the state of the pass before around
    this row, all of y and z.
    place: number of the pass, and x of the row [low-resolution cells]. apply: makes that pass over one region.
    """
    low, modes, carried = fields
    number, x = place
    factor, side = sampler.factor, sampler.tile
    depth, wide = (size * factor for size in (sampler.depth, side))
    rim, halo = (size * factor for size in sampler.halos)
    spans = (depth + 2 * rim, wide + 2 * halo)
    channels = len(low) if number == sampler.passes - 1 else sampler.scheme.width
    inner = (slice(rim, rim + depth), slice(halo, halo + wide), slice(halo, halo + wide))
    for y in range(0, sampler.low, side):
        start = y * factor - halo
        small = None if modes is None else modes.window(x * factor - rim, spans[0], start, spans[1])
        state = None if carried is None else carried[:, :, _cyclic(start, spans[1], sampler.high)]
        out = np.empty((channels, depth, wide, sampler.high), np.float32)
        along_xy = _interpolate(sampler, low, 1, y)
        for z in range(0, sampler.low, side):
            first = (x * factor - rim, start, z * factor - halo)
            region = _interpolate(sampler, along_xy, 2, z)[None].to(sampler.device)
            cut = _cyclic(first[2], spans[1], sampler.high)
            around = tuple(None if f is None else f[..., cut][None].to(sampler.device) for f in (small, state))
            made = apply(number, region, around, first)[0][(slice(None), *inner)]
            out[..., z * factor : z * factor + wide] = made.cpu().numpy()
            tick()
        yield y * factor, out


def along_x(sampler: Sampler, low: Tensor, x: int) -> Tensor:
    """Up-sample fields of the low run (c, n, n, n) along x, for the row of tiles there: (c, planes + 2, n, n)."""
    return _interpolate(sampler, low, 0, x)


def _cyclic(start: int, count: int, side: int) -> Tensor:
    return torch.arange(start, start + count) % side


def _interpolate(sampler: Sampler, field: Tensor, axis: int, start: int) -> Tensor:
    """Up-sample one axis to a tile with its halo and one border cell."""
    size, halo = (sampler.depth, sampler.halos[0]) if axis == 0 else (sampler.tile, sampler.halos[1])
    span = (size + 2 * halo) * sampler.factor + 2
    first = (start - halo) * sampler.factor - 1
    matrix = interpolation_matrix(sampler.low, sampler.high, first, span)
    return torch.movedim(torch.tensordot(field, matrix, dims=([1 + axis], [1])), -1, 1 + axis)
