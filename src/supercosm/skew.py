"""Which environments training crops hold: voids, sheets, filaments or knots.

A network learns what it is shown. Crops can be chosen to abound in one environment, to see what that does to a model,
and the card of every model says what its crops held.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from supercosm.caching import Cache
from supercosm.pairs import PairFile
from supercosm.statistics.environment import CLASSES, classify

CANDIDATES = 32  # places that a skewed crop is chosen from: the best of 32 is a 2σ one
RADIUS, THRESHOLD = 2.0, 0.2  # smoothing [Mpc/h], at least a cell of the low run, and eigenvalue, as in the audit

Place = tuple[int, tuple[int, ...]]  # number of the pair file, first cell of the crop


class Environments:
    """Environment of every particle of the low runs, on the Lagrangian lattice: what a crop there will hold."""

    def __init__(self, files: Sequence[PairFile], cache: Cache | None = None) -> None:
        """Classify boxes when they are asked for; `cache`: what keeps their classes, all of them if there is none."""
        self.files, self.cache = list(files), Cache(math.inf) if cache is None else cache

    def shares(self, place: Place, side: int) -> np.ndarray:
        """Return the share of each class among the particles of a crop of `side` high-resolution cells, (4,)."""
        which, start = place
        file = self.files[which]
        factor = file.high // file.low
        chosen = (np.arange(first, first + side, factor) // factor % file.low for first in start)
        inside = self._of_box(which)[np.ix_(*chosen)]
        return np.bincount(inside.ravel(), minlength=len(CLASSES)) / inside.size

    def _of_box(self, which: int) -> np.ndarray:
        file = self.files[which]
        return self.cache.get(("classes", file.path), lambda: _classes(file))


def _classes(file: PairFile) -> np.ndarray:
    """Classify the low run's particles by the tidal tensor where they are now: (n, n, n) on their lattice."""
    cell = file.box_size / file.low
    mesh = classify(file.read("low/density")[0], file.box_size, max(RADIUS, cell), THRESHOLD)
    displacement = file.read("low/displacement")
    where = []
    for axis in range(3):
        lattice = np.expand_dims(np.arange(file.low) + 0.5, [a for a in range(3) if a != axis])
        where.append(np.floor(lattice + displacement[axis] / cell).astype(np.int64) % file.low)
    return mesh[tuple(where)]
