"""One training by two processes: the losses of one process, the same weights in both, stops and resumes together."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from learning import configuration

from supercosm.config import check
from supercosm.files import sha256
from supercosm.model import WEIGHTS, load_model
from supercosm.training import train

TRAINING = {"batch": 4, "steps": 4, "validate_every": 2, "crop": 16, "margin": 4}
ROOMY = {"crop": 24}  # what a critic needs
CASES = {
    "unet": {"condition": ["low", "initial"], "noise": "initial"},
    "gan": {
        "family": "gan", "noise": "white", "adversarial": "wgan-gp", "warm_up": 1, "penalty_every": 2,
        "critic_channels": 4, "training": ROOMY,
    },
    "ensemble": {"family": "ensemble", "noise": "white"},
    "diffusion": {"family": "diffusion"},
    "vae": {"family": "vae", "network": {"levels": 1}},
}  # fmt: skip

# trains every case, as one of two processes that torchrun, say, has started. The second one notes the weights it ends
# with, and in the last case is asked to stop in the third step; then both go on
DRIVER = """
import hashlib, json, logging, os, signal, sys
from pathlib import Path
from supercosm.config import check
from supercosm.errors import StoppedError
from supercosm.families import Family
from supercosm.training import train

logging.basicConfig(format="%(message)s")
logging.getLogger("supercosm").setLevel(logging.INFO)
cases, ports, data, root = json.loads(sys.argv[1])
second, follow, asked = os.environ["RANK"] == "1", Family.on_train_batch_end, []

def asking(self, *arguments):
    follow(self, *arguments)
    if name == "stopped" and second and self.global_step == 3 and not asked:
        asked.append(self.global_step)
        signal.raise_signal(signal.SIGTERM)

def noting(self):
    digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in self.trained.state_dict().values()))
    (Path(root) / f"{name}-{os.environ['RANK']}.sha256").write_text(digest.hexdigest())

Family.on_train_batch_end, Family.on_train_end = asking, noting
data = [[Path(path) for path in paths] for paths in data]
for name, config in cases.items():
    while True:
        os.environ["MASTER_PORT"] = str(ports.pop())
        try:
            train(check(config), "model", data, Path(root) / name / "model", Path(root) / name / "checkpoints")
            break
        except StoppedError as error:
            (Path(root) / f"{name}-{os.environ['RANK']}.said").write_text(str(error))
