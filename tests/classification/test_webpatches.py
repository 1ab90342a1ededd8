"""Patches of the cosmic web: the class at their very centre, places that fields share, known tidal tensors."""

import numpy as np
import pytest

from supercosm.classification.boxes import Box
from supercosm.classification.webpatches import at_corners, coarsened, web_patches
from supercosm.classification_settings import Environment
from supercosm.errors import DataError
from supercosm.fields import log_density
from supercosm.statistics.environment import classify, tidal_eigenvalues

SIDE = 8


def settings(**changes):
    return Environment(**{"side": SIDE, "coarsen": 1, "radius": 2.0, "patches": 2000} | changes)


def box(density, seed=1, size=50.0):
    return Box("x", seed, density.astype(np.float32), size, {})


def index_box(seed, coarsen=1):
    """Make a box of 32³ cells whose coarse density is the number of the cell, over their mean: it tells the place."""
    number = np.arange((32 // coarsen) ** 3).reshape((32 // coarsen,) * 3)
    density = np.zeros((32, 32, 32))
    density[::coarsen, ::coarsen, ::coarsen] = coarsen**3 * number / number.mean()
    return box(density, seed)


def starts_of(patches, cells):
    """Return the first cell of every block cut from an index box, (n, 3)."""
    density = np.exp(patches.examples.x[:, 0, 0, 0].astype(np.float64)) - 0.1
    first = np.round(density * (cells**3 - 1) / 2).astype(int)
    return np.stack(np.unravel_index(first, (cells,) * 3), axis=1)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("wave", [1, 3])
def test_a_plane_wave_at_the_corners(axis, wave):
    """The mean of cos over two cells, half a cell below: cos(π k / m) cos(2π k (i − 1/2) / m)."""
    i, m = np.arange(16), 16
    x = np.broadcast_to(np.cos(2 * np.pi * wave * i / m).reshape(np.roll([m, 1, 1], axis)), (m, m, m))
    expected = np.cos(np.pi * wave / m) * np.cos(2 * np.pi * wave * (i - 0.5) / m)
    found = np.moveaxis(at_corners(x), axis, 0)
    np.testing.assert_allclose(found, np.broadcast_to(expected[:, None, None], (m, m, m)), atol=1e-6)


def test_a_ramp_at_the_corners_is_half_a_step_lower():
    ramp = np.add.outer(np.add.outer(np.arange(8.0), 10 * np.arange(8.0)), 100 * np.arange(8.0))
    # float32 of numbers up to 777; the first planes are periodic
    np.testing.assert_allclose(at_corners(ramp)[1:, 1:, 1:], ramp[1:, 1:, 1:] - 55.5, rtol=1e-6)


def test_corners_and_coarse_cells_keep_the_mass(universes):
    density = universes.box("high", 1).density
    for found in (at_corners(density), coarsened(density, 4)):
        assert found.mean(dtype=np.float64) == pytest.approx(density.mean(dtype=np.float64), rel=1e-5)
    assert coarsened(density, 4).shape == (8, 8, 8)
    assert coarsened(density, 4)[1, 2, 3] == pytest.approx(density[4:8, 8:12, 12:16].mean(), rel=1e-5)
    np.testing.assert_array_equal(coarsened(density, 1), density)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_plane_wave_is_of_sheets_and_voids(axis):
    """T has one eigenvalue, δ exp(−k²R²/2); of δ = A cos in the middle of a block its own cells tell, two of them."""
    i, m, radius, amplitude = np.arange(16), 16, 3.0, 0.9
    wave = 1 + amplitude * np.cos(2 * np.pi * i / m)
    field = box(np.broadcast_to(wave.reshape(np.roll([m, 1, 1], axis)), (m, m, m)))
    patches = web_patches([field], [field], settings(radius=radius))
    along = np.moveaxis(np.exp(patches.examples.x) - 0.1, 1 + axis, 1)[:, :, 0, 0] - 1
    smooth = along[:, SIDE // 2 - 1 : SIDE // 2 + 1].mean(axis=1) * np.exp(-((2 * np.pi / 50 * radius) ** 2) / 2)
    np.testing.assert_allclose(patches.eigenvalues[:, 0], np.maximum(smooth, 0), atol=1e-5)
    np.testing.assert_allclose(patches.eigenvalues[:, 2], np.minimum(smooth, 0), atol=1e-5)
    assert abs(smooth - 0.2).min() > 1e-3, "no centre is on the border of the classes"
    np.testing.assert_array_equal(patches.examples.labels, (smooth > 0.2).astype(int))
    assert set(patches.examples.labels) == {0, 1}


def test_the_middle_of_a_round_overdensity_is_a_knot():
    """All three eigenvalues are δ/3 there by symmetry; in the opposite corner of the box there is a void."""
    m, cells = 8, (np.arange(8) - 3.5) ** 2  # the peak is where cells 3 and 4 meet
    r2 = np.add.outer(np.add.outer(cells, cells), cells)
    density = np.exp(-r2 / (2 * 1.5**2))
    density *= 1 / density.mean()
    patches = web_patches([box(density)], [box(density)], settings(radius=3.0))
    middle = np.exp(patches.examples.x[:, 3:5, 3:5, 3:5]) - 0.1
    at_peak = np.isclose(middle, density.max(), rtol=1e-4).all(axis=(1, 2, 3))
    opposite = np.isclose(middle, density.min(), rtol=1e-2, atol=1e-4).all(axis=(1, 2, 3))
    assert at_peak.any()
    assert opposite.any()
    assert set(patches.examples.labels[at_peak]) == {3}
    assert set(patches.examples.labels[opposite]) == {0}
    eigenvalues = patches.eigenvalues[at_peak]
    np.testing.assert_allclose(eigenvalues, eigenvalues.mean(axis=1, keepdims=True).repeat(3, axis=1), atol=1e-4)
    assert m == patches.examples.x.shape[-1]


@pytest.mark.parametrize("turn", ["flip x", "flip y", "flip z", "flip all", "transpose"])
def test_mirrored_boxes_have_mirrored_patches_of_the_same_class(universes, turn):
    """In 8³ cells 2000 patches are at nearly all places, so most mirrored ones have been cut from the box as well."""

    def turned(x):
        axes = {"flip x": (-3,), "flip y": (-2,), "flip z": (-1,), "flip all": (-3, -2, -1)}
        return np.flip(x, axes[turn]) if turn in axes else np.swapaxes(x, -1, -3)

    density = coarsened(universes.box("high", 1).density, 4)
    plain, mirrored = (web_patches([box(x)], [box(x)], settings()) for x in (density, turned(density).copy()))
    known = dict(zip([x.tobytes() for x in plain.examples.x], plain.examples.labels.tolist(), strict=True))
    assert len(known) > 450
    assert len(set(known.values())) >= 3
    pairs = [
        (known[turned(x).tobytes()], label)
        for x, label in zip(mirrored.examples.x, mirrored.examples.labels.tolist(), strict=True)
        if turned(x).tobytes() in known
    ]
    assert len(pairs) > 1500
    assert all(a == b for a, b in pairs)


@pytest.mark.parametrize("side", [4, 8])
@pytest.mark.parametrize("coarsen", [1, 2])
def test_labels_are_those_of_the_true_run_at_the_centre(universes, side, coarsen):
    truth, cells = universes.box("high", 1), 32 // coarsen
    chosen = settings(side=side, coarsen=coarsen)
    patches = web_patches([index_box(1, coarsen)], [truth], chosen)
    starts = starts_of(patches, cells)
    assert patches.examples.cell == 50 / cells
    assert patches.examples.x.shape == (2000, side, side, side)
    centre = tuple(((starts + side // 2) % cells).T)
    expected = classify(at_corners(coarsened(truth.density, coarsen)), 50.0, 2.0, 0.2)[centre]
    np.testing.assert_array_equal(patches.examples.labels, expected)


def test_blocks_are_periodic_cuts_of_log_density(universes):
    truth, chosen = universes.box("high", 1), settings(patches=100)
    starts = starts_of(web_patches([index_box(1)], [truth], chosen), 32)
    assert (starts + SIDE > 32).any()
    patches = web_patches([truth], [truth], chosen)
    for start, block in zip(starts, patches.examples.x, strict=True):
        rolled = np.roll(log_density(truth.density), -start, (0, 1, 2))
        np.testing.assert_array_equal(block, rolled[:SIDE, :SIDE, :SIDE])
    centre = tuple(((starts + SIDE // 2) % 32).T)
    expected = tidal_eigenvalues(at_corners(truth.density), 50.0, 2.0)[(slice(None), *centre)].T
    np.testing.assert_array_equal(patches.eigenvalues, expected)


def test_fields_share_places_and_labels(universes):
    """Places depend on the seed alone: not on the field, its order among others, or the class."""
    low, high = ([universes.box(label, seed) for seed in (1, 2)] for label in ("low", "high"))
    of_low, of_high = web_patches(low, high, settings()), web_patches(high, high, settings())
    for name in ("labels", "seeds", "places"):
        np.testing.assert_array_equal(getattr(of_low.examples, name), getattr(of_high.examples, name))
    centres = [x.examples.x[:, 3:5, 3:5, 3:5].mean(axis=(1, 2, 3)) for x in (of_low, of_high)]
    assert np.corrcoef(*centres)[0, 1] > 0.6
    turned = web_patches(low[::-1], high, settings())
    np.testing.assert_array_equal(turned.examples.x[2000:], of_low.examples.x[:2000])
    np.testing.assert_array_equal(turned.examples.labels[2000:], of_low.examples.labels[:2000])
    assert turned.examples.seeds.tolist() == [2] * 2000 + [1] * 2000
    numbers = [index_box(seed) for seed in (1, 2)]
    starts = [starts_of(web_patches([x], [x], settings()), 32) for x in numbers]
    assert np.mean(starts[0] == starts[1]) < 0.1  # 1/32 by chance


def test_the_true_field_says_itself_what_is_there(universes):
    high, low = universes.box("high", 1), universes.box("low", 1)
    own = web_patches([high], [high], settings())
    np.testing.assert_array_equal(own.own, own.examples.labels)
    assert np.bincount(own.own, minlength=4).min() > 0
    other = web_patches([low], [high], settings())
    agreement = np.mean(other.own == other.examples.labels)
    assert 0.6 < agreement < 1


def test_fields_and_true_runs_of_different_seeds_are_refused(universes):
    with pytest.raises(DataError, match=r"the fields have seeds \[2\], the true runs \[1\]; give both the same"):
        web_patches([universes.box("low", 2)], [universes.box("high", 1)], settings())
    with pytest.raises(DataError, match="give both the same"):
        web_patches([universes.box("low", 1)], [universes.box("high", seed) for seed in (1, 2)], settings())
