"""Rate–distortion curves: bits fall where errors rise, sizes are those of files, patches lie where they say."""

import os

import numpy as np
import pytest
from astropy.table import QTable
from learning import TEST_SEED

from supercosm.compression import bitstream, entropy
from supercosm.compression import boxes as whole
from supercosm.compression import ratedistortion as curves
from supercosm.compression.rivals import CODECS
from supercosm.compression_settings import Compression
from supercosm.errors import DataError
from supercosm.fields import log_density
from supercosm.patches import log_slabs
from supercosm.snapshot import read_snapshot
from supercosm.superresolution import Baseline, superresolve

pytest.importorskip("hdf5plugin")

CELL = 50 / 32
STEPS, BOUNDS = [0.3, 1.0, 3.0], [0.3, 1.0, 3.0]
SETTINGS = Compression(steps=STEPS, bounds=BOUNDS, lengths=[0.1, 0.5])


@pytest.fixture(scope="module")
def patches(density):
    return curves.evaluation_patches([log_slabs(density, 2)], 8, 64, seed=5)[0]


@pytest.fixture(scope="module")
def regions(density):
    return curves.evaluation_patches([log_slabs(density, 2)], 12, 64, seed=5)[0]


@pytest.fixture(scope="module")
def rows(coders, regions):
    return list(curves.patch_rows([coders["pca"], coders["dense"]], regions, SETTINGS, CELL))


@pytest.fixture(scope="module")
def of_box(coders, density):
    return list(curves.box_rows([coders["block"], coders["cube"]], log_density(density), SETTINGS, 50.0))


def curve(rows, coder, *names):
    """Return columns of the rows of a coder that have bits, ordered by setting."""
    chosen = sorted((r for r in rows if r["coder"] == coder and r["bits"] > 0), key=lambda r: r["setting"])
    return [[row[name] for row in chosen] for name in names]


@pytest.mark.parametrize("coder", ["pca", "dense"])
def test_coarser_steps_take_fewer_bits_and_err_more_in_patches(rows, coder):
    settings, bits, errors, missed = curve(rows, coder, "setting", "bits", "rmse", "unexplained")
    assert settings == STEPS
    assert bits == sorted(bits, reverse=True)
    assert bits[0] > 1.3 * bits[-1]
    assert errors == sorted(errors)
    assert missed == sorted(missed)
    exact = next(row for row in rows if row["coder"] == coder and np.isnan(row["bits"]))
    assert exact["unexplained"] == pytest.approx(missed[0], abs=0.03)
    assert exact["latents"] == 8


@pytest.mark.parametrize("coder", ["block", "cube"])
def test_coarser_steps_take_fewer_bits_and_err_more_in_a_box(of_box, coder):
    bits, errors = curve(of_box, coder, "bits", "rmse")
    assert len(bits) == len(STEPS)
    assert bits == sorted(bits, reverse=True)
    assert errors == sorted(errors)
    assert errors[-1] > 1.2 * errors[0]


@pytest.mark.parametrize("arena", ["rows", "of_box"])
def test_other_compressors_keep_their_bounds_and_lossless_ones_everything(arena, request):
    found = request.getfixturevalue(arena)
    for name, codec in CODECS.items():
        mine = [row for row in found if row["coder"] == name]
        assert len(mine) == (len(BOUNDS) if codec.bounded else 1)
        if not codec.lossy:
            assert (mine[0]["rmse"], mine[0]["power_error"], mine[0]["distribution"]) == (0, 0, 0)
            assert 5 < mine[0]["bits"] < 33
        if codec.bounded:
            bits, errors = curve(found, name, "bits", "rmse")
            assert bits == sorted(bits, reverse=True)
            assert errors == sorted(errors)
            assert all(0 < error <= row["setting"] for error, row in zip(errors, mine, strict=True))


def test_bits_are_those_of_files_on_disk(coders, regions, density, rows, of_box, tmp_path):
    coder, step = coders["pca"], STEPS[1]
    symbols = np.rint((coder.encode(regions) / (step * coder.grain)).numpy()).astype(np.int32)
    bitstream.write(tmp_path / "patches.scz", {"coder": "pca", "step": step}, {"z": entropy.pack(symbols.T)})
    (bits,) = curve(rows, "pca", "bits")
    assert bits[1] * regions.numel() / 8 == pytest.approx(os.stat(tmp_path / "patches.scz").st_size, abs=1e-6)

    encoded, _ = whole.encode(log_density(density), coders["block"], step)
    bitstream.write(tmp_path / "box.scz", {"coder": "block", "step": step}, whole.pack(encoded))
    (bits,) = curve(of_box, "block", "bits")
    assert bits[1] * density.size / 8 == pytest.approx(os.stat(tmp_path / "box.scz").st_size, abs=1e-6)


