"""Gravity and its steps: exact solutions, linear growth, conservation and convergence."""

import math

import numpy as np
import pytest
import torch

from supercosm import nbody
from supercosm.config import Cosmology, Simulation
from supercosm.cosmology import growth, scale_factor_of_growth
from supercosm.initial import Phases, linear_displacement, linear_modes, second_order_displacement
from supercosm.mesh import paint, wave_numbers
from supercosm.statistics.power import CLOUD_IN_CELL, compare

PLANCK = Cosmology()
BOX = 100.0


def evolve(first, a_from, a_to, steps):
    """Start a displacement field (3, n, n, n) by 2LPT and run it on a mesh of twice the particles."""
    n = first.shape[-1]
    g = growth(PLANCK, a_from)
    second = second_order_displacement(first, BOX)
    x = nbody.lattice(n, BOX) + (g.D * first + g.second * second).view(3, -1).T
    v = (first + g.second_slope * second).view(3, -1).T.contiguous()
    particles, gravity = nbody.Particles(x, v, a_from), nbody.Gravity(2 * n, BOX)
    for a in np.linspace(a_from, a_to, steps + 1)[1:]:
        nbody.step(particles, float(a), gravity, PLANCK)
    moved = particles.positions - nbody.lattice(n, BOX)
    return moved.T.view(3, n, n, n), particles


def waves(n, amplitude):
    """Displacements along x and along y, one period in the box each: (3, n, n, n)."""
    angle = (torch.arange(n) + 0.5) * (2 * math.pi / n)
    sine = amplitude * torch.sin(angle)
    zero = torch.zeros(n, n, n)
    return torch.stack([sine.view(n, 1, 1) + zero, sine.view(1, n, 1) + zero, zero])


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_plane_wave_follows_zeldovich_until_it_crosses(steps):
    """x = q + D A sin kq is exact before shell crossing, here at D = 0.8, in any number of steps."""
    n, k = 32, 2 * math.pi / BOX
    first = waves(n, 1.25 / k)
    first[1] = 0
    a = float(scale_factor_of_growth(PLANCK, 0.6))
    moved, particles = evolve(first, 0.05, a, steps)
    # at D = 0.6 a quarter of the wave is squeezed into 6 mesh cells, which soften the force by 1 or 2 %
    assert (moved[0] - 0.6 * first[0]).abs().max() < 0.02 * 0.6 * first.max()
    assert moved[1:].abs().max() < 1e-3  # nothing pulls sideways but rounding
    assert (particles.velocities[:, 0] - first[0].flatten()).abs().max() < 0.06 * first.max()


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_few_steps_keep_second_order_perturbation_theory(steps):
    """BullFrog's defining property, on two crossed waves whose ψ₂ is known: project x − q − ψ₁ on ψ₂."""
    n, k = 32, 2 * math.pi / BOX
    first = waves(n, 0.1 / k)
    second = second_order_displacement(first, BOX)
    moved, _ = evolve(first, 0.05, 1.0, steps)
    found = ((moved - first) * second).sum() / (second**2).sum()
    # third order is about A k = 0.1 of second order, less in this projection; the mesh adds 1 %
    assert found.item() == pytest.approx(growth(PLANCK, 1.0).second, rel=0.03)


def test_kick_weights_keep_the_zeldovich_motion():
    """α + β = 1 with β / D½ times the force D½ ψ: a particle in Zel'dovich motion keeps its velocity."""
    for a0, a1 in ((0.05, 0.1), (0.5, 1.0), (0.9, 0.95)):
        alpha, beta = nbody.bullfrog_weights(PLANCK, a0, a1)
        middle = (growth(PLANCK, a0).D + growth(PLANCK, a1).D) / 2
        assert alpha + beta * middle == pytest.approx(1, rel=1e-12)
        assert 0 < beta * middle < 2.5


def test_short_steps_are_the_equation_of_motion():
    """To first order in ΔD: v' = −(3/2) Ωm(a) / (f² D) (v − force / D), the equation of motion in D."""
    a0, a1 = 0.5, 0.5001
    g = growth(PLANCK, a0)
    matter = PLANCK.Omega_m / (PLANCK.Omega_m + (1 - PLANCK.Omega_m) * a0**3)
    alpha, _ = nbody.bullfrog_weights(PLANCK, a0, a1)
    slope = (alpha - 1) / (growth(PLANCK, a1).D - g.D)
    assert slope == pytest.approx(-1.5 * matter / (g.f**2 * g.D), rel=1e-3)


@pytest.fixture(scope="module")
def large_box():
    """A run whose largest modes are linear: 32³ in 1 Gpc/h; returns painted overdensity and linear modes."""
    simulation = Simulation(box_size=1000.0, low=16, high=32)
    (particles,) = nbody.run(simulation, PLANCK, Phases(1, fixed=True), 32)
    return paint(particles.positions, 1000.0, 64), linear_modes(Phases(1, fixed=True), PLANCK, 1000.0, wave_numbers(64))


