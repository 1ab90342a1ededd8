"""Multipoles against Kaiser's linear theory, Pylians, and what a shift must do."""

import numpy as np
import pytest
import torch
from test_particles import BOX, PYLIANS, particles, poisson

from supercosm.config import Cosmology
from supercosm.cosmology import expansion, growth, power_at
from supercosm.errors import DataError
from supercosm.initial import Phases, linear_displacement, linear_overdensity
from supercosm.snapshot import from_lattice, read_snapshot
from supercosm.statistics.assignment import Assignment, density_modes
from supercosm.statistics.multipoles import Multipoles, multipoles, redshift_space, snapshot_multipoles
from supercosm.statistics.particles import particle_power
from supercosm.statistics.power import power, transform
from supercosm.tables import read_table

PLANCK = Cosmology()
LARGE = 500.0  # Mpc/h


def kaiser(f: float, edges: np.ndarray, axis: int) -> np.ndarray:
    """Average (2l + 1) (1 + f μ²)² L_l(μ) over the modes of each bin, weighted by linear power: l = 0, 2, 4 × bins.

    The closed forms, 1 + 2f/3 + f²/5, 4f/3 + 4f²/7 and 8f²/35, are its limits for modes in every direction.
    """
    n = np.arange(-int(edges[-1]), int(edges[-1]) + 1)
    grid = np.stack(np.meshgrid(n, n, n, indexing="ij")).reshape(3, -1)
    length = np.maximum(np.sqrt((grid**2).sum(axis=0)), 1e-9)
    mu = grid[axis] / length
    weight = power_at(PLANCK, 2 * np.pi / LARGE * length)
    edges = np.append(edges[:-1], edges[-1] - 1e-9)  # numpy closes its last bin
    legendre = [np.ones_like(mu), 5 * (3 * mu**2 - 1) / 2, 9 * (35 * mu**4 - 30 * mu**2 + 3) / 8]
    number = np.histogram(length, edges, weights=weight)[0]
    return (
        np.stack([np.histogram(length, edges, weights=weight * (1 + f * mu**2) ** 2 * p)[0] for p in legendre]) / number
    )


