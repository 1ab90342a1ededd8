"""What jobs ask a scheduler for: more for larger runs, a GPU where one is of use, and rules that there are."""

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from supercosm.config import load_config

ROOT = Path(__file__).parents[2]
PROFILE = yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text())


def planned(folder, *options, **content):
    """Return the resources of one job of every rule that leads to a comparison with a model: {rule: {name: number}}."""
    (folder / "more.yaml").write_text(yaml.safe_dump(content))
    targets = [f"results/smoke/comparisons/{entry}/4.ecsv" for entry in ("unet", "low")]
    return resources_of(dry_run(folder, "config/smoke.yaml", "more.yaml", options=options, targets=targets))


def dry_run(folder, *overlays, options=(), targets=()):
    """Return what a dry run in a folder prints."""
    shutil.copytree(ROOT / "config", folder / "config", dirs_exist_ok=True)
    call = [sys.executable, "-m", "snakemake", "-n", "-s", ROOT / "Snakefile", "--cores", "2", *options]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    run = partial(subprocess.run, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return run([*call, "--configfile", *overlays, "--", *targets]).stdout


def resources_of(printed):
    """Return the resources of one job of every rule, and entry, of those that ask for most time."""
    found = {}
    for block in re.split(r"^(?=\[)", printed, flags=re.M):
        rule, resources = (
            re.search(r"^(?:local)?rule (\w+):", block, re.M),
            re.search(r"^    resources: (.+)$", block, re.M),
        )
        if rule and resources and "runtime" in resources[1]:
            entry = re.search(r"^    wildcards: .*entry=([^,\s]+)", block, re.M)
            name = rule[1] + (f" {entry[1]}" if entry else "")
            asked = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)\b", resources[1])}
            asked |= {"threads": int((re.search(r"^    threads: (\d+)", block, re.M) or [0, 1])[1])}
            asked |= dict(re.findall(r"\b(gres|mpi)=([\w:]+)", resources[1]))
            if asked["runtime"] > found.get(name, {"runtime": 0})["runtime"]:
                found[name] = asked
    return found


def test_larger_runs_ask_for_more_and_those_on_gpus_for_one(tmp_path):
    small = planned(tmp_path)
    larger = {"simulation": {"low": 64, "high": 256}, "superresolution": {"tile": 64}, "device": "cuda"}
    training = {"steps": 8000, "crop": 128, "validate_every": 200}
    large = planned(tmp_path, **larger, models={"unet": {"training": training}})
    for job in ("simulate", "pair", "train", "superresolve unet", "compare unet"):
        for resource in ("mem_mb", "runtime"):
            assert large[job][resource] > small[job][resource], (job, resource)
    assert {job for job, found in small.items() if found.get("gpu")} == set()
    assert {job for job, found in large.items() if found.get("gpu")} == {"simulate", "train", "superresolve unet"}


def test_slabs_ask_for_what_their_model_needs(tmp_path):
    """The formula of docs/cluster.md: halo and channels are the model's; a box that takes days has no upper limit."""

    def plan(files, channels):
        networks = {name: {"network": {"channels": channels}} for name in ("unet", "gan")}
        tiles = {"tile": 32, "files": files}
        return planned(tmp_path, simulation={"low": 256, "high": 512}, superresolution=tiles, models=networks)

    found = plan(16, 256)
    configured = [tmp_path / "config" / name for name in ("config.yaml", "smoke.yaml")]
    _, halo = load_config([*configured, tmp_path / "more.yaml"]).models["unet"].tiling(2)
    assert halo != 6  # of the laptop's models

    def megabytes(halo, cell):
        thick, wide = 2 * (16 + 2 * halo), 2 * (32 + 2 * halo)
        return 1000 + (120 * 256**3 + cell * thick * wide**2 + 60 * thick * wide * 512) / 1e6

    assert found["superresolve_part low"]["mem_mb"] == int(megabytes(0, 400))
    assert found["superresolve_part unet"]["mem_mb"] == int(megabytes(halo, 400 * 8))
    assert found["superresolve_part low"]["runtime"] < found["superresolve_first low"]["runtime"] < 60
    assert plan(2, 512)["superresolve_part unet"]["runtime"] > 1440


BATCHES = {name: {"training": {"batch": 8}} for name in ("unet", "gan")}


def test_trainings_ask_for_their_devices(tmp_path):
    """GPUs here are counted, those of a cluster asked for by node; on several nodes, the job starts a task on each."""
    more = {"models": BATCHES, "hardware": {"devices": 4}}
    here = planned(tmp_path, "--cores", "8", "--resources", "gpu=4", device="cuda", **more)["train"]
    assert (here["gpu"], here["threads"]) == (4, 8)
    assert not {"gres", "mpi", "nodes", "tasks"} & here.keys()
    several = planned(tmp_path, device="cuda", models=BATCHES, hardware={"devices": 4, "nodes": 2})["train"]
    expected = {"nodes": 2, "tasks": 2, "tasks_per_gpu": 0, "gres": "gpu:4", "mpi": "srun", "gpu": 0}
    assert {key: several[key] for key in expected} == expected
    assert "gres" not in planned(tmp_path, device="cpu", models=BATCHES, hardware={"nodes": 2})["train"]


def test_processes_that_read_crops_are_given_their_memory(tmp_path):
    """Each keeps the low fields of all boxes, or what it may, and two batches."""
    runs = {"simulation": {"low": 64, "high": 128}, "superresolution": {"tile": 64}}

    def memory(**hardware):
        return planned(tmp_path, **runs, hardware=hardware)["train"]["mem_mb"]

    alone, four, tight = memory(), memory(workers=4), memory(workers=4, cache=0.001)
    fields = 25 * 64**3 * 3 / 1e6  # MB of two boxes of training and one of validation
    assert four - alone > 4 * fields
    assert four - tight == pytest.approx(5 * (fields - 1), abs=2)


@pytest.mark.parametrize("key", ["groups", "set-threads"])
def test_the_profile_names_rules_that_there_are(key):
    text = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    rules = {name or other for name, other in re.findall(r"^ *(?:use rule \w+ as (\w+)|rule (\w+):)", text, re.M)}
    assert set(PROFILE[key]) <= rules
    assert set(PROFILE["group-components"]) <= set(PROFILE["groups"].values())


def test_third_attempts_of_the_largest_run_fit_into_its_partitions(tmp_path):
    """Twice doubled, one job after the other, with groups as narrow as docs/cluster.md tells for it."""
    limits = yaml.safe_load((ROOT / "profiles/slurm/partitions.yaml").read_text())["partitions"]["cpu"]
    words = re.search(r"paper.yaml .*--group-components (.+)", (ROOT / "docs/cluster.md").read_text())[1]
    width = {name: int(count) for name, count in (word.split("=") for word in words.split())}
    assert set(width) == set(PROFILE["group-components"])
    jobs = resources_of(dry_run(tmp_path, "config/paper.yaml"))
    assert {"simulate", "train", "measure", "sample", "classify"} <= {job.split()[0] for job in jobs}
    for job, found in jobs.items():
        rule = job.split()[0]
        longest = 4 * found["runtime"] if rule != "train" else found["runtime"]  # a day: the next attempt goes on
        assert longest * width.get(PROFILE["groups"].get(rule), 1) <= limits["max_runtime"], job
        assert 4 * found["mem_mb"] <= limits["max_mem_mb"], job
