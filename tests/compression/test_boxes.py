"""Whole fields through coders: no seams, the same again after packing, error bounds kept, mistakes named."""

import numpy as np
import pytest

from supercosm.compression import boxes as whole
from supercosm.compression.coder import load_coder
from supercosm.compression.fit import train_coders
from supercosm.config import check
from supercosm.errors import DataError
from supercosm.fields import from_log_density, log_density, slabs_of

BLOCKS = ("block", "cube")
PATCHES = ("pca", "dense", "conv", "mean", "vae")
STEP = 0.5
SHAPES = {3: [(1, 1, 1), (3, 3, 3), (5, 7, 9), (32, 4, 13)], 2: [(1, 1, 1), (2, 3, 3), (3, 7, 25), (1, 40, 13)]}


@pytest.fixture(scope="module")
def fields(density):
    """Log density of the test box, by number of dimensions: (32, 32, 32), and 16 slabs (16, 32, 32)."""
    return {3: log_density(density), 2: log_density(slabs_of(density, 16))}


def dimensions(name):
    return 3 if name in BLOCKS else 2


def largest(field, decoded):
    return np.abs(field.astype(np.float64) - decoded).max()


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("size", [4, 8, 12])
def test_the_result_does_not_depend_on_the_tiles(coders, fields, monkeypatch, name, size):
    whole_latents = whole._analyse(fields[3], coders[name])
    encoded, at_once = whole.encode(fields[3], coders[name], STEP)
    monkeypatch.setattr(whole, "TILE", size)
    # convolutions of other sizes may add in another order: some 1e-6
    np.testing.assert_allclose(whole._analyse(fields[3], coders[name]), whole_latents, atol=1e-4)
    np.testing.assert_allclose(whole.decode(encoded, coders[name], STEP, fields[3].shape), at_once, atol=1e-4)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_box_that_blocks_do_not_fill_is_continued_periodically(coders, fields, name):
    part = fields[3][:30, :27, :]
    padded = np.pad(part, ((0, 2), (0, 1), (0, 0)), mode="wrap")
    of_part, of_padded = (whole._analyse(field, coders[name]) for field in (part, padded))
    np.testing.assert_allclose(of_part, of_padded, atol=1e-4)


@pytest.mark.parametrize("name", ["pca", "conv"])
def test_patches_fade_into_each_other(coders, name):
    """Where two overlap, their weights add up to one, and neither starts or ends at once."""
    profile = whole._window(coders[name])[0, 6]
    np.testing.assert_allclose(profile[-3:] + profile[:3], 1)
    np.testing.assert_allclose(profile[:4], [0.25, 0.5, 0.75, 1])


def test_a_network_that_saw_too_little_around_a_tile_would_be_noticed(coders, fields, monkeypatch):
    _, at_once = whole.encode(fields[3], coders["block"], STEP)
    monkeypatch.setattr(whole, "TILE", 8)
    monkeypatch.setattr(whole, "_halo", lambda coder: 0)
    _, cut = whole.encode(fields[3], coders["block"], STEP)
    assert largest(cut, at_once) > 1e-2


@pytest.mark.parametrize(("name", "shift"), [("block", (4, -8, 12)), ("cube", (4, -8, 12))])
def test_a_shift_by_whole_blocks_shifts_the_result(coders, fields, name, shift):
    decoded = whole.encode(fields[3], coders[name], STEP)[1]
    moved = whole.encode(np.roll(fields[3], shift, (0, 1, 2)), coders[name], STEP)[1]
    # a latent halfway between two steps may be rounded the other way: a few blocks of 512
    different = np.abs(moved - np.roll(decoded, shift, (0, 1, 2))) > 1e-4
    assert different.mean() < 0.03


@pytest.mark.parametrize("name", ["pca", "conv"])
def test_a_shift_by_whole_patches_and_slabs_shifts_the_result(coders, fields, name):
    field = fields[2][:, :27, :18]  # patches of 12 cells that share 3 lie 9 apart: 3 and 2 of them go round
    decoded = whole.encode(field, coders[name], STEP)[1]
    moved = whole.encode(np.roll(field, (5, 9, -9), (0, 1, 2)), coders[name], STEP)[1]
    assert (np.abs(moved - np.roll(decoded, (5, 9, -9), (0, 1, 2))) > 1e-4).mean() < 0.03


