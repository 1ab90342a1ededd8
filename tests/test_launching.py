"""The processes of a training: where they find themselves, how they are started, and how they end together."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from supercosm.errors import ConfigurationError
from supercosm.hardware_settings import Hardware
from supercosm.launching import LOOPBACK, Node, Place, first_host, found_place, rendezvous

TORCHRUN = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}
SRUN = {
    "SLURM_JOB_ID": "123456", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_PROCID": "5", "SLURM_LOCALID": "1",
}  # fmt: skip
PER_NODE = {**SRUN, "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}


def test_processes_find_their_place():
    hardware = Hardware(devices=4, nodes=2)
    assert found_place(hardware, TORCHRUN) == Place(5, 1)
    assert found_place(hardware, SRUN) == Place(5, 1, bound=True)
    assert found_place(hardware, PER_NODE) == Node(1, "gpu07", 24192)
    assert rendezvous(hardware, SRUN) == ("gpu07", 24192)
    own = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
    assert rendezvous(hardware, SRUN | own) == ("10.0.0.1", 29500)
    assert found_place(hardware, PER_NODE | own) == Node(1, "10.0.0.1", 29500)


def test_processes_of_one_node_are_to_be_started_and_meet_on_the_loopback():
    """Also in a batch script, whose job has room for several tasks, and in a step of one task."""
    batch = {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}
    for variables in ({}, batch, batch | {"SLURM_STEP_NUM_TASKS": "1"}):
        node = found_place(Hardware(devices=2), variables)
        assert (node.number, node.address) == (0, LOOPBACK)
        assert node.port > 1023


@pytest.mark.parametrize(
    ("hardware", "variables", "sentence"),
    [
        ({"devices": 2}, TORCHRUN, r"8 processes were started, but hardware.devices × nodes = 2 × 1"),
        ({"devices": 3, "nodes": 2}, SRUN, r"srun started 8 tasks, but hardware.devices × nodes = 3 × 2"),
        ({"devices": 4, "nodes": 2}, {}, r"= 4 × 2, but this is one process; start it on every node: srun --nodes 2"),
        ({"devices": 4, "nodes": 2}, PER_NODE | {"SLURM_STEP_NODELIST": ""}, "SLURM names the nodes ''"),
    ],
)
def test_processes_that_others_have_started_must_be_those_of_the_settings(hardware, variables, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        found_place(Hardware(**hardware), variables)


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [("n1", "n1"), ("n1,n2", "n1"), ("n[01-04,07]", "n01"), ("gpu[3,5]-ib,other", "gpu3-ib"), ("a-b[9],c", "a-b9")],
)
def test_the_first_host_of_a_list_of_slurm(hosts, expected):
    assert first_host(hosts) == expected


def test_neighbouring_jobs_and_steps_meet_at_ports_of_their_own():
    def port(job, step):
        return rendezvous(Hardware(devices=4, nodes=2), SRUN | {"SLURM_JOB_ID": job, "SLURM_STEP_ID": step})[1]

    found = {port(str(job), str(step)) for job in range(123400, 124600) for step in range(4)}
    assert len(found) == 4800
    assert min(found) >= 20000
    assert max(found) < 30000


# starts two small processes in place of trainings, which run the code that is given for each
PARENT = """
import os, subprocess, sys
from supercosm import launching
from supercosm.hardware_settings import Hardware

codes = sys.argv[1:]

def start(rank, *_):
    environment = {**launching.os.environ, launching.GUARDED: "1"}
    process = subprocess.Popen([sys.executable, "-c", codes[rank]], stdin=subprocess.PIPE, env=environment)
    os.write(1, f"started {process.pid}\\n".encode())  # a line at once: others print at the same time
    return process

launching._start, launching.GRACE = start, 1.0
launching.launch(Hardware(devices=2), [])
"""
PATIENT = "import time; time.sleep(300)"
REQUESTED = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
os.write(1, b"ready\\n")
time.sleep(300)
"""
GUARDED = "import os; from supercosm.launching import guard; guard(); os.write(1, b'ready\\n')\n" + PATIENT


@pytest.fixture
def start():
    """Return a function that starts processes which run such codes; whatever comes, they end with the test."""
    started = []

    def begin(*codes):
        command = [sys.executable, "-c", PARENT, *(textwrap.dedent(code) for code in codes)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        with process:  # closes its pipes
            process.kill()


def wait_for(process, lines):
    """Return the numbers of the processes, once they have printed so many lines together."""
    seen = [process.stdout.readline().split() for _ in range(lines)]
    return [int(line[1]) for line in seen if line[0] == "started"]


def gone(pid):
    for _ in range(3000):
        if not running(pid):
            return True
        time.sleep(0.01)
    return False


def running(pid):
    """Tell whether a process lives; one that has ended may stay in the table where process 1 does not wait for it."""
    try:
        if Path("/proc/self/stat").exists():
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def test_a_process_that_nobody_has_waited_for_is_gone():
    process = subprocess.Popen([sys.executable, "-c", PATIENT])
    assert running(process.pid)
    process.kill()
    if Path("/proc/self/stat").exists():
        assert gone(process.pid)
    process.wait()
    assert gone(process.pid)


@pytest.mark.parametrize(
    ("codes", "expected", "sentence"),
    [
        (("", ""), 0, ""),
        (("raise SystemExit(1)", PATIENT), 1, ""),
        (("raise SystemExit(76)", "raise SystemExit(3)"), 3, ""),  # the first one only noticed that the second is gone
        ((PATIENT, "import os; os.kill(os.getpid(), 9)"), 1, "process 2 of 2 was ended by SIGKILL, and the others"),
    ],
)
def test_processes_end_together_as_the_one_that_failed(start, codes, expected, sentence):
    process = start(*codes)
    started = wait_for(process, 2)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == expected, errors
    assert sentence in errors
    assert bool(errors) == bool(sentence)
    assert all(gone(pid) for pid in started)


THREADS = """
import os
from supercosm import launching

launching.subprocess.Popen = lambda command, env, stdin: print(*(env[name] for name in launching.THREADS))
launching._start(0, 0, launching.Node(0, "127.0.0.1", 1), launching.Hardware(devices=3), [])
"""


def test_processes_share_the_threads_that_were_allowed_whatever_library_asks():
    given = {"OMP_NUM_THREADS": "12", "MKL_NUM_THREADS": "12", "NUMBA_NUM_THREADS": "12"}
    for variables in (given, {"OMP_NUM_THREADS": "12"}):
        command, rest = [sys.executable, "-c", THREADS], {k: v for k, v in os.environ.items() if k not in given}
        assert subprocess.check_output(command, env=rest | variables, text=True).split() == ["4", "4", "4"]


def test_a_request_to_stop_reaches_all_processes(start):
    process = start(REQUESTED, REQUESTED)
    wait_for(process, 4)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=120)[1] == ""
    assert process.returncode == 75


def test_processes_that_do_not_listen_yet_end_with_the_one_that_started_them(start):
    process = start(PATIENT, PATIENT)
    started = wait_for(process, 2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGTERM
    assert all(gone(pid) for pid in started)


def test_processes_do_not_outlive_the_one_that_started_them(start):
    process = start(GUARDED, GUARDED)
    started = wait_for(process, 4)
    process.kill()
    process.communicate(timeout=120)
    assert all(gone(pid) for pid in started)
