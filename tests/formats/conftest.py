"""One small real run, which other codes' formats are written from."""

import numpy as np
import pytest

from supercosm.errors import DataError
from supercosm.snapshot import read_snapshot


@pytest.fixture(scope="session")
def truth(tiny_simulations):
    """Low-resolution snapshot at a = 0.5, so that no power of a is lost: 16³ particles in 50 Mpc/h."""
    return read_snapshot(tiny_simulations[3] / "low_a0.5000.hdf5")


@pytest.fixture(scope="session")
def same(truth):
    """Return a check: a snapshot is the truth, to the rounding of float32 (or of a float64 file, where it is less)."""

    def check(found, moved=0.0):
        assert found.side == 16
        assert found.fault == ""
        expected = (truth.positions + np.float64(moved)) % truth.box_size
        apart = found.positions - expected
        apart -= truth.box_size * np.round(apart / truth.box_size)
        np.testing.assert_allclose(apart, 0, atol=1.5e-5)  # float32 at 50 Mpc/h: 4e-6 each way
        np.testing.assert_allclose(found.velocities, truth.velocities, rtol=1e-6, atol=1e-4)
        np.testing.assert_array_equal(found.ids, truth.ids)
        assert found.box_size == pytest.approx(truth.box_size, rel=1e-6)
        assert found.scale_factor == pytest.approx(0.5, rel=1e-6)
        for name in ("Omega_m", "h"):
            assert getattr(found.cosmology, name) == pytest.approx(getattr(truth.cosmology, name), rel=1e-6)

    return check


@pytest.fixture(scope="session")
def refuse():
    """Return a check: reading a path ends with one sentence that matches."""

    def check(path, match, **options):
        with pytest.raises(DataError, match=match) as caught:
            read_snapshot(path, **options)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600

    return check
