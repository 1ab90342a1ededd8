"""Compressed files: what comes back, what is said, and one sentence and no file for every mistake."""

import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
from learning import TEST_SEED, random_model

from supercosm import cli
from supercosm.compression import bitstream
from supercosm.compression.coder import load_coder
from supercosm.compression.compress import compress_file, decompress_file
from supercosm.errors import CoverageError, DataError
from supercosm.fields import density_of, log_density, read_density, write_density
from supercosm.snapshot import read_snapshot, write_snapshot

pytest.importorskip("hdf5plugin")


@pytest.fixture(scope="module")
def box(boxes):
    return density_of(read_snapshot(boxes.snapshot(TEST_SEED, "high")), 32)


@pytest.fixture(scope="module")
def files(box, boxes, folders, tmp_path_factory):
    """Density fields of a box and of its slabs, their compressed files, and that of a snapshot: read only."""
    root = tmp_path_factory.mktemp("files")
    write_density(root / "box.hdf5", box)
    snapshot = boxes.snapshot(TEST_SEED, "high")
    write_density(root / "slabs.hdf5", density_of(read_snapshot(snapshot), 32, 16))
    compress_file(root / "box.hdf5", root / "box.scz", folders["block"], bound=0.5)
    compress_file(root / "slabs.hdf5", root / "slabs.scz", folders["pca"])
    compress_file(snapshot, root / "snapshot.scz", None, bound=0.1)
    return root


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command in this process; return (exit code, standard output, standard error)."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(name, "2")  # so that the command leaves them alone

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["supercosm", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, *capsys.readouterr()

    return call


def refused(result, output, *words):
    """Check for exit code 1, one sentence that holds these words, and no file, half-written ones included."""
    code, out, sentence = result
    assert (code, out) == (1, "")
    assert sentence.startswith("supercosm: ")
    assert sentence.count("\n") == 1
    for word in words:
        assert word in sentence
    assert not list(output.parent.glob(f"*{output.name}*"))


def worst(field, found):
    return np.abs(log_density(field.data).astype(np.float64) - log_density(found.data)).max()


@pytest.mark.parametrize("bound", [1.0, 0.1, 0.0015])
def test_a_density_comes_back_within_the_bound(box, files, folders, tmp_path, bound):
    compress_file(files / "box.hdf5", tmp_path / "x.scz", folders["block"], bound=bound)
    decompress_file(tmp_path / "x.scz", tmp_path / "x.hdf5", folders["block"])
    found = read_density(tmp_path / "x.hdf5")
    assert worst(box, found) <= bound
    assert found.data.dtype == np.float32
    assert (found.box_size, found.scale_factor, found.dimensions) == (box.box_size, box.scale_factor, 3)
    assert found.cosmology == box.cosmology
    assert found.provenance == box.provenance
    assert {path.name for path in tmp_path.iterdir()} == {"x.scz", "x.hdf5"}


def test_slabs_come_back_as_slabs(files, folders, tmp_path):
    decompress_file(files / "slabs.scz", tmp_path / "x.hdf5", folders["pca"])
    original, found = read_density(files / "slabs.hdf5"), read_density(tmp_path / "x.hdf5")
    assert (found.dimensions, found.data.shape, found.thickness) == (2, (16, 32, 32), original.thickness)
    # a coder that mixed up slabs or axes would not follow the field
    assert np.corrcoef(log_density(original.data).ravel(), log_density(found.data).ravel())[0, 1] > 0.6
    assert found.data.min() >= 0


def test_a_field_that_is_nearly_empty_comes_back(box, folders, tmp_path):
    data = np.zeros((32, 32, 32), np.float32)
    data[3, 4, 5] = 32**3
    empty = replace(box, data=data)
    write_density(tmp_path / "x.hdf5", empty)
    compress_file(tmp_path / "x.hdf5", tmp_path / "x.scz", folders["block"], bound=0.1)
    decompress_file(tmp_path / "x.scz", tmp_path / "back.hdf5", folders["block"])
    assert worst(empty, read_density(tmp_path / "back.hdf5")) <= 0.1


def test_a_field_in_double_precision_is_compressed(files, box, folders, tmp_path, caplog):
    (tmp_path / "x.hdf5").write_bytes((files / "box.hdf5").read_bytes())
    with h5py.File(tmp_path / "x.hdf5", "r+") as file:
        del file["density"]
        file["density"] = box.data.astype(np.float64)
    with caplog.at_level(logging.INFO, "supercosm"):
        compress_file(tmp_path / "x.hdf5", tmp_path / "x.scz", folders["block"], bound=0.1)
    assert f"than {4 * 32**3} bytes of float32" in caplog.text
    decompress_file(tmp_path / "x.scz", tmp_path / "back.hdf5", folders["block"])
    assert worst(box, read_density(tmp_path / "back.hdf5")) <= 0.1


def test_the_command_says_how_small_and_how_wrong_it_became(run, files, box, folders, tmp_path, caplog):
    output = tmp_path / "x.scz"
    code, _, error = run("compress", files / "box.hdf5", "--model", folders["block"], "-o", output, "--bound", 0.5)
    assert code == 0, error
    (message,) = [r.getMessage() for r in caplog.records if "times smaller" in r.getMessage()]
    size, ratio, rms, largest = (
        float(re.search(pattern, message)[1])
        for pattern in (
            r": (\d+) bytes,",
            r"bytes, ([\d.]+) times",
            r"rms ([\d.]+),",
            r"at most ([\d.]+) \(bound 0.5\)",
        )
    )
    assert size == output.stat().st_size
    assert ratio == pytest.approx(4 * 32**3 / size, abs=0.06)
    assert run("decompress", output, "--model", folders["block"], "-o", tmp_path / "x.hdf5")[0] == 0
    found = read_density(tmp_path / "x.hdf5")
    error = log_density(box.data).astype(np.float64) - log_density(found.data)
    assert rms == pytest.approx(np.sqrt(np.mean(error**2)), rel=0.01)
    assert largest == pytest.approx(np.abs(error).max(), rel=0.01)
    assert largest <= 0.5


def test_without_a_bound_a_step_decides(run, files, folders, tmp_path):
    for step in (0.3, 3):
        output = tmp_path / f"{step}.scz"
        assert run("compress", files / "box.hdf5", "--model", folders["block"], "-o", output, "--step", step)[0] == 0
    assert (tmp_path / "3.scz").stat().st_size < 0.6 * (tmp_path / "0.3.scz").stat().st_size


def test_the_same_field_gives_the_same_file(files, folders, tmp_path):
    for name in ("a", "b"):
        compress_file(files / "box.hdf5", tmp_path / name, folders["block"], bound=0.5)
    contents = [bitstream.read(tmp_path / name) for name in ("a", "b")]
    assert contents[0][1] == contents[1][1]
    assert contents[0][0]["probes"] == contents[1][0]["probes"]


def test_another_process_decodes_to_the_same_bytes(files, folders, tmp_path):
    decompress_file(files / "box.scz", tmp_path / "here.hdf5", folders["block"])
    command = [sys.executable, "-m", "supercosm.cli", "decompress", files / "box.scz", "--model", folders["block"]]
    result = subprocess.run(
        [*command, "-o", tmp_path / "there.hdf5"], capture_output=True, text=True, env=os.environ, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "restored from" in result.stderr
    here, there = (read_density(tmp_path / f"{name}.hdf5").data.tobytes() for name in ("here", "there"))
    assert here == there


def snapshot_errors(first, second):
    """Return the largest errors of positions, the shorter way round, and of velocities."""
    moved = np.abs(first.positions.astype(np.float64) - second.positions)
    changed = np.abs(first.velocities.astype(np.float64) - second.velocities)
    return np.minimum(moved, first.box_size - moved).max(), changed.max()


@pytest.mark.parametrize(("options", "velocity"), [([], 10.0), (["--velocity-bound", 3], 3.0)])
def test_a_snapshot_comes_back_within_its_bounds(run, boxes, tmp_path, caplog, options, velocity):
    source, output = boxes.snapshot(TEST_SEED, "high"), tmp_path / "x.scz"
    assert run("compress", source, "-o", output, "--bound", 0.1, *options)[0] == 0
    assert f"positions within 0.1 Mpc/h, velocities within {velocity:g} km/s" in caplog.text
    assert output.stat().st_size < 24 * 32**3 / 3
    assert run("decompress", output, "-o", tmp_path / "x.hdf5")[0] == 0
    position, changed = snapshot_errors(read_snapshot(source), read_snapshot(tmp_path / "x.hdf5"))
    assert 0.01 < position <= 0.1
    assert 0.01 * velocity < changed <= velocity


def test_a_snapshot_is_coded_as_its_difference_to_a_prediction(run, boxes, tmp_path):
    random_model(boxes, tmp_path / "model")
    source, low, model = boxes.snapshot(TEST_SEED, "high"), boxes.snapshot(TEST_SEED, "low"), tmp_path / "model"
    given = ["--model", model, "--low", low]
    assert run("compress", source, "-o", tmp_path / "x.scz", "--bound", 0.1, *given)[0] == 0
    assert run("decompress", tmp_path / "x.scz", "-o", tmp_path / "x.hdf5", *given)[0] == 0
    position, _ = snapshot_errors(read_snapshot(source), read_snapshot(tmp_path / "x.hdf5"))
    assert 0.01 < position <= 0.1
    header, _ = bitstream.read(tmp_path / "x.scz")
    card = json.loads((model / "model.json").read_text())
    assert header["predicted"]
    assert header["lineage"] == {"model": card["weights_sha256"]}
    output = tmp_path / "other.hdf5"
    refused(run("decompress", tmp_path / "x.scz", "-o", output), output, "none is given")
    other = ["--model", model, "--low", boxes.snapshot(1, "low")]
    refused(run("decompress", tmp_path / "x.scz", "-o", output, *other), output, "not the one that", "another model")


@pytest.mark.parametrize("name", ["box", "slabs", "snapshot"])
def test_damage_anywhere_is_named(files, folders, tmp_path, name):
    content = (files / f"{name}.scz").read_bytes()
    model = {"box": folders["block"], "slabs": folders["pca"], "snapshot": None}[name]
    damaged, output = tmp_path / "damaged.scz", tmp_path / "out.hdf5"
    draw = np.random.default_rng(0)
    for where in [0, 9, len(content) - 1, *draw.integers(len(content), size=20)]:
        flipped = bytearray(content)
        flipped[where] ^= 1 << int(draw.integers(8))
        for broken in (bytes(flipped), content[:where]):
            damaged.write_bytes(broken)
            with pytest.raises(DataError, match=r"damaged\.scz"):
                decompress_file(damaged, output, model)
    assert {path.name for path in tmp_path.iterdir()} == {"damaged.scz"}


@pytest.mark.parametrize("arguments", [("--step", 0), ("--step", -1), ("--step", "inf"), ("--step", "nan")])
def test_steps_without_sense_are_refused(run, files, folders, tmp_path, arguments):
    output = tmp_path / "x.scz"
    result = run("compress", files / "box.hdf5", "--model", folders["block"], "-o", output, *arguments)
    refused(result, output, "must be positive")


@pytest.mark.parametrize(
    ("bound", "words"),
    [(0, "must be positive"), ("inf", "finite"), ("nan", "must be positive"), (1e-5, "finer than float32")],
)
def test_bounds_of_a_density_without_sense_are_refused(run, files, folders, tmp_path, bound, words):
    output = tmp_path / "x.scz"
    result = run("compress", files / "box.hdf5", "--model", folders["block"], "-o", output, "--bound", bound)
    refused(result, output, words)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (["--bound", 0], "positions"),
        (["--bound", "nan"], "positions"),
        (["--bound", 0.1, "--velocity-bound", 0], "velocities"),
        (["--bound", 1e-7], "finer than float32"),
    ],
)
def test_bounds_of_a_snapshot_without_sense_are_refused(run, boxes, tmp_path, bounds, words):
    output = tmp_path / "x.scz"
    refused(run("compress", boxes.snapshot(TEST_SEED, "high"), "-o", output, *bounds), output, "error bound", words)


