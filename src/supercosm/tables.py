"""Tables as ECSV files with units and provenance in their headers."""

from __future__ import annotations

from pathlib import Path

import astropy.cosmology.units as cu
import astropy.units as u
from astropy.io.ascii.core import InconsistentTableError
from astropy.table import QTable

from supercosm.errors import DataError
from supercosm.files import whole

u.add_enabled_units(cu)  # so that h (littleh) in file headers reads as a unit
WAVE_NUMBER = cu.littleh / u.Mpc
LENGTH = u.Mpc / cu.littleh
SPEED = u.km / u.s
MASS = u.Msun / cu.littleh
DENSITY_POWER = (u.Mpc / cu.littleh) ** 3
BISPECTRUM = (u.Mpc / cu.littleh) ** 6
DISPLACEMENT_POWER = (u.Mpc / cu.littleh) ** 5


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
        return QTable.read(path, format="ascii.ecsv")
    except (InconsistentTableError, ValueError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is no whole ECSV table ({reason}); delete it and make it again") from error
