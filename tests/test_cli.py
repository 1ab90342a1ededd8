"""The command line: what it prints, and one sentence, exit code 1 and no file for a user's mistake."""

import errno
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
import yaml

from supercosm import cli
from supercosm.config import Config, Cosmology
from supercosm.snapshot import Snapshot, write_snapshot


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command in this process; return (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["supercosm", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def snapshot(tmp_path):
    """Write a snapshot of n³ particles at rest; return its path."""

    def make(name, n=8, box_size=50.0, **changes):
        lattice = (np.indices((n, n, n)).reshape(3, -1).T + 0.5) * box_size / n
        content = Snapshot(
            positions=lattice.astype(np.float32),
            velocities=np.zeros((n**3, 3), np.float32),
            ids=np.arange(1, n**3 + 1, dtype=np.uint64),
            **{"box_size": box_size, "scale_factor": 1.0, "cosmology": Cosmology(), **changes},
        )
        write_snapshot(tmp_path / name, content)
        return tmp_path / name

    return make


def refused(result, *words):
    """Check for exit code 1 and one sentence that holds these words."""
    code, out, sentence = result
    assert code == 1
    assert out == ""
    assert sentence.startswith("supercosm: ")
    assert sentence.count("\n") == 1
    for word in words:
        assert word in sentence


def test_version_and_help_are_quick_and_complete(run):
    assert run("--version")[1] == "0.1.0\n"
    code, out, _ = run("--help")
    assert code == 0
    for command in ("simulate", "pair", "train", "superresolve", "compare", "measure", "evaluate", "report", "config"):
        assert f"\n  {command} " in out


def test_no_command_imports_torch_before_it_must():
    script = "import sys, supercosm.cli; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_config_prints_what_the_files_and_settings_make(run, tmp_path):
    for name, text in (("a.yaml", "simulation: {low: 16, steps: 5}"), ("b.yaml", "simulation: {high: 64}")):
        (tmp_path / name).write_text(text)
    settings = '{"simulation": {"steps": 7}}'
    code, out, _ = run(
        "config", "--config", tmp_path / "a.yaml", "--config", tmp_path / "b.yaml", "--settings", settings
    )
    config = Config.model_validate(yaml.safe_load(out))
    assert code == 0
    assert (config.simulation.low, config.simulation.high, config.simulation.steps) == (16, 64, 7)


def test_the_installed_command_ends_without_a_traceback(tmp_path):
    command = [sys.executable, "-m", "supercosm.cli", "simulate", "--seed", "1", "--output", tmp_path / "out"]
    result = subprocess.run(
        [*command, "--settings", '{"simulation": {"low": 48}}'], capture_output=True, text=True, check=False
    )
    refused((result.returncode, result.stdout, result.stderr), "high = 128", "multiple", "low = 48")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('{"simulation": {"lo": 8}}', ["simulation.lo", "did you mean 'low'"]),
        ('{"seeds": {"test": [1]}}', ["seed 1", "'training'", "'test'"]),
        ("{", ["--settings", "JSON"]),
        ("[1]", ["mapping"]),
    ],
)
@pytest.mark.parametrize("command", ["simulate", "report"])
def test_bad_settings_are_refused_before_anything_runs(run, tmp_path, command, settings, words):
    where = {
        "simulate": ("--seed", 1, "--output", tmp_path / "out"),
        "report": (tmp_path, "--output", tmp_path / "out"),
    }
    refused(run(command, *where[command], "--settings", settings), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_refused(run, tmp_path):
    settings = '{"device": "cuda", "simulation": {"low": 8, "high": 16}, "superresolution": {"tile": 8}}'
    result = run("simulate", "--seed", 1, "--output", tmp_path / "out", "--settings", settings)
    refused(result, "cuda", "no CUDA GPU", "auto or cpu")
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_not_configured_is_refused(run, tmp_path):
    files = (
        "--training",
        "a",
        "--validation",
        "b",
        "--output",
        tmp_path / "out",
        "--checkpoints",
        tmp_path / "c",
    )
    refused(
        run("train", "unett", *files, "--settings", '{"models": {"unet": {"family": "unet"}}}'),
        "'unett'",
        "unet)",
    )
    models = {"unet": {"family": "unet", "noise": "initial"}, "gan": {"family": "gan", "start": "unet"}}
    settings = json.dumps({"models": models})
    refused(run("train", "gan", *files, "--settings", settings), "start = 'unet'", "--start")
    assert list(tmp_path.iterdir()) == []


def break_truncated(path):
    path.write_bytes(path.read_bytes()[:3000])


def break_not_gadget(path):
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros(3)


def break_nan(path):
    with h5py.File(path, "r+") as file:
        file["PartType1/Coordinates"][3] = np.nan


def break_missing(path):
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_truncated, ["cannot be read", "make it again"]),
        (break_not_gadget, ["no Gadget-style snapshot", "/Header"]),
        (break_nan, ["3 of the positions", "NaN"]),
        (break_missing, ["there is no snapshot"]),
    ],
)
def test_a_damaged_snapshot_is_refused_and_nothing_is_written(run, tmp_path, snapshot, damage, words):
    low, high = snapshot("low.hdf5", 8), snapshot("high.hdf5", 16)
    damage(high)
    refused(run("pair", "--low", low, "--high", high, "--output", tmp_path / "pair.hdf5"), "high.hdf5", *words)
    assert {path.name for path in tmp_path.iterdir()} <= {"low.hdf5", "high.hdf5"}


def test_snapshots_that_are_no_pair_are_refused(run, tmp_path, snapshot):
    low, output = snapshot("low.hdf5", 8), tmp_path / "pair.hdf5"
    for changes, words in (
        ({"box_size": 60.0}, ["box size", "50", "60"]),
        ({"cosmology": Cosmology(Omega_m=0.25)}, ["Omega_m", "0.3111", "0.25"]),
        ({"scale_factor": 0.5}, ["scale factor", "1.0", "0.5"]),
    ):
        high = snapshot("high.hdf5", 16, **changes)
        refused(run("pair", "--low", low, "--high", high, "--output", output), *words)
    assert not output.exists()


def test_a_full_disk_is_named(run, tmp_path, snapshot, monkeypatch):
    low, high, output = snapshot("low.hdf5", 8), snapshot("high.hdf5", 16), tmp_path / "pair.hdf5"

    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("supercosm.files._sync", no_space)
    refused(
        run("pair", "--low", low, "--high", high, "--output", output),
        "disk is full",
        "pair.hdf5",
        "free some",
    )
    assert {path.name for path in tmp_path.iterdir()} == {"low.hdf5", "high.hdf5"}


def test_other_errors_of_the_system_are_one_sentence_too(run, tmp_path, snapshot):
    low, high = snapshot("low.hdf5", 8), snapshot("high.hdf5", 16)
    (tmp_path / "file").write_text("not a folder")
    output = tmp_path / "file" / "pair.hdf5"
    refused(run("pair", "--low", low, "--high", high, "--output", output), "File exists", "check the path")