def test_errors_at_the_faces_of_blocks_are_like_those_inside(coders, fields):
    error = np.square(fields[3] - whole.encode(fields[3], coders["block"], 0.2)[1])
    at_face = np.isin(np.arange(32) % 4, (0, 3))
    faces = [error[np.ix_(*(np.flatnonzero(m) for m in masks))].mean() for masks in [(at_face,) * 3, (~at_face,) * 3]]
    # every linear code of a block errs more where it knows one side alone; a seam would be many times more
    assert faces[0] < 2.5 * faces[1]


def test_errors_at_the_borders_of_patches_are_like_those_inside(coders, fields):
    error = np.square(fields[2] - whole.encode(fields[2], coders["conv"], 0.2)[1])
    shared = np.isin(np.arange(27) % 9, (0, 1, 2))  # cells that two patches share
    rows = error[:, :27].mean(axis=(0, 2))
    assert rows[shared].mean() < 1.2 * rows[~shared].mean()


@pytest.mark.parametrize("name", [*BLOCKS, *PATCHES])
@pytest.mark.parametrize("bound", [None, 0.3])
def test_what_is_unpacked_decodes_to_the_same_bits(coders, fields, name, bound):
    field = fields[dimensions(name)]
    encoded, decoded = whole.encode(field, coders[name], STEP, bound)
    read = whole.unpack(whole.pack(encoded), coders[name], field.shape)
    again = whole.decode(read, coders[name], STEP, field.shape, bound)
    assert again.dtype == decoded.dtype == np.float32
    assert again.tobytes() == decoded.tobytes()


@pytest.mark.parametrize("name", ["block", "pca", "dense"])
@pytest.mark.parametrize("bound", [2.0, 0.5, 0.1, 0.01, 0.0012])
def test_the_bound_is_kept_in_every_cell_and_after_becoming_a_density(coders, fields, name, bound):
    field = fields[dimensions(name)]
    encoded, decoded = whole.encode(field, coders[name], STEP, bound)
    _, plain = whole.encode(field, coders[name], STEP)
    assert largest(field, decoded) <= bound
    assert largest(field, log_density(from_log_density(decoded))) <= bound
    outside = (np.abs(field.astype(np.float64) - plain) > bound * whole.SAFE).ravel()
    np.testing.assert_array_equal(encoded.corrections != 0, outside)
    np.testing.assert_array_equal(decoded.ravel()[~outside], plain.ravel()[~outside])


def test_a_tighter_bound_takes_more_bytes(coders, fields):
    sizes = [
        sum(map(len, whole.pack(whole.encode(fields[3], coders["block"], STEP, bound)[0]).values()))
        for bound in (None, 2.0, 0.5, 0.1)
    ]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 1.5 * sizes[0]


@pytest.mark.parametrize("bound", [1e-4, 1e-6, 1e-12])
def test_a_bound_finer_than_float32_is_refused_with_one_that_is_kept(coders, fields, bound):
    with pytest.raises(DataError, match="finer than float32 keeps") as refused:
        whole.encode(fields[3], coders["cube"], STEP, bound)
    suggested = float(str(refused.value).split()[-1])
    _, decoded = whole.encode(fields[3], coders["cube"], STEP, suggested)
    assert largest(fields[3], log_density(from_log_density(decoded))) <= suggested


@pytest.mark.parametrize("name", [*BLOCKS, *PATCHES])
def test_smaller_steps_err_less_and_take_more_bytes(coders, fields, name):
    field = fields[dimensions(name)]
    errors, sizes = [], []
    for step in (0.25, 1.0, 4.0):
        encoded, decoded = whole.encode(field, coders[name], step)
        errors.append(np.sqrt(np.mean(np.square(decoded - field))))
        sizes.append(len(whole.pack(encoded)["latents"]))
    assert errors == sorted(errors)
    assert sizes == sorted(sizes, reverse=True)
    assert errors[2] > 1.005 * errors[0]
    assert sizes[0] > 1.5 * sizes[2]


@pytest.mark.parametrize("name", [*BLOCKS, *PATCHES])
@pytest.mark.parametrize("value", [0.0, 1.0, 300.0])
def test_constant_and_empty_fields_stay_within_the_bound(coders, name, value):
    field = log_density(np.full((8, 24, 24), value, np.float32))
    encoded, decoded = whole.encode(field, coders[name], STEP, 0.05)
    assert largest(field, decoded) <= 0.05
    assert sum(map(len, whole.pack(encoded).values())) < field.nbytes / 4


