"""The flow as a map: its likelihood is that of the change of variables, sampling inverts it, a pass has its reach."""

import math

import pytest
import torch

from supercosm.cellnoise import CellNoise
from supercosm.family_settings import Flow
from supercosm.features import Features, Scales
from supercosm.schemes import Region, scheme_of
from supercosm.schemes.coupling import CouplingFlow, halves, log_likelihood
from supercosm.schemes.scheme import OWN_NOISE

NETWORK = {"channels": 4, "levels": 1, "blocks": 1, "patch": 2}


def settings_of(**own):
    shape = {"fields": "density", "dimensions": 2, **own.pop("shape", {})}
    return Flow.model_validate({"noise": "white", "network": NETWORK, "conditioner_channels": 8, **shape, **own})


def random_flow(inputs, outputs, settings, strength=0.3):
    """Build a flow whose every weight is random: a fresh one is the identity."""
    torch.manual_seed(0)
    found = CouplingFlow(inputs, outputs, settings).double()
    for name, parameter in found.named_parameters():
        scale = strength if "heads" in name else 1.0
        parameter.data = scale * torch.randn_like(parameter) / max(1, parameter[0].numel()) ** 0.5
    return found


@pytest.mark.parametrize("transform", ["affine", "spline"])
@pytest.mark.parametrize(("outputs", "levels", "couplings"), [(1, 1, 3), (2, 2, 2), (1, 2, 4)])
@pytest.mark.parametrize("periodic", [False, True])
def test_the_likelihood_is_that_of_the_change_of_variables(transform, outputs, levels, couplings, periodic):
    """ln p(y) = ln N(z) + ln |det dz/dy|, the determinant of all numbers of an 8² field taken as one matrix."""
    settings = settings_of(wavelet_levels=levels, couplings=couplings, transform=transform)
    network = random_flow(3, outputs, settings)
    seen, y = torch.randn(1, 3, 8, 8, dtype=torch.float64), 2 * torch.randn(1, outputs, 8, 8, dtype=torch.float64)
    region = Region(seen, periodic=periodic)
    jacobian = torch.autograd.functional.jacobian(lambda x: network.encode(region, x)[0].flatten(), y).flatten(1)
    grown = torch.linalg.slogdet(jacobian.view(y.numel(), y.numel()))[1]
    assert abs(float(grown)) > 1
    z, found = network.encode(region, y)
    assert found.sum().item() == pytest.approx(float(grown), abs=1e-6)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum() + grown
    assert log_likelihood(network, seen, y, periodic).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("transform", ["affine", "spline"])
@pytest.mark.parametrize("shape", [{"dimensions": 2}, {"dimensions": 3}, {"dimensions": 3, "fields": "displacement"}])
def test_sampling_inverts_encoding(transform, shape):
    """Passes of the scheme, in float32, make of noise a field that is encoded as this noise, to rounding errors."""
    settings = settings_of(transform=transform, shape=shape)
    features = Features(settings, 0.8, Scales())
    scheme = scheme_of(settings, features)
    network = random_flow(features.inputs, features.outputs, settings).float()
    seen = torch.randn(2, features.inputs, *(8,) * settings.dimensions)
    noise, state = CellNoise([1, 2], [(0, 0, 0)] * 2, 8), None
    with torch.no_grad():
        for number in range(scheme.passes):
            state = scheme.run(number, network, Region(seen, state, noise, periodic=True))
            expected = features.outputs if number == scheme.passes - 1 else scheme.width
            assert state.shape == (2, expected, *seen.shape[2:])
        z, _ = network.encode(Region(seen, periodic=True), state)
    white = noise.fields(OWN_NOISE, features.outputs, seen)
    assert (state - white).abs().mean() > 0.1
    torch.testing.assert_close(z, white, rtol=0, atol=1e-4)


def test_every_network_is_evaluated_once_in_a_sample(monkeypatch):
    settings = settings_of(wavelet_levels=2, couplings=3)
    scheme = scheme_of(settings, Features(settings, 0.8, Scales()))
    network, called = scheme.build(), []
    for module in [network, *(layer.conditioner for level in network.couplings for layer in level.layers)]:
        module.register_forward_hook(lambda found, *_: called.append(found))
    noise, state = CellNoise([1], [(0, 0, 0)], 8), None
    for number in range(scheme.passes):
        state = scheme.run(number, network, Region(torch.randn(1, 1, 8, 8), state, noise))
        assert len(called) == number + 1 == len(set(called))
    assert len(called) == 1 + 2 * (1 + 3)


@pytest.mark.parametrize(
    "own",
    [{"wavelet_levels": 1}, {"wavelet_levels": 2}, {"wavelet_levels": 3}, {"conditioner_blocks": 2},
     {"wavelet_levels": 1, "network": {**NETWORK, "levels": 2, "blocks": 2}}],
    ids=str,
)  # fmt: skip
def test_reach_bounds_what_influences_a_region_in_one_pass(own):
    """The gradient of what any pass makes of a region of one unit vanishes beyond `reach`, but not much before."""
    settings = settings_of(couplings=1, **own)
    scheme = scheme_of(settings, Features(settings, 0.8, Scales()))
    network = random_flow(1, 1, settings)
    unit, reach = settings.unit, settings.reach
    assert reach % unit == 0
    start, side = reach + 2 * unit, 2 * (reach + 2 * unit) + unit
    given = torch.randn(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    noise, furthest = CellNoise([1], [(0, 0, 0)], side), 0
    for number in range(scheme.passes):
        state = scheme.run(number, network, Region(given[:, :1], given[:, 1:] if number else None, noise))
        region = state[..., start : start + unit, start : start + unit]
        (slope,) = torch.autograd.grad((region * torch.randn_like(region)).sum(), given)
        rows = torch.nonzero((slope.abs().amax(dim=(0, 1)) > 0).any(dim=1)).squeeze()
        furthest = max(furthest, start - int(rows.min()), int(rows.max()) - (start + unit - 1))
    assert furthest <= reach
    assert furthest > reach - 2 * unit, f"reach = {reach} is wasteful: {furthest} would do"


@pytest.mark.parametrize("channels", [2, 3, 7, 8, 48])
def test_two_couplings_in_a_row_change_every_channel(channels):
    for number in range(8):
        active, passive = halves(channels, number)
        assert sorted([*range(channels)[active], *range(channels)[passive]]) == list(range(channels))
        if number % 2 == 0:
            assert halves(channels, number + 1) == (passive, active)


@pytest.mark.parametrize("uneven", [0.0, 0.7])
def test_the_likelihood_of_a_known_gaussian_is_found(uneven):
    """y = w c + s n: −ln p per cell falls to ½ ln(2πe s²), s = 0.3 everywhere, or as the input has it."""
    settings = settings_of(couplings=1, network={**NETWORK, "patch": 1})
    torch.manual_seed(0)
    network = CouplingFlow(1, 1, settings)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, 250)
    generator = torch.Generator().manual_seed(1)
    found, known = [], []
    for step in range(250):
        c, n = torch.randn(2, 16, 1, 16, 16, generator=generator)
        c = c[..., ::4, ::4].kron(torch.ones(4, 4)) if uneven else c  # of a Gaussian in wavelets, where it is the same
        deviation = 0.3 * torch.exp(uneven * c)
        loss = -log_likelihood(network, c, 0.8 * c + deviation * n, periodic=True).mean() / 16**2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step >= 230:
            found.append(float(loss.detach()))
            known.append(float((math.log(2 * math.pi * math.e) / 2 + deviation.log()).mean()))
    assert sum(found) / 20 == pytest.approx(sum(known) / 20, abs=0.05)
