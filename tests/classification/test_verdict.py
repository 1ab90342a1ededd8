"""Scores of class probabilities against closed forms, small tables by hand, and scikit-learn."""

import math

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import binom, hypergeom
from sklearn.metrics import log_loss, roc_auc_score

from supercosm.classification import verdict
from supercosm.classification.predictions import Predictions, softmax, temperature
from supercosm.errors import DataError

pytestmark = pytest.mark.filterwarnings("error")


def predictions(probabilities, labels, seeds=None, places=None):
    """Put every example into box 0 and at a place of its own, unless told otherwise."""
    labels = np.asarray(labels)
    seeds = np.zeros(len(labels), int) if seeds is None else np.asarray(seeds)
    places = np.arange(len(labels)) if places is None else np.asarray(places)
    return Predictions(np.asarray(probabilities, float), labels, seeds, places)


def decisions(decided, labels, classes=2, sure=0.8, **where):
    """Make probabilities of which `sure` is that of the decided class."""
    probabilities = np.full((len(decided), classes), (1 - sure) / (classes - 1))
    probabilities[np.arange(len(decided)), decided] = sure
    return predictions(probabilities, labels, **where)


def pairs(right):
    """Make two examples per place, one of each class, told apart right or the wrong way round."""
    right = np.asarray(right, bool)
    labels = np.tile([0, 1], len(right))
    return decisions(np.where(np.repeat(right, 2), labels, 1 - labels), labels, places=np.repeat(range(len(right)), 2))


def truthful(count, classes, seed, sharpness=2.0):
    """Draw logits, and labels from exactly the probabilities that they stand for."""
    generator = np.random.default_rng(seed)
    logits = sharpness * generator.normal(size=(count, classes))
    below = np.cumsum(softmax(logits), axis=1)[:, :-1]
    return logits, np.sum(generator.random((count, 1)) > below, axis=1)


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.5])
def test_area_of_two_gaussians(distance):
    """Φ(d/√2) within four standard errors, which are below √(A (1 − A)/n) for n of either class."""
    labels = np.repeat([0, 1], 20_000)
    x = np.random.default_rng(1).normal(size=labels.size) + distance * labels
    one = softmax(np.stack([np.zeros_like(x), x], axis=1))
    area = ndtr(distance / math.sqrt(2))
    assert verdict.auc(predictions(one, labels)) == pytest.approx(area, abs=4 * math.sqrt(area * (1 - area) / 20_000))


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_area_is_that_of_scikit_learn_with_ties(classes, weighted):
    logits, labels = truthful(300, classes, seed=classes)
    probabilities = softmax(np.round(logits))  # few different logits: many ties for two classes
    if classes > 2:
        probabilities = np.round(probabilities * 20) + 1
        probabilities /= probabilities.sum(1, keepdims=True)
    assert len(np.unique(probabilities[:, 1])) < 150
    weights = np.random.default_rng(0).integers(0, 4, 300).astype(float) if weighted else None
    scores = probabilities[:, 1] if classes == 2 else probabilities
    expected = (
        roc_auc_score(labels, scores, sample_weight=weights)
        if classes == 2
        else np.mean([roc_auc_score(labels == c, scores[:, c], sample_weight=weights) for c in range(classes)])
    )
    assert verdict.auc(predictions(probabilities, labels), weights) == pytest.approx(expected, abs=1e-12)


def test_area_by_hand_counts_ties_half():
    """Of 2 × 2 pairs: 0.6 above 0.2 and tied with 0.6, 0.1 below both: 1.5 of 4."""
    one = np.array([0.2, 0.6, 0.6, 0.1])
    found = predictions(np.stack([1 - one, one], axis=1), [0, 0, 1, 1])
    assert verdict.auc(found) == 1.5 / 4
    false, true = verdict.roc_curve(found, 1)
    assert false.tolist() == [0, 0.5, 1, 1]
    assert true.tolist() == [0, 0.5, 0.5, 1]


