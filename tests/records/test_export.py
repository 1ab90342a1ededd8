"""An export: whole or not there, the same bytes twice, checked by sha256sum, described by RO-Crate, and private."""

import getpass
import hashlib
import json
import logging
import re
import shutil
import socket
import subprocess
import zipfile
from datetime import date
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from safetensors.numpy import save_file

from supercosm.errors import DataError
from supercosm.external_settings import External
from supercosm.records import export as module
from supercosm.records.export import export
from supercosm.records.inspect import describe
from supercosm.records.run import read_record, record_run
from supercosm.records.verdict import compare_runs


@pytest.fixture(scope="module")
def folder(kept_run, tmp_path_factory):
    """The export as a folder: do not change it."""
    output = tmp_path_factory.mktemp("export") / "paper"
    export(kept_run, output)
    return output


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_it_holds_what_a_reader_needs_and_no_more(folder, kept_run):
    found = names(folder)
    assert {"README.md", "SHA256SUMS", "ro-crate-metadata.json", "provenance/config.yaml"} <= set(found)
    assert {"provenance/environment.txt", "provenance/workflow/Snakefile", "models/gan/model.json"} <= set(found)
    tables = {path.relative_to(kept_run).as_posix() for path in kept_run.rglob("*.ecsv")}
    assert tables == {name for name in found if name.endswith(".ecsv")}
    assert not [name for name in found if name.endswith((".hdf5", ".safetensors", ".part"))]
    for name in found:
        if (kept_run / name).is_file():
            assert (folder / name).read_bytes() == (kept_run / name).read_bytes()


