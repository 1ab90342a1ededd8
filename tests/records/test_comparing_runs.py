"""Two runs compared: equal numbers agree whatever their files look like, and every kind of change is found."""

import json
import shutil

import h5py
import numpy as np
import pytest
from astropy.table import QTable
from safetensors.numpy import save_file

from supercosm.errors import DataError
from supercosm.files import hdf5_writer, write_json
from supercosm.fitsfile import write_slab
from supercosm.records.differences import NEVER, difference, kind_of, relative
from supercosm.records.inspect import describe
from supercosm.records.run import ENVIRONMENTS, FOLDER
from supercosm.records.verdict import compare_runs
from supercosm.tables import DENSITY_POWER, read_table, write_table

CARD = {"name": "unet", "scales": {"low": [1.0, 2.0]}, "training_seconds": 9.0, "provenance": {"commit": "a"}}


@pytest.fixture
def pair(results, tmp_path):
    """Two equal results folders."""
    return results, shutil.copytree(results, tmp_path / "again" / results.name)


def change_table(path, column="P", factor=1.001):
    table = read_table(path)
    table[column] = table[column] * factor
    write_table(path, table)


def test_equal_runs_agree_and_the_exit_code_says_so(pair, command):
    code, printed, _ = command("compare-runs", *pair, "--json")
    found = json.loads(printed)
    assert (code, found["agrees"], found["tolerance"]) == (0, True, 0.0)
    statuses = {file["status"] for file in found["files"]}
    assert statuses == {"identical"}
    names = {file["file"] for file in found["files"]}
    assert {"evaluation/metrics.ecsv", "simulations/8/high.hdf5", "models/unet/model.json"} <= names
    assert not any(name.startswith(("costs/", "provenance/", "benchmarks/")) for name in names)
    assert "the same: of" in command("compare-runs", *pair)[1]


def test_a_changed_a_lost_and_a_new_file_are_found(pair, command):
    first, second = pair
    change_table(second / "statistics/unet/8/spectrum.ecsv")
    (second / "comparisons/gan/9.ecsv").unlink()
    shutil.copy(second / "comparisons/gan/8.ecsv", second / "comparisons/gan/10.ecsv")
    code, printed, said = command("compare-runs", first, second, "--json")
    files = {file["file"]: file for file in json.loads(printed)["files"] if file["status"] != "identical"}
    assert code == 1
    assert "1 different, 1 missing, 1 new" in said
    changed = files.pop("statistics/unet/8/spectrum.ecsv")
    assert (changed["status"], changed["where"]) == ("different", "P")
    assert changed["difference"] == pytest.approx(0.001 / 1.001, rel=1e-3)
    assert {name: file["status"] for name, file in files.items()} == {
        "comparisons/gan/9.ecsv": "missing",
        "comparisons/gan/10.ecsv": "new",
    }
    shown = command("compare-runs", first, second)[1].splitlines()
    assert next(line for line in shown if "spectrum.ecsv" in line).split()[1:] == ["different", "0.000999001", "P"]


def test_a_tolerance_makes_a_small_change_pass(pair, command):
    first, second = pair
    change_table(second / "statistics/unet/8/spectrum.ecsv")
    assert command("compare-runs", first, second, "--tolerance", "0.0009")[0] == 1
    code, printed, _ = command("compare-runs", first, second, "--tolerance", "0.0011")
    assert code == 0
    assert "within tolerance" in printed


def test_other_libraries_are_named_and_allow_rounding(pair, command):
    first, second = pair
    for folder, torch in ((first, "2.11.0"), (second, "2.12.0")):
        here = json.loads((folder / FOLDER / ENVIRONMENTS).read_text())[-1]
        write_json(folder / FOLDER / ENVIRONMENTS, [here | {"torch": torch, "commit": "abc"}])
    change_table(second / "evaluation/spectra.ecsv", "density_P")
    comparison = compare_runs(first, second)
    assert comparison.tolerance == 0.01
    assert comparison.agrees
    assert "torch: 2.11.0 in the first run, 2.12.0 in the second" in comparison.notes
    assert [file.file for file in comparison.of("within tolerance")] == ["evaluation/spectra.ecsv"]
    card = second / "models/unet/model.json"
    write_json(card, json.loads(card.read_text()) | {"provenance": {"device": "cuda"}})
    assert any(note.startswith("device: ") and "cuda" in note for note in compare_runs(first, second).notes)


def test_no_difference_is_allowed_between_equal_circumstances(pair):
    first, second = pair
    for folder in pair:
        here = json.loads((folder / FOLDER / ENVIRONMENTS).read_text())[-1]
        write_json(folder / FOLDER / ENVIRONMENTS, [here | {"commit": "abc"}])
    change_table(second / "evaluation/spectra.ecsv", "density_P", 1 + 1e-9)
    comparison = compare_runs(first, second)
    assert comparison.tolerance == 0
    assert [file.file for file in comparison.of("different")] == ["evaluation/spectra.ecsv"]
    assert "Version, commit, libraries, processor and device are the same." in comparison.notes


