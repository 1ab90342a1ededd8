"""The network: folding, how far it sees, translations, noise."""

import itertools

import numpy as np
import pytest
import torch

from supercosm.cellnoise import CellNoise
from supercosm.networks.multiscale import Embedding, MultiScale, fold, unfold, wrap

SHAPES = list(itertools.product((1, 2, 3), (1, 2), (1, 2)))  # levels, blocks, patch


def network(dimensions=2, inputs=2, outputs=1, noisy=False, **sizes):
    """Build a float64 network whose every weight is random: fresh ones hold zeros that hide paths."""
    torch.manual_seed(0)
    found = MultiScale(inputs, outputs, dimensions=dimensions, noisy=noisy, **{"channels": 4, **sizes}).double()
    for parameter in found.parameters():
        parameter.data = torch.randn_like(parameter) / max(1, parameter[0].numel()) ** 0.5
    return found


def white(index, stride, like):
    generator = torch.Generator().manual_seed(index)
    return torch.randn((1, 1, *like.shape[2:]), generator=generator, dtype=like.dtype)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("patch", [1, 2, 4])
def test_unfold_inverts_fold(dimensions, patch):
    x = torch.randn(2, 3, *(8,) * dimensions)
    folded = fold(x, patch)
    assert folded.shape == (2, 3 * patch**dimensions, *(8 // patch,) * dimensions)
    assert torch.equal(unfold(folded, patch), x)


def test_a_folded_cell_holds_its_own_patch():
    x = torch.arange(64.0).view(1, 1, 8, 8)
    assert fold(x, 2)[0, :, 1, 2].tolist() == [20, 21, 28, 29]


@pytest.mark.parametrize(("levels", "blocks", "patch"), SHAPES)
def test_reach_bounds_what_influences_a_region(levels, blocks, patch):
    """The gradient of the output inside a region of one unit vanishes beyond `reach`, but not much before."""
    net = network(levels=levels, blocks=blocks, patch=patch)
    unit, reach = net.unit, net.reach
    assert reach % unit == 0
    side = 2 * (reach + 2 * unit) + unit
    start = reach + 2 * unit
    x = torch.zeros(1, 2, side, side, dtype=torch.float64).normal_().requires_grad_(True)
    region = net(x)[..., start : start + unit, start : start + unit]
    (slope,) = torch.autograd.grad((region * torch.randn_like(region)).sum(), x)
    felt = slope.abs().amax(dim=(0, 1)) > 0
    rows = torch.nonzero(felt.any(dim=1)).squeeze()
    before, after = start - int(rows.min()), int(rows.max()) - (start + unit - 1)
    assert max(before, after) <= reach
    assert max(before, after) > reach - 2 * unit, f"reach = {reach} is wasteful: {before} would do"


@pytest.mark.parametrize(("dimensions", "levels"), [(2, 1), (2, 2), (3, 1), (3, 2)])
def test_a_region_with_halo_gives_what_the_whole_gives(dimensions, levels):
    """What tiles rely on: cut a region out with a halo of `reach`, and its inside does not change."""
    net = network(dimensions, levels=levels, blocks=1, patch=2)
    halo, unit = net.reach, net.unit
    side = 4 * halo + unit
    x = torch.randn(1, 2, *(side,) * dimensions, dtype=torch.float64)
    whole = net(x, None)
    cut = (..., *(slice(halo, 3 * halo + unit),) * dimensions)
    inner = (..., *(slice(halo, halo + unit),) * dimensions)
    torch.testing.assert_close(net(x[cut], None)[inner], whole[cut][inner], rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 4, 5, 6), (1, 2, 1, 1, 1)])
def test_wrapped_cells_are_those_of_the_other_end(shape):
    x = torch.randn(shape)
    wrapped = wrap(x)
    border = [(0, 0)] * 2 + [(1, 1)] * (x.ndim - 2)
    assert torch.equal(wrapped, torch.from_numpy(np.pad(x.numpy(), border, mode="wrap")))
    layout = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
    assert wrapped.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_a_periodic_box_is_a_tile_with_a_periodic_halo(dimensions, levels, noisy, dtype, tolerance):
    """Differences are rounding errors of outputs of order one; zeros beyond the box would change it by far more."""
    net = network(dimensions, levels=levels, blocks=1, patch=2, noisy=noisy).to(dtype)
    side, reach = 4 * net.unit, net.reach
    x = torch.randn(1, 2, *(side,) * dimensions, dtype=dtype)
    index = torch.arange(-reach, side + reach) % side
    tile = x
    for axis in range(2, x.ndim):
        tile = tile.index_select(axis, index)
    of_tile, of_box = (CellNoise([5], [(start,) * dimensions], side) if noisy else None for start in (-reach, 0))
    expected = net(tile, of_tile)[(..., *(slice(reach, reach + side),) * dimensions)]
    torch.testing.assert_close(net(x, of_box, periodic=True), expected, rtol=0, atol=tolerance)
    assert (net(x, of_box) - expected).abs().max() > 0.1


