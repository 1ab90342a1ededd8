"""Examples: what slabs hold, where patches come from, and labels that are thinned out or mean nothing."""

from dataclasses import replace

import numpy as np
import pytest

from supercosm.classification.examples import Examples, cut, of_boxes, shifted, shuffled, skewed, slabs_of_boxes
from supercosm.errors import DataError

LABELS = ("0.6", "1.0")


@pytest.fixture(scope="module")
def boxes(universes):
    """Return boxes of two classes and two seeds; the order of the seeds differs."""
    return [universes.box(label, seed) for label, seed in (("0.6", 2), ("1.0", 1), ("0.6", 1), ("1.0", 2))]


@pytest.fixture(scope="module")
def slabs(boxes):
    return slabs_of_boxes(boxes, LABELS, 6.25, (0, 1, 2))


def numbered(count=3, side=8, dimensions=2):
    """Make periodic examples all of whose cells are different."""
    x = np.arange(count * side**dimensions, dtype=np.float32).reshape(count, *(side,) * dimensions)
    return Examples(x, np.arange(count) % 2, np.arange(count), np.arange(count), 1.0, True)


def labelled(*counts, classes=None):
    """Make examples of so many of every class, in random order; x is the number of the example."""
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    number = np.arange(len(labels))
    return Examples(np.zeros((len(labels), 2, 2)) + number[:, None, None], labels, number, number, 1.0, True)


def of_one_box(examples):
    return replace(examples, seeds=np.full(len(examples), 7))


def test_slabs_hold_the_mass_of_their_box(boxes, slabs):
    """Eight slabs of 6.25 Mpc/h along each axis; sums in float32 are good to some 1e-6."""
    assert slabs.x.shape == (4 * 3 * 8, 32, 32)
    assert slabs.x.dtype == np.float32
    assert (slabs.cell, slabs.periodic, slabs.dimensions, len(slabs)) == (50 / 32, True, 2, 96)
    means = (np.exp(slabs.x.astype(np.float64)) - 0.1).mean(axis=(1, 2)).reshape(4, 3, 8)
    for box, own in zip(boxes, means, strict=True):
        for axis in range(3):
            parts = np.moveaxis(box.density, axis, 0).reshape(8, -1).mean(axis=1, dtype=np.float64)
            np.testing.assert_allclose(own[axis], parts, rtol=1e-5)
        np.testing.assert_allclose(own.mean(axis=1), box.density.mean(dtype=np.float64), rtol=1e-5)


def test_a_slab_is_a_projection_along_its_axis(boxes):
    along_y = slabs_of_boxes(boxes[:1], LABELS, 6.25, (1,))
    assert len(along_y) == 8
    np.testing.assert_allclose(
        np.exp(along_y.x[3]) - 0.1, boxes[0].density[:, 12:16].mean(axis=1), rtol=1e-4, atol=1e-5
    )


def test_one_place_is_one_piece_of_space_in_all_classes(boxes, slabs):
    assert slabs.labels.tolist() == np.repeat([0, 1, 0, 1], 24).tolist()
    assert slabs.seeds.tolist() == np.repeat([2, 1, 1, 2], 24).tolist()
    correlations = {True: [], False: []}
    for seed in (1, 2):
        mine = slabs.chosen((slabs.labels == 0) & (slabs.seeds == seed))
        for other in (1, 2):
            theirs = slabs.chosen((slabs.labels == 1) & (slabs.seeds == other))
            np.testing.assert_array_equal(mine.places, theirs.places)
            assert len(set(mine.places)) == 24
            pairs = zip(mine.x, theirs.x, strict=True)
            correlations[seed == other] += [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs]
    # the same initial conditions with another amplitude, against other ones
    assert min(correlations[True]) > 0.6
    assert max(correlations[False]) < 0.4


