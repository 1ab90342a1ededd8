"""What the networks see and say: from fields in physical units to channels, and back.

Displacement models see the gradients of the up-sampled low-resolution displacement and velocity, not the
fields themselves: a uniform translation or boost of the box then changes nothing (Galilean invariance,
exactly), and no precision is spent on bulk flows. They predict the residual to the up-sampled fields. Density
models see log density and predict the residual to it.

Arrays of a region carry one border cell in the up-sampled low fields, so that differences exist at its edge.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from supercosm.config import Model, Settings


class Scales(Settings):
    """Root mean squares over the training boxes, which bring every channel to order one."""

    gradient: float = Field(1.0, gt=0, description="displacement gradient, or log density")
    shear: float = Field(1.0, gt=0, description="velocity difference per cell [km/s]")
    small: float = Field(1.0, gt=0, description="small-scale linear displacement [Mpc/h], or overdensity")
    residual: float = Field(1.0, gt=0, description="displacement residual [Mpc/h], or log density residual")
    boost: float = Field(1.0, gt=0, description="velocity residual [km/s]")


class Features:
    """Encode and decode the fields of one kind of model.

    low: (b, 6, n+2, …): up-sampled displacement [Mpc/h] and velocity [km/s]; density: (b, 1, n+2, …) log
    density. small: (b, 3, n, …) small-scale linear displacement [Mpc/h]; density: (b, 1, n, …) linear
    overdensity. high: (b, 6, n, …) displacement and velocity; density: (b, 1, n, …) log density.
    """

    def __init__(self, model: Model, cell: float, scales: Scales) -> None:
        """`cell`: high-resolution lattice spacing [Mpc/h]."""
        self.density = model.fields == "density"
        self.dimensions, self.sees_initial = model.dimensions, model.sees_initial
        self.cell, self.scales = cell, scales
        self.velocity_weight = model.velocity_weight

    @property
    def inputs(self) -> int:
        """Number of input channels."""
        return (1 if self.density else 18) + self.sees_initial * (1 if self.density else 3)

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        return 1 if self.density else 6

    def encode(self, low: Tensor, small: Tensor | None) -> Tensor:
        """Return the network's input (b, inputs, n, …)."""
        seen = [self.encode_low(low)]
        if self.sees_initial:
            seen.append(small / self.scales.small)
        return torch.cat(seen, dim=1)

    def encode_low(self, low: Tensor) -> Tensor:
        """Return the channels that come from the low run alone."""
        if self.density:
            return self._inner(low) / self.scales.gradient
        displacement = self._differences(low[:, :3]) / (self.cell * self.scales.gradient)
        velocity = self._differences(low[:, 3:]) / self.scales.shear
        return torch.cat([displacement, velocity], dim=1)

    def linear_residual(self, seen: Tensor) -> Tensor:
        """Return the small scales among the network's input as a normalised residual: what linear theory makes of them.

        (b, 3, n, …) displacement, or (b, 1, n, …) linear overdensity, as log density is to first order.
        """
        count = 1 if self.density else 3
        return seen[:, -count:] * (self.scales.small / self.scales.residual)

    def target(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the normalised residual of the high-resolution fields to the up-sampled ones."""
        return (high - self._inner(low)) / self._unit(high)

    def decode(self, output: Tensor, low: Tensor) -> Tensor:
        """Turn the network's output into physical fields like `high`."""
        return self._inner(low) + output * self._unit(output)

    def weigh(self, x: Tensor) -> Tensor:
        """Scale the velocity channels of an output or target to their weight in the loss."""
        return x if self.density else torch.cat([x[:, :3], self.velocity_weight * x[:, 3:]], dim=1)

    def _unit(self, like: Tensor) -> Tensor:
        scales = self.scales
        values = [scales.residual] if self.density else [scales.residual] * 3 + [scales.boost] * 3
        return torch.tensor(values, device=like.device, dtype=like.dtype).view(1, -1, *(1,) * self.dimensions)

    def _inner(self, x: Tensor) -> Tensor:
        inner = (slice(1, -1),) * self.dimensions
        return x[(..., *inner)]

    def _differences(self, x: Tensor) -> Tensor:
        """Return central differences along every axis: (b, 3c, n, …) from (b, c, n+2, …)."""
        found = []
        for axis in range(self.dimensions):
            ahead, behind = ([slice(1, -1)] * self.dimensions for _ in range(2))
            ahead[axis], behind[axis] = slice(2, None), slice(None, -2)
            found.append((x[(..., *ahead)] - x[(..., *behind)]) / 2)
        return torch.cat(found, dim=1)


def measure_scales(low: Tensor, small: Tensor | None, high: Tensor, features: Features) -> Scales:
    """Return the root mean squares of every group of channels over a batch of training crops."""

    def rms(x: Tensor) -> float:
        return max(float(x.double().square().mean().sqrt()), 1e-12)

    residual = high - features._inner(low)
    known = {"small": rms(small)} if small is not None else {}
    if features.density:
        return Scales(gradient=rms(features._inner(low)), residual=rms(residual), **known)
    return Scales(
        gradient=rms(features._differences(low[:, :3])) / features.cell,
        shear=rms(features._differences(low[:, 3:])),
        residual=rms(residual[:, :3]),
        boost=rms(residual[:, 3:]),
        **known,
    )
