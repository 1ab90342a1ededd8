"""Snapshots: what goes in comes out, other programs read it, and damaged or foreign files are refused."""

import h5py
import numpy as np
import pytest

from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.formats.header import numbers
from supercosm.snapshot import (
    Part,
    Snapshot,
    from_lattice,
    lattice_positions,
    read_snapshot,
    snapshot_writer,
    write_counts,
    write_snapshot,
)

BOX = 50.0


def make(n=8, seed=0, a=0.5, spread=5.0, **changes):
    random = np.random.default_rng(seed)
    displacement = random.normal(size=(3, n, n, n)).astype(np.float32) * spread
    velocity = random.normal(size=(3, n, n, n)).astype(np.float32) * 300
    attributes = {
        "scale_factor": a,
        "cosmology": Cosmology(h=0.7),
        "provenance": {"seed": 1, "a": [1, 2]},
    } | changes
    return from_lattice(displacement, velocity, BOX, **attributes), displacement, velocity


@pytest.fixture
def written(tmp_path):
    snapshot, _, _ = make()
    write_snapshot(tmp_path / "x.hdf5", snapshot)
    return tmp_path / "x.hdf5", snapshot


def test_lattice_fields_come_back():
    snapshot, displacement, velocity = make()
    assert snapshot.positions.min() >= 0
    assert snapshot.positions.max() < BOX
    # float32 at 50 Mpc/h: 4e-6 for each of position and lattice point
    np.testing.assert_allclose(snapshot.displacement(), displacement, atol=1.5e-5)
    np.testing.assert_array_equal(snapshot.velocity(), velocity)
    assert snapshot.side == 8
    assert snapshot.redshift == 1
    # 512 particles share the mass of the box: 2.775e11 Ωm 50³ Msun/h
    assert snapshot.particle_mass * 512 * 1e10 == pytest.approx(2.7754e11 * 0.3111 * 50**3, rel=1e-4)


def test_displacement_wraps_at_half_the_box():
    snapshot, _, _ = make(spread=0.0)
    positions = snapshot.positions.copy()
    positions[0] = (positions[0] + [0.6 * BOX, 0.4 * BOX, -0.1 * BOX]) % BOX
    moved = Snapshot(positions, snapshot.velocities, snapshot.ids, BOX, 1.0, Cosmology())
    np.testing.assert_allclose(moved.displacement()[:, 0, 0, 0], [-0.4 * BOX, 0.4 * BOX, -0.1 * BOX], atol=1e-5)


def test_slabs_of_positions_are_those_of_the_whole():
    _, displacement, _ = make()
    whole = lattice_positions(displacement, BOX)
    part = lattice_positions(displacement[:, 3:5], BOX, first=3)
    np.testing.assert_array_equal(part, whole.reshape(8, -1, 3)[3:5].reshape(-1, 3))


def test_file_round_trip(written):
    path, snapshot = written
    back = read_snapshot(path)
    # kpc/h and km/s/√a on disk: one rounding of float32 each way
    np.testing.assert_allclose(back.positions, snapshot.positions, rtol=2.4e-7)
    np.testing.assert_allclose(back.velocities, snapshot.velocities, rtol=2.4e-7)
    np.testing.assert_array_equal(back.ids, snapshot.ids)
    assert (back.box_size, back.scale_factor, back.cosmology) == (BOX, 0.5, snapshot.cosmology)
    assert back.provenance == snapshot.provenance


def test_positions_outside_the_box_are_wrapped_with_one_sentence(written, caplog):
    path, snapshot = written
    with h5py.File(path, "a") as file:
        places = file["PartType1/Coordinates"][:]
        places[:3, 0] += 1000 * BOX
        places[3:5, 1:] -= 1000 * BOX
        file["PartType1/Coordinates"][:] = places
    back = read_snapshot(path)
    assert caplog.messages == [
        f"{path}: 5 of 512 particles lie outside the box of 50 Mpc/h, at {places.min() / 1000:g} to "
        f"{places.max() / 1000:g}; they are wrapped into it"
    ]
    # float32 at 100 Mpc/h
    np.testing.assert_allclose(back.positions, snapshot.positions, atol=1e-5)


def test_equal_snapshots_are_equal_files(written, tmp_path):
    path, snapshot = written
    write_snapshot(tmp_path / "again.hdf5", snapshot)
    assert (tmp_path / "again.hdf5").read_bytes() == path.read_bytes()


