"""Mass function and bias against closed forms, published tables, and tracers whose bias is known."""

import numpy as np
import pytest
from scipy.special import erfc

from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.statistics.massfunction import (
    corrected_masses,
    halo_bias,
    mass_edges,
    mass_function,
    mass_variance,
    mean_matter_density,
    predicted_bias,
    predicted_mass_function,
)

PLANCK = Cosmology()
EDGES = np.geomspace(1e12, 1e15, 13)


def test_haloes_are_counted_per_volume_and_decade():
    masses = np.array([1e12, 2e12, 9.9e12, 1e13, 5e13, 1e14])
    found = mass_function(masses, np.array([1e12, 1e13, 1e14]), volume=100.0)
    assert np.array_equal(found.numbers, [3, 2])  # half open: 1e13 in the second, 1e14 in none
    assert found.density == pytest.approx([0.03, 0.02])
    assert found.masses == pytest.approx([10**12.5, 10**13.5])


def test_poisson_intervals_are_those_of_the_tables():
    """Gehrels (1986), tables 1 and 2, 84.13 %: n = 0: ≤ 1.841; 1: 0.173–3.300; 10: 6.891–14.27."""
    masses = np.repeat([2e12, 2e13], [1, 10])
    found = mass_function(masses, np.array([1e11, 1e12, 1e13, 1e14]), volume=1.0)
    assert found.lower == pytest.approx([0, 0.173, 6.891], abs=6e-4)
    assert found.upper == pytest.approx([1.841, 3.300, 14.27], abs=4e-3)


def test_no_haloes_still_have_an_upper_limit():
    found = mass_function(np.array([]), EDGES, 1e6)
    assert np.all(found.numbers == 0)
    assert np.all((found.upper > 0) & np.isfinite(found.upper))


@pytest.mark.parametrize("corrected", [False, True])
def test_every_bin_holds_whole_particles(corrected):
    """A flat distribution in particle number fills bins by their width in whole numbers, none being empty."""
    edges = mass_edges(2.0, 20, 2000, 30, corrected)
    counts = np.arange(20, 2001)
    masses = corrected_masses(counts, 2.0) if corrected else 2.0 * counts
    found = mass_function(masses, edges, 1.0)
    assert found.numbers.sum() == len(counts)
    assert found.numbers.min() >= 1
    if not corrected:
        assert np.array_equal(found.numbers, np.diff(edges) / 2)
    assert len(edges) <= 31


def test_small_groups_lose_a_sixth():
    """Warren et al. (2006): N (1 − N^-0.6) of 20 is 20 − 20^0.4 = 16.69."""
    assert corrected_masses([20, 10**5], 3.0) == pytest.approx([3 * 16.6855, 3 * (1e5 - 100)], rel=1e-5)


def test_variance_is_sigma8_in_spheres_of_eight():
    """To 0.1 %, with which CAMB integrates its own; and it grows as D: a in an Einstein–de Sitter universe."""
    sphere = 4 / 3 * np.pi * 8**3 * mean_matter_density(PLANCK)
    assert mass_variance(PLANCK, 1.0, np.array([sphere])) == pytest.approx(PLANCK.sigma8, rel=1e-3)
    early, late = (mass_variance(PLANCK, a, np.array([1e13]))[0] for a in (0.01, 0.02))
    assert late / early == pytest.approx(2, rel=1e-3)


def test_a_box_has_less_variance():
    whole, cut = mass_variance(PLANCK, 1.0, EDGES), mass_variance(PLANCK, 1.0, EDGES, box_size=100.0)
    assert np.all(cut < whole)
    assert cut[-1] / whole[-1] < cut[0] / whole[0]


def test_press_schechter_collapses_the_mass_it_should():
    """Mass in haloes between M₁ and M₂ is erfc(ν₁/√2) − erfc(ν₂/√2), exactly, with ν = 1.68647/σ: units and slopes."""
    share = -np.diff(erfc(1.68647 / mass_variance(PLANCK, 0.5, EDGES) / np.sqrt(2)))
    narrow = np.geomspace(EDGES[0], EDGES[-1], 12 * 16 + 1)  # so that a bin's mass is that of its centre
    mass = np.sqrt(narrow[1:] * narrow[:-1]) * np.diff(np.log10(narrow))
    inside = (predicted_mass_function(PLANCK, 0.5, narrow, "press74") * mass).reshape(12, 16).sum(axis=1)
    assert inside / mean_matter_density(PLANCK) == pytest.approx(share, rel=1e-3)


@pytest.mark.parametrize(
    ("model", "definition"),
    [("watson13", "fof"), ("courtin11", "fof"), ("tinker08", "200m"), ("despali16", "200m")],
)
def test_fits_agree_with_each_other_as_published(model, definition):
    """Fits to simulations scatter by 15 % below 3e14 Msun/h, where FoF and 200m masses are alike."""
    edges = EDGES[:10]
    reference = predicted_mass_function(PLANCK, 1.0, edges, "bhattacharya11", "fof")
    assert predicted_mass_function(PLANCK, 1.0, edges, model, definition) == pytest.approx(reference, rel=0.15)


