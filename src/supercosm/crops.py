"""Training crops: random periodic pieces of the paired boxes, in all orientations of the cube.

Which crop is drawn is a function of (seed, index) alone, so a resumed training sees the crops it would have
seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from supercosm.caching import GIGABYTE, Cache
from supercosm.config import Cosmology, Model
from supercosm.errors import DataError
from supercosm.fields import log_density
from supercosm.hardware_settings import Hardware
from supercosm.mesh import upsample
from supercosm.pairs import PairFile
from supercosm.sharing import ALONE, Share
from supercosm.skew import CANDIDATES, Environments, Place
from supercosm.statistics.environment import CLASSES
from supercosm.told import numbers, units

Crop = dict[str, Tensor]
VECTORS = ("displacement", "velocity")


class Crops(Dataset):
    """Crops of the pair files as physical fields: `low` with a border cell, `small` where used, `high`.

    For a network that is told something there is `told` (numbers,). Displacement and velocity are then divided by their
    `units` (see supercosm.told), of which that of the displacement is `growth` (1, 1, …).
    """

    def __init__(
        self,
        files: Sequence[PairFile],
        model: Model,
        unit: int,
        *,
        seed: int,
        augment: bool,
        cache: Cache | None = None,
    ) -> None:
        """Prepare crops whose origins are multiples of `unit` high-resolution cells and of a low one.

        cache: for low-resolution fields, kept from crop to crop, that may be shared; all else is read for every crop.
        """
        self.files, self.model, self.seed, self.augment = list(files), model, seed, augment
        self.factor = self.files[0].high // self.files[0].low
        self.unit = math.lcm(unit, self.factor)
        self.side = model.training.crop
        self.cache = Cache(Hardware().cache * GIGABYTE) if cache is None else cache
        self.environments = Environments(self.files, self.cache)
        self.units = [units(model, file) for file in self.files]
        check_files(self.files, model, self.side)

    def __getitem__(self, index: int) -> Crop:
        """Return crop number `index`; there is no last one."""
        draw = np.random.default_rng([self.seed, index])
        which, start = self._place(draw)
        if self.model.dimensions == 2:
            slab = (int(draw.integers(3)), int(draw.integers(self.files[which].slabs)))
            crop = self._slab(which, slab, start)
        else:
            crop = self._cube(which, start)
        for number in range(self.model.draws):
            crop[f"drawn{number}"] = self._elsewhere(draw, which)
        if self.augment:
            axes = draw.permutation(self.model.dimensions)
            flips = draw.integers(2, size=self.model.dimensions).astype(bool)
            crop = {name: transform(field, axes, flips) for name, field in crop.items()}
        if self.model.told:
            crop["told"] = numbers(self.model.told, self.files[which])
            crop["growth"] = torch.full((1,) * (1 + self.model.dimensions), self.units[which][0])
        return crop

    def __len__(self) -> int:
        """Return a nominal length; samplers choose the indices."""
        return 2**31

    def _place(self, draw: np.random.Generator) -> Place:
        """Draw a box and the crop's first cell in it; of several where the training is to be skewed."""
        wanted = self.model.training.skew if self.augment else None
        candidates = []
        for _ in range(CANDIDATES if wanted else 1):
            which = int(draw.integers(len(self.files)))
            places = self.files[which].high // self.unit
            start = tuple(int(i) * self.unit for i in draw.integers(places, size=self.model.dimensions))
            candidates.append((which, start))
        if wanted is None:
            return candidates[0]
        found = CLASSES.index(wanted)
        return max(candidates, key=lambda place: self.environments.shares(place, self.side)[found])

    def shares(self, count: int) -> dict[str, float]:
        """Return the mean share of every environment among the particles of the first crops; {} for slabs."""
        if self.model.dimensions == 2:
            return {}
        places = [self._place(np.random.default_rng([self.seed, index])) for index in range(count)]
        mean = np.mean([self.environments.shares(place, self.side) for place in places], axis=0)
        return {name: float(share) for name, share in zip(CLASSES, mean, strict=True)}

    def _cube(self, which: int, start: tuple[int, ...]) -> Crop:
        file = self.files[which]
        corner = tuple(first - 1 for first in start)
        low = upsample(torch.from_numpy(self._low_fields(which)), file.high, corner, self.side + 2)
        if self.model.fields == "density":
            high = log_density(file.block("high/density", start, self.side))
        else:
            parts = [file.block(f"high/{name}", start, self.side) for name in VECTORS]
            high = self._grown_back(which, parts)
        crop = {"low": low, "high": torch.from_numpy(high)}
        if self.model.sees_initial:
            crop["small"] = self._small_scales(which, start)
        return crop

    def _slab(self, which: int, slab: tuple[int, int], start: tuple[int, ...]) -> Crop:
        file = self.files[which]
        corner = tuple(first - 1 for first in start)
        low = upsample(torch.from_numpy(self._low_fields(which)[slab][None]), file.high, corner, self.side + 2)
        high = file.block("high/slabs", start, self.side, lead=slab)[None]
        crop = {"low": low, "high": torch.from_numpy(log_density(high))}
        if self.model.sees_initial:
            crop["small"] = self._small_scales(which, start, slab)
        return crop

    def _small_scales(self, which: int, start: tuple[int, ...], slab: tuple[int, int] | None = None) -> Tensor:
        """Read the small-scale linear displacement, or overdensity, of a region."""
        file = self.files[which]
        if slab is not None:
            return torch.from_numpy(file.block("initial/slabs", start, self.side, lead=slab)[None])
        name = "overdensity" if self.model.fields == "density" else "small_scales"
        field = file.block(f"initial/{name}", start, self.side) / self.units[which][0]
        return torch.from_numpy(field)

    def _grown_back(self, which: int, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """Divide displacement and velocity by their units; the file's own where the network is told no time."""
        return np.concatenate([field / unit for field, unit in zip(vectors, self.units[which], strict=True)])

    def _elsewhere(self, draw: np.random.Generator, like: int) -> Tensor:
        """Return the small-scale modes of a random place: a draw from their prior.

        It is the same everywhere in boxes of the time and cosmology of file `like`.
        """
        alike = [i for i, file in enumerate(self.files) if _kind(file) == _kind(self.files[like])]
        which, d = alike[int(draw.integers(len(alike)))], self.model.dimensions
        slab = (int(draw.integers(3)), int(draw.integers(self.files[which].slabs))) if d == 2 else None
        start = tuple(int(i) for i in draw.integers(self.files[which].high, size=d))
        return self._small_scales(which, start, slab)

    def _low_fields(self, which: int) -> np.ndarray:
        """Return the whole low-resolution field of a box, of which every up-sampled cell is a sum."""
        return self.cache.get(("low", self.files[which].path), lambda: self._read_low(which))

    def _read_low(self, which: int) -> np.ndarray:
        file = self.files[which]
        if self.model.dimensions == 2:
            return log_density(file.read("low/slabs"))
        if self.model.fields == "density":
            return log_density(file.read("low/density"))
        return self._grown_back(which, [file.read(f"low/{name}") for name in VECTORS])


def _kind(file: PairFile) -> tuple[float, Cosmology]:
    return file.scale_factor, file.cosmology


def check_files(files: Sequence[PairFile], model: Model, side: int) -> None:
    """Raise DataError unless all pair files are alike and hold what the model needs."""
    first = files[0]
    for file in files:
        for what in (
            "low",
            "high",
            "box_size",
            *([] if "scale_factor" in model.told else ["scale_factor"]),
            *(["slabs"] if model.dimensions == 2 else []),
        ):
            if getattr(file, what) != getattr(first, what):
                raise DataError(
                    f"{file.path} has {what} = {getattr(file, what)}, but {first.path} has {getattr(first, what)}; "
                    f"train on pairs of one kind{' or set told: [scale_factor]' if what == 'scale_factor' else ''}"
                )
        if model.sees_initial and not file.has_initial:
            raise DataError(
                f"{file.path} holds no initial conditions (their seed is not known); use condition: [low] and "
                "noise: none or white"
            )
    if side > first.high:
        raise DataError(
            f"training.crop = {side} is larger than the boxes of {first.high} cells per side; make it at most that"
        )


def transform(field: Tensor, axes: Sequence[int], flips: Sequence[bool]) -> Tensor:
    """Apply a symmetry of the cube (or square): permute the axes, then flip some.

    field: (c, n, …) with c = 1 for a scalar or 3 m for m vectors, whose components turn along.
    """
    dimensions = len(axes)
    turned = field.permute(0, *(1 + int(axis) for axis in axes))
    turned = torch.flip(turned, [1 + axis for axis in range(dimensions) if flips[axis]])
    if len(field) % 3 == 0:
        order = [3 * vector + int(axis) for vector in range(len(field) // 3) for axis in axes]
        signs = torch.tensor([-1.0 if flip else 1.0 for flip in flips] * (len(field) // 3))
        turned = turned[order] * signs.view(-1, *(1,) * dimensions)
    return turned.contiguous()


class StepSampler(torch.utils.data.Sampler[int]):
    """Indices of one epoch: epoch e of length n takes crops e·n … (e+1)·n − 1, less those already seen.

    Of every batch this process takes its share, the next one takes the next.
    """

    def __init__(self, length: int, seen: int = 0, batch: int = 1, share: Share = ALONE) -> None:
        """`length`: crops per epoch. `seen`: crops that an interrupted training has learnt from, of all processes."""
        self.length, self.seen, self.batch, self.share = length, seen, batch, share
        self.epoch = seen // length

    def set_epoch(self, epoch: int) -> None:
        """Move to an epoch; Lightning calls this, after a resume too."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Iterate over the crop indices that are left of this epoch."""
        left = range(max(self.seen, self.epoch * self.length), (self.epoch + 1) * self.length)
        own = self.batch // self.share.world
        return (index for index in left if index % self.batch // own == self.share.rank)

    def __len__(self) -> int:
        """Return the crops of a whole epoch, by which progress is counted in one that goes on, too."""
        return self.length // self.share.world
