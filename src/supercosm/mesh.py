"""The periodic mesh: cloud-in-cell painting and readout, gravity's gradient, Fourier up-sampling.

Positions are comoving Mpc/h; cell i of a mesh of n cells in a box L spans [i, i+1) L/n and has its centre
at (i + 1/2) L/n. On the CPU painting and readout run in numba over a fixed number of particle blocks, so
the result is bit for bit the same on any number of threads; on CUDA they are torch operations, and masses are added
up as whole numbers, whose sum does not depend on an order that no GPU keeps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numba
import numpy as np
import torch

UNIT = 2.0**32  # mass of one particle as a whole number: float32 weights above 2⁻⁹ keep all their digits
BLOCKS = 4  # painted separately and added in order: a constant, so that sums never depend on the thread count


@numba.njit(inline="always")
def _cell(position: float, per_length: float, n: int) -> tuple[int, int, float]:
    """Return the two neighbouring cells along one axis and the weight of the second."""
    u = position * per_length - 0.5
    floor = math.floor(u)
    i = int(floor) % n
    return i, (i + 1 if i + 1 < n else 0), np.float32(u - floor)


@numba.njit(parallel=True, fastmath=False, cache=True)
def _paint_blocks(positions: np.ndarray, per_length: float, meshes: np.ndarray) -> None:
    blocks, n = meshes.shape[0], meshes.shape[1]
    count = positions.shape[0]
    for block in numba.prange(blocks):
        mesh = meshes[block]
        for p in range(block * count // blocks, (block + 1) * count // blocks):
            x0, x1, wx = _cell(positions[p, 0], per_length, n)
            y0, y1, wy = _cell(positions[p, 1], per_length, n)
            z0, z1, wz = _cell(positions[p, 2], per_length, n)
            vx, vy, vz = np.float32(1.0) - wx, np.float32(1.0) - wy, np.float32(1.0) - wz
            mesh[x0, y0, z0] += vx * vy * vz
            mesh[x0, y0, z1] += vx * vy * wz
            mesh[x0, y1, z0] += vx * wy * vz
            mesh[x0, y1, z1] += vx * wy * wz
            mesh[x1, y0, z0] += wx * vy * vz
            mesh[x1, y0, z1] += wx * vy * wz
            mesh[x1, y1, z0] += wx * wy * vz
            mesh[x1, y1, z1] += wx * wy * wz


@numba.njit(parallel=True, fastmath=False, cache=True)
def _add_blocks(meshes: np.ndarray, scale: float) -> None:
    """Replace the first mesh by scale × the sum of all, in one pass: memory is what painting waits for."""
    blocks, n = meshes.shape[0], meshes.shape[1]
    factor = np.float32(scale)
    for x in numba.prange(n):
        for y in range(n):
            for z in range(n):
                total = meshes[0, x, y, z]
                for block in range(1, blocks):
                    total += meshes[block, x, y, z]
                meshes[0, x, y, z] = factor * total


def paint(positions: np.ndarray | torch.Tensor, box_size: float, cells: int) -> torch.Tensor:
    """Paint particles (N, 3) [Mpc/h] on a periodic mesh by cloud in cell: 1 + δ, float32 (cells,)*3."""
    return paint_mass(torch.as_tensor(positions), box_size, cells, cells**3 / len(positions))


def paint_mass(positions: torch.Tensor, box_size: float, cells: int, mass: float = 1.0) -> torch.Tensor:
    """Paint particles (N, 3) [Mpc/h] of equal mass by cloud in cell: float32 (cells,)*3 with sum N × mass."""
    if positions.device.type == "cpu":
        meshes = np.zeros((BLOCKS, cells, cells, cells), np.float32)
        _paint_blocks(positions.contiguous().numpy(), cells / box_size, meshes)
        _add_blocks(meshes, mass)
        return torch.from_numpy(meshes[0])
    return _paint_torch(positions, box_size, cells).mul_(mass)


def _paint_torch(positions: torch.Tensor, box_size: float, cells: int) -> torch.Tensor:
    return add_up(corners(positions * (cells / box_size) - 0.5, cells), cells)


def add_up(shares: Iterable[tuple[torch.Tensor, torch.Tensor]], cells: int) -> torch.Tensor:
    """Add weights (N,) to the cells of flat index (N,): (cells,)*3, the same bits in any order of the particles.

    shares: index and weight, for every cell that a particle touches. Sums are exact, in units of 2⁻³², up to 2³¹
    particles in one cell.
    """
    mesh = None
    for index, weight in shares:
        mesh = torch.zeros(cells**3, dtype=torch.int64, device=index.device) if mesh is None else mesh
        mesh.index_add_(0, index, (weight * UNIT).round().long())
    return (mesh.to(weight.dtype) / UNIT).view(cells, cells, cells)


def corners(u: torch.Tensor, cells: int):
    """Yield flat index and cloud-in-cell weight of the eight cells around positions u (N, 3), in cell units.

    Differentiable in u through the weights.
    """
    floor = torch.floor(u.detach())
    w = u - floor
    low = floor.long()
    for corner in range(8):
        index = torch.zeros(len(u), dtype=torch.long, device=u.device)
        weight = torch.ones(len(u), dtype=u.dtype, device=u.device)
        for axis in range(3):
            bit = corner >> (2 - axis) & 1
            index = index * cells + (low[:, axis] + bit) % cells
            weight = weight * (w[:, axis] if bit else 1 - w[:, axis])
        yield index, weight


@numba.njit(inline="always")
def _stencil(position: float, per_length: float, n: int, index: np.ndarray, slope: np.ndarray) -> float:
    """Fill in the six cells around a position and the weights that difference and read them (times 12).

    Returns the cloud-in-cell weight of the fourth cell; the third has the rest.
    """
    u = position * per_length - 0.5
    floor = math.floor(u)
    w = np.float32(u - floor)
    v = np.float32(1.0) - w
    i = int(floor) % n
    for m in range(6):
        j = i + m - 2
        index[m] = j + n if j < 0 else (j - n if j >= n else j)
    eight = np.float32(8.0)
    slope[0], slope[1], slope[2] = v, w - eight * v, -eight * w
    slope[3], slope[4], slope[5] = eight * v, eight * w - v, -w
    return w


@numba.njit(parallel=True, fastmath=False, cache=True)
def _kick_particles(
    positions: np.ndarray,
    velocities: np.ndarray,
    potential: np.ndarray,
    cell: float,
    alpha: float,
    beta: float,
) -> None:
    n = potential.shape[0]
    count = positions.shape[0]
    per_length = 1.0 / cell
    keep, scale = np.float32(alpha), np.float32(beta / (12.0 * cell))
    for block in numba.prange(64):
        ix, iy, iz = np.empty(6, np.int64), np.empty(6, np.int64), np.empty(6, np.int64)
        sx, sy, sz = np.empty(6, np.float32), np.empty(6, np.float32), np.empty(6, np.float32)
        for p in range(block * count // 64, (block + 1) * count // 64):
            wx = _stencil(positions[p, 0], per_length, n, ix, sx)
            wy = _stencil(positions[p, 1], per_length, n, iy, sy)
            wz = _stencil(positions[p, 2], per_length, n, iz, sz)
            vx, vy, vz = np.float32(1.0) - wx, np.float32(1.0) - wy, np.float32(1.0) - wz
            x0, x1, y0, y1, z0, z1 = ix[2], ix[3], iy[2], iy[3], iz[2], iz[3]
            gx, gy, gz = np.float32(0.0), np.float32(0.0), np.float32(0.0)
            for m in range(6):
                i, j, k = ix[m], iy[m], iz[m]
                gx += sx[m] * (
                    vy * (vz * potential[i, y0, z0] + wz * potential[i, y0, z1])
                    + wy * (vz * potential[i, y1, z0] + wz * potential[i, y1, z1])
                )
                gy += sy[m] * (
                    vx * (vz * potential[x0, j, z0] + wz * potential[x0, j, z1])
                    + wx * (vz * potential[x1, j, z0] + wz * potential[x1, j, z1])
                )
                gz += sz[m] * (
                    vx * (vy * potential[x0, y0, k] + wy * potential[x0, y1, k])
                    + wx * (vy * potential[x1, y0, k] + wy * potential[x1, y1, k])
                )
            velocities[p, 0] = keep * velocities[p, 0] - scale * gx
            velocities[p, 1] = keep * velocities[p, 1] - scale * gy
            velocities[p, 2] = keep * velocities[p, 2] - scale * gz


def kick(
    positions: torch.Tensor,
    velocities: torch.Tensor,
    potential: torch.Tensor,
    box_size: float,
    weights: tuple[float, float],
) -> None:
    """Replace velocities (N, 3) in place by α velocities − β ∇potential at the positions (N, 3) [Mpc/h].

    The gradient is the four-point finite difference of the mesh potential, read out with the cloud-in-cell
    weights that painted the mass: the same kernel both ways makes the forces antisymmetric, so momentum
    is conserved.
    """
    n = potential.shape[0]
    cell = box_size / n
    if positions.device.type == "cpu":
        mesh = potential.contiguous().numpy()
        _kick_particles(positions.numpy(), velocities.numpy(), mesh, cell, *weights)
        return
    _kick_torch(positions, velocities, potential, cell, weights)


def _kick_torch(
    positions: torch.Tensor,
    velocities: torch.Tensor,
    potential: torch.Tensor,
    cell: float,
    weights: tuple[float, float],
) -> None:
    alpha, beta = weights
    n = potential.shape[0]
    velocities *= alpha
    u = positions / cell - 0.5
    for axis in range(3):
        gradient = four_point_gradient(potential, cell, axis).reshape(-1)
        for index, weight in corners(u, n):
            velocities[:, axis].sub_(gradient[index] * weight, alpha=beta)


def four_point_gradient(field: torch.Tensor, cell: float, axis: int) -> torch.Tensor:
    """Differentiate a periodic field along one axis, (−f₊₂ + 8 f₊₁ − 8 f₋₁ + f₋₂) / 12 cell."""
    near = torch.roll(field, -1, axis) - torch.roll(field, 1, axis)
    far = torch.roll(field, -2, axis) - torch.roll(field, 2, axis)
    return (8 * near - far) / (12 * cell)


def wave_numbers(cells: int, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the integer wave vector of a real FFT of (cells,)*3: kx (n,1,1), ky (1,n,1), kz (1,1,n//2+1)."""
    whole = torch.fft.fftfreq(cells, 1 / cells, dtype=torch.float64, device=device).round().long()
    half = torch.arange(cells // 2 + 1, device=device)
    return whole.view(-1, 1, 1), whole.view(1, -1, 1), half.view(1, 1, -1)


def interpolation_matrix(
    low: int, high: int, first: int = 0, count: int | None = None, shift: float = 0.0
) -> torch.Tensor:
    """Return rows first…first+count of the periodic sinc interpolation from lattice `low` to lattice `high`.

    Both lattices have their points at (i + 1/2) L/n, so the half-cell shift between them is part of the
    matrix; those of `high` are moved by a further `shift` low cells. Rows are taken modulo `high`, so a halo across
    the boundary costs nothing. float32 (count, low); `low` is even.

    The kernel is D(u) = sin(π u) / (n tan(π u / n)) with u in low cells: the trigonometric interpolant whose
    Nyquist mode is real (Trefethen 2000, Spectral Methods in MATLAB, eq. 3.7).
    """
    count = high if count is None else count
    rows = torch.arange(first, first + count, dtype=torch.float64) % high
    u = ((rows + 0.5) * (low / high) - 0.5 + shift).view(-1, 1) - torch.arange(low, dtype=torch.float64).view(1, -1)
    tangent = torch.tan(math.pi * u / low)
    on_point = (u % low).abs() < 1e-9
    kernel = torch.sin(math.pi * u) / (low * torch.where(on_point, 1.0, tangent))
    return torch.where(on_point, 1.0, kernel).float()


def upsample(
    field: torch.Tensor, high: int, first: tuple[int, ...] = (0, 0, 0), count: int | None = None
) -> torch.Tensor:
    """Interpolate a periodic field (channel, n, n, n) in Fourier space to `count`³ points of lattice `high`.

    They start at `first` (periodic), which has as many entries as the field has dimensions, two or three. Memory:
    the field, and intermediate products of at most count n² and count² n values per channel.
    Returns (channel, count, count, count).
    """
    for axis, start in enumerate(first):
        matrix = interpolation_matrix(field.shape[1 + axis], high, start, count).to(field.device)
        field = torch.movedim(torch.tensordot(field, matrix, dims=([1 + axis], [1])), -1, 1 + axis)
    return field.contiguous()


def recentred(field: torch.Tensor, factor: int, offset: float) -> torch.Tensor:
    """Return a field (channel, n, n, n) as up-sampling by `factor` wants it, from lattice points at (i + offset) L/n.

    `interpolation_matrix` takes both lattices for cell centres. Where both have another offset o, their universe
    moved by (1/2 − o) high cells has the high lattice there, but the low one lies off its centres by
    (1/2 − o)(1 − 1/factor) low cells: the field is interpolated to those. Modes below the Nyquist frequency change
    their phase alone.
    """
    shift = (0.5 - offset) * (1 - 1 / factor)
    if shift == 0:
        return field
    n = field.shape[-1]
    matrix = interpolation_matrix(n, n, shift=shift).to(field.device)
    for axis in (1, 2, 3):
        field = torch.movedim(torch.tensordot(field, matrix, dims=([axis], [1])), -1, axis)
    return field.contiguous()