def test_area_leaves_out_classes_that_are_absent():
    logits, labels = truthful(200, 3, seed=4)
    found = predictions(softmax(logits)[labels < 2], labels[labels < 2])
    areas = [roc_auc_score(found.labels == c, found.probabilities[:, c]) for c in (0, 1)]
    assert verdict.auc(found) == pytest.approx(np.mean(areas), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_single_class_has_no_area(classes):
    found = decisions([1, 0, 1], [1, 1, 1], classes)
    assert math.isnan(verdict.auc(found))
    assert all(math.isnan(x) for x in verdict.interval(found, verdict.auc))
    assert np.isnan(verdict.roc_curve(found, 1)[0]).all()
    assert verdict.roc_curve(found, 1)[1][[0, -1]].tolist() == [0, 1]


def test_curve_of_the_roc_ends_in_the_corners_and_never_falls():
    logits, labels = truthful(300, 3, seed=1)
    for class_ in range(3):
        for rate in verdict.roc_curve(predictions(softmax(logits), labels), class_):
            assert rate[0] == 0
            assert rate[-1] == 1
            assert np.all(np.diff(rate) >= 0)


def test_scores_of_three_classes_by_hand():
    found = decisions([0, 0, 1, 1, 1, 2, 0], [0, 0, 0, 1, 1, 1, 2], classes=3)
    assert verdict.confusion(found).tolist() == [[2, 1, 0], [0, 2, 1], [1, 0, 0]]
    assert verdict.confusion(found).dtype.kind == "i"
    assert verdict.confusion(found).sum() == len(found)
    precision, recall = verdict.precision_recall(found)
    assert precision == pytest.approx([2 / 3, 2 / 3, 0], abs=1e-15)
    assert recall == pytest.approx([2 / 3, 2 / 3, 0], abs=1e-15)
    assert verdict.accuracy(found) == pytest.approx(4 / 7, abs=1e-15)
    assert verdict.balanced_accuracy(found) == pytest.approx(4 / 9, abs=1e-15)


def test_precision_is_of_decided_and_recall_of_true_classes():
    precision, recall = verdict.precision_recall(decisions([0, 0, 0, 1], [0, 1, 1, 1]))
    assert precision == pytest.approx([1 / 3, 1], abs=1e-15)
    assert recall == pytest.approx([1, 1 / 3], abs=1e-15)


def test_absent_and_never_decided_classes():
    """Class 2 is not among the labels, class 3 neither there nor decided; both stay out of the balanced accuracy."""
    found = decisions([0, 1, 2, 1], [0, 0, 1, 1], classes=4)
    precision, recall = verdict.precision_recall(found)
    assert np.array_equal(precision, [1, 0.5, 0, np.nan], equal_nan=True)
    assert np.array_equal(recall, [0.5, 0.5, np.nan, np.nan], equal_nan=True)
    assert verdict.balanced_accuracy(found) == 0.5


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint64])
def test_labels_of_any_integer_kind(kind):
    labels = np.arange(40) % 20
    found = decisions(labels, labels.astype(kind), classes=20)
    assert np.array_equal(verdict.confusion(found), 2 * np.eye(20))
    assert verdict.accuracy(found) == 1


