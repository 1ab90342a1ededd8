"""The classical opponent of a network: summary statistics of a field, and two standard classifiers of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from supercosm.classification.alter import ROUNDING, checked, ring_powers, rings
from supercosm.classification.examples import Examples
from supercosm.errors import DataError
from supercosm.fields import FLOOR
from supercosm.statistics.power import bin_edges

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

SAMPLE = 1 << 21  # cells from which quantiles are taken: their error, 1e-3 of a bin, is no limit
# Deviation over the training examples below which a feature is constant: ln P of fields whose P(k) was made equal still
# deviates by some 1e-6, from rounding to float32, and a tree would split there. Real features deviate by 1e-3 and more.
NOISE = 1e-4
PENALTY = 1.0  # inverse strength C of the prior on standardised weights: of unit variance


@dataclass(frozen=True)
class Summaries:
    """Summary statistics of examples of one shape, with borders learned from training examples.

    shape: cells of an example, (p, p) or (p, p, p). cell: side of a cell [Mpc/h]. rings: first ring of each bin of P(k)
    and of what lies beyond, (k bins + 1,); ring r is |n| = k L / 2π from r − 1/2 to r + 1/2. edges: borders between the
    bins of the distribution of x, (bins − 1,). thresholds: heights of peaks, the first −∞, (bins,).
    """

    shape: tuple[int, ...]
    cell: float
    rings: np.ndarray
    edges: np.ndarray
    thresholds: np.ndarray

    @classmethod
    def of(cls, training: Examples, bins: int = 12) -> Summaries:
        """Learn the borders of `bins` bins from training examples.

        Every bin holds as many training cells, and as many training peaks, as the next. Bins of P(k) are logarithmic
        from the fundamental mode to the Nyquist one, whole rings each, and fewer where so many do not fit.
        """
        x, side = checked(training.x), training.x.shape[-1]
        if bins < 1 or side < 4:
            raise DataError(f"{bins} bins of examples {side} cells wide are too few; give at least 1 bin and 4 cells")
        heights = np.concatenate([one[_maxima(one, training.periodic)] for one in x])
        if not heights.size:
            raise DataError(f"none of {len(x)} training examples has a local maximum; give fields that vary")
        shares = np.arange(1, bins) / bins
        step = x.size // SAMPLE | 1  # odd, so that a sample of a lattice of 2^m cells holds every column
        thresholds = np.concatenate([[-np.inf], np.quantile(heights, shares)])
        # whole rings, because `matched` makes the power of whole rings equal
        starts = np.floor(bin_edges(side, bins) + 0.5).astype(int)
        starts[-1] = side // 2 + 1
        return cls(x.shape[1:], training.cell, starts, np.quantile(x.ravel()[::step], shares), thresholds)

    def power(self, examples: Examples) -> np.ndarray:
        """Return ln P(k) of x, P in (Mpc/h)^d, (n, k bins).

        Examples that are not periodic lose their mean and are multiplied by a Hann window, whose mean square is divided
        out: the jump between opposite faces would spread the power of large scales over all k. The mean takes some
        power of the lowest bin along, 7 % of that of white noise in two dimensions.
        """
        return self._log_power(examples, lambda x: x)

    def density_power(self, examples: Examples) -> np.ndarray:
        """Return ln P(k) of the density contrast δ = exp(x) − 1.1, P in (Mpc/h)^d, (n, k bins), like `power`."""
        return self._log_power(examples, lambda x: np.exp(x) - (1 + FLOOR))

    def distribution(self, examples: Examples) -> np.ndarray:
        """Return the fraction of cells with x in each bin, (n, bins), which add up to 1."""
        self._check(examples)
        places = [np.searchsorted(self.edges, one.ravel(), side="right") for one in examples.x]
        return np.stack([np.bincount(one, minlength=len(self.edges) + 1) / one.size for one in places])

    def peaks(self, examples: Examples) -> np.ndarray:
        """Return the root of the number of peaks above each threshold per cell, (n, bins).

        A peak is a cell above all its neighbours, 8 in two dimensions and 26 in three; beside the faces of examples
        that are not periodic there is none, nor are those cells counted. The root of a Poisson number has one variance.
        """
        self._check(examples)
        side = self.shape[0] if examples.periodic else self.shape[0] - 2
        heights = [one[_maxima(one, examples.periodic)] for one in examples.x]
        above = np.stack([(peaks[:, None] > self.thresholds).sum(axis=0) for peaks in heights])
        return np.sqrt(above / side ** len(self.shape))

    def everything(self, examples: Examples) -> np.ndarray:
        """Return power, distribution and peaks side by side, (n, k bins + 2 bins)."""
        return np.hstack([self.power(examples), self.distribution(examples), self.peaks(examples)])

    def _log_power(self, examples: Examples, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        self._check(examples)
        return np.stack([self._spectrum(change(one.astype(np.float64)), examples.periodic) for one in examples.x])

    def _spectrum(self, field: np.ndarray, periodic: bool) -> np.ndarray:
        """Return ln P(k) of one field, (k bins,), nowhere below that of rounding to float32."""
        volume = self.cell**field.ndim * field.size
        # white noise of variance s² has P = s² a^d
        lowest = ROUNDING**2 * np.mean(field**2) * self.cell**field.ndim + np.finfo(np.float32).tiny
        if not periodic:
            field = (field - field.mean()) * _hann(self.shape)
        end, starts = self.rings[-1], self.rings[:-1]
        modes = rings(field.shape[0], field.ndim).modes[:end]
        squares = np.add.reduceat(modes * ring_powers(field[None])[0, :end], starts)
        return np.log(np.maximum(volume * squares / np.add.reduceat(modes, starts), lowest))

    def _check(self, examples: Examples) -> None:
        if checked(examples.x).shape[1:] != self.shape or not np.isclose(examples.cell, self.cell, rtol=1e-6):
            raise DataError(
                f"examples of {examples.x.shape[1:]} cells of {examples.cell:g} Mpc/h are compared with training "
                f"examples of {self.shape} cells of {self.cell:g} Mpc/h; make them alike, or learn the summaries anew"
            )


def logistic(
    training_features: np.ndarray, labels: np.ndarray, features: np.ndarray, classes: int, balance: bool
) -> np.ndarray:
    """Return probabilities of classes 0, 1, … by logistic regression of standardised features, (n, classes).

    training_features: (m, f). labels: int (m,). features: (n, f), of the examples to classify. balance: weigh classes
    by the inverse of how often they occur. Raises DataError for features or labels that do not fit.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=PENALTY, max_iter=2000, class_weight="balanced" if balance else None)
    return _probabilities(model, training_features, labels, features, classes)


