"""From particles to Fourier modes: mass assignment, interlacing, and the division by the window.

Assigning mass to cells of side h multiplies δ_k by W(k) = Π sinc^p(k_i h / 2π), p = 1…4, and adds aliases from
k + 2π m / h for every whole vector m (Hockney & Eastwood 1988, section 5-3). A second mesh, displaced by half a
cell and shifted back in phase, has the same δ_k and the aliases of odd Σ m_i with the opposite sign, so the mean
of the two keeps only the even ones (Sefusatti et al. 2016, MNRAS 460, 3624, section 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import torch

from supercosm.errors import DataError
from supercosm.mesh import BLOCKS, add_up
from supercosm.statistics.power import transform

ORDERS = {"ngp": 1, "cic": 2, "tsc": 3, "pcs": 4}  # nearest cell, cloud in cell, triangle, piecewise cubic
IMAGES = 1000  # aliases summed on each side: of the slowest sum, sinc², all but 2 parts in 10⁴


@dataclass(frozen=True)
class Assignment:
    """How particles become a mesh: cells per side, scheme (ngp, cic, tsc, pcs), and whether two meshes interlace."""

    cells: int
    scheme: str = "cic"
    interlaced: bool = False

    def __post_init__(self) -> None:
        if self.scheme not in ORDERS:
            raise DataError(f"there is no mass assignment {self.scheme!r}; choose one of {', '.join(ORDERS)}")
        if self.cells < 4:
            raise DataError(f"a mesh of {self.cells} cells per side has no mode to measure; use at least 4")

    @property
    def order(self) -> int:
        """Cells a particle touches along one axis, and the power of the sinc in its window."""
        return ORDERS[self.scheme]

    def window(self, keep: int) -> np.ndarray:
        """Return sinc^p(n / cells), one axis' factor of the window, for n = 0…keep."""
        return np.sinc(np.arange(keep + 1) / self.cells) ** self.order

    def white_noise(self, keep: int) -> list[np.ndarray]:
        """Return factors whose products over the axes add up to the measured power of unit white noise.

        Aliases included and the window divided out (Jing 2005, eq. 19), for n = 0…keep. Interlacing keeps the
        aliases m of even Σ m_i: the mean of the sums of W² with all signs plus and with signs (−1)^m.
        """
        n = np.arange(keep + 1)[:, None] / self.cells
        m = np.arange(-IMAGES, IMAGES + 1)
        images = np.sinc(n + m) ** (2 * self.order) / np.sinc(n) ** (2 * self.order)
        every = images.sum(axis=1)
        if not self.interlaced:
            return [every]
        half = 0.5 ** (1 / 3)
        return [half * every, half * (images * (-1.0) ** m).sum(axis=1)]


def density_modes(
    positions: np.ndarray | torch.Tensor, box_size: float, assignment: Assignment, keep: int | None = None
) -> torch.Tensor:
    """Return the overdensity modes δ_k of particles (N, 3) [Mpc/h] with the window divided out.

    complex64 (1, 2 keep + 1, 2 keep + 1, keep + 1) as `power.transform` orders them, ready for `power.power`
    without a window; keep defaults to all, cells/2. δ_0 is set to zero. Interlaced modes are zero on the
    Nyquist planes, which have no definite phase. Phases count from a cell's centre: cross spectra need two
    meshes of equal cells. Raises DataError for fewer than two particles, and for positions that are not finite
    or not in the box.
    """
    keep = assignment.cells // 2 if keep is None else keep
    points = check_positions(positions, box_size)
    modes = _transform(points, box_size, assignment, 0.0, keep)
    if assignment.interlaced:
        _interlace(modes, _transform(points, box_size, assignment, 0.5, keep), assignment.cells)
    deconvolve(modes, assignment.window(keep))
    modes[:, 0, 0, 0] = 0.0
    return modes


def check_positions(positions: np.ndarray | torch.Tensor, box_size: float) -> torch.Tensor:
    """Return positions (N, 3) [Mpc/h] as a float32 tensor; raise DataError for what cannot be measured."""
    points = torch.as_tensor(positions)
    if points.ndim != 2 or points.shape[1] != 3:
        raise DataError(f"positions must have the shape (particles, 3), not {tuple(points.shape)}")
    if len(points) < 2:
        raise DataError(f"there are {len(points)} particles; a spectrum or correlation needs at least two")
    low, high = (float(end) for end in torch.aminmax(points))
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = int((~torch.isfinite(points)).any(dim=1).sum())
        raise DataError(f"{bad} of {len(points)} positions are NaN or infinite; remove or repair them")
    if low < 0 or high > box_size * 1.000001:
        raise DataError(
            f"positions run from {low:g} to {high:g} Mpc/h in a box of {box_size:g} Mpc/h; "
            "give comoving Mpc/h, wrapped into the box"
        )
    return points.float().contiguous()


