"""Background, growth and linear power against closed formulas and CAMB."""

import camb
import numpy as np
import pytest
from scipy.special import hyp2f1

from supercosm.config import Cosmology
from supercosm.cosmology import (
    camb_parameters,
    expansion,
    growth,
    linear_power,
    power_at,
    scale_factor_of_growth,
)
from supercosm.errors import DataError

PLANCK = Cosmology()


def test_growth_in_an_almost_einstein_de_sitter_universe():
    nearly = Cosmology(Omega_m=1 - 1e-7)
    for a in (0.01, 0.3, 1.0):
        g = growth(nearly, a)
        # what Λ of 1e-7 changes is of order 1e-7; the ODE is solved to 1e-10
        assert pytest.approx(a, rel=1e-6) == g.D
        assert g.f == pytest.approx(1, rel=1e-6)
        assert g.second == pytest.approx(-3 / 7 * a**2, rel=1e-6)
        assert g.second_slope == pytest.approx(-6 / 7 * a, rel=1e-6)


@pytest.mark.parametrize("Omega_m", [0.1, 0.3111, 0.7])
def test_growth_is_the_hypergeometric_function(Omega_m):
    def exact(a):
        return a * hyp2f1(1 / 3, 1, 11 / 6, -(a**3) * (1 - Omega_m) / Omega_m)

    cosmology = Cosmology(Omega_m=Omega_m)
    for a in (0.02, 0.1, 0.5, 0.9, 2.0):
        assert pytest.approx(exact(a) / exact(1), rel=1e-7) == growth(cosmology, a).D
        slope = (exact(a * 1.0001) - exact(a / 1.0001)) / exact(a) / (2 * np.log(1.0001))
        assert growth(cosmology, a).f == pytest.approx(slope, rel=1e-6)  # a difference quotient, good to 1e-8


def test_second_order_growth_follows_the_usual_fit():
    """E = −3/7 D² Ωm(a)^(−1/143), good to a few 1e-4 (Bouchet et al. 1995)."""
    for a in (0.1, 0.5, 1.0):
        g = growth(PLANCK, a)
        matter = PLANCK.Omega_m / a**3 / expansion(PLANCK, a) ** 2
        assert g.second == pytest.approx(-3 / 7 * g.D**2 * matter ** (-1 / 143), rel=1e-3)


def test_growth_agrees_with_camb():
    parameters = camb_parameters(PLANCK, 2.1e-9)
    parameters.set_matter_power(redshifts=[0.0, 0.5, 1.0, 3.0], kmax=5)
    results = camb.get_results(parameters)
    for sigma8, z in zip(results.get_sigma8(), (3.0, 1.0, 0.5, 0.0), strict=True):
        # CAMB's universe holds radiation, 3e-4 of the matter at z = 0 and four times that at z = 3
        expected = growth(PLANCK, 1 / (1 + z)).D
        assert sigma8 / results.get_sigma8_0() == pytest.approx(expected, rel=2e-3)


def test_growth_can_be_inverted():
    a = np.array([0.05, 0.3, 1.0])
    D = np.array([growth(PLANCK, x).D for x in a])
    np.testing.assert_allclose(scale_factor_of_growth(PLANCK, D), a, rtol=1e-8)


@pytest.mark.parametrize("a", [0.0, 1e-5, 3.0, float("nan")])
def test_growth_outside_the_table_is_refused(a):
    with pytest.raises(DataError, match=r"scale factor .* must lie between 0\.0001 and 2"):
        growth(PLANCK, a)


def test_linear_power_has_its_sigma8():
    k = np.geomspace(1e-4, 40, 20000)
    x = 8 * k
    window = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    integrand = power_at(PLANCK, k) * (window * k) ** 2 / (2 * np.pi**2)
    # the wave numbers below 1e-4 hold less than 1e-6 of the variance; CAMB's own integral is good to 1e-4
    assert np.sqrt(np.trapezoid(integrand * k, np.log(k))) == pytest.approx(PLANCK.sigma8, rel=5e-4)


def test_linear_power_has_its_slopes_and_goes_on_beyond_the_table():
    assert power_at(PLANCK, np.array([0.0]))[0] == 0
    ends = np.exp(linear_power(PLANCK).x[[0, -1]])
    assert ends == pytest.approx([1e-4, 40], rel=1e-3)
    k = np.array([2e-5, 4e-5, 500.0, 1000.0])
    slopes = np.diff(np.log(power_at(PLANCK, k)))[[0, 2]] / np.log(2)
    assert slopes[0] == pytest.approx(PLANCK.n_s, abs=0.01)  # before the horizon scale
    assert slopes[1] == pytest.approx(PLANCK.n_s - 4 + 0.25, abs=0.1)  # k^(n_s - 4) ln² k
