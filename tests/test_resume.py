"""Sampling goes on where it was killed, with the same bits, or begins anew where what is left is of no use."""

import errno
import json
import os
import re
import signal
import subprocess
import sys

import pytest
import torch
from learning import TEST_SEED

from supercosm import cli
from supercosm.choices import Options
from supercosm.errors import DataError, StoppedError
from supercosm.files import locked
from supercosm.metering import read_costs
from supercosm.sampler import Sampler
from supercosm.superresolution import superresolve_file

MODELS = {
    "white": {"noise": "white"},
    "flow": {"family": "flow_matching", "evaluations": 3},
    "slabs": {"noise": "initial", "fields": "density", "dimensions": 2},
}
OPTIONS = Options(seed=7, tile=8, device="cpu")

# two samples by a process of its own, which kills itself in an evaluation of the network, or before a row is noted
CHILD = """
import os, signal, sys
from pathlib import Path
from supercosm.choices import Options
from supercosm.journal import Journal
from supercosm.sampler import Sampler
from supercosm.superresolution import superresolve_file

snapshot, model, root, how, when = sys.argv[1:]
owner, name = (Sampler, "_apply") if how == "evaluating" else (Journal, "note")
honest, count = getattr(owner, name), 0

def dying(*arguments):
    global count
    count += 1
    if count == int(when):
        os.kill(os.getpid(), signal.SIGKILL)
    return honest(*arguments)

setattr(owner, name, dying)
root = Path(root)
outputs = [root / "1.hdf5", root / "2.hdf5"]
options = Options(seed=7, tile=8, device="cpu")
superresolve_file(Path(snapshot), outputs, Path(model), options, checkpoints=root / "checkpoints")
"""


@pytest.fixture
def sample(boxes, models):
    """Return a function that makes two samples in a folder, and gives their bytes."""

    def make(name, root, options=OPTIONS, count=2, **more):
        outputs = [root / f"{i + 1}.hdf5" for i in range(count)]
        superresolve_file(boxes.snapshot(TEST_SEED, "low"), outputs, models / name, options, **more)
        return [output.read_bytes() for output in outputs]

    return make


@pytest.fixture(scope="module")
def undisturbed(boxes, models, tmp_path_factory):
    """Return the bytes of two samples that were made at once, without a folder to go on from."""
    root, found = tmp_path_factory.mktemp("undisturbed"), {}

    def make(name):
        if name not in found:
            outputs = [root / f"{name}{i}.hdf5" for i in (1, 2)]
            superresolve_file(boxes.snapshot(TEST_SEED, "low"), outputs, models / name, OPTIONS)
            found[name] = [output.read_bytes() for output in outputs]
        return found[name]

    return make


@pytest.fixture
def evaluations(monkeypatch):
    """Count the evaluations of the network; the one of a given number is interrupted."""
    calls, honest = [], Sampler._apply

    def counting(self, *arguments):
        calls.append(arguments[0])
        if len(calls) == counting.stop:
            raise KeyboardInterrupt
        return honest(self, *arguments)

    counting.stop, counting.calls = 0, calls
    monkeypatch.setattr(Sampler, "_apply", counting)
    return counting


def interrupt(sample, evaluations, root, when, name="flow"):
    evaluations.stop = when
    with pytest.raises(KeyboardInterrupt):
        sample(name, root, checkpoints=root / "checkpoints")
    evaluations.stop = 0
    evaluations.calls.clear()


@pytest.mark.parametrize(
    ("name", "how", "when", "left"),
    [
        ("flow", "evaluating", 24 + 14, 12),  # of 24 for each sample; the second, in the second row of its second pass
        ("flow", "noting", 4, 24 + 12),  # the second row of the second pass lies there, but is not noted
        ("white", "evaluating", 6, 8 + 4),  # one pass: in its second row
        ("slabs", "evaluating", 4 + 3, 2),
    ],
)
def test_killed_sampling_ends_with_the_same_bits(
    boxes, models, tmp_path, sample, undisturbed, evaluations, name, how, when, left
):
    command = [sys.executable, "-c", CHILD, boxes.snapshot(TEST_SEED, "low"), models / name, tmp_path, how, when]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.run([str(part) for part in command], env=environment, stderr=subprocess.PIPE, timeout=300)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]
    found = sample(name, tmp_path, checkpoints=tmp_path / "checkpoints")
    assert len(evaluations.calls) == left
    assert found == undisturbed(name)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("name", "when", "left"),
    [("flow", 24 + 14, 8), ("white", 2, 8 + 4), ("slabs", 4 + 3, 1)],  # the row of tiles under way is finished
)
def test_sampling_that_is_asked_to_stop_goes_on_after_the_row(
    tmp_path, sample, undisturbed, evaluations, monkeypatch, name, when, left
):
    honest = Sampler._apply

    def asking(self, *arguments):
        if len(evaluations.calls) + 1 == when:
            signal.raise_signal(signal.SIGTERM)
        return honest(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Sampler, "_apply", asking)
        with pytest.raises(StoppedError, match="stopped by SIGTERM; the same command goes on"):
            sample(name, tmp_path, checkpoints=tmp_path / "checkpoints")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]
    evaluations.calls.clear()
    assert sample(name, tmp_path, checkpoints=tmp_path / "checkpoints") == undisturbed(name)
    assert len(evaluations.calls) == left


