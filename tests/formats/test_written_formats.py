"""Snapshots written for other programs: they read them, and so does this package, with nothing lost."""

import h5py
import numpy as np
import pytest
import typer.testing
from foreignfiles import Run, write_binary, write_gadget_hdf5
from hydroruns import LEFT_OUT, HydroRun, write_hydro_swift

from supercosm.cli import app
from supercosm.converting import convert_file
from supercosm.errors import ConfigurationError, DataError
from supercosm.importing import import_snapshot
from supercosm.initial import Phases
from supercosm.pairs import phases_of
from supercosm.snapshot import is_foreign, read_snapshot

FORMATS = ("gadget", "swift", "npy")


@pytest.fixture(scope="module")
def source(tiny_simulations):
    return tiny_simulations[3] / "low_a0.5000.hdf5"


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("files", [1, 3])
def test_what_is_ours_comes_back(truth, same, source, tmp_path, to, files):
    if to == "npy" and files > 1:
        with pytest.raises(ConfigurationError, match="--files 3: fields in"):
            convert_file(source, to, tmp_path / "snap", files)
        return
    convert_file(source, to, tmp_path / "snap.hdf5", files)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == (["snap.hdf5"] if files == 1 else [f"snap.{number}.hdf5" for number in range(3)])
    found = read_snapshot(tmp_path / names[-1])
    same(found)
    assert found.offset == truth.offset
    assert found.cosmology == truth.cosmology
    if to == "npy":
        np.testing.assert_array_equal(np.load(tmp_path / "snap.hdf5/displacement.npy"), truth.displacement())
        np.testing.assert_array_equal(np.load(tmp_path / "snap.hdf5/velocity.npy"), truth.velocity())
    else:
        assert found.provenance == truth.provenance
        assert phases_of(found) == Phases(3)
    if to == "swift":  # in double precision, and velocities as they are
        np.testing.assert_array_equal(found.positions, truth.positions)
        np.testing.assert_array_equal(found.velocities, truth.velocities)


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("back", FORMATS)
def test_the_lattice_and_what_was_left_out_outlive_every_conversion(truth, tmp_path, to, back):
    """An offset of 0.4213 cells, once turned into 0.5 by the reader of the converted file."""
    (path,) = write_hydro_swift(tmp_path / "theirs", HydroRun(truth, "F", 0, 2))
    found = read_snapshot(path)
    convert_file(path, to, tmp_path / "first.hdf5")
    convert_file(tmp_path / "first.hdf5", back, tmp_path / "second.hdf5")
    import_snapshot(tmp_path / "second.hdf5", tmp_path / "ours.hdf5")
    for name in ("first", "second", "ours"):
        again = read_snapshot(tmp_path / f"{name}.hdf5")
        assert (again.offset, again.left_out, again.side) == (found.offset, LEFT_OUT, 16)
        assert is_foreign(again.provenance)
        # three roundings of float32 at 50 Mpc/h
        np.testing.assert_allclose(again.displacement(), found.displacement(), atol=3e-5)
        np.testing.assert_allclose(again.velocities, found.velocities, rtol=1e-6)
    assert read_snapshot(tmp_path / "ours.hdf5").provenance["left_out"] == LEFT_OUT


def test_corners_stay_corners(truth, tmp_path):
    (path,) = write_binary(tmp_path / "theirs", Run(truth, corners=True))
    for to in FORMATS:
        convert_file(path, to, tmp_path / to)
        found = read_snapshot(tmp_path / to)
        assert found.offset == 0
        np.testing.assert_allclose(found.displacement(), truth.displacement(), atol=3e-5)


@pytest.mark.parametrize("to", ["gadget", "swift"])
def test_files_of_two_snapshots_are_not_read_as_one(tiny_simulations, tmp_path, to):
    """A conversion that was stopped half-way leaves such files, where another one had been before."""
    for seed in (1, 3):
        convert_file(tiny_simulations[seed] / "low.hdf5", to, tmp_path / f"{seed}.hdf5", 2)
    (tmp_path / "1.1.hdf5").replace(tmp_path / "3.1.hdf5")
    with pytest.raises(DataError, match="was made of another snapshot"):
        read_snapshot(tmp_path / "3.0.hdf5")


def test_equal_snapshots_are_equal_files(source, tmp_path):
    for to in ("gadget", "swift"):
        for name in ("a", "b"):
            convert_file(source, to, tmp_path / f"{to}.{name}")
        assert (tmp_path / f"{to}.a").read_bytes() == (tmp_path / f"{to}.b").read_bytes()


