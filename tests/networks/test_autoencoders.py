"""Autoencoders: the lectures' sizes, PCA against scikit-learn, and where the convolutional one starts."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from supercosm.networks.autoencoders import Convolutional, Dense, Downsampling, Linear

NETWORK = {"channels": 4, "levels": 1, "blocks": 1, "patch": 2}


def patches(count=400, side=8, dimensions=2):
    """Return smooth random patches: a random walk along every axis."""
    x = torch.randn(count, 1, *(side,) * dimensions, generator=torch.Generator().manual_seed(0))
    for axis in range(2, 2 + dimensions):
        x = x.cumsum(axis)
    return x / x.std()


@pytest.mark.parametrize(("hidden", "latents", "parameters"), [([128], 64, 218_192), ([128, 64, 32], 16, 223_456)])
def test_the_lectures_networks_have_as_many_parameters_as_theirs(hidden, latents, parameters):
    network = Dense(28, 2, hidden, latents, "relu", "linear")
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_relu_is_between_all_layers_and_the_ending_is_as_asked():
    x = patches(20)
    for bottleneck in ("relu", "linear"):
        network = Dense(8, 2, [16], 5, bottleneck, "sigmoid")
        z = network.encode(x)
        assert bool((z >= 0).all()) == (bottleneck == "relu")
        decoded = network.decode(z)
        assert decoded.shape == x.shape
        assert 0 < decoded.min().item() < decoded.max().item() < 1
        assert torch.allclose(torch.sigmoid(network.decode_logits(z)), decoded)


def test_components_are_those_of_scikit_learn():
    x = patches()
    network = Linear(8, 2, 10)
    variances = network.fit(x)
    theirs = PCA(10, svd_solver="full").fit(x.flatten(1).numpy())
    np.testing.assert_allclose(variances, theirs.explained_variance_, rtol=1e-4)
    decoded = network.decode(network.encode(x)).flatten(1).numpy()
    expected = theirs.inverse_transform(theirs.transform(x.flatten(1).numpy()))
    np.testing.assert_allclose(decoded, expected, atol=2e-4)


def test_all_components_reproduce_the_patch():
    x = patches(200, 4)
    network = Linear(4, 2, 16)
    network.fit(x)
    assert torch.allclose(network.decode(network.encode(x)), x, atol=1e-4)


@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_convolutional_coder_starts_as_principal_components(dimensions, variational):
    x = patches(300, 4, dimensions)
    network = Convolutional(4, dimensions, 6, NETWORK, variational)
    network.fit(x)
    linear = Linear(4, dimensions, 6)
    linear.fit(x)
    assert torch.allclose(network.decode(network.encode(x)), linear.decode(linear.encode(x)), atol=1e-4)
    # latents are in units of their deviation, as a unit prior wants them
    assert torch.allclose(network.encode(x).std(dim=0), torch.ones(6), atol=1e-3)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_blocks_side_by_side_are_coded_as_each_by_itself(dimensions):
    x = patches(50, 4, dimensions)
    network = Linear(4, dimensions, 5)
    network.fit(x)
    wide = torch.cat([x[:1], x[1:2]], dim=-1)  # two blocks along the last axis
    z = network.encode(wide)
    assert z.shape == (1, 5, *(1,) * (dimensions - 1), 2)
    assert torch.allclose(z.flatten(2)[0].T, network.encode(x[:2]), atol=1e-4)
    assert torch.allclose(network.decode(z)[..., 4:], network.decode(network.encode(x[1:2])), atol=1e-4)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_patch_that_is_the_whole_box_is_coded_across_its_faces(dimensions):
    x = patches(20, 8, dimensions)
    network = Convolutional(8, dimensions, 64, NETWORK, periodic=True)
    torch.manual_seed(1)
    for parameter in network.after.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    axes, moves = list(range(2, 2 + dimensions)), [2] * dimensions
    shifted = network.after(x.roll(moves, axes), periodic=True)
    assert torch.allclose(shifted, network.after(x, periodic=True).roll(moves, axes), atol=1e-4)
    assert torch.equal(
        network.decode(torch.zeros(1, 64)), network.after(torch.zeros(1, 1, *(8,) * dimensions), periodic=True)
    )
    assert not torch.allclose(network.after(x), network.after(x, periodic=True), atol=1e-2)


def test_means_of_cells_keep_a_gradient():
    ramp = torch.linspace(0, 1, 8).reshape(1, 1, 1, 8).expand(1, 1, 8, 8)
    network = Downsampling(8, 2, 4)
    z = network.encode(ramp)
    assert torch.allclose(z.reshape(4, 4)[0], ramp[0, 0, 0].reshape(4, 2).mean(dim=1))
    inside = network.decode(z)[..., 1:-1]
    assert torch.allclose(inside, ramp[..., 1:-1], atol=1e-6)
