"""Measuring by slabs as a user does it: in one process that is stopped and goes on, or in a job for each slab."""

import logging

import pytest
from foreignfiles import Run, write_gadget_hdf5
from typer.testing import CliRunner

from supercosm.cli import app
from supercosm.errors import ConfigurationError, DataError
from supercosm.fields import density_of, write_density
from supercosm.halofile import read_haloes
from supercosm.slabs.measuring import Task, measure_by_slabs
from supercosm.slabs.scratch import Scratch
from supercosm.snapshot import write_snapshot

SLABS = 3


@pytest.fixture(scope="module")
def task(cornered, settings, tmp_path_factory):
    """Return a function: the task of measuring the box into a new folder `name`."""
    root = tmp_path_factory.mktemp("tasks")
    settings = settings.model_copy(update={"slabs": SLABS})
    return lambda name, **more: Task(cornered, root / name / "high" / "1", settings, **more)


@pytest.fixture(scope="module")
def at_once(task):
    """Everything that one process writes."""
    measure_by_slabs(task("once"))
    return contents(task("once").output)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class KilledError(BaseException):
    """What no code catches."""


@pytest.mark.parametrize("saves", [20, 34, 45])  # in haloes, spectrum, densities
def test_what_was_killed_goes_on_and_finds_the_same(task, at_once, monkeypatch, saves):
    wanted, save, saved = task(f"killed{saves}"), Scratch.save, []

    def dying(self, name, array):
        if len(saved) == saves:
            raise KilledError
        save(self, name, array)
        saved.append(name)

    monkeypatch.setattr(Scratch, "save", dying)
    with pytest.raises(KilledError):
        measure_by_slabs(wanted)
    (scratch,) = (wanted.output / ".scratch").glob("slabs-*")
    there = {path.name.removesuffix(".npy") for path in scratch.glob("*.npy")}
    again = []
    monkeypatch.setattr(Scratch, "save", lambda self, name, array: (again.append(name), save(self, name, array)))
    measure_by_slabs(wanted)
    redone = set(again) & set(there)  # of the step that was cut short alone, one slab's
    assert len({name.rpartition("-")[2] for name in redone}) <= 1
    assert len(there) > 0
    assert contents(wanted.output) == at_once


def test_a_job_for_each_slab_finds_the_same(task, at_once, cornered, tmp_path):
    output, scratch, run = tmp_path / "high" / "1", tmp_path / "scratch", CliRunner()
    settings = task("once").settings.model_dump_json()
    call = ["measure", str(cornered), "--output", str(output), "--scratch", str(scratch)]
    call += ["--settings", f'{{"statistics": {settings}}}']
    early = run.invoke(app, [*call, "--slab", "1"])
    assert isinstance(early.exception, DataError)
    assert "run the same command with --sort first" in str(early.exception)
    for more in (["--sort"], *(["--slab", str(slab)] for slab in reversed(range(SLABS)))):
        result = run.invoke(app, [*call, *more])
        assert result.exit_code == 0, result.exception
        assert not output.exists()
    (folder,) = scratch.glob("slabs-*")
    shares = {path.name for path in folder.glob("*.npy")}
    assert {
        f"{name}-{slab}.npy" for name in ("spectrum-mesh1", "density", "halo-closed") for slab in range(3)
    } <= shares
    result = run.invoke(app, call)
    assert result.exit_code == 0, result.exception
    assert contents(output) == at_once
    assert list(scratch.iterdir()) == []


def test_a_chosen_statistic_alone(task, at_once):
    wanted = task("chosen", only=("haloes",))
    measure_by_slabs(wanted)
    assert contents(wanted.output) == {name: at_once[name] for name in ("haloes.ecsv", "haloes.hdf5")}


def test_what_is_left_out_is_said(lower, settings, tmp_path, caplog):
    write_snapshot(tmp_path / "low.hdf5", lower)
    with caplog.at_level(logging.INFO):
        measure_by_slabs(Task(tmp_path / "low.hdf5", tmp_path / "out", settings.model_copy(update={"slabs": 2})))
    assert "not measured by slabs: bispectrum, extrema, minkowski, web, profiles" in caplog.text


def test_several_files_of_another_code(lower, settings, tmp_path):
    write_gadget_hdf5(tmp_path / "snap", Run(lower), files=3)
    few = settings.model_copy(update={"slabs": 4, "halo_particles": 5})
    measure_by_slabs(Task(tmp_path / "snap", tmp_path / "out", few, ("haloes", "spectrum")))
    write_gadget_hdf5(tmp_path / "one", Run(lower, shuffle=False))
    measure_by_slabs(Task(tmp_path / "one.hdf5", tmp_path / "other", few, ("haloes",)))
    found, expected = (read_haloes(tmp_path / name / "haloes.hdf5") for name in ("out", "other"))
    assert len(found) > 3
    for name in ("ids", "masses", "centres", "velocities"):
        assert (getattr(found, name) == getattr(expected, name)).all()


def test_a_density_field_is_measured_whole(lower, settings, tmp_path):
    write_density(tmp_path / "field.hdf5", density_of(lower, 16))
    measure_by_slabs(Task(tmp_path / "field.hdf5", tmp_path / "out", settings.model_copy(update={"slabs": 2})))
    tables = {f"{name}.ecsv" for name in ("spectrum", "moments", "distribution")}
    assert contents(tmp_path / "out").keys() == {*tables, "slab.fits"}  # what the workflow's rule declares


@pytest.mark.parametrize(
    ("changes", "slab", "error", "sentence"),
    [
        ({"only": ("web",)}, None, ConfigurationError, "'web' cannot be measured by slabs; what can is spectrum"),
        ({"only": ("webs",)}, None, ConfigurationError, "there is no statistic 'webs'"),
        ({}, 3, ConfigurationError, "there is no slab 3: 3 slabs count from 0 on"),
    ],
)
def test_what_cannot_be_asked_for_is_a_sentence(task, changes, slab, error, sentence):
    with pytest.raises(error, match=sentence):
        measure_by_slabs(task("refused", **changes), slab)


def test_a_scratch_folder_needs_slabs(cornered, tmp_path):
    call = ["measure", str(cornered), "--output", str(tmp_path / "out"), "--scratch", str(tmp_path / "mine")]
    result = CliRunner().invoke(app, call)
    assert isinstance(result.exception, ConfigurationError)
    assert "say with --slabs how many slabs" in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_slabs_too_thin_for_a_linking_length_are_refused(cornered, settings, tmp_path):
    with pytest.raises(ConfigurationError, match="200 slabs are too many for 32768 particles: take 139 or fewer"):
        measure_by_slabs(Task(cornered, tmp_path, settings.model_copy(update={"slabs": 200})))