def test_what_is_missing_is_asked_for(run, files, folders, boxes, tmp_path):
    snapshot, output = boxes.snapshot(TEST_SEED, "high"), tmp_path / "x"
    low = boxes.snapshot(TEST_SEED, "low")
    for arguments, *words in [
        (("compress", files / "box.hdf5"), "density field", "--model"),
        (("compress", snapshot), "snapshot", "--bound"),
        (("compress", snapshot, "--bound", 0.1, "--low", low), "--model", "--low"),
        (("compress", files / "box.hdf5", "--model", folders["block"], "--low", low), "no --low"),
        (("compress", snapshot, "--bound", 0.1, "--step", 0.5), "--step"),
        (("compress", tmp_path / "nothing.hdf5", "--bound", 0.1), "nothing.hdf5", "check the path"),
        (("compress", files / "box.hdf5", "--model", tmp_path / "nothing"), "nothing is no coder folder"),
        (("decompress", files / "box.scz"), "coder 'block'", "--model"),
        (("decompress", tmp_path / "nothing.scz"), "nothing.scz"),
        (("decompress", files / "box.hdf5", "--model", folders["block"]), "no compressed file"),
        (("decompress", files / "snapshot.scz", "--low", low), "--model"),
        (("compress", files / "box.scz", "--bound", 0.1), "box.scz", "cannot be read"),
    ]:
        refused(run(*arguments, "-o", output), output, *words)


