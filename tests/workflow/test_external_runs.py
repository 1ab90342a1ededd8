"""The workflow with a user's own snapshots: no simulation is run, and what is there is brought in."""

import shutil

import numpy as np
import pytest
import yaml
from foreignfiles import Run, write_binary, write_swift
from test_workflow import ROOT, RUN, SMOKE, planned, snakemake

from supercosm.pairs import PairFile
from supercosm.snapshot import read_snapshot


@pytest.fixture
def own(tiny_simulations, tmp_path):
    """Return a folder with a configuration and snapshots of other codes: one universe stands for every seed."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    low, high = (read_snapshot(tiny_simulations[3] / f"{name}.hdf5") for name in ("low", "high"))
    for seed in SMOKE.seeds.all:
        folder = tmp_path / f"data/{seed}"
        (folder / "low").mkdir(parents=True)
        write_swift(folder / "low" / "snap_005", Run(low, "F", 0), 2)
        write_binary(folder / "snap_005", Run(high), kind=2)
    model = {"condition": ["low"], "noise": "none"}
    content = {
        "simulation": {"external": {"low": "data/{seed}/low", "high": "data/{seed}/snap_005"}},
        "models": {"unet": model, "gan": {**model, "noise": "white"}},
        "audit": {"few_steps": [], "universes": 0, "shifts": []},
        "classification": {"tasks": {"sigma8": None}},
    }
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


def test_no_simulation_is_planned(own):
    files = planned(own, overlays=["more.yaml"])
    runs = {f"simulations/{seed}/{name}.hdf5" for seed in SMOKE.seeds.all for name in ("low", "high")}
    assert {file for file in files if file.startswith("simulations/")} == runs
    made = {file.partition("/")[0] for file in files}
    assert "variants" not in made
    assert {"models", "superresolved", "evaluation", "report"} <= made
    assert not any("costs/simulate" in file or "linear" in file for file in files)
    printed = snakemake(own, "-n", overlays=["more.yaml"])
    assert "rule import_run" in printed
    assert "rule simulate" not in printed


def test_snapshots_are_brought_in_and_paired(own):
    snakemake(own, RUN / "pairs/1.hdf5", overlays=["more.yaml"])
    pairs = PairFile(own / RUN / "pairs/1.hdf5")
    for name in ("low", "high"):
        ours = read_snapshot(own / RUN / f"simulations/1/{name}.hdf5")
        np.testing.assert_allclose(pairs.read(f"{name}/displacement"), ours.displacement(), atol=1e-5)
        assert ours.provenance["stage"] == "import"
    assert not pairs.has_initial


def test_a_snapshot_that_is_missing_or_another_one_stops_the_run(own):
    (own / "data/4/snap_005").unlink()
    printed = snakemake(own, "-n", overlays=["more.yaml"], succeeds=False)
    assert "there is no snapshot data/4/snap_005" in printed
    shutil.copy(own / "data/5/low/snap_005.0.hdf5", own / "data/4/snap_005")
    printed = snakemake(own, "-n", overlays=["more.yaml"], succeeds=False)
    assert "one of 2 files of a snapshot, but its name does not say which" in printed
