"""The halo catalogue against haloes that were put there."""

from dataclasses import replace

import numba
import numpy as np
import pytest

from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.nbody import lattice
from supercosm.snapshot import Snapshot, read_snapshot
from supercosm.statistics.haloes import COLUMNS, find_haloes

BOX = 100.0


def snapshot(positions, velocities=None, box=BOX):
    count = len(positions)
    velocities = np.zeros((count, 3)) if velocities is None else velocities
    return Snapshot(
        positions=(np.asarray(positions) % box).astype(np.float32),
        velocities=np.asarray(velocities, np.float32),
        ids=np.arange(1, count + 1, dtype=np.uint64),
        box_size=box,
        scale_factor=1.0,
        cosmology=Cosmology(),
    )


def ball(random, count, centre, radius):
    """Particles of density ∝ r^-2 around a centre, and as many opposite: their mean is the centre."""
    direction = random.normal(size=(count // 2, 3))
    points = direction / np.linalg.norm(direction, axis=1)[:, None] * radius * random.random((count // 2, 1))
    return np.concatenate([points, -points]) + centre


def test_two_haloes_are_found_as_they_were_made():
    random = np.random.default_rng(0)
    centres = np.array([[0.0, 99.9, 50.0], [40.0, 40.0, 40.0]])
    points = np.concatenate([ball(random, n, c, 1.5) for n, c in zip((2000, 3000), centres, strict=True)])
    field = random.uniform([60, 60, 60], [90, 90, 90], (500, 3))
    motion = np.concatenate([np.tile([100.0, 0, -50], (2000, 1)), np.tile([0, -300.0, 0], (3000, 1))])
    motion += random.normal(0, 200, motion.shape)
    haloes = find_haloes(snapshot(np.concatenate([points, field]), np.concatenate([motion, field])))
    assert np.array_equal(haloes.particles, [3000, 2000])
    assert np.array_equal(haloes.ids, [2001, 1])
    mean_mass = 27.7536627e10 * 0.3111 * BOX**3 / 5500  # Msun/h: ρ_crit Ωm L³ / N
    assert haloes.masses == pytest.approx(mean_mass * haloes.particles, rel=1e-7)
    apart = (haloes.positions - centres[::-1] + 50) % BOX - 50
    assert np.abs(apart).max() < 1e-5  # float32 positions near 100: 4e-6 each
    assert np.all((haloes.positions >= 0) & (haloes.positions < BOX))
    wanted = [motion[2000:].mean(axis=0), motion[:2000].mean(axis=0)]
    assert haloes.velocities == pytest.approx(np.array(wanted), abs=1e-3)
    assert haloes.dispersions == pytest.approx([motion[2000:].std(axis=0, ddof=0).mean()] * 2, rel=0.05)
    # uniform in r up to 1.5: mean square 1.5²/3
    assert haloes.rms_radii == pytest.approx(1.5 / np.sqrt(3), rel=0.03)
    assert haloes.radii == pytest.approx(1.5, rel=0.01)


def test_the_centre_is_the_densest_part_of_a_bridged_pair():
    """Two clumps and a bridge: the centre of mass lies on the bridge, the centre in the larger clump."""
    random = np.random.default_rng(1)
    bridge = np.stack([np.linspace(98, 103, 60), np.full(60, 20.0), np.full(60, 20.0)], axis=1)
    points = np.concatenate([ball(random, 3000, [98, 20, 20], 1), ball(random, 1500, [103, 20, 20], 1), bridge])
    haloes = find_haloes(snapshot(points))
    assert len(haloes) == 1
    assert haloes.positions[0, 0] == pytest.approx(99.66, abs=0.05)
    assert haloes.centres[0] == pytest.approx([98, 20, 20], abs=0.03)


def test_no_halo_and_one_halo_are_answers():
    cold = snapshot(lattice(16, BOX).numpy())
    assert len(find_haloes(cold)) == 0
    assert find_haloes(cold).centres.shape == (0, 3)
    one = find_haloes(snapshot(np.full((100, 3), 99.99)))
    assert np.array_equal(one.particles, [100])
    assert one.radii == pytest.approx(0)
    assert one.centres == pytest.approx(one.positions)
    assert len(find_haloes(snapshot(np.full((19, 3), 1.0)))) == 0
    assert len(find_haloes(snapshot(np.full((19, 3), 1.0)), minimum=19)) == 1


def test_one_particle_is_a_halo_only_if_asked_for():
    alone = snapshot([[1.0, 2.0, 3.0]])
    assert len(find_haloes(alone)) == 0
    assert find_haloes(alone, minimum=1).positions == pytest.approx(np.array([[1, 2, 3]]))


def test_impossible_requests_are_refused():
    with pytest.raises(DataError, match="must be 1 or more"):
        find_haloes(snapshot(np.full((100, 3), 1.0)), minimum=0)
    wall = np.stack([np.linspace(0, 100, 1000), np.full(1000, 5.0), np.full(1000, 5.0)], axis=1)[:-1]
    with pytest.raises(DataError, match="its centre means nothing"):
        find_haloes(snapshot(np.concatenate([wall, wall + np.array([0, 0.05, 0])])))
    with pytest.raises(DataError, match="at most a fifth"):
        find_haloes(snapshot(np.full((2, 3), 1.0)), linking=0.5)


def test_a_simulation_gives_the_same_bits_on_any_number_of_threads(tiny_simulations):
    particles = read_snapshot(tiny_simulations[1] / "high.hdf5")
    haloes = find_haloes(particles)
    assert len(haloes) > 20
    assert np.all(np.diff(haloes.particles) <= 0)
    assert haloes.particles.min() >= 20
    assert np.all(haloes.radii < 5)
    threads = numba.get_num_threads()
    try:
        for number in range(1, min(2, numba.config.NUMBA_NUM_THREADS) + 1):
            numba.set_num_threads(number)
            again = find_haloes(particles)
            assert all(np.array_equal(getattr(again, name), getattr(haloes, name)) for name in COLUMNS)
    finally:
        numba.set_num_threads(threads)


def test_columns_of_different_lengths_are_refused():
    haloes = find_haloes(snapshot(np.full((100, 3), 50.0)))
    with pytest.raises(DataError, match=r"masses of 1 haloes must have shape \(1,\)"):
        replace(haloes, masses=np.ones(2))
