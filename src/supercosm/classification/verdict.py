"""How good class probabilities are: accuracy, area under the ROC, calibration, their errors, and chance.

Examples of one place show the same large-scale structure, so they are no independent trials: errors resample whole
places or boxes, and the test against chance exchanges labels within places. Scores take weights (n,), one for every
example, which is how resampling counts an example twice or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from supercosm.classification.predictions import Predictions
from supercosm.errors import DataError

BOXES = 5  # from so many boxes on, boxes are resampled: of fewer, too few different draws exist
RESAMPLING, EXCHANGE = 0, 1  # streams of random numbers
SMALLEST = float(np.finfo(np.float32).tiny)  # probabilities come from float32, where smaller ones turn into zero


def log_loss(predictions: Predictions) -> float:
    """Return −⟨ln p⟩ of the true classes [nats]; ln(classes) for a classifier that knows nothing."""
    p = predictions.probabilities[np.arange(len(predictions)), predictions.labels]
    return float(-np.log(np.maximum(p.astype(np.float64), SMALLEST)).mean())


def accuracy(predictions: Predictions, weights: np.ndarray | None = None) -> float:
    """Return the share of examples whose most probable class is the true one."""
    return float(np.average(predictions.correct, weights=weights))


def confusion(predictions: Predictions, weights: np.ndarray | None = None) -> np.ndarray:
    """Count examples by true class (rows) and decided class (columns): int (classes, classes), float of weights."""
    k = predictions.classes
    cell = k * predictions.labels.astype(int) + predictions.decided  # small integers would overflow
    return np.bincount(cell, weights, minlength=k * k).reshape(k, k)


def precision_recall(predictions: Predictions, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return for each class the share right of those decided, and of those true: (classes,) each.

    NaN where a class was never decided, and where it is not among the labels.
    """
    table = confusion(predictions, weights)
    return _share(np.diag(table), table.sum(0)), _share(np.diag(table), table.sum(1))


def balanced_accuracy(predictions: Predictions, weights: np.ndarray | None = None) -> float:
    """Return the mean recall of the classes among the labels, equal to the accuracy if they are equally frequent."""
    return float(np.nanmean(precision_recall(predictions, weights)[1]))


def _share(part: np.ndarray, whole: np.ndarray | float) -> np.ndarray:
    """Divide, with NaN where there is nothing to divide by."""
    whole = np.broadcast_to(whole, np.shape(part))
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def roc_curve(
    predictions: Predictions, class_: int, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return false and true positive rates from (0, 0) to (1, 1) as the threshold on p(class_) falls: (points,) each.

    Examples of equal probability pass together. NaN, the rate that no example has: the true one if the class is not
    among the labels, the false one if no other is.
    """
    p = predictions.probabilities[:, class_]
    order = np.argsort(-p)
    ends = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)  # last of equal probabilities
    w, own = np.ones(len(p)) if weights is None else weights[order], predictions.labels[order] == class_
    false, true = (np.append(0.0, np.cumsum(w * of)[ends]) for of in (~own, own))
    return _share(false, false[-1]), _share(true, true[-1])


def auc(predictions: Predictions, weights: np.ndarray | None = None) -> float:
    """Return the area under the ROC: the chance that an example of a class has more of its probability than another.

    Ties count half (Mann & Whitney 1947; Hanley & McNeil 1982). Of class 1 if there are two, else the mean over the
    classes among the labels, each against the rest. NaN if all examples are of one class.
    """
    areas = []
    for class_ in range(predictions.classes) if predictions.classes > 2 else (1,):
        false, true = roc_curve(predictions, class_, weights)
        areas.append(np.sum(np.diff(false) * (true[1:] + true[:-1])) / 2)
    defined = np.isfinite(areas)
    return float(np.mean(areas, where=defined)) if defined.any() else math.nan


def reliability(predictions: Predictions, bins: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean probability of the decided class, accuracy and number of examples by that probability: (bins,) each.

    Equal bins from 1/classes, the least that a decided class can have, to 1; NaN, NaN, 0 in empty ones.
    """
    sure, least = predictions.probabilities.max(1).astype(np.float64), 1 / predictions.classes
    index = np.clip((bins * (sure - least) / (1 - least)).astype(int), 0, bins - 1)
    count, total, right = (np.bincount(index, w, minlength=bins) for w in (None, sure, predictions.correct))
    return _share(total, count), _share(right, count), count


def calibration_error(predictions: Predictions, bins: int = 10) -> float:
    """Return the mean |accuracy − probability| over bins of examples (Naeini et al. 2015; Guo et al. 2017, eq. 3).

    Above zero by noise even if calibrated: about 0.4 √(bins / n) at most, for n examples.
    """
    sure, right, count = reliability(predictions, bins)
    return float(np.nansum(count * np.abs(right - sure)) / len(predictions))


def _places(predictions: Predictions) -> np.ndarray:
    """Give every example the number of its place, from 0: int (n,); places of different boxes are different."""
    box, place = (np.unique(x, return_inverse=True)[1] for x in (predictions.seeds, predictions.places))
    return np.unique(box * (place.max() + 1) + place, return_inverse=True)[1]


def interval(
    predictions: Predictions,
    score: Callable[[Predictions, np.ndarray], float],
    draws: int = 500,
    seed: int = 0,
    level: float = 0.68,
) -> tuple[float, float]:
    """Return the central interval of a score(predictions, weights) if the test were repeated (percentile bootstrap).

    Resamples whole boxes from five boxes on, else whole places, all of whose examples come or go together; then what
    the places of one box share is not in the error. NaN from a single place. Few clusters m give too narrow intervals,
    by about √(1 − 1/m) (Efron & Tibshirani 1993). Raises DataError on levels outside of (0, 1).
    """
    if not 0 < level < 1:
        raise DataError(f"an interval was asked at level {level}; it must lie between 0 and 1")
    boxes = np.unique(predictions.seeds, return_inverse=True)[1]
    cluster = boxes if boxes.max() + 1 >= BOXES else _places(predictions)
    if not (clusters := int(cluster.max()) + 1) > 1:
        return math.nan, math.nan
    generator = np.random.default_rng([seed, RESAMPLING])
    times = generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=draws)
    found = np.array([score(predictions, weights[cluster]) for weights in times.astype(np.float64)])
    found = found[np.isfinite(found)]  # a draw without one of two classes has no area under the ROC
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2]) if found.size else (math.nan, math.nan)
    return float(low), float(high)


