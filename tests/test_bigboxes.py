"""Big boxes in several files: the same bits as in one, made file by file, by one process or by many, killed or not."""

import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace

import h5py
import numpy as np
import pytest
import torch
from learning import TEST_SEED
from typer.testing import CliRunner

from supercosm import rows
from supercosm.bigboxes import Aside, Cut, superresolve_slabs
from supercosm.choices import Options, choose_shape
from supercosm.cli import app
from supercosm.errors import ConfigurationError, DataError, StoppedError
from supercosm.files import write_json
from supercosm.formats import files_of
from supercosm.joining import join, join_samples
from supercosm.metering import read_costs
from supercosm.model import load_model
from supercosm.sampler import Sampler
from supercosm.snapshot import read_snapshot
from supercosm.superresolution import superresolve_file

MODELS = {
    "modes": {"condition": ["low"], "noise": "initial"},  # small scales are drawn: slabs need planes of them
    "flow": {"family": "flow_matching", "evaluations": 2},
    "density": {"noise": "white", "fields": "density"},
}
OPTIONS = Options(seed=7, tile=8, device="cpu")  # two slabs of one row of tiles, four tiles in each

# makes all files by a process of its own, which kills itself in an evaluation of the network
CHILD = """
import os, signal, sys
from pathlib import Path
from supercosm.choices import Options
from supercosm.sampler import Sampler
from supercosm.bigboxes import Cut, superresolve_slabs

snapshot, model, output, when = sys.argv[1:]
honest, count = Sampler._apply, 0

def dying(*arguments):
    global count
    count += 1
    if count == int(when):
        os.kill(os.getpid(), signal.SIGKILL)
    return honest(*arguments)

Sampler._apply = dying
options = Options(seed=7, tile=8, device="cpu")
superresolve_slabs(Path(snapshot), Path(output), [Path(model)], options, Cut(2))
"""


@pytest.fixture(scope="module")
def low(boxes):
    return boxes.snapshot(TEST_SEED, "low")


@pytest.fixture(scope="module")
def undivided(low, models, tmp_path_factory):
    """Return a function that gives the snapshot of a model that is written to one file."""
    root = tmp_path_factory.mktemp("undivided")

    def make(name, options=OPTIONS):
        path = root / f"{name}-{hash(options)}.hdf5"
        if not path.exists():
            superresolve_file(low, [path], models / name if name in MODELS else name, options, factor=2)
        return path

    return make


@pytest.fixture
def slabs(low, models, tmp_path):
    """Return a function that makes files of a model's snapshot; their names begin with "high"."""

    def make(name="modes", files=2, part=None, options=OPTIONS, **more):
        source = models / name if name in MODELS else name
        superresolve_slabs(low, tmp_path / "high", [source], options, Cut(files, part), Aside(factor=2, **more))
        return tmp_path / "high"

    return make


@pytest.fixture
def evaluations(monkeypatch):
    """Count the evaluations of the network."""
    calls, honest = [], Sampler._apply

    def counting(self, *arguments):
        calls.append(arguments[0])
        return honest(self, *arguments)

    monkeypatch.setattr(Sampler, "_apply", counting)
    return calls


def content(path):
    """Return all that a snapshot file holds."""
    with h5py.File(path) as file:
        found = {name: file[f"PartType1/{name}"][:] for name in file["PartType1"]}
        return found | {f"{g}/{k}": v for g in ("Header", "Units", "Provenance") for k, v in file[g].attrs.items()}


