"""Where in a box a model errs: by environment, and by the mass of the haloes that its particles belong to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import QTable

from supercosm.compare import read_sample
from supercosm.config import Statistics
from supercosm.errors import DataError
from supercosm.fields import DensityField, density_of, log_density
from supercosm.provenance import provenance
from supercosm.snapshot import Snapshot, read_snapshot
from supercosm.statistics import environment
from supercosm.statistics.friends import friends_of_friends
from supercosm.statistics.haloes import MASS_UNIT, group_members
from supercosm.summaries import with_axis
from supercosm.tables import LENGTH, MASS, SPEED, write_table

MASS_STEPS = np.array([1, 4, 16, 64, 256])  # edges of the mass bins, in least masses; the last bin is open


def audit(sample: Path, reference: Path, output: Path, settings: Statistics) -> None:
    """Write environment.ecsv and, for particles on one lattice, halomass.ecsv into a folder.

    Raises DataError when the two are not of one box.
    """
    data, truth = read_sample(sample), read_snapshot(reference)
    if abs(data.box_size / truth.box_size - 1) > 1e-4:
        raise DataError(
            f"the sample's box is {data.box_size:g} Mpc/h, the reference's {truth.box_size:g}; audit one box at a time"
        )
    if abs(data.scale_factor / truth.scale_factor - 1) > 1e-4:
        raise DataError(
            f"the sample's scale factor is {data.scale_factor:g}, the reference's {truth.scale_factor:g}; audit a "
            "sample with the high run of its own time"
        )
    if isinstance(data, DensityField) and data.dimensions != 3:
        raise DataError("environments are those of boxes, but the sample holds projected slabs; compare it instead")
    folder = Path(output).absolute()
    tables = {"environment": by_environment(data, truth, settings)}
    if isinstance(data, Snapshot) and len(data.ids) == len(truth.ids):
        tables["halomass"] = by_halo_mass(data, truth, settings)
    for name, table in tables.items():
        table.meta |= {
            "entry": folder.parent.name,
            "seed": folder.name,
            "provenance": provenance("audit", settings.model_dump(), sample=data.provenance),
        }
        write_table(folder / f"{name}.ecsv", table)


def by_environment(data: Snapshot | DensityField, truth: Snapshot, settings: Statistics) -> QTable:
    """Compare densities in the truth's voids, sheets, filaments and knots.

    volume, volume_reference: share of the cells in this class, classified by each box's own tidal tensor. recovered:
    share of the truth's cells that the sample puts in the same class. mass: the sample's mass in them, in units of the
    truth's. bias, error: mean and rms difference of ln(1 + δ + 0.1) there. NaN where the truth has no such cells.
    """
    true = density_of(truth, truth.side).data
    own = data.data if isinstance(data, DensityField) else density_of(data, truth.side).data
    if own.shape != true.shape:
        raise DataError(f"a mesh of {len(own)} cells cannot be audited against one of {len(true)}; use the same mesh")
    radius, threshold = settings.environment_radius, settings.environment_threshold
    classes, found = (environment.classify(mesh, truth.box_size, radius, threshold) for mesh in (true, own))
    difference = log_density(own).astype(np.float64) - log_density(true)
    rows = []
    for number, name in enumerate(environment.CLASSES):
        here = classes == number
        rows.append(
            (
                name,
                float(here.mean()),
                float((found == number).mean()),
                _mean(found[here] == number),
                _ratio(*(float(mesh[here].sum(dtype=np.float64)) for mesh in (own, true))),
                _mean(difference[here]),
                _mean(difference[here] ** 2) ** 0.5,
            )
        )
    names = ("environment", "volume_reference", "volume", "recovered", "mass", "bias", "error")
    return with_axis(QTable(rows=rows, names=names), "environment")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else np.nan


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else np.nan


def by_halo_mass(data: Snapshot, truth: Snapshot, settings: Statistics) -> QTable:
    """Compare haloes, and the motions of their particles, in bins of the true halo's mass.

    Row 0 holds the particles in no halo. particles: number of them. displacement, velocity: rms error per component
    [Mpc/h, km/s]. flow: error of the mean velocity of a halo's particles [km/s], per component. haloes,
    haloes_reference: haloes found in the bin. kept: share of the particles that are in some halo of the sample.
    """
    least = settings.halo_particles
    length = settings.linking_length * truth.box_size / truth.side
    groups = [friends_of_friends(box.positions, box.box_size, length) for box in (data, truth)]
    own_sizes, sizes = (np.bincount(labels) for labels in groups)
    edges = np.array([0, *(least * MASS_STEPS), np.inf])
    inside = np.digitize(sizes[groups[1]], edges) - 1
    in_halo = own_sizes[groups[0]] >= least
    moved = _wrapped(data.positions - truth.positions, truth.box_size)
    pushed = data.velocities - truth.velocities
    mass = truth.particle_mass * MASS_UNIT
    rows = []
    for row, start in enumerate(edges[:-1]):
        here = inside == row
        rows.append(
            (
                start * mass,
                float(here.sum()),
                _rms(moved[here]),
                _rms(pushed[here]),
                _flow_error(pushed, groups[1], edges[row : row + 2]) if row else np.nan,
                _count(own_sizes, edges[row : row + 2]) if row else np.nan,
                _count(sizes, edges[row : row + 2]) if row else np.nan,
                _mean(in_halo[here]),
            )
        )
    names = (
        "mass_from",
        "particles",
        "displacement",
        "velocity",
        "flow",
        "haloes",
        "haloes_reference",
        "kept",
    )
    table = QTable(rows=rows, names=names)
    for name, unit in (("mass_from", MASS), ("displacement", LENGTH), ("velocity", SPEED), ("flow", SPEED)):
        table[name] = np.asarray(table[name]) * unit
    return with_axis(table, "mass_from")


def _wrapped(difference: np.ndarray, box_size: float) -> np.ndarray:
    return difference - box_size * np.round(difference / box_size)


def _rms(vectors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(vectors.astype(np.float64) ** 2))) if len(vectors) else np.nan


def _count(sizes: np.ndarray, edges: np.ndarray) -> float:
    return float(np.count_nonzero((sizes >= edges[0]) & (sizes < edges[1])))


def _flow_error(pushed: np.ndarray, labels: np.ndarray, edges: np.ndarray) -> float:
    """Return the rms over haloes of a bin of the error of their mean velocity, per component [km/s]."""
    _, starts, members = group_members(labels, int(edges[0]))
    counts = np.diff(starts)
    chosen = counts < edges[1]
    if not chosen.any():
        return np.nan
    means = np.add.reduceat(pushed[members].astype(np.float64), starts[:-1], axis=0) / counts[:, None]
    return _rms(means[chosen])
