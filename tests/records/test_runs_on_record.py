"""The record of a run: whole, free of this machine's paths, and honest about who worked on the results."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from supercosm.config import check, load_config
from supercosm.errors import DataError
from supercosm.records import environment, run

ROOT = Path(__file__).parents[2]
CONFIG = check({"name": "kept", "simulation": {"box_size": 50.0}, "models": {"unet": {"family": "unet"}}})


@pytest.fixture
def folder(tmp_path):
    run.record_run(CONFIG, tmp_path / "kept", ROOT)
    return tmp_path / "kept"


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_record_gives_the_configuration_back(folder):
    record = run.read_record(folder)
    assert record.config == CONFIG
    assert yaml.safe_load((folder / "provenance/config.yaml").read_text())["simulation"]["box_size"] == 50.0
    assert record.digest == run.Record(folder, load_config([folder / "provenance/config.yaml"]), [{}]).digest
    other = CONFIG.model_copy(update={"name": "other"})
    assert run.Record(folder, other, [{}]).digest != record.digest


def test_a_second_start_changes_nothing_and_another_environment_is_added(folder, monkeypatch):
    before = content(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    run.record_run(CONFIG, folder, ROOT)
    assert content(folder) == before
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    first = environment.environment()
    monkeypatch.setattr(run, "environment", lambda: {**first, "torch": "99", "date": "2099-01-01"})
    run.record_run(CONFIG, folder, ROOT)
    run.record_run(CONFIG, folder, ROOT)
    assert [entry["torch"] for entry in run.read_record(folder).environments] == [first["torch"], "99"]
    assert run.read_record(folder).latest["date"] == "2099-01-01"


def test_the_workflow_is_kept_and_rules_of_an_earlier_one_go(folder):
    kept = folder / "provenance/workflow"
    for name in ("Snakefile", "workflow/rules/train.smk", "profiles/default/profile.yaml"):
        assert (kept / name).read_bytes() == (ROOT / name).read_bytes()
    (kept / "workflow/rules/old.smk").write_text("rule old:\n")
    run.record_run(CONFIG, folder, ROOT)
    assert not (kept / "workflow/rules/old.smk").exists()
    assert (kept / "workflow/rules/train.smk").exists()


def test_a_record_names_no_place_on_this_machine(folder):
    for name, data in content(folder).items():
        for place in (str(folder), str(ROOT), str(Path.home())):
            assert not re.search(rf"(?<![\w.]){re.escape(place)}(?![\w.-])".encode(), data), name


def test_packages_are_those_that_are_installed(folder):
    lines = (folder / "provenance/environment.txt").read_text().split()
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0])
    frozen = subprocess.run([sys.executable, "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    installed = {re.sub(r"[-_.]+", "-", p["name"].lower()): p["version"] for p in json.loads(frozen.stdout)}
    for line in lines:
        name, version = line.split("==")
        assert installed[name] == version
    names = {line.partition("==")[0] for line in lines}
    # needed by needs (sympy of torch), by an extra (pygments of snakemake[reports]); pytest is of the tests alone
    assert {"supercosm", "torch", "sympy", "pygments", "numpy"} <= names
    assert "pytest" not in names


@pytest.mark.parametrize("name", ["config.yaml", "environment.json"])
def test_a_record_that_lacks_a_part_is_refused(folder, name):
    (folder / "provenance" / name).unlink()
    with pytest.raises(DataError, match=name):
        run.read_record(folder)


def test_what_is_unknown_or_not_committed_differs_from_itself():
    known = {"date": "2026-01-01", "commit": "abc", "torch": "2"}
    assert run.differences(known, {**known, "date": "2027-01-01"}) == {}
    assert run.differences(known, {**known, "torch": "3"}) == {"torch": ("2", "3")}
    for commit in ("unknown", "abc+changes"):
        assert set(run.differences({"commit": commit}, {"commit": commit})) == {"commit"}


def test_the_workflow_in_the_record_serves_where_the_package_is_no_source_tree(folder, tmp_path, monkeypatch):
    record = run.read_record(folder)
    assert run.workflow_source(record) == ROOT
    monkeypatch.setattr(run, "__file__", str(tmp_path / "lib/site-packages/supercosm/records/run.py"))
    assert run.workflow_source(record) == folder / "provenance/workflow"
    (folder / "provenance/workflow/Snakefile").unlink()
    with pytest.raises(DataError, match="keeps no workflow"):
        run.workflow_source(record)
