"""Patches of the task `environment`: blocks of a field, and what the true run has at their centre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from supercosm.classification.boxes import Box
from supercosm.classification.examples import Examples
from supercosm.classification_settings import Environment
from supercosm.errors import DataError
from supercosm.fields import log_density
from supercosm.statistics.environment import classify, tidal_eigenvalues


@dataclass(frozen=True)
class WebPatches:
    """Examples, and of the field that they are cut from, at their centres: eigenvalues λ (n, 3) and class (n,)."""

    examples: Examples
    eigenvalues: np.ndarray
    own: np.ndarray


def web_patches(fields: Sequence[Box], truths: Sequence[Box], settings: Environment) -> WebPatches:
    """Cut blocks at random places of every box; the places depend on its seed alone, so that fields share them.

    fields, truths: boxes of the same seeds. Raises DataError where they are not.
    """
    if sorted(box.seed for box in fields) != sorted(box.seed for box in truths):
        raise DataError(
            f"the fields have seeds {sorted(box.seed for box in fields)}, the true runs "
            f"{sorted(box.seed for box in truths)}; give both the same"
        )
    true = {box.seed: box for box in truths}
    parts = [_of_box(box, true[box.seed], settings) for box in fields]
    count = settings.patches
    blocks, labels, eigenvalues, own = (np.concatenate(part) for part in zip(*parts, strict=True))
    examples = Examples(
        x=blocks,
        labels=labels,
        seeds=np.repeat([box.seed for box in fields], count),
        places=np.tile(np.arange(count), len(fields)),
        cell=fields[0].box_size * settings.coarsen / len(fields[0].density),
        periodic=False,
    )
    return WebPatches(examples, eigenvalues, own)


def _of_box(box: Box, truth: Box, settings: Environment) -> tuple[np.ndarray, ...]:
    field, true = coarsened(box.density, settings.coarsen), at_corners(coarsened(truth.density, settings.coarsen))
    m = len(field)
    if settings.side > m:
        raise DataError(f"patches of {settings.side} cells are larger than the {m} cells per side of a box; lower side")
    starts = np.random.default_rng([abs(box.seed), 6]).integers(m, size=(settings.patches, 3))
    steps = np.arange(settings.side)
    rows, columns, layers = ((starts[:, axis, None] + steps) % m for axis in range(3))
    logs = log_density(field)
    blocks = logs[rows[:, :, None, None], columns[:, None, :, None], layers[:, None, None, :]]
    centre = tuple(((starts + settings.side // 2) % m).T)
    mine = at_corners(field)
    eigenvalues = tidal_eigenvalues(mine, box.box_size, settings.radius)[(slice(None), *centre)].T
    own, found = (classify(x, box.box_size, settings.radius, settings.threshold)[centre] for x in (mine, true))
    return blocks, found.astype(int), eigenvalues, own.astype(int)


def coarsened(density: np.ndarray, factor: int) -> np.ndarray:
    """Average (m, m, m) over cubes of `factor` cells a side; raise DataError where they do not fit."""
    n = len(density) // factor
    if n * factor != len(density):
        raise DataError(f"coarsen = {factor} does not divide boxes of {len(density)} cells per side; choose a divisor")
    return density.reshape(n, factor, n, factor, n, factor).mean(axis=(1, 3, 5), dtype=np.float32)


def at_corners(density: np.ndarray) -> np.ndarray:
    """Average the eight cells that meet in the lower corner of each: the centre of a block of even side is a corner.

    Flipping a block then leaves its centre in place; the tidal tensor, being linear, is averaged alike.
    """
    corners = product((0, 1), repeat=3)
    return np.mean([np.roll(density, shift, (0, 1, 2)) for shift in corners], axis=0, dtype=np.float32)
