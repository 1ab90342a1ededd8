"""Predictions: class probabilities beside the true classes, and the temperature that makes probabilities honest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.special import softmax as exponential_share

from supercosm.errors import DataError

TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of test examples beside their true classes.

    probabilities: float (n, classes), every row sums to one. labels: int (n,), 0 to classes − 1. seeds, places: int
    (n,), the box of an example and the piece of space in it. Raises DataError where these do not fit together.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    seeds: np.ndarray
    places: np.ndarray

    def __post_init__(self) -> None:
        """Check shapes, labels and probabilities."""
        _fit("probabilities", self.probabilities, self.labels)
        for name, values in (("seeds", self.seeds), ("places", self.places)):
            if values.shape != self.labels.shape:
                raise DataError(f"{name} {values.shape} do not fit labels {self.labels.shape}; give one per example")
        if self.probabilities.min() < 0:
            raise DataError(f"a probability is {self.probabilities.min():.3g}, below zero; give softmax, not logits")
        total = self.probabilities.sum(1, dtype=np.float64)
        if (off := np.abs(total - 1)).max() > 1e-4:  # float32 rounds
            raise DataError(f"probabilities of one example sum to {total[off.argmax()]:.5g}, not one; normalise them")

    @property
    def classes(self) -> int:
        """The number of classes, present among the labels or not."""
        return self.probabilities.shape[1]

    @cached_property
    def decided(self) -> np.ndarray:
        """The most probable class of every example, int (n,); the first among equals."""
        return self.probabilities.argmax(1)

    @property
    def correct(self) -> np.ndarray:
        """Whether the most probable class is the true one, bool (n,)."""
        return self.decided == self.labels

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.labels)


def _fit(name: str, rows: np.ndarray, labels: np.ndarray) -> None:
    """Raise DataError unless rows (n, classes) are finite and labels int (n,) are among the classes."""
    if rows.ndim != 2 or rows.shape[1] < 2 or not len(rows):
        raise DataError(f"{name} of shape {rows.shape} are not (n, classes); give examples of two classes or more")
    if labels.shape != rows.shape[:1]:
        raise DataError(f"labels {labels.shape} do not fit {name} {rows.shape}; give one label per example")
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels are {labels.dtype}, not whole numbers; give the index of each example's class")
    if (out := labels[(labels < 0) | (labels >= rows.shape[1])]).size:
        raise DataError(
            f"label {out[0]} is outside of the {rows.shape[1]} classes; labels run from 0 to {rows.shape[1] - 1}"
        )
    if bad := rows.size - np.count_nonzero(np.isfinite(rows)):
        raise DataError(f"{bad} {name} are NaN or infinite; leave those examples out or repair the classifier")


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Turn logits (n, classes) into probabilities exp(zᵢ/T) / Σⱼ exp(zⱼ/T), float64 (n, classes)."""
    return exponential_share(np.asarray(logits, np.float64) / temperature, axis=1)


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Find the T for which softmax(logits / T) is the most likely source of the labels (Guo et al. 2017, sect. 4.2).

    logits (n, classes), labels int (n,), of validation examples. T above one: the classifier is too sure of itself. The
    likelihood has one maximum; T stays within 0.05 to 20. A finite sample, even one that is all right, does not prove
    certainty: one example of every class is added to those of each label (Platt 1999, sect. 2.2). Raises DataError as
    Predictions.
    """
    _fit("logits", logits, labels)
    z, classes = np.asarray(logits, np.float64), logits.shape[1]
    counts = np.bincount(labels, minlength=classes)[labels, None]
    likely = (np.eye(classes)[labels] * counts + 1) / (counts + classes)
    found = minimize_scalar(
        lambda x: -(likely * log_softmax(z * math.exp(-x), axis=1)).sum(axis=1).mean(),
        bounds=tuple(math.log(t) for t in TEMPERATURES),
        method="bounded",
    )
    return math.exp(found.x)
