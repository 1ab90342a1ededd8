"""The noise function: its distribution, its symmetry, and that nothing but seed and coordinates matters.

Bounds are five standard deviations of each estimate, and all numbers are fixed by the seeds.
"""

import math

import pytest
import torch

from supercosm import noise
from supercosm.mesh import wave_numbers

N = 48
KEY = noise.key_of(1, 0)


def block(first, count):
    axes = torch.meshgrid(*(torch.arange(f, f + c) for f, c in zip(first, count, strict=True)), indexing="ij")
    return tuple(axes)


@pytest.fixture(scope="module")
def cube():
    return noise.gaussian_pair(KEY, block((0, 0, 0), (N, N, N)))


def test_moments_are_those_of_a_standard_normal(cube):
    error = N**-1.5
    for x in cube:
        assert abs(x.mean()) < 5 * error
        assert abs(x.var() - 1) < 5 * error * math.sqrt(2)
        assert abs((x**3).mean()) < 5 * error * math.sqrt(15)
        assert abs((x**4).mean() - 3) < 5 * error * math.sqrt(96)
    assert abs((cube[0].abs() > 3).double().mean() - 0.0026998) < 5 * error * math.sqrt(0.0027)


def test_numbers_are_independent(cube):
    first, second = cube
    others = {
        "partner": second,
        "square of the partner": second**2 - 1,
        "other seed": noise.gaussian_pair(noise.key_of(2, 0), block((0, 0, 0), (N, N, N)))[0],
        "other stream": noise.gaussian_pair(noise.key_of(1, 1), block((0, 0, 0), (N, N, N)))[0],
        "other step": noise.gaussian_pair(noise.key_of(1, 0, 1), block((0, 0, 0), (N, N, N)))[0],
        "neighbour x": first.roll(1, 0),
        "neighbour y": first.roll(1, 1),
        "neighbour z": first.roll(1, 2),
        "mirror image": first.flip(0, 1, 2),
    }
    for name, other in others.items():
        assert abs((first * other).mean()) < 5 * N**-1.5 * math.sqrt(2), name


def test_white_noise_has_a_flat_spectrum(cube):
    power = torch.fft.rfftn(cube[0], norm="ortho").abs() ** 2
    n = torch.sqrt(sum(w.double() ** 2 for w in wave_numbers(N)))
    for low, high in ((0.5, 4), (4, 8), (8, 16), (16, 24)):
        inside = power[(n >= low) & (n < high)]
        assert inside.mean() == pytest.approx(1, abs=5 / math.sqrt(len(inside) / 2))


def test_blocks_have_the_bits_of_the_whole(cube):
    part = noise.gaussian_pair(KEY, block((5, 0, 17), (7, N, 3)))
    for whole, piece in zip(cube, part, strict=True):
        assert torch.equal(whole[5:12, :, 17:20], piece)
    assert noise.white_noise(KEY, block((3, 4, 5), (1, 1, 1))).item() == cube[0][3, 4, 5].float().item()


def test_every_coordinate_has_its_own_hash():
    edge = 1 << 20
    ends = torch.tensor([-edge, -1, 0, 1, edge - 1])
    x = noise.white_noise(KEY, tuple(torch.meshgrid(ends, ends, ends, indexing="ij")))
    assert len(x.unique()) == 125


def test_hash_is_splitmix64():
    """Reference values of splitmix64 started at 0 (Vigna's splitmix64.c)."""
    golden = 0x9E3779B97F4A7C15
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    mask = (1 << 64) - 1
    states = [(i + 1) * golden & mask for i in range(3)]
    assert [noise._splitmix_int(s) for s in states] == expected
    signed = torch.tensor([noise._signed(s) for s in states])
    assert [int(x) & mask for x in noise._splitmix(signed)] == expected


def test_numbers_never_change():
    """A change here changes every simulation and sample: published results could not be made again."""
    got = noise.white_noise(KEY, (torch.arange(4), torch.zeros(1), torch.zeros(1)))
    assert got.tolist() == pytest.approx([1.5798672437, -0.0613254309, -0.2657970190, 1.1965787411], rel=1e-6)


def test_modes_are_hermitian():
    wave = tuple(w - 6 for w in block((0, 0, 0), (13, 13, 13)))
    modes = noise.white_modes(KEY, wave)
    mirrored = noise.white_modes(KEY, tuple(-w for w in wave))
    others = sum(w.abs() for w in wave) > 0
    assert torch.equal(modes[others], mirrored.conj()[others])
    assert abs((modes.abs() ** 2).mean() - 1) < 5 * math.sqrt(2 / 13**3)


def test_modes_do_not_know_the_resolution():
    low, high = (noise.white_modes(KEY, wave_numbers(n)) for n in (8, 16))
    kept = [0, 1, 2, 3, -3, -2, -1]
    assert torch.equal(low[kept][:, kept, :4], high[kept][:, kept, :4])


def test_fixed_modes_keep_the_phase():
    drawn, fixed = (noise.white_modes(KEY, wave_numbers(8), fixed) for fixed in (False, True))
    torch.testing.assert_close(fixed.abs(), torch.ones_like(fixed.abs()))
    torch.testing.assert_close(fixed, drawn / drawn.abs())
