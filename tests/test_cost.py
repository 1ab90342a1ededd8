"""Cost beside accuracy."""

import numpy as np
import pytest
from astropy.table import QTable
from synthetic_results import configuration

from supercosm.cost import QUALITY, Way, cost, tabulate
from supercosm.errors import DataError
from supercosm.tables import read_table


def metrics(**errors):
    table = QTable({"entry": list(errors)})
    for quality in QUALITY:
        table[f"density_{quality}"] = list(errors.values())
        table[f"density_{quality}_std"] = [0.01] * len(errors)
    return table


def test_break_even_counts_training_and_its_data():
    """Boxes of 100 s by simulation and 20 s by the model, 4000 + 1000 s before: 80 s saved each, 62.5 boxes."""
    ways = [
        Way("high", "simulation", 100.0, 50.0, 900.0),
        Way("steps3", "few steps", 10.0, 5.0, 900.0),
        Way("unet", "model", 20.0, 10.0, 500.0, training=4000.0, data=1000.0, parameters=7),
        Way("slow", "model", 120.0, 10.0, 500.0, training=4000.0, data=1000.0, parameters=7),
    ]
    table = tabulate(ways, metrics(steps3=0.2, unet=0.1, slow=0.05))
    assert list(table["break_even"]) == [1, 1, 63, np.inf]
    assert table["saving"] == pytest.approx([1, 10, 5, 100 / 120])
    assert list(table["density_T_error_double"]) == [0, 0.2, 0.1, 0.05]
    assert table["density_r_double"][0] == 1


def test_a_run_is_gathered(finished_run):
    """Training of 61 s on 2 cores; three samples of 1 busy second each, and their low run."""
    folder = finished_run[1]
    table = read_table(folder / "evaluation" / "cost.ecsv")
    rows = {row["entry"]: row for row in table}
    assert list(rows) == ["high", "steps2", "low", "linear", "unet", "gan"]
    assert rows["gan"]["training"].value == 122
    assert rows["gan"]["parameters"] == 12345
    assert rows["gan"]["box"] == rows["low"]["box"]  # both are a low run and one second
    assert rows["gan"]["box"].value > 1
    assert rows["unet"]["data"].value > 0
    assert rows["low"]["training"].value == rows["low"]["data"].value == 0
    assert table["saving"] == pytest.approx(rows["high"]["box"].value / table["box"].value)


def test_a_missing_cost_file_is_named(finished_run, tmp_path):
    config = configuration(seeds={"training": [1], "validation": [2], "test": [8, 9, 10]})
    with pytest.raises(DataError, match=r"10\.json.*--cost"):
        cost(config, finished_run[1], tmp_path / "cost.ecsv")
    assert not (tmp_path / "cost.ecsv").exists()
