"""The critic: a score per patch, at two scales of equal weight."""

import pytest
import torch

from supercosm.networks.critic import PatchCritic


@pytest.mark.parametrize("dimensions", [2, 3])
def test_scores_of_both_scales(dimensions):
    critic = PatchCritic(5, channels=4, patch=2, dimensions=dimensions)
    scores = critic(torch.randn(3, 5, *(16,) * dimensions))
    assert scores.shape == (3, 2 * 8**dimensions)
    coarse = scores[:, 8**dimensions :]
    assert len(torch.unique(coarse[0])) == 4**dimensions, "coarse scores are repeated for equal weight"


def test_a_score_sees_its_neighbourhood_only():
    critic = PatchCritic(2, channels=4, patch=2, dimensions=2)
    x = torch.randn(1, 2, 64, 64, requires_grad=True)
    (slope,) = torch.autograd.grad(critic(x)[0, 0], x)
    felt = torch.nonzero(slope.abs().amax(dim=(0, 1)))
    assert felt.max() < 2 * 3  # two 3 × 3 convolutions over patches of two cells, at the corner


def test_no_normalisation_couples_the_crops_of_a_batch():
    critic = PatchCritic(2, channels=4, patch=2, dimensions=3)
    a, b = torch.randn(2, 1, 2, 8, 8, 8)
    torch.testing.assert_close(critic(torch.cat([a, b]))[:1], critic(a))


def test_gradients_can_be_differentiated_again():
    critic = PatchCritic(2, channels=4, patch=2, dimensions=3)
    x = torch.randn(1, 2, 8, 8, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in critic.parameters())
    assert critic.stem.weight.grad.abs().max() > 0
