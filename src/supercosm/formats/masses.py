"""Whether particles weigh what the box holds: the sign of a unit misread, or of particles that are missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from supercosm.errors import DataError
from supercosm.formats.header import BLACK_HOLES, LEFT_OUT, Header
from supercosm.units import CRITICAL_DENSITY, KPC

FILLED = 0.005  # of the mass in the box that particles may lack or exceed: constants of codes differ by up to 0.0004


@dataclass(frozen=True)
class Matter:
    """What the particles of a snapshot weigh, in the file's unit.

    count, mean: number of dark matter particles, and the mass of one, if given. others: mass of all particles of each
    other type, if given. left_out: their numbers. Omega_m: what all should weigh.
    """

    header: Header
    count: int
    mean: float | None
    others: dict[int, float | None]
    left_out: dict[str, int]
    Omega_m: float

    @property
    def box_size(self) -> float:
        """Side of the box [Mpc/h]."""
        return self.header.box_size / self.header.units.lengths


def check_mass(found: Matter, path: Path) -> bool:
    """Tell whether dark matter is all there is of matter, and not only of what is no baryon.

    Raises DataError unless all particles together weigh Omega_m, or dark matter weighs Omega_m − Omega_b, in units of
    the critical density times the volume of the box.
    """
    units, box = found.header.units, found.box_size
    baryons = bool(found.left_out)
    if not found.mean:
        if not units.stated and not 5 < box < 20_000:
            raise DataError(
                f"{path}: a box of {box:g} Mpc/h is hard to believe, and neither units nor masses are given; "
                f"{_way_out(found)}"
            )
        return not baryons
    unit = CRITICAL_DENSITY * box**3 / units.mass  # of a density parameter, in the masses of the file
    dark, matter = found.mean * found.count / unit, found.Omega_m
    others = {kind: weight for kind, weight in found.others.items() if kind != BLACK_HOLES or weight}
    unknown = [LEFT_OUT[kind] for kind, weight in others.items() if weight is None]
    total = dark + sum(weight or 0.0 for weight in others.values()) / unit
    if not unknown and abs(total / matter - 1) <= FILLED:
        return not baryons
    cold = matter - found.header.cosmology.get("Omega_b", 0.0)
    if "Omega_b" in found.header.cosmology and abs(dark / cold - 1) <= FILLED:
        return False
    raise DataError(_sentence(found, path, (dark, total, matter, unit * units.mass), unknown))


def _way_out(found: Matter) -> str:
    other = "Mpc/h" if found.header.units.lengths == KPC else "kpc/h"
    return f"if lengths are in {other}, bring it in with `supercosm import --length-unit {other}`"


def _sentence(found: Matter, path: Path, numbers: tuple[float, ...], unknown: list[str]) -> str:
    """Say what particles weigh and should weigh. numbers: Omegas of dark matter, of all, of matter; their unit."""
    dark, total, matter, unit = numbers
    count, box = found.count, found.box_size
    if unknown:
        return (
            f"{path}: it does not give the masses of its {' and '.join(unknown)}, and its {count} particles of dark "
            f"matter weigh {dark:.4g} ρ_crit L³, which is not Omega_m − Omega_b; what a box of {box:g} Mpc/h holds "
            f"with Omega_m = {matter:g} cannot be checked: give a file with masses, or with OmegaBaryon"
        )
    kinds = ", ".join(f"{number} of {kind}" for kind, number in found.left_out.items())
    whose = f"its {count} particles" + (f" with those left out ({kinds})" if kinds else "")
    return (
        f"{path}: {whose} weigh {total * unit:.5g} · 10¹⁰ Msun/h, but the matter in a box of {box:g} Mpc/h "
        f"with Omega_m = {matter:g} weighs {matter * unit:.5g}, {matter / total:.4g} times as "
        f"much; a unit was misread, or particles are missing: {_way_out(found)}"
    )
