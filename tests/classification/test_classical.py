"""Summary statistics with known answers, and classifiers of them that find what is there and nothing else."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from supercosm.classification.alter import matched, randomised, ring_power
from supercosm.classification.classical import NOISE, Summaries, boosted, logistic, standardised
from supercosm.classification.examples import Examples
from supercosm.errors import DataError
from supercosm.statistics.power import compare

CELL = 2.0
OPPONENTS = [logistic, boosted]


def examples(x, labels=None, periodic=True):
    n = len(x)
    labels = np.zeros(n, int) if labels is None else np.asarray(labels)
    return Examples(np.asarray(x, np.float32), labels, np.arange(n), np.arange(n), CELL, periodic)


def white(count, shape, deviation=1.0, seed=0):
    return deviation * np.random.default_rng([seed, 101]).standard_normal((count, *shape))


def smooth(count, side, amplitude=1.0, seed=0):
    """Gaussian fields of red spectrum and unit variance, times an amplitude (n, p, p)."""
    k = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)) * side
    field = np.fft.irfft2(np.fft.rfft2(white(count, (side, side), seed=seed)) / (1 + (k / 3) ** 2), s=(side, side))
    return amplitude * field / field.std()


def two_amplitudes(count=60, side=16):
    """Gaussian fields of two amplitudes, classes 0 and 1 in turn."""
    labels = np.arange(count) % 2
    return examples(smooth(count, side) * np.where(labels, 1.5, 0.5)[:, None, None], labels)


def accuracy(opponent, features, labels, classes=2):
    """Train with the first half and return the share of the second half that is told right, and its probabilities."""
    half = len(labels) // 2
    found = opponent(features[:half], labels[:half], features[half:], classes, True)
    return np.mean(found.argmax(axis=1) == labels[half:]), found


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(("shape", "count"), [((32, 32), 200), ((16, 16, 16), 100)])
def test_white_noise_has_the_power_of_its_variance_and_cell(shape, count, periodic):
    noise = examples(white(count, shape, 0.3), periodic=periodic)
    summaries = Summaries.of(noise, 6)
    power = np.exp(summaries.power(noise))
    assert power.shape == (count, 6)
    level = 0.3**2 * CELL ** len(shape)
    error = power.std(axis=0) / np.sqrt(count)
    # through the Hann window, the mean takes 1/9 of modes (1, 0) and 1/36 of (1, 1) along: 5/72 of the lowest ring,
    # of which this bin has more; less in three dimensions
    lacking = 0 if periodic else 0.07
    np.testing.assert_array_less(np.abs(power.mean(axis=0)[1:] - level), 4 * error[1:])
    assert -lacking * level - 4 * error[0] < power[:, 0].mean() - level < 4 * error[0]
    assert error.max() < 0.08 * level


@pytest.mark.parametrize("shape", [(32, 32), (16, 16, 16)])
def test_the_power_is_that_of_the_statistics(shape):
    noise = examples(white(2, shape))
    summaries = Summaries.of(noise, 5)
    edges, length = summaries.rings - 0.5, CELL * shape[0]
    for one, found in zip(noise.x, summaries.power(noise), strict=True):
        expected = compare(one[None], one[None], length, edges, len(shape)).first
        np.testing.assert_allclose(np.exp(found), expected, rtol=1e-5)  # transforms in single precision there


@pytest.mark.parametrize(("side", "count"), [(32, 12), (64, 12), (16, 7), (9, 4), (4, 1)])
def test_bins_of_power_reach_from_the_fundamental_mode_to_the_nyquist_one(side, count):
    noise = examples(white(2, (side, side)))
    summaries = Summaries.of(noise)
    assert (summaries.rings[0], summaries.rings[-1]) == (1, side // 2 + 1)
    assert np.diff(summaries.rings).min() >= 1
    assert np.diff(summaries.rings)[-1] == np.diff(summaries.rings).max()
    assert summaries.power(noise).shape == (2, count)


@pytest.mark.parametrize("wave", [1, 3, 7, 16])
def test_a_plane_wave_has_power_in_its_bin_alone(wave):
    x = np.cos(2 * np.pi * wave * np.arange(32) / 32)
    summaries = Summaries.of(examples(white(2, (32, 32))), 6)
    power = summaries.power(examples(np.broadcast_to(x, (1, 32, 32))))[0]
    own = np.searchsorted(summaries.rings, wave, side="right") - 1
    # the others are at the level of rounding, 1e-14 of the variance, and not at −∞
    assert np.delete(power, own).max() < power[own] - 20
    assert np.isfinite(power).all()
    assert np.isfinite(summaries.power(examples(np.zeros((1, 32, 32))))).all()


def test_a_window_keeps_a_jump_between_opposite_faces_from_small_scales():
    """A ramp has the power of its jump at all k, P ∝ k⁻², unless the window takes it away."""
    ramp = np.broadcast_to(np.linspace(-1, 1, 32)[:, None], (1, 32, 32))
    summaries = Summaries.of(examples(white(2, (32, 32))), 6)
    plain, windowed = (summaries.power(examples(ramp, periodic=periodic))[0] for periodic in (True, False))
    assert windowed[-1] < plain[-1] - 5
    assert windowed[0] > windowed[-1] + 12


def test_a_mean_has_no_power_even_through_the_window():
    noise = examples(white(3, (16, 16)), periodic=False)
    summaries = Summaries.of(noise, 4)
    # to the rounding of x + 5
    np.testing.assert_allclose(summaries.power(replace(noise, x=noise.x + 5)), summaries.power(noise), atol=1e-4)


def test_the_power_of_the_density_is_that_of_its_contrast():
    contrast = np.exp(smooth(3, 16)) - 1
    found = examples(np.log(contrast + 1.1))
    summaries = Summaries.of(found, 4)
    np.testing.assert_allclose(summaries.density_power(found), summaries.power(examples(contrast)), atol=1e-4)
    assert np.abs(summaries.density_power(found) - summaries.power(found)).max() > 0.1


@pytest.mark.parametrize("shape", [(32, 32), (8, 8, 8)])
def test_the_distribution_is_flat_where_it_was_learned_and_adds_up_to_one(shape):
    noise = examples(white(20, shape))
    summaries = Summaries.of(noise, 8)
    np.testing.assert_allclose(summaries.distribution(noise).mean(axis=0), 1 / 8, atol=1e-3)
    for other in (noise, examples(white(3, shape, 2, seed=1) + 1)):
        found = summaries.distribution(other)
        assert found.shape == (len(other), 8)
        np.testing.assert_allclose(found.sum(axis=1), 1)


def test_cells_are_counted_between_the_borders():
    summaries = replace(Summaries.of(examples(white(2, (4, 4))), 4), edges=np.array([0.0, 1.0, 2.0]))
    x = np.full((1, 4, 4), -3.0)
    x[0, 0] = 0.5
    x[0, 1, :3] = 2  # on a border: of the bin above
    np.testing.assert_allclose(summaries.distribution(examples(x)), [[9 / 16, 4 / 16, 0, 3 / 16]])


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 8)])
@pytest.mark.parametrize("periodic", [True, False])
def test_isolated_maxima_are_counted_above_their_height(shape, periodic):
    summaries = replace(Summaries.of(examples(white(2, shape)), 3), thresholds=np.array([-np.inf, 1.5, 2.5]))
    x = np.zeros((1, *shape))
    rest = (4,) * (len(shape) - 2)
    for place, height in [((2, 2), 1), ((5, 2), 2), ((5, 5), 3), ((0, 7), 4)]:  # the last in a corner
        x[(0, *place, *rest)] = height
    x[(0, 3, 3, *rest)] = 0.9  # diagonal neighbour of a higher one
    x[(0, 2, 6, *rest)] = x[(0, 2, 7, *rest)] = 9  # a plateau has no peak
    cells = np.prod(shape) if periodic else 6 ** len(shape)
    # cells of the background that see no other value are a plateau, too
    expected = [4, 3, 2] if periodic else [3, 2, 1]
    np.testing.assert_allclose(summaries.peaks(examples(x, periodic=periodic)) ** 2 * cells, [expected])


@pytest.mark.parametrize(("shape", "neighbours"), [((32, 32), 8), ((16, 16, 16), 26)])
@pytest.mark.parametrize("periodic", [True, False])
def test_white_noise_has_one_peak_in_as_many_cells_as_a_neighbourhood_holds(shape, neighbours, periodic):
    noise = examples(white(30, shape), periodic=periodic)
    summaries = Summaries.of(noise, 4)
    shares = summaries.peaks(noise) ** 2 * (neighbours + 1)
    # the chance of being the highest of 9 or 27; training peaks are parted into four equal groups
    np.testing.assert_allclose(shares.mean(axis=0), [1, 0.75, 0.5, 0.25], rtol=0.05)
    lower = summaries.peaks(replace(noise, x=noise.x - 100)) ** 2 * (neighbours + 1)
    np.testing.assert_allclose(lower, shares * [1, 0, 0, 0])  # all peaks are still peaks


@pytest.mark.parametrize("shape", [(12, 12), (6, 6, 6)])
def test_summaries_of_periodic_fields_do_not_change_with_the_origin(shape):
    noise = examples(white(3, shape))
    summaries = Summaries.of(noise, 4)
    moved = replace(noise, x=np.roll(noise.x, (3, -2), (1, 2)))
    np.testing.assert_allclose(summaries.everything(moved), summaries.everything(noise), atol=1e-6)


def test_everything_is_side_by_side_and_the_same_again():
    noise = examples(white(5, (16, 16)), periodic=False)
    summaries, again = Summaries.of(noise), Summaries.of(noise)
    found = summaries.everything(noise)
    parts = [summaries.power(noise), summaries.distribution(noise), summaries.peaks(noise)]
    np.testing.assert_array_equal(found, np.hstack(parts))
    assert found.shape == (5, 7 + 12 + 12)
    np.testing.assert_array_equal(again.everything(noise), found)


@pytest.mark.parametrize("opponent", OPPONENTS)
def test_classes_apart_are_told_apart_in_the_order_of_their_numbers(opponent):
    labels = np.arange(120) % 3
    features = white(120, (4,), 0.1) + np.array([5.0, -5.0, 0.0])[labels, None]
    share, found = accuracy(opponent, features, labels, 3)
    assert share == 1
    assert found.shape == (60, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_array_equal(accuracy(opponent, features, labels, 3)[1], found)


@pytest.mark.parametrize("opponent", OPPONENTS)
def test_labels_that_mean_nothing_are_not_learned(opponent):
    features = white(1200, (5,))
    labels = np.random.default_rng(3).permutation(np.arange(1200) % 2)
    assert abs(accuracy(opponent, features, labels)[0] - 0.5) < 0.08  # four deviations of 600 coins


@pytest.mark.parametrize("opponent", OPPONENTS)
def test_balance_makes_rare_classes_as_likely_as_others(opponent):
    labels = (np.arange(400) % 10 == 0).astype(int)
    useless = np.zeros((400, 2))
    plain, balanced = (opponent(useless, labels, useless[:1], 2, balance)[0, 1] for balance in (False, True))
    assert plain == pytest.approx(0.1, abs=1e-3)
    assert balanced == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("opponent", OPPONENTS)
def test_rounding_is_not_blown_up_into_a_feature(opponent):
    labels = np.arange(200) % 2
    features = np.stack([np.ones(200), 3 + labels * NOISE, white(200, ())], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        share, found = accuracy(opponent, features, labels)
    assert np.isfinite(found).all()
    assert abs(share - 0.5) < 0.2  # 100 coins
    assert accuracy(opponent, features * [1, 3, 1], labels)[0] == 1


def test_standardised_features_have_unit_variance_or_none():
    training = white(50, (3,)) * [1, 1e-6, 0] + [5, 3, 2]
    known, new = standardised(training, training[:4] + np.array([0, 7, 7]))
    np.testing.assert_allclose(known.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(known.std(axis=0), [1, 0, 0])
    np.testing.assert_allclose(new[:, 0], known[:4, 0])
    np.testing.assert_array_equal(new[:, 1:], 0)


@pytest.mark.parametrize("opponent", OPPONENTS)
def test_the_power_tells_amplitudes_apart_until_it_is_matched(opponent):
    fields = two_amplitudes()
    half = len(fields) // 2
    altered = replace(fields, x=matched(fields.x, ring_power(fields.x[:half])))
    summaries = Summaries.of(fields.chosen(np.arange(half)))
    before, after = summaries.power(fields), summaries.power(altered)
    assert accuracy(opponent, before, fields.labels)[0] == 1
    assert after.std(axis=0).max() < NOISE / 10
    np.testing.assert_allclose(accuracy(opponent, after, fields.labels)[1], 0.5)


@pytest.mark.parametrize("opponent", OPPONENTS)
def test_random_phases_leave_what_power_knows(opponent):
    fields = two_amplitudes()
    altered = replace(fields, x=randomised(fields.x, 0))
    summaries = Summaries.of(fields)
    np.testing.assert_allclose(summaries.power(altered), summaries.power(fields), atol=1e-4)
    assert accuracy(opponent, summaries.power(altered), fields.labels)[0] == 1


@pytest.mark.parametrize("opponent", OPPONENTS)
def test_what_lies_beyond_the_power_is_found_after_matching(opponent):
    """A field and its mirror image x → −x have one P(k); their distributions and peaks differ."""
    labels = np.arange(80) % 2
    skewed = np.exp(smooth(80, 16))
    fields = examples(
        (skewed - skewed.mean(axis=(1, 2), keepdims=True)) * np.where(labels, 1, -1)[:, None, None], labels
    )
    altered = replace(fields, x=matched(fields.x, ring_power(fields.x)))
    summaries = Summaries.of(altered)
    np.testing.assert_allclose(accuracy(opponent, summaries.power(altered), labels)[1], 0.5)
    for features in (summaries.distribution, summaries.peaks, summaries.everything):
        assert accuracy(opponent, features(altered), labels)[0] > 0.9


def test_examples_of_another_shape_or_cell_are_refused():
    noise = examples(white(2, (8, 8)))
    summaries = Summaries.of(noise, 3)
    others = [examples(white(2, (16, 16))), examples(white(2, (8, 8, 8))), replace(noise, cell=1.0)]
    for call in (summaries.power, summaries.density_power, summaries.distribution, summaries.peaks):
        for other in others:
            with pytest.raises(DataError, match=r"training examples of \(8, 8\) cells of 2 Mpc/h; make them alike"):
                call(other)


def test_training_examples_that_teach_nothing_are_refused():
    with pytest.raises(DataError, match=r"0 bins .* are too few"):
        Summaries.of(examples(white(2, (8, 8))), 0)
    with pytest.raises(DataError, match="3 cells wide are too few"):
        Summaries.of(examples(white(2, (3, 3))))
    with pytest.raises(DataError, match="none of 2 training examples has a local maximum"):
        Summaries.of(examples(np.ones((2, 8, 8))))
    with pytest.raises(DataError, match="example 1 holds NaN"):
        Summaries.of(examples([np.ones((8, 8)), np.full((8, 8), np.nan)]))


@pytest.mark.parametrize("opponent", OPPONENTS)
def test_features_and_labels_that_do_not_fit_are_refused(opponent):
    features, labels = white(20, (3,)), np.arange(20) % 2
    fits = (features, labels, features)
    for place, wrong in [(0, features[:, 0]), (1, labels[:5]), (2, features[:, :2])]:
        with pytest.raises(DataError, match=r"do not fit; give \(m, f\)"):
            opponent(*fits[:place], wrong, *fits[place + 1 :], 2, False)
    with pytest.raises(DataError, match="features hold NaN"):
        opponent(features, labels, features * np.nan, 2, False)
    for truth, classes in [(labels, 3), (labels + 1, 2), (labels - 1, 2), (labels * 0, 1)]:
        with pytest.raises(DataError, match="must occur; give examples of every class"):
            opponent(features, truth, features, classes, False)
