"""How usual an input is: numbers of a low-resolution run, compared with those of the runs a model was trained on.

A model is a function of its training data; where the input is unlike them nothing vouches for the output. The numbers
need no cosmology, so they also speak for snapshots whose headers say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from supercosm.mesh import four_point_gradient

SIGMAS = 4.0  # scatter between training boxes that passes as usual
LEAST = 0.03  # relative difference that always passes: boxes of other sizes hold other long waves
PLANES, REACH = 16, 2  # planes differentiated at once, and those beyond that the difference sees
FEW, LEAST_OF_FEW = 3, 0.3  # with fewer training boxes than this their scatter says nothing


def describe(displacement: np.ndarray, velocity: np.ndarray, box_size: float) -> dict[str, float]:
    """Return what is usual or not about a low-resolution run, from fields (3, n, n, n) [Mpc/h, km/s] on its lattice.

    compression: rms of −∇·ψ, to first order the overdensity on the scale of the lattice; asymmetry: its skewness, which
    grows as structure forms; flow: (∇·v)(∇·ψ) per (∇·ψ)² [km/s per Mpc/h], to first order a H f.
    """
    cell = box_size / displacement.shape[-1]
    compression, infall = (_convergence(field, cell) for field in (displacement, velocity))
    square = float(compression.square().mean()) or 1.0  # particles that never left their lattice: all numbers are zero
    return {
        "compression": float(compression.square().mean().sqrt()),
        "asymmetry": float((compression**3).mean()) / square**1.5,
        "flow": float((compression * infall).mean()) / square,
    }


def _convergence(field: np.ndarray, cell: float) -> torch.Tensor:
    """Return −∇· of a periodic field (3, n, n, n) in double precision, some planes at a time: it may be large."""
    components = torch.as_tensor(np.asarray(field, np.float32))
    n = components.shape[-1]
    found = torch.empty(components.shape[1:], dtype=torch.float64)
    for first in range(0, n, PLANES):
        last = min(first + PLANES, n)
        around = torch.arange(first - REACH, last + REACH) % n
        along_x = four_point_gradient(components[0, around].double(), cell, 0)[REACH : REACH + last - first]
        others = (four_point_gradient(components[axis, first:last].double(), cell, axis) for axis in (1, 2))
        found[first:last] = -sum(others, along_x)
    return found


def unusual(found: Mapping[str, float], known: Sequence[Mapping[str, float]]) -> list[str]:
    """Say in which numbers an input lies outside the training boxes, one sentence each; none where it is usual."""
    sentences = []
    for name, value in found.items():
        boxes = np.array([box[name] for box in known])
        mean, scatter = boxes.mean(), boxes.std(ddof=1) if len(boxes) >= FEW else 0.0
        room = max(SIGMAS * scatter, (LEAST if len(boxes) >= FEW else LEAST_OF_FEW) * abs(mean))
        if abs(value - mean) > room:
            sentences.append(f"its {name} is {value:.3g}, that of the training boxes {mean:.3g} ± {room:.2g}")
    return sentences
