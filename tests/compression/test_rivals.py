"""Other people's compressors: bounds are kept, shapes come back, little is added."""

import struct
from contextlib import contextmanager
from unittest.mock import MagicMock

import h5py
import numpy as np
import pytest

from supercosm.compression import rivals
from supercosm.compression.rivals import CODECS, decode, encode
from supercosm.errors import ConfigurationError, DataError

pytest.importorskip("hdf5plugin")

BOUNDED = [name for name, codec in CODECS.items() if codec.bounded]
LOSSLESS = [name for name, codec in CODECS.items() if not codec.lossy]
SHAPES = [(64, 64), (24, 24, 24), (16, 20, 36), (9, 9, 9), (3, 16, 16, 16), (2, 12, 16, 10), (200,)]
TINY = [(1,), (1, 1), (1, 1, 1), (3, 1, 1, 1), (2, 2), (3, 5), (1, 64), (1, 16, 16), (4, 4, 4), (8, 8, 8), (2, 2, 40)]


def smooth(shape, amplitude=1.0, seed=0):
    """Return waves with a little noise."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    wave = sum(np.sin(0.3 * x + i) for i, x in enumerate(grid))
    return (amplitude * (wave + 0.01 * rng.standard_normal(shape))).astype(np.float32)


def error(found, array):
    assert found.dtype == np.float32
    assert found.shape == array.shape
    return np.abs(found.astype(np.float64) - array).max()


@pytest.mark.parametrize("codec", BOUNDED)
@pytest.mark.parametrize("shape", SHAPES + TINY)
@pytest.mark.parametrize("bound", [0.1, 1e-3])
def test_the_bound_is_kept_for_every_shape(codec, shape, bound):
    array = smooth(shape)
    assert error(decode(encode(array, codec, bound)), array) <= bound


@pytest.mark.parametrize("codec", BOUNDED)
@pytest.mark.parametrize("bound", [3e-3, 0.7, 1.0, 20.0])
def test_the_bound_is_kept_for_noise_and_spikes(codec, bound):
    array = np.random.default_rng(1).standard_normal((24, 24, 24)).astype(np.float32)
    array[::7, ::5, ::3] *= 100
    assert error(decode(encode(array, codec, bound)), array) <= bound


@pytest.mark.parametrize("codec", BOUNDED)
def test_the_bound_is_kept_where_float32_is_coarse(codec):
    """Numbers around 1000 are rounded by 6e-5: bounds of that size and below cannot be kept by real arithmetic."""
    array = smooth((16, 16, 16)) + np.float32(1000)
    for bound in (1e-3, 7e-5, 1e-5, 1e-9):
        assert error(decode(encode(array, codec, bound)), array) <= bound


@pytest.mark.parametrize("codec", BOUNDED)
def test_a_looser_bound_is_used(codec):
    """Errors come near the bound, and files shrink."""
    array = smooth((32, 32, 32))
    fine, coarse = (encode(array, codec, bound) for bound in (1e-3, 1e-1))
    assert len(coarse) < 0.5 * len(fine) < 0.25 * array.nbytes
    assert error(decode(coarse), array) > 0.01


@pytest.mark.parametrize("codec", BOUNDED)
@pytest.mark.parametrize("amplitude", [1e-30, 1.0, 1e20])
@pytest.mark.parametrize("relative", [1e-9, 1e-6, 1e-3, 0.3, 1e3])
def test_absurd_sizes_and_bounds_do_no_harm(codec, amplitude, relative):
    """SPERR's filter crashes from bounds of about 1e18 on, and SZ3 enlarges what is bounded too finely."""
    array = (amplitude * np.random.default_rng(0).standard_normal((21, 14, 19))).astype(np.float32)
    data = encode(array, codec, amplitude * relative)
    assert error(decode(data), array) <= amplitude * relative
    assert len(data) < array.nbytes + 60


@pytest.mark.parametrize("codec", LOSSLESS)
@pytest.mark.parametrize("shape", SHAPES + TINY)
def test_lossless_codecs_lose_nothing(codec, shape):
    array = smooth(shape)
    assert error(decode(encode(array, codec)), array) == 0


