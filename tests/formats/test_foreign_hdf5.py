"""HDF5 of Gadget, AREPO and SWIFT: read as yt and pynbody read it, and refused where it is something else."""

import h5py
import numpy as np
import pytest
from foreignfiles import Run, write_gadget_hdf5, write_swift

from supercosm.formats import checksum, files_of
from supercosm.snapshot import read_snapshot


@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"split": True}, {"masses": True}, {"units": False}, {"lengths": 1.0}, {"split": True, "lengths": 1.0}],
    ids=str,
)
def test_gadget(truth, same, tmp_path, files, options):
    paths = write_gadget_hdf5(tmp_path / "snap", Run(truth), files, **options)
    found = read_snapshot(paths[-1])
    same(found)
    assert found.cosmology.Omega_b == pytest.approx(truth.cosmology.Omega_b)
    assert found.provenance == {}
    assert found.offset == 0.5
    assert files_of(paths[0]) == paths


@pytest.mark.parametrize("files", [1, 3])
def test_swift(truth, same, tmp_path, files):
    same(read_snapshot(write_swift(tmp_path / "snap", Run(truth), files)[0]))


def test_swift_says_what_is_physical_already(truth, same, tmp_path):
    (path,) = write_swift(tmp_path / "snap", Run(truth))
    with h5py.File(path, "a") as file:
        group = file["PartType1"]
        group["Coordinates"][:] *= truth.scale_factor
        group["Coordinates"].attrs["Value stored as physical"] = np.array([1])
        group["Velocities"][:] /= truth.scale_factor
        group["Velocities"].attrs["a-scale exponent"] = np.array([1.0])
    same(read_snapshot(path))


def test_a_power_of_a_that_the_data_set_names(truth, same, tmp_path):
    (path,) = write_gadget_hdf5(tmp_path / "snap", Run(truth), split=True)
    with h5py.File(path, "a") as file:
        file["PartType1/Velocities"][:] *= np.float32(np.sqrt(truth.scale_factor))
        file["PartType1/Velocities"].attrs["a_scaling"] = 0.0
    same(read_snapshot(path))


@pytest.mark.parametrize("name", ["folder", "folder/snap_005", "folder/snap_005.1.hdf5"])
def test_a_folder_or_a_stem_or_any_part_names_the_snapshot(truth, same, tmp_path, name):
    (tmp_path / "folder").mkdir()
    write_gadget_hdf5(tmp_path / "folder" / "snap_005", Run(truth), 3)
    same(read_snapshot(tmp_path / name))
    assert checksum(tmp_path / name) == checksum(tmp_path / "folder")


# What other programs make of the same files


def test_yt_sees_the_same_in_swift(truth, tmp_path):
    yt = pytest.importorskip("yt")
    yt.set_log_level("error")
    run = Run(truth, shuffle=False)
    (path,) = write_swift(tmp_path / "snap", run, one=lambda value: value)
    data, found = yt.load(str(path)), read_snapshot(path)
    everything = data.all_data()
    order = np.argsort(everything["PartType1", "ParticleIDs"].value)
    positions = everything["PartType1", "Coordinates"].to("code_length").value[order] * truth.cosmology.h
    np.testing.assert_allclose(positions, found.positions, atol=1.5e-5)
    velocities = everything["PartType1", "Velocities"].to("km/s").value[order]
    np.testing.assert_allclose(velocities, found.velocities, rtol=1e-5, atol=1e-3)


def test_pynbody_sees_the_same_in_gadget(truth, tmp_path):
    pynbody = pytest.importorskip("pynbody")
    paths = write_gadget_hdf5(tmp_path / "snap", Run(truth), 3)
    data, found = pynbody.load(str(paths[0].with_name("snap"))), read_snapshot(paths[0])
    order = np.argsort(np.asarray(data.dm["iord"]))
    positions = np.asarray(data.dm["pos"].in_units("Mpc a h**-1"))[order]
    np.testing.assert_allclose(positions, found.positions, rtol=1e-4, atol=1e-4)
    velocities = np.asarray(data.dm["vel"].in_units("km s**-1"))[order]
    np.testing.assert_allclose(velocities, found.velocities, rtol=1e-4, atol=1e-2)


# What is refused


def change(path, **attributes):
    with h5py.File(path, "a") as file:
        for name, value in attributes.items():
            file["Header"].attrs[name] = value


@pytest.mark.parametrize(
    ("attributes", "match"),
    [
        ({"NumPart_Total": [7, 4096, 0, 0, 0, 0]}, "hold 0 particles of type 0 and NumPart_Total says 7"),
        (
            {"NumPart_Total": [0, 4096, 0, 3, 0, 0]},
            "dark matter of several masses.*3 of type 3.*zoom",
        ),
        ({"NumPart_Total": [0, 4096, 0, 0, 0, 0, 9]}, "particles that are not known .9 of type 6."),
        ({"NumPart_Total": [0, 0, 0, 0, 0, 0]}, "no dark matter"),
        ({"NumPart_ThisFile": [0, 2**31 - 1, 0, 0, 0, 0]}, "truncated or damaged: its header tells of 2147483647"),
        ({"NumPart_Total": [0, 5000, 0, 0, 0, 0]}, "hold 4096 particles of type 1 and NumPart_Total says 5000"),
        ({"NumPart_Total_HighWord": [0, 1, 0, 0, 0, 0]}, "NumPart_Total says 4294971392"),
        ({"Time": 3.0, "Redshift": 0.0}, "Time = 3 is no scale factor of Redshift = 0"),
        ({"BoxSize": [5e4, 5e4, 4e4]}, "no cube"),
        ({"OmegaLambda": 0.1}, "do not add to 1"),
        ({"BoxSize": 1e200}, "BoxSize = 1e\\+200 in the /Header must be a positive number"),
        ({"UnitLength_in_cm": -1.0}, "the unit of length is -1"),
        ({"MassTable": [0.0]}, "cannot be read as a snapshot"),
        ({"HubbleParam": 0.01}, "tells of no universe that is known: h"),
    ],
    ids=str,
)
def test_headers_that_cannot_be(truth, refuse, tmp_path, attributes, match):
    (path,) = write_gadget_hdf5(tmp_path / "snap", Run(truth))
    change(path, **attributes)
    refuse(path, match)


