"""Spectra against what is known without them: Parseval, white noise, plane waves, linear theory."""

import numpy as np
import pytest
import torch

from supercosm.config import Cosmology
from supercosm.cosmology import power_at
from supercosm.errors import DataError
from supercosm.initial import Phases, linear_displacement
from supercosm.mesh import paint
from supercosm.nbody import lattice
from supercosm.statistics.power import CLOUD_IN_CELL, bin_edges, compare, correlation, power, transform

BOX = 50.0


def white(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("side", "bins"), [(8, 24), (32, 10), (64, 24), (128, 24), (512, 60)])
def test_bins_cover_fundamental_to_nyquist_and_none_is_empty(side, bins):
    edges = bin_edges(side, bins)
    assert edges[0] == 0.5
    assert edges[-1] == side / 2
    assert np.diff(edges).min() > 1 - 1e-9
    assert len(edges) - 1 == min(bins, side // 2 - 1)
    if side <= 128:
        assert compare(white((1, side, side, side)), white((1, side, side, side)), BOX, edges).modes.min() >= 6


def test_a_lattice_without_modes_is_refused():
    with pytest.raises(ValueError, match="2 points per side"):
        bin_edges(2, 5)


@pytest.mark.parametrize("cells", [15, 16])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_parseval(cells, dimensions):
    """Power summed over all modes is the variance, if conjugate and Nyquist planes count rightly."""
    field = white((1,) + (cells,) * dimensions, seed=1)
    field -= field.mean()
    edges = np.array([0.5, 3, cells])
    found = compare(field, field, BOX, edges, dimensions)
    assert found.modes.sum() == cells**dimensions - 1
    variance = (found.first * found.modes).sum() / BOX**dimensions
    assert variance == pytest.approx(float((field.double() ** 2).mean()), rel=1e-5)


def test_modes_kept_are_those_of_the_whole_transform():
    field = white((1, 16, 16, 16), seed=2)
    full = np.fft.fftn(field[0].numpy()) / 16**3
    kept = transform(field, 3, 5)[0].numpy()
    wanted = [*range(6), *range(-5, 0)]
    assert np.allclose(kept, full[np.ix_(wanted, wanted, range(6))], atol=1e-7)


def test_white_noise_is_flat_at_its_level():
    """P = σ² × cell volume, with relative error √(2 / modes) per bin; 5 standard errors are allowed."""
    cells = 64
    found = compare(white((1, cells, cells, cells)), white((1, cells, cells, cells), 1), BOX, bin_edges(cells, 12))
    level = (BOX / cells) ** 3
    error = np.sqrt(2 / found.modes)
    assert np.all(np.abs(found.first / level - 1) < 5 * error)
    assert np.all(np.abs(found.cross / level) < 5 * error)


@pytest.mark.parametrize("n", [(3, 0, 0), (0, 3, 0), (0, 0, 3), (2, 1, 2)])
def test_plane_wave(n):
    """A cos(k·x) has P = V A²/4 in each of its two modes and nothing elsewhere."""
    cells, amplitude = 32, 0.3
    x = torch.arange(cells) / cells
    phase = 2 * np.pi * (n[0] * x[:, None, None] + n[1] * x[:, None] + n[2] * x)
    wave = amplitude * torch.cos(phase)[None]
    found = compare(wave, wave, BOX, np.array([0.5, 2.5, 3.5, 9.5]))
    assert found.first[1] * found.modes[1] == pytest.approx(2 * BOX**3 * amplitude**2 / 4, rel=1e-5)
    assert found.first[0] < 1e-9 * found.first[1]
    assert found.first[2] < 1e-9 * found.first[1]


def test_mean_wave_number_is_weighted_by_modes():
    """|n| < 1.5 holds 6 modes at 1 and 12 at √2."""
    field = white((1, 8, 8, 8))
    found = compare(field, field, BOX, np.array([0.5, 1.5]))
    assert found.modes[0] == 18
    assert found.k[0] == pytest.approx(2 * np.pi / BOX * (6 + 12 * np.sqrt(2)) / 18, rel=1e-12)


def test_correlation_of_signal_and_noise():
    """r = 1/√(1 + noise/signal) where independent noise is added to one side."""
    cells = 64
    signal, noise = white((1, cells, cells, cells), 3), white((1, cells, cells, cells), 4)
    found = compare(signal, signal + 0.5 * noise, BOX, bin_edges(cells, 6))
    assert np.all(np.abs(found.correlation - 1 / np.sqrt(1.25)) < 5 / np.sqrt(found.modes))
    assert np.isnan(correlation(np.zeros(1), np.ones(1), np.zeros(1))).all()


def test_vector_spectra_sum_over_components_and_slabs_average():
    cells, edges = 32, bin_edges(32, 6)
    vector = white((3, cells, cells, cells), 5)
    parts = [compare(one[None], one[None], BOX, edges).first for one in vector]
    assert np.allclose(compare(vector, vector, BOX, edges).first, sum(parts), rtol=1e-5)
    slabs = compare(vector[0], vector[0], BOX, edges, dimensions=2)
    level = (BOX / cells) ** 2
    assert np.all(np.abs(slabs.first / level - 1) < 5 * np.sqrt(2 / slabs.modes))


def test_transfer_and_stochasticity():
    """Half a field plus noise of a fifth: T and 1 − r² are those numbers' ratios within sampling errors."""
    signal, noise = white((1, 64, 64, 64), 7), white((1, 64, 64, 64), 8)
    found = compare(0.5 * signal + 0.2 * noise, signal, BOX, bin_edges(64, 6))
    error = 5 / np.sqrt(found.modes)
    assert np.all(np.abs(found.transfer / np.sqrt(0.29) - 1) < error)
    assert np.all(np.abs(found.stochasticity - 0.04 / 0.29) < error)
    nothing = compare(signal, 0 * signal, BOX, bin_edges(64, 6))
    assert np.isnan(nothing.transfer).all()


def test_poisson_particles_have_shot_noise_after_deconvolution():
    """P = V/N for random points; dividing out W² leaves aliases below 3 % here (Jing 2005)."""
    count, cells = 60_000, 64
    points = np.random.default_rng(6).uniform(0, BOX, (count, 3)).astype(np.float32)
    mesh = paint(points, BOX, cells)[None]
    found = compare(mesh, mesh, BOX, bin_edges(cells // 4, 5), window=CLOUD_IN_CELL)
    assert np.all(np.abs(found.first / (BOX**3 / count) - 1) < 5 * np.sqrt(2 / found.modes) + 0.03)


def test_small_zeldovich_wave_keeps_its_amplitude_in_density_and_displacement():
    """ψ = A sin(kx) moves a lattice to δ = −k A cos(kx) to first order.

    A cold lattice on a mesh has aliases at k + 64 m, known exactly: (−1)^m (k + 64 m)/k W(k + 64 m)/W(k).
    """
    n, cells, waves, amplitude = 32, 64, 5, 0.01
    k = 2 * np.pi * waves / BOX
    points = lattice(n, BOX)
    psi = amplitude * torch.sin(k * points[:, 0])
    moved = points.clone()
    moved[:, 0] += psi
    edges = np.array([4.5, 5.5])
    mesh = paint(torch.remainder(moved, BOX), BOX, cells)[None]
    density = compare(mesh, mesh, BOX, edges, window=CLOUD_IN_CELL)
    field = torch.zeros(3, n, n, n)
    field[0] = psi.view(n, n, n)
    displacement = compare(field, field, BOX, edges)
    assert displacement.first[0] * displacement.modes[0] == pytest.approx(BOX**3 * amplitude**2 / 2, rel=1e-4)
    m = np.arange(-400, 401)
    seen = np.sum((-1.0) ** m * (waves + cells * m) / waves * np.sinc((waves + cells * m) / cells) ** 2)
    seen /= np.sinc(waves / cells) ** 2
    expected = BOX**3 * (k * amplitude * seen) ** 2 / 2
    assert density.first[0] * density.modes[0] == pytest.approx(expected, rel=2e-3)


def test_linear_displacement_has_camb_power():
    """|ψ_k|² = P(k)/k²: with fixed amplitudes nothing scatters but the width of a bin."""
    n, box = 32, 200.0
    psi = linear_displacement(Phases(1, fixed=True), Cosmology(), box, n)
    found = compare(psi, psi, box, bin_edges(n, 40))
    expected = power_at(Cosmology(), found.k) / found.k**2
    assert found.first[2:] == pytest.approx(expected[2:], rel=0.06)


def test_incomparable_fields_are_refused():
    a, b = transform(white((1, 8, 8, 8)), 3, 4), transform(white((3, 8, 8, 8)), 3, 4)
    with pytest.raises(ValueError, match="cannot be compared"):
        power(a, b, BOX, bin_edges(8, 3), 8)
    with pytest.raises(ValueError, match="a mesh of 8 cells"):
        transform(white((1, 8, 8, 8)), 3, 5)
    with pytest.raises(DataError, match="8 × 8 × 4 cells"):
        transform(white((1, 8, 8, 4)), 3, 2)
    with pytest.raises(DataError, match="holds no mode"):
        power(a, a, BOX, np.array([0.5, 0.7, 3]), 8)
