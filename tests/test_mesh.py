"""Painting, kicks and up-sampling: known answers, conservation, and the two code paths against each other.

Tolerances: float32 holds seven digits, so sums of some thousand terms agree to a few 1e-6 of their size.
"""

import numpy as np
import pytest
import torch

from supercosm import mesh, nbody

BOX = 30.0


def random_particles(count, seed=0, spread=2.0):
    """Particles in a box and out of it, on both sides: positions need not be wrapped."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, 3, generator=generator) - 0.5) * spread * BOX


def smooth_field(n, seed=0, modes=3):
    """A real random field of a few long waves, (n, n, n)."""
    spectrum = torch.zeros(n, n, n // 2 + 1, dtype=torch.complex64)
    generator = torch.Generator().manual_seed(seed)
    spectrum[:modes, :modes, :modes] = torch.randn(modes, modes, modes, generator=generator) + 0j
    return torch.fft.irfftn(spectrum, s=(n, n, n), norm="forward")


def test_one_particle_is_shared_by_eight_cells():
    n = 6
    cell = BOX / n
    # 0.25 cells beyond the centre of cell 1, on the centre of cell 2, 0.75 beyond that of cell 5 (wraps)
    density = mesh.paint_mass(torch.tensor([[1.75, 2.5, 6.25]]) * cell, BOX, n)
    expected = torch.zeros(n, n, n)
    expected[1, 2, 5], expected[2, 2, 5], expected[1, 2, 0], expected[2, 2, 0] = (
        0.1875,
        0.0625,
        0.5625,
        0.1875,
    )
    torch.testing.assert_close(density, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("count", [1, 3, 5000])
def test_mass_is_conserved(count):
    density = mesh.paint(random_particles(count), BOX, 16)
    assert density.double().mean() == pytest.approx(1, rel=2e-7)
    assert density.min() >= 0
    assert mesh.paint_mass(random_particles(count), BOX, 16).double().sum() == pytest.approx(count, rel=2e-7)


def test_lattice_paints_a_uniform_density():
    """Also on a mesh finer by two, where every particle sits on a corner of eight cells."""
    for cells in (8, 16):
        density = mesh.paint(nbody.lattice(8, BOX), BOX, cells)
        torch.testing.assert_close(density, torch.ones_like(density), atol=1e-5, rtol=0)


def test_paint_takes_numpy_and_moves_with_the_particles():
    positions = random_particles(500)
    density = mesh.paint(positions.numpy(), BOX, 12)
    moved = mesh.paint(positions + torch.tensor([BOX / 12, 0, 3 * BOX / 12]), BOX, 12)
    torch.testing.assert_close(moved, density.roll((1, 3), (0, 2)), atol=2e-3, rtol=0)


def test_both_painters_agree():
    positions = random_particles(5000)
    compiled, plain = mesh.paint_mass(positions, BOX, 16), mesh._paint_torch(positions, BOX, 16)
    torch.testing.assert_close(compiled, plain, atol=1e-4, rtol=0)


def test_painting_by_whole_numbers_knows_no_order():
    """GPUs add in any order: float32 sums differ then in their last digits, as the first assertion shows."""
    positions = random_particles(20_000)
    shuffled = positions[torch.randperm(len(positions), generator=torch.Generator().manual_seed(3))]
    index, weight = next(mesh.corners(positions * (16 / BOX) - 0.5, 16))
    other = next(mesh.corners(shuffled * (16 / BOX) - 0.5, 16))
    assert not torch.equal(*(torch.zeros(16**3).index_add_(0, *some) for some in ((index, weight), other)))
    assert torch.equal(mesh._paint_torch(positions, BOX, 16), mesh._paint_torch(shuffled, BOX, 16))


def test_both_kicks_agree():
    positions, potential = random_particles(3000), smooth_field(16)
    start = torch.randn(3000, 3, generator=torch.Generator().manual_seed(1))
    compiled, plain = start.clone(), start.clone()
    mesh.kick(positions, compiled, potential, BOX, (0.7, 1.3))
    mesh._kick_torch(positions, plain, potential, BOX / 16, (0.7, 1.3))
    torch.testing.assert_close(compiled, plain, atol=1e-4 * plain.std().item(), rtol=0)


def test_paint_is_differentiable():
    """The slope of the weights is a finite difference, which is exact inside a cell: weights are linear."""
    u = torch.rand(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 6 + 0.01
    goal = torch.randn(6**3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def total(u):
        return sum((goal[index] * weight).sum() for index, weight in mesh.corners(u, 6))

    u.requires_grad_()
    (slope,) = torch.autograd.grad(total(u), u)
    for p, axis in ((0, 0), (7, 1), (19, 2)):
        step = torch.zeros_like(u)
        step[p, axis] = 1e-7
        difference = (total(u + step) - total(u - step)) / 2e-7
        assert difference.item() == pytest.approx(slope[p, axis].item(), rel=1e-6)


def test_four_point_gradient_of_a_wave():
    n, k = 32, 2 * np.pi / BOX
    x = torch.arange(n, dtype=torch.float64) * BOX / n
    field = torch.sin(k * x).view(n, 1, 1).expand(n, n, n)
    # the difference keeps (8 sin h − sin 2h) / 6h of the slope, h = k × cell: 1 − h⁴/30
    gradient = mesh.four_point_gradient(field, BOX / n, 0)
    torch.testing.assert_close(gradient[:, 0, 0], k * torch.cos(k * x), atol=k * (k * BOX / n) ** 4 / 25, rtol=0)
    assert mesh.four_point_gradient(field, BOX / n, 1).abs().max() < 1e-12


def test_forces_are_antisymmetric():
    """Without this a cluster pulls itself along: the force of a mesh on its own mass sums to nothing."""
    positions, velocities = random_particles(2000, spread=1.0), torch.zeros(2000, 3)
    gravity = nbody.Gravity(16, BOX)
    mesh.kick(positions, velocities, gravity.potential(positions), BOX, (1.0, 1.0))
    assert (velocities.double().sum(0).abs() < 2e-6 * velocities.double().abs().sum(0)).all()
    alone = torch.zeros(1, 3)
    mesh.kick(positions[:1], alone, gravity.potential(positions[:1]), BOX, (1.0, 1.0))
    assert alone.abs().max() < 1e-4 * velocities.abs().max() * 2000


def test_wave_numbers_are_those_of_the_real_transform():
    kx, ky, kz = mesh.wave_numbers(6)
    assert kx.flatten().tolist() == ky.flatten().tolist() == [0, 1, 2, -3, -2, -1]
    assert kz.flatten().tolist() == [0, 1, 2, 3]
    assert (kx + ky + kz).shape == torch.fft.rfftn(torch.zeros(6, 6, 6)).shape


def padded(field, high):
    """Interpolate by padding the spectrum with zeros, with the half-cell shift between the two lattices."""
    low = field.shape[-1]
    spectrum = torch.fft.fftn(field.double(), dim=(1, 2, 3), norm="forward")
    for axis in (1, 2, 3):
        n = torch.fft.fftfreq(high, 1 / high, dtype=torch.float64)
        rows = torch.where(n.abs() <= low // 2, n, 0).long() % low
        # the Nyquist mode is half +k and half −k, so that the interpolant is real
        keep = torch.where(n.abs() < low // 2, 1.0, torch.where(n.abs() == low // 2, 0.5, 0.0))
        # from points at (j + 1/2) L / low to (i + 1/2) L / high
        shift = torch.exp(1j * torch.pi * n * (1 / high - 1 / low)) * keep
        shape = [-1 if a == axis else 1 for a in range(4)]
        spectrum = spectrum.index_select(axis, rows) * shift.view(shape)
    return torch.fft.ifftn(spectrum, dim=(1, 2, 3), norm="forward").real.float()


@pytest.mark.parametrize("factor", [2, 4])
def test_upsampling_is_zero_padding(factor):
    field = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mesh.upsample(field, 8 * factor), padded(field, 8 * factor), atol=1e-5, rtol=0)


def test_upsampling_to_the_same_lattice_changes_nothing():
    field = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mesh.upsample(field, 8), field, atol=1e-6, rtol=0)


def test_upsampling_keeps_a_wave_where_it_is():
    def wave(n):
        x = (torch.arange(n) + 0.5) / n
        return torch.sin(2 * torch.pi * (x.view(-1, 1, 1) + 2 * x.view(1, -1, 1) - 3 * x)).unsqueeze(0)

    torch.testing.assert_close(mesh.upsample(wave(8), 32), wave(32), atol=1e-5, rtol=0)


def test_regions_are_slices_of_the_whole():
    field = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = mesh.upsample(field, 32)
    first, count = (-3, 5, 27), 12  # across two of the boundaries
    rows = [torch.arange(f, f + count) % 32 for f in first]
    region = mesh.upsample(field, 32, first, count)
    torch.testing.assert_close(region, whole[:, rows[0]][:, :, rows[1]][..., rows[2]], atol=1e-6, rtol=0)