"""


def settings(name, **hardware):
    case = CASES[name]
    model = {**case, "training": {**TRAINING, **case.get("training", {})}}
    return check({**configuration(**model).model_dump(), "hardware": hardware})


def free_ports(count):
    """Return ports that were free just now."""
    held = [socket.socket() for _ in range(count)]
    for listener in held:
        listener.bind(("127.0.0.1", 0))
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    return ports


def history(folder):
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {k: [float(r[k] or "nan") for r in rows] for k in rows[0] if k not in ("seconds", "crops_per_second")}


def variables(share=1, **more):
    """Return the environment of a process that computes on as many threads, or passes on a share of what it has."""
    threads = share * max(2, torch.get_num_threads())
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "GLOO_SOCKET_IFNAME": "lo", **more}


@pytest.fixture(scope="module")
def alone(boxes, tmp_path_factory):
    """Return a function that gives the model folder of a training by one process."""
    root = tmp_path_factory.mktemp("alone")

    def make(name, **hardware):
        folder = root / f"{name}-{hardware}"
        if not folder.exists():
            train(settings(name, **hardware), "model", boxes.data, folder / "model", folder / "checkpoints")
        return folder / "model"

    return make


@pytest.fixture(scope="module")
def together(boxes, tmp_path_factory):
    """Return the folder of all cases, each trained by two processes."""
    root = tmp_path_factory.mktemp("together")
    configs = {name: settings(name, devices=2).model_dump(mode="json") for name in CASES}
    configs["stopped"] = settings("unet", devices=2, workers=1).model_dump(mode="json")
    data = [[str(path) for path in paths] for paths in boxes.data]
    job = json.dumps([configs, free_ports(len(configs) + 1), data, str(root)])
    processes = []
    for rank in (0, 1):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        command = [sys.executable, "-c", DRIVER, job]
        processes.append(subprocess.Popen(command, env=variables(**place), stderr=subprocess.PIPE, text=True))
    errors = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert "step 4/4" in errors[0], "the first process tells how it goes"
    assert "step 4/4" not in errors[1], "and no other"
    return root


@pytest.mark.parametrize("name", CASES)
def test_two_processes_lose_what_one_does_with_the_same_batches(alone, together, name):
    """Sums in another order: float32 rounds at 1e-7, which Adam amplifies where gradients are next to none."""
    expected, found = history(alone(name)), history(together / name / "model")
    assert found.keys() == expected.keys()
    for column, values in expected.items():
        torch.testing.assert_close(found[column], values, rtol=2e-5, atol=1e-6, equal_nan=True, msg=column)
    weights = [load_model(folder).network.state_dict() for folder in (alone(name), together / name / "model")]
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [*CASES, "stopped"])
def test_both_processes_end_with_the_same_bits(together, name):
    one, two = ((together / f"{name}-{rank}.sha256").read_text() for rank in (0, 1))
    assert one == two


def test_all_stop_where_one_is_asked_to_and_go_on_with_the_same_bits(together):
    said = [(together / f"stopped-{rank}.said").read_text() for rank in (0, 1)]
    assert said == ["training was stopped by SIGTERM after 3 of 4 steps; the same command goes on from there", ""]
    assert sha256(together / "stopped/model" / WEIGHTS) == sha256(together / "unet/model" / WEIGHTS)
    assert history(together / "stopped/model") == history(together / "unet/model")


@pytest.mark.parametrize("name", CASES)
def test_parts_of_a_batch_make_the_step_of_all_of_it(alone, name):
    expected, found = history(alone(name)), history(alone(name, accumulate=2))
    assert found.keys() == expected.keys()
    for column, values in expected.items():
        torch.testing.assert_close(found[column], values, rtol=2e-5, atol=1e-6, equal_nan=True, msg=column)
    assert sha256(alone(name, accumulate=2) / WEIGHTS) != sha256(alone(name) / WEIGHTS), "sums in another order"


@pytest.mark.parametrize("name", ["unet", "gan", "ensemble"])
def test_activations_computed_again_give_the_same_bits(alone, name):
    found = alone(name, checkpoint_activations=True)
    assert sha256(found / WEIGHTS) == sha256(alone(name) / WEIGHTS)


def children_of(pid):
    """Return the processes that a process has started, first those started first."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return sorted(found)


def test_the_command_starts_its_processes_and_ends_them_all_where_one_dies(boxes, tmp_path, together):
    """Killed after its first validation, the second process takes the first with it; the same command then goes on."""
    files = [f"--{role}={paths[0]}" for role, paths in zip(("training", "validation"), boxes.data, strict=True)]
    command = [sys.executable, "-m", "supercosm.cli", "train", "model", *files, "--output", tmp_path / "model"]
    command += ["--checkpoints", tmp_path / "checkpoints", "--hardware", '{"devices": 2}']
    command += ["--settings", settings("unet").model_dump_json()]
    process = subprocess.Popen(command, env=variables(2), stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    while not (tmp_path / "checkpoints/history.csv").exists() and process.poll() is None:
        time.sleep(0.01)
    first, second = children_of(process.pid)
    os.kill(second, signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert "process 2 of 2 was ended by SIGKILL, and the others with it; was there too little memory?" in errors
    assert "Traceback" not in errors
    assert not Path(f"/proc/{first}").exists()
    subprocess.run(command, env=variables(2), cwd=tmp_path, check=True, timeout=300)
    assert sha256(tmp_path / "model" / WEIGHTS) == sha256(together / "unet/model" / WEIGHTS)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [".lock"]
