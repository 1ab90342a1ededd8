"""Particle-mesh gravity and its time stepping.

The growth factor D is the time, v = dx/dD the velocity: the Zel'dovich motion is then force-free. Steps are
drift–kick–drift with BullFrog weights (Rampf, List & Hahn 2025, JCAP 02, 020), which follow second-order
Lagrangian perturbation theory exactly, so that few steps suffice. Positions in comoving Mpc/h.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from supercosm import mesh
from supercosm.config import Cosmology, Simulation
from supercosm.cosmology import HUBBLE, expansion, growth, scale_factor_of_growth
from supercosm.initial import Phases, linear_displacement, second_order_displacement


@dataclass
class Particles:
    """State of a run at scale factor a: positions (N, 3), not wrapped, velocities dx/dD (N, 3) [Mpc/h]."""

    positions: torch.Tensor
    velocities: torch.Tensor
    a: float


def lattice(cells: int, box_size: float, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return the lattice points (i + 1/2) L/n in C order: (n³, 3) float32 [Mpc/h]."""
    axis = (torch.arange(cells, dtype=torch.float64, device=device) + 0.5) * (box_size / cells)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3).float()


def start(
    phases: Phases,
    cosmology: Cosmology,
    box_size: float,
    cells: int,
    a: float,
    device: torch.device | str = "cpu",
) -> Particles:
    """Place particles by second-order Lagrangian perturbation theory at scale factor a."""
    first = linear_displacement(phases, cosmology, box_size, cells, device=device)
    second = second_order_displacement(first, box_size)
    g = growth(cosmology, a)
    moved = g.D * first + g.second * second
    velocity = first + g.second_slope * second
    positions = lattice(cells, box_size, device) + moved.view(3, -1).T
    return Particles(positions, velocity.view(3, -1).T.contiguous(), a)


def time_steps(simulation: Simulation, cosmology: Cosmology) -> list[float]:
    """List the scale factors between steps, from the start through every output.

    Steps are as uniform in a (or D) as hitting each output allows: each stretch gets its share, at least
    one.
    """
    outputs = simulation.scale_factors
    edges = np.array([simulation.start, *outputs])
    if simulation.spacing == "D":
        edges = np.array([growth(cosmology, a).D for a in edges])
    spans = np.diff(edges) / (edges[-1] - edges[0])
    counts = np.maximum(1, np.round(spans * simulation.steps).astype(int))
    grid = [edges[0]]
    for first, last, count in zip(edges[:-1], edges[1:], counts, strict=True):
        grid += list(np.linspace(first, last, count + 1)[1:])
    if simulation.spacing == "D":
        grid = list(scale_factor_of_growth(cosmology, np.array(grid)))
    for output in outputs:  # exactly, so that outputs are recognised by equality
        grid[int(np.argmin(np.abs(np.array(grid) - output)))] = output
    return [float(a) for a in grid]


class Gravity:
    """The force of a periodic density field on a fixed mesh; keeps the Green function between steps."""

    def __init__(self, cells: int, box_size: float, device: torch.device | str = "cpu") -> None:
        self.cells, self.box_size = cells, box_size
        squared = sum(w.float() ** 2 for w in mesh.wave_numbers(cells, device))
        squared[0, 0, 0] = torch.inf
        self.inverse_laplacian = -1 / (squared * (2 * math.pi / box_size) ** 2)

    def potential(self, positions: torch.Tensor) -> torch.Tensor:
        """Solve ∇²φ = δ for particles (N, 3): (cells,)*3 float32 [(Mpc/h)²]."""
        density = mesh.paint(positions, self.box_size, self.cells)
        modes = torch.fft.rfftn(density)
        torch.view_as_real(modes).mul_(self.inverse_laplacian[..., None])  # complex × real would copy to complex
        return torch.fft.irfftn(modes, s=density.shape)


def bullfrog_weights(cosmology: Cosmology, a0: float, a1: float) -> tuple[float, float]:
    """Return (α, β/D½) of the kick v₁ = α v₀ − β/D½ ∇φ that keeps second-order perturbation theory exact.

    With x = q + D ψ₁ + E ψ₂ the mesh force at the middle of the step is D½ (ψ₁ + F ψ₂), where
    F = (E₀ + E₀' ΔD/2) / D½ − D½; asking for v₁ = ψ₁ + E₁' ψ₂ gives α = (E₁' − F) / (E₀' − F) and β = 1 − α
    (Rampf, List & Hahn 2025, section 3).
    """
    g0, g1 = growth(cosmology, a0), growth(cosmology, a1)
    middle = (g0.D + g1.D) / 2
    F = (g0.second + g0.second_slope * (g1.D - g0.D) / 2) / middle - middle
    alpha = (g1.second_slope - F) / (g0.second_slope - F)
    return alpha, (1 - alpha) / middle


def step(particles: Particles, a1: float, gravity: Gravity, cosmology: Cosmology) -> None:
    """Advance particles in place to scale factor a1: half a drift, a kick, half a drift."""
    half = (growth(cosmology, a1).D - growth(cosmology, particles.a).D) / 2
    alpha, beta = bullfrog_weights(cosmology, particles.a, a1)

    particles.positions.add_(particles.velocities, alpha=half)

    potential = gravity.potential(particles.positions)
    mesh.kick(particles.positions, particles.velocities, potential, gravity.box_size, (alpha, beta))

    particles.positions.add_(particles.velocities, alpha=half)
    particles.a = a1


def run(
    simulation: Simulation,
    cosmology: Cosmology,
    phases: Phases,
    cells: int,
    device: torch.device | str = "cpu",
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Particles]:
    """Simulate `cells`³ particles; yield their state at every output, changed in place afterwards."""
    times: Sequence[float] = time_steps(simulation, cosmology)
    particles = start(phases, cosmology, simulation.box_size, cells, times[0], device)
    gravity = Gravity(simulation.mesh * cells, simulation.box_size, device)
    for a in times[1:]:
        step(particles, a, gravity, cosmology)
        tick()
        if a in simulation.scale_factors:
            yield particles


def peculiar_velocity(particles: Particles, cosmology: Cosmology) -> torch.Tensor:
    """Return a dx/dt = a H f D dx/dD of every particle: (N, 3) [km/s]."""
    return particles.velocities * velocity_factor(cosmology, particles.a)


def velocity_factor(cosmology: Cosmology, a: float) -> float:
    """Return a H f D: peculiar velocity [km/s] per dx/dD [Mpc/h], or per linear displacement today."""
    g = growth(cosmology, a)
    return a * HUBBLE * float(expansion(cosmology, a)) * g.f * g.D
