"""What is measured of the particles of one box: haloes, redshift space and motions, each as a table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
from astropy.table import QTable

from supercosm.statistics import dynamics, haloprofile, massfunction, power
from supercosm.statistics.assignment import Assignment
from supercosm.statistics.correlation import particle_correlation
from supercosm.statistics.haloes import Haloes
from supercosm.statistics.multipoles import snapshot_multipoles
from supercosm.summaries import Box, with_axis
from supercosm.tables import DENSITY_POWER, LENGTH, MASS, SPEED, WAVE_NUMBER

MASS_BINS = 12
DECADE = 10  # particles between the edges of the wide bins: haloes of 20–200, 200–2000 and more particles
WIDE_BINS = 3
SHELLS = np.geomspace(0.1, 6.0, 15)  # of profiles, in mean particle separations
BIAS_SCALE = 0.15  # wave numbers up to which bias is linear [h/Mpc]


def mass_function(box: Box) -> QTable:
    """dn/dlog₁₀M [(h/Mpc)³] of friends-of-friends haloes with Poisson intervals, beside fits to other simulations.

    The fits: Watson et al. 2013 for friends-of-friends masses, Tinker et al. 2008 for spheres of 200 mean densities;
    both without the modes that the box lacks.
    """
    found, haloes = box.snapshot, box.haloes
    least = box.settings.halo_particles
    edges = massfunction.mass_edges(haloes.particle_mass, least, max(10 * least, box.side**3 // 50), MASS_BINS)
    counted = massfunction.mass_function(haloes.masses, edges, box.box_size**3)
    table = QTable({"mass": counted.masses * MASS})
    for model, definition in (("watson13", "fof"), ("tinker08", "200m")):
        predicted = massfunction.predicted_mass_function(
            found.cosmology, found.scale_factor, edges, model, definition, box.box_size
        )
        table[model] = predicted * WAVE_NUMBER**3
    table["haloes"] = counted.numbers.astype(float)
    for name in ("density", "lower", "upper"):
        table[name] = getattr(counted, name) * WAVE_NUMBER**3
    return with_axis(table, "mass", "watson13", "tinker08")


def _wide_edges(box: Box) -> np.ndarray:
    """Edges of the wide mass bins [Msun/h]; the last one is open."""
    start = box.settings.halo_particles - 0.5
    return box.haloes.particle_mass * np.append(start * DECADE ** np.arange(WIDE_BINS), np.inf)


def profiles(box: Box) -> QTable:
    """Mean density around haloes in bins of mass, in units of the mean, with the scatter's standard error."""
    edges = SHELLS * box.box_size / box.side
    haloes, mass_edges = box.haloes, _wide_edges(box)
    around = haloprofile.profiles(haloes.centres, box.snapshot.positions, box.box_size, edges)
    found = haloprofile.stack(around, haloes.masses, mass_edges, edges)
    count = len(found.radii)
    table = QTable({"mass_from": np.repeat(mass_edges[:-1], count) * MASS})
    table["radius"] = np.tile(found.radii, WIDE_BINS) * LENGTH
    table["haloes"] = np.repeat(found.numbers, count).astype(float)
    table["density"], table["error"] = found.density.ravel(), found.error.ravel()
    return with_axis(table, "mass_from", "radius")


def halo_bias(box: Box) -> QTable:
    """Linear bias of haloes in bins of mass, P_hm / P_mm at large scales, beside that of Tinker et al. 2010."""
    haloes, mass_edges = box.haloes, _wide_edges(box)
    fundamental = 2 * np.pi / box.box_size
    k_max = max(BIAS_SCALE, 2.01 * fundamental)
    cells = max(64, 4 * math.ceil(k_max / fundamental))  # k_max must lie below half of their Nyquist frequency
    rows = []
    for low, high in itertools.pairwise(mass_edges):
        chosen = (haloes.masses >= low) & (haloes.masses < high)
        value = error = expected = np.nan
        if chosen.any():
            points = haloes.positions[chosen], box.snapshot.positions
            found = massfunction.halo_bias(*points, box.box_size, k_max, cells)
            value, error = found.value, found.error
            expected = _expected_bias(haloes, haloes.masses[chosen])
        rows.append((low, float(chosen.sum()), value, error, expected))
    table = QTable(rows=rows, names=("mass_from", "haloes", "bias", "error", "tinker10"))
    table["mass_from"] = np.asarray(table["mass_from"]) * MASS
    return with_axis(table, "mass_from")


