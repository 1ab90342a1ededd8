"""Bispectra against sums over all triangles, Pylians, Gaussian and lognormal fields."""

from itertools import product

import numba
import numpy as np
import pytest
import torch
from scipy.stats import chi2

from supercosm.errors import DataError
from supercosm.statistics.bispectrum import bispectrum, bispectrum_of_modes, equilateral, opening, squeezed
from supercosm.statistics.power import CLOUD_IN_CELL, transform

BOX = 50.0
FUNDAMENTAL = 2 * np.pi / BOX


def skewed(cells=32):
    """Return an exponential of smoothed uniform numbers, the same for every version of NumPy."""
    noise = np.random.default_rng(5).random((cells,) * 3)
    n = np.fft.fftfreq(cells, 1 / cells)
    square = n[:, None, None] ** 2 + n[:, None] ** 2 + n**2
    smooth = np.fft.ifftn(np.fft.fftn(noise - noise.mean()) * np.exp(-square / 64)).real
    field = np.exp(smooth / smooth.std())
    return (field / field.mean()).astype(np.float32)


def closed_triangles(sides, width=1.0):
    """Enumerate all n1, n2, n3 = −n1 − n2 of a triangle's shells around sides in fundamental modes."""
    reach = range(-int(max(sides)) - 1, int(max(sides)) + 2)
    vectors = np.array(list(product(reach, repeat=3)))
    length = np.sqrt((vectors**2).sum(1))
    first, second = (vectors[(length >= s - width / 2) & (length < s + width / 2)] for s in sides[:2])
    a, b = np.repeat(first, len(second), axis=0), np.tile(second, (len(first), 1))
    third = np.sqrt(((a + b) ** 2).sum(1))
    closes = (third >= sides[2] - width / 2) & (third < sides[2] + width / 2)
    return a[closes], b[closes]


SIDES = np.array([[2, 2, 2], [1, 3, 3], [1.3, 2.1, 3], [4, 4, 1.7]])


def test_estimator_is_the_sum_over_all_triangles():
    """Shells filtered by FFT leave only float32 rounding against an explicit sum; counts are exact."""
    field = skewed(12)
    found = bispectrum(field, BOX, SIDES * FUNDAMENTAL)
    modes = np.fft.fftn(field.astype(float)) / 12**3
    for row, sides in enumerate(SIDES):
        a, b = closed_triangles(sides)
        assert found.triangles[row] == len(a)
        total = np.mean(modes[tuple(a.T)] * modes[tuple(b.T)] * modes[tuple(-(a + b).T)])
        scale = np.sqrt(found.power[row].prod() / BOX**9)
        assert found.bispectrum[row] / BOX**6 == pytest.approx(total.real, abs=1e-5 * scale)


def test_pylians_measures_the_same():
    """Pylians 0.12, Bk(field − 1, 50, k1, k2, θ, "None"), whose shells are two fundamental modes wide."""
    configurations = [
        (3.2, 3.2, [1.1, 2 * np.pi / 3 - 0.05], [20812.38020851, 32027.37619581], [1.06125859, 1.23099043]),
        (5.3, 5.3, [2.09], [14542.23342669], [1.19778907]),
        (2.3, 6.1, [0.7, 1.9], [9502.88847551, 16203.74953197], [1.06193531, 1.22947933]),
    ]
    for first, second, angles, expected, reduced in configurations:
        sides = opening(first * FUNDAMENTAL, second * FUNDAMENTAL, np.array(angles))
        found = bispectrum(skewed(), BOX, sides, width=2.0)
        assert found.bispectrum == pytest.approx(expected, rel=1e-4)
        assert found.reduced == pytest.approx(reduced, rel=1e-4)


@pytest.mark.parametrize(
    "sides", [equilateral([3, 5, 6]), squeezed([5, 6, 8], 2), opening(4, 7, [0.9, 1.3, 2.25])], ids=["6", "2", "1"]
)
def test_gaussian_field_has_none_and_the_stated_error(sides):
    """χ² of B over its errors, of 3 shapes of each symmetry and 200 fields, lies within its 0.01 % tails."""
    total = 0.0
    for seed in range(200):
        field = torch.randn((32, 32, 32), generator=torch.Generator().manual_seed(seed))
        found = bispectrum(1 + field - field.mean(), BOX, sides * FUNDAMENTAL)
        total += np.sum((found.bispectrum / found.error) ** 2)
    assert chi2.ppf(0.0001, 600) < total < chi2.ppf(0.9999, 600)


def lognormal_theory(correlation, sides):
    """Average the three-point function of a lognormal field over triangles; correlation ξ_G (m, m, m).

    ⟨δ₁δ₂δ₃⟩ = (1 + ξ₁₂)(1 + ξ₂₃)(1 + ξ₃₁) − 1 − ξ₁₂ − ξ₂₃ − ξ₃₁ with 1 + ξ = exp ξ_G, transformed over both
    separations: exact for the lattice, aliases included.
    """
    cells = len(correlation)
    one = np.exp(correlation).ravel()
    index = np.indices((cells,) * 3).reshape(3, -1)
    apart = (index[:, :, None] - index[:, None, :]) % cells
    between = one.reshape((cells,) * 3)[tuple(apart)]
    connected = one[:, None] * one * between - one[:, None] - one - between + 2
    modes = np.fft.fftn(connected.reshape((cells,) * 6)).real / cells**6
    triangles = [closed_triangles(side) for side in sides]
    return np.array([modes[tuple(a.T % cells) + tuple(b.T % cells)].mean() for a, b in triangles])