def test_another_coder_is_refused(run, files, folders, tmp_path):
    output = tmp_path / "x.hdf5"
    for name, model in (("cube", folders["cube"]), ("pca", folders["pca"])):
        refused(run("decompress", files / "box.scz", "--model", model, "-o", output), output, f"'{name}'", "'block'")


def test_a_coder_that_was_trained_again_is_refused(files, folders, tmp_path):
    header, blobs = bitstream.read(files / "box.scz")
    bitstream.write(tmp_path / "x.scz", header | {"weights_sha256": "0" * 64}, blobs)
    with pytest.raises(DataError, match=r"with weights 000000000000…, but the folder holds 'block' with"):
        decompress_file(tmp_path / "x.scz", tmp_path / "x.hdf5", folders["block"])
    assert not (tmp_path / "x.hdf5").exists()


def test_a_decoder_that_computes_otherwise_is_noticed(files, folders, tmp_path):
    header, blobs = bitstream.read(files / "box.scz")
    for off, fine in ((1e-4, True), (2e-3, False)):  # of a bound of 0.5, a thousandth is left for other machines
        probes = [value + off for value in header["probes"]]
        bitstream.write(tmp_path / "x.scz", header | {"probes": probes}, blobs)
        if fine:
            decompress_file(tmp_path / "x.scz", tmp_path / "fine.hdf5", folders["block"])
            continue
        with pytest.raises(DataError, match="computes the network differently"):
            decompress_file(tmp_path / "x.scz", tmp_path / "x.hdf5", folders["block"])
    assert not (tmp_path / "x.hdf5").exists()