def test_float16_halves():
    array = smooth((16, 16, 16))
    data = encode(array, "float16")
    np.testing.assert_array_equal(decode(data), array.astype(np.float16).astype(np.float32))
    assert len(data) < array.nbytes / 2 + 40
    with pytest.raises(DataError, match="100000 do not fit float16"):
        encode(array * 0 + np.float32(1e5), "float16")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", [0.0, -3.25])
def test_constant_arrays_cost_next_to_nothing(codec, value):
    array = np.full((16, 16, 16), value, np.float32)
    data = encode(array, codec, 0.01 if CODECS[codec].bounded else None)
    assert error(decode(data), array) <= 0.01
    assert codec == "float16" or len(data) < 400


def test_the_frame_adds_little():
    """Beyond the chunk that HDF5 would store."""
    import hdf5plugin

    array = smooth((32, 32, 32))
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        file.create_dataset("x", data=array, chunks=array.shape, **hdf5plugin.SZ3(absolute=0.01))
        stored = file["x"].id.get_storage_size()
    assert 0 < len(encode(array, "sz3", 0.01)) - stored <= 40


@pytest.mark.parametrize("codec", ["sz3", "sperr"])
def test_the_order_of_axes_hardly_matters(codec):
    array = smooth((12, 40, 80))
    sizes = [len(encode(np.ascontiguousarray(a), codec, 1e-2)) for a in (array, array.transpose(2, 1, 0))]
    assert max(sizes) < 1.2 * min(sizes)


def test_arrays_need_not_be_contiguous():
    array = smooth((20, 18, 16)).transpose(2, 0, 1)[::2]
    np.testing.assert_array_equal(decode(encode(array, "zstd")), array)


def test_a_codec_that_breaks_its_bound_is_asked_for_more(monkeypatch):
    """As long as it takes, and at last the array is stored without loss."""
    array, asked = smooth((16, 16, 16)), []

    def sloppy(part, codec, bound, compress=rivals._compress):
        asked.append((codec, bound))
        return compress(part, codec, bound * 1.5 if codec == "sz3" else bound)

    monkeypatch.setattr(rivals, "_compress", sloppy)
    assert error(decode(encode(array, "sz3", 0.01)), array) <= 0.01
    assert len({bound for _, bound in asked}) > 1


def test_a_filter_that_fails_is_not_overlooked(monkeypatch):
    """HDF5 stores what a filter fails on as it is, and only a bit tells."""

    @contextmanager
    def failing(shape, codec, bound):
        dataset = MagicMock()
        dataset.id.read_direct_chunk.return_value = (1, bytes(80))
        yield dataset

    monkeypatch.setattr(rivals, "_dataset", failing)
    with pytest.raises(DataError, match="filter of 'zstd' failed"):
        encode(smooth((4, 5)), "zstd")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("codec", CODECS)
def test_values_that_are_no_numbers_are_refused(codec, bad):
    array = smooth((16, 16, 16))
    array[3, 4, 5] = bad
    with pytest.raises(DataError, match="1 values are NaN or infinite"):
        encode(array, codec, 0.1 if CODECS[codec].bounded else None)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4)), "not float64"),
        (np.zeros((2,) * 5, np.float32), r"\(2, 2, 2, 2, 2\)"),
        (np.zeros((0, 4), np.float32), r"\(0, 4\)"),
        (np.float32(1).reshape(()), r"shape \(\)"),
    ],
)
def test_other_arrays_are_refused(array, words):
    with pytest.raises(DataError, match=words):
        encode(array, "zstd")


def test_wishes_that_cannot_be_met_are_refused():
    array = smooth((16, 16))
    with pytest.raises(ConfigurationError, match="no codec 'jpeg'; choose among sz3, "):
        encode(array, "jpeg", 0.1)
    for bound in (None, 0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ConfigurationError, match="'zfp' needs an absolute error bound"):
            encode(array, "zfp", bound)
    with pytest.raises(ConfigurationError, match="'zstd' keeps no error bound"):
        encode(array, "zstd", 0.1)


def test_other_bytes_are_refused():
    data = encode(smooth((3, 16, 16, 16)), "zstd")
    for other in (b"", b"\x01", data[:10], data[:-1], data + b"x", b"\x63" + data[1:], struct.pack("<BB", 4, 9) + data):
        with pytest.raises(DataError, match="cannot be decoded"):
            decode(other)
