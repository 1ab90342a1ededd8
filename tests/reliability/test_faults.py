"""Places where nothing can be written, files that point elsewhere, two that work on one folder, a node without GPU."""

import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from learning import TEST_SEED, configuration, random_model

from supercosm import cli
from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.files import locked, write_json
from supercosm.model import load_model
from supercosm.pairs import PairFile
from supercosm.snapshot import from_lattice, read_snapshot, write_snapshot


@pytest.fixture
def refused(monkeypatch, capsys):
    """Return a function: run a command in this process, which has to end with exit code 1 and one sentence."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["supercosm", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        sentence = capsys.readouterr().err.splitlines()[-1]
        assert caught.value.code == 1
        assert sentence.startswith("supercosm: ")
        return sentence

    return call


@pytest.fixture
def box(tmp_path):
    zero = np.zeros((3, 8, 8, 8), np.float32)
    write_snapshot(tmp_path / "box.hdf5", from_lattice(zero, zero, 20.0, scale_factor=1.0, cosmology=Cosmology()))
    return tmp_path / "box.hdf5"


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("folder", "is a folder"),
        ("box.hdf5/x.ecsv", "box.hdf5"),
        ("/dev/null", "is a device"),
        ("/", "/ is a folder"),
        (".", "is a folder"),
    ],
)
def test_an_output_that_cannot_be_is_refused(refused, box, tmp_path, monkeypatch, output, words):
    """Also as root, whom permissions do not keep from anything, and who could replace a device by a file."""
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    output = output if output == "." else tmp_path / output
    assert words in refused("compare", box, "--reference", box, "--output", output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["box.hdf5", "folder"]


def test_what_is_no_snapshot_is_told_what_it_is(refused, boxes, tmp_path):
    random_model(boxes, tmp_path / "model")
    sentence = refused("measure", tmp_path / "model", "--output", tmp_path / "tables")
    assert "model is the folder of a model, no snapshot: `supercosm inspect` tells more" in sentence
    assert "`supercosm inspect` tells what it is" in refused("measure", boxes.pairs(1), "--output", tmp_path / "tables")
    (tmp_path / "many.yaml").write_text("\n".join(f"key{i}: {i}" for i in range(100)))
    assert len(refused("measure", tmp_path / "many.yaml", "--output", tmp_path / "tables")) < 500
    (tmp_path / "empty").mkdir()
    assert "without files" in refused("measure", tmp_path / "empty", "--output", tmp_path / "tables")


def test_a_folder_without_permission_is_named(refused, box, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    if os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("permissions do not bind this user")
    assert "closed" in refused("compare", box, "--reference", box, "--output", tmp_path / "closed" / "x.ecsv")


def test_output_that_nothing_takes_is_one_sentence():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "supercosm.cli", "--version"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.startswith("supercosm: the disk is full")
    assert done.stderr.count("\n") == 1


SCRATCH = """
import resource, sys
from supercosm import cli
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
cli.main()
"""


def test_full_scratch_space_is_named(boxes, tmp_path):
    """The fields of a box lie there while it is made: 0.8 MB of them, where a file may have 0.1 MB.

    So may those in which numba keeps what it has compiled: they are made before, without that limit.
    """
    random_model(boxes, tmp_path / "model", family="flow_matching", evaluations=2)
    (tmp_path / "scratch").mkdir()
    words = ["superresolve", boxes.snapshot(TEST_SEED, "low"), "--model", tmp_path / "model", "--device", "cpu"]
    places = {"TMPDIR": str(tmp_path / "scratch"), "NUMBA_CACHE_DIR": str(tmp_path / "compiled")}
    for name, limit, code in (("0", 1_000_000_000, 0), ("1", 100_000, 1)):
        command = [sys.executable, "-c", SCRATCH, str(limit), *map(str, words), "--output", tmp_path / f"{name}.hdf5"]
        done = subprocess.run(command, env={**os.environ, **places}, stderr=subprocess.PIPE, text=True)
        assert done.returncode == code, done.stderr
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("supercosm: the disk is full")
    assert f"free some space in {tmp_path / 'scratch'}" in sentence
    assert "1.hdf5" not in sentence
    assert not (tmp_path / "1.hdf5").exists()
    assert not list((tmp_path / "scratch").iterdir())


def test_two_on_one_folder_of_checkpoints(refused, boxes, tmp_path):
    """A training and a sampling, while somebody holds their folders."""
    settings = configuration().model_dump_json(include={"simulation", "models", "superresolution"})
    pairs = ["--training", boxes.pairs(1), "--validation", boxes.pairs(2), "--output", tmp_path / "model"]
    with locked(tmp_path / "held"):
        held = ["--checkpoints", tmp_path / "held"]
        assert "another process is working in" in refused("train", "model", *pairs, *held, "--settings", settings)
        low = ["superresolve", boxes.snapshot(TEST_SEED, "low"), "--model", "low", "--factor", "2"]
        assert "another process is working in" in refused(*low, "--output", tmp_path / "1.hdf5", *held)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["held"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_node_without_the_gpu_that_was_asked_for(refused, boxes, tmp_path):
    low = ["superresolve", boxes.snapshot(TEST_SEED, "low"), "--model", tmp_path, "--device", "cuda"]
    assert "no CUDA GPU here" in refused(*low, "--output", tmp_path / "1.hdf5")
    assert not (tmp_path / "1.hdf5").exists()


def external(file, shape):
    file.create_dataset("high/density", shape, "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def elsewhere(file, shape):
    file["high/density"] = h5py.ExternalLink("other.hdf5", "/x")


def virtual(file, shape):
    layout = h5py.VirtualLayout(shape, "f4")
    layout[...] = h5py.VirtualSource("other.hdf5", "x", shape)
    file.create_virtual_dataset("high/density", layout)


def endless(file, shape):
    file.create_dataset("high/density", (1 << 40, *shape[1:]), "f4", chunks=(1024, *shape[1:]), compression="gzip")


def objects(file, shape):
    file.create_dataset("high/density", shape, h5py.string_dtype())


def nothing(file, shape):
    file.create_dataset("high/density", data=h5py.Empty("f4"))


@pytest.mark.parametrize("change", [external, elsewhere, virtual, endless, objects, nothing])
def test_a_pair_file_holds_what_it_says_or_is_refused(boxes, tmp_path, change):
    path = shutil.copy(boxes.pairs(1), tmp_path / "x.hdf5")
    with h5py.File(path, "r+") as file:
        shape = file["high/density"].shape
        del file["high/density"]
        change(file, shape)
    with pytest.raises(DataError) as caught:
        PairFile(path).read("high/density")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [{"factor": 0}, {"low_spacing": 0.0}, {"low_spacing": float("inf")}])
def test_a_card_with_impossible_numbers_is_refused(boxes, tmp_path, changes):
    model = random_model(boxes, tmp_path / "model")
    write_json(tmp_path / "model" / "model.json", model.card.model_dump(mode="json") | changes)
    with pytest.raises(DataError, match=next(iter(changes))):
        load_model(tmp_path / "model")


def test_a_card_of_an_enormous_network_takes_no_memory(boxes, tmp_path):
    model = random_model(boxes, tmp_path / "model")
    card = model.card.model_dump(mode="json")
    card["settings"]["network"]["channels"] = 1 << 20  # a first layer of 100 TB
    write_json(tmp_path / "model" / "model.json", card)
    with pytest.raises(DataError, match="does not fit the network that its card describes"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("place", [0.02, 0.3, 0.7, 0.99])
def test_a_cut_snapshot_is_refused(box, place):
    os.truncate(box, int(box.stat().st_size * place))
    with pytest.raises(DataError, match=r"truncated|damaged"):
        read_snapshot(box)
