"""D(OUTPUT, TARGET), by name: what a network is asked to make small."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from supercosm.deposit import paint_crop

Pixel = Callable[[Tensor, Tensor], Tensor]


EMPTY = 0.1  # added before the root, whose slope in an empty cell would be infinite


def log_cosh(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of log cosh(output − target): quadratic near zero, linear far away."""
    error = (output - target).abs()
    return (error + functional.softplus(-2 * error) - math.log(2)).mean()


PIXEL: Mapping[str, Pixel] = {
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "huber": functional.huber_loss,
    "log_cosh": log_cosh,
}


def root_paint(displacement: Tensor, cell: float) -> Tensor:
    """Paint a crop of particles and compress: √(ρ + ε) on the crop's own cells.

    The root weighs haloes enough to set their profiles right, which a logarithm does not, without letting them drown
    all else.

    displacement: (b, 3, n, n, n) [Mpc/h] relative to the crop; cell: lattice spacing [Mpc/h].
    Returns (b, 1, n, n, n).
    """
    return torch.sqrt(paint_crop(displacement / cell) + EMPTY)


def density_distance(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of two painted root densities."""
    return functional.mse_loss(output, target)


def weighted(
    terms: Mapping[str, float], output: Tensor, target: Tensor, painted: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Return Σ weight × term. `painted`: root densities of output and target, needed by the term "density"."""
    total = output.new_zeros(())
    for name, weight in sorted(terms.items()):
        if name == "density":
            total = total + weight * density_distance(*painted)
        else:
            total = total + weight * PIXEL[name](output, target)
    return total
