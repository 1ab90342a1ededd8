"""Four kills of a short workflow: the numbers are those of an undisturbed run. soak.py by itself kills every rule."""

import os
import shutil
import time
from pathlib import Path

import pytest
import yaml
from killing import command, run
from soak import OVERLAY, RUN, soak

from supercosm.config import load_config
from supercosm.records.differences import difference

ROOT = Path(__file__).parents[2]
RULES = ["simulate", "train", "superresolve", "compare"]  # each is killed once, one of them in a forced rerun
TARGET = f"{RUN}/comparisons/unet/4.ecsv"


@pytest.fixture(scope="module")
def soaked(tmp_path_factory):
    """Return the folder of the trial, and what was wrong with it."""
    folder = tmp_path_factory.mktemp("soak")
    content = yaml.safe_load(OVERLAY.read_text())
    content["seeds"]["training"] = [1]
    content |= {"compression": {"coders": None}, "classification": {"tasks": None}}
    (folder / "short.yaml").write_text(yaml.safe_dump(content))
    return folder, soak(folder, 4, 1, [TARGET], RULES, folder / "short.yaml")


def test_the_long_form_has_a_configuration_that_holds():
    config = load_config([*(ROOT / "config" / f"{name}.yaml" for name in ("config", "smoke")), OVERLAY])
    assert {model.family for model in config.models.values()} == {"unet", "flow_matching"}
    assert set(config.classification.tasks["realism"].entries) == {"low", "flow"}


def test_a_killed_workflow_ends_with_the_same_numbers(soaked):
    _, faults = soaked
    assert faults == []


def test_files_of_another_clock_are_told_and_the_numbers_stay(soaked):
    """One file from the past, one from the future: Snakemake names it and stops; touched, it goes on."""
    folder, table = soaked[0] / "disturbed", soaked[0] / "disturbed" / TARGET
    box, before = folder / RUN / "superresolved/unet/4/1.hdf5", shutil.copy(table, soaked[0] / "before.ecsv")
    os.utime(folder / RUN / "simulations/4/high.hdf5", (1e9, 1e9))
    os.utime(box, (time.time() + 86400,) * 2)
    log = soaked[0] / "clock.log"
    assert run(command(folder, TARGET), folder, log).code == 1
    assert "clock skew" in log.read_text()
    assert not table.exists()
    os.utime(box)
    assert run(command(folder, TARGET), folder, log).code == 0, log.read_text()
    assert difference(before, table, "x.ecsv").size == 0  # the commit in its header may be another meanwhile
