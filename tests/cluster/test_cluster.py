"""The workflow on a SLURM cluster of one node: whatever befalls a training there, its numbers stay the same."""

import csv
import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
RUN = Path("results/smoke")
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "srun")
TARGET = RUN / "comparisons/unet/4.ecsv"
MADE = ("models/unet/model.safetensors", "superresolved/unet/4/1.hdf5", "comparisons/unet/4.ecsv")

# a long training of a small network; `auto` asks the cluster for a GPU, and computes without where there is none
OVERLAY = {
    "device": "auto",
    "seeds": {"training": [1], "validation": [3], "test": [4]},
    "models": {"unet": {"training": {"steps": 240, "validate_every": 24}}, "gan": None, "ensemble": None},
    "audit": {"skew": {"model": None}},
    "compression": {"coders": None},
    "classification": {"tasks": None},
}


def lacking():
    """Return what is missing for a cluster, as a reason to skip."""
    tools = [name for name in NEEDED if shutil.which(name) is None]
    if tools:
        return f"no SLURM ({tools[0]}): apt-get install --no-install-recommends slurm-wlm munge"
    if os.geteuid() != 0:
        return "SLURM's daemons are started by root alone"
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return "no snakemake-executor-plugin-slurm: pip install -e '.[test]'"
    configured = Path("/etc/slurm/slurm.conf")
    if configured.exists() and "test cluster of Supercosm" not in configured.read_text():
        return f"{configured} belongs to another cluster"
    return None


pytestmark = pytest.mark.skipif(lacking() is not None, reason=str(lacking()))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A running cluster, stopped in the end, also where it did not start."""
    folder = tmp_path_factory.mktemp("cluster")
    try:
        started = subprocess.run(
            [HERE / "start.sh", folder, str(free_port())], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert started.returncode == 0, started.stdout
        yield folder
    finally:
        subprocess.run([HERE / "stop.sh", folder], check=True)


def free_port():
    """Return a port that is free, as is the next one."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            try:
                second.bind(("127.0.0.1", first.getsockname()[1] + 1))
            except OSError:
                continue
            return first.getsockname()[1]


def prepare(folder):
    """Make a folder with a configuration and profiles; return the Snakemake command that makes the target there."""
    for name in ("config", "profiles"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "small.yaml").write_text(yaml.safe_dump(OVERLAY))
    call = [sys.executable, "-m", "snakemake", str(TARGET), "-s", ROOT / "Snakefile"]
    return [*call, "--configfile", "config/smoke.yaml", "small.yaml", "--set-threads", "simulate=1", "train=1"]


def start(call, folder):
    """Start Snakemake in a folder; what it prints goes to printed.log there."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_WAIT_POLICY": "passive", "CUDA_VISIBLE_DEVICES": ""}
    with (folder / "printed.log").open("w") as log:
        return subprocess.Popen(call, cwd=folder, env=environment, stdout=log, stderr=log)


def rows(folder):
    """Return how many validations a training under way has behind it."""
    try:
        with open(folder / RUN / "checkpoints/unet/history.csv", newline="") as file:
            return len(list(csv.DictReader(file)))
    except FileNotFoundError:
        return 0


def until(condition, process, folder, patience=600):
    """Wait for a condition while a process runs."""
    end = time.monotonic() + patience
    while not (found := condition()):
        assert process.poll() is None, (folder / "printed.log").read_text()
        assert time.monotonic() < end, (folder / "printed.log").read_text()
        time.sleep(0.1)
    return found


def training_job():
    """Return number and state of the job that trains; empty where none is in the queue."""
    call = ["squeue", "--noheader", "--states", "PENDING,RUNNING", "--format", "%i %T %k"]
    for line in subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        number, state, comment = line.split(maxsplit=2)
        if comment.startswith("rule_train"):
            return number, state
    return "", ""


def training_process(folder):
    """Return the process id of the training in a folder, if there is one."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"train" in words[:4] and b"python" in words[0] and (entry / "cwd").resolve() == folder.resolve():
                return int(entry.name)
        except OSError:
            continue
    return None


def scontrol(*words):
    subprocess.run(["scontrol", *words], check=True)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.timeout(1500)
def test_a_training_that_is_stopped_requeued_and_killed_ends_with_the_numbers_of_a_local_one(cluster, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    there_call = [*prepare(there), "superresolve=1", "--workflow-profile", "profiles/slurm"]
    there_call += ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"]
    process = start([*there_call, "--latency-wait", "5"], there)
    local = None
    try:
        until(lambda: rows(there) > 0, process, there)
        stopped, _ = training_job()
        subprocess.run(["scancel", "--signal", "TERM", stopped], check=True)

        seen = rows(there)
        until(lambda: training_job()[0] not in ("", stopped) and rows(there) > seen, process, there)
        requeued, _ = training_job()
        scontrol("requeue", requeued)
        until(lambda: training_job() == (requeued, "PENDING"), process, there)
        scontrol("update", f"JobId={requeued}", "StartTime=now")  # it would wait for two minutes

        seen = rows(there)
        until(lambda: training_job() == (requeued, "RUNNING") and rows(there) > seen, process, there)
        os.kill(training_process(there), signal.SIGKILL)

        local = start([*prepare(here), "superresolve=1", "--cores", "2"], here)  # meanwhile
        assert process.wait() == 0, (there / "printed.log").read_text()
        assert local.wait() == 0, (here / "printed.log").read_text()
    finally:
        for running in (process, local):
            if running and running.poll() is None:
                running.kill()
                running.wait()
    logs = there / ".snakemake/slurm_logs/rule_train/unet"
    printed = (there / "printed.log").read_text()
    assert "training was stopped by SIGTERM after" in "".join(path.read_text() for path in logs.glob(f"{stopped}.log"))
    assert printed.count("Auto-selected partition 'gpu' for job train") == 3, printed
    assert "Auto-selected partition 'cpu' for job pairing" in printed
    assert "resuming from" in (there / RUN / "logs/train/unet.log").read_text()
    steps = [row["step"] for row in csv.DictReader((there / RUN / "models/unet/history.csv").open(newline=""))]
    assert steps == [str(step) for step in range(24, 241, 24)]
    for name in MADE:
        assert digest(there / RUN / name) == digest(here / RUN / name), name
