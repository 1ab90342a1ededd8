"""Running a recorded configuration again: where, with what, and what is refused; tests/workflow does it for real."""

import json
import logging

import pytest

from supercosm.config import check, load_config
from supercosm.errors import DataError
from supercosm.files import write_json
from supercosm.records import run
from supercosm.records.places import anchored, working_folder
from supercosm.records.reproduce import reproduce

OWN = {
    "simulation": {"external": {"low": "data/{seed}/low", "high": "/disk/me/run{seed}/high"}},
    "audit": {"few_steps": [], "universes": 0, "shifts": []},
}


def test_the_recorded_configuration_runs_in_a_folder_of_its_own(kept_run, tmp_path, capfd):
    place = tmp_path / "again"
    found = reproduce(kept_run, place, ["--dry-run"])
    assert found == place / "results" / "synthetic"
    assert load_config([place / "config/config.yaml"]) == run.read_record(kept_run).config
    printed = capfd.readouterr()
    assert printed.out == ""
    planned = printed.err
    assert "output: results/synthetic/models/gan/model.safetensors" in planned
    assert "results/synthetic/simulations/9/low.hdf5" in planned
    assert not found.exists()
    assert reproduce(kept_run, place, ["--dry-run"]) == found  # as after a kill: the same folder, the same command


def test_the_default_folder_lies_beside_the_results(results):
    assert reproduce(results, None, ["--dry-run"]) == results.parent / "synthetic-again" / "results" / "synthetic"


def test_relative_paths_of_own_snapshots_are_those_of_the_first_run(tmp_path):
    config = check(OWN)
    work = tmp_path / "work {1}"
    found = anchored(config, working_folder(work / "results" / config.name)).simulation.external
    assert found.path("low", 3, 0) == work / "data/3/low"
    assert str(found.path("high", 3, 0)) == "/disk/me/run3/high"
    assert anchored(check({}), tmp_path) == check({})
    assert working_folder(tmp_path / "paper") == tmp_path / "paper"


def test_a_folder_that_holds_something_else_is_refused(kept_run, tmp_path):
    (tmp_path / "letter.txt").write_text("Dear colleague,\n")
    with pytest.raises(DataError, match="holds something already"):
        reproduce(kept_run, tmp_path)
    (tmp_path / "other/config").mkdir(parents=True)
    (tmp_path / "other/config/config.yaml").write_text("name: other\n")
    with pytest.raises(DataError, match="another configuration"):
        reproduce(kept_run, tmp_path / "other")


def test_a_workflow_that_fails_is_one_sentence(kept_run, tmp_path, command):
    code, out, said = command("reproduce", kept_run, "--output", tmp_path / "again", "--", "--no-such-option")
    assert (code, out) == (1, "")
    assert said.splitlines()[-1].startswith("supercosm: the workflow stopped with exit code")


def test_what_has_changed_since_is_said_first(results, tmp_path, caplog):
    path = results / run.FOLDER / run.ENVIRONMENTS
    write_json(path, [json.loads(path.read_text())[-1] | {"torch": "1.0", "commit": "abc"}])
    with caplog.at_level(logging.WARNING, "supercosm"):
        reproduce(results, tmp_path / "again", ["--dry-run"])
    assert "torch: 1.0 was recorded, here it is" in caplog.text
    assert "commit: abc was recorded" in caplog.text


def test_a_folder_without_a_record_is_refused(tmp_path):
    with pytest.raises(DataError, match="no record of a run"):
        reproduce(tmp_path)
