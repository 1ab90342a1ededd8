"""Training a classifier: the same bits again, stopped in time, the best weights, calibrated, balanced."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from supercosm.classification.examples import Examples, cut, shuffled, skewed, slabs_of_boxes
from supercosm.classification.fit import Setup, build, check_present, train
from supercosm.classification.predictions import Predictions, temperature
from supercosm.classification.verdict import balanced_accuracy, log_loss
from supercosm.errors import DataError

CPU = torch.device("cpu")
LABELS = ("0.6", "0.8")


@pytest.fixture(scope="module")
def slabs(universes):
    """Return whole slabs of training, validation and test."""
    seeds = {"training": range(1, 5), "validation": (7, 8), "test": range(9, 13)}
    splits = universes.splits(LABELS, **seeds)
    return {split: slabs_of_boxes(boxes, LABELS, 6.25, (0, 1, 2)) for split, boxes in splits.items()}


@pytest.fixture(scope="module")
def setup_of(task_of):
    def setup(side=32, balance=True, classifier="residual", classes=2, network=None, **fit):
        task = task_of("cosmology", fit=fit, network=network or {})
        return Setup(classifier, task, classes, side, balance, CPU)

    return setup


def loss_of(trained, examples):
    """Return the cross-entropy of examples, before temperature scaling."""
    logits = torch.from_numpy(trained.logits(examples.x)).double()
    return float(functional.cross_entropy(logits, torch.from_numpy(examples.labels)))


def predictions(trained, examples, calibrated=True):
    return Predictions(trained.probabilities(examples.x, calibrated), examples.labels, examples.seeds, examples.places)


def few(slabs, count=32):
    """Return training examples of both classes, few and without meaning: they can only be learnt by heart."""
    own = slabs["training"]
    return shuffled(own.chosen(np.linspace(0, len(own) - 1, count).astype(int)), 0)


@pytest.mark.parametrize("side", [16, 32])
def test_the_same_settings_give_the_same_bits(slabs, setup_of, side):
    def logits(**fit):
        trained = train(setup_of(side, epochs=2, **fit), slabs["training"], slabs["validation"])
        return trained.logits(cut(slabs["test"], side).x), trained.rows

    one, rows = logits()
    torch.rand(3)  # what is drawn elsewhere does not matter
    again, same = logits()
    np.testing.assert_array_equal(one, again)
    assert rows == same
    assert np.abs(logits(seed=1)[0] - one).max() > 1e-3


def test_training_stops_early_and_keeps_the_best_weights(slabs, setup_of):
    """What is learnt by heart makes validation worse and worse."""
    patience = 2
    setup = setup_of(epochs=40, batch=8, learning_rate=1e-2, patience=patience)
    trained = train(setup, few(slabs), slabs["validation"])
    losses = [row["validation_loss"] for row in trained.rows]
    assert len(losses) < 40
    assert np.argmin(losses) == len(losses) - 1 - patience
    # the same sums, in float32 there
    assert loss_of(trained, slabs["validation"]) == pytest.approx(min(losses), rel=1e-5)
    assert min(losses) < losses[-1]
    assert not trained.network.training


def test_patience_counts_from_the_last_improvement(slabs, setup_of):
    losses = [
        [row["validation_loss"] for row in train(setup, few(slabs), slabs["validation"]).rows]
        for setup in (setup_of(epochs=12, batch=8, learning_rate=1e-2, patience=patience) for patience in (1, 12))
    ]
    assert len(losses[1]) == 12
    first = next(i for i in range(1, 12) if losses[1][i] >= min(losses[1][:i]))
    assert losses[0] == losses[1][: first + 1]


def test_the_temperature_is_that_of_the_validation_boxes(slabs, setup_of):
    trained = train(setup_of(epochs=3), slabs["training"], slabs["validation"])
    held_out = slabs["validation"]
    assert trained.temperature == temperature(trained.logits(held_out.x), held_out.labels)
    assert trained.temperature != 1
    calibrated, plain = (log_loss(predictions(trained, held_out, which)) for which in (True, False))
    assert calibrated < plain
    np.testing.assert_array_equal(
        predictions(trained, slabs["test"]).decided, predictions(trained, slabs["test"], False).decided
    )


def test_without_validation_all_epochs_are_trained(slabs, setup_of):
    trained = train(setup_of(epochs=3, patience=1), slabs["training"], None)
    assert len(trained.rows) == 3
    assert trained.temperature == 1
    assert all(set(row) == {"step", "learning_rate", "train_loss"} for row in trained.rows)
    assert not trained.network.training
    np.testing.assert_array_equal(
        predictions(trained, slabs["test"]).probabilities, predictions(trained, slabs["test"], False).probabilities
    )


@pytest.mark.parametrize(("steps", "each"), [(None, 12), (5, 5), (30, 30)])
def test_an_epoch_is_one_pass_or_as_many_steps_as_asked(slabs, setup_of, steps, each):
    trained = train(setup_of(epochs=2), slabs["training"], None, steps)
    assert len(slabs["training"]) // 16 == 12
    assert [row["step"] for row in trained.rows] == [each, 2 * each]
    assert trained.rows[-1]["learning_rate"] == pytest.approx(0, abs=1e-8)  # it ends at zero, as a cosine


def test_fewer_examples_than_a_batch_are_one_batch(slabs, setup_of):
    some = slabs["training"].chosen(np.array([0, 1, 24, 25]))
    trained = train(setup_of(epochs=2, batch=64), some, None)
    assert [row["step"] for row in trained.rows] == [1, 2]


def test_balanced_training_is_fair_to_a_rare_class(slabs, setup_of):
    """Of σ8 = 0.6 one slab in ten is left: unweighted, nearly all slabs are taken for 0.8 (accuracy 0.5)."""
    rare = skewed(slabs["training"], 0.1, 0)
    assert np.bincount(rare.labels).tolist() == [10, 96]
    found = {}
    for balance in (False, True):
        trained = train(setup_of(balance=balance, epochs=6), rare, None, len(slabs["training"]) // 16)
        found[balance] = balanced_accuracy(predictions(trained, slabs["test"]))
    assert np.bincount(slabs["test"].labels).tolist() == [32 * 3, 32 * 3]
    assert found[True] > found[False] + 0.1
    assert found[True] > 0.75


def test_weights_change_nothing_where_classes_are_equally_frequent(slabs, setup_of):
    one, other = (train(setup_of(balance=b, epochs=1), slabs["training"], None) for b in (True, False))
    np.testing.assert_array_equal(one.logits(slabs["test"].x), other.logits(slabs["test"].x))


def test_constant_boxes_are_refused(slabs, setup_of):
    flat = replace(slabs["training"], x=np.zeros_like(slabs["training"].x))
    with pytest.raises(DataError, match="the training boxes are constant: there is nothing to tell them apart by"):
        train(setup_of(), flat, None)


def test_a_class_without_example_is_refused(slabs, setup_of):
    with pytest.raises(DataError, match=r"classes \[2\] of 3 have no training example; add boxes or patches"):
        train(setup_of(classes=3), slabs["training"], None)
    with pytest.raises(DataError, match=r"classes \[0, 2\] of 4 have"):
        check_present(np.array([1, 3, 3]), 4)


def test_a_training_that_blows_up_says_so(slabs, setup_of):
    with pytest.raises(DataError, match=r"the loss became \w+ in epoch \d; lower fit.learning_rate \(1e\+30\)"):
        train(setup_of(learning_rate=1e30, epochs=3), slabs["training"], None)


def test_what_is_normalised_has_the_moments_of_the_training_boxes(slabs, setup_of):
    trained = train(setup_of(epochs=1), slabs["training"], None)
    x = trained.normalise(slabs["training"].x)
    assert x.shape == (len(slabs["training"]), 1, 32, 32)
    assert float(x.double().mean()) == pytest.approx(0, abs=1e-5)
    assert float(x.double().std()) == pytest.approx(1, abs=1e-4)
    assert abs(float(trained.normalise(slabs["test"].x).double().mean())) < 0.2  # of test boxes, not their own


def test_whole_slabs_are_periodic_and_patches_are_not(slabs, setup_of):
    """Shifted by what the network folds and pools, a periodic slab has the same logits, but for the order of sums."""
    by = 4  # network.patch × 2^(levels − 1)
    for side, periodic in ((32, True), (16, False)):
        patches = cut(slabs["test"], side)
        trained = train(setup_of(side, epochs=1), slabs["training"], None)
        assert trained.network.periodic == periodic
        change = trained.logits(np.roll(patches.x, by, axis=-1)) - trained.logits(patches.x)
        assert (np.abs(change).max() < 1e-4) == periodic


def test_networks_are_those_asked_for(slabs, setup_of):
    lectures = build(setup_of(classifier="lectures"), slabs["training"])
    assert lectures(torch.zeros(3, 1, 32, 32)).shape == (3, 2)
    blocks = Examples(np.zeros((4, 8, 8, 8), np.float32), *[np.arange(4)] * 3, 1.0, False)
    solid = build(setup_of(8, classes=4), blocks)
    assert solid(torch.zeros(3, 1, 8, 8, 8)).shape == (3, 4)
    assert not solid.periodic
