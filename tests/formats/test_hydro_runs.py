"""Runs with gas: dark matter is taken, at its own lattice points; what is left out is told and never forgotten."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from hydroruns import (
    LEFT_OUT,
    HydroRun,
    add_baryons,
    write_hydro_bigfile,
    write_hydro_binary,
    write_hydro_gadget,
    write_hydro_swift,
)

from supercosm.compare import comparison_grid
from supercosm.config import Config
from supercosm.errors import DataError
from supercosm.importing import import_snapshot
from supercosm.mesh import upsample
from supercosm.pairs import PairFile, check_lattice, check_pair, make_pairs
from supercosm.snapshot import read_snapshot, write_snapshot
from supercosm.superresolution import Baseline, superresolve

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


def test_two_runs_with_gas_are_a_pair_and_one_with_gas_and_one_without_are_none(tiny_simulations, tmp_path):
    """Offsets that were found differ by the motion of dark matter against gas; half a cell of it is another matter."""
    runs = {name: read_snapshot(tiny_simulations[3] / f"{name}.hdf5") for name in ("low", "high")}
    for name, snapshot in runs.items():
        run = HydroRun(snapshot)
        run.positions = (run.positions + (0.01 if name == "high" else 0.0) * run.box / 32) % run.box
        import_snapshot(write_hydro_gadget(tmp_path / name, run)[0], tmp_path / f"{name}-gas.hdf5")
    low, high = (read_snapshot(tmp_path / f"{name}-gas.hdf5") for name in ("low", "high"))
    assert 0.005 < high.offset - low.offset < 0.015
    make_pairs(tmp_path / "low-gas.hdf5", tmp_path / "high-gas.hdf5", tmp_path / "pairs.hdf5", slabs=4)
    pairs = PairFile(tmp_path / "pairs.hdf5")
    found = {name: pairs.read(f"{name}/displacement") for name in ("low", "high")}
    # as without gas: the up-sampled low displacement follows the high one
    r = np.corrcoef(upsample(torch.from_numpy(found["low"]), 32).numpy().ravel(), found["high"].ravel())[0, 1]
    plain = upsample(torch.from_numpy(runs["low"].displacement()), 32).numpy()
    assert r == pytest.approx(np.corrcoef(plain.ravel(), runs["high"].displacement().ravel())[0, 1], abs=0.002)
    with pytest.raises(DataError, match=r"no pair: offset .* is 0.42\d+ in the low and 0.5 .*both with gas or both"):
        check_pair(low, replace(runs["high"], provenance={}, cosmology=low.cosmology))
    grid = comparison_grid(superresolve(low, Baseline("low", 2)), high, Config().evaluation)
    assert grid.side == 32  # so that displacements are compared, too