def assert_same(path, other):
    ours, theirs = content(path), content(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


@pytest.mark.parametrize(
    ("name", "files", "tile"),
    [("modes", 2, 8), ("modes", 1, 8), ("modes", 4, 4), ("flow", 2, 8), ("linear", 16, 1), ("linear", 2, 16)],
)
def test_files_joined_are_the_undivided_snapshot_bit_for_bit(slabs, undivided, tmp_path, name, files, tile):
    options = Options(seed=7, tile=tile, device="cpu")
    high = slabs(name, files, options=options)
    assert len(files_of(high)) == files
    join(high, tmp_path / "joined.hdf5")
    if tile <= 16 // files:  # else tiles are thinner along x than those of the undivided box, which rounds otherwise
        assert_same(tmp_path / "joined.hdf5", undivided(name, options))
    several, one = read_snapshot(high), read_snapshot(tmp_path / "joined.hdf5")
    for attribute in ("positions", "velocities", "ids", "box_size", "provenance", "cosmology", "offset"):
        np.testing.assert_array_equal(getattr(several, attribute), getattr(one, attribute))


def test_parts_made_alone_are_those_made_together(slabs, tmp_path, evaluations):
    together = {file.name: file.read_bytes() for file in files_of(slabs())}
    for file in tmp_path.iterdir():
        file.unlink()
    evaluations.clear()
    for part in (1, 0):
        high = slabs(part=part)
    assert len(evaluations) == 8
    assert {file.name: file.read_bytes() for file in files_of(high)} == together


def test_jobs_share_small_scales_that_one_of_them_made(slabs, tmp_path, monkeypatch):
    alone = [file.read_bytes() for file in files_of(slabs())]
    for file in tmp_path.iterdir():
        file.unlink()
    slabs(part=1, scratch=tmp_path / "shared")
    (modes,) = (tmp_path / "shared").glob("small-scales-*")
    monkeypatch.setattr("supercosm.smallscales.displacement_modes", None)  # nothing is made again
    assert [file.read_bytes() for file in files_of(slabs(part=0, scratch=tmp_path / "shared"))] == alone
    os.truncate(modes, 1000)
    (tmp_path / "high.0.hdf5").unlink()
    with pytest.raises(DataError, match=r"has 1000 bytes instead of .* remove it"):
        slabs(part=0, scratch=tmp_path / "shared")


def test_thin_tiles_agree_with_cubes(slabs, undivided, models):
    """Tiles of other shapes round otherwise: 1e-4 of the rms displacement is what those of other sides are held to."""
    found, expected = slabs("modes", 4, options=Options(seed=7, device="cpu")), undivided("modes")
    ours, theirs = read_snapshot(found).displacement(), read_snapshot(expected).displacement()
    assert np.abs(ours - theirs).max() < 1e-4 * theirs.std()


def test_only_what_is_missing_is_made_again(slabs, evaluations, tmp_path):
    high = slabs()
    kept = [file.read_bytes() for file in files_of(high)]
    slabs()
    assert len(evaluations) == 8
    (tmp_path / "high.1.hdf5").unlink()
    slabs(cost=tmp_path / "cost.json")
    assert len(evaluations) == 12
    assert [file.read_bytes() for file in files_of(high)] == kept
    assert read_costs(tmp_path / "cost.json")[0].seconds > 0


def test_costs_of_calls_that_were_stopped_are_added_up(slabs, tmp_path, monkeypatch):
    cost = tmp_path / "cost.json"

    def seconds():
        return read_costs(cost)[0].seconds

    def stopping(*_):
        raise StoppedError("now")

    with monkeypatch.context() as patch:
        patch.setattr("supercosm.bigboxes.stop_if_asked", stopping)  # between the two files
        with pytest.raises(StoppedError):
            slabs("linear", cost=cost)
    first = seconds()
    write_json(cost, [asdict(replace(read_costs(cost)[0], seconds=1000 + first))])  # so that it can be told apart
    slabs("linear", cost=cost)
    assert seconds() > 1000 + first
    both = cost.read_bytes()
    slabs("linear", cost=cost)
    assert cost.read_bytes() == both  # nothing was missing, so nothing is written
    (tmp_path / "high.0.hdf5").unlink()
    (tmp_path / "high.1.hdf5").unlink()
    slabs("linear", cost=cost)
    assert 0 < seconds() < 1000  # all files were missing: what is written began anew


def test_costs_of_parts_belong_to_samples_by_their_number(slabs, tmp_path):
    costs = [tmp_path / f"{part}.json" for part in range(2)]
    for part, cost in enumerate(costs):
        high = slabs("linear", part=part, cost=cost)
    for wrong in (costs[:1], [*costs, costs[0]]):
        with pytest.raises(DataError, match=rf"{len(wrong)} cost files cannot be those of all parts.*\[2\]"):
            join_samples([high], [tmp_path / "joined.hdf5"], wrong, tmp_path / "sum.json")
    assert not (tmp_path / "joined.hdf5").exists()
    join_samples([high], [tmp_path / "joined.hdf5"], costs, tmp_path / "sum.json")
    assert read_costs(tmp_path / "sum.json")[0].seconds == sum(read_costs(cost)[0].seconds for cost in costs)


def test_files_of_another_origin_are_refused(slabs, tmp_path):
    high = slabs()
    with pytest.raises(DataError, match=r"seed: 7, not 8.*do not go together; remove it"):
        slabs(options=Options(seed=8, tile=8, device="cpu"))
    (tmp_path / "high.0.hdf5").rename(tmp_path / "kept")
    slabs(options=Options(seed=8, tile=8, device="cpu"), part=0)  # other jobs' files are for `join` to check
    for refused in (lambda: read_snapshot(high), lambda: join(high, tmp_path / "joined.hdf5")):
        with pytest.raises(DataError, match=r"high\.1\.hdf5 was made of another .* \(seed: 7, not 8\); remove"):
            refused()
    assert not (tmp_path / "joined.hdf5").exists()


def test_a_commit_between_two_jobs_does_not_part_their_files(slabs, tmp_path, monkeypatch):
    slabs("linear", part=0)
    monkeypatch.setattr("supercosm.provenance._commit", lambda: "another+changes")
    slabs("linear", part=1)
    join(slabs("linear"), tmp_path / "joined.hdf5")
    monkeypatch.setattr("supercosm.provenance._version", lambda *_: "0.0")
    with pytest.raises(DataError, match=r"version: .*, not 0\.0"):
        slabs("linear")


def test_an_incomplete_or_damaged_set_is_not_joined(slabs, tmp_path):
    high = slabs()
    (tmp_path / "high.0.hdf5").rename(tmp_path / "kept")
    with pytest.raises(DataError, match=r"high.0.hdf5 is missing: high.1.hdf5 is one of 2 files"):
        join(high, tmp_path / "joined.hdf5")
    (tmp_path / "high.1.hdf5").rename(tmp_path / "high.0.hdf5")
    (tmp_path / "kept").rename(tmp_path / "high.1.hdf5")  # each is whole, in the other's place
    with pytest.raises(DataError, match=r"high\.0\.hdf5 does not hold particles 1 to"):
        join(high, tmp_path / "joined.hdf5")
    size = (tmp_path / "high.1.hdf5").stat().st_size
    os.truncate(tmp_path / "high.1.hdf5", size // 2)
    with pytest.raises(DataError, match=r"high.1.hdf5 cannot be read .* delete it and make it again"):
        slabs()
    with pytest.raises(DataError, match=r"there is no .*other\.0\.hdf5"):
        join(tmp_path / "other", tmp_path / "joined.hdf5")
    assert not (tmp_path / "joined.hdf5").exists()


def test_a_killed_run_keeps_whole_files_and_goes_on(slabs, low, models, tmp_path, evaluations, undivided):
    command = [sys.executable, "-c", CHILD, low, models / "modes", tmp_path / "high", 7]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "TMPDIR": str(scratch)}
    process = subprocess.run([str(part) for part in command], env=environment, stderr=subprocess.PIPE, timeout=300)
    assert process.returncode == -signal.SIGKILL, process.stderr
    shown = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert shown == {"high.0.hdf5", "scratch"}
    assert len(list(scratch.iterdir())) == 2  # small scales and low run that nobody needs any more
    command[-1] = 100
    process = subprocess.run([str(part) for part in command], env=environment, stderr=subprocess.PIPE, timeout=300)
    assert process.returncode == 0, process.stderr
    join(tmp_path / "high", tmp_path / "joined.hdf5")
    assert_same(tmp_path / "joined.hdf5", undivided("modes"))
    assert not list(scratch.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"high.0.hdf5", "high.1.hdf5", "joined.hdf5", "scratch"}


def test_a_run_that_is_asked_to_stop_ends_after_the_row_and_keeps_the_file(slabs, monkeypatch, evaluations, tmp_path):
    honest = Sampler._apply

    def asking(self, *arguments):
        if len(evaluations) == 1:
            signal.raise_signal(signal.SIGUSR1)
        return honest(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Sampler, "_apply", asking)
        with pytest.raises(StoppedError, match="stopped by SIGUSR1; the same command goes on"):
            slabs()
    assert [path.name for path in tmp_path.iterdir()] == ["high.0.hdf5"]
    assert len(evaluations) == 4
    slabs()
    assert len(evaluations) == 8


def test_a_run_that_is_asked_to_stop_within_a_file_ends_at_once_and_says_what_is_lost(slabs, monkeypatch, tmp_path):
    honest, calls = rows.strips, []

    def asking(*arguments):
        for strip in honest(*arguments):
            calls.append(strip[0])
            if len(calls) == 2:
                signal.raise_signal(signal.SIGTERM)
            yield strip

    monkeypatch.setattr("supercosm.sampler.strips", asking)
    with pytest.raises(StoppedError, match=r"by SIGTERM; finished files are kept, .* makes the slab under way again"):
        slabs("linear", options=Options(seed=7, tile=4, device="cpu"))  # of two rows of four strips, each file
    assert len(calls) == 2
    assert not list(tmp_path.iterdir())


def test_checkpoints_left_by_a_kill_after_the_last_file_are_emptied(slabs, tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    with monkeypatch.context() as patch:
        patch.setattr("supercosm.checkpoints.empty", lambda _: None)  # as if killed before
        slabs("flow", checkpoints=folder)
    assert len(list(folder.iterdir())) > 1
    slabs("flow", checkpoints=folder)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_models_of_several_passes_go_on_from_a_folder_and_have_no_parts(slabs, tmp_path, evaluations, undivided):
    with pytest.raises(ConfigurationError, match="whole box is needed in one process: leave out --part"):
        slabs("flow", part=0)
    slabs("flow", checkpoints=tmp_path / "checkpoints")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [".lock"]
    join(tmp_path / "high", tmp_path / "joined.hdf5")
    assert_same(tmp_path / "joined.hdf5", undivided("flow"))


def test_a_folder_for_shared_modes_without_files_is_refused(low, tmp_path):
    runner = CliRunner()
    options = ["--model", "linear", "--factor", 2, "--output", tmp_path / "high.hdf5", "--scratch", tmp_path / "shared"]
    result = runner.invoke(app, ["superresolve", str(low), *map(str, options)])
    assert isinstance(result.exception, ConfigurationError)
    assert "shared is where jobs share the modes of one box: give --files, too" in str(result.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("cut", "name", "message"),
    [
        ((3, None), "modes", "files = 3 does not suit a box of 16 .* possible are 1, 2, 4, 8$"),
        ((2, 2), "modes", "part = 2 is none of 2 files"),
        ((3, None), "linear", "files = 3 does not divide the 16"),
        ((2, None), "density", "a density, which is one small file: leave out --files"),
    ],
)
def test_boxes_that_cannot_be_cut_so_are_refused(slabs, cut, name, message):
    with pytest.raises(ConfigurationError, match=message):
        slabs(name, *cut)


def test_tiles_of_big_boxes_are_bounded_and_waste_little_on_halos(models):
    model = load_model(models / "modes", torch.device("cpu"))  # a halo of 2 low cells, factor 2
    options = Options(device="cpu")
    for low in (256, 512, 1024):
        depth, side = choose_shape(low, model, options, 16)
        cells = (depth + 4) * (side + 4) ** 2
        assert cells * 2**3 <= 4_000_000
        assert cells / (depth * side**2) < 1.6
    assert choose_shape(16, model, options, 2) == (8, 16)  # the whole box along y and z: no halo there
    assert choose_shape(256, model, Options(tile=8), 16) == (8, 8)
    assert choose_shape(256, model, Options(tile=64), 16) == (16, 64)
