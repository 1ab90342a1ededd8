"""What is said of every kind of file and folder, and one sentence for what is damaged or unknown."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from foreignfiles import Run, write_binary, write_fields, write_gadget_hdf5
from hydroruns import LEFT_OUT, HydroRun, write_hydro_gadget
from learning import TEST_SEED, TRAINING_SEED, configuration, random_model

from supercosm.compression.compress import compress_file
from supercosm.compression.fit import train_coders
from supercosm.config import check
from supercosm.errors import DataError
from supercosm.external_settings import External
from supercosm.fields import density_of, write_density
from supercosm.files import write_json
from supercosm.fitsfile import write_slab
from supercosm.importing import import_snapshot
from supercosm.measure import measure
from supercosm.records import snapshots
from supercosm.records.arrays import PIECE, pieces
from supercosm.records.found import Found, as_text, columns, lineage, text
from supercosm.records.inspect import describe
from supercosm.records.inventory import expected
from supercosm.snapshot import read_snapshot

CRITICAL = 2.775e11  # Msun/h (Mpc/h)^-3


@pytest.fixture(scope="module")
def files(boxes, tmp_path_factory):
    """One file or folder of every kind, made by the stages themselves: copy it before damaging it."""
    root = tmp_path_factory.mktemp("files")
    config = configuration()
    shutil.copy(boxes.snapshot(TEST_SEED, "low"), root / "snapshot.hdf5")
    shutil.copy(boxes.pairs(TRAINING_SEED), root / "pairs.hdf5")
    snapshot = read_snapshot(root / "snapshot.hdf5")
    write_density(root / "density.hdf5", density_of(snapshot, 16))
    write_density(root / "slabs.hdf5", density_of(snapshot, 16, 4))
    measure(boxes.snapshot(TEST_SEED, "high"), root, config.statistics, ["haloes", "spectrum"])
    write_slab(root / "slab.fits", density_of(snapshot, 32).data, 50.0, 10.0, 1.0)
    compress_file(root / "snapshot.hdf5", root / "snapshot.scz", None, bound=0.1)
    random_model(boxes, root / "model")
    coders = check({"compression": {"coders": {"pca": {"kind": "pca", "latents": 8}}, "patches": PATCHES}})
    train_coders(coders, coders.compression.expanded(), boxes.data, root / "coders")
    (root / "config.yaml").write_text("name: mine\nsimulation: {low: 16, high: 32}\nsuperresolution: {tile: 16}\n")
    (root / "more.yaml").write_text("simulation: {box_size: 50.0}\n")
    return root


PATCHES = {"side": 12, "thickness": 3.125, "block": 4, "training": 300, "test": 100}


def test_a_snapshot(files):
    found, snapshot = describe(files / "snapshot.hdf5"), read_snapshot(files / "snapshot.hdf5")
    facts = found.facts
    assert (found.kind, facts["particles"], facts["particles_per_side"], facts["seed"]) == ("snapshot", 4096, 16, 3)
    assert (facts["scale_factor"], facts["redshift"], facts["box_size"]) == (1.0, 0.0, 50.0)
    total = facts["particle_mass"] * facts["particles"]
    assert total / 50.0**3 == pytest.approx(CRITICAL * facts["cosmology"]["Omega_m"], rel=1e-3)
    moved = np.linalg.norm(snapshot.displacement(), axis=0)
    assert facts["rms_displacement"] == pytest.approx(np.sqrt(np.mean(moved**2)), rel=1e-5)
    assert (facts["arrays"], facts["arrays_with_a_checksum_that_agrees"]) == (3, 3)
    assert next(lineage(found.origin)).startswith("simulate, seed 3, resolution low")
    assert found.notes == []


@pytest.mark.parametrize(("stride", "gap", "side"), [(1, 0, 16), (2, 0, 16), (2, 1, None)])
def test_somebody_elses_snapshot(files, tmp_path, stride, gap, side):
    """IDs from another number on, or in even steps, name a lattice as well; with gaps they name none: it is told."""
    path = tmp_path / "theirs.hdf5"
    with h5py.File(files / "snapshot.hdf5") as ours, h5py.File(path, "w") as theirs:
        ours.copy("Header", theirs)
        for name, data in ours["PartType1"].items():
            theirs[f"PartType1/{name}"] = data[:][::-1]
        ids = stride * ours["PartType1/ParticleIDs"][:][::-1].astype(np.int64) + 7
        theirs["PartType1/ParticleIDs"][:] = ids + gap * (ids > 1000)
    found = describe(path)
    assert found.facts["arrays_with_a_checksum_that_agrees"] == 0
    assert set(found.facts["cosmology"]) == {"Omega_m", "h"}
    assert found.facts["seed"] is None
    assert found.facts.get("particles_per_side") == side
    assert any("with gaps" in note for note in found.notes) == (side is None)


def test_an_imported_snapshot_knows_no_more_than_its_header(files, tmp_path):
    [path] = write_gadget_hdf5(tmp_path / "theirs.hdf5", Run(read_snapshot(files / "snapshot.hdf5")))
    import_snapshot(path, tmp_path / "ours.hdf5")
    found = describe(tmp_path / "ours.hdf5")
    assert set(found.facts["cosmology"]) == {"Omega_m", "h"}
    assert any("no seed is known" in note for note in found.notes)


def test_snapshots_of_several_files_and_fields(files, tmp_path):
    ours = read_snapshot(files / "snapshot.hdf5")
    for name in ("low", "snap"):
        (tmp_path / name).mkdir()
    paths = write_binary(tmp_path / "snap/snap_005", Run(ours), files=2)
    description = write_fields(tmp_path / "low", ours) / "snapshot.yaml"
    for path in (tmp_path / "snap/snap_005", tmp_path / "snap", paths[0], description, tmp_path / "low"):
        found = describe(path)
        assert (found.kind, found.facts["particles_per_side"]) == ("snapshot", 16)
    paths[1].unlink()
    (tmp_path / "low/vel.npy").unlink()
    for path in (tmp_path / "snap/snap_005", tmp_path / "snap"):
        with pytest.raises(DataError, match=r"snap_005.1 is missing"):
            describe(path)
    with pytest.raises(DataError, match=r"there is no field .*vel\.npy"):
        describe(description)
    with pytest.raises(DataError, match="check the path"):
        describe(tmp_path / "snap/other")


def test_pairs(files):
    found = describe(files / "pairs.hdf5")
    assert (found.facts["low_cells_per_side"], found.facts["high_cells_per_side"], found.facts["seed"]) == (16, 32, 1)
    assert found.facts["initial_conditions"]
    rows = {row["array"]: row for row in found.tables["arrays"]}
    with h5py.File(files / "pairs.hdf5") as file:
        velocity = file["high/velocity"][:].astype(np.float64)
    assert rows["high/velocity"]["rms"] == pytest.approx(np.sqrt(np.mean(velocity**2)))
    assert (rows["high/velocity"]["smallest"], rows["high/velocity"]["largest"]) == (velocity.min(), velocity.max())


def test_densities_haloes_images_and_tables(files):
    assert describe(files / "density.hdf5").facts["cells"] == [16, 16, 16]
    slabs = describe(files / "slabs.hdf5").facts
    assert (slabs["cells"], slabs["thickness_of_slabs"], slabs["dimensions"]) == ([4, 16, 16], 12.5, 2)
    haloes = describe(files / "haloes.hdf5")
    with h5py.File(files / "haloes.hdf5") as file:
        masses = file["Haloes/masses"][:]
    assert haloes.facts["haloes"] == len(masses) > 0
    assert haloes.facts["masses"] == [masses.min(), masses.max()]
    image = describe(files / "slab.fits").facts
    assert (image["pixels"], image["box_size"], image["has_a_checksum_that_agrees"]) == ([32, 32], 50.0, True)
    table = describe(files / "spectrum.ecsv")
    units = {row["column"]: row["unit"] for row in table.tables["columns"]}
    assert units["k"] == "littleh / Mpc"
    assert table.facts["statistic"] == "spectrum"
    assert [line.split(",")[0].strip() for line in lineage(table.origin)] == ["measure  (0.1.0", "simulate"]


def test_a_compressed_file(files):
    found = describe(files / "snapshot.scz")
    assert (found.facts["holds"], found.facts["shape"], found.facts["bounds"]["positions"]) == (
        "snapshot",
        [16] * 3,
        0.1,
    )
    size = (files / "snapshot.scz").stat().st_size
    assert found.facts["times_smaller_than_float32"] == pytest.approx(24 * 4096 / size)


def test_folders_of_models_coders_and_checkpoints(files, tmp_path):
    model = describe(files / "model")
    assert (model.kind, model.facts["family"], model.facts["up_sampling_per_side"]) == ("model", "unet", 2)
    assert (model.facts["low_cell"], model.facts["high_cell"], model.facts["validation_loss"]) == (3.125, 1.5625, 0.5)
    assert describe(files / "model" / "model.json") == model
    coder = describe(files / "coders" / "pca")
    assert (coder.kind, coder.facts["coder"], coder.facts["latents"]) == ("coder of density patches", "pca", 8)
    settings = configuration().models["model"].model_dump(mode="json")
    write_json(tmp_path / "made_for.json", {"settings": settings, "data": "", "start": None})
    loops = {
        "epoch_progress": {"current": {"ready": 2, "processed": 1}},
        "epoch_loop.batch_progress": {"current": {"completed": 1}},
    }
    torch.save({"global_step": 8, "loops": {"fit_loop": loops}}, tmp_path / "last.ckpt")  # as with a critic
    found = describe(tmp_path)
    assert (found.kind, found.facts["of"], found.facts["step"], found.facts["of_steps"]) == (
        "checkpoints",
        "unet",
        3,
        6,
    )


def test_a_configuration_and_one_on_top_of_it(files):
    found = describe(files / "config.yaml").facts
    assert (found["name"], found["particles_per_side"], found["box_size"]) == ("mine", [16, 32], 100.0)
    more = describe(files / "more.yaml").facts
    assert (more["read_on_top_of"], more["box_size"], more["particles_per_side"]) == ("config.yaml", 50.0, [16, 32])


def test_results_say_what_is_there_and_what_is_missing(results):
    (results / "comparisons/unet/8.ecsv").unlink()
    found = describe(results)
    rows = {row["folder"]: row for row in found.tables["folders"]}
    assert rows["comparisons"]["missing"] == 1
    assert "comparisons/unet/8.ecsv" in found.facts["missing"]
    assert rows["simulations"] == rows["simulations"] | {"files": 8, "expected": 8, "missing": 0}
    assert (found.facts["version"], found.facts["name"]) == ("0.1.0", "synthetic")
    assert len(found.facts["configuration_sha256"]) == 64
    shutil.rmtree(results / "provenance")
    without = describe(results)
    assert without.tables["folders"][0]["missing"] is None
    assert "no record" in without.notes[0]


def test_expected_files_are_named_once_and_follow_the_configuration():
    config = configuration()
    files = expected(config)
    assert len(files) == len(set(files))
    more = expected(config.model_copy(update={"seeds": config.seeds.model_copy(update={"test": [8, 9, 10]})}))
    assert {"simulations/10/low.hdf5", "comparisons/model/10.ecsv"} <= set(more) - set(files)


def test_of_own_snapshots_no_cost_is_expected():
    config = configuration()
    own = External(low="{seed}/low", high="{seed}/high")
    simulation = config.simulation.model_copy(update={"external": own})
    lacking = set(expected(config)) - set(expected(config.model_copy(update={"simulation": simulation})))
    assert "evaluation/cost.ecsv" in lacking
    assert all(name == "evaluation/cost.ecsv" or "linear" in name for name in lacking)


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["snapshot.hdf5", "pairs.hdf5", "density.hdf5", "haloes.hdf5"])
def test_a_flipped_bit_in_hdf5_is_found(files, tmp_path, name):
    path = Path(shutil.copy(files / name, tmp_path))
    with h5py.File(path) as file:
        arrays = []
        file.visititems(lambda _, entry: arrays.append(entry) if isinstance(entry, h5py.Dataset) else None)
        offset = max(arrays, key=lambda data: data.size).id.get_chunk_info(0).byte_offset
    flip(path, offset + 21)
    with pytest.raises(DataError, match="cannot be read"):
        describe(path)


@pytest.mark.parametrize(
    "name", ["snapshot.scz", "slab.fits", "model/model.safetensors", "coders/pca/model.safetensors"]
)
def test_a_flipped_bit_elsewhere_is_found(files, tmp_path, name):
    target = tmp_path / name
    target.parent.mkdir(parents=True, exist_ok=True)
    for sibling in (files / name).parent.iterdir() if "/" in name else [files / name]:
        shutil.copy(sibling, target.parent)
    flip(target, target.stat().st_size * 2 // 3)
    with pytest.raises(DataError, match=r"damaged|FITS"):
        describe(target)


@pytest.mark.parametrize("name", ["snapshot.hdf5", "spectrum.ecsv", "snapshot.scz", "slab.fits"])
def test_a_truncated_file_is_one_sentence(files, tmp_path, command, name):
    path = tmp_path / name
    path.write_bytes((files / name).read_bytes()[:700])
    code, out, sentence = command("inspect", path)
    assert (code, out, sentence.count("\n")) == (1, "", 1)
    assert str(path) in sentence


def test_what_is_unknown_is_one_sentence(tmp_path, command):
    (tmp_path / "letter.txt").write_text("Dear colleague,\n")
    for path, words in ((tmp_path / "letter.txt", "not a snapshot"), (tmp_path, "not a snapshot"), ("/none", "check")):
        code, out, sentence = command("inspect", path)
        assert (code, out) == (1, "")
        assert words in sentence


def test_text_and_json_say_the_same(files, command):
    code, printed, _ = command("inspect", files / "snapshot.hdf5", "--json")
    assert code == 0
    found = json.loads(printed)
    assert found["kind"] == "snapshot"
    assert found["units"]["box_size"] == "Mpc/h"
    shown = command("inspect", files / "snapshot.hdf5")[1]
    for name, value in found["facts"].items():
        assert name.replace("_", " ") in shown
        assert text(value) in shown
    assert command("inspect", files / "haloes.hdf5", "--json")[0] == 0


def test_numbers_that_are_none_are_null_and_a_dash(tmp_path):
    found = Found("thing", {"x": float("nan"), "many": list(range(30))})
    assert "–" in as_text("p", found)
    assert "0, 1, 2, … 29 (30)" in as_text("p", found)
    assert columns([{"a": 1.5, "b": "x"}, {"a": 22, "b": None}]) == ["  a  b", "1.5  x", " 22  –"]


def test_many_parents_are_counted():
    parents = [{"stage": "pair", "n": n, "parents": [{"stage": "simulate", "seed": n // 2}]} for n in range(14)]
    lines = list(lineage({"stage": "train", "parents": parents}))
    assert lines[:3] == ["train", "  pair  × 2", "    simulate, seed 0"]
    assert lines[-1] == "  … and 3 more"


@pytest.mark.parametrize("shape", [(3,), (5, 7), (2, 3, 1 << 12, 1 << 11)])
def test_pieces_cover_an_array_once(tmp_path, shape):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        data = file.create_dataset("x", shape, "i1", chunks=True)
        sizes = [int(np.prod(np.empty(shape, "V0")[piece].shape)) for piece in pieces(data)]
    assert sum(sizes) == np.prod(shape)
    assert max(sizes) <= PIECE


def test_what_was_never_written_is_no_damage(tmp_path):
    """Of a whole file that holds arrays without data, everything is told; nothing is read that is not there."""
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["null"] = h5py.Empty("f4")
        file["empty"] = np.empty((0, 3))
        file["text"] = "a word"
        file.create_dataset("never", (1 << 40, 3), "f4", chunks=(1 << 16, 3))
        file.create_dataset("plain", (1000,), "f4")
        partly = file.create_dataset("partly", (1 << 40,), "i4", chunks=(100,), fletcher32=True)
        partly[:100], partly[1000:1100] = 3, 4
        file["whole"] = np.arange(5.0)
    found = describe(tmp_path / "x.hdf5")
    assert found.facts["arrays_not_written_to_the_end"] == ["never", "partly", "plain"]
    assert found.facts["arrays"] == 7
    rows = {row["array"]: row for row in found.tables["arrays"]}
    assert rows["null"]["shape"] is None
    assert [rows["partly"][name] for name in ("smallest", "largest", "rms")] == [3, 4, pytest.approx(np.sqrt(12.5))]
    assert rows["whole"]["largest"] == 4
    for name in ("null", "empty", "text", "never", "plain"):
        assert rows[name]["smallest"] is None
    assert "partly" in as_text("x", found)


@pytest.mark.parametrize("kind", ["null", "never", "partly"])
def test_particles_that_were_never_written_are_told(files, tmp_path, kind):
    path = Path(shutil.copy(files / "snapshot.hdf5", tmp_path))
    with h5py.File(path, "a") as file:
        del file["PartType1/Velocities"]
        if kind == "null":
            file["PartType1/Velocities"] = h5py.Empty("f4")
        else:
            data = file.create_dataset("PartType1/Velocities", (4096, 3), "f4", chunks=(512, 3))
            if kind == "partly":
                data[:512] = 1
    words = "holds nothing at all" if kind == "null" else "it was never written to the end"
    with pytest.raises(DataError, match=f"/PartType1/Velocities .*{words}"):
        describe(path)


def test_the_density_of_a_snapshot(files):
    facts, snapshot = describe(files / "snapshot.hdf5").facts, read_snapshot(files / "snapshot.hdf5")
    density = density_of(snapshot, 8).data
    assert facts["density_cell"] == 50 / 8
    assert (facts["smallest_density"], facts["largest_density"]) == (density.min(), density.max())
    assert facts["rms_overdensity"] == pytest.approx(density.std(), rel=1e-5)


def test_a_run_with_gas(files, tmp_path, command):
    ours = read_snapshot(files / "snapshot.hdf5")
    (path,) = write_hydro_gadget(tmp_path / "theirs", HydroRun(ours))
    found = describe(path)
    rows = {row["type"]: row for row in found.tables["particle_types"]}
    assert {name: rows[name]["particles"] for name in LEFT_OUT} == LEFT_OUT
    share = ours.cosmology.Omega_b / ours.cosmology.Omega_m
    assert rows["dark matter"]["part_of_matter"] == pytest.approx(1 - share, rel=1e-4)
    assert sum(row["part_of_matter"] for row in rows.values()) == pytest.approx(1, rel=1e-4)
    assert rows["dark matter"]["mean_mass"] == pytest.approx(found.facts["particle_mass"] * (1 - share), rel=1e-4)
    assert found.facts["lattice_points_at"] == pytest.approx(0.5 - share / 2, abs=0.002)
    assert "black holes" in command("inspect", path)[1]
    import_snapshot(path, tmp_path / "ours.hdf5")
    rows = describe(tmp_path / "ours.hdf5").tables["particle_types"]
    assert {row["type"]: row["particles"] for row in rows} == {"dark matter": 4096, **LEFT_OUT}


def test_of_what_is_too_large_the_header_is_told(files, monkeypatch):
    monkeypatch.setattr(snapshots, "MOST", 4000)
    found = describe(files / "snapshot.hdf5")
    assert (found.facts["particles"], found.facts["box_size"], found.facts["scale_factor"]) == (4096, 50.0, 1.0)
    assert "Only its header was read" in found.notes[0]
    assert "rms_velocity" not in found.facts