def test_particles_are_sorted_by_id(written, tmp_path):
    path, snapshot = written
    order = np.random.default_rng(1).permutation(512)
    shuffled = Snapshot(
        snapshot.positions[order],
        snapshot.velocities[order],
        snapshot.ids[order],
        BOX,
        0.5,
        snapshot.cosmology,
    )
    write_snapshot(tmp_path / "shuffled.hdf5", shuffled)
    back, reference = read_snapshot(tmp_path / "shuffled.hdf5"), read_snapshot(path)
    np.testing.assert_array_equal(back.positions, reference.positions)
    np.testing.assert_array_equal(back.velocities, reference.velocities)


def test_slabs_make_the_same_file(written, tmp_path):
    path, snapshot = written
    with snapshot_writer(tmp_path / "slabs.hdf5", snapshot, 512) as write:
        for start in (0, 200, 500):
            part = slice(start, {0: 200, 200: 500, 500: 512}[start])
            write(start, snapshot.positions[part], snapshot.velocities[part], snapshot.ids[part])
    np.testing.assert_array_equal(read_snapshot(tmp_path / "slabs.hdf5").positions, read_snapshot(path).positions)


def test_missing_slabs_leave_no_file(tmp_path):
    snapshot, _, _ = make()
    with (
        pytest.raises(DataError, match="200 of 512 particles"),
        snapshot_writer(tmp_path / "x.hdf5", snapshot, 512) as write,
    ):
        write(0, snapshot.positions[:200], snapshot.velocities[:200], snapshot.ids[:200])
    assert not list(tmp_path.iterdir())


# What other programs see


@pytest.fixture(params=[1, 2])
def found_by_others(request, written, tmp_path):
    """Return what yt and what pynbody are told of a snapshot in one file, or in two."""
    path, snapshot = written
    if request.param == 1:
        return path, path, snapshot
    for number in (0, 1):
        block, part = slice(256 * number, 256 * (number + 1)), Part(number, 2, 512, {"of": "a test"})
        with snapshot_writer(tmp_path / f"split.{number}.hdf5", snapshot, 256, part) as write:
            write(0, *(getattr(snapshot, name)[block] for name in ("positions", "velocities", "ids")))
    return tmp_path / "split.0.hdf5", tmp_path / "split", snapshot


def test_several_files_are_read_as_one(found_by_others):
    first, stem, snapshot = found_by_others
    for path in (first, stem):
        found = read_snapshot(path)
        assert found.provenance == snapshot.provenance
        for name in ("positions", "velocities", "ids"):
            np.testing.assert_allclose(getattr(found, name), getattr(snapshot, name), rtol=1e-6, atol=1e-4)


