"""What every format says of a snapshot, in one form, and what must hold of it before particles are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np

from supercosm.errors import DataError
from supercosm.units import CM_PER_KM, CM_PER_MPC, GRAMS, KPC

LengthUnit = Literal["kpc/h", "Mpc/h"]
DARK_MATTER = 1
LEFT_OUT = {0: "gas", 4: "stars", 5: "black holes"}  # beside dark matter, in runs with baryons
BLACK_HOLES = 5
HEAVY = (2, 3)  # dark matter of other masses, around the region that a zoom resolves
UNITS = {"length": "UnitLength_in_cm", "velocity": "UnitVelocity_in_cm_per_s", "mass": "UnitMass_in_g"}
ABSURD = 1e-30, 1e30  # below and above there is no length, time or parameter, in whatever unit
LEAST = 12 + 12 + 4  # bytes of a particle: positions and velocities in single precision, ID of 32 bits


@dataclass(frozen=True)
class Units:
    """Units of a file: lengths in a comoving Mpc/h, and factors to peculiar km/s and to 1e10 Msun/h.

    stated: whether the file says so itself. root_a: whether velocities are Gadget's, peculiar ones over √a.
    """

    lengths: float = KPC
    velocity: float = 1.0
    mass: float = 1.0
    stated: bool = False
    root_a: bool = True


@dataclass(frozen=True)
class Header:
    """Header of one file of a snapshot, in its own units.

    counts, totals: particles by type, in this file and in all. masses: of a particle, by type; 0 if each has its own.
    """

    box_size: float
    scale_factor: float
    cosmology: dict[str, float]
    counts: tuple[int, ...]
    totals: tuple[int, ...]
    files: int = 1
    masses: tuple[float, ...] = ()
    units: Units = field(default_factory=Units)

    @property
    def count(self) -> int:
        """Dark-matter particles in this file."""
        return self.counts[DARK_MATTER]

    @property
    def mass(self) -> float:
        """Mass of every dark-matter particle; 0 if each has its own."""
        return self.mass_of(DARK_MATTER)

    @property
    def left_out(self) -> dict[str, int]:
        """Particles of other types in all files, by the name of the type."""
        return {name: self.totals[kind] for kind, name in LEFT_OUT.items() if _number(self.totals, kind)}

    def mass_of(self, kind: int) -> float:
        """Mass of every particle of a type; 0 if each has its own."""
        return float(self.masses[kind]) if kind < len(self.masses) else 0.0

    def others(self) -> list[int]:
        """List the types beside dark matter of which this file holds particles."""
        return [kind for kind in LEFT_OUT if _number(self.counts, kind)]


@dataclass(frozen=True)
class Arrays:
    """Dark matter as a file holds it: positions (N, 3), velocities (N, 3), ids (N,), and the mean mass if given.

    others: mass of all particles of each other type in this file; None where the file does not give it.
    """

    positions: np.ndarray
    velocities: np.ndarray
    ids: np.ndarray
    mass: float | None = None
    others: dict[int, float | None] = field(default_factory=dict)


def no_particles(others: dict[int, float | None]) -> Arrays:
    """Return the arrays of a file that holds no dark matter, as one of many files may."""
    return Arrays(np.empty((0, 3), np.float32), np.empty((0, 3), np.float32), np.empty(0, np.uint64), None, others)


def units_of(stated: dict[str, float], path: Path, root_a: bool = True, h: float | None = None) -> Units:
    """Turn a file's units in cgs (length, velocity, mass; 1 or nothing where not stated) into factors.

    h: where lengths and masses are without h, its value.
    """
    if not stated:
        return Units(root_a=root_a)
    for name, value in stated.items():
        if not 1e-99 < value < 1e99:
            raise DataError(f"{path}: the unit of {name} is {value:g} in cgs; it must be a positive number")
    per_h = 1.0 if h is None else h
    return Units(
        lengths=_rounded(CM_PER_MPC / stated.get("length", CM_PER_MPC / KPC)) / per_h,
        velocity=_rounded(stated.get("velocity", CM_PER_KM) / CM_PER_KM),
        mass=_rounded(stated.get("mass", GRAMS) / GRAMS) * per_h,
        stated="length" in stated,
        root_a=root_a,
    )


def _rounded(value: float) -> float:
    """Return the power of ten within a thousandth: codes know a parsec and the Sun to three or more digits."""
    power = 10.0 ** round(math.log10(value))
    return power if abs(value / power - 1) < 1e-3 else value


def positive(value: Any, name: str, where: str, path: Path) -> float:
    """Return a header's value as a float; raise DataError unless it is one positive number, and no absurd one."""
    found = np.asarray(value, np.float64).reshape(-1)
    if len(found) != 1 or not ABSURD[0] < found[0] < ABSURD[1]:
        shown = ", ".join(f"{v:g}" for v in found[:3]) or "nothing"
        raise DataError(f"{path}: {name} = {shown} in {where} must be a positive number")
    return float(found[0])


