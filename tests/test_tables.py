"""Tables: units survive the file, and astropy alone reads them as its own."""

import subprocess
import sys

import astropy.units as u
from astropy.table import QTable

from supercosm.tables import LENGTH, WAVE_NUMBER, read_table, write_table

ASTROPY_ALONE = """
import sys
import astropy.cosmology.units as cu
import astropy.units as u
from astropy.table import QTable
u.add_enabled_units(cu)
assert QTable.read(sys.argv[1], format="ascii.ecsv")["k"].unit == cu.littleh / u.Mpc
from supercosm.tables import read_table
assert read_table(sys.argv[1])["k"].unit == cu.littleh / u.Mpc
"""


def test_units_survive_the_file(tmp_path):
    path = tmp_path / "table.ecsv"
    write_table(path, QTable({"k": [1.0, 2.0] * WAVE_NUMBER, "P": [3.0, 4.0] * LENGTH**3}))
    table = read_table(path)
    assert (table["k"].unit, table["P"].unit) == (WAVE_NUMBER, LENGTH**3)
    assert (table["k"] * LENGTH).unit == u.dimensionless_unscaled
    # in a process of its own: astropy remembers what a text like "littleh / Mpc" meant
    subprocess.run([sys.executable, "-c", ASTROPY_ALONE, path], check=True)
