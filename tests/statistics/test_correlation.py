"""ξ(r) against pair counts, plane waves and Poisson points."""

import functools
import itertools

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from supercosm.errors import DataError
from supercosm.statistics.assignment import Assignment
from supercosm.statistics.correlation import correlation_function, particle_correlation
from supercosm.statistics.power import transform

BOX = 100.0
EDGES = np.array([2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30.0])


def clusters(count: int = 40_000, seeds: int = 3000, width: float = 2.0) -> np.ndarray:
    """Gaussian clumps around Poisson centres: ξ is that of their profile, exp(−r²/4σ²) with σ = `width` [Mpc/h]."""
    generator = np.random.default_rng(0)
    centres = BOX * generator.random((seeds, 3))
    points = centres[generator.integers(0, seeds, count)] + width * generator.normal(size=(count, 3))
    points = (points % BOX).astype(np.float32)
    points[points >= BOX] = 0
    return points


@functools.cache
def pair_excess() -> tuple[np.ndarray, np.ndarray]:
    """Count the pairs of the clusters by brute force: DD/RR − 1 and its Poisson error."""
    points = clusters()
    tree = cKDTree(points.astype(float), boxsize=BOX)
    pairs = np.diff(tree.count_neighbors(tree, EDGES))
    random = len(points) * (len(points) - 1) * 4 / 3 * np.pi * np.diff(EDGES**3) / BOX**3
    return pairs / random - 1, np.sqrt(2 / random)


@pytest.mark.parametrize(("cells", "percent"), [(32, 1.5), (64, 1.0)])
def test_correlation_is_the_excess_of_pairs(cells, percent):
    """Cells of 3.1 and 1.6 Mpc/h, bins from 2 Mpc/h on.

    The mesh lacks modes beyond its Nyquist frequency, and with them the part of the pairs' own noise that is
    finer than a cell: three of its standard errors are allowed on top.
    """
    expected, noise = pair_excess()
    found = particle_correlation(clusters(), BOX, Assignment(cells, "pcs", True), EDGES)
    assert np.all(np.abs(found.xi - expected) < percent / 100 * np.abs(expected) + 3 * noise)


def test_correlation_of_clumps_is_that_of_their_profile():
    """ξ = V/N_c exp(−r²/4σ²)/(4πσ²)^{3/2}, to 5 % as 3000 clumps with 13 particles each scatter."""
    found = particle_correlation(clusters(), BOX, Assignment(64, "tsc", True), EDGES[:5])
    expected = BOX**3 / 3000 * np.exp(-(found.r**2) / 16) / (16 * np.pi) ** 1.5
    assert found.xi == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("assignment", [Assignment(32), Assignment(32, "pcs", True), Assignment(31, "tsc", True)])
def test_poisson_points_are_uncorrelated(assignment):
    """Even below a cell: self-pairs are gone. 4 standard errors of N²/2 V_bin/V pairs."""
    points = (BOX * np.random.default_rng(5).random((30_000, 3))).astype(np.float32)
    edges = np.array([0, 4, 8, 12, 16, 20, 30.0])
    found = particle_correlation(points, BOX, assignment, edges)
    pairs = 30_000**2 / 2 * 4 / 3 * np.pi * np.diff(edges**3) / BOX**3
    assert np.all(np.abs(found.xi) < 4 / np.sqrt(pairs))


def test_plane_wave_is_a_spherical_wave():
    """δ = A cos(k x) has ξ = A²/2 sin(kr)/kr after averaging over directions; here averaged over the bin too."""
    cells, amplitude, waves = 32, 0.3, 4
    x = torch.arange(cells) / cells
    wave = (amplitude * torch.cos(2 * np.pi * waves * x)).expand(1, cells, cells, cells)
    edges = np.array([0.0, 5, 12, 13, 50])
    found = correlation_function(transform(wave, 3, cells // 2), BOX, edges, cells)
    k = 2 * np.pi * waves / BOX
    for low, high, xi in zip(edges[:-1], edges[1:], found.xi, strict=True):
        r = low + (high - low) * (np.arange(20_000) + 0.5) / 20_000
        expected = np.sum(r**2 * amplitude**2 / 2 * np.sinc(k * r / np.pi)) / np.sum(r**2)
        assert xi == pytest.approx(expected, abs=1e-7)


def test_average_over_all_separations_agrees_with_the_inverse_fft():
    """ξ at the separations of cell centres, by the FFT, binned: what is left at 2 % is the lattice's choice of r."""
    cells = 96
    field = torch.randn((1, cells, cells, cells), generator=torch.Generator().manual_seed(2))
    modes = transform(field, 3, cells // 2)
    n = np.fft.fftfreq(cells, 1 / cells)
    square = n[:, None, None] ** 2 + n[:, None] ** 2 + np.arange(cells // 2 + 1) ** 2
    modes *= torch.as_tensor(np.exp(-square / 50), dtype=torch.float32)  # smooth on 8 cells
    xi = torch.fft.irfftn((modes[0].abs() ** 2).to(torch.complex64), s=(cells,) * 3, norm="forward").numpy()
    r = np.sqrt(n[:, None, None] ** 2 + n[:, None] ** 2 + n**2) * BOX / cells
    edges = np.array([8, 12, 16, 20, 24.0])
    binned = [xi[(r >= a) & (r < b)].mean() for a, b in itertools.pairwise(edges)]
    found = correlation_function(modes, BOX, edges, cells)
    assert np.abs(found.xi - binned).max() < 0.02 * np.abs(binned).max()


def test_impossible_separations_are_refused():
    modes = torch.ones((1, 8, 8, 5), dtype=torch.complex64)
    with pytest.raises(DataError, match="half the box of 100 Mpc/h"):
        correlation_function(modes, BOX, np.array([1.0, 51]), 8)
    with pytest.raises(DataError, match="increasing numbers"):
        correlation_function(modes, BOX, np.array([3.0, 3]), 8)
