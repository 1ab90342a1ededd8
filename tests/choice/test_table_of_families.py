"""The table of families: every number by hand, and NaN for what a run does not have."""

import numpy as np
import pytest
from comparedfamilies import MODELS, SHARED, configured

from supercosm.choice.contenders import choice_settings, contenders, iterative, reference, regression
from supercosm.choice.table import families, gather
from supercosm.config import load_config
from supercosm.errors import DataError
from supercosm.tables import read_table


def row(table, entry):
    (found,) = table[table["entry"] == entry]
    return found


def test_the_reference_stands_first_then_what_draws_then_the_regression_and_nature(table):
    assert list(table["entry"]) == ["unet-drawn", "gan", "diff", "unet", "universes"]
    assert list(table["kind"]) == ["reference", "contender", "contender", "regression", "nature"]
    assert list(table["family"]) == ["unet", "gan", "diffusion", "unet", "nature"]


def test_what_the_power_spectrum_does_not_see_is_measured_in_units_of_the_truth(table):
    """Q: 20 and 50 % off, none where the truth has 0. Haloes: the same, none of the bin with four of them."""
    gan = row(table, "gan")
    assert gan["bispectrum"] == pytest.approx((0.2 + 0.5) / 2)
    assert gan["bispectrum_std"] == pytest.approx((0.1 / 1 + 0.1 / 2) / 2)
    assert gan["distribution"] == pytest.approx(0.1 + 0.1)
    assert gan["haloes"] == pytest.approx((0.2 + 0.5) / 2)
    assert gan["haloes_std"] == pytest.approx((0.1 / 100 + 0.1 / 20) / 2)
    assert np.isnan(row(table, "diff")["haloes"])  # of which no haloes were measured


def test_power_and_diversity_are_those_of_the_metrics(table):
    gan = row(table, "gan")
    assert (gan["P_error"], gan["P_error_std"], gan["T_error"]) == pytest.approx((0.05, 0.005, 0.03))
    assert gan["diversity"] == pytest.approx(0.1 / 0.2)
    assert gan["diversity_error"] == pytest.approx(0.5)
    assert gan["diversity_error_std"] == pytest.approx(np.hypot(0.09, 0.5 * 0.08) / 0.2)
    assert row(table, "diff")["diversity_error"] == pytest.approx(0)


def test_scores_stand_beside_those_of_the_reference(table):
    gan = row(table, "gan")
    assert [gan[f"crps_{n}"] for n in (1, 2, 4)] == pytest.approx([0.4, 0.2, 0.1])
    assert [gan[f"crps_{n}_of_reference"] for n in (1, 2, 4)] == pytest.approx([0.8] * 3)
    assert [gan[f"ratio_{n}"] for n in (1, 2, 4)] == pytest.approx([0.8, 0.9, 0.95])
    assert gan["spread_error"] == pytest.approx((0.2 + 0.1 + 0.05) / 3)
    assert gan["coverage_1"] == pytest.approx((0.1 + 0.2 + 0.3) / 3)
    assert np.isnan(gan["crps_1_of_regression"])  # its boxes are not there


def test_nature_is_the_true_runs_at_twice_the_nyquist_frequency(table):
    nature = row(table, "universes")
    assert nature["r"] == nature["twin"] == pytest.approx(0.8)
    assert (nature["crps_1"], nature["ratio_1"]) == pytest.approx((0.2, 1.0))


def test_realism_is_that_of_the_best_classifier_of_the_main_run(table):
    gan = row(table, "gan")
    assert (gan["accuracy"], gan["accuracy_std"], gan["auc"]) == pytest.approx((0.8, 0.05, 0.85))
    assert np.isnan(row(table, "diff")["accuracy"])


def test_costs_hold_the_model_that_a_training_starts_from(table):
    """61 seconds on two cores each; a sample is 2 busy seconds in one box, and 4 in the other."""
    paid = {name: row(table, name) for name in ("unet-drawn", "gan", "diff")}
    assert [paid[name]["training"].value for name in paid] == [122, 244, 122]
    assert [paid[name]["evaluations"] for name in paid] == [1, 1, 3]
    assert paid["gan"]["sampling"].value == 3
    assert paid["gan"]["memory"].value == 400
    assert paid["gan"]["parameters"] == 12345