@pytest.mark.parametrize("score", [verdict.accuracy, verdict.balanced_accuracy, verdict.auc])
def test_a_weight_of_two_is_an_example_twice(score):
    logits, labels = truthful(100, 3, seed=2)
    times = np.random.default_rng(3).integers(0, 3, 100)
    p = softmax(logits)
    repeated = predictions(np.repeat(p, times, axis=0), np.repeat(labels, times))
    assert score(predictions(p, labels), times.astype(float)) == pytest.approx(score(repeated), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
def test_true_probabilities_are_calibrated(classes):
    """T within 4 %, some four standard errors; of 40 000 examples noise alone leaves at most 0.4 √(10/n) = 0.006."""
    logits, labels = truthful(40_000, classes, seed=classes)
    assert temperature(logits, labels) == pytest.approx(1, rel=0.04)
    found = predictions(softmax(logits), labels)
    assert verdict.calibration_error(found) < 0.0075
    sure, right, count = verdict.reliability(found)
    assert count.sum() == 40_000
    # five binomial standard errors, and one for bins of a few examples
    assert np.all(np.abs(sure - right) < 5 * np.sqrt((right * (1 - right) + 1 / count) / count))


@pytest.mark.parametrize("factor", [3.0, 0.4])
def test_temperature_restores_scaled_logits(factor):
    """Of the same labels, T follows the factor up to the minimiser's tolerance of 1e-5 in ln T."""
    logits, labels = truthful(20_000, 3, seed=7)
    found = temperature(factor * logits, labels)
    assert found == pytest.approx(factor, rel=0.05)
    assert found == pytest.approx(factor * temperature(logits, labels), rel=1e-4)
    scaled = predictions(softmax(factor * logits), labels)
    restored = predictions(softmax(factor * logits, found), labels)
    assert verdict.calibration_error(scaled) > 0.1
    assert verdict.calibration_error(restored) < 0.011  # 0.4 √(10/n) = 0.009
    assert verdict.log_loss(restored) < verdict.log_loss(scaled)
    assert verdict.accuracy(restored) == verdict.accuracy(scaled)


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_temperature_of_examples_that_are_all_right_grows_with_their_number_alone(count):
    """Logits of margin 1: the odds of a right label are (n + 1) : 1, so 1 / T = ln(n + 1)."""
    labels = np.repeat([0, 1], count)
    assert temperature(np.eye(2)[labels], labels) == pytest.approx(1 / math.log(count + 1), rel=1e-3)


def test_temperature_stays_within_its_bounds():
    labels = np.repeat([0, 1], 100)
    assert temperature(100 * np.eye(2)[labels], labels) == pytest.approx(20, rel=1e-3)
    assert temperature(0.01 * np.eye(2)[labels], labels) == pytest.approx(0.05, rel=1e-3)
    assert temperature(np.eye(2)[1 - labels], labels) == pytest.approx(20, rel=1e-3)


def test_softmax_of_large_logits():
    assert softmax(np.array([[1000.0, 1000.0 + math.log(9)]]), 2) == pytest.approx(np.array([[0.25, 0.75]]))


def test_reliability_by_hand():
    """Five bins from 0.5 to 1: one right of two at 0.825, one right at 1; ECE = 2/3 × 0.325."""
    found = predictions([[0.85, 0.15], [0.2, 0.8], [0.0, 1.0]], [0, 0, 1])
    sure, right, count = verdict.reliability(found, bins=5)
    assert count.tolist() == [0, 0, 0, 2, 1]
    assert sure == pytest.approx([np.nan] * 3 + [0.825, 1], nan_ok=True)
    assert right == pytest.approx([np.nan] * 3 + [0.5, 1], nan_ok=True)
    assert verdict.calibration_error(found, bins=5) == pytest.approx(2 / 3 * 0.325)


def test_least_probable_decision_is_in_the_first_bin():
    assert verdict.reliability(predictions(np.full((6, 3), 1 / 3), [0, 1, 2, 0, 1, 2]))[2].tolist() == [6] + [0] * 9


def test_log_loss():
    logits, labels = truthful(100, 3, seed=0)
    p = softmax(logits)
    assert verdict.log_loss(predictions(p, labels)) == pytest.approx(log_loss(labels, p), rel=1e-12)
    assert 80 < verdict.log_loss(predictions([[1.0, 0.0]], [1])) < 100  # a certain error costs much, not everything


def test_interval_of_accuracies_is_binomial():
    """√(a (1 − a)/n) = 0.01 to 8 %: 2000 draws know a spread to 2 %, and accuracies come in steps of 1/1600."""
    right = np.arange(1600) % 5 > 0
    low, high = verdict.interval(decisions(right.astype(int), np.ones(1600, int)), verdict.accuracy, draws=2000)
    assert low < 0.8 < high
    assert (high - low) / 2 == pytest.approx(0.01, rel=0.08)


def test_interval_covers_in_two_of_three_tests():
    """Of 400 tests, 68 % within three binomial errors of 2.3 %, less some 2 % as 200 places are not infinitely many."""
    generator, covered = np.random.default_rng(5), 0
    for _ in range(400):
        right = (generator.random(200) < 0.7).astype(int)
        low, high = verdict.interval(decisions(right, np.ones(200, int)), verdict.accuracy, draws=200)
        covered += low <= 0.7 <= high
    assert covered / 400 == pytest.approx(0.67, abs=0.07)


def test_interval_of_the_area():
    """√(A (1 − A) …) of Hanley & McNeil (1982, eq. 2) for 400 + 400 Gaussians, to 10 %: 500 draws know it to 4 %."""
    labels = np.repeat([0, 1], 400)
    x = np.random.default_rng(3).normal(size=800) + labels
    found = predictions(softmax(np.stack([0 * x, x], axis=1)), labels)
    a, n = verdict.auc(found), 400
    variance = (a * (1 - a) + (n - 1) * (a / (2 - a) - a**2 + 2 * a**2 / (1 + a) - a**2)) / n**2
    low, high = verdict.interval(found, verdict.auc)
    assert low < a < high
    assert (high - low) / 2 == pytest.approx(math.sqrt(variance), rel=0.1)


@pytest.mark.parametrize("by", ["places", "seeds"])
def test_examples_that_agree_do_not_narrow_the_interval(by):
    """Sixteen copies in one place or box are one trial: four times the error of free examples, to 15 % of noise."""
    right = np.repeat(np.random.default_rng(8).random(100) < 0.7, 16).astype(int)
    labels, cluster = np.ones(1600, int), np.repeat(np.arange(100), 16)
    free = verdict.interval(decisions(right, labels), verdict.accuracy)
    bound = verdict.interval(decisions(right, labels, **{by: cluster}), verdict.accuracy)
    assert np.ptp(bound) / np.ptp(free) == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize(("boxes", "wide"), [(4, False), (5, True)])
def test_boxes_are_resampled_from_five_on(boxes, wide):
    """One box all wrong among right ones: an error of √((m − 1)/m³) if boxes are drawn, a seventh if examples are."""
    seeds = np.repeat(np.arange(boxes), 50)
    right = (seeds > 0).astype(int)
    low, high = verdict.interval(decisions(right, np.ones(len(seeds), int), seeds=seeds), verdict.accuracy)
    assert ((high - low) / 2 > 0.1) == wide


def test_one_place_tells_no_error():
    found = decisions([0, 1], [0, 1], places=[3, 3])
    assert all(math.isnan(x) for x in verdict.interval(found, verdict.accuracy))


def test_equal_places_of_different_boxes_are_different():
    found = decisions([0, 1, 0], [0, 0, 0], seeds=[7, 8, 8], places=[3, 3, 3])
    assert verdict.interval(found, verdict.accuracy) == (0.5, 1.0)  # of the draws a quarter is ½, a quarter 1


@pytest.mark.parametrize("right", [10, 12, 14])
def test_chance_of_pairs_is_binomial(right):
    """Exchanging two labels in each of 20 places gives Binomial(20, ½); four errors of 4999 draws.

    Among all forty examples it would be hypergeometric, and for 14 right a fifth as probable.
    """
    p = binom.sf(right - 1, 20, 0.5)
    found = verdict.permutation_p(pairs(np.arange(20) < right), draws=4999)
    assert found == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 5000) + 1 / 5000)


