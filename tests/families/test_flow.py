"""Family flow: trained by likelihood alone, warm-started by a regression, sampled in tiles."""

import math

import numpy as np
import pytest
import torch
from learning import configuration, random_model, small_family

from supercosm.errors import ConfigurationError, DataError
from supercosm.schemes import Region
from supercosm.schemes.coupling import log_likelihood
from supercosm.superresolution import superresolve
from supercosm.training import _warm_start

FIELDS = {
    "displacement": {},
    "density": {"fields": "density"},
    "slabs": {"fields": "density", "dimensions": 2},
}


def flow(boxes, fields="displacement", **own):
    family, batch = small_family(boxes, family="flow", conditioner_channels=8, **FIELDS[fields], **own)
    family.log = family.log_dict = lambda *_, **__: None
    return family, batch


@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize("own", [{}, {"noise": "white", "transform": "spline"}], ids=["affine", "spline"])
def test_training_makes_the_truth_more_likely(boxes, fields, own):
    family, batch = flow(boxes, fields, **own)
    optimiser = torch.optim.Adam(family.network.parameters(), lr=1e-2)
    values = []
    for _ in range(8):
        value = family.training_step(batch, 0)
        optimiser.zero_grad()
        value.backward()
        assert all(torch.isfinite(p.grad).all() for p in family.network.parameters() if p.grad is not None)
        optimiser.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0] - 0.05


def test_a_fresh_flow_takes_the_truth_for_white_noise_inside_the_margin(boxes):
    """Then −ln p is half the mean square and ½ ln 2π; the crop's border does not count."""
    family, batch = flow(boxes)
    target = family.features.target(batch["low"], batch["high"])
    expected = family.inner(target).square().mean() / 2 + math.log(2 * math.pi) / 2
    assert float(family.loss(family.network, batch, 0).detach()) == pytest.approx(float(expected), rel=1e-5)
    everywhere = -log_likelihood(family.network, family.region(batch).seen, target) / target.numel()
    assert everywhere.item() == pytest.approx(float(target.square().mean()) / 2 + math.log(2 * math.pi) / 2, rel=1e-5)


def test_a_warm_start_begins_with_the_regression_and_white_noise(boxes, tmp_path):
    model = random_model(boxes, tmp_path / "unet", noise="initial")
    family, batch = flow(boxes, start="first")
    _warm_start(family, tmp_path / "unet")
    seen = family.region(batch).seen
    mean = model.network(seen)
    assert mean.abs().mean() > 0.01
    for network in (family.network, family.trained):
        z, grown = network.encode(Region(seen), mean + 1.0)
        torch.testing.assert_close(z, torch.ones_like(z), rtol=0, atol=1e-5)
        assert not grown.any()


def test_a_warm_start_from_another_network_is_refused(boxes, tmp_path):
    random_model(boxes, tmp_path / "unet", noise="initial", network={"channels": 8})
    family, _ = flow(boxes, start="first")
    with pytest.raises(DataError, match="another network"):
        _warm_start(family, tmp_path / "unet")


@pytest.mark.parametrize("fields", ["displacement", "density"])
def test_tiles_give_what_the_whole_box_gives_and_seeds_differ(boxes, low, tmp_path, fields):
    model = random_model(boxes, tmp_path / fields, family="flow", conditioner_channels=8, **FIELDS[fields])
    for layer in (layer for level in model.network.couplings for layer in level.layers):
        layer.conditioner.heads[0].weight *= 0.3  # or densities overflow
    whole, tiled, other = (superresolve(low, model, seed=s, tile=t) for s, t in ((1, 16), (1, 8), (2, 16)))
    names = ("displacement", "velocity") if fields == "displacement" else ("data",)
    for name in names:
        values = (getattr(sample, name) for sample in (whole, tiled, other))
        one, same, another = (value() if callable(value) else value for value in values)
        scale = np.std(one)
        assert np.abs(same - one).max() < 1e-4 * scale
        assert np.std(another - one) > 1e-2 * scale


def test_a_crop_of_no_whole_wavelets_is_refused():
    with pytest.raises(
        ConfigurationError, match=r"training.crop = 20 is not a multiple of the network's unit, 8 cells"
    ):
        configuration(family="flow", wavelet_levels=3, training={"crop": 20})
