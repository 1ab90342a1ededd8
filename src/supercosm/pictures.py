"""Project boxes onto the density images of the report.

Particles are joined by the phase-space sheet (Abel, Hahn & Kaehler 2012): displacements are interpolated
linearly between neighbours on the Lagrangian lattice, so that a slab shows the density and not the particles'
grain.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from supercosm.fields import DensityField
from supercosm.figures import Panel
from supercosm.files import whole
from supercosm.snapshot import Snapshot

FINE = 256  # points per side that the true sheet is refined to: about what a printed panel resolves
MOST = 4  # but at most so many per particle and side
SLAB_PIXELS, ZOOM_PIXELS = 1.0, 1.5  # pixels per refined point and side


@dataclass(frozen=True)
class View:
    """What is shown: 0 ≤ z < depth and the zoomed square (x, y, side), in Mpc/h, and the points per side."""

    depth: float
    zoom: tuple[float, float, float]
    points: int


def choose_view(truth: Snapshot, depth: float, zoom: float, low_side: int) -> View:
    """Zoom onto the densest region of the true slab, on whole low cells, where every mesh can be cut."""
    box = truth.box_size
    cell = box / low_side
    cells = min(low_side, max(1, round(zoom / cell)))
    inside = truth.positions[truth.positions[:, 2] < depth, :2]
    image = project(inside, box, (0.0, 0.0, box), low_side)
    smooth = gaussian_filter(image, max(cells / 6, 0.5), mode="wrap")
    peak = np.unravel_index(np.argmax(smooth), smooth.shape)
    x, y = (int(np.clip(p - cells // 2, 0, low_side - cells)) * cell for p in peak)
    points = truth.side * min(MOST, -(-FINE // truth.side))
    return View(depth, (x, y, cells * cell), points)


def panel(title: str, data: Snapshot | DensityField, view: View) -> Panel:
    """Make the slab and zoom images, 1 + δ, of one box."""
    box, side = data.box_size, view.zoom[2]
    if isinstance(data, DensityField):
        slab = data.data[0] if data.dimensions == 2 else _layers(data, view.depth).mean(axis=2)
        return Panel(title, slab, _cut(slab, box, view.zoom))
    slab_cells = round(SLAB_PIXELS * view.points)
    zoom_cells = round(ZOOM_PIXELS * view.points * side / box)
    slab, zoom = np.zeros((slab_cells, slab_cells)), np.zeros((zoom_cells, zoom_cells))
    for inside in sheet(data, view.points // data.side, view.depth):
        slab += project(inside, box, (0.0, 0.0, box), slab_cells)
        zoom += project(inside, box, view.zoom, zoom_cells)
    points = view.points**3 * min(view.depth, box) / box
    return Panel(title, slab * slab_cells**2 / points, zoom * (zoom_cells * box / side) ** 2 / points)


def sheet(snapshot: Snapshot, refinement: int, depth: float) -> Iterator[np.ndarray]:
    """Yield the refined sheet's points (M, 2) [Mpc/h] with 0 ≤ z < depth, one sub-lattice after another."""
    box, side = snapshot.box_size, snapshot.side
    displacement = snapshot.displacement()
    lattice = (np.arange(side, dtype=np.float32) + np.float32(snapshot.offset)) * np.float32(box / side)
    for shift in product(np.arange(refinement) / refinement, repeat=3):
        start = [s * box / side for s in shift]
        z = (_between(displacement[2], shift) + lattice + start[2]) % box
        inside = np.nonzero(z < depth)
        xy = [_between(displacement[a], shift)[inside] + lattice[inside[a]] + start[a] for a in (0, 1)]
        yield np.stack(xy, axis=1) % box


def _between(field: np.ndarray, shift: tuple[float, ...]) -> np.ndarray:
    """Interpolate a periodic lattice field (n, n, n) linearly at a shift of 0…1 cells along each axis."""
    for axis, weight in enumerate(shift):
        if weight:
            field = np.float32(1 - weight) * field + np.float32(weight) * np.roll(field, -1, axis)
    return field


def project(points: np.ndarray, box_size: float, square: tuple[float, float, float], cells: int) -> np.ndarray:
    """Paint points (N, 2) [Mpc/h] by cloud in cell onto a square (x, y, side): numbers (cells, cells).

    The square may be the whole box, which is periodic.
    """
    x, y, side = square
    pixel = side / cells
    u = ((points - (x, y) + pixel) % box_size - pixel) / pixel - 0.5
    first = np.floor(u).astype(np.int64)
    weight = u - first
    image = np.zeros(cells * cells)
    for dx, dy in product((0, 1), repeat=2):
        i, j = first[:, 0] + dx, first[:, 1] + dy
        w = np.abs(1 - dx - weight[:, 0]) * np.abs(1 - dy - weight[:, 1])
        if side >= box_size:
            i, j = i % cells, j % cells
        keep = (i >= 0) & (i < cells) & (j >= 0) & (j < cells)
        image += np.bincount(i[keep] * cells + j[keep], w[keep], minlength=cells * cells)
    return image.reshape(cells, cells)


def _layers(data: DensityField, depth: float) -> np.ndarray:
    cells = data.data.shape[2]
    return data.data[:, :, : max(1, round(depth / data.box_size * cells))]


def _cut(image: np.ndarray, box_size: float, zoom: tuple[float, float, float]) -> np.ndarray:
    per_length = len(image) / box_size
    x, y, side = (round(value * per_length) for value in zoom)
    return image[x : x + side, y : y + side]


def save_figure(figure: Figure, path: Path, pdf: bool) -> str:
    """Write a figure as PNG and, for a paper, as PDF beside it; return the PNG as a data URI."""
    figure.draw_without_rendering()
    figure.set_layout_engine(None)  # once: its search for the layout takes as long as the drawing
    with whole(path) as part:
        figure.savefig(part, format="png")
    if pdf:
        with whole(path.with_suffix(".pdf")) as part:
            figure.savefig(part, format="pdf", metadata={"CreationDate": None})  # equal results give equal files
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
