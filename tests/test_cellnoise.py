"""White noise of a region: Gaussian, periodic, and the same wherever the region begins."""

import pytest
import torch

from supercosm.cellnoise import CellNoise


def like(*sizes, batch=1):
    return torch.empty(batch, 4, *sizes)


@pytest.mark.parametrize("origin", [(0, 0, 0), (8, 4, 12), (-4, -8, 28)])
@pytest.mark.parametrize("stride", [2, 4])
def test_a_region_is_a_piece_of_the_whole_box(origin, stride):
    whole = CellNoise([3], [(0, 0, 0)], 32)(1, stride, like(*(32 // stride,) * 3))
    region = CellNoise([3], [origin], 32)(1, stride, like(*(24 // stride,) * 3))
    rolled = torch.roll(whole, [-i // stride for i in origin], dims=(2, 3, 4))
    assert torch.equal(region, rolled[..., : 24 // stride, : 24 // stride, : 24 // stride])


def test_a_halo_larger_than_the_box_repeats_it():
    noise = CellNoise([3], [(-16, -16, -16)], 16)(0, 2, like(24, 24, 24))
    assert torch.equal(noise[..., :8, :8, :8], noise[..., 8:16, 8:16, 16:])


def test_seeds_and_sites_are_independent_and_normal():
    samples = [CellNoise([seed], [(0, 0, 0)], 32)(site, 1, like(32, 32, 32)) for seed in (1, 2) for site in (0, 1)]
    stack = torch.stack(samples).flatten(1)
    # 32768 numbers: means scatter by 0.006, correlations too; five of those are allowed
    assert stack.mean(dim=1).abs().max() < 0.028
    assert (torch.corrcoef(stack) - torch.eye(4)).abs().max() < 0.028
    assert (stack.std(dim=1) - 1).abs().max() < 0.02
    assert (stack**4).mean(dim=1).sub(3).abs().max() < 0.3


def test_every_crop_of_a_batch_has_its_own_seed():
    batch = CellNoise([1, 2], [(0, 0, 0), (4, 0, 0)], 8)(0, 1, like(8, 8, 8, batch=2))
    assert batch.shape == (2, 1, 8, 8, 8)
    assert torch.equal(batch[1:], CellNoise([2], [(4, 0, 0)], 8)(0, 1, like(8, 8, 8)))


def test_slabs_of_one_box_have_different_noise():
    first, second = (CellNoise([1], [(0, 0, slab)], 8)(0, 1, like(8, 8)) for slab in (0, 1))
    assert first.shape == (1, 1, 8, 8)
    assert not torch.equal(first, second)
    assert torch.equal(first, CellNoise([1], [(0, 0)], 8)(0, 1, like(8, 8)))


def test_noise_has_the_type_of_the_features():
    assert CellNoise([1], [(0, 0, 0)], 8)(0, 1, like(8, 8, 8).bfloat16()).dtype == torch.bfloat16
