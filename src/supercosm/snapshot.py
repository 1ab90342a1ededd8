"""Snapshots: the one object that travels between stages, and its Gadget-style HDF5 files.

Simulated, super-resolved and foreign data are all snapshots, so all are measured by the same code.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.files import hdf5_reader, hdf5_writer

log = logging.getLogger(__name__)

CRITICAL_DENSITY = 27.75366277  # 3 (100 km/s/Mpc)² / (8 π G) in 1e10 Msun/h (Mpc/h)^-3, CODATA 2018 / IAU 2015
KPC = 1000.0  # kpc/h in a Mpc/h
CHUNK = 1 << 18  # particles per HDF5 chunk


@dataclass(frozen=True)
class Snapshot:
    """Particles of one simulation at one time, sorted by ID.

    positions: (N, 3) float32, comoving Mpc/h in [0, box_size). velocities: (N, 3) float32, peculiar km/s.
    ids: (N,) uint64; ID-1 is the Lagrangian index in C order. box_size in Mpc/h.
    """

    positions: np.ndarray
    velocities: np.ndarray
    ids: np.ndarray
    box_size: float
    scale_factor: float
    cosmology: Cosmology
    provenance: dict[str, Any] = field(default_factory=dict)

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
        count = len(self.ids)
        side = round(count ** (1 / 3))
        if side**3 != count:
            raise DataError(f"{count} particles are no cube of a whole number, so they fill no Lagrangian lattice")
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
        n, box = self.side, self.box_size
        lattice = ((np.arange(n) + 0.5) * box / n).astype(np.float32)
        moved = self.positions.reshape(n, n, n, 3).copy()
        for axis in range(3):
            shape = [n if a == axis else 1 for a in range(3)]
            moved[..., axis] -= lattice.reshape(shape)
        moved -= np.float32(box) * np.ceil(moved / np.float32(box) - np.float32(0.5))
        return np.ascontiguousarray(np.moveaxis(moved, -1, 0))

    def velocity(self) -> np.ndarray:
        """Peculiar velocity on the Lagrangian lattice: (3, n, n, n) float32 [km/s]."""
        n = self.side
        return np.ascontiguousarray(np.moveaxis(self.velocities.reshape(n, n, n, 3), -1, 0))


def from_lattice(displacement: np.ndarray, velocity: np.ndarray, box_size: float, **attributes: Any) -> Snapshot:
    """Make a Snapshot of fields (3, n, n, n) [Mpc/h, km/s] on the lattice; inverse of `displacement()`."""
    n = displacement.shape[-1]
    return Snapshot(
        positions=lattice_positions(displacement, box_size),
        velocities=np.moveaxis(velocity, 0, -1).reshape(-1, 3).astype(np.float32, copy=False),
        ids=np.arange(1, n**3 + 1, dtype=np.uint64),
        box_size=box_size,
        **attributes,
    )


def lattice_positions(displacement: np.ndarray, box_size: float, first: int = 0) -> np.ndarray:
    """Turn displacements (3, m, n, n) of lattice planes first…first+m into positions (m n², 3) [Mpc/h]."""
    _, m, n, _ = displacement.shape
    starts = (first, 0, 0)
    positions = np.empty((m, n, n, 3), np.float32)
    for axis in range(3):
        length = displacement.shape[1 + axis]
        lattice = (np.arange(starts[axis], starts[axis] + length) + 0.5) * (box_size / n)
        shape = [length if a == axis else 1 for a in range(3)]
        positions[..., axis] = (displacement[axis] + lattice.reshape(shape)) % box_size
    positions[positions >= box_size] = 0.0  # float32 may round up to the box side, which is the point 0
    return positions.reshape(-1, 3)


def write_snapshot(path: str | Path, snapshot: Snapshot) -> None:
    """Write a snapshot as Gadget-style HDF5, whole or not at all."""
    with snapshot_writer(path, snapshot, len(snapshot.ids)) as write:
        write(0, snapshot.positions, snapshot.velocities, snapshot.ids)


@contextmanager
def snapshot_writer(path: str | Path, like: Any, count: int) -> Iterator[Any]:
    """Open a snapshot of `count` particles to write in slabs; it appears under its name when all are written.

    `like` carries box_size [Mpc/h], scale_factor, cosmology and provenance. Yields
    `write(start, positions, velocities, ids)` with positions in Mpc/h and velocities in km/s.
    """
    with hdf5_writer(path) as file:
        _write_header(file, like, count)
        group = file.create_group("PartType1")
        chunk = min(count, CHUNK)
        sets = {
            "Coordinates": group.create_dataset("Coordinates", (count, 3), "f4", chunks=(chunk, 3), fletcher32=True),
            "Velocities": group.create_dataset("Velocities", (count, 3), "f4", chunks=(chunk, 3), fletcher32=True),
            "ParticleIDs": group.create_dataset("ParticleIDs", (count,), "u8", chunks=(chunk,), fletcher32=True),
        }
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


def _write_header(file: h5py.File, like: Any, count: int) -> None:
    numbers = np.array([0, count, 0, 0, 0, 0], np.uint64)
    mass = CRITICAL_DENSITY * like.cosmology.Omega_m * like.box_size**3 / count
    header = file.create_group("Header").attrs
    header["BoxSize"] = like.box_size * KPC
    header["Time"] = like.scale_factor
    header["Redshift"] = 1 / like.scale_factor - 1
    header["Omega0"] = like.cosmology.Omega_m
    header["OmegaLambda"] = 1 - like.cosmology.Omega_m
    header["OmegaBaryon"] = like.cosmology.Omega_b
    header["HubbleParam"] = like.cosmology.h
    header["MassTable"] = np.array([0, mass, 0, 0, 0, 0])
    header["NumPart_ThisFile"] = numbers.astype(np.int32)
    header["NumPart_Total"] = (numbers & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    header["NumPart_Total_HighWord"] = (numbers >> np.uint64(32)).astype(np.uint32)
    header["NumFilesPerSnapshot"] = 1
    for flag in ("Sfr", "Cooling", "StellarAge", "Metals", "Feedback"):
        header[f"Flag_{flag}"] = 0
    header["Flag_DoublePrecision"] = 0
    units = file.create_group("Units").attrs
    units["UnitLength_in_cm"] = 3.085678e21
    units["UnitMass_in_g"] = 1.989e43
    units["UnitVelocity_in_cm_per_s"] = 1e5
    origin = file.create_group("Provenance").attrs
    origin["cosmology"] = np.bytes_(like.cosmology.model_dump_json())
    origin["json"] = np.bytes_(json.dumps(like.provenance, sort_keys=True))


def read_snapshot(path: str | Path) -> Snapshot:
    """Read a Gadget-style HDF5 snapshot, sorted by particle ID.

    Raises DataError when the file is missing, truncated, damaged, not Gadget-like, or holds NaN.
    """
    with hdf5_reader(path, "snapshot") as file:
        return _read(file, Path(path))


def _read(file: h5py.File, path: Path) -> Snapshot:
    for name in (
        "Header",
        "PartType1",
        "PartType1/Coordinates",
        "PartType1/Velocities",
        "PartType1/ParticleIDs",
    ):
        if name not in file:
            raise DataError(f"{path} is no Gadget-style snapshot: it lacks /{name}")
    header = dict(file["Header"].attrs)
    lacking = [k for k in ("BoxSize", "Time", "Omega0", "HubbleParam") if k not in header]
    if lacking:
        raise DataError(f"{path} is no Gadget-style snapshot: its /Header lacks {', '.join(lacking)}")
    _check_header(header, path)
    group = file["PartType1"]
    scale_factor, box_size = float(header["Time"]), float(header["BoxSize"]) / KPC
    ids = group["ParticleIDs"][:]
    order = None if np.all(ids[1:] > ids[:-1]) else np.argsort(ids, kind="stable")
    positions, velocities = group["Coordinates"][:], group["Velocities"][:]
    if order is not None:
        ids, positions, velocities = ids[order], positions[order], velocities[order]
        if np.any(ids[1:] == ids[:-1]):
            raise DataError(f"{path}: particle IDs repeat, so the particles have no place on a lattice")
    origin = dict(file["Provenance"].attrs) if "Provenance" in file else {}
    snapshot = Snapshot(
        positions=(positions / np.float32(KPC)).astype(np.float32, copy=False),
        velocities=(velocities * np.float32(np.sqrt(scale_factor))).astype(np.float32, copy=False),
        ids=ids.astype(np.uint64, copy=False),
        box_size=box_size,
        scale_factor=scale_factor,
        cosmology=_cosmology(header, origin),
        provenance=json.loads(origin.get("json", "{}")),
    )
    _check_values(snapshot, path)
    return snapshot


def _check_header(header: dict[str, Any], path: Path) -> None:
    files = int(header.get("NumFilesPerSnapshot", 1))
    if files != 1:
        raise DataError(f"{path} is one of {files} files of a snapshot; join them into a single file first")
    for name in ("BoxSize", "Time"):
        if not 0 < float(header[name]) < np.inf:
            raise DataError(f"{path}: {name} = {float(header[name]):g} in the /Header must be a positive number")
    matter, dark_energy = (
        float(header["Omega0"]),
        float(header.get("OmegaLambda", 1 - float(header["Omega0"]))),
    )
    if abs(matter + dark_energy - 1) > 0.001:
        raise DataError(
            f"{path}: Omega0 = {matter:g} and OmegaLambda = {dark_energy:g} do not add to 1; "
            "only flat universes are known"
        )


def _cosmology(header: dict[str, Any], origin: dict[str, Any]) -> Cosmology:
    if "cosmology" in origin:
        return Cosmology.model_validate_json(bytes(origin["cosmology"]))
    known = {"Omega_m": float(header["Omega0"]), "h": float(header["HubbleParam"])}
    if float(header.get("OmegaBaryon", 0)) > 0:
        known["Omega_b"] = float(header["OmegaBaryon"])
    return Cosmology(**known)


def _check_values(snapshot: Snapshot, path: Path) -> None:
    for name in ("positions", "velocities"):
        bad = np.count_nonzero(~np.isfinite(getattr(snapshot, name)))
        if bad:
            raise DataError(f"{path}: {bad} of the {name} are NaN or infinite; the file cannot be used")
    low, high, box = snapshot.positions.min(), snapshot.positions.max(), snapshot.box_size
    if low < -box or high > 2 * box:
        raise DataError(
            f"{path}: positions run from {low:g} to {high:g} Mpc/h in a box of {snapshot.box_size:g} Mpc/h; "
            "coordinates and BoxSize must both be in comoving kpc/h"
        )
    if low < 0 or high > box * 1.000001:
        positions = snapshot.positions
        outside = np.count_nonzero(((positions < 0) | (positions > box * 1.000001)).any(axis=1))
        log.warning(
            "%s: %d of %d particles lie outside the box of %g Mpc/h, at %g to %g; they are wrapped into it",
            *(path, outside, len(positions), box, low, high),
        )
    if low < 0 or high >= box:
        np.remainder(snapshot.positions, np.float32(box), out=snapshot.positions)
        snapshot.positions[snapshot.positions >= box] = 0.0  # float32 may round up to the box side, the point 0