def boosted(
    training_features: np.ndarray, labels: np.ndarray, features: np.ndarray, classes: int, balance: bool
) -> np.ndarray:
    """Return probabilities of classes 0, 1, … by gradient-boosted trees, (n, classes); arguments as of `logistic`."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=100,
        max_leaf_nodes=8,
        min_samples_leaf=10,
        l2_regularization=1.0,
        early_stopping=False,
        class_weight="balanced" if balance else None,
        random_state=0,
    )
    return _probabilities(model, training_features, labels, features, classes)


def standardised(training_features: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring training features (m, f) to mean 0 and variance 1, and features (n, f) to the same scale.

    Features that deviate by less than NOISE over the training examples are constant but for rounding: they become 0.
    """
    mean, deviation = training_features.mean(axis=0), training_features.std(axis=0)
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation >= NOISE)
    return (training_features - mean) * scale, (features - mean) * scale


def _probabilities(
    model: ClassifierMixin, training_features: np.ndarray, labels: np.ndarray, features: np.ndarray, classes: int
) -> np.ndarray:
    """Fit a model of scikit-learn and return its probabilities (n, classes)."""
    known, new, labels = np.asarray(training_features, float), np.asarray(features, float), np.asarray(labels)
    _check_features(known, labels, new)
    _check_labels(labels, classes)
    known, new = standardised(known, new)
    return model.fit(known, labels).predict_proba(new)  # every class occurs, so the columns are 0, 1, …


def _check_features(known: np.ndarray, labels: np.ndarray, new: np.ndarray) -> None:
    if known.ndim != 2 or new.ndim != 2 or known.shape[1] != new.shape[1] or labels.shape != known.shape[:1]:
        raise DataError(
            f"features of shapes {known.shape} for training and {new.shape} to classify, and labels {labels.shape}, do "
            "not fit; give (m, f), (n, f) and (m,)"
        )
    if not (np.isfinite(known).all() and np.isfinite(new).all()):
        raise DataError("features hold NaN or infinite values; leave out the examples that they come from")


def _check_labels(labels: np.ndarray, classes: int) -> None:
    found = set(np.unique(labels).tolist())
    if classes < 2 or found != set(range(classes)):
        raise DataError(
            f"training labels are {sorted(found)}, where each of {classes} classes, from 0 on and at least two, must "
            "occur; give examples of every class"
        )


def _hann(shape: tuple[int, ...]) -> np.ndarray:
    """Return a Hann window over cells of this shape, of mean square 1: white noise keeps its level."""
    profile = np.sin(np.pi * (np.arange(shape[0]) + 0.5) / shape[0]) ** 2
    profile /= np.sqrt(np.mean(profile**2))
    window = profile
    for _ in shape[1:]:
        window = window[..., None] * profile
    return window


def _maxima(field: np.ndarray, periodic: bool) -> np.ndarray:
    """Mark the cells of one field that are above all their neighbours, bool of the same shape."""
    # the highest of the cells around, with and without the cell itself, one axis after the other
    around, whole = np.full_like(field, -np.inf), field
    for axis in range(field.ndim):
        beside = np.maximum(np.roll(whole, 1, axis), np.roll(whole, -1, axis))
        around, whole = np.maximum(around, beside), np.maximum(whole, beside)
    return (field > around) & (periodic | _inner(field.shape))


def _inner(shape: tuple[int, ...]) -> np.ndarray:
    """Mark the cells that have all their neighbours, bool of this shape."""
    inner = np.zeros(shape, bool)
    inner[(slice(1, -1),) * len(shape)] = True
    return inner
