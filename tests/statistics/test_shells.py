"""The pass over the modes: exact counts, the same sums in numba and torch, the same bits on any number of threads."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from supercosm.errors import DataError
from supercosm.statistics import shells as module
from supercosm.statistics.shells import counts, products, shells


def modes(shape, seed):
    return torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("shape", "cells"), [((16, 16, 9), 16), ((15, 15, 8), 15), ((11, 11, 6), 16), ((16, 9), 16)])
def test_counts_are_those_of_every_lattice_vector(shape, cells):
    """Edges on whole numbers, where |n| of e.g. (3, 4, 0) must fall exactly on the border."""
    edges = np.array([0.0, 1.0, 2.5, 5.0, 7.0])
    keep = (shape[0] - 1) // 2 if shape[0] % 2 else shape[0] // 2 - 1
    axis = np.arange(-keep, keep + 1)
    if shape[0] % 2 == 0:
        axis = np.append(axis, shape[0] // 2)
    n = np.sqrt(sum(a**2 for a in np.meshgrid(*[axis] * len(shape))))
    expected = np.array([np.count_nonzero((n >= a) & (n < b)) for a, b in itertools.pairwise(edges)])
    sums = np.array([n[(n >= a) & (n < b)].sum() for a, b in itertools.pairwise(edges)])
    found = counts(shells(shape, edges, cells))
    assert np.array_equal(found[0], expected)
    assert found[1] == pytest.approx(sums, rel=1e-12)


def test_borders_are_exact_where_squares_of_edges_round():
    edges = np.sqrt(np.arange(1, 400, dtype=float))
    assert np.array_equal(shells((64, 64, 33), edges, 64).starts, np.arange(1, 400))


@pytest.mark.parametrize("window", [None, np.linspace(1, 3, 17)])
def test_torch_and_numba_agree(window, monkeypatch):
    """The torch path, which a GPU takes, in many chunks: both sum in float64, in another order."""
    monkeypatch.setattr(module, "CHUNK", 3000)
    a, b = modes((2, 32, 32, 17), 1), modes((2, 32, 32, 17), 2)
    lattice = shells(a.shape[1:], np.array([0.5, 1.5, 4, 9.2, 20]), 32)
    weights = [np.ones(32), np.ones(32), lattice.multiplicity]
    if window is not None:
        weights = [w * window[np.abs(n)] for w, n in zip(weights, (lattice.x, lattice.y, np.arange(17)), strict=True)]
    assert np.allclose(products(a, b, lattice, window), module._products_torch(a, b, lattice, weights), rtol=2e-7)


PRINT_HASHES = """
import hashlib, numpy as np, torch
from supercosm.statistics.assignment import Assignment, paint
from supercosm.statistics.correlation import correlation_function
from supercosm.statistics.multipoles import multipoles
from supercosm.statistics.power import power
points = 50 * torch.rand((5000, 3), generator=torch.Generator().manual_seed(1))
modes = torch.randn((2, 32, 32, 17), dtype=torch.complex64, generator=torch.Generator().manual_seed(2))
edges = np.arange(1, 16.0)
results = [paint(points, 50.0, Assignment(32, "tsc"), 0.5).numpy(), power(*modes[:, None], 50.0, edges, 32).cross]
results += [multipoles(modes[:1], 50.0, edges, 32, 0).hexadecapole, correlation_function(modes[:1], 50.0, edges, 32).xi]
print(*[hashlib.sha256(r.tobytes()).hexdigest() for r in results])
"""


def test_same_bits_on_one_and_two_threads():
    """Everything but the FFT, which is torch's."""
    run = [
        subprocess.run(
            [sys.executable, "-c", PRINT_HASHES],
            env={**os.environ, "NUMBA_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    ]
    assert run[0] == run[1]
    assert len(run[0].split()) == 4


@pytest.mark.parametrize("edges", [[1.0], [2.0, 1.0], [-1.0, 2.0], [1.0, np.nan]])
def test_impossible_edges_are_refused(edges):
    with pytest.raises(DataError, match="increasing numbers from 0 on"):
        shells((8, 8, 5), np.array(edges), 8)