def stack(found: Multipoles) -> np.ndarray:
    return np.stack([found.monopole, found.quadrupole, found.hexadecapole])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_linear_field_times_kaisers_factor(axis):
    """δ_s = (1 + f μ²) δ (Kaiser 1987, eq. 3.5), put into the modes by hand: float32 and CAMB's table leave 1e-3."""
    n, f, edges = 48, 0.8, np.arange(3.0, 23, 2)
    field = linear_overdensity(Phases(3, fixed=True), PLANCK, LARGE, n)
    modes = transform(field[None], 3, n // 2)
    axes = np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n), np.arange(n // 2 + 1) / n, indexing="ij")
    mu2 = axes[axis] ** 2 / np.maximum(sum(a**2 for a in axes), 1e-9)
    plain = power(modes, modes, LARGE, edges, n).first
    found = stack(multipoles(modes * torch.as_tensor(1 + f * mu2), LARGE, edges, n, axis)) / plain
    assert np.abs(found - kaiser(f, edges, axis)).max() < 1e-3
    assert found[0] == pytest.approx(1 + 2 * f / 3 + f**2 / 5, rel=2e-3)  # directions sample μ² this well
    assert found[1, -1] == pytest.approx(4 * f / 3 + 4 * f**2 / 7, rel=0.01)


def test_separated_multipoles_do_not_leak():
    """Power that depends on μ as P₀ + P₂ L₂ + P₄ L₄ is found as it is, in bins of 50 modes too; 1e-6 is float32."""
    n, edges = 24, np.arange(1.0, 12)
    axes = np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n), np.arange(n // 2 + 1) / n, indexing="ij")
    mu2 = axes[1] ** 2 / np.maximum(sum(a**2 for a in axes), 1e-9)
    modes = torch.as_tensor(1 + 0.8 * mu2)[None].to(torch.complex64)
    found = stack(multipoles(modes, 1.0, edges, n, 1, separate=True))
    limits = [1 + 1.6 / 3 + 0.64 / 5, 3.2 / 3 + 4 * 0.64 / 7, 8 * 0.64 / 35]
    assert found == pytest.approx(np.tile(np.array(limits)[:, None], 10), rel=1e-5)
    uneven = stack(multipoles(modes, 1.0, edges, n, 1))
    assert np.abs(uneven - found)[1].max() > 0.02
    alone = multipoles(modes, 1.0, np.array([0.9, 1.1]), n, 1, separate=True)  # six modes, two values of μ²
    assert np.isfinite(stack(alone)).all()


def test_zeldovich_particles_in_redshift_space():
    """Growing-mode velocities at a = 0.02, through shift, painting and interlacing, against the same in real space.

    Displacements are 0.15 Mpc/h: second-order terms stay below half a per cent. A cold lattice of 48 points has
    aliases of 0.4 % here, and 1.7 % in the hexadecapole of the next bin; they fall as the lattice is refined.
    """
    a, n, edges = 0.02, 48, np.arange(3.0, 11, 2)
    psi = linear_displacement(Phases(3, fixed=True), PLANCK, LARGE, n).numpy() * growth(PLANCK, a).D
    f = growth(PLANCK, a).f
    velocity = 100 * a * expansion(PLANCK, a) * f * psi  # v = a dx/dt = a H f ψ
    early = from_lattice(psi, velocity, LARGE, scale_factor=a, cosmology=PLANCK)
    assignment = Assignment(96, "tsc", True)
    plain = particle_power(early.positions, LARGE, assignment, edges).power
    for axis in (0, 2):
        found = stack(snapshot_multipoles(early, assignment, edges, axis)) / plain
        assert np.abs(found - kaiser(f, edges, axis)).max() < 0.01


def test_multipoles_are_those_of_pylians():
    """Lines of sight along z and x; particles half a cell on, because Pylians' cells are centred on i h."""
    table = read_table(PYLIANS)
    points = np.mod(particles() + np.float32(BOX / 64), np.float32(BOX))
    modes = density_modes(points, BOX, Assignment(32))
    for axis in (0, 2):
        found = multipoles(modes, BOX, np.arange(1.0, 17), 32, axis)
        for order, values in {0: found.monopole, 2: found.quadrupole, 4: found.hexadecapole}.items():
            # Pylians adds in float32 as well: 2e-5 of the monopole
            error = np.abs(values - table[f"P{order}_cic_{axis}"]) / table["P0_cic_2"]
            assert error.max() < 2e-5


def test_monopole_of_poisson_particles_is_shot_noise():
    points = poisson(30_000)
    modes = density_modes(points, BOX, Assignment(32, "pcs", True))
    found = multipoles(modes, BOX, np.arange(1.0, 16, 2), 32)
    level, error = BOX**3 / 30_000, np.sqrt(2 / found.modes)
    assert np.all(np.abs(found.monopole / level - 1) < 4 * error)
    assert np.all(np.abs(found.quadrupole / level) < 4 * np.sqrt(5) * error)
    assert np.all(np.abs(found.hexadecapole / level) < 4 * 3 * error)


def test_fingers_of_god_at_small_scales_and_infall_at_large(tiny_simulations):
    """Of a real run today: more power than in real space at large scales, less at small ones, and P₂ > 0 at large."""
    snapshot = read_snapshot(tiny_simulations[1] / "high.hdf5")
    assignment, edges = Assignment(64, "pcs", True), np.array([1, 3, 9, 16])
    plain = particle_power(snapshot.positions, snapshot.box_size, assignment, edges)
    seen = [snapshot_multipoles(snapshot, assignment, edges, axis) for axis in range(3)]
    assert np.array_equal(seen[0].shot_noise, plain.shot_noise)
    boost = np.mean([s.monopole for s in seen], axis=0) / plain.power
    assert boost[0] > 1.05
    assert boost[-1] < 0.9
    quadrupole = np.mean([s.quadrupole for s in seen], axis=0)
    assert quadrupole[0] > 0


def test_shift_is_velocity_over_expansion_rate_and_wraps():
    positions = np.array([[10, 20, 30], [99.9, 20, 30], [0, 0, 0]], np.float32)
    velocities = np.array([[500, 0, 0], [500, 0, 0], [-1e-6, 0, 0]], np.float32)
    found = redshift_space(positions, velocities, 100.0, 0.5, PLANCK, axis=0)
    shift = 500 / (0.5 * 100 * np.sqrt(PLANCK.Omega_m * 8 + 1 - PLANCK.Omega_m))
    assert found[:2, 0] == pytest.approx([10 + shift, 99.9 + shift - 100], rel=1e-5)
    assert found[2, 0] == 0  # not 100, which is outside
    assert np.array_equal(found[:, 1:], positions[:, 1:])


def test_impossible_lines_of_sight_are_refused():
    with pytest.raises(DataError, match="axis 0, 1 or 2, not 3"):
        redshift_space(np.ones((2, 3)), np.ones((2, 3)), 100.0, 1.0, PLANCK, 3)
    with pytest.raises(DataError, match="2 positions and 3 velocities"):
        redshift_space(np.ones((2, 3)), np.ones((3, 3)), 100.0, 1.0, PLANCK)
    with pytest.raises(DataError, match="axis 0, 1 or 2, not -1"):
        multipoles(torch.ones((1, 8, 8, 5), dtype=torch.complex64), 100.0, np.array([1.0, 3]), 8, -1)
