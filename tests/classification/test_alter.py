"""Fields without phases and fields without P(k): what is kept, what is gone, and known answers."""

import numpy as np
import pytest

from supercosm.classification.alter import matched, randomised, ring_power, ring_powers, rings
from supercosm.errors import DataError

SHAPES = [(16, 16), (15, 15), (8, 8, 8), (9, 9, 9)]


def white(shape, count=3, seed=0):
    return np.random.default_rng([seed, 100]).standard_normal((count, *shape))


def lognormal(count=4, side=64, amplitude=1.0, seed=0):
    """Exponentials of smooth Gaussian fields, float32 (n, p, p): skewed, like a density."""
    k = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)) * side
    modes = np.fft.rfft2(white((side, side), count, seed)) / (1 + (k / 4) ** 2)
    smooth = np.fft.irfft2(modes, s=(side, side))
    return (amplitude * np.exp(smooth / smooth.std())).astype(np.float32)


def skewness(x):
    return np.array([np.mean((one - one.mean()) ** 3) / one.std() ** 3 for one in x.astype(np.float64)])


def modes_of(x):
    return np.fft.rfftn(x.astype(np.float64), axes=range(1, x.ndim))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_power_of_all_rings_is_the_mean_square(shape):
    x = white(shape) + 0.7
    modes = rings(shape[0], len(shape)).modes
    assert modes.sum() == np.prod(shape)
    # double precision all the way
    np.testing.assert_allclose(ring_powers(x) @ modes, (x**2).reshape(3, -1).mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(ring_powers(x)[:, 0], x.reshape(3, -1).mean(axis=1) ** 2, rtol=1e-12)
    np.testing.assert_allclose(ring_power(x), ring_powers(x).mean(axis=0))


@pytest.mark.parametrize("shape", SHAPES)
def test_rings_are_those_of_the_whole_lattice(shape):
    axes = np.meshgrid(*[np.fft.fftfreq(n, 1 / n) for n in shape], indexing="ij")
    number = np.round(np.sqrt(sum(n**2 for n in axes))).astype(int).ravel()
    np.testing.assert_array_equal(rings(shape[0], len(shape)).modes, np.bincount(number))
    x = white(shape, 1)
    squares = np.abs(np.fft.fftn(x[0], norm="forward")).ravel() ** 2
    np.testing.assert_allclose(ring_power(x), np.bincount(number, squares) / np.bincount(number), rtol=1e-10)


@pytest.mark.parametrize("shape", [(16, 16), (8, 8, 8)])
def test_a_plane_wave_is_in_its_ring_alone(shape):
    phase = 2 * np.pi * 3 * np.arange(shape[0]) / shape[0] + 0.4
    x = np.broadcast_to(2 * np.cos(phase), (1, *shape))
    power = ring_power(x)
    modes = rings(shape[0], len(shape)).modes
    assert power[3] * modes[3] == pytest.approx(2)  # the mean square of 2 cos: two modes with |x_k| = 1
    assert np.delete(power, 3).max() < 1e-25


@pytest.mark.parametrize("shape", SHAPES)
def test_random_phases_keep_every_amplitude_and_the_mean(shape):
    x = (white(shape) + 0.7).astype(np.float32)
    found = randomised(x, 1)
    assert found.dtype == np.float32
    assert found.shape == x.shape
    assert np.abs(found - x).max() > 0.5
    before, after = (np.abs(modes_of(field)) for field in (x, found))
    np.testing.assert_allclose(after, before, atol=1e-5 * before.max())
    np.testing.assert_allclose(
        found.mean(axis=tuple(range(1, x.ndim))), x.mean(axis=tuple(range(1, x.ndim))), rtol=1e-5
    )
    np.testing.assert_allclose(ring_powers(found), ring_powers(x), rtol=1e-5)


def test_random_phases_leave_no_skewness():
    x = lognormal(16)
    assert skewness(x).min() > 1
    # some 50 independent modes carry most of the variance: a Gaussian field of 64² cells has skewness 0 ± 0.1
    assert abs(skewness(randomised(x, 1)).mean()) < 0.1
    assert np.abs(skewness(randomised(x, 1))).max() < 0.5
    np.testing.assert_allclose(ring_powers(randomised(x, 1)), ring_powers(x), rtol=1e-5)


def test_random_phases_are_uniform():
    waves = modes_of(randomised(lognormal(8), 1))[:, 1:20, 1:20]
    # 2888 unit vectors in random directions add up to one of length √2888
    assert abs(np.mean(waves / np.abs(waves))) < 3 / np.sqrt(waves.size)


def test_random_phases_are_a_function_of_the_seed_and_the_number_of_the_example():
    x = np.repeat(lognormal(1, side=16), 3, axis=0)
    found = randomised(x, 1)
    np.testing.assert_array_equal(randomised(x, 1), found)
    np.testing.assert_array_equal(randomised(x[:2], 1), found[:2])
    assert np.abs(found[0] - found[1]).max() > 0.1
    assert np.abs(randomised(x, 2) - found).max(axis=(1, 2)).min() > 0.1


@pytest.mark.parametrize("shape", SHAPES)
def test_matched_fields_have_the_given_power_and_no_mean(shape):
    x = (white(shape) * np.arange(1, 4).reshape(3, *[1] * len(shape)) - 0.7).astype(np.float32)
    power = ring_power(x)
    found = matched(x, power)
    assert found.dtype == np.float32
    assert found.shape == x.shape
    np.testing.assert_allclose(ring_powers(found)[:, 1:], np.broadcast_to(power[1:], (3, len(power) - 1)), rtol=1e-5)
    assert np.abs(found.mean(axis=tuple(range(1, x.ndim)))).max() < 1e-6


def test_matched_fields_of_different_amplitude_become_one_and_keep_their_phases():
    weak, strong = lognormal(), lognormal(amplitude=3)
    power = ring_power(np.concatenate([weak, strong]))
    found = matched(strong, power)
    np.testing.assert_allclose(matched(weak, power), found, atol=1e-5)
    assert skewness(found).min() > 1
    before, after = (modes_of(field)[:, 1:] for field in (strong, found))
    # the weakest modes are some 1e-4 of the strongest, and rounding to float32 turns them most
    assert np.abs(np.angle(after * before.conj())).max() < 1e-3


def test_modes_of_one_ring_keep_their_ratios():
    x = lognormal()
    ratio = np.abs(modes_of(matched(x, ring_power(x))) / modes_of(x))
    number = rings(64, 2).number
    for ring in (1, 5, 20):
        np.testing.assert_allclose(ratio[:, number == ring].std(axis=1), 0, atol=1e-4)


def test_what_was_matched_stays_when_matched_again():
    x = lognormal()
    once = matched(x, ring_power(x))
    np.testing.assert_allclose(matched(once, ring_power(x)), once, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -2.3])
