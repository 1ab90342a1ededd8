"""P(k) of particles against Pylians, Poisson noise and finer meshes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from supercosm.errors import DataError
from supercosm.mesh import paint as paint_cic
from supercosm.statistics import assignment as module
from supercosm.statistics.assignment import ORDERS, Assignment, density_modes, paint
from supercosm.statistics.particles import particle_power, safe_limit
from supercosm.tables import read_table

BOX = 100.0
PYLIANS = Path(__file__).parents[1] / "data" / "pylians_power.ecsv"


def particles() -> np.ndarray:
    """Twenty thousand points of a web of sheets: clustered, anisotropic, the same everywhere."""
    q = 100 * np.random.default_rng(0).random((20_000, 3))
    wave = 2 * np.pi / 100 * np.array([2, 3, 1])
    x = q + np.array([6.0, 4.0, 9.0]) * np.sin(q[:, [1, 2, 2]] * wave + q[:, [2, 0, 0]] * wave[::-1])
    x = (x % 100).astype(np.float32)
    x[x >= 100] = 0
    return x


def poisson(count: int, seed: int = 1) -> np.ndarray:
    return (BOX * np.random.default_rng(seed).random((count, 3))).astype(np.float32)


@pytest.mark.parametrize("scheme", ORDERS)
def test_power_is_that_of_pylians(scheme):
    """Same scheme, mesh and shells, up to its Nyquist frequency; both work in float32: they agree to 5e-7.

    Pylians' cells are centred on i h, ours on (i + 1/2) h: particles half a cell on see the same mesh.
    """
    table = read_table(PYLIANS)
    points = np.mod(particles() + np.float32(BOX / 64), np.float32(BOX))
    found = particle_power(points, BOX, Assignment(32, scheme), edges=np.arange(1.0, 17.0))
    assert np.array_equal(found.modes // 2, table["modes"])
    assert found.k == pytest.approx(np.asarray(table["k"]), rel=1e-6)
    assert found.power == pytest.approx(np.asarray(table[f"P0_{scheme}_2"]), rel=1e-5)


def test_interlacing_finds_the_power_that_a_fine_mesh_finds():
    """Against Pylians on four times the cells: 0.1 % up to the Nyquist frequency; else 10 % at its end."""
    fine = np.asarray(read_table(PYLIANS)["P0_pcs_fine"])
    edges = np.arange(1.0, 17.0)
    interlaced = particle_power(particles(), BOX, Assignment(32, "pcs", True), edges).power
    assert interlaced == pytest.approx(fine, rel=1e-3)
    triangle = particle_power(particles(), BOX, Assignment(32, "tsc", True), edges).power
    assert triangle == pytest.approx(fine, rel=2e-3)
    plain = particle_power(particles(), BOX, Assignment(32, "pcs"), edges).power
    assert np.abs(plain / fine - 1)[-1] > 0.05


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("scheme", ORDERS)
def test_poisson_particles_show_the_expected_shot_noise_up_to_nyquist(scheme, interlaced):
    """Aliases and window included: nearest-cell noise alone is 2.2 times V/N at the end. 4 standard errors."""
    found = particle_power(poisson(60_000), BOX, Assignment(64, scheme, interlaced), np.arange(2, 33, 3.0))
    assert np.all(np.abs(found.clustering / found.shot_noise) < 4 * np.sqrt(2 / found.modes))
    assert found.shot_noise[0] == pytest.approx(BOX**3 / 60_000, rel=0.015)


def test_default_bins_end_where_mesh_or_particles_do():
    assert safe_limit(Assignment(128), 10**9) == pytest.approx(32, abs=1.5)  # cloud in cell: half the Nyquist frequency
    assert safe_limit(Assignment(128, "pcs", True), 10**9) == 64
    assert safe_limit(Assignment(128, "pcs", True), 32**3) == pytest.approx(16)
    found = particle_power(poisson(32**3), BOX, Assignment(64))
    assert found.k[-1] < np.pi * 32 / BOX
    assert found.modes.min() >= 6


@pytest.mark.parametrize("scheme", ORDERS)
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_paint_keeps_mass_and_agrees_with_torch(scheme, shift):
    points = torch.from_numpy(particles())
    mesh = paint(points, BOX, Assignment(16, scheme), shift)
    assert float(mesh.double().mean()) == pytest.approx(1, abs=1e-6)
    other = module._paint_torch(points.double(), BOX, Assignment(16, scheme), shift) * 16**3 / len(points)
    assert torch.allclose(mesh.double(), other, atol=2e-5)
    if scheme == "cic" and shift == 0:
        assert torch.allclose(mesh, paint_cic(points, BOX, 16), atol=1e-5)


def test_a_particle_is_shared_as_its_scheme_says():
    """At a cell's centre: alone, alone, 1/8 3/4 1/8, 1/6 2/3 1/6."""
    points = torch.full((2, 3), 4.5)
    for scheme, shares in {
        "ngp": [0, 1, 0],
        "cic": [0, 1, 0],
        "tsc": [1 / 8, 3 / 4, 1 / 8],
        "pcs": [1 / 6, 2 / 3, 1 / 6],
    }.items():
        line = paint(points, 8.0, Assignment(8, scheme)).sum((1, 2)) / 8**3
        assert line[3:6].tolist() == pytest.approx(shares, abs=1e-6)


def test_coincident_particles_have_the_power_of_one():
    """All particles in one place: |δ_k|² = 1, so P = V at every k."""
    found = particle_power(np.full((10, 3), 31.3, np.float32), BOX, Assignment(32, "pcs", True), np.arange(1.0, 9.0))
    assert found.power == pytest.approx(np.full(7, BOX**3), rel=1e-3)


@pytest.mark.parametrize(
    ("positions", "sentence"),
    [
        (np.zeros((0, 3), np.float32), "there are 0 particles"),
        (np.ones((1, 3), np.float32), "there are 1 particles"),
        (np.ones((5, 2), np.float32), r"shape \(particles, 3\), not \(5, 2\)"),
        (np.array([[1, 2, 3], [1, np.nan, 3]], np.float32), "1 of 2 positions are NaN"),
        (np.array([[1, 2, 3], [1, 2, 130]], np.float32), "from 1 to 130 Mpc/h in a box of 100"),
        (np.array([[1, 2, 3], [1, -2, 3]], np.float32), "from -2 to 3 Mpc/h"),
    ],
)
def test_particles_that_cannot_be_measured(positions, sentence):
    with pytest.raises(DataError, match=sentence):
        density_modes(positions, BOX, Assignment(8))


def test_impossible_settings():
    with pytest.raises(DataError, match="no mass assignment 'cubic'"):
        Assignment(32, "cubic")
    with pytest.raises(DataError, match="mesh of 2 cells"):
        Assignment(2)
    with pytest.raises(DataError, match="beyond the Nyquist frequency 16"):
        particle_power(poisson(100), BOX, Assignment(32), np.array([1.0, 17.0]))
    with pytest.raises(DataError, match="2 particles on a mesh of 32"):
        particle_power(poisson(2), BOX, Assignment(32))