def test_largest_scales_grow_linearly(large_box):
    density, linear = large_box
    wave = wave_numbers(64)
    n = torch.sqrt(sum(w.double() ** 2 for w in wave))
    centred = linear * torch.polar(torch.ones_like(n), sum(wave).double() * math.pi / 64).to(linear.dtype)
    window = math.prod(torch.sinc(w.double() / 64) ** 2 for w in wave)
    modes = torch.fft.rfftn(density, norm="forward") / window
    largest = (n > 0) & (n < 2.5)
    # k ≤ 0.016 h/Mpc: non-linear corrections are about k² σ²/2 = 0.4 %, and their scatter 0.3 %
    growth_factor = (modes * centred.conj()).real[largest].sum() / (centred.abs() ** 2)[largest].sum()
    assert growth_factor.item() == pytest.approx(1, abs=0.01)
    amplitude = torch.sqrt((modes.abs() ** 2)[largest].sum() / (centred.abs() ** 2)[largest].sum())
    assert amplitude.item() == pytest.approx(1, abs=0.01)


@pytest.fixture(scope="module")
def runs():
    """32³ particles in BOX with 20, 40 and 80 steps: {steps: particles}."""
    found = {}
    for steps in (20, 40, 80):
        simulation = Simulation(box_size=BOX, low=16, high=32, steps=steps)
        (found[steps],) = nbody.run(simulation, PLANCK, Phases(1), 32)
    return found


def test_mass_and_momentum_are_conserved(runs):
    """To float32: the sums of 32768 rounded numbers stay below a few 1e-6 of the sum of their sizes."""
    for particles in runs.values():
        v = particles.velocities.double()
        assert (v.sum(0).abs() < 5e-6 * v.abs().sum(0)).all()
        mass = paint(particles.positions, BOX, 64).double().mean()
        assert mass.item() == pytest.approx(1, abs=2e-7)
        assert torch.isfinite(particles.positions).all()


def test_twenty_steps_are_converged(runs):
    """Against 80 steps: power within 2 %, correlation above 0.99 below half the Nyquist frequency."""
    fields = {steps: paint(p.positions, BOX, 64)[None] for steps, p in runs.items()}
    edges = np.array([0.5, 2.5, 5, 8])
    spectra = {s: compare(fields[s], fields[80], BOX, edges, window=CLOUD_IN_CELL) for s in (20, 40)}
    errors = {s: abs(x.first / x.second - 1).max() for s, x in spectra.items()}
    assert errors[20] < 0.02
    assert errors[40] < errors[20]
    assert spectra[20].correlation.min() > 0.99


def test_start_is_second_order_perturbation_theory():
    particles = nbody.start(Phases(4), PLANCK, BOX, 16, 0.05)
    g = growth(PLANCK, 0.05)
    first = linear_displacement(Phases(4), PLANCK, BOX, 16)
    second = second_order_displacement(first, BOX)
    moved = (particles.positions - nbody.lattice(16, BOX)).T.reshape(3, 16, 16, 16)
    torch.testing.assert_close(moved, g.D * first + g.second * second, atol=2e-5, rtol=0)  # float32 at 100 Mpc/h
    # the velocity is the derivative of the position: a difference in D of a smooth function
    later = nbody.start(Phases(4), PLANCK, BOX, 16, 0.06)
    earlier = nbody.start(Phases(4), PLANCK, BOX, 16, 0.04)
    step = growth(PLANCK, 0.06).D - growth(PLANCK, 0.04).D
    speed = (later.positions - earlier.positions) / step
    torch.testing.assert_close(speed, particles.velocities, atol=5e-3, rtol=0)


def test_velocities_are_peculiar_km_per_second():
    """a dx/dt = a H f D ψ; at z = 0 in this universe 100 f = 52 km/s per Mpc/h."""
    assert nbody.velocity_factor(PLANCK, 1.0) == pytest.approx(100 * growth(PLANCK, 1.0).f, rel=1e-12)
    assert growth(PLANCK, 1.0).f == pytest.approx(PLANCK.Omega_m**0.55, rel=0.01)
    particles = nbody.Particles(torch.zeros(1, 3), torch.ones(1, 3), 0.5)
    g = growth(PLANCK, 0.5)
    hubble = 100 * math.sqrt(PLANCK.Omega_m / 0.125 + 1 - PLANCK.Omega_m)
    assert nbody.peculiar_velocity(particles, PLANCK)[0, 0].item() == pytest.approx(0.5 * hubble * g.f * g.D, rel=1e-6)


@pytest.mark.parametrize("spacing", ["a", "D"])
@pytest.mark.parametrize("outputs", [[1.0], [0.3333, 0.5, 1.0], [0.06, 0.07, 0.08, 1.0]])
def test_steps_meet_every_output(spacing, outputs):
    simulation = Simulation(scale_factors=outputs, spacing=spacing)
    times = nbody.time_steps(simulation, PLANCK)
    assert set(outputs) <= set(times)
    assert all(np.diff(times) > 0)
    assert times[0] == pytest.approx(simulation.start)
    assert simulation.steps <= len(times) - 1 <= simulation.steps + len(outputs)


def test_lattice_points_are_cell_centres():
    points = nbody.lattice(4, 8.0)
    assert points[0].tolist() == [1.0, 1.0, 1.0]
    assert points[1].tolist() == [1.0, 1.0, 3.0]  # C order: z runs fastest
    assert points[-1].tolist() == [7.0, 7.0, 7.0]
