"""What compression loses: errors cell by cell, of the power spectrum, of the distribution, of the haloes' masses."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage

from supercosm.errors import DataError
from supercosm.fields import from_log_density
from supercosm.statistics import power

DENSE = 50.0  # times the mean: connected cells above it count as a halo where there are no particles to link
REACH = 0.5  # of the mesh Nyquist frequency, up to which the error of P(k) is judged
BINS = 16


@dataclass(frozen=True)
class Distortion:
    """Errors of a decoded field.

    rmse: of log density (or displacement [Mpc/h]). power_error: the largest |P'/P − 1| of the overdensity up to half
    the mesh Nyquist frequency. correlation: the lowest r(k) there. distribution: mean distance between the sorted
    values of log density (Wasserstein's). halo_mass: rms of M'/M − 1 of the haloes, NaN where there are none.
    """

    rmse: float
    power_error: float
    correlation: float
    distribution: float
    halo_mass: float

    def row(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)


def of_field(original: np.ndarray, decoded: np.ndarray, box_size: float, dimensions: int) -> Distortion:
    """Compare two fields of log density: a box (n, n, n), or slabs or patches (b, n, n), that count as periodic.

    box_size: side of the box or patch [Mpc/h].
    """
    _check(original, decoded)
    first, second = from_log_density(original), from_log_density(decoded)
    found = spectra(first, second, box_size, dimensions)
    near = found.k <= max(REACH * np.pi * first.shape[-1] / box_size, found.k[0])  # tiny patches have one bin
    return Distortion(
        rmse=float(np.sqrt(np.mean(np.square(original.astype(np.float64) - decoded)))),
        power_error=float(np.abs(found.second / found.first - 1)[near].max()),
        correlation=float(found.correlation[near].min()),
        distribution=_distance(original, decoded),
        halo_mass=dense_mass_error(first, second, dimensions),
    )


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return Wasserstein's distance of two sets of equally many values: they are moved in the order of their size."""
    return float(np.abs(np.sort(first, axis=None) - np.sort(second, axis=None)).mean(dtype=np.float64))


def spectra(first: np.ndarray, second: np.ndarray, box_size: float, dimensions: int) -> power.Spectra:
    """Measure spectra and cross spectrum of two densities, (n, n, n) or (b, n, n), up to the Nyquist frequency."""
    edges = power.bin_edges(first.shape[-1], BINS)
    contrasts = [_contrast(x if dimensions == 2 else x[None]) for x in (first, second)]
    return power.compare(*contrasts, box_size, edges, dimensions)


def _contrast(density: np.ndarray) -> np.ndarray:
    return (density / density.mean() - 1).astype(np.float32)


def dense_mass_error(density: np.ndarray, decoded: np.ndarray, dimensions: int) -> float:
    """Return the rms of M'/M − 1 over connected regions denser than `DENSE` times the mean.

    density: a box, whose periodicity regions do not follow, or slabs or patches, each by itself. M' is the decoded
    mass in the same cells. NaN where no cell is so dense.
    """
    labels, count = ndimage.label(density > DENSE, _within(dimensions))
    if count == 0:
        return float("nan")
    index = np.arange(1, count + 1)
    mass, found = (ndimage.sum_labels(x, labels, index) for x in (density, decoded))
    return float(np.sqrt(np.mean(np.square(found / mass - 1))))


def _within(dimensions: int) -> np.ndarray:
    """Return which neighbours belong together: faces, and in slabs (b, n, n) those of one slab alone."""
    structure = ndimage.generate_binary_structure(3, 1)
    if dimensions == 2:
        structure[[0, 2]] = False
    return structure


def _check(original: np.ndarray, decoded: np.ndarray) -> None:
    if original.shape != decoded.shape:
        raise DataError(f"the decoded field has shape {decoded.shape}, the original {original.shape}")
    if not (np.isfinite(original).all() and np.isfinite(decoded).all()):
        raise DataError("a field to compare holds NaN or infinite values; make it again")
