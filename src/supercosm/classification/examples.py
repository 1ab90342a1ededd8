"""Examples: patches of log density with the class, the box and the place that each comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from supercosm.classification.boxes import Box
from supercosm.errors import DataError
from supercosm.patches import log_slabs, slab_cells


@dataclass(frozen=True)
class Examples:
    """Patches that are to be told apart.

    x: log density ln(1 + δ + 0.1), float32 (n, p, p) of projected slabs or (n, p, p, p). labels, seeds, places: int
    (n,). One place is one piece of space: examples of different classes with one seed and one place show the same
    large-scale structure. cell: side of a cell [Mpc/h]. periodic: whether every example is a whole period of its box.
    """

    x: np.ndarray
    labels: np.ndarray
    seeds: np.ndarray
    places: np.ndarray
    cell: float
    periodic: bool

    @property
    def dimensions(self) -> int:
        """2 for projected patches, 3 for blocks."""
        return self.x.ndim - 1

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.x)

    def chosen(self, which: np.ndarray) -> Examples:
        """Return some of the examples, by index or mask (n,)."""
        return replace(
            self, x=self.x[which], labels=self.labels[which], seeds=self.seeds[which], places=self.places[which]
        )


def slabs_of_boxes(boxes: Sequence[Box], classes: Sequence[str], thickness: float, axes: Sequence[int]) -> Examples:
    """Project boxes onto slabs along some axes: every example is a whole period, (m, m).

    thickness [Mpc/h]; the nearest that divides the box is taken.
    """
    first = boxes[0]
    thick = slab_cells(thickness, first.box_size, len(first.density))
    slabs = [log_slabs(box.density, thick)[list(axes)].reshape(-1, *box.density.shape[:2]) for box in boxes]
    count = len(slabs[0])
    return Examples(
        x=np.concatenate(slabs),
        labels=np.repeat([classes.index(box.label) for box in boxes], count),
        seeds=np.repeat([box.seed for box in boxes], count),
        places=np.tile(np.arange(count), len(boxes)),
        cell=first.box_size / len(first.density),
        periodic=True,
    )


def cut(examples: Examples, side: int) -> Examples:
    """Cut slabs (n, m, m) into patches (n (m/side)², side, side); of `side` = m they stay whole, and periodic.

    Raises DataError for a side that does not divide m.
    """
    m = examples.x.shape[-1]
    if m % side:
        raise DataError(f"patches of {side} cells do not divide boxes of {m} cells per side; choose a divisor")
    if side == m:
        return examples
    parts = m // side
    x = examples.x.reshape(-1, parts, side, parts, side).swapaxes(2, 3).reshape(-1, side, side)
    each = parts**2
    return Examples(
        x=x,
        labels=np.repeat(examples.labels, each),
        seeds=np.repeat(examples.seeds, each),
        places=(examples.places[:, None] * each + np.arange(each)).ravel(),
        cell=examples.cell,
        periodic=False,
    )


def shifted(examples: Examples, draw: np.random.Generator) -> Examples:
    """Shift every example around its period by a random number of cells along each axis; others stay."""
    if not examples.periodic:
        return examples
    axes = tuple(range(examples.dimensions))
    shifts = draw.integers(examples.x.shape[-1], size=(len(examples), len(axes)))
    moved = [np.roll(x, shift, axes) for x, shift in zip(examples.x, shifts, strict=True)]
    return replace(examples, x=np.stack(moved))


def boxes_of(examples: Examples) -> list[np.ndarray]:
    """Return the seeds of every class that is there, ascending."""
    return [np.unique(examples.seeds[examples.labels == label]) for label in np.unique(examples.labels)]


def of_boxes(examples: Examples, count: int) -> Examples:
    """Return the examples of the first so many seeds of every class, in ascending order."""
    kept = np.zeros(len(examples), bool)
    for label, seeds in zip(np.unique(examples.labels), boxes_of(examples), strict=True):
        kept |= (examples.labels == label) & np.isin(examples.seeds, seeds[:count])
    return examples.chosen(kept)


def skewed(examples: Examples, share: float, seed: int) -> Examples:
    """Return the examples with but a share of those of class 0 kept, drawn at random."""
    draw = np.random.default_rng([seed, 3])
    first = np.flatnonzero(examples.labels == 0)
    kept = draw.choice(first, max(1, round(share * len(first))), replace=False)
    return examples.chosen(np.sort(np.concatenate([kept, np.flatnonzero(examples.labels != 0)])))


def shuffled(examples: Examples, seed: int) -> Examples:
    """Return the examples with labels that mean nothing: of each box, those of every class get all classes alike.

    They depend on the box alone, so that a box in two splits keeps them, and what was learnt by heart would show.
    Permuted freely, labels would keep a chance correlation with the truth of 1/√n, which a strong classifier learns.
    """
    labels = examples.labels.copy()
    classes = np.unique(labels)
    for box in np.unique(examples.seeds):
        for label in classes:
            own = np.flatnonzero((examples.seeds == box) & (examples.labels == label))
            draw = np.random.default_rng([seed, 4, abs(int(box)), int(label)])
            labels[own] = draw.permutation(np.resize(draw.permutation(classes), len(own)))
    return replace(examples, labels=labels)