def test_lengths_in_another_unit_are_told_by_the_mass_and_can_be_named(truth, same, refuse, tmp_path):
    (path,) = write_gadget_hdf5(tmp_path / "snap", Run(truth), units=False, lengths=1.0)
    refuse(path, r"weigh 1.*a box of 0.05 Mpc/h.*weighs .*, 1e-09 times as much.*--length-unit Mpc/h")
    same(read_snapshot(path, length_unit="Mpc/h"))


def test_without_units_or_masses_a_tiny_box_is_not_believed(truth, same, refuse, tmp_path):
    (path,) = write_gadget_hdf5(tmp_path / "snap", Run(truth), units=False, lengths=1.0)
    change(path, MassTable=np.zeros(6))
    refuse(path, "a box of 0.05 Mpc/h is hard to believe.*--length-unit Mpc/h")
    same(read_snapshot(path, length_unit="Mpc/h"))


@pytest.mark.parametrize(("factor", "wrong"), [(1.003, False), (1.01, True), (0.5, True)])
def test_particles_must_weigh_what_the_box_holds(truth, same, refuse, tmp_path, factor, wrong):
    run = Run(truth)
    run.mass *= factor
    (path,) = write_gadget_hdf5(tmp_path / "snap", run)
    if wrong:
        refuse(path, "4096 particles weigh .* but the matter in a box of 50 Mpc/h with Omega_m = 0.3111 weighs")
    else:
        same(read_snapshot(path))


def test_parts_must_all_be_there_and_belong_together(truth, refuse, tmp_path):
    paths = write_gadget_hdf5(tmp_path / "snap", Run(truth), 3)
    change(paths[1], BoxSize=6e4)
    refuse(paths[0], r"snap\.1\.hdf5 is no part of the same snapshot as .*box size is 60000.0, there 50000.0")
    paths[2].unlink()
    refuse(paths[0], r"snap\.2\.hdf5 is missing: snap\.0\.hdf5 is one of 3 files")
    paths[0].rename(tmp_path / "alone.hdf5")
    refuse(tmp_path / "alone.hdf5", "one of 3 files of a snapshot, but its name does not say which")


def test_a_folder_must_hold_one_snapshot(truth, refuse, tmp_path):
    refuse(tmp_path, "a folder without files")
    for name in ("a", "b"):
        write_gadget_hdf5(tmp_path / name, Run(truth))
    refuse(tmp_path, r"a folder with several files \(a\.hdf5, b\.hdf5\); name the snapshot")
    refuse(tmp_path / "c", "there is no snapshot .*/c;")


@pytest.mark.parametrize("kind", ["virtual", "huge"])
def test_nothing_is_allocated_before_the_file_is_as_large_as_it_says(truth, refuse, tmp_path, kind):
    (path,) = write_gadget_hdf5(tmp_path / "snap", Run(truth))
    with h5py.File(path, "a") as file:
        del file["PartType1/Coordinates"]
        if kind == "huge":  # chunks that were never written take no space
            file["PartType1"].create_dataset("Coordinates", (1 << 40, 3), "f8", chunks=(1 << 16, 3))
        else:
            layout = h5py.VirtualLayout((4096, 3), "f4")
            layout[:] = h5py.VirtualSource("elsewhere.hdf5", "x", (4096, 3))
            file["PartType1"].create_virtual_dataset("Coordinates", layout)
    refuse(path, "lies in other files" if kind == "virtual" else r"shape \(1099511627776, 3\), but only 0 bytes")


def test_what_is_no_number_is_no_column(truth, refuse, tmp_path):
    (path,) = write_gadget_hdf5(tmp_path / "snap", Run(truth))
    with h5py.File(path, "a") as file:
        del file["PartType1/Velocities"]
        file["PartType1"].create_group("Velocities")
    refuse(path, "/PartType1/Velocities holds no numbers")


@pytest.mark.parametrize(
    ("group", "name", "match"),
    [
        ("Cosmology", "h", "no cosmological snapshot of SWIFT: it lacks h"),
        ("Units", "Unit time in cgs (U_t)", "lacks Unit time in cgs"),
        ("Header", "NumPart_Total", "lacks NumPart_Total"),
    ],
)
def test_swift_without_something(truth, refuse, tmp_path, group, name, match):
    (path,) = write_swift(tmp_path / "snap", Run(truth))
    with h5py.File(path, "a") as file:
        del file[group].attrs[name]
    refuse(path, match)


def test_swift_without_cosmology_or_masses(truth, refuse, tmp_path):
    (path,) = write_swift(tmp_path / "snap", Run(truth))
    with h5py.File(path, "a") as file:
        del file["PartType1/Masses"]
    refuse(path, "lacks /PartType1/Masses")
    with h5py.File(path, "a") as file:
        file["Cosmology"].attrs["Cosmological run"] = np.array([0])
    refuse(path, "no cosmological run")
