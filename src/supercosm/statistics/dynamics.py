"""Dynamics: power of velocities and displacements, of their divergence and curl; and pairwise velocities.

Convention: θ = −∇·v/(a H f) and ω = ∇×v/(a H f), with v the peculiar velocity [km/s], ∇ comoving [h/Mpc] and a H f
from `growing_rate` [km/s per Mpc/h]: both are pure numbers, and to first order θ = δ and ω = 0. Of a
displacement ψ [Mpc/h] the same with scale 1: −∇·ψ = δ and ∇×ψ = 0 to first order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import torch
from scipy.spatial import cKDTree

from supercosm import noise
from supercosm.config import Cosmology
from supercosm.cosmology import HUBBLE, expansion, growth
from supercosm.errors import DataError
from supercosm.mesh import BLOCKS, _add_blocks, _cell
from supercosm.statistics.power import Spectra, power, transform

EMPTY = 1e-6  # particles in a cell below which it counts as empty: fewer digits of float32 would be left than needed
PAIR_BLOCKS = 64  # summed separately and added in order: a constant, so that sums never depend on the thread count
MOST = 100_000  # points whose pairs are counted: some seconds on one core up to a fifth of the box
SUBSAMPLE = 3  # stream of the noise that chooses points: never one that simulations, samples or ties use
Field = torch.Tensor | np.ndarray


def growing_rate(cosmology: Cosmology, a: float) -> float:
    """Return a H f at scale factor a [km/s per Mpc/h]: linear theory has v = a H f ψ and −∇·v = a H f δ."""
    return a * HUBBLE * float(expansion(cosmology, a)) * growth(cosmology, a).f


@dataclass(frozen=True)
class FlowSpectra:
    """Spectra of two vector fields, summed over components: the fields', their divergence's and their curl's.

    field: (Mpc/h)³ times the square of the field's unit. divergence, curl: (Mpc/h)³ times the square of unit / (Mpc/h)
    / scale. In every mode k² |v|² = |k·v|² + |k×v|², so the last two tell growing from vortical flow.
    """

    field: Spectra
    divergence: Spectra
    curl: Spectra


def compare_flows(
    first: Field, second: Field, box_size: float, edges: np.ndarray, scale: float = 1.0, window: int = 0
) -> FlowSpectra:
    """Bin the spectra of two vector fields (3, m, m, m), of −∇·/scale and of ∇×/scale; edges in |n| = k L / 2π.

    Velocity [km/s] on the Lagrangian lattice or from `mesh_velocity`: scale = growing_rate. Displacement [Mpc/h]:
    scale = 1. Painted momentum: window = CLOUD_IN_CELL. Raises DataError on other or unequal shapes and on NaN.
    """
    if first.shape != second.shape:
        raise DataError(f"fields {tuple(first.shape)} and {tuple(second.shape)} cannot be compared; give equal shapes")
    fields = [_vector_field(first)] if second is first else [_vector_field(first), _vector_field(second)]
    cells = first.shape[-1]
    modes = [transform(field, 3, min(math.ceil(edges[-1]), cells // 2)) for field in fields]
    parts = (
        modes,
        [divergence_modes(one, box_size, scale) for one in modes],
        [curl_modes(one, box_size, scale) for one in modes],
    )
    return FlowSpectra(*(power(part[0], part[-1], box_size, edges, cells, window) for part in parts))


def divergence_modes(modes: torch.Tensor, box_size: float, scale: float = 1.0) -> torch.Tensor:
    """Turn vector modes (3, …) of `power.transform` into those of −∇·v/scale: (1, …), with k in h/Mpc."""
    k = _wave_vector(modes, box_size * scale)
    return -1j * (k[0] * modes[0] + k[1] * modes[1] + k[2] * modes[2])[None]


def curl_modes(modes: torch.Tensor, box_size: float, scale: float = 1.0) -> torch.Tensor:
    """Turn vector modes (3, …) of `power.transform` into those of ∇×v/scale: (3, …), with k in h/Mpc."""
    k = _wave_vector(modes, box_size * scale)
    return 1j * torch.stack([k[i] * modes[j] - k[j] * modes[i] for i, j in ((1, 2), (2, 0), (0, 1))])


def _wave_vector(modes: torch.Tensor, length: float) -> list[torch.Tensor]:
    """Return 2π n / length along each axis; 0 at the Nyquist frequency, where a real derivative has no mode."""
    *whole, half = modes.shape[1:]
    axes = [torch.fft.fftfreq(count, 1 / count, device=modes.device) for count in whole]
    axes.append(torch.arange(half, dtype=torch.float32, device=modes.device))
    for axis, n in enumerate(axes):
        if whole[0] % 2 == 0:
            n[n.abs() == whole[0] // 2] = 0.0
        axes[axis] = (n * (2 * math.pi / length)).view([-1 if a == axis else 1 for a in range(3)])
    return axes


def paint_momentum(positions: np.ndarray, velocities: np.ndarray, box_size: float, cells: int) -> torch.Tensor:
    """Paint particles (N, 3) [Mpc/h, km/s] by cloud in cell: (4, m, m, m) float32, 1 + δ, then (1 + δ) v [km/s].

    The momentum is mass-weighted and needs no filling: where there is no mass it is zero. Raises DataError as
    `mesh_velocity`.
    """
    positions, velocities = _points(positions, velocities, box_size, 1)
    if cells < 1:
        raise DataError(f"a mesh of {cells} cells per side cannot be painted on; it needs at least 1")
    mesh = np.empty((4, cells, cells, cells), np.float32)
    for row in range(4):
        weights = velocities[:, row - 1] if row else np.ones(len(positions), np.float32)
        blocks = np.zeros((BLOCKS, cells, cells, cells), np.float32)
        _paint_weights(positions, weights, cells / box_size, blocks)
        _add_blocks(blocks, cells**3 / len(positions))
        mesh[row] = blocks[0]
    return torch.from_numpy(mesh)


@numba.njit(parallel=True, fastmath=False, cache=True)
def _paint_weights(positions: np.ndarray, weights: np.ndarray, per_length: float, meshes: np.ndarray) -> None:
    blocks, n = meshes.shape[0], meshes.shape[1]
    count = positions.shape[0]
    for block in numba.prange(blocks):
        for p in range(block * count // blocks, (block + 1) * count // blocks):
            x0, x1, wx = _cell(positions[p, 0], per_length, n)
            y0, y1, wy = _cell(positions[p, 1], per_length, n)
            z0, z1, wz = _cell(positions[p, 2], per_length, n)
            for x, u in ((x0, np.float32(1.0) - wx), (x1, wx)):
                for y, v in ((y0, np.float32(1.0) - wy), (y1, wy)):
                    meshes[block, x, y, z0] += u * v * (np.float32(1.0) - wz) * weights[p]
                    meshes[block, x, y, z1] += u * v * wz * weights[p]


def mesh_velocity(positions: np.ndarray, velocities: np.ndarray, box_size: float, cells: int) -> torch.Tensor:
    """Estimate the velocity field of particles (N, 3) [Mpc/h, km/s] on a mesh: (3, m, m, m) float32 [km/s].

    The mass-weighted mean in each cloud-in-cell cell; an empty cell takes the velocity of the particle nearest to its
    centre (Zheng et al. 2013). So cells weigh alike, whatever their mass. In voids the field is that of Voronoi cells,
    whose edges add vorticity near the particles' Nyquist frequency. Raises DataError without particles, and on NaN, on
    positions outside [0, box) and on other shapes.
    """
    positions, velocities = _points(positions, velocities, box_size, 1)
    mass, *momentum = paint_momentum(positions, velocities, box_size, cells)
    velocity = torch.stack(momentum) / mass.clamp(min=1e-30)
    empty = (mass < EMPTY * cells**3 / len(positions)).numpy().nonzero()
    if len(empty[0]):
        centres = (np.stack(empty, axis=-1) + 0.5) * (box_size / cells)
        nearest = cKDTree(positions, boxsize=box_size).query(centres, workers=numba.get_num_threads())[1]
        velocity[:, empty[0], empty[1], empty[2]] = torch.from_numpy(velocities[nearest].T.copy())
    return velocity


@dataclass(frozen=True)
class PairwiseVelocity:
    """Relative velocities of pairs in bins of separation, each array (bins,); NaN in bins without pairs.

    r: mean separation [Mpc/h]. pairs: number of pairs, each once. mean: v₁₂ = ⟨(v₂ − v₁)·r̂⟩ [km/s], negative for
    infall. radial: standard deviation along r̂; transverse: rms per component across it [km/s]. used, given: number of
    points used, of those given.
    """

    r: np.ndarray
    pairs: np.ndarray
    mean: np.ndarray
    radial: np.ndarray
    transverse: np.ndarray
    used: int
    given: int

    @property
    def sigma(self) -> np.ndarray:
        """Dispersion per component, σ₁₂ = √((σ_r² + 2 σ_t²)/3) [km/s], (bins,)."""
        return np.sqrt((self.radial**2 + 2 * self.transverse**2) / 3)


def pairwise_velocity(
    positions: np.ndarray, velocities: np.ndarray, box_size: float, edges: np.ndarray, most: int = MOST, seed: int = 0
) -> PairwiseVelocity:
    """Measure the mean relative velocity and its dispersion of pairs of points (N, 3) [Mpc/h, km/s].

    edges: bins of separation [Mpc/h], half open, up to half the box; pairs at zero separation have no direction and are
    left out. Of more than `most` points, that many are chosen by a function of (seed, index). Raises DataError on fewer
    than two points, NaN, positions outside [0, box) and edges that do not increase or reach beyond half the box.
    """
    x, v = _points(positions, velocities, box_size, 2)
    edges = np.asarray(edges, np.float64)
    if len(edges) < 2 or edges[0] < 0 or not np.all(np.diff(edges) > 0) or edges[-1] > box_size / 2:
        bins = ", ".join(f"{edge:g}" for edge in edges)
        raise DataError(
            f"separations {bins} Mpc/h must increase, from 0 or more to at most {box_size / 2:g}, half the box"
        )
    chosen = _choose(len(x), most, seed)
    side = int(box_size / edges[-1])
    side = min(side, 64) if side >= 3 else 1  # cells no narrower than the largest separation, or a single one
    points, cells, starts = _sort_by_cell(np.hstack([x[chosen], v[chosen]]).astype(np.float64), box_size, side)
    pairs, *totals = _sum_pairs(points, cells, starts, side, box_size, edges**2).sum(0).T
    r, mean, radial, transverse = np.divide(totals, pairs, out=np.full((4, len(pairs)), np.nan), where=pairs > 0)
    spread = np.sqrt(np.maximum(radial - mean**2, 0))
    return PairwiseVelocity(r, pairs.astype(int), mean, spread, np.sqrt(transverse / 2), len(chosen), len(positions))


def _choose(count: int, most: int, seed: int) -> np.ndarray:
    if count <= most:
        return np.arange(count)
    index = torch.arange(count)
    rank = noise.white_noise(noise.key_of(seed, SUBSAMPLE), (index % (1 << 16), index // (1 << 16), 0 * index))
    return np.sort(np.argsort(rank.numpy(), kind="stable")[:most])


def _sort_by_cell(points: np.ndarray, box_size: float, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order points (N, 6) by cell of a mesh `side`³; return them, their cells (N, 3), and each cell's first point."""
    cells = np.minimum((points[:, :3] * (side / box_size)).astype(np.int64), side - 1)
    flat = (cells[:, 0] * side + cells[:, 1]) * side + cells[:, 2]
    order = np.argsort(flat, kind="stable")
    return points[order], cells[order], np.append(0, np.cumsum(np.bincount(flat, minlength=side**3)))


