"""Haloes: the friends-of-friends groups of a snapshot, and what each of them is like."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import numba
import numpy as np

from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.snapshot import Snapshot
from supercosm.statistics.friends import friends_of_friends

MASS_UNIT = 1e10  # Msun/h in a snapshot's unit of mass
SHRINK = 0.9  # of the shrinking sphere's radius per step; Power et al. (2003) take 0.975, at four times the cost
WIDEST = 0.4  # of the box: a group cut where it meets its own image is (box - linking length) wide or wider
CORE = 10  # least number of particles in the last sphere


class Universe(Protocol):
    """What haloes need to know of a snapshot beside its particles."""

    box_size: float
    scale_factor: float
    cosmology: Cosmology
    provenance: dict[str, Any]

    @property
    def particle_mass(self) -> float:
        """Mass of one particle [1e10 Msun/h]."""


@dataclass(frozen=True)
class Haloes:
    """Haloes of one snapshot, from the most massive down; each array (H,) or (H, 3).

    ids: smallest particle ID in the halo. particles: number of them. masses [Msun/h]: uncorrected. positions:
    centre of mass, and centres: shrinking-sphere centre of the densest part, both comoving Mpc/h in [0, box_size).
    velocities: mean peculiar velocity [km/s]. dispersions: rms of one velocity component [km/s]. rms_radii, radii:
    rms and largest distance of a particle from the centre of mass [Mpc/h]. box_size in Mpc/h, particle_mass in Msun/h.
    linking: b, in mean separations. minimum: least number of particles.
    """

    ids: np.ndarray
    particles: np.ndarray
    masses: np.ndarray
    positions: np.ndarray
    centres: np.ndarray
    velocities: np.ndarray
    dispersions: np.ndarray
    rms_radii: np.ndarray
    radii: np.ndarray
    box_size: float
    scale_factor: float
    particle_mass: float
    linking: float
    minimum: int
    cosmology: Cosmology
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.ids)
        for name, dimensions in COLUMNS.items():
            shape = (count,) if dimensions == 1 else (count, 3)
            if getattr(self, name).shape != shape:
                raise DataError(f"{name} of {count} haloes must have shape {shape}, not {getattr(self, name).shape}")

    def __len__(self) -> int:
        return len(self.ids)


COLUMNS = {
    "ids": 1,
    "particles": 1,
    "masses": 1,
    "positions": 3,
    "centres": 3,
    "velocities": 3,
    "dispersions": 1,
    "rms_radii": 1,
    "radii": 1,
}


def find_haloes(snapshot: Snapshot, linking: float = 0.2, minimum: int = 20) -> Haloes:
    """Find the friends-of-friends haloes of at least `minimum` particles; none is an answer, too.

    Raises DataError for positions that are NaN or outside the box, and when a group spans most of the box,
    where a centre has no meaning.
    """
    if minimum < 1:
        raise DataError(f"a halo of at least {minimum} particles was asked for; the minimum must be 1 or more")
    count, box = len(snapshot.ids), snapshot.box_size
    labels = friends_of_friends(snapshot.positions, box, linking * box / count ** (1 / 3))
    first, starts, members = group_members(labels, minimum)
    table = describe(snapshot.positions, snapshot.velocities, members, starts, box)
    return catalogue(snapshot, table, (snapshot.ids[first], np.diff(starts)), linking, minimum)


def catalogue(
    snapshot: Universe, table: np.ndarray, groups: tuple[np.ndarray, np.ndarray], linking: float, minimum: int
) -> Haloes:
    """Put a catalogue together of what `describe` found (H, 12), and groups' smallest IDs and numbers of particles.

    Raises DataError when a group spans most of the box, where a centre has no meaning.
    """
    ids, particles = groups
    box, mass = snapshot.box_size, snapshot.particle_mass * MASS_UNIT
    if len(ids) and table[:, 11].max() > WIDEST * box:
        raise DataError(
            f"a group reaches {table[:, 11].max():.3g} Mpc/h from its centre in a box of {box:g} Mpc/h, so its centre "
            f"means nothing; lower the linking parameter, {linking:g}, or take a larger box"
        )
    return Haloes(
        ids=ids,
        particles=particles,
        masses=particles * mass,
        positions=table[:, 0:3],
        centres=table[:, 3:6],
        velocities=table[:, 6:9],
        dispersions=table[:, 9],
        rms_radii=table[:, 10],
        radii=table[:, 11],
        box_size=box,
        scale_factor=snapshot.scale_factor,
        particle_mass=mass,
        linking=linking,
        minimum=minimum,
        cosmology=snapshot.cosmology,
        provenance={"snapshot": snapshot.provenance},
    )


def group_members(labels: np.ndarray, minimum: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort groups of at least `minimum` particles by size, then label, and list their members.

    Returns the groups' labels (H,), and starts (H + 1,) and members: group h holds the particles
    members[starts[h]:starts[h + 1]], in ascending order.
    """
    counts = np.bincount(labels)
    first = np.flatnonzero(counts >= minimum)
    first = first[np.argsort(-counts[first], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(counts[first])])
    cursors = np.full(len(counts), -1)
    cursors[first] = starts[:-1]
    return first, starts, fill(labels, cursors, starts[-1])


