"""Entropy coding: nothing is lost, and little is spent beyond the entropy."""

import time

import numpy as np
import pytest

from supercosm.compression import entropy
from supercosm.compression.entropy import pack, unpack
from supercosm.errors import DataError


def laplace(channels, n, scales, seed=0):
    draws = np.random.default_rng(seed).laplace(size=(channels, n)) * np.resize(scales, channels)[:, None]
    return np.round(draws).astype(np.int32)


def entropy_bytes(symbols):
    """Return what an ideal coder that knows every channel's histogram would need."""
    total = 0.0
    for row in symbols:
        counts = np.unique(row, return_counts=True)[1]
        total -= counts @ np.log2(counts / len(row)) / 8
    return total


def assert_round_trip(symbols):
    data = pack(symbols)
    found = unpack(data, symbols.shape)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, symbols)
    return len(data)


@pytest.mark.parametrize("channels", [0, 1, 3])
@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_nothing_is_lost(channels, n):
    assert_round_trip(laplace(channels, n, [0.3, 5.0, 200.0]))


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64])
def test_all_kinds_of_integers_can_be_coded(dtype):
    assert_round_trip(np.arange(100, dtype=dtype).reshape(4, 25))


def test_the_limits_of_32_bits_can_be_coded():
    limits = np.iinfo(np.int32)
    assert_round_trip(np.array([[limits.min, limits.max, 0, 1, -1], [limits.max, limits.max, limits.min, 7, 8]]))
    with pytest.raises(DataError, match=f"{limits.max + 1} do not fit 32 bits"):
        pack(np.array([[0, limits.max + 1]]))


def test_every_bucket_can_be_coded_and_decoded():
    edges = np.concatenate([entropy.LOW, entropy.LOW - 1, entropy.LOW + 1])
    edges = np.unique(np.concatenate([edges, -edges]))
    edges = edges[np.abs(edges) < 2**31]
    assert_round_trip(np.stack([edges, edges[::-1]]))


@pytest.mark.parametrize(("n", "share"), [(32_000, 0.003), (4000, 0.01), (500, 0.05)])
def test_laplace_data_cost_about_their_entropy(n, share):
    """The entropy of the histograms, that is, which are not known beforehand: storing them would cost more."""
    symbols = laplace(64, n, [0.1, 0.5, 1, 2, 4, 8, 16, 30])
    assert assert_round_trip(symbols) < (1 + share) * entropy_bytes(symbols)


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_tails_heavier_and_lighter_than_laplaces_suit_as_well(power):
    rng = np.random.default_rng(3)
    draws = rng.exponential(size=(16, 4000)) ** (1 / power) * rng.choice([-1, 1], (16, 4000)) * 5
    symbols = np.round(draws).astype(np.int32)
    assert assert_round_trip(symbols) < 1.025 * entropy_bytes(symbols)


def test_a_strange_distribution_gets_its_histogram():
    symbols = np.random.default_rng(4).choice([-4, -2, 0, 1, 3], (4, 5000), p=[0.4, 0.1, 0.2, 0.1, 0.2])
    assert assert_round_trip(symbols) < 1.005 * entropy_bytes(symbols) + 4 * (13 + 5)


def test_a_mean_far_from_zero_costs_a_few_bytes():
    symbols = laplace(8, 4000, [4.0])
    assert abs(assert_round_trip(symbols + 1_000_000) - assert_round_trip(symbols)) < 8 * 4


def test_channels_of_zeros_cost_about_a_byte():
    zeros = np.zeros((512, 4000), np.int32)
    assert assert_round_trip(zeros) < 128
    symbols = laplace(32, 4000, [1.0])
    both = np.stack([symbols, np.zeros_like(symbols)], axis=1).reshape(64, 4000)
    assert assert_round_trip(both) < assert_round_trip(symbols) + 32


def test_rare_outliers_cost_little():
    symbols = laplace(4, 4000, [1.0])
    plain = assert_round_trip(symbols)
    symbols[:, ::1000] = np.array([2**30, -(2**30), 123_456_789, -5])
    assert assert_round_trip(symbols) < plain + 16 * 8


def test_two_million_integers_take_a_few_seconds():
    symbols = laplace(64, 32_000, [0.5, 3, 20])
    start = time.perf_counter()
    assert_round_trip(symbols)
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("shape", "scale", "zero"), [(0, 0, 0), (1, 16, 128), (2, 40, 200), (3, 127, 255), (1, 0, 255)]
)
def test_probabilities_are_integers_that_add_up(shape, scale, zero):
    """So the range coder's own arithmetic rounds nothing, here and on every other machine."""
    weights = entropy.Distribution(0, shape, scale, zero).weights()
    assert weights.sum() == entropy.TOTAL
    assert weights.min() >= 0
    np.testing.assert_array_equal(weights, np.floor(weights))


def test_histograms_are_integers_that_add_up():
    weights = entropy.Distribution(0, entropy.HISTOGRAM, 100, 103, bytes([1, 0, 40, 7])).weights()
    assert weights.sum() == entropy.TOTAL
    assert list(np.flatnonzero(weights)) == [100, 102, 103]


def test_a_stream_of_the_past_is_read():
    """Files written today are to be read by every later version, of the libraries too."""
    stored = bytes.fromhex("030a141078da63e062636060e067106e5d9c0e00049801c23cd073b0085243c39e01ee8e7deefaa4317fff")
    expected = np.array(
        [[0, 1, -1, 0, 0, 2, 0, -30, 0, 0], [5, 5, 5, 5, 5, 5, 5, 5, 5, 5], [9, 100, 1, -7, 3, 2**20, 4, 0, 1, 0]]
    )
    np.testing.assert_array_equal(unpack(stored, (3, 10)), expected)


def test_what_is_no_array_of_integers_is_refused():
    with pytest.raises(DataError, match=r"not float32 of the shape \(2, 3\)"):
        pack(np.zeros((2, 3), np.float32))
    with pytest.raises(DataError, match=r"not int64 of the shape \(6,\)"):
        pack(np.zeros(6, np.int64))


def test_another_shape_and_damage_are_refused():
    data = pack(laplace(3, 50, [2.0, 60.0]))
    with pytest.raises(DataError, match=r"have the shape \(3, 50\), not \(50, 3\)"):
        unpack(data, (50, 3))
    with pytest.raises(DataError, match="damaged"):
        unpack(data + b"x", (3, 50))
    for size in (0, 1, 3, 8, len(data) - 1):
        with pytest.raises(DataError, match=r"damaged|end too early"):
            unpack(data[:size], (3, 50))
