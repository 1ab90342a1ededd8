"""Runs with gas: dark matter is taken, at its own lattice points; what is left out is told and never forgotten."""

import h5py
import numpy as np
import pytest
from hydroruns import (
    LEFT_OUT,
    HydroRun,
    add_baryons,
    write_hydro_bigfile,
    write_hydro_binary,
    write_hydro_gadget,
    write_hydro_swift,
)

from supercosm.importing import import_snapshot
from supercosm.pairs import check_lattice
from supercosm.snapshot import read_snapshot, write_snapshot

WRITERS = {
    "gadget": write_hydro_gadget,
    "gadget in 3 files and one of gas": lambda path, run: write_hydro_gadget(path, run, 3),
    "masses of each": lambda path, run: write_hydro_gadget(path, run, 2, masses=True, split=True),
    "swift": write_hydro_swift,
    "swift in 3 files and one of gas": lambda path, run: write_hydro_swift(path, run, 3),
    "binary 1": write_hydro_binary,
    "binary 1 with all masses": lambda path, run: write_hydro_binary(path, run, masses=True),
    "binary 2 in 4 files": lambda path, run: write_hydro_binary(path, run, 4, 2),
    "binary 1 in 4 files": lambda path, run: write_hydro_binary(path, run, 4, 1, masses=True),
    "bigfile": write_hydro_bigfile,
}


@pytest.mark.parametrize("name", WRITERS)
def test_dark_matter_is_taken(truth, same, tmp_path, name):
    if name == "bigfile":
        pytest.importorskip("bigfile")
    run = HydroRun(truth, "F", 4, 2)
    found = read_snapshot(WRITERS[name](tmp_path / "snap", run)[-1])
    same(found, moved=run.moved * truth.box_size / 16)
    assert found.left_out == LEFT_OUT
    # the mean displacement of the simulation vanishes to 0.001 cells
    assert found.offset == pytest.approx(0.5 + run.moved, abs=2e-3)
    assert found.offset != 0.5
    np.testing.assert_allclose(found.displacement().mean(axis=(1, 2, 3)), 0, atol=0.002 * 50 / 16)
    # dark matter stands for all matter: its mass is that of the box shared equally
    assert found.particle_mass == pytest.approx(run.mass / (1 - 2 * -run.moved), rel=1e-3)
    check_lattice(found)


def test_what_was_found_is_kept_by_our_files_and_by_imports_of_them(truth, tmp_path):
    (path,) = write_hydro_gadget(tmp_path / "snap", HydroRun(truth))
    found = read_snapshot(path)
    write_snapshot(tmp_path / "ours.hdf5", found)
    import_snapshot(tmp_path / "ours.hdf5", tmp_path / "imported.hdf5")
    import_snapshot(path, tmp_path / "direct.hdf5")
    for name in ("ours", "imported", "direct"):
        back = read_snapshot(tmp_path / f"{name}.hdf5")
        assert (back.offset, back.left_out) == (found.offset, LEFT_OUT)
        np.testing.assert_allclose(back.positions, found.positions, rtol=3e-7)
    assert read_snapshot(tmp_path / "direct.hdf5").provenance["left_out"] == LEFT_OUT
    assert read_snapshot(tmp_path / "imported.hdf5").provenance["left_out"] == LEFT_OUT


def test_dark_matter_alone_may_weigh_what_is_no_baryon(truth, same, tmp_path, refuse):
    """A file from which the gas was taken: OmegaBaryon tells what is missing; without it, the mass is wrong."""
    from foreignfiles import write_gadget_hdf5

    run = HydroRun(truth)
    (path,) = write_gadget_hdf5(tmp_path / "snap", run)
    found = read_snapshot(path)
    same(found, moved=run.moved * truth.box_size / 16)
    assert found.offset == pytest.approx(0.5 + run.moved, abs=2e-3)
    assert found.left_out == {}
    with h5py.File(path, "a") as file:
        del file["Header"].attrs["OmegaBaryon"]
    refuse(path, "4096 particles weigh .* weighs .*, 1.187 times as much")


def test_masses_must_add_up(truth, tmp_path, refuse):
    (path,) = write_hydro_gadget(tmp_path / "snap", HydroRun(truth))
    with h5py.File(path, "a") as file:
        file["Header"].attrs["OmegaBaryon"] = 0.03
        file["PartType4/Masses"][:] *= 1000
    refuse(path, "4096 particles with those left out .3000 of gas, 700 of stars, 6 of black holes. weigh")
    with h5py.File(path, "a") as file:
        del file["PartType4/Masses"]
    refuse(path, "does not give the masses of its stars, .* 0.2621 ρ_crit L³.*with masses, or with OmegaBaryon")
    with h5py.File(path, "a") as file:  # of black holes, which weigh nothing, no masses are needed
        file["Header"].attrs["OmegaBaryon"] = truth.cosmology.Omega_b
        del file["PartType5/Masses"]
    assert read_snapshot(path).left_out == LEFT_OUT


def test_a_file_that_lacks_its_dark_matter_is_missed(truth, tmp_path, refuse):
    paths = write_hydro_swift(tmp_path / "snap", HydroRun(truth), 3)
    with h5py.File(paths[1], "a") as file:
        del file["PartType1"]
    refuse(paths[0], r"snap\.1\.hdf5 is no snapshot of SWIFT: it lacks /PartType1")


def test_without_baryons_an_empty_file_is_read_as_well(truth, same, tmp_path):
    from foreignfiles import Run, write_swift

    run = Run(truth)
    run.weights = {}
    same(read_snapshot(add_baryons(write_swift(tmp_path / "snap", run, 2), run, 1, 1)[0]))