@numba.njit(cache=True)
def fill(labels: np.ndarray, cursors: np.ndarray, total: int) -> np.ndarray:
    """List the members of groups, group by group in ascending order; negative cursors leave a group out."""
    members = np.empty(total, np.int64)
    for p in range(len(labels)):
        if cursors[labels[p]] >= 0:
            members[cursors[labels[p]]] = p
            cursors[labels[p]] += 1
    return members


@numba.njit(parallel=True, cache=True)
def describe(positions, velocities, members, starts, box):
    """Fill in (H, 12): centre of mass, densest centre, velocity, dispersion, rms and largest radius."""
    table = np.zeros((len(starts) - 1, 12))
    for h in numba.prange(len(starts) - 1):  # one thread sums one halo: the order of a sum is fixed
        group = members[starts[h] : starts[h + 1]]
        around, moves = np.empty((len(group), 3)), np.zeros(3)
        for axis in range(3):
            origin = positions[group[0], axis]
            for m in range(len(group)):
                apart = float(positions[group[m], axis]) - origin
                around[m, axis] = apart - box * np.round(apart / box)
                moves[axis] += velocities[group[m], axis] / len(group)
            mean = around[:, axis].mean()
            around[:, axis] -= mean
            table[h, axis] = (origin + mean) % box
        spread = 0.0
        for m in range(len(group)):
            for axis in range(3):
                spread += (velocities[group[m], axis] - moves[axis]) ** 2
        distances = (around**2).sum(axis=1)
        table[h, 6:9], table[h, 9] = moves, math.sqrt(spread / len(group) / 3)
        table[h, 10], table[h, 11] = math.sqrt(distances.mean()), math.sqrt(distances.max())
        table[h, 3:6] = (table[h, 0:3] + _shrink(around, table[h, 11])) % box
    return table


@numba.njit(cache=True)
def _shrink(around: np.ndarray, radius: float) -> np.ndarray:
    """Follow the centre of mass of a shrinking sphere to the densest part (Power et al. 2003, section 2.5).

    It ends with 1 % of the particles, or CORE of them.
    """
    centre = np.zeros(3)
    while radius > 0:
        radius *= SHRINK
        total, inside = np.zeros(3), 0
        for m in range(len(around)):
            apart = around[m] - centre
            if apart[0] ** 2 + apart[1] ** 2 + apart[2] ** 2 <= radius**2:
                total += around[m]
                inside += 1
        if inside < max(CORE, len(around) // 100):
            break
        centre = total / inside
    return centre
