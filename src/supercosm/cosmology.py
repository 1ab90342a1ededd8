"""Background, growth and linear power of a flat ΛCDM universe.

Radiation is left out after the linear power is computed, as in most N-body codes, so that growth,
background and forces agree with each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline

from supercosm.config import Cosmology
from supercosm.errors import DataError

HUBBLE = 100.0  # km/s per Mpc/h: velocities come out in km/s
EARLIEST, LATEST = 1e-4, 2.0  # scale factors that the growth table spans
SMALLEST = 40.0  # largest wave number asked of CAMB [h/Mpc]: at 100 it takes four times as long


def expansion(cosmology: Cosmology, a: float | np.ndarray) -> float | np.ndarray:
    """Return E(a) = H(a)/H0 of flat ΛCDM."""
    return np.sqrt(cosmology.Omega_m / a**3 + 1 - cosmology.Omega_m)


@dataclass(frozen=True)
class Growth:
    """Linear and second-order growth at one time, normalised to D = 1 today.

    D: first-order growth. f: d ln D / d ln a. second: E, the second-order growth (−3/7 D² in an
    Einstein–de Sitter universe). second_slope: dE/dD.
    """

    D: float
    f: float
    second: float
    second_slope: float


@cache
def _growth_table(cosmology: Cosmology) -> tuple[CubicSpline, CubicSpline]:
    """Solve the growth equations in ln a from deep in matter domination, where D = a and E = −3/7 a².

    D'' + (2 + d ln H/d ln a) D' = 3/2 Ωm(a) D and E'' + (2 + d ln H/d ln a) E' = 3/2 Ωm(a) (E − D²), with
    ' = d/d ln a (Bernardeau et al. 2002, sections 2.4 and 2.7).
    """

    def slope(ln_a: float, state: np.ndarray) -> list[float]:
        a = np.exp(ln_a)
        matter = cosmology.Omega_m / a**3 / expansion(cosmology, a) ** 2
        drag = 2 - 1.5 * matter
        D, D1, E, E1 = state
        return [D1, -drag * D1 + 1.5 * matter * D, E1, -drag * E1 + 1.5 * matter * (E - D**2)]

    a0, end = EARLIEST, np.log(LATEST)
    grid = np.linspace(np.log(a0), end, 2000)
    start = [a0, a0, -3 / 7 * a0**2, -6 / 7 * a0**2]
    found = solve_ivp(slope, (grid[0], end), start, t_eval=grid, rtol=1e-10, atol=1e-16, method="DOP853").y
    today = CubicSpline(grid, found[0])(0.0)
    D, D1, E, E1 = found[0] / today, found[1] / today, found[2] / today**2, found[3] / today**2
    return CubicSpline(grid, np.stack([D, D1, E, E1], axis=-1)), CubicSpline(D, grid)


def growth(cosmology: Cosmology, a: float) -> Growth:
    """Return first- and second-order growth at scale factor a; raise DataError outside 0.0001 to 2."""
    if not EARLIEST <= a <= LATEST:
        raise DataError(
            f"scale factor {a:g} has no growth factor here; it must lie between {EARLIEST:g} and {LATEST:g}"
        )
    D, D1, E, E1 = (float(x) for x in _growth_table(cosmology)[0](np.log(a)))
    return Growth(D=D, f=D1 / D, second=E, second_slope=E1 / D1)


def scale_factor_of_growth(cosmology: Cosmology, D: float | np.ndarray) -> float | np.ndarray:
    """Return the scale factor at which the linear growth is D; inverse of `growth(...).D`."""
    return np.exp(_growth_table(cosmology)[1](D))


@cache
def linear_power(cosmology: Cosmology) -> CubicSpline:
    """Return ln P(ln k) of today's linear matter power from CAMB, rescaled to σ8: k [h/Mpc], P [(Mpc/h)³]."""
    wave_numbers, power = _camb(cosmology)
    return CubicSpline(np.log(wave_numbers), np.log(power))


def power_at(cosmology: Cosmology, k: np.ndarray) -> np.ndarray:
    """Evaluate the linear matter power today [(Mpc/h)³] at wave numbers k [h/Mpc]; zero at k = 0.

    Beyond CAMB's table (1e-4 to 40 h/Mpc) it goes on as the power law at the table's end.
    """
    spline = linear_power(cosmology)
    wanted = np.log(np.where(k > 0, k, 1.0))
    inside = np.clip(wanted, spline.x[0], spline.x[-1])
    ln_power = spline(inside) + spline(inside, 1) * (wanted - inside)
    return np.where(k > 0, np.exp(ln_power), 0.0)


def _camb(cosmology: Cosmology) -> tuple[np.ndarray, np.ndarray]:
    import camb

    def spectrum(A_s: float) -> tuple[np.ndarray, np.ndarray, float]:
        parameters = camb_parameters(cosmology, A_s)
        results = camb.get_results(parameters)
        k, _, power = results.get_matter_power_spectrum(minkh=1e-4, maxkh=SMALLEST, npoints=600)
        return k, power[0], float(results.get_sigma8_0())

    A_s = 2.1e-9
    k, power, sigma8 = spectrum(A_s)
    return k, power * (cosmology.sigma8 / sigma8) ** 2


def camb_parameters(cosmology: Cosmology, A_s: float, **nonlinear: str):
    """Set up CAMB with massless neutrinos: linear, or non-linear given e.g. `halofit_version`."""
    import camb

    h2 = cosmology.h**2
    parameters = camb.set_params(
        H0=100 * cosmology.h,
        ombh2=cosmology.Omega_b * h2,
        omch2=(cosmology.Omega_m - cosmology.Omega_b) * h2,
        mnu=0.0,
        omk=0.0,
        ns=cosmology.n_s,
        As=A_s,
        WantTransfer=True,
        **nonlinear,
    )
    parameters.WantCls = False
    parameters.set_matter_power(redshifts=[0.0], kmax=1.1 * SMALLEST * cosmology.h)  # in 1/Mpc
    parameters.NonLinear = camb.model.NonLinear_both if nonlinear else camb.model.NonLinear_none
    return parameters