def test_lognormal_field_has_its_known_bispectrum():
    """The mean over 600 fields of mesh 12 agrees with theory within 4 of its errors, all of them below 7 %."""
    cells, seeds = 12, 600
    n = np.fft.fftfreq(cells, 1 / cells)
    square = n[:, None, None] ** 2 + n[:, None] ** 2 + n**2
    power = np.where(square > 0, np.exp(-square / 9), 0)
    power *= 0.5 / power.sum()
    white = np.random.default_rng(1).standard_normal((seeds, cells, cells, cells))
    gauss = np.fft.ifftn(np.fft.fftn(white, axes=(1, 2, 3)) * np.sqrt(cells**3 * power), axes=(1, 2, 3)).real
    fields = torch.as_tensor(np.exp(gauss - 0.25) - 1)
    sides = np.array([[2, 2, 2], [1, 3, 3], [2, 3, 4], [3, 3, 3]])
    modes = transform(fields, 3, 5).to(torch.complex64)
    found = np.array([bispectrum_of_modes(one, BOX, sides * FUNDAMENTAL).bispectrum for one in modes]) / BOX**6
    expected = lognormal_theory(np.fft.fftn(power).real, sides)
    error = found.std(0) / np.sqrt(seeds)
    assert np.all(error < 0.07 * expected)
    assert np.all(np.abs(found.mean(0) - expected) < 4 * error)


def test_assignment_window_is_divided_out():
    field = torch.from_numpy(skewed(24))
    n = torch.fft.fftfreq(24, 1 / 24)
    square = torch.sinc(n / 24) ** CLOUD_IN_CELL
    modes = torch.fft.rfftn(field) * square[:, None, None] * square[:, None] * square[:13].abs()
    blurred = torch.fft.irfftn(modes, s=field.shape)
    sides = SIDES * 1.7 * FUNDAMENTAL
    sharp = bispectrum(field, BOX, sides)
    again = bispectrum(blurred, BOX, sides, window=CLOUD_IN_CELL)
    assert again.bispectrum == pytest.approx(sharp.bispectrum, rel=1e-3)
    assert again.power == pytest.approx(sharp.power, rel=1e-4)


def test_symmetries_and_sides():
    """Shifts and swapped axes change nothing but rounding; the mean side lies in its shell."""
    field, sides = skewed(16), SIDES * FUNDAMENTAL
    found = bispectrum(field, BOX, sides)
    moved = bispectrum(np.roll(field, (3, 5, 7), (0, 1, 2)).transpose(2, 0, 1), BOX, sides)
    assert moved.bispectrum == pytest.approx(found.bispectrum, rel=1e-3)
    assert np.all(np.abs(found.sides / FUNDAMENTAL - SIDES) < 0.5)


def test_same_bits_on_any_number_of_threads():
    field, sides = skewed(32), SIDES * 2 * FUNDAMENTAL
    before = numba.get_num_threads(), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            torch.set_num_threads(threads)
            found.append(bispectrum(field, BOX, sides))
    finally:
        numba.set_num_threads(before[0])
        torch.set_num_threads(before[1])
    assert np.array_equal(found[0].bispectrum, found[1].bispectrum)
    assert np.array_equal(found[0].power, found[1].power)


def test_mesh_without_structure_has_zero_and_no_reduced_bispectrum():
    with np.errstate(all="raise"):
        found = bispectrum(np.ones((16, 16, 16), np.float32), BOX, SIDES * FUNDAMENTAL)
        assert not found.bispectrum.any()
        assert np.isnan(found.reduced).all()


@pytest.mark.parametrize(
    ("field", "sides", "message"),
    [
        (np.ones((8, 8, 4)), SIDES, "cubic mesh"),
        (np.full((16, 16, 16), np.nan), SIDES, "not finite"),
        (np.zeros((16, 16, 16)), SIDES, "mean 0"),
        (np.ones((8, 8, 8)), SIDES, "mesh of 8 cells"),
        (np.ones((32, 32, 32)), [[1, 2, 9]], "close no triangle"),
        (np.ones((32, 32, 32)), [[0, 2, 2]], "above 0"),
        (np.ones((32, 32, 32)), [2, 2, 2], "sides"),
    ],
)
def test_impossible_input_is_refused(field, sides, message):
    with pytest.raises(DataError, match=message):
        bispectrum(field, BOX, np.array(sides) * FUNDAMENTAL)


def test_modes_must_reach_the_sides():
    modes = transform(torch.ones((1, 16, 16, 16)), 3, 3)
    with pytest.raises(DataError, match="one channel"):
        bispectrum_of_modes(modes, BOX, SIDES * FUNDAMENTAL)
    with pytest.raises(DataError, match="but 3 were kept"):
        bispectrum_of_modes(modes[0], BOX, SIDES * FUNDAMENTAL)
