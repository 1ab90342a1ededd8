"""Moments, distributions and extrema against closed forms: plane waves, lognormal numbers, Gaussian peaks."""

import numba
import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.ndimage import maximum_filter, minimum_filter
from scipy.special import erf, ndtr, ndtri

from supercosm.errors import DataError
from supercosm.statistics.onepoint import density_pdf, extrema, moments, overdensity, smoothed, spectral_moments

BOX = 50.0


def white(cells, seed):
    field = torch.randn((cells,) * 3, generator=torch.Generator().manual_seed(seed))
    return 1 + field - field.mean()


def lognormal(cells=64, width=0.4):
    """Return evenly spaced quantiles of a lognormal distribution in random order: nothing scatters but their place."""
    quantiles = (np.arange(cells**3) + 0.5) / cells**3
    field = np.exp(width * ndtri(quantiles) - width**2 / 2)
    return np.random.default_rng(2).permutation(field).reshape((cells,) * 3).astype(np.float32)


@pytest.mark.parametrize(("kernel", "waves", "radius"), [("top-hat", (2, 1, 0), 8.0), ("gaussian", (0, 1, 3), 3.0)])
def test_smoothing_damps_a_plane_wave_by_its_window(kernel, waves, radius):
    x = torch.arange(24, dtype=torch.float64) / 24
    phase = 2 * np.pi * (waves[0] * x[:, None, None] + waves[1] * x[:, None] + waves[2] * x)
    wave = 0.3 * torch.cos(phase)
    (found,) = smoothed(1 + wave, BOX, [radius], kernel)
    kr = 2 * np.pi / BOX * np.sqrt(np.sum(np.square(waves))) * radius
    factor = 3 * (np.sin(kr) - kr * np.cos(kr)) / kr**3 if kernel == "top-hat" else np.exp(-(kr**2) / 2)
    assert np.allclose(found, factor * wave, atol=1e-6)


def test_lognormal_moments():
    """σ² = exp s² − 1, S₃ = 3 + σ², S₄ = 16 + 15 σ² + 6 σ⁴ + σ⁶; quantiles miss little but the last tail."""
    found = moments(lognormal(), BOX, [0.0])
    variance = np.exp(0.16) - 1
    assert found.variance[0] == pytest.approx(variance, rel=1e-3)
    assert found.skewness[0] == pytest.approx(3 + variance, rel=3e-3)
    assert found.kurtosis[0] == pytest.approx(16 + 15 * variance + 6 * variance**2 + variance**3, rel=2e-2)


