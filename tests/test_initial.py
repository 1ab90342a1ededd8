"""Initial conditions: nested modes, the right spectrum, perturbation theory with known answers."""

import math

import numpy as np
import pytest
import torch

from supercosm.config import Cosmology
from supercosm.cosmology import power_at
from supercosm.initial import (
    SAMPLE,
    Phases,
    displacement_modes,
    linear_displacement,
    linear_modes,
    second_order_displacement,
    selected,
)
from supercosm.mesh import upsample, wave_numbers

PLANCK = Cosmology()
BOX = 100.0


def angles(n):
    """2π x / L at the lattice points, for broadcasting: three float64 tensors."""
    x = (torch.arange(n, dtype=torch.float64) + 0.5) * (2 * math.pi / n)
    return x.view(n, 1, 1), x.view(1, n, 1), x.view(1, 1, n)


def divergence(field):
    """Spectral divergence of a displacement (3, n, n, n) in BOX, Nyquist modes left out."""
    n = field.shape[-1]
    waves = wave_numbers(n)
    modes = sum(1j * w * torch.fft.rfftn(f) for w, f in zip(waves, field, strict=True))
    modes[~selected(waves, n, None)] = 0
    return torch.fft.irfftn(modes * (2 * math.pi / BOX), s=(n, n, n))


def test_modes_have_the_linear_power():
    """Fixed modes have exactly sqrt(P/V); Gaussian ones on average, to five standard deviations."""
    wave = wave_numbers(32)
    k = torch.sqrt(sum(w.double() ** 2 for w in wave)) * (2 * math.pi / BOX)
    expected = torch.as_tensor(power_at(PLANCK, k.numpy())) / BOX**3
    fixed = linear_modes(Phases(1, fixed=True), PLANCK, BOX, wave)
    np.testing.assert_allclose(fixed.abs().double() ** 2, expected, rtol=1e-6)
    drawn = linear_modes(Phases(1), PLANCK, BOX, wave).abs().double() ** 2
    ratio = (drawn / expected)[k > 0]
    assert ratio.mean().item() == pytest.approx(1, abs=5 / math.sqrt(len(ratio) / 2))


def test_displacement_is_minus_the_gradient_of_the_inverse_laplacian():
    """−∇·ψ is the linear overdensity, ψ has no curl, and no mean."""
    n, phases = 16, Phases(3)
    wave = wave_numbers(n)
    psi = linear_displacement(phases, PLANCK, BOX, n)
    centred = torch.polar(torch.ones(n, n, n // 2 + 1).double(), sum(wave).double() * math.pi / n)
    delta = linear_modes(phases, PLANCK, BOX, wave) * selected(wave, n, None) * centred
    expected = torch.fft.irfftn(delta, s=(n, n, n), norm="forward").float()
    torch.testing.assert_close(-divergence(psi), expected, atol=1e-5 * expected.std().item(), rtol=0)
    x, y = (torch.fft.rfftn(psi[i]) for i in (0, 1))
    assert (wave[1] * x - wave[0] * y).abs().max() < 1e-5 * (wave[0] * x).abs().max()
    assert psi.mean(dim=(1, 2, 3)).abs().max() < 1e-6 * psi.std()


def test_low_and_high_share_every_mode_the_low_lattice_holds():
    """The up-sampled low displacement plus the modes beyond its Nyquist frequency is the high one."""
    low, high = 8, 32
    phases = Phases(5)
    coarse = linear_displacement(phases, PLANCK, BOX, low)
    beyond = linear_displacement(phases, PLANCK, BOX, high, beyond=low)
    fine = linear_displacement(phases, PLANCK, BOX, high)
    torch.testing.assert_close(upsample(coarse, high) + beyond, fine, atol=1e-5 * fine.std().item(), rtol=0)


def test_selected_modes_are_a_partition_without_nyquist_planes():
    wave = wave_numbers(16)
    all_modes, beyond = selected(wave, 16, None), selected(wave, 16, 8)
    largest = torch.stack(torch.broadcast_tensors(*(w.abs() for w in wave))).amax(0)
    assert torch.equal(all_modes, largest < 8)
    assert torch.equal(all_modes & ~beyond, largest < 4)


def test_parts_of_the_spectrum_have_the_bits_of_the_whole():
    """The amplitude table must not depend on which wave vectors are asked for together."""
    kx, ky, kz = wave_numbers(16)
    whole = list(displacement_modes(Phases(1), PLANCK, BOX, 16, (kx, ky, kz)))
    part = list(displacement_modes(Phases(1), PLANCK, BOX, 16, (kx, ky[:, 3:6], kz)))
    assert all(torch.equal(w[:, 3:6], p) for w, p in zip(whole, part, strict=True))


def test_samples_never_repeat_the_simulation_of_their_seed():
    wave = wave_numbers(16)
    a, b = (linear_modes(Phases(1, stream), PLANCK, BOX, wave).flatten()[1:] for stream in (0, SAMPLE))
    correlation = (a * b.conj()).real.sum() / torch.sqrt((a.abs() ** 2).sum() * (b.abs() ** 2).sum())
    assert correlation.abs() < 0.15  # a few long modes dominate: about 5 / sqrt(1000)


def test_plane_wave_has_no_second_order():
    n = 16
    x = angles(n)[0].expand(n, n, n)
    first = torch.stack([torch.sin(x), torch.zeros_like(x), torch.zeros_like(x)]).float()
    assert second_order_displacement(first, BOX).abs().max() < 1e-6


def test_two_crossed_waves_have_the_known_second_order():
    """ψ₁ = A (sin kx, sin ky, 0) gives ψ₂ = A² k/2 (sin kx cos ky, cos kx sin ky, 0)."""
    n, A, k = 16, 3.0, 2 * math.pi / BOX
    x, y, _ = (axis.expand(n, n, n) for axis in angles(n))
    zero = torch.zeros_like(x)
    first = A * torch.stack([torch.sin(x), torch.sin(y), zero])
    expected = A**2 * k / 2 * torch.stack([torch.sin(x) * torch.cos(y), torch.cos(x) * torch.sin(y), zero])
    got = second_order_displacement(first.float(), BOX)
    torch.testing.assert_close(got, expected.float(), atol=1e-6 * A**2 * k, rtol=0)


def test_oblique_wave_has_no_second_order():
    """The same plane wave along a diagonal: here the off-diagonal terms must cancel the diagonal ones."""
    n = 16
    x, y, z = (axis.expand(n, n, n) for axis in angles(n))
    wave = torch.sin(x + y - 2 * z)
    first = torch.stack([wave, wave, -2 * wave]).float()
    assert second_order_displacement(first, BOX).abs().max() < 1e-6 * 6 * 2 * math.pi


def test_second_order_of_a_real_field_against_its_definition():
    """∇·ψ₂ from finite differences of a field far below the Nyquist frequency: good to (k cell)²/6."""
    n = 48
    first = upsample(linear_displacement(Phases(2), PLANCK, BOX, 4), n)
    cell = BOX / n
    slope = [[(f.roll(-1, j) - f.roll(1, j)) / (2 * cell) for j in range(3)] for f in first]
    source = sum(slope[i][i] * slope[j][j] - slope[i][j] * slope[j][i] for i, j in ((0, 1), (0, 2), (1, 2)))
    got = divergence(second_order_displacement(first, BOX))
    assert (got - source).std() < 0.03 * source.std()
