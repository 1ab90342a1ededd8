"""Density fields: mass, projections, files."""

import numpy as np
import pytest

from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.fields import (
    FLOOR,
    DensityField,
    density_of,
    from_log_density,
    log_density,
    read_density,
    slabs_of,
    write_density,
)


def field(data, dimensions=3):
    return DensityField(np.asarray(data, np.float32), 50.0, 0.5, Cosmology(Omega_m=0.3), dimensions, {"stage": "test"})


def test_slabs_are_means_along_their_axis():
    data = np.random.default_rng(1).random((8, 8, 8), np.float32)
    slabs = slabs_of(data, 4)
    assert slabs.shape == (4, 8, 8)
    np.testing.assert_allclose(slabs[1], data[:, :, 2:4].mean(axis=2), rtol=1e-6)
    np.testing.assert_allclose(slabs_of(data, 2, axis=0)[1], data[4:].mean(axis=0), rtol=1e-6)
    assert slabs.mean() == pytest.approx(data.mean(), rel=1e-6)


def test_slabs_must_divide_the_cells():
    with pytest.raises(DataError, match="3 slabs do not divide 8 cells"):
        slabs_of(np.ones((8, 8, 8), np.float32), 3)


def test_density_of_a_snapshot_has_mean_one(low):
    box, slabs = density_of(low, 16), density_of(low, 16, slabs=4)
    assert box.data.shape == (16, 16, 16)
    assert slabs.data.shape == (4, 16, 16)
    assert slabs.thickness == pytest.approx(50.0 / 4)
    assert box.data.mean() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(slabs.data, slabs_of(box.data, 4))


def test_log_density_can_be_undone_and_never_gives_negative_mass():
    density = np.array([0.0, 1e-3, 1.0, 500.0], np.float32)
    np.testing.assert_allclose(from_log_density(log_density(density)), density, rtol=1e-5, atol=1e-7)
    assert from_log_density(np.float32(np.log(FLOOR) - 3)) == 0


@pytest.mark.parametrize(("data", "dimensions"), [(np.ones((4, 4, 4)), 3), (np.ones((2, 4, 4)), 2)])
def test_a_file_gives_back_what_was_written(tmp_path, data, dimensions):
    written = field(data, dimensions)
    write_density(tmp_path / "density.hdf5", written)
    read = read_density(tmp_path / "density.hdf5")
    np.testing.assert_array_equal(read.data, written.data)
    assert (read.box_size, read.scale_factor, read.dimensions) == (50.0, 0.5, dimensions)
    assert read.cosmology == written.cosmology
    assert read.provenance == written.provenance


@pytest.mark.parametrize(
    ("data", "dimensions", "words"),
    [
        (np.ones((4, 4, 5)), 3, r"shape \(m, m, m\), not \(4, 4, 5\)"),
        (np.ones((4, 4)), 2, r"shape \(slabs, m, m\), not \(4, 4\)"),
        (np.full((4, 4, 4), np.nan), 3, "finite"),
        (np.full((4, 4, 4), -1.0), 3, "negative"),
    ],
)
def test_impossible_fields_are_refused(data, dimensions, words):
    with pytest.raises(DataError, match=words):
        field(data, dimensions)


def test_damaged_and_foreign_files_are_refused(tmp_path, boxes):
    path = tmp_path / "density.hdf5"
    with pytest.raises(DataError, match="there is no density field"):
        read_density(path)
    write_density(path, field(np.random.default_rng(2).random((16, 16, 16))))
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="truncated"):
        read_density(path)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read_density(path)
    with pytest.raises(DataError, match="no density field"):
        read_density(boxes.snapshot(1, "low"))
