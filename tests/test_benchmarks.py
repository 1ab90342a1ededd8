"""Benchmarks that apply models run from end to end, with tiny sizes."""

import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from learning import TEST_SEED, random_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """Return a function that imports a benchmark by name."""
    monkeypatch.syspath_prepend(BENCHMARKS)

    def load(name):
        monkeypatch.delitem(sys.modules, name, raising=False)
        return __import__(name)

    return load


def test_consistency(benchmark, boxes, tmp_path):
    random_model(boxes, tmp_path / "model", noise="white")
    folder = boxes.snapshot(TEST_SEED, "low").parent
    words = ["--model", tmp_path / "model", "--simulation", folder, "--output", tmp_path / "out.ecsv"]
    benchmark("consistency").main([str(word) for word in words])
    low, off, on = Table.read(tmp_path / "out.ecsv")
    assert [row["model"] for row in (low, off, on)] == ["low", "model", "model"]
    for column in ("r_displacement_half", "T_displacement_half", "r_velocity_half", "T_velocity_half"):
        assert on[column] == pytest.approx(low[column], abs=2e-4)
        assert off[column] != pytest.approx(low[column], abs=2e-4)


def test_progressive(benchmark, tmp_path):
    sizes = "--low 8 --box 25 --steps 4 --training 1 --validation 2 --test 3 --channels 4 --crop 16 --probe 2"
    words = [*sizes.split(), "--seconds", "0.3", "--at", "0.5", "3.5", "7", "--output", str(tmp_path / "out.ecsv")]
    benchmark("progressive").main(words)
    table = Table.read(tmp_path / "out.ecsv")
    assert list(dict.fromkeys(table["way"])) == ["2 × 2", "direct", "up-sampled", "2 × 2 × 2"]
    assert len(table) == 3 * 2 + 3 * 3, "factor four ends at four Nyquist frequencies"
    assert np.isfinite([list(row)[2:] for row in table]).all()
    large = table[table["k_over_low_Nyquist"] == 0.5]
    assert (large["r"] > 0.5).all()
    assert (large["training_s"][large["way"] != "up-sampled"] > 0).all()
