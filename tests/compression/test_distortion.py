"""What compression loses: known answers for fields whose errors are known."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from supercosm.compression.distortion import DENSE, dense_mass_error, of_field, spectra
from supercosm.errors import DataError
from supercosm.fields import log_density

DRAW = np.random.default_rng(0)
SMOOTH = (1 + 0.2 * DRAW.uniform(-1, 1, size=(16, 16, 16))).astype(np.float32)


def clumps(*cells, shape=(8, 8, 8), mass=100.0):
    """Return a density of one with dense cells."""
    density = np.ones(shape, np.float32)
    for cell in cells:
        density[cell] = mass
    return density


@pytest.mark.parametrize("dimensions", [2, 3])
def test_identical_fields_have_no_error(density, dimensions):
    field = log_density(density)
    found = of_field(field, field, 50.0, dimensions)
    assert found.row() | {"correlation": 0} == dict.fromkeys(found.row(), 0)
    assert found.correlation == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_contrast_5_percent_too_large_has_10_percent_too_much_power(dimensions):
    mean = SMOOTH.mean()
    found = of_field(log_density(SMOOTH), log_density(mean + 1.05 * (SMOOTH - mean)), 50.0, dimensions)
    assert found.power_error == pytest.approx(1.05**2 - 1, rel=1e-3)
    assert found.correlation == pytest.approx(1, abs=1e-5)


def test_independent_fields_do_not_correlate():
    found = of_field(log_density(SMOOTH), log_density(SMOOTH[::-1, ::-1, ::-1]), 50.0, 3)
    assert found.correlation < 0.5
    assert found.distribution == 0  # the same values elsewhere
    assert found.power_error < 1e-4  # a reflection keeps the power, so the error is in the places alone
    assert found.rmse > 0.05


def test_an_error_at_scales_that_are_not_judged_is_no_power_error():
    wave = np.cos(2 * np.pi * 7 / 16 * np.arange(16))  # 7 of 8 times the Nyquist frequency; half of it is judged
    found = of_field(log_density(SMOOTH), log_density(SMOOTH + (0.1 * wave).astype(np.float32)), 50.0, 3)
    assert found.power_error < 1e-3
    spoilt = spectra(SMOOTH, SMOOTH + (0.1 * wave).astype(np.float32), 50.0, 3)
    assert (spoilt.second / spoilt.first)[-1] > 1.1


def test_the_distance_of_distributions_is_that_of_wasserstein():
    first, second = DRAW.normal(size=(2, 8, 8, 8)).astype(np.float32)
    second = 2 * second - 0.3
    found = of_field(first, second, 50.0, 3)
    assert found.distribution == pytest.approx(wasserstein_distance(first.ravel(), second.ravel()), rel=1e-5)
    assert found.rmse == pytest.approx(np.sqrt(np.mean((first.astype(float) - second) ** 2)), rel=1e-6)


def test_haloes_that_lose_a_tenth_of_their_mass_have_that_error():
    density = clumps((2, 2, 2), (2, 2, 3), (6, 6, 6))
    decoded = np.where(density > DENSE, 0.9 * density, density)
    assert dense_mass_error(density, decoded, 3) == pytest.approx(0.1, rel=1e-5)
    assert of_field(log_density(density), log_density(decoded), 50.0, 3).halo_mass == pytest.approx(0.1, rel=1e-3)


def test_haloes_count_alike_whatever_their_size():
    density = clumps((2, 2, 2), (6, 6, slice(2, 6)))
    decoded = density.copy()
    decoded[2, 2, 2] *= 0.8  # one of two haloes, of a fifth of the mass
    assert dense_mass_error(density, decoded, 3) == pytest.approx(0.2 / np.sqrt(2), rel=1e-5)


def test_haloes_of_a_box_are_joined_across_planes_and_slabs_are_not():
    density = clumps((3, 2, 2), (4, 2, 2))
    decoded = density.copy()
    decoded[3] *= 0.8
    assert dense_mass_error(density, decoded, 3) == pytest.approx(0.1, rel=1e-5)  # one halo, half of it lost a fifth
    assert dense_mass_error(density, decoded, 2) == pytest.approx(0.2 / np.sqrt(2), rel=1e-5)  # one of two
    beside = clumps((3, 2, 2), (3, 2, 3))
    decoded = beside.copy()
    decoded[3, 2, 2] *= 0.8
    assert dense_mass_error(beside, decoded, 2) == pytest.approx(0.1, rel=1e-5)  # in one slab they are joined


def test_without_a_dense_cell_there_is_no_halo_error():
    found = of_field(log_density(SMOOTH), log_density(SMOOTH), 50.0, 3)
    assert np.isnan(found.halo_mass)
    assert np.isfinite([v for k, v in found.row().items() if k != "halo_mass"]).all()


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("side", [4, 5, 7])
def test_tiny_patches_are_judged_by_the_bin_they_have(side, dimensions):
    part = SMOOTH[:side, :side, :side]
    found = of_field(log_density(part), log_density(part.mean() + 2 * (part - part.mean())), 5.0, dimensions)
    assert found.power_error == pytest.approx(3, rel=1e-3)


def test_fields_of_different_shapes_are_refused():
    with pytest.raises(DataError, match=r"decoded field has shape \(8, 16, 16\), the original \(16, 16, 16\)"):
        of_field(SMOOTH, SMOOTH[:8], 50.0, 2)


@pytest.mark.parametrize("which", [0, 1])
def test_values_that_are_not_finite_are_refused(which):
    fields = [SMOOTH.copy(), SMOOTH.copy()]
    fields[which][1, 2, 3] = np.nan
    with pytest.raises(DataError, match="NaN or infinite"):
        of_field(*fields, 50.0, 3)