@pytest.mark.parametrize("copies", [1, 3])
def test_chance_of_places_of_one_class_is_hypergeometric(copies):
    """Labels are exchanged among all 24 places; copies of an example within its place tell nothing new."""
    labels, decided = np.repeat([0, 1], [10, 14]), np.repeat([0, 1, 0, 1], [6, 4, 5, 9])
    p = hypergeom.sf(5, 24, 11, 10)  # six or more of the ten of class 0 are among the eleven decided
    where = {"places": np.repeat(np.arange(24), copies), "seeds": np.repeat(np.arange(24) % 2, copies)}
    found = verdict.permutation_p(decisions(np.repeat(decided, copies), np.repeat(labels, copies), **where), draws=4999)
    assert found == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 5000) + 1 / 5000)


def test_p_is_uniform_under_the_null():
    """At most α of 400 tests lie below α, and at least α less the chance of a tie; within three standard errors.

    The mean is above ½ by half that chance, which for 100 places is Σ Binomial(100, ½)² = 0.056.
    """
    generator = np.random.default_rng(11)
    p = np.array([verdict.permutation_p(pairs(generator.random(100) < 0.5), draws=199, seed=s) for s in range(400)])
    tie = np.sum(binom.pmf(np.arange(101), 100, 0.5) ** 2)
    assert p.mean() == pytest.approx((1 + tie) / 2, abs=3 * math.sqrt(1 / 12 / 400))
    for alpha in (0.1, 0.3, 0.6):
        assert alpha - tie < np.mean(p <= alpha) + 3 * math.sqrt(alpha * (1 - alpha) / 400)
        assert np.mean(p <= alpha) < alpha + 3 * math.sqrt(alpha * (1 - alpha) / 400)


