"""What coders learn from: patches of the training and validation boxes, in physical units and in those of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from supercosm.compression_settings import AnyCoder, Dense, Downsample
from supercosm.config import Config
from supercosm.errors import DataError
from supercosm.fields import log_density
from supercosm.pairs import PairFile
from supercosm.patches import draw_cubes, draw_patches, log_slabs, slab_cells

BLOCKS = 4  # per side of the cubes that coders of blocks are trained on, so that they know neighbours


@dataclass(frozen=True)
class Patches:
    """Patches of log density for training and validation, (b, 1, p, …), or cubes of `BLOCKS` blocks a side."""

    training: Tensor
    validation: Tensor
    patch: int
    cell: float
    thickness: float
    periodic: bool  # whether each of them is a whole box


@dataclass(frozen=True)
class Data(Patches):
    """The same in units of the network: (log density − offset) / factor."""

    offset: float
    factor: float


def read_patches(
    config: Config, dimensions: int, training: Sequence[PairFile], validation: Sequence[PairFile]
) -> Patches:
    """Read the patches of the training and validation boxes that all coders of so many dimensions share."""
    patches, first = config.compression.patches, training[0]
    thick = slab_cells(patches.thickness, first.box_size, first.high)
    drawn = []
    for files, count, seed in ((training, patches.training, 1), (validation, patches.test, 2)):
        boxes = [file.read("high/density")[0] for file in files]
        if dimensions == 2:
            x, _ = draw_patches([log_slabs(box, thick) for box in boxes], patches.side, count, seed)
        else:
            side = min(patches.block * BLOCKS, first.high)
            x = draw_cubes([log_density(box) for box in boxes], side, max(1, count * patches.side**2 // side**3), seed)
        drawn.append(x)
    cell = first.box_size / first.high
    return Patches(
        *drawn,
        patch=patches.side if dimensions == 2 else patches.block,
        cell=cell,
        thickness=cell * thick if dimensions == 2 else cell,
        periodic=drawn[0].shape[-1] == first.high,
    )


def scaled(patches: Patches, settings: AnyCoder) -> Data:
    """Scale patches as a coder wants them; raise DataError when they are constant."""
    x, held_out = patches.training, patches.validation
    if isinstance(settings, Dense | Downsample):  # which know single blocks alone
        x, held_out = cut_blocks(x, patches.patch), cut_blocks(held_out, patches.patch)
    if isinstance(settings, Dense) and settings.scaling == "unit":
        offset, factor = float(x.min()), float(x.max() - x.min())
        held_out = held_out.clamp(offset, offset + factor)  # cross-entropy has no meaning outside [0, 1]
    else:
        offset, factor = float(x.mean()), float(x.std())
    if not factor > 0:
        raise DataError("the training boxes are constant: there is nothing to learn from them")
    return Data(
        (x - offset) / factor,
        (held_out - offset) / factor,
        patches.patch,
        patches.cell,
        patches.thickness,
        patches.periodic,
        offset,
        factor,
    )


def cut_blocks(x: Tensor, patch: int) -> Tensor:
    """Cut cubes (b, 1, m p, …) into their blocks (b m³, 1, p, …); patches stay."""
    if x.shape[-1] == patch:
        return x
    for axis in range(2, 5):
        x = x.unfold(axis, patch, patch)  # (b, 1, m, m, m, p, p, p) in the end
    return x.reshape(-1, 1, patch, patch, patch)