def test_an_unknown_kind_is_refused(tmp_path):
    bitstream.write(tmp_path / "x.scz", {"kind": "sound"}, {})
    with pytest.raises(DataError, match="holds 'sound', which this version does not know"):
        decompress_file(tmp_path / "x.scz", tmp_path / "x.hdf5")


def test_coders_and_fields_of_other_dimensions_are_refused(run, files, folders, tmp_path):
    output = tmp_path / "x.scz"
    for field, coder, words in (("box", "pca", "of 2 dimensions"), ("slabs", "block", "of 3 dimensions")):
        result = run("compress", files / f"{field}.hdf5", "--model", folders[coder], "-o", output, "--override")
        refused(result, output, words)


def test_another_cell_size_needs_an_override(run, box, folders, tmp_path):
    wide, output = replace(box, box_size=60.0), tmp_path / "x.scz"
    write_density(tmp_path / "wide.hdf5", wide)
    command = ("compress", tmp_path / "wide.hdf5", "--model", folders["block"], "-o", output, "--bound", 0.2)
    refused(run(*command), output, "cell size", "1.5625", "1.875", "--override")
    with pytest.raises(CoverageError):
        compress_file(tmp_path / "wide.hdf5", output, folders["block"])
    assert run(*command, "--override")[0] == 0
    decompress_file(output, tmp_path / "back.hdf5", folders["block"])
    assert worst(wide, read_density(tmp_path / "back.hdf5")) <= 0.2
    assert read_density(tmp_path / "back.hdf5").box_size == 60


