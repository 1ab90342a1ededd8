"""Classifiers: the lectures' sizes, the symmetries of the box, and what normalisation may and may not do."""

import pytest
import torch
from torch.nn import functional

from supercosm.classification_settings import SMALLEST
from supercosm.networks.classifiers import Lectures, Residual, parameters


def patches(count=4, side=16, dimensions=2, seed=0):
    """Return white noise (count, 1, side, …)."""
    return torch.randn(count, 1, *(side,) * dimensions, generator=torch.Generator().manual_seed(seed))


def residual(dimensions=2, periodic=False, patch=2, levels=2):
    """Return a small network in training mode with active residual branches and moments like those of training."""
    torch.manual_seed(1)
    network = Residual(3, channels=4, levels=levels, patch=patch, dimensions=dimensions, periodic=periodic)
    for block in network.blocks:
        torch.nn.init.normal_(block.norms[1].weight)
    network(patches(16, 8, dimensions, seed=2))
    return network


def test_the_lectures_network_has_as_many_parameters_as_its_layers_on_paper():
    convolutions = 32 * (1 * 10 * 10 + 1) + 64 * (32 * 3 * 3 + 1) + 32 * (64 * 3 * 3 + 1)
    # sides: 28 → 19 → 17 → pooled 8 → 6 → pooled 3
    dense = 128 * (32 * 3 * 3 + 1) + 10 * (128 + 1)
    assert convolutions + dense == 78_474
    assert parameters(Lectures(10, side=28)) == 78_474


def test_the_smallest_patch_leaves_one_cell_after_all_layers():
    smallest = SMALLEST
    network = Lectures(2, side=smallest)
    assert network.dense.in_features == 32
    assert network(patches(2, smallest)).shape == (2, 2)
    with pytest.raises((ValueError, RuntimeError)), pytest.warns(UserWarning, match="zero-element"):
        Lectures(2, side=smallest - 1)(patches(2, smallest - 1))


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize(("dimensions", "patch", "levels"), [(2, 1, 1), (2, 2, 3), (3, 1, 2), (3, 2, 2)])
def test_there_is_a_logit_for_each_class_whatever_the_size_of_the_patch(dimensions, patch, levels, periodic):
    network = residual(dimensions, periodic, patch, levels).eval()
    assert network(patches(2, 8, dimensions)).shape == (2, 3)
    assert network(patches(2, 16, dimensions)).shape == (2, 3)
    assert network.first.weight.shape == (4, patch**dimensions, *(3,) * dimensions)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_periodic_network_does_not_see_where_the_box_begins(dimensions):
    x = patches(3, 8, dimensions)
    axes = list(range(2, 2 + dimensions))
    moved = x.roll([4] * dimensions, axes)  # patch × 2^(levels - 1) cells
    periodic, padded = residual(dimensions, periodic=True).eval(), residual(dimensions).eval()
    assert torch.allclose(periodic(moved), periodic(x), atol=1e-5)
    assert not torch.allclose(periodic(x.roll(1, 2)), periodic(x), atol=1e-3)
    assert not torch.allclose(padded(moved), padded(x), atol=1e-3)


@pytest.mark.parametrize("network", [residual(), residual(3), Lectures(3, side=24)], ids=["2D", "3D", "lectures"])
def test_an_example_is_classified_by_itself(network):
    network.eval()
    x = patches(5, 24 if isinstance(network, Lectures) else 8, getattr(network, "dimensions", 2))
    other = torch.cat([x[:1], 10 * x[1:]])
    # up to rounding, which depends on the size of the batch
    assert torch.allclose(network(x)[:1], network(x[:1]), atol=1e-5)
    assert torch.allclose(network(x)[:1], network(other)[:1], atol=1e-5)


def test_only_in_training_does_the_rest_of_the_batch_matter():
    network = residual()
    x = patches(5, 8)
    assert not torch.allclose(network(x)[:1], network(torch.cat([x[:1], 10 * x[1:]]))[:1], atol=1e-3)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_residual_branches_leave_their_input_alone_at_first(dimensions, periodic):
    network = Residual(2, channels=4, levels=2, patch=1, dimensions=dimensions, periodic=periodic)
    for block, channels in zip(network.blocks, (4, 8), strict=True):
        x = torch.randn(2, channels, *(8,) * dimensions, generator=torch.Generator().manual_seed(3))
        assert torch.equal(block(x), functional.relu(x))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_amplitude_of_the_field_is_seen(dimensions):
    network = residual(dimensions).eval()
    x = patches(4, 8, dimensions)
    # normalising each example would leave nothing of a factor but rounding, 1e-7
    change = (network(2 * x).softmax(dim=1) - network(x).softmax(dim=1)).abs()
    assert change.amax(dim=1).min() > 1e-3


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_gradients_reach_all_parameters_after_the_first_step(dimensions, periodic):
    torch.manual_seed(4)
    network = Residual(3, channels=4, levels=2, patch=2, dimensions=dimensions, periodic=periodic).double()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    x, labels = patches(12, 8, dimensions).double(), torch.arange(12) % 3
    for _ in range(2):
        optimiser.zero_grad()
        functional.cross_entropy(network(x), labels).backward()
        optimiser.step()
    sizes = {name: p.grad.abs().max().item() for name, p in network.named_parameters()}
    # normalisation takes off any constant that was added just before it: rounding is all that such a bias can have
    sizes.pop("first.bias", None)
    assert min(sizes.values()) > 1e-9, sizes  # rounding is 1e-17 in float64


def test_gradients_reach_all_parameters_of_the_lectures_network():
    torch.manual_seed(5)
    network = Lectures(3, side=24)
    functional.cross_entropy(network(patches(6, 24)), torch.arange(6) % 3).backward()
    assert min(p.grad.abs().max().item() for p in network.parameters()) > 1e-5