def test_a_resumed_sample_costs_what_all_its_runs_did(tmp_path, sample, evaluations):
    interrupt(sample, evaluations, tmp_path, 24 + 22)
    noted = json.loads((tmp_path / "checkpoints/1/0/finished.json").read_text())["cost"]
    first = json.loads((tmp_path / "checkpoints/0.json").read_text())["cost"]
    sample("flow", tmp_path, checkpoints=tmp_path / "checkpoints", cost=tmp_path / "cost.json")
    costs = read_costs(tmp_path / "cost.json")
    assert costs[0].busy == first["busy"]
    assert costs[1].busy > noted["busy"] > 0
    assert costs[1].seconds > noted["seconds"] > 0


def truncate(folder):
    os.truncate(folder / "0/0/odd", 1000)


def flip(folder):
    content = bytearray((folder / "0/0/even").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "0/0/even").write_bytes(content)


def garble(folder):
    (folder / "0/0/finished.json").write_text('{"rows": 3')


def misnote(folder):
    (folder / "0/0/finished.json").write_text('{"rows": {"0": 1}, "before": [], "pass": 9, "planes": 0}')


def lose(folder):
    (folder / "0.hdf5").write_bytes(b"no sample")


def forget(folder):
    (folder / "made_for.json").write_text("garbage")


@pytest.mark.parametrize(
    ("damage", "name", "when", "left"),
    [
        (truncate, "flow", 14, 24),
        (flip, "flow", 14, 24),
        (garble, "flow", 14, 24),
        (misnote, "flow", 14, 24),
        (lose, "white", 8 + 6, 8 + 4),
        (forget, "white", 6, 16),
    ],
)
def test_damaged_leftovers_are_made_again(tmp_path, sample, undisturbed, evaluations, damage, name, when, left):
    interrupt(sample, evaluations, tmp_path, when, name)
    damage(tmp_path / "checkpoints")
    count = 1 if name == "flow" else 2
    found = sample(name, tmp_path, count=count, checkpoints=tmp_path / "checkpoints")
    assert found == undisturbed(name)[:count]
    assert len(evaluations.calls) == left


def test_leftovers_of_another_run_are_discarded(tmp_path, sample, undisturbed, evaluations):
    evaluations.stop = 14
    with pytest.raises(KeyboardInterrupt):
        sample("flow", tmp_path, Options(seed=8, tile=8, device="cpu"), checkpoints=tmp_path / "checkpoints")
    evaluations.stop = 0
    assert sample("flow", tmp_path, count=1, checkpoints=tmp_path / "checkpoints") == undisturbed("flow")[:1]


def test_samples_come_from_another_file_system_as_copies(tmp_path, sample, undisturbed, monkeypatch):
    def elsewhere(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", elsewhere)
    assert sample("white", tmp_path, checkpoints=tmp_path / "checkpoints") == undisturbed("white")
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", "1.hdf5", "2.hdf5"}


def test_samples_that_were_moved_before_a_kill_are_not_lost(tmp_path, sample, undisturbed, evaluations, monkeypatch):
    from supercosm.checkpoints import Checkpoints

    def interrupted(self, outputs):
        honest(self, outputs[:1])
        outputs[0].unlink()  # as a workflow does with the outputs of a job that was killed
        raise KeyboardInterrupt

    honest = Checkpoints.publish
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "publish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sample("white", tmp_path, checkpoints=tmp_path / "checkpoints")
    evaluations.calls.clear()
    assert sample("white", tmp_path, checkpoints=tmp_path / "checkpoints") == undisturbed("white")
    assert not evaluations.calls


def test_a_second_run_on_the_same_folder_is_refused(tmp_path, sample):
    folder = tmp_path / "checkpoints"
    with locked(folder), pytest.raises(DataError, match="another process is working in"):
        sample("white", tmp_path, checkpoints=folder)


def test_a_full_disk_ends_in_a_sentence(boxes, models, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    words = ["superresolve", boxes.snapshot(TEST_SEED, "low"), "--model", models / "white"]
    words += ["--output", tmp_path / "1.hdf5", "--checkpoints", tmp_path / "checkpoints", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["supercosm", *map(str, words)])
    with pytest.raises(SystemExit):
        cli.main()
    error = capsys.readouterr().err
    assert "the disk is full" in error
    assert "free some space in" in error
    assert re.search(r"/checkpoints/\S* and run again", error)
    assert not (tmp_path / "1.hdf5").exists()
