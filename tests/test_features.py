"""Features: what the network is shown does not know where the box is or how fast it moves."""

import pytest
import torch
from learning import configuration, crops_of

from supercosm.features import Features, Scales, measure_scales

CELL = 50.0 / 32
KINDS = [
    {"condition": ["low", "initial"]},
    {"condition": ["low"]},
    {"condition": ["low", "initial"], "fields": "density"},
    {"condition": ["low"], "noise": "initial", "fields": "density", "dimensions": 2},
]


@pytest.fixture(params=KINDS, ids=["displacement", "low alone", "density", "slabs"])
def case(request, boxes):
    settings = configuration(**request.param).models["model"]
    crop = crops_of(boxes, settings)
    scales = measure_scales(crop["low"], crop.get("small"), crop["high"], Features(settings, CELL, Scales()))
    return Features(settings, CELL, scales), crop


def test_channels_are_as_many_as_said_and_of_order_one(case):
    features, crop = case
    inputs = features.encode(crop["low"], crop.get("small"))
    target = features.target(crop["low"], crop["high"])
    assert inputs.shape[:2] == (2, features.inputs)
    assert target.shape == (2, features.outputs, *crop["high"].shape[2:])
    assert inputs.square().mean().sqrt() == pytest.approx(1, abs=0.05)
    assert target.square().mean().sqrt() == pytest.approx(1, abs=1e-3)


def test_decoding_the_target_gives_the_high_resolution_fields(case):
    features, crop = case
    found = features.decode(features.target(crop["low"], crop["high"]), crop["low"])
    scale = crop["high"].abs().amax()
    assert (found - crop["high"]).abs().max() < 1e-6 * scale


def test_an_output_of_zero_is_the_upsampled_low_run(case):
    features, crop = case
    found = features.decode(torch.zeros(2, features.outputs, *crop["high"].shape[2:]), crop["low"])
    inner = (..., *(slice(1, -1),) * features.dimensions)
    torch.testing.assert_close(found, crop["low"][inner], rtol=0, atol=0)


def test_a_translation_or_boost_of_the_box_changes_nothing(boxes):
    settings = configuration(condition=["low", "initial"]).models["model"]
    features, crop = Features(settings, CELL, Scales()), crops_of(boxes, settings)
    motion = torch.tensor([7.0, -3.0, 11.0, 300.0, -500.0, 40.0]).view(6, 1, 1, 1)
    still = features.encode(crop["low"], crop["small"])
    moving = features.encode(crop["low"] + motion, crop["small"])
    # a float32 of 1000 km/s has steps of 6e-5 km/s: nothing but that rounding may be left of the motion
    torch.testing.assert_close(moving, still, rtol=0, atol=3e-4)
    residual = features.target(crop["low"] + motion, crop["high"] + motion)
    torch.testing.assert_close(residual, features.target(crop["low"], crop["high"]), rtol=0, atol=3e-4)


def test_gradients_of_a_linear_flow_are_exact():
    """ψ_i = Σ_j A_ij x_j has the gradient A everywhere; channel 3 axis + component is ∂_axis ψ_component."""
    features = Features(configuration().models["model"], 2.0, Scales(gradient=0.5, shear=4.0))
    matrix = torch.arange(18.0).view(6, 3) / 10
    grid = torch.stack(torch.meshgrid(*(torch.arange(6.0),) * 3, indexing="ij"))
    low = torch.einsum("cj,jxyz->cxyz", matrix, grid)[None]
    found = features.encode_low(low)[0]
    for axis in range(3):
        for component in range(3):
            gradient, shear = found[3 * axis + component], found[9 + 3 * axis + component]
            torch.testing.assert_close(gradient, torch.full((4, 4, 4), float(matrix[component, axis])))
            torch.testing.assert_close(shear, torch.full((4, 4, 4), float(matrix[3 + component, axis] / 4)))


def test_empty_residuals_do_not_divide_by_zero():
    settings = configuration().models["model"]
    features = Features(settings, CELL, Scales())
    low = torch.zeros(1, 6, 6, 6, 6)
    scales = measure_scales(low, None, torch.zeros(1, 6, 4, 4, 4), features)
    target = Features(settings, CELL, scales).target(low, torch.zeros(1, 6, 4, 4, 4))
    assert torch.equal(target, torch.zeros_like(target))
