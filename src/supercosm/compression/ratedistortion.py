"""Rate–distortion curves: bits per cell against what is lost, of every coder and of the compressors people use.

Bits are those of files on disk: latents quantised and entropy-coded, headers and all. Three arenas: `patches`,
projected patches of the test boxes; `box`, the log density of one test box; `particles`, its displacements.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.table import QTable

from supercosm.compression import bitstream, boxes, entropy, rivals
from supercosm.compression.coder import Coder, unexplained
from supercosm.compression.distortion import Distortion, of_field
from supercosm.config import Compression
from supercosm.fields import log_density
from supercosm.mesh import paint
from supercosm.patches import Place, draw_patches
from supercosm.snapshot import Snapshot, lattice_positions

Row = dict[str, Any]

PREDICTED = "-predicted"  # after the name of a compressor that codes the difference to the super-resolved low run
UNUSED = {"zfp": 8}  # ZFP errs several times less than the bound it is given: what it is given, over the others'
GRID = 4  # patches per side of a region that is cut into patches, so that other compressors get whole regions


def evaluation_patches(
    slabs: Sequence[np.ndarray], side: int, count: int, seed: int
) -> tuple[torch.Tensor, list[Place]]:
    """Cut random regions of slabs into `grid_of` × `grid_of` patches that lie side by side, (b, 1, p, p) in all.

    slabs: (3, s, n, n) of each box, log density; see `patches.draw_patches`.
    """
    grid = grid_of(slabs[0].shape[-1], side)
    regions, corners = draw_patches(slabs, grid * side, max(1, count // grid**2), seed)
    cut = regions.unfold(2, side, side).unfold(3, side, side)  # (r, 1, grid, grid, p, p)
    places = [
        Place(corner.box, corner.axis, corner.slab, (corner.start[0] + i * side, corner.start[1] + j * side))
        for corner in corners
        for i in range(grid)
        for j in range(grid)
    ]
    return cut.reshape(-1, 1, side, side).contiguous(), places


def grid_of(cells: int, side: int) -> int:
    """Return how many patches per side a region of a slab of so many cells is cut into."""
    return max(1, min(GRID, cells // side))  # a patch that does not fit at all is refused by its name


def patch_rows(
    coders: Sequence[Coder], x: torch.Tensor, settings: Compression, cell: float, grid: int = GRID
) -> Iterator[Row]:
    """Measure coders of single patches, then the other compressors, on test patches of log density.

    grid: patches per side of the regions that other compressors are given.
    """
    length = x.shape[-1] * cell
    plain = x[:, 0].numpy()
    for coder in coders:
        z = coder.encode(x)
        decoded = coder.decode(z)
        yield _row(coder.card.name, None, None, of_field(plain, decoded[:, 0].numpy(), length, 2)) | {
            "latents": coder.card.settings.latents,
            "unexplained": unexplained(x, decoded),
        }
        for step in () if "-" in coder.card.name else settings.steps:  # of a sweep, what counts is which coder is best
            width = (step * coder.grain)[None]
            symbols = torch.round(z / width)
            size = _size({"coder": coder.card.name, "step": step}, {"z": entropy.pack(symbols.T.int().numpy())})
            decoded = coder.decode(symbols * width)
            found = of_field(plain, decoded[:, 0].numpy(), length, 2)
            yield _row(coder.card.name, step, 8 * size / x.numel(), found) | {
                "latents": coder.card.settings.latents,
                "unexplained": unexplained(x, decoded),
            }
    tall = _mosaic(plain, grid)
    for name, bound, data in _rival_codes(tall, settings.bounds):
        decoded = _patches_of(rivals.decode(data), plain.shape, grid)
        found = of_field(plain, decoded, length, 2)
        yield _row(name, bound, 8 * len(data) / x.numel(), found) | {
            "unexplained": unexplained(x, torch.from_numpy(decoded)[:, None])
        }


def box_rows(coders: Sequence[Coder], field: np.ndarray, settings: Compression, box_size: float) -> Iterator[Row]:
    """Measure coders of blocks, then the other compressors, on the log density (n, n, n) of a box."""
    for coder in coders:
        for step in settings.steps:
            encoded, decoded = boxes.encode(field, coder, step)
            size = _size({"coder": coder.card.name, "step": step}, boxes.pack(encoded))
            found = of_field(field, decoded, box_size, 3)
            yield _row(coder.card.name, step, 8 * size / field.size, found) | {"latents": coder.card.settings.latents}
    for name, bound, data in _rival_codes(field, settings.bounds):
        yield _row(name, bound, 8 * len(data) / field.size, of_field(field, rivals.decode(data), box_size, 3))


def particle_rows(snapshot: Snapshot, prediction: Snapshot | None, settings: Compression) -> Iterator[Row]:
    """Measure error-bounded codes of the displacement, alone and as the difference to a prediction.

    The distortion is of the density that the decoded particles paint, the rms error of the displacement [Mpc/h].
    """
    displacement = snapshot.displacement()
    field = log_density(paint(snapshot.positions, snapshot.box_size, snapshot.side).numpy())
    targets = {"": displacement}
    if prediction is not None:
        box = snapshot.box_size
        targets[PREDICTED] = (displacement - prediction.displacement() + box / 2) % box - box / 2
    for suffix, target in targets.items():
        for name, bound, data in _rival_codes(target.astype(np.float32), settings.lengths, lossless=not suffix):
            error = rivals.decode(data) - target
            positions = lattice_positions(
                (displacement + error).astype(np.float32), snapshot.box_size, 0, snapshot.offset
            )
            decoded = log_density(paint(positions, snapshot.box_size, snapshot.side).numpy())
            found = of_field(field, decoded, snapshot.box_size, 3)
            row = _row(name + suffix, bound, 8 * len(data) / displacement.size, found)
            yield row | {"rmse": float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))}


def _rival_codes(
    array: np.ndarray, bounds: Sequence[float], lossless: bool = True
) -> Iterator[tuple[str, float | None, bytes]]:
    """Compress an array by other compressors: those with an error bound at each of the bounds, and the rest."""
    for name, codec in rivals.CODECS.items():
        if not (codec.bounded or lossless):
            continue
        for bound in bounds if codec.bounded else [None]:
            allowed = bound * UNUSED.get(name, 1) if codec.bounded else None
            yield name, allowed, rivals.encode(array, name, allowed)


def _row(coder: str, setting: float | None, bits: float | None, found: Distortion) -> Row:
    nothing = float("nan")
    return {
        "coder": str(coder),
        "latents": 0,
        "setting": nothing if setting is None else setting,
        "bits": nothing if bits is None else bits,
        "unexplained": nothing,
        **found.row(),
    }


def _size(header: dict[str, Any], pieces: dict[str, bytes]) -> int:
    """Return how large a file of these pieces is on disk [bytes]."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "field.scz"
        bitstream.write(path, header, pieces)
        return path.stat().st_size


