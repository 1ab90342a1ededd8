"""The workflow where boxes are measured by slabs: a job for each slab, and tables of what there is."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from test_workflow import ROOT, planned, snakemake

from supercosm.config import load_config
from supercosm.stages import BY_SLABS
from supercosm.summarise import summarise
from supercosm.tables import read_table

RUN = Path("results/smoke")
WITHOUT = {
    "seeds": {"training": [1], "validation": [2], "test": [4]},
    "simulation": {"steps": 3},
    "models": {"unet": None, "gan": None, "ensemble": None},
    "audit": {"few_steps": [], "universes": 0, "shifts": [], "skew": {"model": None}},
    "compression": {"coders": None},
    "classification": {"tasks": {"realism": None, "sigma8": None, "environment": None}},
}
SLABS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a configuration of baselines alone, measured by slabs."""
    folder = tmp_path_factory.mktemp("slabs")
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "more.yaml").write_text(yaml.safe_dump({**WITHOUT, "statistics": {"slabs": SLABS}}))
    (folder / "whole.yaml").write_text(yaml.safe_dump(WITHOUT))
    return folder


def test_a_job_for_each_slab_is_planned(folder):
    files = planned(folder, overlays=["more.yaml"])
    measured = {file for file in files if file.startswith("statistics/high/4/")}
    names = [*(f"{name}.ecsv" for name in BY_SLABS), "haloes.hdf5", "slab.fits"]
    assert measured == {f"statistics/high/4/{name}" for name in names}
    assert {f"slabs/low/4/{name}" for name in ("sorted", "0.done", "1.done")} <= files
    assert not any(file.startswith(("audits/", "evaluation/web", "figures/bispectrum")) for file in files)
    whole = planned(folder, overlays=["whole.yaml"])
    assert not any(file.startswith("slabs/") for file in whole)
    assert "audits/low/4/environment.ecsv" in whole


def test_slabs_are_measured_and_the_boxes_put_side_by_side(folder):
    snakemake(folder, RUN / "statistics/low/4/spectrum.ecsv", overlays=["more.yaml"])
    times = folder / RUN / "benchmarks/measure_slab/low/4"
    assert {path.name for path in times.iterdir()} == {f"{slab}.tsv" for slab in range(SLABS)}
    statistics = folder / RUN / "statistics"
    for entry in ("high", "linear"):  # as if they had been measured, too, with the same outcome
        shutil.copytree(statistics / "low", statistics / entry)
        for path in (statistics / entry / "4").glob("*.ecsv"):
            path.write_text(path.read_text().replace("entry: low", f"entry: {entry}"))
    config = load_config([*(folder / f"config/{name}.yaml" for name in ("config", "smoke")), folder / "more.yaml"])
    summarise(config, folder / RUN, folder / RUN / "evaluation")
    for name in BY_SLABS:
        assert set(read_entries(folder, name)) == {"high", "low", "linear"}, name
    assert {path.stem for path in (folder / RUN / "evaluation").glob("*.ecsv")} == set(BY_SLABS)
    counts = read_table(folder / RUN / "evaluation/haloes.ecsv")
    assert np.nansum(counts["haloes"]) > 0
    left = [path for path in (folder / RUN / "slabs").rglob("*") if path.is_file()]
    assert left == []  # neither scratch nor marks


def read_entries(folder, name):
    return [str(entry) for entry in read_table(folder / RUN / f"evaluation/{name}.ecsv")["entry"]]
