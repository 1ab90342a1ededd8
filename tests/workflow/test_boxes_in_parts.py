"""A box made in slabs, each by its own job, by Snakemake for real: the same bits, and what is lost runs again alone."""

import re
import shutil

import h5py
import numpy as np
from test_workflow import ROOT, RUN, overlay, snakemake

from supercosm.metering import read_costs

BOX = RUN / "superresolved/linear/4"
COST = RUN / "costs/superresolved/linear/4.json"
# one low run, and a baseline that needs small scales: no training, no high run
TINY = {
    "simulation": {"low": 16, "high": 32, "steps": 2},
    "models": {"unet": None, "gan": None, "ensemble": None},
    "audit": {"skew": {"model": None}},
    "compression": {"coders": None},
    "classification": {"tasks": None},
}


def jobs(printed):
    """Return how many jobs of every rule Snakemake ran, from its table."""
    table = re.findall(r"^(\w+) +(\d+)$", printed.split("total", 1)[0], re.M)
    return {rule: int(count) for rule, count in table}


def particles(path):
    with h5py.File(path) as file:
        return {name: file[f"PartType1/{name}"][:] for name in file["PartType1"]}


def test_slabs_are_made_by_jobs_and_joined(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    more = overlay(tmp_path, **TINY, superresolution={"tile": 8, "files": 2})
    printed = snakemake(tmp_path, BOX / "1.hdf5", "--notemp", overlays=more)
    assert jobs(printed) == {"simulate": 1, "superresolve_first": 1, "superresolve_part": 1, "join_parts": 1}
    (modes,) = (tmp_path / BOX / "parts/1.modes").glob("small-scales-*")
    assert modes.stat().st_size == 3 * 32 * 32 * 17 * 8  # one file of them, whoever needs it
    found = particles(tmp_path / BOX / "1.hdf5")
    (cost,) = read_costs(tmp_path / COST)
    parts = [read_costs(tmp_path / BOX / f"parts/1.{part}.json")[0] for part in range(2)]
    assert cost.seconds == sum(part.seconds for part in parts)

    (tmp_path / BOX / "parts/1.1.hdf5").unlink()  # a lost job
    printed = snakemake(tmp_path, BOX / "1.hdf5", "--forcerun", "join_parts", overlays=more)
    assert jobs(printed) == {"superresolve_part": 1, "join_parts": 1}
    assert not list((tmp_path / BOX / "parts").glob("*"))  # they are temporary
    again = particles(tmp_path / BOX / "1.hdf5")

    (tmp_path / BOX / "1.hdf5").unlink()
    more = overlay(tmp_path, **TINY, superresolution={"tile": 8})
    printed = snakemake(tmp_path, BOX / "1.hdf5", overlays=more)
    assert jobs(printed) == {"superresolve": 1}
    whole = particles(tmp_path / BOX / "1.hdf5")
    for name, values in whole.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
        np.testing.assert_array_equal(again[name], values, err_msg=name)

    more = overlay(tmp_path, **TINY, superresolution={"tile": 8, "files": 2})  # the way out in docs/bigboxes.md
    printed = snakemake(tmp_path, "-n", BOX / "1.hdf5", "--rerun-triggers", "mtime", overlays=more)
    assert "Nothing to be done" in printed