@pytest.mark.parametrize("column", ["seconds", "training", "data", "box", "memory", "saving", "break_even"])
def test_times_and_memory_are_not_compared(pair, column):
    first, second = pair
    change_table(second / "evaluation/cost.ecsv", column, 3.0)
    assert difference(first / "evaluation/cost.ecsv", second / "evaluation/cost.ecsv", "evaluation/cost.ecsv").size == 0
    assert difference(first / "evaluation/cost.ecsv", second / "evaluation/cost.ecsv", "compression/box.ecsv").size > 0


def test_a_working_folder_of_one_run_stands_for_it(pair):
    first, second = pair
    assert compare_runs(first.parents[1], second).agrees
    assert describe(first.parents[1]) == describe(first)
    shutil.copytree(first / "evaluation", first.parent / "other" / "evaluation")
    shutil.copytree(first / "models", first.parent / "other" / "models")
    with pytest.raises(DataError, match="several runs: other, synthetic"):
        compare_runs(first.parents[1], second)


def test_what_is_no_pair_of_runs_is_refused(pair, tmp_path):
    first, _ = pair
    (tmp_path / "empty").mkdir()
    for second, words in ((first, "one folder"), (tmp_path / "none", "no folder"), (tmp_path / "empty", "in common")):
        with pytest.raises(DataError, match=words):
            compare_runs(first, second)


def write_weights(path, value):
    save_file({"weight": np.array([1.0, 2.0, value], np.float32)}, path)


def write_hdf5(path, value):
    with hdf5_writer(path) as file:
        file.create_dataset("x", data=np.array([1.0, 2.0, value]), fletcher32=True, chunks=True)
        file.attrs["when"] = value


def write_ecsv(path, value):
    table = QTable({"k": [1.0, 2.0], "P": [3.0, value] * DENSITY_POWER, "name": ["a", "b"]})
    write_table(path, table)


def write_image(path, value):
    write_slab(path, np.arange(8, dtype=np.float32).reshape(2, 2, 2) * np.float32(value), 1.0, 0.5, 1.0)


def write_card(path, value):
    write_json(path, CARD | {"scales": {"low": [1.0, value]}})


def write_history(path, value):
    path.write_text(f"step,seconds,train_loss\n1,{value},0.5\n2,3.0,{value}\n")


WRITERS = {
    "x.hdf5": write_hdf5,
    "x.ecsv": write_ecsv,
    "x.fits": write_image,
    "models/a/model.safetensors": write_weights,
    "models/a/model.json": write_card,
    "models/a/history.csv": write_history,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_is_compared_by_its_numbers(tmp_path, name):
    one, other = (tmp_path / folder / name for folder in "ab")
    for path, value in ((one, 4.0), (other, 4.0)):
        path.parent.mkdir(parents=True)
        WRITERS[name](path, value)
    assert difference(one, other, name).size == 0
    WRITERS[name](other, 4.04)
    assert 0.005 < difference(one, other, name).size < 0.04


def test_run_dependent_keys_of_cards_and_histories_are_left_out(tmp_path):
    one, other = tmp_path / "a.json", tmp_path / "b.json"
    write_json(one, CARD)
    write_json(other, CARD | {"training_seconds": 5.0, "provenance": {"commit": "b"}})
    assert difference(one, other, "models/unet/model.json").size == 0
    write_json(other, CARD | {"name": "gan"})
    found = difference(one, other, "models/unet/model.json")
    assert (found.size, found.where) == (NEVER, "name")
    write_json(other, {key: value for key, value in CARD.items() if key != "scales"})
    assert "scales.low.0" in difference(one, other, "models/unet/model.json").where


def test_particles_that_cross_the_face_of_the_box_have_not_moved_far(tmp_path):
    for name, positions in (("a", [[0.1, 5, 5], [9.9, 5, 5]]), ("b", [[0.1, 5, 5], [0.1, 5, 5]])):
        with h5py.File(tmp_path / name, "w") as file:
            file.create_group("Header").attrs["BoxSize"] = 10.0
            file["PartType1/Coordinates"] = np.array(positions)
    assert difference(tmp_path / "a", tmp_path / "b", "s.hdf5").size < 0.05


def test_relative_differences():
    a = np.array([100.0, 1.0, 0.0])
    assert relative(a, a.copy()) == 0
    assert relative(a, np.add(a, [1, 0, 0])) == pytest.approx(1 / 101)
    assert relative(a, np.add(a, [0, 0, 0.1])) == pytest.approx(0.1)  # of the median, which is 1
    assert relative(np.zeros(3), np.array([0, 0, 1e-9])) == 1
    assert relative(np.array([np.nan, 1.0]), np.array([np.nan, 1.0])) == 0
    for other in (np.array([1.0, np.nan]), np.array([np.nan, 1.0, 1.0]), np.array(["x", "y"])):
        assert relative(np.array([np.nan, 1.0]), other) == NEVER
    assert relative(np.array(["a"]), np.array(["b"])) == NEVER
    assert kind_of("models/unet/model.json") == "model.json"
    assert kind_of("costs/simulate/1.json") is None
