"""Nested Gaussian initial conditions and Lagrangian perturbation theory.

A mode's Gaussian number depends on (seed, integer wave vector) alone, so runs of one seed at any two
resolutions share every mode below the coarser Nyquist frequency. Nyquist planes are zero: they have no
definite phase.

Fourier convention: f(x) = Σ f_k exp(i k·x), so <|δ_k|²> = P(k) / V. Lattice points are at (i + 1/2) L/n.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from supercosm import noise
from supercosm.config import Cosmology
from supercosm.cosmology import power_at
from supercosm.mesh import wave_numbers

Wave = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
INITIAL, SAMPLE = (
    0,
    1,
)  # streams of the noise: a sample's modes never repeat those of a simulation with its seed


@dataclass(frozen=True)
class Phases:
    """Which random modes are meant: those of a simulation's seed, or of a drawn sample.

    fixed: amplitudes at their rms instead of Gaussian (Angulo & Pontzen 2016). other: the seed of all modes that a
    lattice of `shared` points per side does not hold, where they are not to come from `seed` too: another universe
    with the same large scales.
    """

    seed: int
    stream: int = INITIAL
    fixed: bool = False
    other: int | None = None
    shared: int = 0

    @property
    def key(self) -> int:
        """Key of the noise function."""
        return noise.key_of(self.seed, self.stream)


def linear_modes(phases: Phases, cosmology: Cosmology, box_size: float, wave: Wave) -> torch.Tensor:
    """Return today's linear overdensity modes at integer wave vectors, complex64, without a lattice phase."""
    white = noise.white_modes(phases.key, wave, phases.fixed)
    if phases.other is not None:
        small = noise.white_modes(noise.key_of(phases.other, phases.stream), wave, phases.fixed)
        white = torch.where(selected(wave, phases.shared, None), white, small)
    return white * _amplitude(cosmology, box_size, wave)


def _amplitude(cosmology: Cosmology, box_size: float, wave: Wave) -> torch.Tensor:
    """Return sqrt(P(k) / V), float32, from a table over the integers that |wave|² can be."""
    squared = sum(w**2 for w in torch.broadcast_tensors(*wave))
    k = np.sqrt(np.arange(int(squared.max()) + 1)) * (2 * math.pi / box_size)
    root = np.sqrt(power_at(cosmology, k) / box_size**3)
    return torch.as_tensor(root, dtype=torch.float32, device=squared.device)[squared]


def selected(wave: Wave, cells: int, beyond: int | None) -> torch.Tensor:
    """Tell which modes a lattice of `cells` points per side holds and, given `beyond`, one of those does not.

    A lattice holds the modes below its Nyquist frequency: a cube in wave-vector space.
    """
    largest = torch.stack(torch.broadcast_tensors(*(w.abs() for w in wave))).amax(0)
    inside = largest < cells // 2
    return inside if beyond is None else inside & (largest >= beyond // 2)


def displacement_modes(
    phases: Phases, cosmology: Cosmology, box_size: float, cells: int, wave: Wave, beyond: int | None = None
) -> Iterator[torch.Tensor]:
    """Yield the three components of the linear displacement modes today [Mpc/h], ψ_k = i k δ_k / k².

    They carry the phase that puts lattice points at cell centres. `beyond`: only the modes that a lattice
    of so many points per side does not hold.
    """
    delta = linear_modes(phases, cosmology, box_size, wave) * selected(wave, cells, beyond)
    squared = sum(w.double() ** 2 for w in torch.broadcast_tensors(*wave))
    squared[squared == 0] = 1.0
    potential = delta * _to_cell_centres(wave, cells) / (squared * (2 * math.pi / box_size)).float()
    for component in wave:
        yield 1j * component * potential


def linear_displacement(
    phases: Phases,
    cosmology: Cosmology,
    box_size: float,
    cells: int,
    beyond: int | None = None,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Return the linear (Zel'dovich) displacement today on the lattice: (3, n, n, n) float32 [Mpc/h].

    Multiply by the growth D(a) for an earlier time.
    """
    modes = displacement_modes(phases, cosmology, box_size, cells, wave_numbers(cells, device), beyond)
    shape = (cells,) * 3
    return torch.stack([torch.fft.irfftn(m, s=shape, norm="forward") for m in modes])


def overdensity_modes(
    phases: Phases, cosmology: Cosmology, box_size: float, cells: int, wave: Wave, beyond: int | None = None
) -> Iterator[torch.Tensor]:
    """Yield the linear overdensity modes today for points at cell centres; `beyond` as for displacements."""
    delta = linear_modes(phases, cosmology, box_size, wave) * selected(wave, cells, beyond)
    yield delta * _to_cell_centres(wave, cells)


def _to_cell_centres(wave: Wave, cells: int) -> torch.Tensor:
    """Return exp(i k·Δ/2): moves the lattice from cell corners to cell centres."""
    shift = sum(wave).double() * (math.pi / cells)
    return torch.polar(torch.ones_like(shift), shift).to(torch.complex64)


def linear_overdensity(
    phases: Phases, cosmology: Cosmology, box_size: float, cells: int, beyond: int | None = None
) -> torch.Tensor:
    """Return the linear overdensity today at the lattice points: (n, n, n) float32."""
    (modes,) = overdensity_modes(phases, cosmology, box_size, cells, wave_numbers(cells), beyond)
    return torch.fft.irfftn(modes, s=(cells,) * 3, norm="forward")


def second_order_displacement(first: torch.Tensor, box_size: float) -> torch.Tensor:
    """Return the second-order displacement ψ₂ of a linear one ψ₁ (3, n, n, n): x = q + D ψ₁ + E ψ₂ [Mpc/h].

    ∇·ψ₂ = Σ_{i<j} (ψ₁ᵢ,ᵢ ψ₁ⱼ,ⱼ − ψ₁ᵢ,ⱼ²) (Bouchet et al. 1995, eq. 2.27; the tensor is symmetric).
    """
    n = first.shape[-1]
    waves = [w * (2 * math.pi / box_size) for w in wave_numbers(n, first.device)]
    for axis, wave in enumerate(waves):
        wave[(slice(None),) * axis + (n // 2,)] = 0.0  # the derivative of a real field has no Nyquist mode
    modes = [torch.fft.rfftn(component) for component in first]

    def derivative(i: int, j: int) -> torch.Tensor:
        return torch.fft.irfftn(1j * waves[j] * modes[i], s=(n, n, n))

    xx, yy, zz = derivative(0, 0), derivative(1, 1), derivative(2, 2)
    source = xx * yy + xx * zz + yy * zz
    del xx, yy, zz
    for i, j in ((0, 1), (0, 2), (1, 2)):
        source -= derivative(i, j) ** 2
    squared = sum(w.double() ** 2 for w in waves)
    squared[squared == 0] = 1.0
    potential = torch.fft.rfftn(source) / squared.float()
    return torch.stack([torch.fft.irfftn(-1j * w * potential, s=(n, n, n)) for w in waves])