@pytest.mark.parametrize("paired", [False, True])
def test_p_of_perfect_decisions_is_the_least_there_is(paired):
    found = pairs(np.ones(40)) if paired else decisions([0, 1, 2] * 20, [0, 1, 2] * 20, classes=3)
    assert verdict.permutation_p(found) == 1 / 1000


def test_p_when_everything_is_decided_alike_is_one():
    assert verdict.permutation_p(decisions([1] * 10, [0, 1] * 5), draws=19) == 1


def test_places_need_not_be_in_order():
    found = pairs(np.arange(20) < 14)
    order = np.random.default_rng(0).permutation(40)
    mixed = Predictions(*(x[order] for x in (found.probabilities, found.labels, found.seeds, found.places)))
    p = binom.sf(13, 20, 0.5)
    assert verdict.permutation_p(mixed, draws=4999) == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 5000))


def test_accuracy_of_every_box():
    found = decisions([1, 1, 1, 0, 1], [1, 1, 1, 1, 1], seeds=[9, 4, 4, 4, 4])
    half = math.sqrt(0.7 * 0.3 / 4), math.sqrt(0.75 * 0.25)  # of 3.5 in 5, and of 1.5 in 2
    assert verdict.by_seed(found) == {4: (0.75, pytest.approx(half[0])), 9: (1.0, pytest.approx(half[1]))}