def paint(points: torch.Tensor, box_size: float, assignment: Assignment, shift: float = 0.0) -> torch.Tensor:
    """Paint particles (N, 3) [Mpc/h], displaced by `shift` cells along each axis: 1 + δ, float32 (cells,)*3."""
    n, mean = assignment.cells, assignment.cells**3 / len(points)
    if points.device.type == "cpu":
        blocks = np.zeros((BLOCKS, n, n, n), np.float32)
        _paint_blocks(points.numpy(), n / box_size, shift, (0,) * assignment.order, blocks)
        return torch.from_numpy(blocks).sum(0).mul_(mean)
    return _paint_torch(points, box_size, assignment, shift).mul_(mean)


@numba.njit(inline="always")
def _spread(u: float, order: int, n: int, index: np.ndarray, weight: np.ndarray) -> None:
    """Fill in the cells that a particle at u cells touches along one axis, and their shares of its mass."""
    lower = math.floor(u) if order % 2 else math.floor(u - 0.5)
    d = np.float32(u - lower - 0.5)  # from the centre of the cell `lower`: −½ to ½ for odd orders, else 0 to 1
    one, half, v = np.float32(1), np.float32(0.5), np.float32(1) - d
    if order == 1:
        weight[0] = one
    elif order == 2:
        weight[0], weight[1] = v, d
    elif order == 3:
        weight[0], weight[1], weight[2] = half * (half - d) ** 2, np.float32(0.75) - d * d, half * (half + d) ** 2
    else:
        sixth, four, three, six = np.float32(1 / 6), np.float32(4), np.float32(3), np.float32(6)
        weight[0], weight[3] = sixth * v * v * v, sixth * d * d * d
        weight[1] = sixth * (four - six * d * d + three * d * d * d)
        weight[2] = sixth * (four - six * v * v + three * v * v * v)
    first = int(lower) - (order - 1) // 2
    for m in range(order):
        index[m] = (first + m) % n


