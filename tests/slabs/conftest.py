"""A clustered box whose largest halo lies on a corner, and what is measured of it whole."""

import numpy as np
import pytest

from supercosm.config import Statistics
from supercosm.snapshot import Snapshot, read_snapshot, write_snapshot
from supercosm.statistics.haloes import find_haloes


@pytest.fixture(scope="session")
def cornered(tiny_simulations, tmp_path_factory):
    """32³ particles in 50 Mpc/h, displaced so that the largest halo is cut by three faces: the file."""
    found = read_snapshot(tiny_simulations[3] / "high.hdf5")
    box = np.float32(found.box_size)
    positions = (found.positions - find_haloes(found).centres[0].astype(np.float32)) % box
    positions[positions >= box] = 0
    path = tmp_path_factory.mktemp("cornered") / "high.hdf5"
    write_snapshot(path, Snapshot(**{**vars(found), "positions": positions}))
    return path


@pytest.fixture(scope="session")
def lower(tiny_simulations):
    """16³ particles in 50 Mpc/h."""
    return read_snapshot(tiny_simulations[3] / "low.hdf5")


@pytest.fixture(scope="session")
def settings():
    """Settings with few bins."""
    return Statistics(bins=8, smoothing=[2.0, 5.0])