def test_the_command(source, same, tmp_path):
    arguments = ["convert", str(source), "--to", "swift", "--output", str(tmp_path / "new" / "snap.hdf5")]
    result = typer.testing.CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    same(read_snapshot(tmp_path / "new/snap.hdf5"))
    result = typer.testing.CliRunner().invoke(app, [*arguments, "--files", "5000"])
    assert "4096 particles cannot be written into 5000 files" in str(result.exception)


def test_without_a_lattice_there_is_nothing_to_write(truth, tmp_path):
    run = Run(truth)
    run.ids = np.random.default_rng(0).permutation(run.ids)
    (path,) = write_gadget_hdf5(tmp_path / "snap", run)
    for to in FORMATS:
        with pytest.raises(DataError, match="the IDs do not name a lattice"):
            convert_file(path, to, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# What other programs make of them


def test_yt_reads_swift(truth, source, tmp_path):
    yt = pytest.importorskip("yt")
    yt.set_log_level("error")
    path = tmp_path / "snap.hdf5"
    convert_file(source, "swift", path)
    with h5py.File(path, "a") as file:  # yt takes arrays of one, as SWIFT writes, for numbers, which NumPy ended
        for group in ("Header", "Units", "Cosmology", "Policy"):
            for name, value in file[group].attrs.items():
                if np.shape(value) == (1,):
                    file[group].attrs[name] = value[0]
    data = yt.load(str(path))
    everything = data.all_data()
    order = np.argsort(everything["PartType1", "ParticleIDs"].value)
    positions = everything["PartType1", "Coordinates"].to("code_length").value[order] * truth.cosmology.h
    np.testing.assert_allclose(positions, truth.positions, rtol=1e-6)
    # in code units: yt takes those of velocities for comoving lengths over times, and makes them smaller by a
    velocities = everything["PartType1", "Velocities"].to("code_velocity").value[order]
    np.testing.assert_allclose(velocities, truth.velocities, rtol=1e-6)
    masses = everything["PartType1", "particle_mass"].to("Msun").value
    # yt's Sun and parsec differ from Gadget's by 0.0003
    assert masses.sum() == pytest.approx(truth.particle_mass * 4096 * 1e10 / truth.cosmology.h, rel=1e-3)
    assert data.current_redshift == pytest.approx(1.0)
    # age of the universe at z = 1, by astropy
    from astropy.cosmology import FlatLambdaCDM

    age = FlatLambdaCDM(100 * truth.cosmology.h, truth.cosmology.Omega_m).age(1.0).to_value("Gyr")
    assert data.current_time.to("Gyr").value == pytest.approx(age, rel=1e-3)


def test_swiftsimio_reads_swift(truth, source, tmp_path):
    swiftsimio = pytest.importorskip("swiftsimio")
    convert_file(source, "swift", tmp_path / "snap.hdf5")
    data = swiftsimio.load(str(tmp_path / "snap.hdf5"))
    dark = data.dark_matter
    np.testing.assert_allclose(dark.coordinates.to("Mpc").value * truth.cosmology.h, truth.positions, rtol=1e-6)
    assert dark.coordinates.comoving
    # its units have six digits
    np.testing.assert_allclose(dark.velocities.to("km/s").value, truth.velocities, rtol=1e-5)
    np.testing.assert_array_equal(dark.particle_ids.value, truth.ids)
    assert data.metadata.cosmology.h == pytest.approx(truth.cosmology.h, rel=1e-5)
    assert data.metadata.cosmology.Om0 == pytest.approx(truth.cosmology.Omega_m)
    assert data.metadata.z == pytest.approx(1.0)


@pytest.mark.parametrize("files", [1, 2])
def test_pynbody_reads_gadget(truth, source, tmp_path, files):
    pynbody = pytest.importorskip("pynbody")
    convert_file(source, "gadget", tmp_path / "snap.hdf5", files)
    data = pynbody.load(str(tmp_path / ("snap.hdf5" if files == 1 else "snap")))
    assert len(data.dm) == 4096
    order = np.argsort(np.asarray(data.dm["iord"]))
    positions = np.asarray(data.dm["pos"].in_units("Mpc a h**-1"))[order]
    np.testing.assert_allclose(positions, truth.positions, rtol=1e-4, atol=1e-4)
