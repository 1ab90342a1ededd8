"""What an HDF5 file claims is believed only where it is stored in it."""

import h5py
import numpy as np
import pytest

from supercosm.errors import DataError
from supercosm.stored import check, check_all, check_size, positive, whole_number


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w") as content:
        yield content


def test_what_is_stored_passes(file, tmp_path):
    file.create_dataset("plain", data=np.arange(6.0).reshape(2, 3))
    file.create_dataset("empty", (0, 3), "f4")
    file.create_dataset("packed", data=np.zeros(100_000, "f4"), chunks=True, compression="gzip", shuffle=True)
    file.create_dataset("group/words", data=np.array([b"a", b"b"]))
    file.flush()
    check_all(file, tmp_path)


@pytest.mark.parametrize("packing", [{}, {"compression": "gzip"}, {"fletcher32": True}])
def test_what_is_larger_than_what_is_stored_is_refused(file, tmp_path, packing):
    data = file.create_dataset("x", (1 << 40, 3), "f4", chunks=(100, 3), **packing)
    data[:100] = 1.0
    with pytest.raises(DataError, match=r"/x has the shape \(1099511627776, 3\), but only \d+ bytes are there"):
        check_size(data, tmp_path)


def test_links_and_objects_are_refused_of_our_own_kinds(file, tmp_path):
    file["a"] = np.arange(3)
    file["b"] = h5py.SoftLink("/a")
    with pytest.raises(DataError, match="/b is a link"):
        check_all(file, tmp_path)
    del file["b"]
    file.create_dataset("texts", (3,), h5py.string_dtype())
    with pytest.raises(DataError, match="/texts holds no numbers"):
        check(file["texts"], tmp_path)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, np.arange(2.0), np.bytes_(b"x")])
def test_a_positive_number_is_one(file, value):
    file.attrs["x"] = value
    with pytest.raises((ValueError, TypeError)):
        positive(file.attrs, "x")
    file.attrs["y"] = np.float32(0.5)
    assert positive(file.attrs, "y") == 0.5


@pytest.mark.parametrize("value", [0, 1.5, np.nan])
def test_a_whole_number_is_one(file, value):
    file.attrs["x"] = value
    with pytest.raises(ValueError, match=r"whole number|integer"):
        whole_number(file.attrs, "x")
    file.attrs["y"] = np.int64(-1)
    assert whole_number(file.attrs, "y", -1) == -1
