"""Saliency: attributions that are known, and a network that has one square to look at."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from supercosm.classification import saliency
from supercosm.classification.saliency import by_density, feature_maps, first_filters, grad_cam, integrated_gradients
from supercosm.errors import ConfigurationError
from supercosm.networks.classifiers import Lectures, Residual

SIDE, SQUARE = 16, 5  # cells: the square is 10 % of a patch
KINDS = ["2D", "2D periodic", "3D", "3D periodic", "lectures"]


class Weights(nn.Module):
    """A linear classifier of patches, which has no layers to look at."""

    def __init__(self, side, dimensions, classes):
        super().__init__()
        self.linear = nn.Linear(side**dimensions, classes)

    def forward(self, x):
        return self.linear(x.flatten(1))


def noise(count, side, dimensions=2, seed=0):
    """Return white noise (count, 1, side, …)."""
    return torch.randn(count, 1, *(side,) * dimensions, generator=torch.Generator().manual_seed(seed))


def example(kind, count=6):
    """Return a network in training mode whose layers all take part, patches for it and a class for each."""
    torch.manual_seed(1)
    classes = torch.arange(count) % 3
    if kind == "lectures":
        return Lectures(3, side=24), noise(count, 24), classes
    dimensions, periodic = int(kind[0]), kind.endswith("periodic")
    network = Residual(3, channels=4, levels=2, patch=2, dimensions=dimensions, periodic=periodic)
    for block in network.blocks:
        nn.init.normal_(block.norms[1].weight)
    network(noise(16, 8, dimensions, seed=2))  # moments of normalisation other than 0 and 1
    return network, noise(count, 8, dimensions), classes


def squares(count, seed):
    """Return noise with a square that is bright (class 1) or dark (class 0), the classes, and where it is (b, p, p)."""
    x = noise(count, SIDE, seed=seed)
    corners = np.random.default_rng(seed).integers(0, SIDE - SQUARE + 1, (count, 2))
    labels, inside = torch.arange(count) % 2, np.zeros((count, SIDE, SIDE), bool)
    for index, (i, j) in enumerate(corners):
        inside[index, i : i + SQUARE, j : j + SQUARE] = True
    return x + 1.5 * torch.from_numpy(inside)[:, None] * (2 * labels - 1)[:, None, None, None], labels, inside


@pytest.fixture(scope="module")
def trained():
    """Return a network that tells bright squares from dark ones."""
    torch.manual_seed(0)
    network = Residual(2, channels=8, levels=2, patch=1)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(60):
        x, labels, _ = squares(64, seed=100 + step)
        optimiser.zero_grad()
        functional.cross_entropy(network(x), labels).backward()
        optimiser.step()
    return network.requires_grad_(False).eval()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_linear_network_is_attributed_its_weights_times_the_field(dimensions):
    torch.manual_seed(0)
    network, x = Weights(4, dimensions, 3), noise(5, 4, dimensions)
    target = torch.tensor([0, 1, 2, 1, 0])
    w = network.linear.weight.detach()
    margin = 1.5 * (w - w.mean(dim=0))  # of each class, less the mean of the two others
    expected = (margin[target] * x.flatten(1)).reshape(x[:, 0].shape)
    np.testing.assert_allclose(integrated_gradients(network, x, target, steps=2), expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_attributions_add_up_to_what_the_field_changes(kind):
    network, x, target = example(kind)
    total = integrated_gradients(network, x, target, steps=256).reshape(len(x), -1).sum(axis=1)
    with torch.no_grad():
        here, mean = (network.eval()(field) for field in (x, torch.zeros_like(x)))
    change = 1.5 * ((here - mean) - (here - mean).mean(dim=1, keepdim=True))
    change = change[torch.arange(len(x)), target].numpy()
    # the gradient jumps wherever a ReLU switches, which an integral by 256 points leaves errors of 1 % from
    np.testing.assert_allclose(total, change, atol=0.03 * np.abs(change).max())


@pytest.mark.parametrize("kind", ["2D", "3D"])
def test_grad_cam_before_a_mean_is_the_head_applied_to_every_cell(kind):
    network, x, target = example(kind)
    maps = torch.from_numpy(feature_maps(network, x, "last"))
    w = network.head.weight.detach()
    weights = 1.5 * (w - w.mean(dim=0))[target] / maps[0, 0].numel()
    expected = functional.relu(torch.einsum("bc,bc...->b...", weights, maps))
    mode = "bilinear" if kind == "2D" else "trilinear"
    stretched = functional.interpolate(expected[:, None], x.shape[2:], mode=mode)[:, 0]
    np.testing.assert_allclose(grad_cam(network, x, target), stretched, atol=1e-6)
    assert expected.max() > 1e-3


@pytest.mark.parametrize("method", [integrated_gradients, grad_cam])
@pytest.mark.parametrize("kind", ["2D periodic", "3D periodic"])
def test_what_is_seen_in_a_periodic_box_moves_with_it(kind, method):
    network, x, target = example(kind)
    moves, axes = (4,) * (x.ndim - 2), tuple(range(1, x.ndim - 1))  # patch × 2^(levels - 1) cells
    moved = method(network, x.roll(moves, tuple(axis + 1 for axis in axes)), target)
    expected = method(network, x, target)
    np.testing.assert_allclose(moved, np.roll(expected, moves, axes), atol=1e-5)
    assert np.abs(moved - expected).max() > 1e-3


@pytest.mark.parametrize("method", [integrated_gradients, grad_cam])
@pytest.mark.parametrize("kind", KINDS)
def test_attributions_do_not_depend_on_batches_or_on_when(kind, method, monkeypatch):
    network, x, target = example(kind)
    whole = method(network, x, target)
    assert whole.shape == (6, *x.shape[2:])
    assert whole.dtype == np.float32
    assert np.array_equal(method(network, x, target), whole)
    monkeypatch.setattr(saliency, "BATCH", 4)
    np.testing.assert_allclose(method(network, x, target), whole, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_networks_are_left_as_they_were(kind):
    network, x, target = example(kind, 4)
    network.first.eval()  # frozen by its owner
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 7)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    integrated_gradients(network, x, target, steps=2)
    grad_cam(network, x, target)
    saliency.occlude(network, x, target, integrated_gradients(network, x, target), [0.1], seed=0)
    first_filters(network)[:] = 0
    for layer in ("first", "last"):
        feature_maps(network, x, layer)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(bool((parameter.grad == 7).all()) for parameter in network.parameters())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    assert not any(getattr(module, name) for module in network.modules() for name in hooks)


def test_hooks_and_modes_are_restored_after_an_error():
    network, _, _ = example("2D")
    with pytest.raises(RuntimeError):
        feature_maps(network, noise(2, 8, 3), "last")
    assert network.training
    assert not network.blocks[-1]._forward_hooks


def test_the_most_salient_cells_are_in_the_square(trained):
    x, labels, inside = squares(100, seed=1)
    importance = np.abs(integrated_gradients(trained, x, labels)).reshape(100, -1)
    salient = importance >= np.quantile(importance, 0.9, axis=1, keepdims=True)
    hits = inside.reshape(100, -1)[salient].mean()
    assert hits > 4 * inside.mean()  # chance is the area of the square, 10 %


def test_the_map_is_brightest_in_the_square(trained):
    x, labels, inside = squares(100, seed=2)
    peaks = grad_cam(trained, x, labels).reshape(100, -1).argmax(axis=1)
    assert inside.reshape(100, -1)[np.arange(100), peaks].mean() > 4 * inside.mean()


def test_without_its_salient_cells_a_square_is_not_found(trained):
    x, labels, _ = squares(200, seed=3)
    result = saliency.occlude(trained, x, labels, integrated_gradients(trained, x, labels), [0.2, 0.1], seed=0)
    assert result.shares.tolist() == [0, 0.1, 0.2]
    untouched = trained(x).softmax(dim=1)[torch.arange(200), labels].mean().item()
    assert untouched > 0.9
    for order in ("salient", "random", "densest", "least"):
        assert result.probability[order][0] == pytest.approx(untouched, abs=1e-5)
    lost = {order: p[0] - p[1] for order, p in result.probability.items()}
    assert lost["salient"] > 0.1  # the mean around a cell of the square is still a third of it
    assert lost["salient"] > 3 * max(lost["random"], lost["least"])
    assert result.accuracy["salient"][2] < result.accuracy["random"][2] - 0.2


def test_cells_go_in_the_order_asked_for():
    network = Weights(4, 2, 2)
    with torch.no_grad():
        network.linear.weight[:] = torch.stack([torch.zeros(16), torch.tensor([0.8, 0.2] + [0.1] * 14)])
        network.linear.bias[:] = 0
    x = torch.ones(1, 1, 4, 4)
    x[0, 0, 0, 1] = 2.0
    one = torch.ones(1, dtype=int)
    result = saliency.occlude(network, x, one, integrated_gradients(network, x, one), [1 / 16, 1], seed=0)
    kept = {order: np.log(p / (1 - p))[1] for order, p in result.probability.items()}  # of a logit of 0.8 + 0.4 + 1.4
    # the corner is replaced by the mean of the 3 × 3 cells there are around it, the other two by that of 3 × 4
    expected = {"salient": 2.6 + 0.8 / 9, "densest": 2.6 - 0.2 * 11 / 12, "least": 2.6 + 0.1 / 12}
    assert kept == pytest.approx(expected | {"random": kept["random"]}, rel=1e-4)
    weights = network.linear.weight[1].detach().numpy().reshape(4, 4)
    field = x[0, 0].numpy()
    around = [[field[max(0, i - 2) : i + 3, max(0, j - 2) : j + 3].mean() for j in range(4)] for i in range(4)]
    smooth = 1 / (1 + np.exp(-np.sum(weights * around)))
    for p in result.probability.values():
        assert p[2] == pytest.approx(smooth, rel=1e-5)


def test_smoothing_a_periodic_box_wraps_around():
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 0, 7] = 25.0
    wrapped, cut = saliency.smoothed(x, periodic=True)[0, 0], saliency.smoothed(x, periodic=False)[0, 0]
    for i in range(8):
        for j in range(8):
            inside = min(i, 8 - i) <= 2 and min((j - 7) % 8, (7 - j) % 8) <= 2
            assert wrapped[i, j] == pytest.approx(1.0 if inside else 0.0, abs=1e-5)
    assert cut[0, 0] == 0
    assert cut[0, 7] == pytest.approx(25 / 9)


def test_random_cells_are_a_function_of_the_seed_and_the_patch(monkeypatch):
    network, x, labels = example("2D")
    found = integrated_gradients(network, x, labels)
    drawn = [saliency.occlude(network, x, labels, found, [0.3], s).probability["random"][1] for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    monkeypatch.setattr(saliency, "BATCH", 4)
    again = saliency.occlude(network, x, labels, found, [0.3], 0).probability["random"][1]
    assert again == pytest.approx(drawn[0], abs=1e-6)


def test_impossible_shares_and_layers_are_refused():
    network, x, labels = example("2D")
    with pytest.raises(ConfigurationError, match=r"between 0 and 1, not at \[1.5\]"):
        saliency.occlude(network, x, labels, np.zeros(x.shape), [0.1, 1.5], seed=0)
    with pytest.raises(ConfigurationError, match='not "norm"'):
        feature_maps(network, x, "norm")


def test_attributions_are_compared_with_their_mean_in_bins_of_density():
    x = np.array([[[[-1.0, -1.0], [0.5, 3.0]]]])
    attribution = np.array([[[1.0, -3.0], [-4.0, 8.0]]])  # mean of sizes: 4
    found = by_density(attribution, x, np.array([-2.0, 0.0, 1.0, 2.0, 4.0]))
    np.testing.assert_allclose(found, [0.5, 1, np.nan, 2])


@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_the_first_layer_are_its_filters_applied(kind):
    network, x, _ = example(kind)
    filters, maps = torch.from_numpy(first_filters(network)), feature_maps(network, x, "first")
    assert maps.dtype == np.float32
    if kind == "lectures":
        expected = functional.conv2d(x, filters, network.first.bias)
    else:  # a patch of 2ᵈ cells is a channel each: the same as a stride of 2 with filters of 3 × 2 cells
        d = x.ndim - 2
        wide = filters.reshape(4, *(2,) * d, *(3,) * d)
        wide = wide.permute(0, *(1 + axis + part * d for axis in range(d) for part in (1, 0))).reshape(4, 1, *(6,) * d)
        padded = functional.pad(x, (2,) * 2 * d, mode="circular" if network.periodic else "constant")
        convolve = functional.conv2d if d == 2 else functional.conv3d
        expected = convolve(padded, wide, network.first.bias, stride=2)
    np.testing.assert_allclose(maps, expected.detach(), atol=1e-5)


def test_maps_of_the_last_layer_are_what_the_head_averages():
    network, x, _ = example("2D periodic")
    maps = torch.from_numpy(feature_maps(network, x, "last"))
    with torch.no_grad():
        assert torch.allclose(network.head(maps.flatten(2).mean(dim=2)), network.eval()(x), atol=1e-5)