@pytest.mark.parametrize(("right", "expected"), [(True, (100 / 100.989, 1.0)), (False, (0.0, 0.989 / 100.989))])
def test_an_accuracy_that_is_perfect_has_an_error(right, expected):
    """Wilson's interval of 100 places: z² = 0.989 at 68 %."""
    labels = np.arange(200) % 2
    p = np.eye(2)[labels if right else 1 - labels]
    found = Predictions(p, labels, np.zeros(200, int), np.arange(200) // 2)
    assert verdict.accuracy_interval(found) == pytest.approx(expected, abs=1e-5)
    row = verdict.judged(found)
    assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(expected, abs=1e-5)


def test_row_of_the_table():
    logits, labels = truthful(300, 3, seed=9)
    seeds = np.repeat([1, 2, 3], 100)
    found = predictions(softmax(logits), labels, seeds)
    row = verdict.judged(found)
    assert row["accuracy"] == verdict.accuracy(found)
    assert (row["accuracy_low"], row["accuracy_high"]) == verdict.interval(found, verdict.accuracy)
    assert row["balanced"] == verdict.balanced_accuracy(found)
    assert row["auc"] == verdict.auc(found)
    assert (row["auc_low"], row["auc_high"]) == verdict.interval(found, verdict.auc)
    assert row["p"] == verdict.permutation_p(found)
    assert row["ece"] == verdict.calibration_error(found)
    assert row["log_loss"] == verdict.log_loss(found)
    assert (row["examples"], row["seeds"]) == (300, 3)
    assert len(row) == 12
    assert verdict.judged(found) == row  # the same numbers again


def test_row_with_what_it_was_before_calibration():
    logits, labels = truthful(300, 3, seed=9)
    before = predictions(softmax(5 * logits), labels)
    row = verdict.judged(predictions(softmax(logits), labels), before)
    assert row["ece_uncalibrated"] == verdict.calibration_error(before) > row["ece"]
    assert row["log_loss_uncalibrated"] == verdict.log_loss(before) > row["log_loss"]


def test_other_seeds_give_other_draws():
    found = pairs(np.arange(50) < 30)
    assert verdict.interval(found, verdict.accuracy, seed=1, draws=9) != verdict.interval(
        found, verdict.accuracy, seed=2, draws=9
    )
    assert len({verdict.permutation_p(found, seed=s) for s in range(5)}) > 1


HALF = np.full((3, 2), 0.5)
THREE = np.zeros(3, int)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"probabilities": np.full(3, 0.5)}, r"probabilities of shape \(3,\) are not \(n, classes\); give examples"),
        ({"probabilities": np.ones((3, 1))}, r"probabilities of shape \(3, 1\) are not \(n, classes\); .* two classes"),
        ({"probabilities": np.ones((0, 2))}, r"probabilities of shape \(0, 2\) are not"),
        ({"labels": THREE[:2]}, r"labels \(2,\) do not fit probabilities \(3, 2\); give one label per example"),
        ({"labels": HALF[:, 0]}, "labels are float64, not whole numbers; give the index"),
        ({"labels": THREE + 5}, "label 5 is outside of the 2 classes; labels run from 0 to 1"),
        ({"labels": THREE - 1}, "label -1 is outside of the 2 classes"),
        ({"probabilities": HALF * [1, np.nan]}, "3 probabilities are NaN or infinite; leave those examples out"),
        ({"seeds": THREE[:2]}, r"seeds \(2,\) do not fit labels \(3,\); give one per example"),
        ({"places": THREE[:2]}, r"places \(2,\) do not fit labels \(3,\); give one per example"),
        ({"probabilities": HALF * [-1, 3]}, "a probability is -0.5, below zero; give softmax, not logits"),
        ({"probabilities": HALF * 1.001}, "probabilities of one example sum to 1.001, not one; normalise them"),
    ],
)
def test_predictions_that_do_not_fit(change, sentence):
    parts = {"probabilities": HALF, "labels": THREE, "seeds": THREE, "places": THREE}
    with pytest.raises(DataError, match=sentence):
        Predictions(**parts | change)


def test_sums_are_one_to_the_rounding_of_float32():
    assert len(Predictions((HALF * 1.00009).astype(np.float32), THREE, THREE, THREE)) == 3


def test_temperature_of_labels_that_do_not_fit():
    with pytest.raises(DataError, match=r"label 2 is outside of the 2 classes"):
        temperature(HALF, THREE + 2)
    with pytest.raises(DataError, match="3 logits are NaN or infinite"):
        temperature(HALF * [np.inf, 1], THREE)


@pytest.mark.parametrize("level", [0, 1, 68])
def test_levels_that_no_interval_has(level):
    with pytest.raises(DataError, match=f"an interval was asked at level {level}; it must lie between 0 and 1"):
        verdict.interval(pairs([1, 0]), verdict.accuracy, level=level)
