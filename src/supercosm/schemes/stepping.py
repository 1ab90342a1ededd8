"""Integrate dx/dt along given times, one evaluation per pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

Solver = Literal["euler", "heun"]
Slope = Callable[[Tensor, float], Tensor]


def steps_of(solver: Solver, passes: int) -> int:
    """Return how many steps so many evaluations make: Heun takes two each, and one for an odd last step of Euler's."""
    return passes if solver == "euler" else (passes + 1) // 2


def width_of(solver: Solver, channels: int) -> int:
    """Return the channels of the state between passes: Heun's holds the point to evaluate and the half-made step."""
    return channels if solver == "euler" else 2 * channels


def advance(solver: Solver, number: int, passes: int, times: Sequence[float], slope: Slope, state: Tensor) -> Tensor:
    """Return the state after evaluation `number` of `passes`; after the last one, x at the last of the times.

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
