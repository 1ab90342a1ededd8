"""Losses: known values, finite gradients, and a painted density that conserves mass."""

import math

import pytest
import torch

from supercosm import deposit
from supercosm.deposit import paint_crop
from supercosm.losses import EMPTY, PIXEL, density_distance, log_cosh, root_paint, spectrum_distance, weighted
from supercosm.mesh import paint

ZERO, TWO = torch.zeros(2, 3), torch.full((2, 3), 2.0)


@pytest.mark.parametrize(
    ("name", "value"), [("mse", 4.0), ("l1", 2.0), ("huber", 1.5), ("log_cosh", math.log(math.cosh(2.0)))]
)
def test_known_values(name, value):
    assert float(PIXEL[name](TWO, ZERO)) == pytest.approx(value, rel=1e-6)
    assert float(PIXEL[name](ZERO, TWO)) == pytest.approx(value, rel=1e-6)
    assert float(PIXEL[name](TWO, TWO)) == pytest.approx(0, abs=1e-6)


def test_log_cosh_is_quadratic_near_and_linear_far():
    near, far = torch.tensor([1e-2]), torch.tensor([1e4])
    assert float(log_cosh(near, torch.zeros(1))) == pytest.approx(0.5e-4, rel=1e-2)
    assert float(log_cosh(far, torch.zeros(1))) == pytest.approx(1e4 - math.log(2), rel=1e-6)


@pytest.mark.parametrize("name", PIXEL)
@pytest.mark.parametrize("size", [0.0, 1e-6, 1.0, 1e6])
def test_gradients_are_finite(name, size):
    output = torch.full((4,), size, requires_grad=True)
    PIXEL[name](output, torch.zeros(4)).backward()
    assert torch.isfinite(output.grad).all()


def test_weights_add_up():
    painted = (torch.ones(1, 1, 4, 4, 4), torch.zeros(1, 1, 4, 4, 4))
    total = weighted({"mse": 0.5, "l1": 2.0, "density": 3.0}, TWO, ZERO, painted)
    assert float(total) == pytest.approx(0.5 * 4 + 2 * 2 + 3 * 1)
    assert float(density_distance(*painted)) == 1


def test_particles_at_rest_make_a_uniform_density():
    assert torch.equal(paint_crop(torch.zeros(2, 3, 4, 4, 4)), torch.ones(2, 1, 4, 4, 4))
    shifted = paint_crop(torch.full((1, 3, 4, 4, 4), 0.3))
    torch.testing.assert_close(shifted, torch.ones(1, 1, 4, 4, 4))


def test_the_painted_crop_conserves_mass():
    torch.manual_seed(0)
    density = paint_crop(3 * torch.randn(2, 3, 8, 8, 8))
    assert float(density.min()) >= 0
    torch.testing.assert_close(density.mean(dim=(1, 2, 3, 4)), torch.ones(2), rtol=1e-5, atol=0)


def test_the_painted_crop_of_a_whole_box_is_the_painted_box():
    torch.manual_seed(0)
    n, box = 8, 20.0
    displacement = torch.randn(3, n, n, n)
    lattice = torch.stack(torch.meshgrid(*((torch.arange(n) + 0.5) * box / n,) * 3, indexing="ij"))
    positions = ((displacement + lattice) % box).reshape(3, -1).T.contiguous()
    expected = torch.sqrt(paint(positions, box, n) + EMPTY)
    torch.testing.assert_close(root_paint(displacement[None], box / n)[0, 0], expected, rtol=1e-4, atol=1e-4)


def test_the_gradient_of_the_painted_density_is_that_of_finite_differences():
    torch.manual_seed(0)
    displacement = torch.randn(1, 3, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    other = torch.randn(1, 1, 3, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda d: density_distance(torch.sqrt(deposit._with_torch(d) + EMPTY), other),
        displacement,
        eps=1e-4,  # far above the unit of the sums, 2⁻³²
    )


def test_both_ways_to_paint_agree_in_value_and_gradient():
    torch.manual_seed(0)
    displacement = 2 * torch.randn(2, 3, 6, 6, 6, dtype=torch.float64)
    other, found = torch.randn(2, 1, 6, 6, 6), []
    for paint_it, dtype in ((paint_crop, torch.float32), (deposit._with_torch, torch.float64)):
        leaf = displacement.to(dtype).requires_grad_(True)
        density = paint_it(leaf)
        density_distance(torch.sqrt(density + EMPTY), other.to(dtype)).backward()
        found.append((density.detach().double(), leaf.grad.double()))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)


def rooted(contrast):
    """Root density (1, 1, n, n, n) of an overdensity, as `root_paint` gives it."""
    return torch.sqrt(1 + contrast + EMPTY)[None, None]


def test_the_spectrum_term_asks_for_power_and_not_for_phases():
    """Half the contrast has a quarter of the power at every k; a mirrored field has the same spectrum elsewhere."""
    torch.manual_seed(0)
    contrast = 0.3 * torch.randn(24, 24, 24).clamp(-2, 2)
    same, half, mirrored = (rooted(x) for x in (contrast, 0.5 * contrast, contrast.flip(0)))
    assert float(spectrum_distance(same, same)) == 0
    assert float(spectrum_distance(half, same)) == pytest.approx(math.log(4), rel=1e-3)
    assert float(spectrum_distance(same, half)) == pytest.approx(math.log(4), rel=1e-3)
    assert float(spectrum_distance(mirrored, same)) < 1e-4
    assert float(density_distance(mirrored, same)) > 0.01


def test_the_spectrum_term_counts_scales_alike():
    """A wave of 3 and one of 8 periods per crop: halving either costs about the same, though one is 3 % of all modes.

    The window spreads a wave over the neighbouring bins, of which the narrow ones at long waves hold more.
    """
    x = torch.arange(32) / 32
    waves = [0.2 * torch.sin(2 * torch.pi * n * x)[:, None, None].expand(32, 32, 32) for n in (3, 8)]
    torch.manual_seed(0)
    grain = 0.01 * torch.randn(32, 32, 32)
    both = rooted(waves[0] + waves[1] + grain)
    costs = [float(spectrum_distance(rooted(0.5 * waves[i] + waves[1 - i] + grain), both)) for i in (0, 1)]
    assert 0.5 < costs[0] / costs[1] < 2
    assert min(costs) > 0.1


def test_the_spectrum_term_of_an_even_density_is_finite():
    even = rooted(torch.zeros(16, 16, 16)).requires_grad_(True)
    torch.manual_seed(0)
    distance = spectrum_distance(even, rooted(0.3 * torch.randn(16, 16, 16).clamp(-2, 2)))
    distance.backward()
    assert torch.isfinite(distance)
    assert torch.isfinite(even.grad).all()
