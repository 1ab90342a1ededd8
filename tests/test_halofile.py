"""Halo catalogues on disk: everything comes back, and damage does not pass."""

from dataclasses import fields

import h5py
import numpy as np
import pytest

from supercosm.errors import DataError
from supercosm.halofile import FILE_COLUMNS, read_haloes, write_haloes
from supercosm.snapshot import read_snapshot
from supercosm.statistics.haloes import COLUMNS, find_haloes


@pytest.fixture(scope="module")
def haloes(tiny_simulations):
    return find_haloes(read_snapshot(tiny_simulations[1] / "high.hdf5"))


def same(a, b):
    for one in fields(a):
        first, second = getattr(a, one.name), getattr(b, one.name)
        equal = np.array_equal(first, second) if one.name in COLUMNS else first == second
        assert equal, one.name
        assert type(first) is type(second)


def test_a_catalogue_comes_back(haloes, tmp_path):
    write_haloes(tmp_path / "haloes.hdf5", haloes)
    same(read_haloes(tmp_path / "haloes.hdf5"), haloes)


def test_an_empty_catalogue_comes_back(tiny_simulations, tmp_path):
    empty = find_haloes(read_snapshot(tiny_simulations[1] / "high.hdf5"), minimum=10**6)
    write_haloes(tmp_path / "none.hdf5", empty)
    same(read_haloes(tmp_path / "none.hdf5"), empty)
    assert len(empty) == 0


def test_columns_say_their_units(haloes, tmp_path):
    write_haloes(tmp_path / "haloes.hdf5", haloes)
    assert set(FILE_COLUMNS) == set(COLUMNS)
    with h5py.File(tmp_path / "haloes.hdf5") as file:
        assert file["Haloes/masses"].attrs["unit"] == b"Msun/h"
        assert file["Haloes/centres"].attrs["unit"] == b"comoving Mpc/h"
        assert file["Header"].attrs["particle_mass_unit"] == b"Msun/h"
        assert all(column.fletcher32 for column in file["Haloes"].values())


def test_other_files_are_refused(haloes, tiny_simulations, tmp_path):
    path = tmp_path / "haloes.hdf5"
    with pytest.raises(DataError, match="there is no halo catalogue"):
        read_haloes(path)
    with pytest.raises(DataError, match="is no halo catalogue: it lacks /Header format"):
        read_haloes(tiny_simulations[1] / "high.hdf5")
    write_haloes(path, haloes)
    with h5py.File(path, "a") as file:
        file["Header"].attrs["format"] = 2
    with pytest.raises(DataError, match="has format 2, and this version reads up to 1"):
        read_haloes(path)


@pytest.mark.parametrize("where", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_refused(haloes, tmp_path, where):
    path = tmp_path / "haloes.hdf5"
    write_haloes(path, haloes)
    content = path.read_bytes()
    path.write_bytes(content[: int(where * len(content))])
    with pytest.raises(DataError, match="cannot be read as a halo catalogue"):
        read_haloes(path)


def test_a_flipped_bit_in_a_column_is_noticed(haloes, tmp_path):
    path = tmp_path / "haloes.hdf5"
    write_haloes(path, haloes)
    content = bytearray(path.read_bytes())
    place = content.index(haloes.masses.tobytes())
    content[place + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="delete it and make it again"):
        read_haloes(path)
