"""Particles of Gadget-style HDF5 in blocks of bounded size: for snapshots that are larger than memory.

Units and checks are those of the reader of whole snapshots, except where all particles would have to be known at
once: IDs are left as they are, so what those of foreign files mean on a lattice is not found out, and whether IDs
above the number of particles repeat is not, either.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numba
import numpy as np

from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.files import hdf5_reader
from supercosm.formats.gadgethdf5 import COLUMNS, checked, velocity_factor, weight
from supercosm.formats.header import DARK_MATTER, Header
from supercosm.formats.masses import Matter, check_mass
from supercosm.formats.particles import cosmology_of
from supercosm.formats.reading import hdf5_parts, sums
from supercosm.units import CRITICAL_DENSITY

log = logging.getLogger(__name__)

BLOCK = 1 << 20  # particles: 28 MB of them, and as much again while units are converted
MASSES = "PartType1/Masses"


class Block(NamedTuple):
    """Some particles: positions (N, 3) [Mpc/h] in the box, velocities (N, 3) [km/s], both float32, ids (N,) uint64."""

    positions: np.ndarray
    velocities: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class Blocks:
    """A snapshot that is read in blocks, in the order of its files: iterate over it for the particles.

    box_size in comoving Mpc/h. paths: its files, with their headers. origin: what this package's own files tell.
    """

    paths: list[Path]
    headers: list[Header]
    origin: dict[str, Any]
    cosmology: Cosmology
    size: int = BLOCK

    @property
    def box_size(self) -> float:
        """Side of the box [Mpc/h]."""
        return self.headers[0].box_size / self.headers[0].units.lengths

    @property
    def scale_factor(self) -> float:
        """Scale factor a."""
        return self.headers[0].scale_factor

    @property
    def count(self) -> int:
        """Number of particles in all files."""
        return self.headers[0].totals[DARK_MATTER]

    @property
    def provenance(self) -> dict[str, Any]:
        """Provenance that this package wrote; empty for files of others."""
        return self.origin.get("provenance", {})

    @property
    def particle_mass(self) -> float:
        """Mass of one particle [1e10 Msun/h]: the mean matter density shared equally."""
        return CRITICAL_DENSITY * self.cosmology.Omega_m * self.box_size**3 / self.count

    @property
    def number(self) -> int:
        """Number of blocks."""
        return sum(-(-header.count // self.size) for header in self.headers)

    def __iter__(self) -> Iterator[Block]:
        """Yield the particles; raise DataError for what is damaged, repeats, or is no place and no velocity."""
        outside, seen = 0, np.zeros(self.count // 8 + 1, np.uint8)
        for path, header in zip(self.paths, self.headers, strict=True):
            if not header.count:
                continue
            with hdf5_reader(path, "snapshot") as file:
                columns = _columns(file, path, header)
                for start in range(0, header.count, self.size):
                    block, left = _converted([data[start : start + self.size] for data in columns], file, header, path)
                    if _mark(seen, block.ids):
                        raise DataError(f"{path}: particle IDs repeat, so the particles have no names of their own")
                    outside += left
                    yield block
        if outside:
            log.warning(
                "%s: %d of %d particles lie outside the box of %g Mpc/h; they are wrapped into it",
                *(self.paths[0], outside, self.count, self.box_size),
            )


def open_blocks(path: str | Path, size: int = BLOCK) -> Blocks:
    """Open a snapshot in Gadget-style HDF5, of one file or several, to read it in blocks of `size` particles.

    Raises DataError for other formats and for headers that cannot be; foreign masses must fill the box.
    """
    paths, headers, origin = hdf5_parts(path)
    found = Blocks(paths, headers, origin, cosmology_of(origin, headers[0], paths[0]), size)
    if not found.count:
        raise DataError(f"{paths[0]} holds no particles")
    if not origin:
        weighed = (headers[0].mass or _mean_mass(found), _others(found), headers[0].left_out)
        check_mass(Matter(headers[0], found.count, *weighed, found.cosmology.Omega_m), paths[0])
    return found


def _mean_mass(blocks: Blocks) -> float | None:
    """Return the mean of the masses that stand beside each particle, if they do."""
    total = 0.0
    for path, header in zip(blocks.paths, blocks.headers, strict=True):
        with hdf5_reader(path, "snapshot") as file:
            if not header.count:
                continue
            if MASSES not in file:
                return None
            data = checked(file, MASSES, path)
            for start in range(0, header.count, blocks.size):
                total += float(data[start : start + blocks.size].sum(dtype=np.float64))
    return total / blocks.count


def _others(blocks: Blocks) -> dict[int, float | None]:
    """Return the mass of all particles of each other type, if it is given."""
    found = []
    for path, header in zip(blocks.paths, blocks.headers, strict=True):
        with hdf5_reader(path, "snapshot") as file:
            found.append({kind: weight(file, header, kind, path) for kind in header.others()})
    return sums(found)


def _columns(file: h5py.File, path: Path, header: Header) -> list[h5py.Dataset]:
    columns, count = [checked(file, name, path) for name in COLUMNS], header.count
    shapes = [data.shape for data in columns]
    if shapes != [(count, 3), (count, 3), (count,)]:
        shown = ", ".join(map(str, shapes))
        raise DataError(f"{path}: its header tells of {count} particles, but its columns have the shapes {shown}")
    if columns[2].dtype.kind not in "iu":
        raise DataError(f"{path}: particle IDs are no whole numbers, so the particles have no names")
    return columns


def _converted(found: list[np.ndarray], file: h5py.File, header: Header, path: Path) -> tuple[Block, int]:
    """Return a block in this package's units, wrapped into the box, and how many of it were not in the box."""
    positions, velocities, ids = found
    lengths = np.float32 if positions.dtype == np.float32 else np.float64
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number is told below
        positions = (positions / lengths(header.units.lengths)).astype(np.float32, copy=False)
        velocities = (velocities * np.float32(velocity_factor(file, header))).astype(np.float32, copy=False)
    for name, values in (("positions", positions), ("velocities", velocities)):
        bad = np.count_nonzero(~np.isfinite(values))
        if bad:
            raise DataError(f"{path}: {bad} of the {name} are NaN or infinite; the file cannot be used")
    if ids.dtype.kind == "i" and ids.min(initial=0) < 0:
        raise DataError(f"{path}: particle IDs are no numbers from 0 on, so the particles have no names")
    box, low, high = header.box_size / header.units.lengths, positions.min(initial=0), positions.max(initial=0)
    if low < -box or high > 2 * box:
        raise DataError(
            f"{path}: positions run from {low:g} to {high:g} Mpc/h in a box of {box:g} Mpc/h; "
            "coordinates and BoxSize must both be in comoving kpc/h"
        )
    outside = 0
    if low < 0 or high >= box:
        outside = np.count_nonzero(((positions < 0) | (positions > box * 1.000001)).any(axis=1))
        np.remainder(positions, np.float32(box), out=positions)
        positions[positions >= box] = 0.0  # float32 may round up to the box side, which is the point 0
    return Block(positions, velocities, ids.astype(np.uint64, copy=False)), outside


@numba.njit(cache=True)
def _mark(bits: np.ndarray, ids: np.ndarray) -> int:
    """Set the bit of each ID, and count those that were set; IDs beyond the bits are passed over."""
    repeated = 0
    for number in ids:
        place = np.int64(number >> np.uint64(3))
        if place < len(bits):
            bit = np.uint8(1) << np.uint8(number & np.uint64(7))
            repeated += bits[place] & bit != 0
            bits[place] |= bit
    return repeated
