"""Minkowski functionals of bodies whose shape is known, and of Gaussian fields."""

import numpy as np
import pytest
import torch

from supercosm.errors import DataError
from supercosm.statistics.minkowski import gaussian_functionals, minkowski_functionals

CELLS = 24
BOX = 48.0


def measured(body):
    """Return V₀…V₃ times the box of cells (m, m, m) that are one among zeros."""
    field = np.ones(body.shape) + body
    return minkowski_functionals(field / field.mean(), BOX, 0.0, [0.5]).values[:, 0] * BOX**3


def empty():
    return np.zeros((CELLS,) * 3)


def test_block_across_the_boundary():
    """A block has its volume, 2/3 of its area / 6 and 2/3 of its mean width: axes see no more of a box."""
    body = empty()
    body[-3:, :4, 2:8] = 1
    body[:2, :4, 2:8] = 1
    a, b, c = 10.0, 8.0, 12.0  # Mpc/h
    area, edges = 2 * (a * b + b * c + c * a), a + b + c
    assert measured(body) == pytest.approx([a * b * c, area / 9, edges * 2 / 9, 1], rel=1e-6)


def test_ball():
    """V₁ = 2π R²/3 and V₂ = 4R/3: axes see of a ball what all directions do, to half a cell in its diameter of 40."""
    x = np.arange(64) - 31.7
    radius = 20.3
    body = x[:, None, None] ** 2 + x[:, None] ** 2 + x**2 < radius**2
    found = minkowski_functionals((1 + body) / (1 + body).mean(), 64.0, 0.0, [0.5]).values[:, 0] * 64**3
    ball = [4 / 3 * np.pi * radius**3, 2 / 3 * np.pi * radius**2, 4 / 3 * radius, 1]
    assert found == pytest.approx(ball, rel=0.02)


@pytest.mark.parametrize(
    ("shape", "euler"),
    [("two blocks", 2), ("hollow block", 2), ("ring", 0), ("slab", 0), ("column", 0), ("two rings", -1)],
)
def test_euler_characteristic(shape, euler):
    body = empty()
    if shape == "two blocks":
        body[2:5, 2:5, 2:5] = body[9:11, 2:5, 2:5] = 1
    elif shape == "hollow block":
        body[2:9, 2:9, 2:9] = 1
        body[5, 5, 5] = 0
    elif shape == "ring":
        body[2:9, 2:9, 3:5] = 1
        body[4:7, 4:7] = 0
    elif shape == "slab":
        body[3:7] = 1
    elif shape == "column":
        body[3:7, 2:5] = 1
    else:
        body[2:9, 2:15, 3:5] = 1
        body[4:7, 4:7] = body[4:7, 9:12] = 0
    assert measured(body)[3] == pytest.approx(euler, abs=1e-9)


def test_complement_has_opposite_curvature():
    """Turning the field round leaves area and Euler characteristic and turns the sign of the mean curvature."""
    field = torch.rand((CELLS,) * 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5
    field /= field.mean()
    inside = minkowski_functionals(field, BOX, 3.0, [0.3]).values[:, 0]
    outside = minkowski_functionals(2 - field, BOX, 3.0, [-0.3]).values[:, 0]
    assert outside == pytest.approx([1 - inside[0], inside[1], -inside[2], inside[3]], rel=1e-4)


def test_gaussian_field():
    """White noise smoothed over two cells, 8 fields of mesh 96: within 2 % of each functional's largest value.

    The error of the lattice is 1 %; the scatter of the mean is measured and must leave room for that.
    """
    nu = np.linspace(-2.5, 2.5, 11)
    found, expected = [], []
    for seed in range(8):
        field = torch.randn((96,) * 3, generator=torch.Generator().manual_seed(seed))
        one = minkowski_functionals(1 + field - field.mean(), BOX, 2 * BOX / 96, nu)
        found.append(one.values)
        expected.append(one.gaussian)
    scale = np.abs(expected[0]).max(1, keepdims=True)
    scatter = np.std(np.subtract(found, expected), axis=0) / np.sqrt(8) / scale
    difference = np.abs(np.mean(found, 0) - np.mean(expected, 0)) / scale
    assert scatter.max() < 0.02
    assert np.all(difference < 0.02 + 3 * scatter)


def test_gaussian_functionals_are_consistent():
    """V₀ falls by 1/√2π at the mean, V₁ and V₃ are even and V₂ is odd in ν; V₃ changes sign at |ν| = 1."""
    nu = np.array([-1.5, -1, -1e-3, 1e-3, 1, 1.5])
    found = gaussian_functionals(nu, 2.0, 0.5)
    assert (found[0, 2] - found[0, 3]) / 2e-3 == pytest.approx(1 / np.sqrt(2 * np.pi), rel=1e-5)
    assert np.allclose(found[[1, 3]], found[[1, 3], ::-1])
    assert np.allclose(found[2], -found[2, ::-1])
    assert np.allclose(found[3, [1, 4]], 0)


def test_mesh_without_structure_fills_its_box():
    with np.errstate(all="raise"):
        found = minkowski_functionals(np.ones((8, 8, 8)), BOX, 5.0, [-1, 0, 1])
        assert np.array_equal(found.values, [[1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
        assert np.isnan(found.gaussian[1:]).all()


@pytest.mark.parametrize(
    ("field", "radius", "thresholds", "message"),
    [
        (np.ones((8, 8, 4)), 5.0, [0, 1], "cubic mesh"),
        (np.full((8, 8, 8), np.nan), 5.0, [0, 1], "not finite"),
        (np.ones((8, 8, 8)), -1.0, [0, 1], "half the box"),
        (np.ones((8, 8, 8)), 5.0, [1, 0], "increasing"),
    ],
)
def test_impossible_input_is_refused(field, radius, thresholds, message):
    with pytest.raises(DataError, match=message):
        minkowski_functionals(field, BOX, radius, thresholds)