@pytest.mark.parametrize("side", [4, 8, 16])
def test_patches_cover_a_slab_exactly_once(side):
    whole = numbered(3, 16)
    parts = cut(whole, side)
    each = (16 // side) ** 2
    assert parts.x.shape == (3 * each, side, side)
    np.testing.assert_array_equal(np.sort(parts.x.ravel()), np.arange(3 * 16**2))
    assert parts.periodic == (side == 16)
    assert len(set(parts.places)) == len(parts)
    for number, patch in enumerate(parts.x):
        np.testing.assert_array_equal(patch - patch[0, 0], whole.x[0, :side, :side])  # a square, not turned
        assert parts.labels[number] == whole.labels[number // each]
        assert parts.seeds[number] == whole.seeds[number // each]


@pytest.mark.parametrize("side", [5, 12, 32])
def test_patches_that_do_not_divide_a_slab_are_refused(side):
    """They would be none, or the whole slab."""
    with pytest.raises(DataError, match=rf"{side}.* 16"):
        cut(numbered(3, 16), side)


def test_patches_of_one_place_agree_between_classes(slabs):
    parts = cut(slabs, 16)
    low, high = (parts.chosen((parts.labels == label) & (parts.seeds == 1)) for label in (0, 1))
    np.testing.assert_array_equal(low.places, high.places)
    alike, unlike = (
        np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(low.x, other, strict=True)])
        for other in (high.x, np.roll(high.x, 1, axis=0))
    )
    assert alike > 0.5
    assert unlike < 0.2


@pytest.mark.parametrize("dimensions", [2, 3])
def test_shifts_are_periodic_and_of_every_example_its_own(dimensions):
    before = numbered(20, 4, dimensions)
    after = shifted(before, np.random.default_rng(0))
    shifts = set()
    for old, new in zip(before.x, after.x, strict=True):
        start = np.argwhere(new == old.ravel()[0])[0]
        np.testing.assert_array_equal(np.roll(old, start, range(dimensions)), new)
        shifts.add(tuple(start))
    assert len(shifts) > 5
    for name in ("labels", "seeds", "places"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def test_patches_that_are_no_period_are_not_shifted(slabs):
    parts = cut(slabs, 16)
    assert shifted(parts, np.random.default_rng(0)) is parts


def test_the_first_boxes_are_those_of_the_first_seeds(slabs):
    one = of_boxes(slabs, 1)
    assert set(one.seeds) == {1}
    assert np.bincount(one.labels).tolist() == [24, 24]
    np.testing.assert_array_equal(one.x, slabs.x[slabs.seeds == 1])
    assert len(of_boxes(slabs, 2)) == len(slabs)


@pytest.mark.parametrize(("share", "left"), [(0.1, 20), (0.5, 100), (0.0001, 1)])
def test_skewed_examples_keep_a_share_of_the_first_class_alone(share, left):
    examples = labelled(200, 50, 30)
    few = skewed(examples, share, 3)
    assert np.bincount(few.labels).tolist() == [left, 50, 30]
    assert len(set(few.seeds)) == len(few)
    np.testing.assert_array_equal(few.labels, examples.labels[few.seeds])
    np.testing.assert_array_equal(few.x[:, 0, 0], few.seeds)
    np.testing.assert_array_equal(skewed(examples, share, 3).seeds, few.seeds)
    assert skewed(examples, share, 4).seeds.tolist() != few.seeds.tolist()


@pytest.mark.parametrize("counts", [(200, 200), (60, 20), (30, 30, 30), (9, 27, 3)])
def test_shuffled_labels_know_nothing_of_the_truth(counts):
    """Within each true class all labels are equally frequent, exactly: the correlation is zero, not 1/√n."""
    examples = of_one_box(labelled(*counts))
    labels = shuffled(examples, 0).labels
    for label, count in enumerate(counts):
        own = labels[examples.labels == label]
        assert np.bincount(own, minlength=len(counts)).tolist() == [count // len(counts)] * len(counts)
    if len(set(counts)) == 1:
        assert np.bincount(labels).tolist() == list(counts)


def test_shuffled_labels_leave_no_more_than_one_example_over():
    examples = of_one_box(labelled(101, 51))
    labels = shuffled(examples, 0).labels
    table = np.histogram2d(examples.labels, labels, bins=2)[0]
    assert np.ptp(table, axis=1).max() == 1


def test_shuffling_is_a_function_of_the_seed_and_changes_labels_alone():
    examples = of_one_box(labelled(100, 100))
    one, again, other = (shuffled(examples, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.labels, again.labels)
    assert 50 < np.count_nonzero(one.labels != other.labels) < 150  # half of them, ± 7
    np.testing.assert_array_equal(one.x, examples.x)
    np.testing.assert_array_equal(one.seeds, examples.seeds)


def test_shuffled_labels_of_a_box_are_the_same_in_every_split():
    """So a box that is in two splits keeps what was learnt of it by heart, and the control of leaks can fail."""
    one = of_one_box(labelled(40, 40))
    other = replace(labelled(40, 40), seeds=np.full(80, 8))
    parts = [
        np.concatenate([getattr(part, name) for part in (other, one)]) for name in ("x", "labels", "seeds", "places")
    ]
    both = Examples(*parts, 1.0, True)
    np.testing.assert_array_equal(shuffled(both, 0).labels[80:], shuffled(one, 0).labels)
    assert np.any(shuffled(both, 0).labels[:80] != shuffled(both, 0).labels[80:])