@pytest.mark.parametrize(("dimensions", "levels"), [(2, 1), (2, 3), (3, 2)])
def test_a_translation_by_units_moves_the_output_along(dimensions, levels):
    net = network(dimensions, levels=levels, blocks=1, patch=2)
    unit, reach = net.unit, net.reach
    side = 2 * reach + 4 * unit
    x = torch.randn(1, 2, *(side,) * dimensions, dtype=torch.float64)
    moved = torch.roll(net(x), unit, dims=2)
    of_moved = net(torch.roll(x, unit, dims=2))
    inner = (..., slice(reach + unit, side - reach), *(slice(reach, side - reach),) * (dimensions - 1))
    torch.testing.assert_close(of_moved[inner], moved[inner], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_fresh_networks_predict_nothing_and_start_deaf_to_noise(dimensions):
    net = MultiScale(2, 3, dimensions=dimensions, noisy=True, channels=4, levels=2, blocks=1, patch=2)
    x = torch.randn(1, 2, *(8,) * dimensions)
    assert torch.equal(net(x, white), torch.zeros(1, 3, *(8,) * dimensions))
    amplitudes = [p for name, p in net.named_parameters() if name.endswith("amplitude")]
    assert amplitudes
    assert all(torch.equal(p, torch.zeros_like(p)) for p in amplitudes)


def test_noise_enters_where_its_amplitude_is_not_zero():
    net = network(noisy=True, levels=2, blocks=2, patch=2)
    x = torch.randn(1, 2, 16, 16, dtype=torch.float64)
    assert not torch.allclose(net(x, white), net(x, None))
    for name, parameter in net.named_parameters():
        if name.endswith("amplitude"):
            parameter.data.zero_()
    torch.testing.assert_close(net(x, white), net(x, None))


def test_every_injection_has_its_own_site_and_the_stride_of_its_level():
    calls = []

    def record(index, stride, like):
        calls.append((index, stride, like.shape[-1]))
        return white(index, stride, like)

    network(noisy=True, levels=3, blocks=2, patch=2)(torch.randn(1, 2, 16, 16, dtype=torch.float64), record)
    assert [index for index, _, _ in calls] == list(range(10))
    assert all(stride * size == 16 for _, stride, size in calls)


def test_every_level_has_a_voice():
    """The output is a sum over levels: the head of each changes it."""
    net = network(levels=3, blocks=1, patch=1)
    x = torch.randn(1, 2, 16, 16, dtype=torch.float64)
    before = net(x)
    for head in net.heads:
        kept = head.weight.data.clone()
        head.weight.data.zero_()
        assert not torch.allclose(net(x), before)
        head.weight.data = kept


def test_every_block_is_modulated_by_what_it_is_told():
    net = network(levels=2, blocks=1, patch=2, told=2, smooth=1)
    x, told = torch.randn(2, 2, 16, 16, dtype=torch.float64), torch.tensor([[0.3, -1.0], [0.3, 0.5]]).double()
    before = net(x, told=told)
    for number, row in enumerate(told):  # each of a batch by its own numbers
        torch.testing.assert_close(net(x[number : number + 1], told=row[None])[0], before[number])
    modulations = [module.modulation for module in net.modules() if getattr(module, "modulation", None) is not None]
    assert len(modulations) == 3
    for modulation in modulations:
        kept = modulation.weight.data.clone()
        modulation.weight.data.zero_()
        assert not torch.allclose(net(x, told=told), before)
        modulation.weight.data = kept
    for column in (0, 1):
        other = told.clone()
        other[:, column] += 0.1
        assert not torch.allclose(net(x, told=other), before)


def test_a_fresh_network_is_deaf_to_what_it_is_told():
    net = MultiScale(2, 3, dimensions=2, channels=4, levels=2, blocks=1, patch=2, told=1, smooth=1)
    for head in net.heads:
        torch.nn.init.normal_(head.weight)
    x = torch.randn(1, 2, 8, 8)
    assert torch.equal(net(x, told=torch.tensor([[0.0]])), net(x, told=torch.tensor([[1.0]])))


@pytest.mark.parametrize(("smooth", "least", "most"), [(1, 0.0, 0.1), (0, 0.3, 10.0)])
def test_some_numbers_act_smoothly_others_are_told_apart_finely(smooth, least, most):
    """A step of half the shortest wave, 1/32, beside one of 1: next to nothing, or as good as any other."""
    torch.manual_seed(0)
    embedding = Embedding(1, smooth, 64)
    at, near, far = (embedding(torch.tensor([[x]])).detach() for x in (-0.5, -0.5 + 1 / 32, 0.5))
    assert least < float((near - at).norm() / (far - at).norm()) < most


def test_fresh_modulation_changes_nothing():
    """Scales of one and shifts of zero: the network is the one without, whatever it is told."""
    plain, told = network(levels=2, blocks=2, patch=2), modulated(levels=2, blocks=2, patch=2, fresh=True)
    told.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, 2, 16, 16, dtype=torch.float64)
    for numbers in (torch.zeros(2, 3), torch.tensor([[0.3, -1.0, 2.0], [5.0, 0.1, 0.0]])):
        torch.testing.assert_close(told(x, told=numbers.double()), plain(x), rtol=0, atol=1e-12)