@numba.njit(parallel=True, fastmath=False, cache=True)
def _sum_pairs(
    points: np.ndarray, cells: np.ndarray, starts: np.ndarray, side: int, box: float, edges: np.ndarray
) -> np.ndarray:
    """Sum, per block and bin, the number of pairs, r, v·r̂, (v·r̂)² and |v|² − (v·r̂)²; edges are squared."""
    sums = np.zeros((PAIR_BLOCKS, len(edges) - 1, 5))
    count, reach = len(points), (1 if side > 1 else 0)
    for block in numba.prange(PAIR_BLOCKS):
        for i in range(block * count // PAIR_BLOCKS, (block + 1) * count // PAIR_BLOCKS):
            for a in range(cells[i, 0] - reach, cells[i, 0] + reach + 1):
                for b in range(cells[i, 1] - reach, cells[i, 1] + reach + 1):
                    for c in range(cells[i, 2] - reach, cells[i, 2] + reach + 1):
                        cell = ((a % side) * side + b % side) * side + c % side
                        others = range(max(starts[cell], i + 1), starts[cell + 1])
                        _add_pairs(points, i, others, box, edges, sums[block])
    return sums


@numba.njit(cache=True)
def _add_pairs(points: np.ndarray, i: int, others: range, box: float, edges: np.ndarray, sums: np.ndarray) -> None:
    one = points[i]
    for j in others:
        two = points[j]
        rx, ry, rz = _image(two[0] - one[0], box), _image(two[1] - one[1], box), _image(two[2] - one[2], box)
        r2 = rx * rx + ry * ry + rz * rz
        if r2 >= edges[-1] or r2 < edges[0] or r2 == 0.0:
            continue
        bin = len(edges) - 2
        while r2 < edges[bin]:
            bin -= 1
        r = math.sqrt(r2)
        vx, vy, vz = two[3] - one[3], two[4] - one[4], two[5] - one[5]
        radial = (vx * rx + vy * ry + vz * rz) / r
        sums[bin, 0] += 1.0
        sums[bin, 1] += r
        sums[bin, 2] += radial
        sums[bin, 3] += radial * radial
        sums[bin, 4] += vx * vx + vy * vy + vz * vz - radial * radial


@numba.njit(cache=True)
def _image(difference: float, box: float) -> float:
    if difference > 0.5 * box:
        return difference - box
    return difference + box if difference < -0.5 * box else difference


def _vector_field(field: Field) -> torch.Tensor:
    field = torch.as_tensor(field)
    if field.ndim != 4 or field.shape[0] != 3 or len(set(field.shape[1:])) != 1 or field.shape[-1] < 4:
        raise DataError(f"a vector field {tuple(field.shape)} is not on a cubic mesh; it must be (3, m, m, m), m ≥ 4")
    if bad := int((~torch.isfinite(field)).sum()):
        raise DataError(f"{bad} values of the vector field are NaN or infinite; repair it before it is measured")
    return field


def _points(positions: np.ndarray, velocities: np.ndarray, box_size: float, least: int) -> tuple[np.ndarray, ...]:
    x, v = (np.ascontiguousarray(a, np.float32) for a in (positions, velocities))
    if x.ndim != 2 or x.shape[1] != 3 or x.shape != v.shape:
        raise DataError(f"positions {x.shape} and velocities {v.shape} do not fit; both must be (N, 3)")
    if len(x) < least:
        raise DataError(f"this statistic needs at least {least} points, but there are {len(x)}")
    if bad := x.size + v.size - np.count_nonzero(np.isfinite(x)) - np.count_nonzero(np.isfinite(v)):
        raise DataError(f"{bad} position or velocity components are NaN or infinite; the points cannot be used")
    if x.min() < 0 or x.max() > box_size * 1.000001:
        raise DataError(f"positions run from {x.min():g} to {x.max():g} Mpc/h; wrap them into [0, {box_size:g})")
    return np.where(x < box_size, x, np.float32(0)), v  # what float32 rounds up to the box side is the point 0
