"""Haar's wavelets and the maps of single numbers: known values, inverses, Jacobians."""

import pytest
import torch

from supercosm.networks.bijections import BOUND, Affine, Spline, haar, inverse_haar

FORMS = [Affine, Spline]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_wavelets_are_averages_and_details_of_one_norm(dimensions):
    x = torch.randn(2, 3, *(8,) * dimensions, dtype=torch.float64)
    wavelets = haar(x)
    assert wavelets.shape == (2, 3 * 2**dimensions, *(4,) * dimensions)
    pool = torch.nn.functional.avg_pool2d if dimensions == 2 else torch.nn.functional.avg_pool3d
    torch.testing.assert_close(wavelets[:, :3], pool(x, 2) * 2 ** (dimensions / 2))
    torch.testing.assert_close(wavelets.square().sum(), x.square().sum())
    torch.testing.assert_close(inverse_haar(wavelets), x)


def test_a_constant_field_has_no_details():
    assert torch.all(haar(torch.full((1, 2, 4, 4, 4), 3.0))[:, 2:] == 0)


def random_map(form, strength=2.0):
    generator = torch.Generator().manual_seed(0)
    said = strength * torch.randn(2, 3 * form.numbers, 4, 4, generator=generator, dtype=torch.float64)
    x = BOUND * torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)  # a third of it beyond the bound
    return form.of(said), x.requires_grad_(True)


@pytest.mark.parametrize("form", FORMS)
def test_decoding_inverts_encoding(form):
    found, x = random_map(form)
    torch.testing.assert_close(found.decode(found.encode(x)[0]), x, rtol=0, atol=1e-8)


@pytest.mark.parametrize("form", FORMS)
def test_the_jacobian_is_the_slope(form):
    found, x = random_map(form)
    z, grown = found.encode(x)
    (slope,) = torch.autograd.grad(z.sum(), x)
    assert torch.all(slope > 0)
    torch.testing.assert_close(grown, slope.log(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_told_nothing_is_the_identity(form):
    found, x = random_map(form, strength=0.0)
    z, grown = found.encode(x)
    torch.testing.assert_close(z, x, rtol=0, atol=1e-12)
    torch.testing.assert_close(grown, torch.zeros_like(x), rtol=0, atol=1e-12)
