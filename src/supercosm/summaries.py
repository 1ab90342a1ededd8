"""What is measured in one box: each statistic as a table, from the particles or from a mesh of density.

Every table lists its rows in the same order for every box of one size, so that tables of several boxes can be
averaged row by row; the columns that name a row (wave number, radius, class …) stand in the header under "axis".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from astropy.table import QTable

from supercosm.config import Statistics
from supercosm.errors import DataError
from supercosm.fields import DensityField
from supercosm.mesh import paint
from supercosm.snapshot import Snapshot
from supercosm.statistics import bispectrum, environment, haloes, minkowski, onepoint, power
from supercosm.statistics.assignment import Assignment, deconvolve, density_modes
from supercosm.tables import BISPECTRUM, DENSITY_POWER, LENGTH, WAVE_NUMBER

HEIGHTS = np.arange(-3.0, 6.01, 0.5)  # bins of peak height ν = δ/σ
THRESHOLDS = np.arange(-2.0, 4.01, 0.25)  # of the Minkowski functionals, ν
DENSITIES = np.linspace(-2.0, 3.0, 51)  # bins of log10(1 + δ)
SMALLEST = 16  # particles or cells per side: with fewer there is no triangle and no peak to speak of
FEWEST = 3.0  # fundamental modes on the shortest side of a triangle
ANGLES = np.linspace(0, np.pi, 9)[1:-1]  # between the equal sides of isosceles triangles


@dataclass(frozen=True)
class Box:
    """One box to be measured, a snapshot or a density field of three dimensions; what several need is made once."""

    data: Snapshot | DensityField
    settings: Statistics

    def __post_init__(self) -> None:
        if isinstance(self.data, DensityField) and self.data.dimensions != 3:
            raise DataError("these statistics are of boxes, but this file holds projected slabs; compare it instead")
        if self.side < SMALLEST:
            raise DataError(
                f"{self.side}³ particles or cells are too few to measure; the statistics need {SMALLEST}³ or more"
            )

    @property
    def box_size(self) -> float:
        """Side of the box [Mpc/h]."""
        return self.data.box_size

    @property
    def snapshot(self) -> Snapshot:
        """The particles; raise DataError for a density field, which has none."""
        if isinstance(self.data, DensityField):
            raise DataError("haloes and velocities need particles, but this file holds a density field")
        return self.data

    @property
    def count(self) -> int:
        """Number of particles, or cells."""
        return self.data.data.size if isinstance(self.data, DensityField) else len(self.data.ids)

    @property
    def side(self) -> int:
        """Particles, or cells, per side; of particles on no lattice the whole number next to it."""
        return round(self.count ** (1 / 3))

    @cached_property
    def density(self) -> torch.Tensor:
        """Density 1 + δ painted by cloud in cell on `statistics.mesh` cells per particle and side."""
        if isinstance(self.data, DensityField):
            return torch.from_numpy(self.data.data)
        return paint(self.data.positions, self.box_size, self.settings.mesh * self.side)

    @cached_property
    def modes(self) -> torch.Tensor:
        """Overdensity modes up to the Nyquist frequency of particles or mesh, with the window divided out.

        That of a density field is cloud in cell, by which Supercosm paints them.
        """
        if isinstance(self.data, DensityField):
            keep = (self.side - 1) // 2  # at the Nyquist frequency itself only half of the modes are known
            modes = power.transform(onepoint.overdensity(self.density)[None], 3, keep)
            deconvolve(modes, Assignment(self.side, "cic").window(keep))
            return modes
        assignment = Assignment(2 * self.side, self.settings.scheme, self.settings.interlacing)
        return density_modes(self.data.positions, self.box_size, assignment, self.side // 2)

    @cached_property
    def spectra(self) -> power.Spectra:
        """P(k) in the bins that `settings.bins` asks for."""
        cells = self.side if isinstance(self.data, DensityField) else 2 * self.side
        return power.power(self.modes, self.modes, self.box_size, _edges(self), cells)

    @property
    def moments(self) -> onepoint.Moments:
        """Moments of δ in spheres."""
        return onepoint.moments(self.density, self.box_size, self.settings.smoothing)

    @property
    def distribution(self) -> onepoint.Distribution:
        """Distribution of log10(1 + δ) in spheres."""
        return onepoint.density_pdf(self.density, self.box_size, self.settings.smoothing, DENSITIES)

    @cached_property
    def haloes(self) -> haloes.Haloes:
        """Friends-of-friends haloes."""
        return haloes.find_haloes(self.snapshot, self.settings.linking_length, self.settings.halo_particles)


def _edges(box: Box) -> np.ndarray:
    return power.bin_edges(box.side, box.settings.bins)


def spectrum(box: Box) -> QTable:
    """P(k) [(Mpc/h)³], shot noise not subtracted; that of a Poisson sample stands beside it."""
    found = box.spectra
    table = QTable({"k": found.k * WAVE_NUMBER, "modes": found.modes, "P": found.first * DENSITY_POWER})
    table["shot_noise"] = np.full(len(table), box.box_size**3 / box.count) * DENSITY_POWER
    return with_axis(table, "k", "modes", "shot_noise")


def triangles(box: Box) -> QTable:
    """Bispectrum B [(Mpc/h)⁶] and reduced Q of equilateral, squeezed and isosceles triangles.

    Sides shorter than 3 fundamental modes, of which a box holds few, are left out, except for the longest.
    """
    fundamental = 2 * np.pi / box.box_size
    most = box.side // 2 - 2
    wanted = np.clip(np.array(sorted(box.settings.triangles)) * box.side / 2, None, most)
    modes = wanted[wanted >= FEWEST] if wanted[-1] >= FEWEST else np.array([float(min(FEWEST, most))])
    sides = np.unique(np.linspace(modes[0], modes[-1], 8))
    kinds = {
        "equilateral": bispectrum.equilateral(sides * fundamental),
        "squeezed": bispectrum.squeezed(sides * fundamental, 2 * fundamental),
        **{
            f"isosceles {n * fundamental:.3g}": bispectrum.opening(n * fundamental, n * fundamental, ANGLES)
            for n in np.unique(modes)
            if 2 * n < most
        },
    }
    found = bispectrum.bispectrum_of_modes(box.modes[0], box.box_size, np.concatenate(list(kinds.values())), width=2)
    table = QTable({"kind": np.repeat(list(kinds), [len(part) for part in kinds.values()])})
    for number in range(3):
        table[f"k{number + 1}"] = found.sides[:, number] * WAVE_NUMBER
    table["triangles"] = found.triangles
    table["B"], table["Q"] = found.bispectrum * BISPECTRUM, found.reduced
    table["Q_error_gaussian"] = found.reduced_error
    return with_axis(table, "kind", "k1", "k2", "k3", "triangles")


def moments(box: Box) -> QTable:
    """Variance, S₃ and S₄ of δ in spheres of several radii."""
    found = box.moments
    table = QTable({"radius": found.radii * LENGTH, "variance": found.variance})
    table["S3"], table["S4"] = found.skewness, found.kurtosis
    return with_axis(table, "radius")


def distribution(box: Box) -> QTable:
    """Distribution of log10(1 + δ) in spheres of several radii, by volume and by mass."""
    found = box.distribution
    bins = len(DENSITIES) - 1
    table = QTable({"radius": np.repeat(found.radii, bins) * LENGTH})
    table["log_density"] = np.tile((DENSITIES[:-1] + DENSITIES[1:]) / 2, len(found.radii))
    table["pdf"], table["mass_pdf"] = found.pdf.ravel(), found.mass_pdf.ravel()
    return with_axis(table, "radius", "log_density")


def extrema(box: Box) -> QTable:
    """Peaks and minima per volume and unit height ν [(h/Mpc)³] of the field smoothed by Gaussians."""
    rows = []
    for radius in box.settings.smoothing:
        found = onepoint.extrema(box.density, box.box_size, radius, HEIGHTS)
        rows.append(np.stack([found.peak_density, found.minimum_density]))
    table = QTable({"radius": np.repeat(box.settings.smoothing, len(HEIGHTS) - 1) * LENGTH})
    table["height"] = np.tile((HEIGHTS[:-1] + HEIGHTS[1:]) / 2, len(rows))
    table["peaks"], table["minima"] = np.concatenate(rows, axis=1) * WAVE_NUMBER**3
    return with_axis(table, "radius", "height")


def functionals(box: Box) -> QTable:
    """Minkowski functionals V₀…V₃ per volume of excursion sets, smoothed by Gaussians."""
    found = [
        minkowski.minkowski_functionals(box.density, box.box_size, radius, THRESHOLDS)
        for radius in box.settings.smoothing
    ]
    table = QTable({"radius": np.repeat(box.settings.smoothing, len(THRESHOLDS)) * LENGTH})
    table["threshold"] = np.tile(THRESHOLDS, len(found))
    for order in range(4):
        table[f"V{order}"] = np.concatenate([one.values[order] for one in found]) * WAVE_NUMBER**order
    return with_axis(table, "radius", "threshold")


def web(box: Box) -> QTable:
    """Shares of volume and mass in voids, sheets, filaments and knots."""
    settings = box.settings
    classes = environment.classify(
        box.density, box.box_size, settings.environment_radius, settings.environment_threshold
    )
    found = environment.web_fractions(classes, box.density)
    table = QTable({"environment": list(environment.CLASSES), "volume": found.volume, "mass": found.mass})
    return with_axis(table, "environment")


def with_axis(table: QTable, *names: str) -> QTable:
    """Note in the header which columns name a row."""
    table.meta["axis"] = list(names)
    return table


OF_FIELDS: dict[str, Callable[[Box], QTable]] = {
    "spectrum": spectrum,
    "bispectrum": triangles,
    "moments": moments,
    "distribution": distribution,
    "extrema": extrema,
    "minkowski": functionals,
    "web": web,
}
