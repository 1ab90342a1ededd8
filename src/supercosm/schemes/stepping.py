"""Steps along given times, one evaluation of the network per pass, and the integration of dx/dt along them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from supercosm.schemes.scheme import Scheme

Solver = Literal["euler", "heun", "ddpm"]  # ddpm: steps of a scheme's own, each of one evaluation
Slope = Callable[[Tensor, float], Tensor]


def steps_of(solver: Solver, passes: int) -> int:
    """Return how many steps so many evaluations make: one each, but two for Heun, save an odd last step of Euler's."""
    return (passes + 1) // 2 if solver == "heun" else passes


class SteppingScheme(Scheme):
    """A state of as many channels as the output, moved along times that the network is told."""

    numbers = 1

    @property
    def extra_inputs(self) -> int:
        """The network sees the state beside the input."""
        return self.features.outputs

    @property
    def passes(self) -> int:
        """Evaluations of the network for one sample."""
        return self.settings.evaluations

    @property
    def width(self) -> int:
        """Channels between passes: Heun's state holds the point to evaluate and the half-made step."""
        return self.features.outputs * (2 if self.settings.solver == "heun" else 1)

    @property
    def steps(self) -> int:
        """Steps that the evaluations make."""
        return steps_of(self.settings.solver, self.passes)


def advance(solver: Solver, number: int, passes: int, times: Sequence[float], slope: Slope, state: Tensor) -> Tensor:
    """Return the state after evaluation `number` of `passes` of Euler's or Heun's method; after the last one, x itself.

    state: x at first, (b, channels, …); then what the pass before returned.
    """
    if solver == "euler":
        return state + (times[number + 1] - times[number]) * slope(state, times[number])
    step, second = divmod(number, 2)
    ahead = times[step + 1] - times[step]
    if second:
        point, half = state.chunk(2, dim=1)
        x = half + ahead / 2 * slope(point, times[step + 1])
        return x if number == passes - 1 else torch.cat([x, x], dim=1)
    x = state if number == 0 else state.chunk(2, dim=1)[0]
    found = slope(x, times[step])
    if number == passes - 1:
        return x + ahead * found
    return torch.cat([x + ahead * found, x + ahead / 2 * found], dim=1)
