"""Snapshots read in blocks: the same particles as read whole, and the same refusals."""

import logging

import h5py
import numpy as np
import pytest
from foreignfiles import Run, write_binary, write_gadget_hdf5

from supercosm.errors import DataError
from supercosm.formats.blocks import open_blocks
from supercosm.snapshot import read_snapshot

SIZE = 1000  # particles: 16³ are no multiple


def joined(path, size=SIZE):
    """Return positions, velocities and ids of all blocks, and the snapshot."""
    found = open_blocks(path, size)
    blocks = list(found)
    assert len(blocks) == found.number
    assert max(len(block.ids) for block in blocks) <= size
    return (*map(np.concatenate, zip(*blocks, strict=True)), found)


@pytest.fixture
def own(tiny_simulations, tmp_path):
    """A copy of a snapshot of this package's, to spoil."""
    path = tmp_path / "own.hdf5"
    path.write_bytes((tiny_simulations[3] / "low.hdf5").read_bytes())
    return path


def test_blocks_of_own_files_are_the_snapshot_to_the_bit(own):
    expected = read_snapshot(own)
    positions, velocities, ids, found = joined(own)
    for name, values in (("positions", positions), ("velocities", velocities), ("ids", ids)):
        assert values.dtype == getattr(expected, name).dtype
        np.testing.assert_array_equal(values, getattr(expected, name))
    for name in ("box_size", "scale_factor", "cosmology", "provenance", "particle_mass"):
        assert getattr(found, name) == getattr(expected, name), name
    assert found.count == 16**3


@pytest.mark.parametrize("written", [{}, {"lengths": 1.0}, {"masses": True}], ids=["kpc", "Mpc", "masses"])
def test_blocks_of_several_files_of_another_code(truth, tmp_path, written):
    write_gadget_hdf5(tmp_path / "snap", Run(truth), files=3, **written)
    expected = read_snapshot(tmp_path / "snap")
    positions, velocities, ids, found = joined(tmp_path / "snap")
    order = np.argsort(ids)
    np.testing.assert_array_equal(positions[order], expected.positions)
    np.testing.assert_array_equal(velocities[order], expected.velocities)
    np.testing.assert_array_equal(ids[order], expected.ids)
    assert found.box_size == expected.box_size


def spoil(path, name, row, value):
    with h5py.File(path, "r+") as file:
        column = file[f"PartType1/{name}"]
        column[row] = value


@pytest.mark.parametrize(
    ("name", "row", "value", "sentence"),
    [
        ("Coordinates", 4000, np.nan, "3 of the positions are NaN or infinite"),
        ("Velocities", 10, np.inf, "3 of the velocities are NaN or infinite"),
        ("ParticleIDs", 4000, 7, "particle IDs repeat"),
        ("Coordinates", 17, 1e6, r"positions run from .* to 1000 Mpc/h in a box of 50 Mpc/h"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_read(own, name, row, value, sentence):
    spoil(own, name, row, value)
    with pytest.raises(DataError, match=sentence):
        joined(own)


def test_a_damaged_chunk_is_a_sentence(own):
    with h5py.File(own) as file:
        chunk = file["PartType1/Velocities"].id.get_chunk_info(0)
    content = bytearray(own.read_bytes())
    content[chunk.byte_offset + 1000] ^= 8
    own.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as a snapshot"):
        joined(own)


def test_particles_outside_of_the_box_are_wrapped(own, caplog):
    spoil(own, "Coordinates", 3000, (-1000.0, 51000.0, 20.0))
    with caplog.at_level(logging.WARNING):
        positions, *_ = joined(own)
    assert "1 of 4096 particles lie outside the box of 50 Mpc/h" in caplog.text
    np.testing.assert_array_equal(positions, read_snapshot(own).positions)
    np.testing.assert_allclose(positions[3000], (49.0, 1.0, 0.02), rtol=1e-6)


def test_what_blocks_do_not_know_is_a_sentence(truth, tmp_path):
    write_binary(tmp_path / "snap", Run(truth))
    with pytest.raises(DataError, match=r"gadget-binary, which is read whole only; .*`supercosm convert --to gadget`"):
        open_blocks(tmp_path / "snap")
    write_gadget_hdf5(tmp_path / "part", Run(truth), files=2)
    (tmp_path / "part.1.hdf5").unlink()
    with pytest.raises(DataError, match=r"part\.1\.hdf5 is missing"):
        open_blocks(tmp_path / "part")


def test_masses_that_do_not_fill_the_box_are_refused(truth, tmp_path):
    run = Run(truth)
    run.mass *= 2
    write_gadget_hdf5(tmp_path / "snap", run, files=2)
    with pytest.raises(DataError, match="a unit was misread, or particles are missing"):
        open_blocks(tmp_path / "snap")
