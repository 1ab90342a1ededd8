"""Density profiles against brute force and against haloes drawn from a known profile."""

import numpy as np
import pytest

from supercosm.errors import DataError
from supercosm.statistics.haloprofile import overdensity_masses, profiles, shell_counts, stack

BOX = 60.0
EDGES = np.geomspace(0.05, 5, 16)


def nfw_mass(x):
    """Mass within x scale radii over that within one's normalisation: ln(1 + x) − x/(1 + x) (NFW 1996)."""
    return np.log1p(x) - x / (1 + x)


def nfw(random, count, centre, scale, outermost):
    """Particles of an NFW profile cut at `outermost` [Mpc/h], by inverting its enclosed mass."""
    grid = np.geomspace(1e-4, outermost / scale, 20_000)
    radius = scale * np.interp(random.random(count) * nfw_mass(grid[-1]), nfw_mass(grid), grid)
    direction = random.normal(size=(count, 3))
    points = centre + direction / np.linalg.norm(direction, axis=1)[:, None] * radius[:, None]
    return (points % BOX).astype(np.float32) % np.float32(BOX)


@pytest.mark.parametrize("edges", [EDGES, np.array([0, 3.0, 30]), np.array([2.0, 2.5])])
def test_counts_are_those_of_brute_force(edges):
    random = np.random.default_rng(0)
    points = random.uniform(0, BOX, (3000, 3)).astype(np.float32)
    centres = random.uniform(0, BOX, (20, 3))
    centres[0], centres[1] = 0, points[7]
    apart = (points[None].astype(float) - centres[:, None] + BOX / 2) % BOX - BOX / 2
    distance = np.sqrt((apart**2).sum(axis=2))
    expected = np.array([np.histogram(np.where(d < edges[-1], d, -1), edges)[0] for d in distance])
    assert np.array_equal(shell_counts(centres, points, BOX, edges), expected)


def test_an_nfw_halo_has_its_profile_across_the_boundary():
    """Counts in shells follow the enclosed mass within 4.5 Poisson errors each, 16 shells."""
    random = np.random.default_rng(1)
    count, scale, outermost, centre = 200_000, 0.4, 6.0, np.array([0.1, 59.95, 30])
    points = nfw(random, count, centre, scale, outermost)
    share = np.diff(nfw_mass(EDGES / scale)) / nfw_mass(outermost / scale)
    volumes = 4 / 3 * np.pi * np.diff(EDGES**3)
    expected = count * share / volumes / (count / BOX**3)
    found = profiles(centre[None], points, BOX, EDGES)[0]
    assert np.all(np.abs(found / expected - 1) < 4.5 / np.sqrt(count * share))


def test_a_stack_of_isothermal_haloes_has_slope_two_and_an_honest_error():
    """ρ ∝ r^-2 means equal numbers per equal step in r; 100 haloes in a uniform background that adds 1 to ρ/ρ̄."""
    random = np.random.default_rng(2)
    centres = random.uniform(0, BOX, (100, 3))
    direction = random.normal(size=(100, 400, 3))
    direction /= np.linalg.norm(direction, axis=2)[..., None]
    members = centres[:, None] + direction * 2 * random.random((100, 400, 1))
    points = np.concatenate([members.reshape(-1, 3), random.uniform(0, BOX, (60_000, 3))]) % BOX
    edges = np.geomspace(0.1, 2, 9)
    densities = profiles(centres, points.astype(np.float32) % np.float32(BOX), BOX, edges)
    found = stack(densities, np.repeat([1e13, 1e14], 50), np.array([5e12, 5e13, 5e14, 5e15]), edges)
    mean = len(points) / BOX**3
    halo = 400 * np.diff(edges) / 2 / (4 / 3 * np.pi * np.diff(edges**3)) / mean
    overlap = 40_000 / BOX**3 / mean  # other haloes are, on average, a part of the background, too
    expected = halo + 60_000 / BOX**3 / mean + overlap * 0.99
    assert np.array_equal(found.numbers, [50, 50, 0])
    assert np.isnan(found.density[2]).all()
    assert np.isnan(found.error[2]).all()
    pulls = (found.density[:2] - expected) / found.error[:2]
    assert np.sum(pulls**2) < 40  # χ² of 16: 99.9 %
    assert np.sum(pulls**2) > 3.9  # 0.1 %


def test_the_overdensity_mass_of_an_nfw_halo_is_its_own():
    """Where the mean enclosed density is 200: the count is that of the analytic radius to interpolation and √N."""
    random = np.random.default_rng(3)
    count, scale, outermost, centre = 100_000, 0.3, 10.0, np.array([1.0, 1, 1])
    points = np.concatenate([nfw(random, count, centre, scale, outermost), np.zeros((0, 3), np.float32)])
    mean = 100_000 / BOX**3 * 2
    x = np.geomspace(0.1, 30, 100_000)
    inside = count * nfw_mass(x) / nfw_mass(outermost / scale)
    wanted = np.interp(0, -np.log(inside / (4 / 3 * np.pi * (x * scale) ** 3 * mean * 200)), inside)
    edges = np.concatenate([[0], np.geomspace(0.1, 5, 40)])
    counts = shell_counts(centre[None], points, BOX, edges)
    assert overdensity_masses(counts, edges, mean)[0] == pytest.approx(wanted, rel=0.01)
    assert np.isnan(overdensity_masses(counts, edges, mean, threshold=1e9)[0])
    with pytest.raises(DataError, match="begin them at 0"):
        overdensity_masses(counts[:, 1:], edges[1:], mean)


def test_bad_input_is_refused():
    points = np.ones((5, 3), np.float32)
    assert shell_counts(np.zeros((0, 3)), points, BOX, EDGES).shape == (0, 15)
    with pytest.raises(DataError, match="radii that rise"):
        shell_counts(points, points, BOX, EDGES[::-1])
    with pytest.raises(DataError, match="end it at 30"):
        shell_counts(points, points, BOX, np.array([1.0, 31]))
    with pytest.raises(DataError, match="NaN"):
        shell_counts(points * np.nan, points, BOX, EDGES)
    with pytest.raises(DataError, match="hold no particles"):
        shell_counts(points, points[:0], BOX, EDGES)
