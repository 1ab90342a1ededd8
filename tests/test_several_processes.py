"""One training by two processes: the losses of one process, the same weights in both, stops and resumes together."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

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

TAKEN = "is taken by another program"
TRIES = 3  # where another program takes the port that was free a moment ago
LIMIT = 1500  # seconds, for slow machines that do other things, too

# trains every case, as one of two processes that torchrun, say, has started. The second one notes the weights it ends
# with, and in the last case is asked to stop in the third step; then both go on. The first one chooses the ports
DRIVER = """
import hashlib, itertools, json, logging, os, signal, socket, sys, time
from pathlib import Path
from supercosm.config import check
from supercosm.errors import StoppedError
from supercosm.families import Family
from supercosm.training import train

logging.basicConfig(format="%(message)s")
logging.getLogger("supercosm").setLevel(logging.INFO)
cases, data, root = json.loads(sys.argv[1])
second, follow, asked = os.environ["RANK"] == "1", Family.on_train_batch_end, []

def port(number):
    place = Path(root) / f"{number}.port"
    if not second:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            place.with_suffix(".part").write_text(str(listener.getsockname()[1]))
        place.with_suffix(".part").rename(place)
    while not place.exists():
        time.sleep(0.01)
    return place.read_text()

def asking(self, *arguments):
    follow(self, *arguments)
    if name == "stopped" and second and self.global_step == 3 and not asked:
        asked.append(self.global_step)
        signal.raise_signal(signal.SIGTERM)

def noting(self):
    digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in self.trained.state_dict().values()))
    (Path(root) / f"{name}-{os.environ['RANK']}.sha256").write_text(digest.hexdigest())

Family.on_train_batch_end, Family.on_train_end = asking, noting
data, numbers = [[Path(path) for path in paths] for paths in data], itertools.count()
for name, config in cases.items():
    while True:
        os.environ["MASTER_PORT"] = port(next(numbers))
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


def two_processes(job):
    """Return exit codes and errors of two processes that do a job together."""
    processes, errors = [], []
    try:
        for rank in (0, 1):
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
            command = [sys.executable, "-c", DRIVER, job]
            processes.append(subprocess.Popen(command, env=variables(**place), stderr=subprocess.PIPE, text=True))
        for process in processes:
            errors.append(process.communicate(timeout=LIMIT)[1])
            if TAKEN in errors[0]:  # the second one waits for the first, which is not there
                processes[1].kill()
    finally:
        for process in processes:
            process.kill()
    return [process.wait() for process in processes], errors


@pytest.fixture(scope="module")
def together(boxes, tmp_path_factory):
    """Return the folder of all cases, each trained by two processes."""
    configs = {name: settings(name, devices=2).model_dump(mode="json") for name in CASES}
    configs["stopped"] = settings("unet", devices=2, workers=1).model_dump(mode="json")
    data = [[str(path) for path in paths] for paths in boxes.data]
    for _ in range(TRIES):
        root = tmp_path_factory.mktemp("together")
        codes, errors = two_processes(json.dumps([configs, data, str(root)]))
        if TAKEN not in errors[0]:
            break
    assert codes == [0, 0], errors
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


@pytest.mark.parametrize("name", ["unet", "gan"])
def test_activations_computed_again_give_the_same_bits(alone, name):
    found = alone(name, checkpoint_activations=True)
    assert sha256(found / WEIGHTS) == sha256(alone(name) / WEIGHTS)


# starts a training by the command, whose second process then waits in the third step, for whatever may happen to it
STARTER = """
import subprocess, sys
from pathlib import Path
from supercosm import cli, launching

class Popen(subprocess.Popen):
    def __init__(self, command, env, **more):
        second = [sys.executable, "-c", waiting, *command[4:]] if env["RANK"] == "1" else command
        super().__init__(second, env=env, **more)
        Path(env["RANK"] + ".pid").write_text(str(self.pid))

waiting, launching.subprocess.Popen = sys.argv.pop(1), Popen
cli.main()
"""
WAITING = """
import time
from pathlib import Path
from supercosm import cli
from supercosm.families import Family

follow = Family.on_train_batch_end

def wait(self, *arguments):
    follow(self, *arguments)
    if self.global_step == 3:
        Path("waiting").touch()
        time.sleep(3000)

Family.on_train_batch_end = wait
cli.main()
"""


def test_the_command_starts_its_processes_and_ends_them_all_where_one_dies(boxes, tmp_path, together):
    """Killed after its first validation, the second process takes the first with it; the same command then goes on."""
    files = [f"--{role}={paths[0]}" for role, paths in zip(("training", "validation"), boxes.data, strict=True)]
    command = ["train", "model", *files, "--output", tmp_path / "model"]
    command += ["--checkpoints", tmp_path / "checkpoints", "--hardware", '{"devices": 2}']
    command += ["--settings", settings("unet").model_dump_json()]
    first_time = [sys.executable, "-c", STARTER, WAITING, *command]
    process = subprocess.Popen(first_time, env=variables(2), stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        while not (tmp_path / "waiting").exists() and process.poll() is None:
            time.sleep(0.01)
        first, second = (int((tmp_path / f"{rank}.pid").read_text()) for rank in (0, 1))
        os.kill(second, signal.SIGKILL)
        _, errors = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert process.returncode == 1, errors
    assert "process 2 of 2 was ended by SIGKILL, and the others with it; was there too little memory?" in errors
    assert "Traceback" not in errors
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    again = [sys.executable, "-m", "supercosm.cli", *command]
    subprocess.run(again, env=variables(2), cwd=tmp_path, check=True, timeout=LIMIT)
    assert sha256(tmp_path / "model" / WEIGHTS) == sha256(together / "unet/model" / WEIGHTS)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [".lock"]