@pytest.mark.parametrize("name", [*BLOCKS, "pca", "dense", "vae"])
@pytest.mark.parametrize("number", range(4))
def test_fields_of_any_size_are_coded_and_come_back(coders, name, number):
    shape = SHAPES[dimensions(name)][number]
    field = np.random.default_rng(number).normal(size=shape).astype(np.float32)
    encoded, decoded = whole.encode(field, coders[name], STEP, 0.1)
    assert decoded.shape == shape
    assert largest(field, decoded) <= 0.1
    assert encoded.latents.shape[1] == whole.latent_columns(coders[name], shape)
    read = whole.unpack(whole.pack(encoded), coders[name], shape)
    assert whole.decode(read, coders[name], STEP, shape, 0.1).tobytes() == decoded.tobytes()


def test_axes_keep_their_order(coders):
    """A field that varies along one axis alone decodes to one that does."""
    wave = np.sin(2 * np.pi * np.arange(32) / 32).astype(np.float32)
    for axis in range(3):
        field = np.ascontiguousarray(np.moveaxis(np.broadcast_to(wave, (32, 32, 32)), 2, axis))
        decoded = whole.encode(field, coders["cube"], 0.1)[1]
        assert np.corrcoef(field.ravel(), decoded.ravel())[0, 1] > 0.95


def test_slabs_do_not_touch_each_other(coders, fields):
    changed = fields[2].copy()
    changed[5] += 1
    first, second = (whole.encode(field, coders["conv"], STEP)[1] for field in (fields[2], changed))
    others = np.arange(16) != 5
    np.testing.assert_allclose(first[others], second[others], atol=1e-5)
    assert largest(first[5], second[5]) > 0.5


def test_double_precision_is_coded_as_single(coders, fields):
    single, double = (whole.encode(fields[3].astype(kind), coders["block"], STEP)[1] for kind in ("f4", "f8"))
    np.testing.assert_array_equal(single, double)


@pytest.mark.parametrize("kind", ["dense", "downsample"])
def test_coders_of_single_blocks_of_a_volume_are_trained_and_applied(boxes, fields, tmp_path, kind):
    coder = {"kind": kind, "dimensions": 3, "latents": 8} | ({"fit": {"epochs": 1}} if kind == "dense" else {})
    patches = {"side": 12, "block": 4, "training": 100, "test": 50}
    config = check({"compression": {"coders": {"mine": coder}, "patches": patches}})
    train_coders(config, config.compression.expanded(), boxes.data, tmp_path)
    _, decoded = whole.encode(fields[3], load_coder(tmp_path / "mine"), STEP, 0.5)
    assert largest(fields[3], decoded) <= 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(coders, fields, bad):
    field = fields[3].copy()
    field[3, 4, 5] = bad
    with pytest.raises(DataError, match="NaN or infinite"):
        whole.encode(field, coders["block"], STEP)


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 4, 4), (0, 4, 4)])
def test_fields_without_three_axes_are_refused(coders, shape):
    with pytest.raises(DataError, match="three axes"):
        whole.encode(np.zeros(shape, np.float32), coders["cube"], STEP)


@pytest.mark.parametrize(
    ("step", "bound", "words"),
    [
        (0.0, None, "must be positive"),
        (-1.0, None, "must be positive"),
        (np.nan, None, "must be positive"),
        (np.inf, None, "finite"),
        (0.5, 0.0, "must be positive"),
        (0.5, np.nan, "must be positive"),
        (0.5, np.inf, "finite"),
        (1e-12, None, "step of 1e-12 is too fine"),
    ],
)
def test_steps_and_bounds_without_sense_are_refused(coders, fields, step, bound, words):
    with pytest.raises(DataError, match=words):
        whole.encode(fields[3], coders["cube"], step, bound)


def test_pieces_of_another_field_are_refused(coders, fields):
    pieces = whole.pack(whole.encode(fields[3], coders["cube"], STEP)[0])
    with pytest.raises(DataError, match="these are others"):
        whole.unpack(pieces, coders["cube"], (32, 32, 36))
    with pytest.raises(DataError, match="no latents but nothing"):
        whole.unpack({}, coders["cube"], (32, 32, 32))