def permutation_p(predictions: Predictions, draws: int = 999, seed: int = 0) -> float:
    """Return the chance of an accuracy as high as this one or higher if labels meant nothing, at least 1/(1 + draws).

    Labels are exchanged among the examples of one place, which keeps its large-scale structure out of the comparison;
    if no place has two classes, whole places exchange their labels. p = (1 + #{as high}) / (1 + draws) (Phipson & Smyth
    2010).
    """
    place = _places(predictions)
    order = np.argsort(place, kind="stable")
    place, labels, decided = place[order], predictions.labels[order], predictions.decided[order]
    first = np.unique(place, return_index=True)[1]
    paired = np.any(labels != labels[first][place])
    observed, high = np.count_nonzero(labels == decided), 0
    generator = np.random.default_rng([seed, EXCHANGE])
    for _ in range(draws):
        # places are in order, so sorting place + [0, 1) only moves examples within their place
        exchanged = (
            labels[np.argsort(place + generator.random(len(place)))]
            if paired
            else generator.permutation(labels[first])[place]
        )
        high += int(np.count_nonzero(exchanged == decided) >= observed)
    return (1 + high) / (1 + draws)


def by_seed(predictions: Predictions) -> dict[int, tuple[float, float]]:
    """Return for each box its accuracy a and its binomial standard error, as if examples were free.

    The error is √(b (1 − b)/n) of b = (n a + ½)/(n + 1), so that it is not nothing where all are right.
    """
    boxes = {}
    for seed in np.unique(predictions.seeds):
        right = predictions.correct[predictions.seeds == seed]
        a = float(right.mean())
        b = (right.sum() + 0.5) / (len(right) + 1)
        boxes[int(seed)] = a, math.sqrt(b * (1 - b) / len(right))
    return boxes


def accuracy_interval(predictions: Predictions, level: float = 0.68) -> tuple[float, float]:
    """Return the interval of the accuracy: `interval`, or, where all are right or none, Wilson's (1927) over places.

    A bootstrap of examples that are all right has no width, though another test need not be perfect.
    """
    a, n = accuracy(predictions), int(_places(predictions).max()) + 1
    if 0 < a < 1 or n < 2:
        return interval(predictions, accuracy, level=level)
    squared = NormalDist().inv_cdf((1 + level) / 2) ** 2
    return (n / (n + squared), 1.0) if a == 1 else (0.0, squared / (n + squared))


def judged(predictions: Predictions, uncalibrated: Predictions | None = None) -> dict[str, float]:
    """Return all numbers of one classifier as a row of a table; intervals hold 68 %.

    uncalibrated: the same examples at temperature one; their calibration error and log loss are added.
    """
    (low, high), (auc_low, auc_high) = accuracy_interval(predictions), interval(predictions, auc)
    row = {
        "accuracy": accuracy(predictions),
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced": balanced_accuracy(predictions),
        "auc": auc(predictions),
        "auc_low": auc_low,
        "auc_high": auc_high,
        "p": permutation_p(predictions),
        "ece": calibration_error(predictions),
        "log_loss": log_loss(predictions),
        "examples": len(predictions),
        "seeds": len(np.unique(predictions.seeds)),
    }
    if uncalibrated is not None:
        row |= {"ece_uncalibrated": calibration_error(uncalibrated), "log_loss_uncalibrated": log_loss(uncalibrated)}
    return row
