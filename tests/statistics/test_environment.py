"""The tidal classification against numpy's eigenvalues, a plane wave, a ball and a Gaussian field."""

import numba
import numpy as np
import pytest
import torch

from supercosm.errors import DataError
from supercosm.statistics.environment import classify, tidal_eigenvalues, tidal_tensor, web_fractions
from supercosm.statistics.onepoint import smoothed

BOX = 50.0


def rough(cells=24, seed=0):
    field = torch.rand((cells,) * 3, generator=torch.Generator().manual_seed(seed)) ** 3
    return field / field.mean()


def test_eigenvalues_are_those_of_numpy():
    field = rough()
    xx, yy, zz, xy, xz, yz = tidal_tensor(field, BOX, 3.0).double().numpy()
    matrices = np.stack([np.stack(row, -1) for row in ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))], -2)
    expected = np.moveaxis(np.linalg.eigvalsh(matrices)[..., ::-1], -1, 0)
    found = tidal_eigenvalues(field, BOX, 3.0)
    assert np.allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_trace_is_the_smoothed_overdensity():
    field = rough()
    (delta,) = smoothed(field, BOX, [3.0], "gaussian")
    assert np.allclose(tidal_eigenvalues(field, BOX, 3.0).sum(0), delta, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_plane_wave_is_sheet_and_void(axis):
    """T has one eigenvalue, δ, along the wave: cells above the threshold are sheets and all others voids."""
    x = torch.arange(32) / 32
    wave = torch.movedim((0.5 * torch.cos(2 * np.pi * x)).expand(32, 32, 32), 2, axis)
    found = classify(1 + wave, BOX, 0.0, 0.1)
    assert np.array_equal(found, (wave > 0.1).numpy().astype(np.uint8))


def test_oblique_wave_keeps_its_direction():
    """The eigenvalues of a wave along (1, 2, −2) are δ, 0, 0 after ordering, whatever its direction."""
    x = torch.arange(32, dtype=torch.float64) / 32
    wave = 0.5 * torch.cos(2 * np.pi * (x[:, None, None] + 2 * x[:, None] - 2 * x))
    found = tidal_eigenvalues(1 + wave, BOX, 0.0)
    assert np.allclose(found[0], wave.clamp(min=0), atol=2e-6)
    assert np.allclose(found[1], 0, atol=2e-6)


def test_ball_is_a_knot_in_a_void():
    """Inside a uniform ball the tide is isotropic, δ/3 along each axis; far outside no axis collapses twice."""
    x = torch.arange(32) - 16.0
    square = x[:, None, None] ** 2 + x[:, None] ** 2 + x**2
    field = 1 + 20.0 * torch.exp(-square / 32)
    field /= field.mean()
    values = tidal_eigenvalues(field, BOX, 0.0)
    assert values[:, 16, 16, 16] == pytest.approx([float(field[16, 16, 16] - 1) / 3] * 3, rel=1e-4)
    found = classify(field, BOX, 0.0, 0.2)
    assert found[16, 16, 16] == 3
    assert np.all(found[square.numpy() < 9] == 3)
    assert found[0, 0, 0] == 0


def test_gaussian_field_has_the_shares_of_doroshkevich():
    """Without a threshold 8 % of a Gaussian field are knots, as many voids, 42 % filaments and sheets each.

    (Doroshkevich 1970: 8 % and 42 %). Some 2000 independent volumes leave 0.6 and 1.1 %; 4 errors are allowed.
    """
    shares = []
    for seed in range(4):
        field = torch.randn((48,) * 3, generator=torch.Generator().manual_seed(seed))
        density = 1 + field - field.mean()
        shares.append(web_fractions(classify(density, BOX, 2 * BOX / 48, 0.0), density).volume)
    assert np.mean(shares, 0) == pytest.approx([0.08, 0.42, 0.42, 0.08], abs=0.02)


def test_fractions_weigh_volume_and_mass():
    field = np.ones((4, 4, 4))
    field[0], field[1] = 3.0, 0.0
    classes = np.zeros((4, 4, 4), np.uint8)
    classes[0], classes[3] = 3, 1
    found = web_fractions(classes, field / field.mean())
    assert np.allclose(found.volume, [0.5, 0.25, 0, 0.25])
    assert np.allclose(found.mass, [0.2, 0.2, 0, 0.6])
    with pytest.raises(DataError, match="do not belong"):
        web_fractions(classes[:2], field)


def test_threshold_empties_the_knots():
    field = rough()
    shares = [web_fractions(classify(field, BOX, 2.0, threshold), field).volume for threshold in (0.0, 0.1, 0.3)]
    assert shares[0][3] > shares[1][3] > shares[2][3]
    assert shares[0][0] < shares[1][0] < shares[2][0]


def test_same_bits_on_any_number_of_threads():
    field = rough(32)
    before = numba.get_num_threads(), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            torch.set_num_threads(threads)
            found.append(tidal_eigenvalues(field, BOX, 2.0))
    finally:
        numba.set_num_threads(before[0])
        torch.set_num_threads(before[1])
    assert np.array_equal(*found)


def test_mesh_without_structure_is_void():
    assert not classify(np.ones((8, 8, 8)), BOX, 5.0, 0.0).any()


@pytest.mark.parametrize(
    ("field", "radius", "message"),
    [
        (np.ones((8, 8, 4)), 5.0, "cubic mesh"),
        (np.full((8, 8, 8), np.nan), 5.0, "not finite"),
        (np.ones((8, 8, 8)), 30.0, "half the box"),
    ],
)
def test_impossible_input_is_refused(field, radius, message):
    with pytest.raises(DataError, match=message):
        classify(field, BOX, radius, 0.2)