def test_more_particles_than_32_bits_can_count(tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.create_group("Header")
        write_counts(file, 3 << 31, 5 << 33, 16)
        header = file["Header"].attrs
        assert numbers(header["NumPart_ThisFile"])[1] == 3 << 31
        assert numbers(header["NumPart_Total"], header["NumPart_Total_HighWord"])[1] == 5 << 33
        assert header["NumFilesPerSnapshot"] == 16


def test_yt_opens_it(found_by_others):
    yt = pytest.importorskip("yt")
    yt.set_log_level("error")
    path, _, snapshot = found_by_others
    data = yt.load(str(path))
    assert data.current_redshift == pytest.approx(1.0)
    assert data.hubble_constant == pytest.approx(0.7)
    assert data.omega_matter == pytest.approx(0.3111)
    np.testing.assert_allclose(data.domain_width.to("Mpccm/h").value, BOX, rtol=1e-4)
    everything = data.all_data()
    order = np.argsort(everything["PartType1", "ParticleIDs"].value)
    positions = everything["PartType1", "Coordinates"].to("Mpccm/h").value[order]
    np.testing.assert_allclose(positions, snapshot.positions, rtol=1e-4)  # yt's megaparsec has four digits
    masses = everything["PartType1", "Masses"].to("Msun/h").value
    np.testing.assert_allclose(masses, snapshot.particle_mass * 1e10, rtol=1e-3)
    velocities = everything["PartType1", "Velocities"].to("km/s").value[order]
    np.testing.assert_allclose(velocities, snapshot.velocities, rtol=1e-4, atol=1e-3)


def test_pynbody_opens_it(found_by_others):
    pynbody = pytest.importorskip("pynbody")
    _, path, snapshot = found_by_others
    data = pynbody.load(str(path))
    assert len(data.dm) == 512
    assert data.properties["z"] == pytest.approx(1.0)
    assert data.properties["h"] == pytest.approx(0.7)
    assert data.properties["omegaM0"] == pytest.approx(0.3111)
    assert float(data.properties["boxsize"].in_units("Mpc a h**-1", **data.conversion_context())) == pytest.approx(BOX)
    order = np.argsort(data.dm["iord"])
    positions = data.dm["pos"].in_units("Mpc a h**-1")
    np.testing.assert_allclose(np.asarray(positions)[order], snapshot.positions, rtol=1e-5)
    mass = np.asarray(data.dm["mass"].in_units("Msol h**-1"))
    np.testing.assert_allclose(mass, snapshot.particle_mass * 1e10, rtol=1e-3)
    velocities = np.asarray(data.dm["vel"].in_units("km s**-1"))[order]
    np.testing.assert_allclose(velocities, snapshot.velocities, rtol=1e-4, atol=1e-3)


# What is refused


def refuse(path, match):
    with pytest.raises(DataError, match=match) as caught:
        read_snapshot(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_missing_file(tmp_path):
    refuse(tmp_path / "nothing.hdf5", r"there is no snapshot .*nothing\.hdf5")


def test_not_hdf5(tmp_path):
    (tmp_path / "x.hdf5").write_text("positions: 1 2 3")
    refuse(tmp_path / "x.hdf5", "cannot be read as a snapshot")


@pytest.mark.parametrize("part", [0.999, 0.7, 0.3, 0.01, 0.0])
def test_truncated(written, part):
    path, _ = written
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    refuse(path, "truncated")


def test_every_flipped_bit_is_seen_or_harmless(written):
    """Checksums cover data, attributes and structure; what is not covered is not read."""
    path, _ = written
    content, before = path.read_bytes(), read_snapshot(path)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        try:
            after = read_snapshot(path)
        except DataError:
            refused += 1
            continue
        for name in ("positions", "velocities", "ids"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        for name in ("box_size", "scale_factor", "cosmology", "provenance"):
            assert getattr(after, name) == getattr(before, name)
    assert refused > 250


@pytest.mark.parametrize("name", ["Header", "PartType1/Coordinates", "PartType1/Velocities", "PartType1/ParticleIDs"])
def test_not_gadget(written, name):
    with h5py.File(written[0], "a") as file:
        del file[name]
    refuse(written[0], f"no Gadget-style snapshot: it lacks /{name}")


@pytest.mark.parametrize(
    ("attribute", "value", "match"),
    [
        ("Time", None, "Header lacks Time"),
        ("Time", 0.0, "Time = 0 in the /Header must be a positive number"),
        ("BoxSize", np.nan, "BoxSize = nan in the /Header must be a positive number"),
        ("NumFilesPerSnapshot", 8, "one of 8 files"),
        ("OmegaLambda", 0.0, "do not add to 1; only flat universes"),
        ("BoxSize", 50.0, "positions run from .* in a box of 0.05 Mpc/h"),
    ],
)
def test_impossible_header(written, attribute, value, match):
    with h5py.File(written[0], "a") as file:
        del file["Header"].attrs[attribute]
        if value is not None:
            file["Header"].attrs[attribute] = value
    refuse(written[0], match)


@pytest.mark.parametrize(("name", "what"), [("Coordinates", "positions"), ("Velocities", "velocities")])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number(written, name, what, value):
    with h5py.File(written[0], "a") as file:
        file["PartType1"][name][7, 1] = value
    refuse(written[0], f"1 of the {what} are NaN or infinite")


def test_repeated_ids(written):
    with h5py.File(written[0], "a") as file:
        file["PartType1/ParticleIDs"][3] = 1
    refuse(written[0], "particle IDs repeat")


def test_columns_of_different_length(written):
    with h5py.File(written[0], "a") as file:
        velocities = file["PartType1/Velocities"][:500]
        del file["PartType1/Velocities"]
        file["PartType1/Velocities"] = velocities
    refuse(written[0], "needs positions")


def test_impossible_cosmology_of_a_foreign_file(written):
    with h5py.File(written[0], "a") as file:
        del file["Provenance"]
        file["Header"].attrs["Omega0"], file["Header"].attrs["OmegaLambda"] = 1.0, 0.0
    refuse(written[0], "Omega_m")


def test_foreign_file_without_provenance(written):
    with h5py.File(written[0], "a") as file:
        del file["Provenance"]
    snapshot = read_snapshot(written[0])
    assert (snapshot.cosmology.Omega_m, snapshot.cosmology.h) == (0.3111, 0.7)
    assert snapshot.provenance == {}


def test_no_lattice():
    snapshot, _, _ = make()
    with pytest.raises(DataError, match="500 particles are no cube"):
        _ = Snapshot(
            snapshot.positions[:500], snapshot.velocities[:500], snapshot.ids[:500], BOX, 1.0, Cosmology()
        ).side
    with pytest.raises(DataError, match="IDs run from 2 to 513"):
        _ = Snapshot(snapshot.positions, snapshot.velocities, snapshot.ids + np.uint64(1), BOX, 1.0, Cosmology()).side
    with pytest.raises(DataError, match="there are none"):
        Snapshot(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), BOX, 1.0, Cosmology())