def test_another_thickness_needs_an_override(boxes, folders, tmp_path):
    thick = density_of(read_snapshot(boxes.snapshot(TEST_SEED, "high")), 32, 8)
    write_density(tmp_path / "thick.hdf5", thick)
    with pytest.raises(CoverageError, match=r"thickness .* 3\.125, but the field has 6\.25"):
        compress_file(tmp_path / "thick.hdf5", tmp_path / "x.scz", folders["conv"])
    compress_file(tmp_path / "thick.hdf5", tmp_path / "x.scz", folders["conv"], override=True)
    assert (tmp_path / "x.scz").exists()


def test_folders_of_another_kind_are_refused(run, files, folders, boxes, tmp_path):
    random_model(boxes, tmp_path / "model")
    snapshot, low, output = boxes.snapshot(TEST_SEED, "high"), boxes.snapshot(TEST_SEED, "low"), tmp_path / "x"
    result = run("compress", snapshot, "--bound", 0.1, "--model", folders["pca"], "--low", low, "-o", output)
    refused(result, output, "is a coder of density fields", "super-resolution model")
    result = run("compress", files / "box.hdf5", "--model", tmp_path / "model", "-o", output)
    refused(result, output, "is the folder of another kind of model")
    result = run("compress", files / "box.hdf5", "--model", files / "box.hdf5", "-o", output)
    refused(result, output, "is no coder folder")


def spoil(path, change):
    with h5py.File(path, "r+") as file:
        data = change(file["density"][:])
        del file["density"]
        file["density"] = data


def with_nan(data):
    data[1, 2, 3] = np.nan
    return data


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:, :, :16], "has shape (m, m, m), not (32, 32, 16)"),
        (lambda data: data[0], "has shape (m, m, m)"),
        (with_nan, "finite"),
        (lambda data: -data, "nowhere negative"),
        (lambda data: data[:0, :0, :0], "supercosm: "),
    ],
)
def test_fields_that_are_none_are_refused(run, files, folders, tmp_path, change, words):
    (tmp_path / "bad.hdf5").write_bytes((files / "box.hdf5").read_bytes())
    spoil(tmp_path / "bad.hdf5", change)
    output = tmp_path / "x.scz"
    refused(run("compress", tmp_path / "bad.hdf5", "--model", folders["block"], "-o", output), output, words)


def test_a_snapshot_without_a_lattice_is_refused(run, boxes, tmp_path):
    snapshot = read_snapshot(boxes.snapshot(TEST_SEED, "low"))
    part = replace(snapshot, positions=snapshot.positions[:9], velocities=snapshot.velocities[:9], ids=snapshot.ids[:9])
    write_snapshot(tmp_path / "part.hdf5", part)
    output = tmp_path / "x.scz"
    refused(run("compress", tmp_path / "part.hdf5", "--bound", 0.1, "-o", output), output, "no cube")


def test_an_output_folder_is_made_and_a_file_in_its_place_is_named(run, files, folders, tmp_path):
    compress_file(files / "box.hdf5", tmp_path / "new" / "folder" / "x.scz", folders["cube"])
    assert load_coder(folders["cube"]).card.name in str(bitstream.read(tmp_path / "new" / "folder" / "x.scz")[0])
    (tmp_path / "file").write_text("no folder")
    output = tmp_path / "file" / "x.scz"
    code, _, sentence = run("compress", files / "box.hdf5", "--model", folders["cube"], "-o", output)
    assert code == 1
    assert sentence.count("\n") == 1