def test_a_constant_example_cannot_be_matched(value):
    x = lognormal()
    power = ring_power(x)
    x[2] = value
    with pytest.raises(DataError, match="example 2 is constant and has no power to rescale; leave it out"):
        matched(x, power)


def test_an_empty_ring_cannot_be_matched():
    x = lognormal(2, side=16)
    power = ring_power(x)
    x[1] = np.cos(2 * np.pi * 3 * np.arange(16) / 16)
    with pytest.raises(DataError, match=r"example 1 has no power in ring 1, where .* is to be matched; leave it out"):
        matched(x, power)


def test_rings_that_are_empty_everywhere_stay_empty():
    x = np.broadcast_to(np.cos(2 * np.pi * 3 * np.arange(16) / 16), (1, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(matched(x, 4 * ring_power(x)), 2 * x, atol=1e-6)


@pytest.mark.parametrize("power", [np.ones(5), np.full(12, -1.0), np.full(12, np.nan)])
def test_a_power_of_other_fields_is_refused(power):
    with pytest.raises(DataError, match=r"\(16, 16\) have 12 rings.*; take it from ring_power"):
        matched(white((16, 16)), power)


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 5), (0, 4, 4), (1, 2, 4, 4), (2, 2, 2, 2, 2)])
def test_what_is_no_field_is_refused(shape):
    for call in (ring_power, ring_powers, lambda x: randomised(x, 0), lambda x: matched(x, np.ones(3))):
        with pytest.raises(DataError, match="are no examples; give"):
            call(np.ones(shape))


def test_a_field_with_a_hole_is_refused():
    x = white((8, 8))
    x[1, 2, 3] = np.nan
    with pytest.raises(DataError, match="example 1 holds NaN"):
        randomised(x, 0)
