"""The course of a learning rate that rises and falls once."""

from __future__ import annotations

import math


def one_cycle(done: float, rise: float) -> float:
    """Return the learning rate in units of its peak: it rises linearly from a tenth and falls as a cosine to nothing.

    done: share of the training that is over; rise: share in which the rate rises.
    """
    if done < rise:
        return 0.1 + 0.9 * done / rise
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (done - rise) / (1 - rise)))
