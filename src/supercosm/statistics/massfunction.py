"""The mass function and bias of haloes: measured, and as fits to other simulations predict them.

Masses are in Msun/h, densities comoving (Mpc/h)^-3, mass functions dn/dlog10 M. The fits, f(σ), come from the
library colossus (Diemer 2018); σ(M) is that of this package's own linear power. Each fit holds for one way of
assigning a mass: friends-of-friends masses with b = 0.2 belong beside "fof" fits. They follow masses within 200 mean
densities only to 10-20 %, halo by halo worse (Tinker et al. 2008, section 2.2; More et al. 2011).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.stats import chi2

from supercosm.config import Cosmology
from supercosm.cosmology import growth, power_at
from supercosm.errors import DataError
from supercosm.mesh import paint
from supercosm.statistics.friends import checked_positions
from supercosm.statistics.haloes import MASS_UNIT
from supercosm.statistics.power import compare
from supercosm.units import CRITICAL_DENSITY

ONE_SIGMA = 0.15865525393145707  # of a Gaussian lies more than one standard deviation below its mean
COLLAPSE = 1.686  # linear overdensity at collapse; Tinker et al. (2010) define their peak height by it
LONGEST, SHORTEST = 1e-4, 1e3  # wave numbers between which σ(M) is integrated [h/Mpc]


@dataclass(frozen=True)
class MassFunction:
    """Haloes counted in bins of mass; edges (bins + 1,) [Msun/h], all else (bins,).

    numbers: haloes in the bin. density, lower, upper: dn/dlog10 M and the ends of its 68 % Poisson interval
    [(Mpc/h)^-3]; an empty bin has density and lower end 0 and a finite upper end.
    """

    edges: np.ndarray
    numbers: np.ndarray
    density: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    @property
    def masses(self) -> np.ndarray:
        """Logarithmic centre of each bin [Msun/h]."""
        return np.sqrt(self.edges[:-1] * self.edges[1:])


def mass_function(masses: np.ndarray, edges: np.ndarray, volume: float) -> MassFunction:
    """Count haloes of masses (H,) [Msun/h] in a volume [(Mpc/h)³], half-open bins, with Poisson intervals.

    Several boxes make one sample: join their masses and add their volumes. The intervals are Garwood's (Gehrels
    1986, equations 7 and 12), so they hold for few haloes, too; the scatter between regions that a box is too small
    for is not in them.
    """
    edges = _checked_edges(edges)
    if not 0 < volume < np.inf:
        raise DataError(f"a volume of {volume:g} (Mpc/h)^3 holds no haloes; it must be positive")
    numbers = np.bincount(np.digitize(masses, edges), minlength=len(edges) + 1)[1 : len(edges)]
    per_number = 1 / (volume * np.diff(np.log10(edges)))
    lower = np.where(numbers > 0, chi2.ppf(ONE_SIGMA, 2 * np.maximum(numbers, 1)) / 2, 0.0)
    upper = chi2.ppf(1 - ONE_SIGMA, 2 * numbers + 2) / 2
    return MassFunction(edges, numbers, numbers * per_number, lower * per_number, upper * per_number)


def _checked_edges(edges: np.ndarray) -> np.ndarray:
    edges = np.asarray(edges, float)
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0) or not 0 < edges[0] <= edges[-1] < np.inf:
        raise DataError(f"bin edges must be two or more positive masses that rise, not {np.array2string(edges)}")
    return edges


def corrected_masses(particles: np.ndarray, particle_mass: float) -> np.ndarray:
    """Correct friends-of-friends masses [Msun/h] for their finite particle number (Warren et al. 2006, equation 2).

    M = m N (1 − N^-0.6): groups of few particles are too heavy, as noise adds particles at their rims. The
    correction was fitted to converged simulations; it knows nothing of an unresolved force.
    """
    particles = np.asarray(particles, float)
    return particle_mass * particles * (1 - particles**-0.6)


def mass_edges(particle_mass: float, minimum: int, maximum: int, bins: int = 16, corrected: bool = False) -> np.ndarray:
    """Choose logarithmic bin edges (≤ bins + 1,) [Msun/h] from `minimum` to `maximum` particles, both included.

    Masses come in whole particles, so edges lie halfway between two: else a bin of few particles would
    hold more or fewer whole numbers than its width says. `corrected` for use with `corrected_masses`.
    """
    least = 2 if corrected else 1
    if not least <= minimum <= maximum or bins < 1:
        raise DataError(
            f"{bins} bins from {minimum} to {maximum} particles are none; the minimum must be {least} or more, "
            "the maximum no less, and the bins at least one"
        )
    wanted = np.geomspace(minimum - 0.5, maximum + 0.5, bins + 1)
    counts = np.unique(np.round(wanted - 0.5)) + 0.5
    return corrected_masses(counts, particle_mass) if corrected else particle_mass * counts


def mean_matter_density(cosmology: Cosmology) -> float:
    """Return the comoving mean matter density [Msun/h (Mpc/h)^-3]."""
    return CRITICAL_DENSITY * MASS_UNIT * cosmology.Omega_m


def mass_variance(
    cosmology: Cosmology, scale_factor: float, masses: np.ndarray, box_size: float | None = None
) -> np.ndarray:
    """Return σ(M) (M,): rms linear overdensity in spheres that hold the masses (M,) [Msun/h] on average.

    σ² = D² ∫ d ln k k³ P(k) W²(kR) / 2π² with a top hat W. Given a box [Mpc/h], modes longer than it are left
    out, as they are in its simulation.
    """
    radii = np.cbrt(3 * np.asarray(masses, float) / (4 * np.pi * mean_matter_density(cosmology)))
    shortest = LONGEST if box_size is None else 2 * np.pi / box_size
    ln_k = np.linspace(np.log(shortest), np.log(SHORTEST), 8000)
    k = np.exp(ln_k)
    x = k * radii[..., None]
    window = np.where(x < 0.01, 1 - x**2 / 10, 3 * (np.sin(x) - x * np.cos(x)) / np.maximum(x, 0.01) ** 3)
    variance = np.trapezoid(k**3 * power_at(cosmology, k) * window**2, ln_k, axis=-1) / (2 * np.pi**2)
    return growth(cosmology, scale_factor).D * np.sqrt(variance)


def predicted_mass_function(
    cosmology: Cosmology,
    scale_factor: float,
    edges: np.ndarray,
    model: str = "watson13",
    definition: str = "fof",
    box_size: float | None = None,
) -> np.ndarray:
    """Average dn/dlog10 M [(Mpc/h)^-3] over bins of mass, edges (bins + 1,) [Msun/h]: (bins,).

    dn/dlog10 M = ln 10 f(σ) ρ/M |d ln σ / d ln M|. Model and mass definition by colossus' names: "watson13" or
    "courtin11" with "fof", "tinker08" or "despali16" with "200m". Leaving out the modes that a box lacks, by its
    `box_size` [Mpc/h], corrects most of what it does to the rarest haloes.
    Raises DataError for a model that colossus does not know for this definition.
    """
    edges = _checked_edges(edges)
    ln_mass = np.linspace(np.log(edges[:-1]), np.log(edges[1:]), 9)  # (9, bins): Simpson's rule in each bin
    spline = _ln_sigma(cosmology, scale_factor, edges, box_size)
    with _colossus(cosmology) as lss:
        try:
            f = lss.mass_function.massFunction(
                np.exp(spline(ln_mass)).ravel(), 1 / scale_factor - 1, "sigma", "f", definition, model
            )
        except Exception as error:  # colossus raises nothing more special
            raise DataError(f"colossus has no mass function '{model}' for '{definition}' masses: {error}") from error
    density = mean_matter_density(cosmology) / np.exp(ln_mass)
    value = np.log(10) * f.reshape(ln_mass.shape) * density * np.abs(spline(ln_mass, 1))
    weights = np.array([1, 4, 2, 4, 2, 4, 2, 4, 1]) / 24
    return weights @ value


def predicted_bias(
    cosmology: Cosmology, scale_factor: float, masses: np.ndarray, model: str = "tinker10", definition: str = "200m"
) -> np.ndarray:
    """Return the linear bias (M,) of haloes of masses (M,) [Msun/h] (default: Tinker et al. 2010, equation 6)."""
    height = COLLAPSE / mass_variance(cosmology, scale_factor, masses)
    with _colossus(cosmology) as lss:
        try:
            return lss.bias.haloBiasFromNu(height, 1 / scale_factor - 1, definition, model)
        except Exception as error:
            raise DataError(f"colossus has no bias '{model}' for '{definition}' masses: {error}") from error


def _ln_sigma(cosmology: Cosmology, scale_factor: float, edges: np.ndarray, box_size: float | None) -> CubicSpline:
    """Return ln σ(ln M) over the range of the edges."""
    grid = np.linspace(np.log(edges[0]) - 0.1, np.log(edges[-1]) + 0.1, 80)
    return CubicSpline(grid, np.log(mass_variance(cosmology, scale_factor, np.exp(grid), box_size)))


@contextmanager
def _colossus(cosmology: Cosmology) -> Iterator:
    """Make this cosmology colossus' current one, without its cache on disk, and put back the former afterwards."""
    try:
        from colossus import lss
        from colossus.cosmology import cosmology as settings
        from colossus.lss import bias, mass_function  # noqa: F401 - makes them attributes of lss
    except ImportError as error:
        raise DataError("predicted mass functions and biases need colossus; pip install colossus") from error
    former = settings.current_cosmo
    settings.setCurrent(
        settings.Cosmology(
            name="supercosm",
            flat=True,
            H0=100 * cosmology.h,
            Om0=cosmology.Omega_m,
            Ob0=cosmology.Omega_b,
            sigma8=cosmology.sigma8,
            ns=cosmology.n_s,
            relspecies=False,
            persistence="",
        )
    )
    try:
        yield lss
    finally:
        settings.setCurrent(former)


