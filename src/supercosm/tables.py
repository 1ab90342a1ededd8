"""Tables as ECSV files with units and provenance in their headers."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import astropy.units as u
from astropy.io.ascii.core import InconsistentTableError
from astropy.table import QTable
from yaml import YAMLError

from supercosm.errors import DataError
from supercosm.files import LONGEST, UNREADABLE, whole

# the unit of astropy.cosmology.units under the name it has there: importing that takes half a second in every job
LITTLEH = u.def_unit("littleh", doc="Hubble constant in 100 km/s/Mpc")
WAVE_NUMBER = LITTLEH / u.Mpc
LENGTH = u.Mpc / LITTLEH
SPEED = u.km / u.s
MASS = u.Msun / LITTLEH
DENSITY_POWER = (u.Mpc / LITTLEH) ** 3
BISPECTRUM = (u.Mpc / LITTLEH) ** 6
DISPLACEMENT_POWER = (u.Mpc / LITTLEH) ** 5


def write_table(path: str | Path, table: QTable) -> None:
    """Write a table as ECSV, whole or not at all."""
    with whole(path) as part:
        table.write(part, format="ascii.ecsv")


def read_table(path: str | Path) -> QTable:
    """Read an ECSV table; raise DataError when it is missing or damaged."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no table {path}; run the stage that writes it first")
    try:
        with _littleh_known():
            table = QTable.read(path, format="ascii.ecsv")
        kinds = [table[name].dtype for name in table.colnames if hasattr(table[name], "dtype")]
        if any(kind.kind == "c" or (kind.kind == "f" and kind.itemsize > 8) for kind in kinds):
            raise ValueError("it holds complex or 128-bit numbers, which no table of this package does")
        return table
    except (InconsistentTableError, YAMLError, RecursionError, *UNREADABLE) as error:
        reason = " ".join(str(error).split())[:LONGEST]
        raise DataError(
            f"{path} is no whole ECSV table ({reason}); name another, or have its stage make it again"
        ) from error


def _littleh_known() -> AbstractContextManager:
    """Let h read as a unit in file headers, unless a caller has enabled astropy.cosmology's of the same name."""
    try:
        return u.add_enabled_units([LITTLEH])
    except ValueError:
        return nullcontext()