@numba.njit(parallel=True, fastmath=False, cache=True)
def _paint_blocks(
    positions: np.ndarray, per_length: float, shift: float, touched: tuple[int, ...], meshes: np.ndarray
) -> None:
    """Paint blocks of particles; `touched` has as many entries as cells are touched: a length the compiler knows."""
    blocks, n = meshes.shape[0], meshes.shape[1]
    count, order = positions.shape[0], len(touched)
    for block in numba.prange(blocks):
        mesh = meshes[block]
        ix, iy, iz = np.empty(4, np.int64), np.empty(4, np.int64), np.empty(4, np.int64)
        wx, wy, wz = np.empty(4, np.float32), np.empty(4, np.float32), np.empty(4, np.float32)
        for p in range(block * count // blocks, (block + 1) * count // blocks):
            _spread(positions[p, 0] * per_length + shift, order, n, ix, wx)
            _spread(positions[p, 1] * per_length + shift, order, n, iy, wy)
            _spread(positions[p, 2] * per_length + shift, order, n, iz, wz)
            for i in range(order):
                for j in range(order):
                    row, share = mesh[ix[i], iy[j]], wx[i] * wy[j]
                    for k in range(order):
                        row[iz[k]] += share * wz[k]


def planes_touched(assignment: Assignment, between: tuple[float, float], shift: float = 0.0) -> tuple[int, int]:
    """Return the first plane and the number of planes that particles between two x touch, x in box sides.

    The first may be negative: planes are periodic.
    """
    ends = []
    for x, slack in zip(between, (-1e-6, 1e-6), strict=True):  # what rounding might move across a border
        u = x * assignment.cells + shift + slack
        ends.append((math.floor(u) if assignment.order % 2 else math.floor(u - 0.5)) - (assignment.order - 1) // 2)
    return ends[0], min(ends[1] - ends[0] + assignment.order, assignment.cells)


def paint_planes(
    positions: np.ndarray, box_size: float, assignment: Assignment, shift: float, planes: tuple[int, int]
) -> np.ndarray:
    """Paint particles (N, 3) [Mpc/h] of a slab on the planes they touch: mass in particles, float32 (planes, n, n).

    planes: the first plane and their number, as `planes_touched` finds them.
    """
    first, count = planes
    mesh = np.zeros((count, assignment.cells, assignment.cells), np.float32)
    _paint_planes(positions, assignment.cells / box_size, shift, (0,) * assignment.order, first, mesh)
    return mesh


@numba.njit(fastmath=False, cache=True)
def _paint_planes(
    positions: np.ndarray, per_length: float, shift: float, touched: tuple[int, ...], first: int, mesh: np.ndarray
) -> None:
    """Paint in the order of the particles, on one thread: the mesh of a slab is to be in memory once."""
    n, order = mesh.shape[1], len(touched)
    ix, iy, iz = np.empty(4, np.int64), np.empty(4, np.int64), np.empty(4, np.int64)
    wx, wy, wz = np.empty(4, np.float32), np.empty(4, np.float32), np.empty(4, np.float32)
    for p in range(len(positions)):
        _spread(positions[p, 0] * per_length + shift, order, n, ix, wx)
        _spread(positions[p, 1] * per_length + shift, order, n, iy, wy)
        _spread(positions[p, 2] * per_length + shift, order, n, iz, wz)
        for i in range(order):
            plane = mesh[(ix[i] - first) % n]
            for j in range(order):
                row, share = plane[iy[j]], wx[i] * wy[j]
                for k in range(order):
                    row[iz[k]] += share * wz[k]


def _paint_torch(points: torch.Tensor, box_size: float, assignment: Assignment, shift: float) -> torch.Tensor:
    """Do the same on any device, whose order of additions does not matter: masses are added as whole numbers."""
    n, order = assignment.cells, assignment.order
    u = points * (n / box_size) + shift
    lower = torch.floor(u) if order % 2 else torch.floor(u - 0.5)
    weights = _shares(u - lower - 0.5, order)
    first = lower.long() - (order - 1) // 2

    def share(corner: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        i, j, k = ((first[:, axis] + m) % n for axis, m in enumerate(corner))
        x, y, z = (weights[m][:, axis] for axis, m in enumerate(corner))
        return (i * n + j) * n + k, x * y * z

    return add_up((share(corner) for corner in np.ndindex(order, order, order)), n)


def _shares(d: torch.Tensor, order: int) -> list[torch.Tensor]:
    """Return the shares of the cells a particle touches (Sefusatti et al. 2016, eqs. 11–14), as in `_spread`."""
    v = 1 - d
    if order == 1:
        return [torch.ones_like(d)]
    if order == 2:
        return [v, d]
    if order == 3:
        return [0.5 * (0.5 - d) ** 2, 0.75 - d**2, 0.5 * (0.5 + d) ** 2]
    return [v**3 / 6, (4 - 6 * d**2 + 3 * d**3) / 6, (4 - 6 * v**2 + 3 * v**3) / 6, d**3 / 6]


def _transform(points: torch.Tensor, box_size: float, assignment: Assignment, shift: float, keep: int) -> torch.Tensor:
    return transform(paint(points, box_size, assignment, shift)[None], 3, keep)


def _axes(modes: torch.Tensor) -> list[torch.Tensor]:
    """Return the integer frequencies along the last three axes, shaped to broadcast."""
    _, x, y, z = modes.shape
    axes = [torch.fft.fftfreq(x, 1 / x), torch.fft.fftfreq(y, 1 / y), torch.arange(float(z))]
    shapes = [(-1, 1, 1), (1, -1, 1), (1, 1, -1)]
    return [axis.round().to(modes.device).view(shape) for axis, shape in zip(axes, shapes, strict=True)]


def _interlace(modes: torch.Tensor, shifted: torch.Tensor, cells: int) -> None:
    """Replace modes by the mean of both meshes, the displaced one shifted back by half a cell: exp(i k·h/2)."""
    for axis in _axes(modes):
        phase = axis.double() * (math.pi / cells)
        shifted *= torch.polar(torch.ones_like(phase), phase).to(modes.dtype)
    modes.add_(shifted).mul_(0.5)
    for dimension, axis in enumerate(_axes(modes), start=1):
        for nyquist in torch.nonzero(axis.flatten().abs() == cells / 2).flatten().tolist():
            modes.select(dimension, nyquist).zero_()


def deconvolve(modes: torch.Tensor, window: np.ndarray) -> None:
    """Divide modes (1, x, y, z), in place, by the product over the axes of window[|n|], n from 0 to the last."""
    numbers = torch.view_as_real(modes)
    inverse = torch.as_tensor(1 / window, dtype=torch.float32, device=modes.device)
    for axis in _axes(modes):
        numbers *= inverse[axis.long().abs()][..., None]