def test_gaussian_moments():
    """White noise keeps the share Σ W²/N of its variance; skewness and kurtosis vanish within 5 √(6, 24 / spheres).

    The number of independent spheres is that of their volumes in the box.
    """
    cells, radii = 64, np.array([2.0, 4.0])
    found = moments(white(cells, 3), BOX, radii)
    n = np.fft.fftfreq(cells, 1 / cells)
    square = n[:, None, None] ** 2 + n[:, None] ** 2 + n**2
    for row, radius in enumerate(radii):
        x = np.maximum(2 * np.pi / BOX * radius * np.sqrt(square), 1e-3)
        share = np.mean((3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2) - 1 / cells**3
        spheres = BOX**3 / (4 / 3 * np.pi * radius**3)
        sigma = np.sqrt(found.variance[row])
        assert found.variance[row] == pytest.approx(share, rel=5 * np.sqrt(2 / spheres))
        assert abs(found.skewness[row] * sigma) < 5 * np.sqrt(6 / spheres)
        assert abs(found.kurtosis[row] * sigma**2) < 5 * np.sqrt(24 / spheres)


def test_lognormal_distribution_of_volume_and_mass():
    """ln ρ is normal around −s²/2 by volume, and by mass around +s²/2."""
    edges, width = np.linspace(-0.6, 0.5, 12), 0.4
    found = density_pdf(lognormal(width=width), BOX, [0.0], edges)
    nu = edges * np.log(10) / width
    assert found.pdf[0] == pytest.approx(np.diff(ndtr(nu + width / 2)) / np.diff(edges), abs=1e-3)
    assert found.mass_pdf[0] == pytest.approx(np.diff(ndtr(nu - width / 2)) / np.diff(edges), abs=1e-3)
    linear = density_pdf(lognormal(width=width), BOX, [0.0], 10**edges - 1, logarithmic=False)
    assert np.array_equal(linear.volume, found.volume)


def test_volume_and_mass_are_conserved_at_every_radius():
    found = density_pdf(lognormal(32), BOX, [0.0, 3.0, 6.0], np.linspace(-0.1, 0.1, 8))
    assert found.volume.sum(1) == pytest.approx(np.ones(3), abs=1e-12)
    assert found.mass.sum(1) == pytest.approx(np.ones(3), abs=1e-6)
    assert found.volume[0, 0] > 0.2


def test_extrema_are_those_of_a_rank_filter():
    field = lognormal(24)
    edges = np.array([-np.inf, -1.0, 0.5, np.inf])
    found = extrema(field, BOX, 0.0, edges)
    delta = overdensity(field).numpy()
    for counts, rank in ((found.peaks, maximum_filter), (found.minima, minimum_filter)):
        ring = np.ones((3, 3, 3), bool)
        ring[1, 1, 1] = False
        beyond = rank(delta, footprint=ring, mode="wrap")
        where = delta > beyond if rank is maximum_filter else delta < beyond
        assert np.array_equal(counts, np.histogram(delta[where] / found.sigma, edges)[0])


def gaussian_peak_density(nu, sigmas):
    """Peaks per volume and unit ν of a Gaussian field (Bardeen et al. 1986, eqs. A14, A15, A19)."""
    gamma = sigmas[1] ** 2 / (sigmas[0] * sigmas[2])
    scale = np.sqrt(3) * sigmas[1] / sigmas[2]

    def shape(x):
        low = (31 * x**2 / 4 + 8 / 5) * np.exp(-5 * x**2 / 8) + (x**2 / 2 - 8 / 5) * np.exp(-5 * x**2 / 2)
        edge = (x**3 - 3 * x) * (erf(np.sqrt(5 / 2) * x) + erf(np.sqrt(5 / 8) * x)) / 2
        return edge + np.sqrt(2 / (5 * np.pi)) * low

    spread = 1 - gamma**2
    total = quad(lambda x: shape(x) * np.exp(-((x - gamma * nu) ** 2) / (2 * spread)), 0, 30, limit=200)[0]
    return np.exp(-(nu**2) / 2) * total / np.sqrt(2 * np.pi * spread) / ((2 * np.pi) ** 2 * scale**3)


def test_gaussian_field_has_the_peaks_of_bardeen_bond_kaiser_and_szalay():
    """Peaks and minima of white noise smoothed over three cells, some 4400: 6 % and 4.5 Poisson errors per bin.

    A lattice of cells misses the peaks whose neighbours are as high within its reach: 2 % here.
    """
    edges = np.linspace(-1, 4, 11)
    peaks = np.zeros(10)
    expected = np.zeros(10)
    for seed in range(4):
        field, radius = white(96, seed), 3 * BOX / 96
        found = extrema(field, BOX, radius, edges)
        mirrored = extrema(2 - field, BOX, radius, edges)
        assert np.array_equal(mirrored.peaks, extrema(field, BOX, radius, -edges[::-1]).minima[::-1])
        peaks += found.peaks + mirrored.peaks
        (delta,) = smoothed(field, BOX, [radius], "gaussian")
        sigmas = spectral_moments(delta, BOX)
        middle = (edges[1:] + edges[:-1]) / 2
        expected += 2 * np.array([gaussian_peak_density(nu, sigmas) for nu in middle]) * np.diff(edges) * BOX**3
    assert expected.sum() > 2000
    assert peaks.sum() == pytest.approx(expected.sum(), rel=0.05)
    assert np.all(np.abs(peaks - expected) < 4.5 * np.sqrt(expected) + 0.06 * expected)


def test_spectral_moments_are_those_of_white_noise():
    """Parseval for σ₀; of a plane wave σ_j = k^j A/√2."""
    field = overdensity(white(17, 4))
    assert spectral_moments(field, BOX)[0] == pytest.approx(float(field.double().pow(2).mean().sqrt()), rel=1e-6)
    wave = 0.2 * torch.cos(2 * np.pi * 8 * torch.arange(16) / 16 * torch.ones(16, 16, 1))
    k = 2 * np.pi / BOX * 8
    assert spectral_moments(wave, BOX) == pytest.approx([0.2, 0.2 * k, 0.2 * k**2], rel=1e-5)


def test_same_bits_on_any_number_of_threads():
    field = lognormal(32)
    before = numba.get_num_threads(), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            torch.set_num_threads(threads)
            one = moments(field, BOX, [4.0])
            shares = density_pdf(field, BOX, [4.0], np.linspace(-0.1, 0.1, 9))
            found.append([one.variance, one.skewness, one.kurtosis, shares.mass.ravel()])
    finally:
        numba.set_num_threads(before[0])
        torch.set_num_threads(before[1])
    assert np.array_equal(np.concatenate(found[0]), np.concatenate(found[1]))


def test_mesh_without_structure_gives_numbers():
    flat = np.ones((8, 8, 8), np.float32)
    with np.errstate(all="raise"):
        found = moments(flat, BOX, [0.0, 5.0])
        assert not found.variance.any()
        assert np.isnan(found.skewness).all()
        assert not extrema(flat, BOX, 5.0, np.linspace(-3, 3, 7)).peaks.any()


@pytest.mark.parametrize(
    ("field", "radii", "edges", "kernel", "message"),
    [
        (np.ones((8, 8)), [5.0], [0, 1], "top-hat", "three axes"),
        (np.ones((2, 2, 2)), [5.0], [0, 1], "top-hat", "4 or more"),
        (np.full((8, 8, 8), np.inf), [5.0], [0, 1], "top-hat", "not finite"),
        (np.zeros((8, 8, 8)), [5.0], [0, 1], "top-hat", "mean 0"),
        (np.ones((8, 8, 8)), [25.0], [0, 1], "top-hat", "half the box"),
        (np.ones((8, 8, 8)), [np.nan], [0, 1], "top-hat", "half the box"),
        (np.ones((8, 8, 8)), [5.0], [1, 0], "top-hat", "increasing"),
        (np.ones((8, 8, 8)), [5.0], [0, 1], "boxcar", "top-hat, gaussian"),
    ],
)
def test_impossible_input_is_refused(field, radii, edges, kernel, message):
    with pytest.raises(DataError, match=message):
        density_pdf(field, BOX, radii, np.array(edges), kernel)