def _expected_bias(haloes: Haloes, masses: np.ndarray) -> float:
    """Average the predicted bias over haloes, from a table in mass."""
    grid = np.geomspace(masses.min(), 1.001 * masses.max(), 16)
    table = massfunction.predicted_bias(haloes.cosmology, haloes.scale_factor, grid)
    return float(np.interp(np.log(masses), np.log(grid), table).mean())


def redshift_space(box: Box) -> QTable:
    """P₀, P₂ and P₄ [(Mpc/h)³] in redshift space, seen along `statistics.line_of_sight`."""
    settings = box.settings
    assignment = Assignment(2 * box.side, settings.scheme, settings.interlacing)
    edges = power.bin_edges(box.side, settings.bins)
    found = snapshot_multipoles(box.snapshot, assignment, edges, settings.line_of_sight)
    table = QTable({"k": found.k * WAVE_NUMBER, "modes": found.modes})
    table["P0"], table["P2"] = found.monopole * DENSITY_POWER, found.quadrupole * DENSITY_POWER
    table["P4"] = found.hexadecapole * DENSITY_POWER
    return with_axis(table, "k", "modes")


def correlation(box: Box) -> QTable:
    """Correlation function ξ(r), pairs of a particle with itself taken out."""
    settings, separation = box.settings, box.box_size / box.side
    edges = np.geomspace(2 * separation, box.box_size / 3, settings.bins + 1)
    assignment = Assignment(box.side * settings.mesh, settings.scheme, settings.interlacing)
    found = particle_correlation(box.snapshot.positions, box.box_size, assignment, edges)
    return with_axis(QTable({"r": found.r * LENGTH, "xi": found.xi}), "r")


def flows(box: Box) -> QTable:
    """Spectra of the velocity field and, in units of a H f, of its convergence −∇·v and vorticity ∇×v.

    The field is that of `dynamics.mesh_velocity` on half as many cells as particles per side, so that few are empty.
    """
    found, cells = box.snapshot, max(8, box.side // 2)
    velocity = dynamics.mesh_velocity(found.positions, found.velocities, box.box_size, cells)
    scale = dynamics.growing_rate(found.cosmology, found.scale_factor)
    edges = power.bin_edges(cells, box.settings.bins)
    spectra = dynamics.compare_flows(velocity, velocity, box.box_size, edges, scale)
    table = QTable({"k": spectra.field.k * WAVE_NUMBER, "modes": spectra.field.modes})
    table["velocity"] = spectra.field.first * DENSITY_POWER * SPEED**2
    table["convergence"], table["vorticity"] = (
        part.first * DENSITY_POWER for part in (spectra.divergence, spectra.curl)
    )
    return with_axis(table, "k", "modes")


def pairwise(box: Box) -> QTable:
    """Mean relative velocity of pairs of particles along their separation, and its dispersion [km/s]."""
    found, settings = box.snapshot, box.settings
    edges = np.geomspace(box.box_size / box.side / 2, box.box_size / 5, settings.bins + 1)
    pairs = dynamics.pairwise_velocity(
        found.positions, found.velocities, box.box_size, edges, most=settings.pair_particles
    )
    table = QTable({"separation": np.sqrt(edges[:-1] * edges[1:]) * LENGTH, "pairs": pairs.pairs.astype(float)})
    table["infall"], table["dispersion"] = pairs.mean * SPEED, pairs.sigma * SPEED
    table.meta["subsample"] = f"{pairs.used} of {pairs.given} particles"
    return with_axis(table, "separation")


OF_PARTICLES: dict[str, Callable[[Box], QTable]] = {
    "haloes": mass_function,
    "profiles": profiles,
    "bias": halo_bias,
    "multipoles": redshift_space,
    "correlation": correlation,
    "flows": flows,
    "pairwise": pairwise,
}