def test_colossus_is_left_as_it_was(tmp_path, monkeypatch):
    from colossus.cosmology import cosmology

    monkeypatch.setenv("HOME", str(tmp_path))
    mine = cosmology.setCosmology("planck18", persistence="")
    predicted_mass_function(PLANCK, 1.0, EDGES)
    assert cosmology.getCurrent() is mine
    assert not list(tmp_path.iterdir())


def test_bias_at_the_peak_height_of_one_is_the_published_number():
    """Tinker et al. (2010), equation 6 and table 2, y = log10 200: the mass with σ = 1.686 has ν = 1."""
    y = np.log10(200)
    cut = np.exp(-((4 / y) ** 4))
    wanted = 1 - (1 + 0.24 * y * cut) / (1 + 1.686 ** (0.44 * y - 0.88)) + 0.183 + 0.019 + 0.107 * y + 0.19 * cut
    sigma = mass_variance(PLANCK, 1.0, EDGES)
    mass = np.exp(np.interp(-np.log(1.686), -np.log(sigma), np.log(EDGES)))
    assert predicted_bias(PLANCK, 1.0, np.array([mass]))[0] == pytest.approx(wanted, abs=0.01)
    small, large = predicted_bias(PLANCK, 1.0, np.array([1e11, 1e15]))
    assert small < 1 < large


def tracers(bias, seed, cells=32, box=500.0):
    """Matter and haloes drawn from 1 + δ and 1 + b δ, δ a Gaussian field of long waves."""
    random = np.random.default_rng(seed)
    modes = np.fft.rfftn(random.normal(size=(cells,) * 3))
    n = np.fft.fftfreq(cells, 1 / cells)
    square = n[:, None, None] ** 2 + n[:, None] ** 2 + np.arange(cells // 2 + 1) ** 2
    field = np.fft.irfftn(
        modes * ((square > 0) & (square < 64)) / np.maximum(square, 1), s=(cells,) * 3, axes=(0, 1, 2)
    )
    field *= 0.15 / field.std()
    drawn = []
    for level, slope in ((12.0, 1.0), (0.3, bias)):
        number = random.poisson(level * np.maximum(1 + slope * field, 0)).ravel()
        corner = np.stack(np.unravel_index(np.repeat(np.arange(cells**3), number), (cells,) * 3), axis=1)
        drawn.append(((corner + random.random(corner.shape)) * box / cells).astype(np.float32) % np.float32(box))
    return drawn


def test_the_bias_of_tracers_is_found_and_its_error_too():
    """8 samples with b = 1.8: mean within 4 standard errors, and pulls of unit variance (χ² of 8 within 99.8 %)."""
    pulls = []
    for seed in range(8):
        matter, haloes = tracers(1.8, seed)
        found = halo_bias(haloes, matter, 500.0, k_max=0.06, cells=32)
        pulls.append((found.value - 1.8) / found.error)
    assert 0.86 < np.sum(np.square(pulls)) < 26.1
    assert abs(np.mean(pulls)) < 4 / np.sqrt(8)
    assert found.error < 0.1


def test_matter_is_unbiased_against_itself():
    matter, _ = tracers(1.0, 0)
    found = halo_bias(matter, matter, 500.0, k_max=0.06)
    assert found.value == pytest.approx(1, abs=1e-6)
    assert found.error < 1e-3


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="must be two or more positive masses that rise"):
        mass_function(np.array([1e12]), np.array([1e13, 1e12]), 1.0)
    with pytest.raises(DataError, match="volume of 0"):
        mass_function(np.array([1e12]), EDGES, 0.0)
    with pytest.raises(DataError, match="from 30 to 20 particles"):
        mass_edges(1.0, 30, 20)
    with pytest.raises(DataError, match="no mass function 'tinker08' for 'fof'"):
        predicted_mass_function(PLANCK, 1.0, EDGES, "tinker08", "fof")
    with pytest.raises(DataError, match="no mass function 'thinker'"):
        predicted_mass_function(PLANCK, 1.0, EDGES, "thinker")
    with pytest.raises(DataError, match="no bias 'thinker'"):
        predicted_bias(PLANCK, 1.0, EDGES, "thinker")
    points = np.random.default_rng(0).uniform(0, 100, (1000, 3)).astype(np.float32)
    with pytest.raises(DataError, match="hold no particles"):
        halo_bias(points[:0], points, 100.0)
    with pytest.raises(DataError, match=r"k_max = 0\.01"):
        halo_bias(points, points, 100.0, k_max=0.01)