def modulated(fresh=False, **sizes):
    """Build a network that is told three numbers, with random weights; its modulation stays at nothing if fresh."""
    found = network(told=3, **sizes)
    if fresh:
        for name, parameter in found.named_parameters():
            if "modulation" in name:
                parameter.data.zero_()
    return found


def test_modulation_begins_at_nothing_and_is_learnt():
    """From fresh weights, a target that only the told numbers tell apart is reached."""
    torch.manual_seed(0)
    net = MultiScale(1, 1, dimensions=2, told=1, channels=8, levels=1, blocks=1, patch=1)
    weights = [p for name, p in net.named_parameters() if "modulation" in name]
    assert weights
    assert all(torch.equal(p, torch.zeros_like(p)) for p in weights)
    x, numbers = torch.randn(4, 1, 8, 8), torch.tensor([[-1.0], [-0.4], [0.5], [1.0]])
    target = x * numbers.view(4, 1, 1, 1)
    optimiser, errors = torch.optim.Adam(net.parameters(), lr=1e-2), []
    for _ in range(150):
        error = (net(x, told=numbers) - target).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.1 * errors[0]
    assert any(p.abs().max() > 0.01 for p in weights)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_region_of_a_batch_is_told_its_own_numbers(dimensions):
    net = modulated(dimensions=dimensions, levels=2, blocks=1, patch=2)
    x = torch.randn(1, 2, *(8,) * dimensions, dtype=torch.float64).expand(2, *(-1,) * (dimensions + 1))
    numbers = torch.tensor([[0.3, 0.0, 1.0], [-0.7, 0.2, 1.0]], dtype=torch.float64)
    both = net(x, told=numbers)
    assert (both[0] - both[1]).abs().max() > 0.01
    for i in range(2):
        torch.testing.assert_close(net(x[:1], told=numbers[i : i + 1]), both[i : i + 1], rtol=0, atol=1e-12)
    for i in range(3):
        other = numbers.clone()
        other[:, i] += 0.5
        assert (net(x, told=other) - both).abs().amax(dim=tuple(range(1, both.ndim))).min() > 1e-3


@pytest.mark.parametrize(("levels", "blocks"), [(1, 1), (2, 1), (2, 2)])
def test_modulation_leaves_the_reach_as_it_was(levels, blocks):
    """What is told holds everywhere: a region with a halo of `reach` gives what the whole gives, and no less does."""
    net = modulated(levels=levels, blocks=blocks, patch=2)
    assert net.reach == network(levels=levels, blocks=blocks, patch=2).reach
    halo, unit = net.reach, net.unit
    side = 4 * halo + unit
    x, numbers = torch.randn(1, 2, side, side, dtype=torch.float64), torch.tensor([[0.3, -0.5, 1.0]]).double()
    whole = net(x, told=numbers)
    cut, inner = ((..., *(slice(first, last),) * 2) for first, last in ((halo, 3 * halo + unit), (halo, halo + unit)))
    torch.testing.assert_close(net(x[cut], told=numbers)[inner], whole[cut][inner], rtol=0, atol=1e-12)
    far = x.clone()
    far[..., :halo, :] += 1.0
    assert torch.equal(net(far, told=numbers)[..., 2 * halo :, :], whole[..., 2 * halo :, :])
    assert not torch.equal(net(far, told=numbers)[..., halo : 2 * halo, :], whole[..., halo : 2 * halo, :])