@pytest.mark.parametrize("missing", ["haloes", "calibration_cells", "calibration_spectra", "bispectrum"])
def test_a_missing_table_leaves_its_numbers_out(results, table, missing):
    (results / "evaluation" / f"{missing}.ecsv").unlink()
    found = row(gather(configured(), results), "gan")
    own = {"haloes": "haloes", "calibration_cells": "crps_1", "calibration_spectra": "", "bispectrum": "bispectrum"}
    if own[missing]:
        assert np.isnan(found[own[missing]])
    assert found["P_error"] == row(table, "gan")["P_error"]


def test_missing_cards_and_costs_leave_their_numbers_out(results):
    (results / "costs" / "superresolved" / "gan" / "9.json").unlink()
    (results / "models" / "diff" / "model.json").unlink()
    table = gather(configured(), results)
    assert np.isnan(row(table, "gan")["sampling"].value)
    assert row(table, "gan")["evaluations"] == 1
    assert np.isnan(row(table, "diff")["evaluations"])


def test_nothing_evaluated_is_an_error_and_so_is_a_damaged_table(results, tmp_path):
    with pytest.raises(DataError, match="no table"):
        families(configured(), tmp_path / "elsewhere", tmp_path / "families.ecsv")
    (results / "evaluation" / "haloes.ecsv").write_text("entry haloes\nhigh")
    with pytest.raises(DataError, match=r"haloes\.ecsv is no whole ECSV table"):
        families(configured(), results, tmp_path / "families.ecsv")
    assert not (tmp_path / "families.ecsv").exists()


def test_a_written_table_is_read_again(results, table, tmp_path):
    families(configured(), results, tmp_path / "families.ecsv")
    again = read_table(tmp_path / "families.ecsv")
    assert again.colnames == table.colnames
    assert again["training"].unit == "s"
    assert again.meta["cell"] == pytest.approx(50 / 32)
    assert set(again.meta["columns"]) < set(again.colnames)


def test_one_family_is_no_comparison():
    only = configured(models={"unet": MODELS["unet"], "more": MODELS["unet"]}, classification={"tasks": {}})
    assert contenders(only) == []
    assert iterative(only) == []
    assert [entry.name for entry in iterative(configured())] == ["diff"]


def test_densities_slabs_and_earlier_outputs_are_left_out():
    """Beside the gan there is one family of each kind that does not count."""
    others = {
        "mesh": {"family": "vae", "fields": "density", "noise": "white", **SHARED},
        "early": {"family": "vae", "scale_factor": 0.5, **SHARED},
    }
    simulation = {"low": 16, "high": 32, "box_size": 50.0, "scale_factors": [0.5, 1.0]}
    config = configured(models={"gan": {**MODELS["gan"], "start": None}, **others}, simulation=simulation)
    assert contenders(config) == []


def test_a_regression_told_the_low_run_alone_comes_before_one_told_more():
    assert regression(configured()).name == "unet"
    plain = {"plain": {"family": "unet", **SHARED}}
    assert regression(configured(models=MODELS | plain)).name == "plain"
    assert reference(configured(models=MODELS | plain)).name == "unet-drawn"
    assert reference(configured(models={"gan": {**MODELS["gan"], "start": None}})) is None


def test_settings_hold_what_the_table_depends_on():
    config = configured()
    part = load_config(settings=choice_settings(config))
    assert [entry.name for entry in contenders(part)] == [entry.name for entry in contenders(config)]
    assert part.seeds == config.seeds
    other = configured(report={"zoom": 12.5}, evaluation={"evaluations": [3]})
    assert choice_settings(other) == choice_settings(config)
    assert choice_settings(configured(seeds={"training": [1], "validation": [2], "test": [8]})) != choice_settings(
        config
    )