def cube(value: Any, where: str, path: Path) -> float:
    """Return the side of a box that is given as one or three numbers; raise DataError unless it is a cube."""
    sides = np.asarray(value, np.float64).reshape(-1)
    if len(sides) == 3 and not np.allclose(sides, sides[0], rtol=1e-6):
        raise DataError(
            f"{path}: BoxSize = {', '.join(f'{s:g}' for s in sides)} in {where} is no cube; only cubes are known"
        )
    return positive(sides[:1] if len(sides) == 3 else value, "BoxSize", where, path)


def numbers(values: Any, high: Any = None) -> tuple[int, ...]:
    """Return particle numbers by type as Python integers, with the high words of numbers beyond 32 bits."""
    low = [int(value) & 0xFFFFFFFFFFFFFFFF for value in np.asarray(values).reshape(-1)]
    above = [int(value) for value in np.asarray(high).reshape(-1)] if high is not None else []
    above += [0] * (len(low) - len(above))
    return tuple(value + (more << 32) if value < 1 << 32 else value for value, more in zip(low, above, strict=False))


def known_cosmology(values: dict[str, Any], path: Path) -> dict[str, float]:
    """Check Omega_m, Omega_lambda, h and, if it is there, Omega_b, of a header; return them by our names."""
    matter = float(values["Omega_m"])
    dark_energy = float(values.get("Omega_lambda", 1 - matter))
    if not abs(matter + dark_energy - 1) <= 0.001:
        raise DataError(
            f"{path}: Omega0 = {matter:g} and OmegaLambda = {dark_energy:g} do not add to 1; "
            "only flat universes are known"
        )
    found = {"Omega_m": matter, "h": float(values["h"])}
    if float(values.get("Omega_b", 0)) > 0:
        found["Omega_b"] = float(values["Omega_b"])
    return found


def check(header: Header, path: Path, size: int, compression: int = 1) -> None:
    """Raise DataError unless a file has dark matter of one kind, and no more particles than fit into its size.

    compression: how many times larger than the file its content may be.
    """
    most = [max(pair) for pair in zip_longest(header.totals, header.counts, fillvalue=0)]
    others = {i: number for i, number in enumerate(most) if number and i != DARK_MATTER and i not in LEFT_OUT}
    shown = ", ".join(f"{number} of type {i}" for i, number in others.items())
    if any(i in HEAVY for i in others):
        raise DataError(
            f"{path} holds dark matter of several masses, tracers or neutrinos ({shown}): zoom runs have no lattice of "
            "a whole box, and a run whose dark matter is of particle type 1 alone is needed"
        )
    if others:
        raise DataError(
            f"{path} holds particles that are not known ({shown}): beside dark matter (type 1) there may be gas (0), "
            "stars (4) and black holes (5)"
        )
    if len(header.counts) <= DARK_MATTER or not header.totals[DARK_MATTER]:
        raise DataError(f"{path} holds no dark matter: NumPart_Total of particle type 1 is 0")
    if header.count * LEAST > size * compression:
        raise DataError(
            f"{path} is truncated or damaged: its header tells of {header.count} particles, which do not fit into "
            f"{size} bytes"
        )


def check_alike(headers: Sequence[Header], paths: Sequence[Path]) -> None:
    """Raise DataError unless the files of a snapshot agree and their particles add up to the total."""
    first = headers[0]
    for header, path in zip(headers, paths, strict=True):
        for name in ("box_size", "scale_factor", "cosmology", "totals", "files", "masses", "units"):
            ours, theirs = getattr(first, name), getattr(header, name)
            if ours != theirs:
                raise DataError(
                    f"{path} is no part of the same snapshot as {paths[0]}: {name.replace('_', ' ')} is {theirs}, "
                    f"there {ours}"
                )
    for kind in (DARK_MATTER, *LEFT_OUT):
        found, expected = sum(_number(header.counts, kind) for header in headers), _number(first.totals, kind)
        if found != expected:
            raise DataError(
                f"{paths[0]}: the files hold {found} particles of type {kind} and NumPart_Total says {expected}; one "
                "of them is truncated, or of another run"
            )


def mass_table(values: Any) -> tuple[float, ...]:
    """Return a header's masses by type; raise ValueError where dark matter has no place in them."""
    found = np.asarray(values, np.float64).reshape(-1)
    if len(found) <= DARK_MATTER or not np.isfinite(found).all():
        raise ValueError(f"MassTable = {found}")
    return tuple(float(mass) for mass in found)


def _number(counts: Sequence[int], kind: int) -> int:
    return counts[kind] if kind < len(counts) else 0
