"""Tables of several boxes side by side: means and scatters that are known, and boxes that do not match."""

import numpy as np
import pytest
from astropy.table import QTable

from supercosm.config import check
from supercosm.errors import DataError
from supercosm.stages import tables_of
from supercosm.summarise import combine, summarise
from supercosm.tables import LENGTH, WAVE_NUMBER, read_table, write_table

pytestmark = pytest.mark.filterwarnings("error")


def table(entry, seed, values, radii=(2.0, 4.0), **more):
    found = QTable({"radius": np.array(radii) * LENGTH, "xi": np.array(values, float), **more})
    found.meta = {"statistic": "moments", "axis": ["radius"], "entry": entry, "seed": seed}
    return found


def test_boxes_are_averaged_row_by_row():
    """(1, 3, 8) have mean 4 and, between three boxes, variance (9 + 1 + 16)/2 = 13."""
    found = combine([table("unet", seed, [value, 10 * value]) for seed, value in ((1, 1), (2, 3), (3, 8))])
    assert found.colnames == ["entry", "boxes", "radius", "xi", "xi_std"]
    assert found["entry"].tolist() == ["unet", "unet"]
    assert found["boxes"].tolist() == [3, 3]
    assert found["radius"].value.tolist() == [2, 4]
    assert found["xi"].tolist() == [4, 40]
    assert found["xi_std"] == pytest.approx([np.sqrt(13), 10 * np.sqrt(13)])


def test_one_box_has_no_scatter():
    found = combine([table("unet", 1, [1, 2])])
    assert found["xi"].tolist() == [1, 2]
    assert np.isnan(found["xi_std"]).all()


def test_missing_values_are_left_out_of_mean_and_scatter():
    nan = np.nan
    boxes = [table("unet", seed, values) for seed, values in ((1, [nan, nan]), (2, [2, nan]), (3, [4, 7]))]
    found = combine(boxes)
    assert found["xi"].tolist() == [3, 7]
    assert found["xi_std"][0] == pytest.approx(np.sqrt(2))
    assert np.isnan(found["xi_std"][1])  # one value
    found = combine(boxes[:1])
    assert np.isnan(found["xi"]).all()


def test_entries_stand_below_each_other_in_the_order_they_came():
    found = combine([table("unet", 1, [1, 2]), table("gan", 1, [5, 6]), table("unet", 2, [3, 4])])
    assert found["entry"].tolist() == ["unet", "unet", "gan", "gan"]
    assert found["boxes"].tolist() == [2, 2, 1, 1]
    assert found["xi"].tolist() == [2, 3, 5, 6]
    assert found.meta == {"statistic": "moments", "axis": ["radius"]}  # entry and seed are no longer one


def test_entries_may_have_different_rows():
    found = combine([table("high", 1, [1, 2]), table("low", 1, [3], radii=[4.0])])
    assert found["radius"].value.tolist() == [2, 4, 4]


def test_scatter_beside_the_truth_is_that_of_the_difference():
    """Boxes 1, 3 and 8 of the truth scatter by √13; a model that is 1, 1 and 4 too high errs by no more than √3."""
    truth = [table("high", seed, [value, 0]) for seed, value in ((1, 1), (2, 3), (3, 8))]
    model = [table("unet", seed, [value, seed]) for seed, value in ((3, 12), (1, 2), (2, 4))]  # in any order
    found = combine(truth + model)
    assert found.colnames == ["entry", "boxes", "radius", "xi", "xi_std", "xi_paired"]
    assert found["xi_paired"] == pytest.approx([0, 0, np.sqrt(3), 1])
    assert found["xi_std"][[0, 2]] == pytest.approx([np.sqrt(13), np.sqrt(28)])
    assert "xi_paired" not in combine(model).colnames
    found = combine(truth[:1] + model)  # the difference is known of one box alone
    assert np.isnan(found["xi_paired"]).all()


def test_the_truth_is_that_of_the_same_time():
    boxes = [table("high", 1, [1, 1]), table("high_a0.5000", 1, [5, 5]), table("unet", 1, [7, 7])]
    boxes += [table("high", 2, [1, 1]), table("high_a0.5000", 2, [8, 8]), table("unet", 2, [10, 10])]
    for box in boxes:
        box.meta["scale_factor"] = 1.0 if box.meta["entry"] == "high" else 0.5
    found = combine(boxes)
    assert found["entry"].tolist()[::2] == ["high", "high_a0.5000", "unet"]
    assert found["xi_paired"].tolist()[::2] == [0, 0, 0]  # 7 − 5 and 10 − 8


