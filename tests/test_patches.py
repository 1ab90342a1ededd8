"""Patches: where they come from, and the symmetries of the square and the cube."""

import numpy as np
import pytest
import torch

from supercosm.errors import DataError
from supercosm.fields import log_density
from supercosm.patches import SYMMETRIES, draw_cubes, draw_patches, log_slabs, slab_cells, turned

DENSITY = np.random.default_rng(0).lognormal(size=(16, 16, 16)).astype(np.float32)


def test_thickness_is_the_nearest_divisor():
    assert slab_cells(3.0, 100.0, 128) == 4  # 3.84 cells
    assert slab_cells(0.1, 100.0, 128) == 1
    assert slab_cells(1e4, 100.0, 128) == 128


def test_slabs_are_means_along_each_axis():
    slabs = log_slabs(DENSITY, 4)
    assert slabs.shape == (3, 4, 16, 16)
    np.testing.assert_allclose(slabs[1, 2], log_density(DENSITY[:, 8:12].mean(axis=1)), rtol=1e-5)


def test_patches_are_periodic_cuts_of_where_they_say():
    boxes = [log_slabs(DENSITY, 4), log_slabs(DENSITY[::-1], 4)]
    patches, places = draw_patches(boxes, 10, 50, seed=3)
    for patch, place in zip(patches, places, strict=True):
        rolled = np.roll(boxes[place.box][place.axis, place.slab], (-place.start[0], -place.start[1]), (0, 1))
        np.testing.assert_array_equal(patch[0], rolled[:10, :10])
    assert {place.box for place in places} == {0, 1}
    again, _ = draw_patches(boxes, 10, 50, seed=3)
    other, _ = draw_patches(boxes, 10, 50, seed=4)
    assert torch.equal(patches, again)
    assert not torch.equal(patches, other)


def test_a_patch_larger_than_the_box_is_refused():
    with pytest.raises(DataError, match=r"patches.side = 20 .* 16 cells"):
        draw_patches([log_slabs(DENSITY, 4)], 20, 5, 0)
    with pytest.raises(DataError, match=r"cubes of 20"):
        draw_cubes([DENSITY], 20, 5, 0)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_symmetries_are_all_different_and_keep_the_cells(dimensions):
    x = torch.arange(3.0**dimensions).reshape(1, 1, *(3,) * dimensions)
    found = {tuple(turned(x, s).flatten().tolist()) for s in range(SYMMETRIES[dimensions])}
    assert len(found) == SYMMETRIES[dimensions]
    assert all(sorted(cells) == sorted(x.flatten().tolist()) for cells in found)
    assert torch.equal(turned(x, 0), x)
