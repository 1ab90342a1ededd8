"""Snapshots: the one object that travels between stages, and how it is written, as Gadget-style HDF5.

Simulated, super-resolved and foreign data are all snapshots, so all are measured by the same code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np

from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.files import hdf5_writer
from supercosm.formats import LengthUnit, read_particles
from supercosm.formats.origin import write_made_for, write_origin
from supercosm.formats.parts import names_of, shares
from supercosm.lattice import CENTRES, side_of
from supercosm.units import CRITICAL_DENSITY, KPC

CHUNK = 1 << 18  # particles per HDF5 chunk


@dataclass(frozen=True)
class Snapshot:
    """Particles of one simulation at one time, sorted by ID.

    positions: (N, 3) float32, comoving Mpc/h in [0, box_size). velocities: (N, 3) float32, peculiar km/s.
    ids: (N,) uint64; ID-1 is the Lagrangian index in C order. box_size in Mpc/h. offset: the lattice point of index i
    is (i + offset) L/n: ½ in this package's simulations, 0 or another multiple of ½ in those of some codes, and any
    number where there was gas. fault: why the IDs of a foreign snapshot name no lattice; empty where they do. left_out:
    how many gas, star and black-hole particles a foreign run had beside these.
    """

    positions: np.ndarray
    velocities: np.ndarray
    ids: np.ndarray
    box_size: float
    scale_factor: float
    cosmology: Cosmology
    provenance: dict[str, Any] = field(default_factory=dict)
    offset: float = CENTRES
    fault: str = ""
    left_out: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.positions)
        if self.positions.shape != (count, 3) or self.velocities.shape != (count, 3) or self.ids.shape != (count,):
            raise DataError(
                "a snapshot needs positions (N, 3), velocities (N, 3) and ids (N,), not "
                f"{self.positions.shape}, {self.velocities.shape}, {self.ids.shape}"
            )
        if not count:
            raise DataError("a snapshot needs particles, but there are none")

    @property
    def side(self) -> int:
        """Particles per side of the Lagrangian lattice; raise DataError when they do not fill one."""
        if self.fault:
            raise DataError(self.fault)
        count, side = len(self.ids), side_of(len(self.ids))
        if self.ids[0] != 1 or self.ids[-1] != count:
            raise DataError(
                f"particle IDs run from {self.ids[0]} to {self.ids[-1]}; a lattice of {side}³ needs 1 to {count}"
            )
        return side

    @property
    def redshift(self) -> float:
        """Redshift z = 1/a − 1."""
        return 1 / self.scale_factor - 1

    @property
    def particle_mass(self) -> float:
        """Mass of one particle [1e10 Msun/h]: the mean matter density shared equally."""
        return CRITICAL_DENSITY * self.cosmology.Omega_m * self.box_size**3 / len(self.ids)

    def displacement(self) -> np.ndarray:
        """Position − lattice point, wrapped to (−L/2, L/2]: (3, n, n, n) float32 [Mpc/h]."""
        n, box = self.side, np.float32(self.box_size)
        lattice = ((np.arange(n) + self.offset) * self.box_size / n).astype(np.float32)
        found = np.empty((3, n, n, n), np.float32)
        for axis, moved in enumerate(found):  # one at a time, for temporary arrays are large
            shape = [n if a == axis else 1 for a in range(3)]
            np.subtract(self.positions[:, axis].reshape(n, n, n), lattice.reshape(shape), out=moved)
            moved -= box * np.ceil(moved / box - np.float32(0.5))
        return found

    def velocity(self) -> np.ndarray:
        """Peculiar velocity on the Lagrangian lattice: (3, n, n, n) float32 [km/s]."""
        n = self.side
        return np.ascontiguousarray(np.moveaxis(self.velocities.reshape(n, n, n, 3), -1, 0))


def outline(snapshot: Snapshot) -> SimpleNamespace:
    """Return what there is to a snapshot beside its particles, as attributes of the same names."""
    kept = ("side", "box_size", "scale_factor", "cosmology", "provenance", "offset", "left_out")
    return SimpleNamespace(**{name: getattr(snapshot, name) for name in kept})


def is_foreign(provenance: dict[str, Any]) -> bool:
    """Tell whether all that is known of a snapshot's cosmology is Omega_m and h, as of other codes' headers."""
    made = set(provenance) - {"compression"}  # which tells what was lost, of whatever it was
    return not made or provenance.get("cosmology") == "header"


def from_lattice(
    displacement: np.ndarray, velocity: np.ndarray, box_size: float, *, offset: float = CENTRES, **attributes: Any
) -> Snapshot:
    """Make a Snapshot of fields (3, n, n, n) [Mpc/h, km/s] on the lattice; inverse of `displacement()`."""
    n = displacement.shape[-1]
    return Snapshot(
        positions=lattice_positions(displacement, box_size, offset=offset),
        velocities=np.moveaxis(velocity, 0, -1).reshape(-1, 3).astype(np.float32, copy=False),
        ids=np.arange(1, n**3 + 1, dtype=np.uint64),
        box_size=box_size,
        offset=offset,
        **attributes,
    )


def lattice_positions(
    displacement: np.ndarray, box_size: float, first: int = 0, offset: float = CENTRES, row: int = 0
) -> np.ndarray:
    """Turn displacements (3, m, r, n) of lattice planes first…first+m into positions (m r n, 3) [Mpc/h].

    They are rows row…row+r along y of these planes: all of them, unless the field says otherwise.
    """
    n = displacement.shape[-1]
    starts = (first, row, 0)
    positions = np.empty((*displacement.shape[1:], 3), np.float32)
    for axis in range(3):
        length = displacement.shape[1 + axis]
        lattice = (np.arange(starts[axis], starts[axis] + length) + offset) * (box_size / n)
        shape = [length if a == axis else 1 for a in range(3)]
        positions[..., axis] = (displacement[axis] + lattice.reshape(shape)) % box_size
    positions[positions >= box_size] = 0.0  # float32 may round up to the box side, which is the point 0
    return positions.reshape(-1, 3)


def write_snapshot(path: str | Path, snapshot: Snapshot, files: int = 1) -> None:
    """Write a snapshot as Gadget-style HDF5, every file whole or not at all; several get numbers before the suffix."""
    total = len(snapshot.ids)
    for number, (name, share) in enumerate(zip(names_of(Path(path), files), shares(total, files), strict=True)):
        part = Part(number, files, total, snapshot.provenance) if files > 1 else None
        with snapshot_writer(name, snapshot, share.stop - share.start, part) as write:
            write(0, snapshot.positions[share], snapshot.velocities[share], snapshot.ids[share])


@dataclass(frozen=True)
class Part:
    """One file of a snapshot of several: its number from 0 on, how many there are, and what they all are made of.

    total: particles in all files. made_for: plain JSON values, by which files of different origin are told apart.
    """

    number: int
    files: int
    total: int
    made_for: dict[str, Any]


@contextmanager
def snapshot_writer(path: str | Path, like: Any, count: int, part: Part | None = None) -> Iterator[Any]:
    """Open a snapshot of `count` particles to write in slabs; it appears under its name when all are written.

    `like` carries box_size [Mpc/h], scale_factor, cosmology, provenance and offset. part: the file is one of several,
    and holds `count` of the particles. Yields `write(start, positions, velocities, ids)` with positions in Mpc/h and
    velocities in km/s; start counts the particles of this file.
    """
    with hdf5_writer(path) as file:
        total, files = (count, 1) if part is None else (part.total, part.files)
        _write_header(file, like, (count, total, files))
        if part is not None:
            write_made_for(file, part.made_for)
        sets = particle_sets(file, count)
        root_a = np.float32(np.sqrt(like.scale_factor))
        written = 0

        def write(start: int, positions: np.ndarray, velocities: np.ndarray, ids: np.ndarray) -> None:
            nonlocal written
            stop = start + len(ids)
            sets["Coordinates"][start:stop] = positions * np.float32(KPC)
            sets["Velocities"][start:stop] = velocities / root_a
            sets["ParticleIDs"][start:stop] = ids
            written += len(ids)

        yield write
        if written != count:
            raise DataError(f"{path}: {written} of {count} particles were written, so the file is not kept")


def particle_sets(file: h5py.File, count: int) -> dict[str, h5py.Dataset]:
    """Make room for the particles of a file: Coordinates and Velocities (count, 3), ParticleIDs (count,)."""
    group, chunk = file.create_group("PartType1"), min(count, CHUNK)
    return {
        "Coordinates": group.create_dataset("Coordinates", (count, 3), "f4", chunks=(chunk, 3), fletcher32=True),
        "Velocities": group.create_dataset("Velocities", (count, 3), "f4", chunks=(chunk, 3), fletcher32=True),
        "ParticleIDs": group.create_dataset("ParticleIDs", (count,), "u8", chunks=(chunk,), fletcher32=True),
    }


def write_counts(file: h5py.File, count: int, total: int, files: int) -> None:
    """Write into a header how many particles this file holds, and all files of the snapshot together."""
    header = file["Header"].attrs
    here, numbers = (np.array([0, number, 0, 0, 0, 0], np.uint64) for number in (count, total))
    header["NumPart_ThisFile"] = here.astype(np.int32) if count < 1 << 31 else here  # as Gadget-4 does
    header["NumPart_Total"] = (numbers & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    header["NumPart_Total_HighWord"] = (numbers >> np.uint64(32)).astype(np.uint32)
    header["NumFilesPerSnapshot"] = files


def _write_header(file: h5py.File, like: Any, counts: tuple[int, int, int]) -> None:
    mass = CRITICAL_DENSITY * like.cosmology.Omega_m * like.box_size**3 / counts[1]
    header = file.create_group("Header").attrs
    header["BoxSize"] = like.box_size * KPC
    header["Time"] = like.scale_factor
    header["Redshift"] = 1 / like.scale_factor - 1
    header["Omega0"] = like.cosmology.Omega_m
    header["OmegaLambda"] = 1 - like.cosmology.Omega_m
    header["OmegaBaryon"] = like.cosmology.Omega_b
    header["HubbleParam"] = like.cosmology.h
    header["MassTable"] = np.array([0, mass, 0, 0, 0, 0])
    write_counts(file, *counts)
    for flag in ("Sfr", "Cooling", "StellarAge", "Metals", "Feedback"):
        header[f"Flag_{flag}"] = 0
    header["Flag_DoublePrecision"] = 0
    units = file.create_group("Units").attrs
    units["UnitLength_in_cm"] = 3.085678e21
    units["UnitMass_in_g"] = 1.989e43
    units["UnitVelocity_in_cm_per_s"] = 1e5
    write_origin(file, like)


def read_snapshot(path: str | Path, length_unit: LengthUnit | None = None) -> Snapshot:
    """Read a snapshot of any known format (docs/own.md), sorted by Lagrangian index.

    path: a file, a folder, or what the names of several files begin with. length_unit: of files that do not say it.
    Raises DataError when the file is missing, truncated, damaged, of no known format, holds NaN or the wrong mass.
    Particles without a lattice can be read and measured; what needs the lattice then says why there is none.
    """
    return Snapshot(**vars(read_particles(path, length_unit)))