def test_sha256sum_accepts_the_sums_and_finds_a_change(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=copy, check=False).returncode == 0
    sums = (copy / "SHA256SUMS").read_text().splitlines()
    assert {line.split("  ")[1] for line in sums} == set(names(copy)) - {
        *("SHA256SUMS", "README.md", "ro-crate-metadata.json")
    }
    (copy / "evaluation/metrics.ecsv").write_text("changed")
    found = subprocess.run(check, cwd=copy, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "evaluation/metrics.ecsv: FAILED" in found.stdout


def test_a_zip_file_has_the_same_bytes_twice_and_the_content_of_the_folder(folder, kept_run, tmp_path):
    moved = shutil.copytree(kept_run, tmp_path / "elsewhere" / "renamed")
    for source, name in ((kept_run, "a.zip"), (moved, "b.zip")):
        export(source, tmp_path / name)
    first, second = ((tmp_path / name).read_bytes() for name in ("a.zip", "b.zip"))
    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(second).hexdigest()
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        assert file.testzip() is None
        assert file.namelist() == names(folder)
        for name in file.namelist():
            assert file.read(name) == (folder / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip", "elsewhere"]


def test_nothing_names_this_machine(folder, kept_run):
    user = getpass.getuser()
    places = [kept_run, kept_run.parent, folder.parent, Path(__file__).parents[2], f"/home/{user}", f"/{user}/"]
    words = [re.escape(str(place)) for place in places]
    words += [rf"(?<![\w.-]){re.escape(name)}(?![\w.-])" for name in (socket.gethostname(), f"{user}@")]
    for name in names(folder):
        found = re.search("|".join(words).encode(), (folder / name).read_bytes())
        assert found is None, f"{name}: {found}"


def test_the_metadata_are_a_valid_crate(folder):
    """The rules of https://w3id.org/ro/crate/1.1: descriptor, root, files, references, workflow."""
    document = json.loads((folder / "ro-crate-metadata.json").read_text())
    assert document["@context"] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in document["@graph"]}
    assert len(entities) == len(document["@graph"])
    descriptor, root = entities["ro-crate-metadata.json"], entities["./"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["@type"] == "Dataset"
    assert root["name"]
    assert root["description"]
    assert root["license"]
    date.fromisoformat(root["datePublished"])
    parts = [part["@id"] for part in root["hasPart"]]
    assert sorted(map(unquote, parts)) == [name for name in names(folder) if name != "ro-crate-metadata.json"]
    for part in parts:
        entity = entities[part]
        assert "File" in entity["@type"]
        assert entity["encodingFormat"]
        assert int(entity["contentSize"]) == (folder / unquote(part)).stat().st_size
    for link in links(document["@graph"]):
        assert link in entities or link == "https://w3id.org/ro/crate/1.1", link
    workflow = entities[root["mainEntity"]["@id"]]
    assert workflow["@type"] == ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
    language = entities[workflow["programmingLanguage"]["@id"]]
    assert re.match(r"\d+\.\d+", language["version"])
    assert language["name"]
    assert language["url"]
    action = entities[root["mentions"]["@id"]]
    assert (action["@type"], action["object"]) == ("CreateAction", {"@id": "provenance/config.yaml"})
    assert {"@id": "evaluation/metrics.ecsv"} in action["result"]
    assert "author" not in root


def links(value):
    """Yield what other entities are referred to."""
    if isinstance(value, list):
        for entry in value:
            yield from links(entry)
    elif isinstance(value, dict):
        if set(value) == {"@id"}:
            yield value["@id"]
        for entry in value.values():
            yield from links(entry)


def test_an_export_can_be_inspected_and_compared(folder, kept_run):
    assert describe(folder).kind == "results of a run"
    assert describe(folder).facts["name"] == "synthetic"
    comparison = compare_runs(folder, kept_run)
    assert comparison.agrees
    assert {file.status for file in comparison.files} == {"identical", "new"}


def test_a_zip_file_can_be_inspected_and_a_change_in_it_is_found(folder, kept_run, tmp_path):
    export(kept_run, tmp_path / "paper.zip")
    found = describe(tmp_path / "paper.zip")
    assert (found.kind, found.facts["files"]) == ("exported run", len(names(folder)))
    assert found.facts["files_whose_sha256_agrees"] == len(names(folder)) - 3
    with zipfile.ZipFile(tmp_path / "paper.zip") as old, zipfile.ZipFile(tmp_path / "other.zip", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"changed" if name == "evaluation/cost.ecsv" else old.read(name))
    with pytest.raises(DataError, match=r"evaluation/cost.ecsv is not what it was"):
        describe(tmp_path / "other.zip")
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as file:
        file.writestr("letter.txt", "Dear colleague")
    with pytest.raises(DataError, match="no exported run"):
        describe(tmp_path / "mine.zip")


@pytest.mark.parametrize("fault", ["encrypted", "compression", "graph", "bomb"])
def test_zip_files_of_any_content_are_one_sentence(tmp_path, fault):
    path = tmp_path / "mine.zip"
    sums = b"0" * (17 << 20) if fault == "bomb" else b""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("SHA256SUMS", sums)
        file.writestr("ro-crate-metadata.json", "[]")
    data = bytearray(path.read_bytes())
    for place in [match.start() for match in re.finditer(b"PK\x01\x02", data)]:
        if fault == "encrypted":
            data[place + 8] |= 1
        if fault == "compression":
            data[place + 10] = 97
    path.write_bytes(data)
    with pytest.raises(DataError, match="no exported run" if fault != "bomb" else "too many"):
        describe(path)


def test_an_export_does_not_tell_where_own_snapshots_lie(results, tmp_path):
    record = read_record(results)
    own = {"low": "/disk/me/run{seed}/low", "high": "../high{seed:03d}/snap"}
    simulation = record.config.simulation.model_copy(update={"external": External(**own)})
    audit = record.config.audit.model_copy(update={"few_steps": [], "universes": 0, "shifts": []})
    config = record.config.model_copy(update={"simulation": simulation, "audit": audit})
    record_run(config, results)
    table = results / "evaluation/metrics.ecsv"
    table.write_text(table.read_text() + f"# of /disk/me/run{config.seeds.test[0]}/low\n")
    export(results, tmp_path / "paper")
    assert "/disk/me" in (results / "provenance/config.yaml").read_text()
    for name in names(tmp_path / "paper"):
        assert b"/disk/me" not in (tmp_path / "paper" / name).read_bytes()
    found = read_record(tmp_path / "paper").config.simulation.external
    assert (found.low, found.high) == ("run{seed}/low", own["high"])
    assert f"# of run{config.seeds.test[0]}/low" in (tmp_path / "paper/evaluation/metrics.ecsv").read_text()
    assert not [note for note in compare_runs(results, tmp_path / "paper").notes if "Configurations" in note]


def test_weights_come_along_when_asked_for(results, tmp_path):
    save_file({"w": np.zeros(3, np.float32)}, results / "models/unet/model.safetensors")
    export(results, tmp_path / "without")
    export(results, tmp_path / "with", weights=True)
    assert set(names(tmp_path / "with")) - set(names(tmp_path / "without")) == {"models/unet/model.safetensors"}


def test_a_text_that_names_a_place_on_this_machine_is_refused(results, tmp_path, command):
    table = results / "evaluation/metrics.ecsv"
    table.write_text(table.read_text() + f"# made in {results}\n")
    for name in ("paper.zip", "paper"):
        code, _, said = command("export", results, "--output", tmp_path / "out" / name)
        assert code == 1
        assert "evaluation/metrics.ecsv names" in said
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_left_alone_and_a_failure_leaves_nothing(results, tmp_path, monkeypatch):
    (tmp_path / "out/paper").mkdir(parents=True)
    with pytest.raises(DataError, match="there already"):
        export(results, tmp_path / "out/paper")
    assert list((tmp_path / "out/paper").iterdir()) == []
    real, calls = module.whole, []

    def full(path):
        calls.append(path)
        if len(calls) == 5:
            raise DataError("the disk is full")
        return real(path)

    monkeypatch.setattr(module, "whole", full)
    with pytest.raises(DataError, match="full"):
        export(results, tmp_path / "out/other")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["paper"]


def test_a_run_that_is_not_finished_says_so(results, tmp_path, caplog):
    (results / "evaluation/metrics.ecsv").unlink()
    with caplog.at_level(logging.WARNING, "supercosm"):
        export(results, tmp_path / "paper")
    assert "not finished" in caplog.text
    for table in results.rglob("*.ecsv"):
        table.unlink()
    with pytest.raises(DataError, match="no table"):
        export(results, tmp_path / "more")


def test_a_folder_without_a_record_is_refused(tmp_path, command):
    code, _, said = command("export", tmp_path, "--output", tmp_path / "x.zip")
    assert code == 1
    assert "no record of a run" in said
    assert list(tmp_path.iterdir()) == []