def test_particles_keep_their_bounds_and_a_prediction_saves_bits(boxes):
    low, high = (read_snapshot(boxes.snapshot(TEST_SEED, name)) for name in ("low", "high"))
    found = list(curves.particle_rows(high, superresolve(low, Baseline("low", 2)), SETTINGS))
    for name in ("sz3", "sperr"):
        bits, errors, settings = curve(found, name, "bits", "rmse", "setting")
        less, rest = curve(found, name + curves.PREDICTED, "bits", "rmse")
        assert all(error <= bound for error, bound in zip(errors + rest, settings * 2, strict=True))
        assert all(a < b for a, b in zip(less, bits, strict=True))
    lossless = next(row for row in found if row["coder"] == "zstd")
    assert lossless["rmse"] == 0
    assert lossless["power_error"] < 1e-6  # positions are made of the displacement again, in float32
    assert {row["coder"] for row in found} >= set(CODECS)


def test_patches_lie_side_by_side_where_they_say(density):
    slabs = [log_slabs(density, 2), log_slabs(density[::-1], 2)]
    x, places = curves.evaluation_patches(slabs, 7, 64, seed=5)
    assert x.shape == (64, 1, 7, 7)
    for patch, place in zip(x, places, strict=True):
        rows, columns = (np.arange(first, first + 7) % 32 for first in place.start)
        np.testing.assert_array_equal(patch[0], slabs[place.box][place.axis, place.slab][np.ix_(rows, columns)])
    for region in range(4):
        starts = np.array([place.start for place in places[16 * region : 16 * region + 16]])
        expected = [(i, j) for i in range(0, 28, 7) for j in range(0, 28, 7)]
        np.testing.assert_array_equal(starts - starts[0], expected)
        assert len({(p.box, p.axis, p.slab) for p in places[16 * region : 16 * region + 16]}) == 1


def test_regions_are_as_large_as_a_small_box_allows(density):
    slabs = [log_slabs(density, 2)]
    assert len(curves.evaluation_patches(slabs, 12, 64, seed=5)[0]) == 64  # 2 × 2 patches in 16 regions
    assert len(curves.evaluation_patches(slabs, 32, 5, seed=5)[0]) == 5
    with pytest.raises(DataError, match=r"patches.side = 40 .* 32 cells"):
        curves.evaluation_patches(slabs, 40, 5, seed=5)


def test_a_mosaic_shows_the_regions_that_patches_were_cut_from(density, patches):
    x = patches[:, 0].numpy()
    mosaic = curves._mosaic(x, 4)
    assert mosaic.shape == (4 * 32, 32)
    np.testing.assert_array_equal(curves._patches_of(mosaic, x.shape, 4), x)
    slabs = log_slabs(density, 2)
    place = curves.evaluation_patches([slabs], 8, 64, seed=5)[1][16]
    region = np.roll(slabs[place.axis, place.slab], (-place.start[0], -place.start[1]), (0, 1))
    np.testing.assert_array_equal(mosaic[32:64], region)


def table(bits, errors, coder="mine"):
    return QTable({"coder": [coder] * len(bits), "bits": bits, "power_error": errors})


def test_bits_at_an_error_are_interpolated_in_the_logarithms():
    found = table([1.0, 8.0, 2.0, 4.0, np.nan], [0.1, 0.001, 0.1, 0.01, 0.0])
    assert curves.at_power_error(found, "mine", 10**-1.5) == pytest.approx(4 * 2**-0.5)
    assert curves.at_power_error(found, "mine", 0.01) == pytest.approx(4)


def test_the_error_counts_that_leaves_the_limit_first():
    found = table([8.0, 4.0, 2.0, 1.0], [0.001, 0.1, 0.001, 0.1])
    assert curves.at_power_error(found, "mine", 0.01) == pytest.approx(8 * 2**-0.5)


def test_an_error_that_is_never_reached_or_always_exceeded_has_no_bits():
    found = table([8.0, 4.0], [0.001, 0.1])
    for limit in (0.0001, 0.2):
        assert np.isnan(curves.at_power_error(found, "mine", limit))
    assert np.isnan(curves.at_power_error(found, "other", 0.01))


def test_a_lossless_point_is_no_obstacle():
    assert 4 < curves.at_power_error(table([8.0, 4.0], [0.0, 0.1]), "mine", 0.01) < 8


@pytest.mark.parametrize("name", ["pca", "mean", "dense", "conv", "cube"])
def test_patches_of_another_size_are_refused(coders, patches, name):
    with pytest.raises(DataError, match=rf"coder '{name}' takes patches of .* not of 8 × 8 cells"):
        next(curves.patch_rows([coders[name]], patches, SETTINGS, CELL))