def test_units_stay():
    first, second = (table("unet", seed, [seed, seed], depth=[seed, 2] * LENGTH) for seed in (1, 3))
    found = combine([first, second])
    assert found["radius"].unit == found["depth"].unit == found["depth_std"].unit == LENGTH
    assert found["depth"].value.tolist() == [2, 2]
    assert found["depth_std"].value == pytest.approx([np.sqrt(2), 0])


def test_what_names_a_row_may_differ_a_little():
    found = combine([table("unet", 1, [1, 2], radii=(2.0, 4.0)), table("unet", 2, [1, 2], radii=(2.1, 4.0))])
    assert found["radius"].value == pytest.approx([2.05, 4])
    assert found.colnames == ["entry", "boxes", "radius", "xi", "xi_std"]


def test_names_are_kept_as_they_are():
    boxes = []
    for seed in (1, 2):
        boxes.append(QTable({"environment": ["void", "knot"], "volume": [0.5 * seed, 0.1]}))
        boxes[-1].meta = {"axis": ["environment"], "entry": "unet", "seed": seed}
    found = combine(boxes)
    assert found["environment"].tolist() == ["void", "knot"]
    assert found["volume"].tolist() == [0.75, 0.1]
    boxes[1]["environment"] = ["knot", "void"]
    with pytest.raises(DataError, match="the boxes of entry 'unet' were measured differently"):
        combine(boxes)


@pytest.mark.parametrize(
    "other",
    [
        table("unet", 2, [1, 2, 3], radii=(2.0, 4.0, 8.0)),
        table("unet", 2, [1, 2], radii=(2.0, 8.0)),
        table("unet", 2, [1, 2], count=[1, 2]),
    ],
)
def test_rows_that_do_not_match_are_refused(other):
    with pytest.raises(DataError, match="the boxes of entry 'unet' were measured differently; measure them again"):
        combine([table("unet", 1, [1, 2]), other])


def test_tables_without_a_name_are_refused():
    foreign = table("unet", 1, [1, 2])
    del foreign.meta["seed"], foreign.meta["axis"]
    with pytest.raises(DataError, match="a table lacks seed, axis in its header"):
        combine([foreign])
    with pytest.raises(DataError, match="nothing to combine"):
        combine([])


@pytest.fixture
def results(tmp_path):
    """A configuration and the tables it asks for, each with the seed as its value."""
    config = check(
        {
            "seeds": {"training": [1], "validation": [2], "test": [8, 9]},
            "simulation": {"low": 16, "high": 32},
            "models": {"gan": {"family": "gan", "noise": "white", "training": {"crop": 16, "margin": 2}}},
        }
    )
    for paths in tables_of(config, tmp_path).values():
        for path in paths:
            entry, seed = path.parent.parent.name, path.parent.name
            found = QTable({"k": np.array([0.1, 0.2]) * WAVE_NUMBER, "value": np.full(2, float(seed))})
            found.meta = {"axis": ["k"], "entry": entry, "seed": seed}
            write_table(path, found)
    return config, tmp_path


def test_every_statistic_of_a_run_is_summarised(results):
    config, folder = results
    summarise(config, folder, folder / "evaluation")
    names = {path.stem for path in (folder / "evaluation").iterdir()}
    assert names == set(tables_of(config, folder))
    assert {"spectrum", "haloes", "environment", "halomass", "calibration_cells"} <= names
    entries = {"spectrum": ["high", "low", "linear", "gan"], "halomass": ["low", "linear", "gan"]}
    for name, expected in (entries | {"calibration_spectra": ["gan"]}).items():
        found = read_table(folder / "evaluation" / f"{name}.ecsv")
        assert list(dict.fromkeys(found["entry"])) == expected
        assert np.all(found["value"] == 8.5)
        assert np.allclose(found["value_std"], np.sqrt(0.5))
        assert found["k"].unit == WAVE_NUMBER


def test_a_missing_table_is_named(results):
    config, folder = results
    (folder / "statistics" / "low" / "9" / "haloes.ecsv").unlink()
    with pytest.raises(DataError, match=r"there is no table .*low/9/haloes\.ecsv"):
        summarise(config, folder, folder / "evaluation")