@dataclass(frozen=True)
class Bias:
    """Linear bias of a sample of haloes: k [h/Mpc], modes and P_hm/P_mm in bins (bins,), and all modes' best value.

    error: one standard deviation of `value` from the part of the haloes' field that does not follow the matter.
    """

    k: np.ndarray
    modes: np.ndarray
    ratio: np.ndarray
    value: float
    error: float


def halo_bias(haloes: np.ndarray, matter: np.ndarray, box_size: float, k_max: float = 0.15, cells: int = 64) -> Bias:
    """Measure b = P_hm / P_mm of haloes (H, 3) and the matter's particles (N, 3) [Mpc/h] up to k_max [h/Mpc].

    With δ_h = b δ_m + ε, least squares over the modes give b = Σ P_hm / Σ P_mm, in which the haloes' shot noise
    drops out, with variance Σ P_ε / (Σ P_mm)² and P_ε = P_hh − b² P_mm. Matter's own shot noise is left in: it must
    be small at k_max.
    """
    fundamental = 2 * np.pi / box_size
    largest = k_max / fundamental
    if not 1 <= largest <= cells / 4:
        raise DataError(
            f"k_max = {k_max:g} h/Mpc must lie between {fundamental:.3g}, the first mode of a box of {box_size:g} "
            f"Mpc/h, and {fundamental * cells / 4:.3g}, half the Nyquist frequency of {cells} cells"
        )
    edges = np.append(np.arange(0.5, largest - 0.5), largest * (1 + 1e-9))
    fields = [paint(checked_positions(points, box_size), box_size, cells)[None] for points in (haloes, matter)]
    spectra = compare(*fields, box_size, edges)
    total = (spectra.modes * spectra.second).sum()
    if not total > 0:
        raise DataError("the matter has no structure on these scales, so nothing can be biased against it")
    value = (spectra.modes * spectra.cross).sum() / total
    rest = np.maximum(spectra.first - 2 * value * spectra.cross + value**2 * spectra.second, 0)
    error = np.sqrt((spectra.modes * rest * spectra.second).sum()) / total
    ratio = spectra.cross / spectra.second
    return Bias(spectra.k, spectra.modes, ratio, float(value), float(error))