def _mosaic(patches: np.ndarray, grid: int) -> np.ndarray:
    """Lay patches (b, p, p) out as the regions that they were cut from, one below the other: (b p / grid, grid p)."""
    p = patches.shape[-1]
    return np.ascontiguousarray(patches.reshape(-1, grid, p, p).swapaxes(1, 2).reshape(-1, grid * p))


def _patches_of(mosaic: np.ndarray, shape: tuple[int, ...], grid: int) -> np.ndarray:
    p = shape[-1]
    return np.ascontiguousarray(mosaic.reshape(-1, p, grid, p).swapaxes(1, 2).reshape(shape))


def at_power_error(table: QTable, coder: str, error: float) -> float:
    """Return the bits per cell below which a coder's error of P(k) exceeds a limit; NaN where it never does, or always.

    The largest error of a few bins is no smooth curve, so that the point is where it first leaves the limit, coming
    from many bits, interpolated in the logarithms.
    """
    rows = table[(table["coder"] == coder) & np.isfinite(np.asarray(table["bits"], float))]
    order = np.argsort(np.asarray(rows["bits"]))[::-1]
    bits, found = (np.log(np.maximum(np.asarray(rows[name], float)[order], 1e-12)) for name in ("bits", "power_error"))
    found = np.where(np.isnan(found), np.inf, found)  # a field without power has no error that could be within
    outside = np.flatnonzero(found > np.log(error))
    if len(outside) == 0 or outside[0] == 0:
        return float("nan")
    last = outside[0] - 1
    share = (np.log(error) - found[last]) / (found[last + 1] - found[last])
    return float(np.exp(bits[last] + share * (bits[last + 1] - bits[last])))
