"""The processes of one training: who starts them, and which of them this one is.

`supercosm train` starts those of one node itself and looks after them. torchrun, or srun with a task for each device,
has started them already; srun with a task for each node leaves it to each of these tasks to start those of its node.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

from supercosm.errors import ConfigurationError
from supercosm.hardware_settings import Hardware
from supercosm.stopping import EXIT_CODE, SIGNALS
from supercosm.threads import THREADS, cores

LOST = 76  # EX_PROTOCOL of sysexits.h: a process that ended because another one had
GRACE = 10.0  # seconds that the others have to end by themselves once one has failed
POLL = 0.1  # seconds
GUARDED = "SUPERCOSM_GUARDED"  # set for processes whose standard input ends when the one that started them does
LOOPBACK = "127.0.0.1"
PORTS = 20_000, 10_000  # first, and how many, of which a step of a SLURM job takes one
APART = 7  # ports between jobs that follow each other, which so share none with the first steps of the next


@dataclass(frozen=True)
class Place:
    """Number of a process among all and on its node, and whether it sees a single GPU, its own."""

    rank: int
    local: int
    bound: bool = False


@dataclass(frozen=True)
class Node:
    """A node whose processes are still to be started: its number, and where the first process of all listens."""

    number: int
    address: str
    port: int


def found_place(hardware: Hardware, environment: Mapping[str, str]) -> Place | Node:
    """Say which process this is, or, where it is still to start those of its node, which node.

    Raises ConfigurationError where others were started than the settings name. torchrun's variables are RANK,
    WORLD_SIZE and LOCAL_RANK; those of the tasks of one srun begin with SLURM.
    """
    shape = f"hardware.devices × nodes = {hardware.devices} × {hardware.nodes}"
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= environment.keys():
        world = int(environment["WORLD_SIZE"])
        if world != hardware.world:
            raise ConfigurationError(f"{world} processes were started, but {shape}; let the numbers agree")
        return Place(int(environment["RANK"]), int(environment["LOCAL_RANK"]))
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", 1))  # of this srun; a batch script does not have it
    if tasks > 1 and tasks not in (hardware.world, hardware.nodes):
        raise ConfigurationError(
            f"srun started {tasks} tasks, but {shape}; let it start one for every node, or one for every device"
        )
    if tasks > 1 and tasks == hardware.world and hardware.devices > 1:
        return Place(int(environment["SLURM_PROCID"]), int(environment["SLURM_LOCALID"]), bound=True)
    if tasks > 1:
        return Node(int(environment["SLURM_PROCID"]), *_meeting_point(hardware, environment))
    if hardware.nodes > 1:
        raise ConfigurationError(
            f"{shape}, but this is one process; start it on every node: srun --nodes {hardware.nodes} "
            "--ntasks-per-node 1 supercosm train …, or by torchrun"
        )
    return Node(0, LOOPBACK, _free_port())


def rendezvous(hardware: Hardware, environment: Mapping[str, str]) -> tuple[str, int]:
    """Return address and port at which the processes meet: as torchrun says, or as follows from a SLURM job."""
    if "MASTER_ADDR" in environment and "MASTER_PORT" in environment:
        return environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    return _meeting_point(hardware, environment)


def launch(hardware: Hardware, arguments: Sequence[str]) -> None:
    """Start the processes of this node unless they have been started; then end as they do, never to return.

    arguments: those of the `supercosm` command. Requests to stop are passed on to all. Where one process fails, the
    others are ended.
    """
    if hardware.world == 1:
        return
    node = found_place(hardware, os.environ)
    if isinstance(node, Place):
        return
    sent: list[int] = []
    processes: list[subprocess.Popen] = []
    ranks = [node.number * hardware.devices + local for local in range(hardware.devices)]

    def forward(number: int, _: FrameType | None) -> None:
        sent.append(number)
        for process in processes:
            process.send_signal(number)  # nothing happens to one that has ended

    for number in SIGNALS:
        signal.signal(number, forward)
    try:
        for local, rank in enumerate(ranks):
            processes.append(_start(rank, local, node, hardware, arguments))
            for number in sent[:1]:
                processes[-1].send_signal(number)
        _look_after(processes)
        ended = [process.poll() for process in processes]  # of those that are ended here, nothing is to be learnt
    finally:
        for process in processes:
            process.kill()
            process.wait()
    codes = {rank: code for rank, code in zip(ranks, ended, strict=True) if code is not None}
    _end_like(codes, sent, hardware.world)


def guard() -> None:
    """End this process, if `launch` started it, as soon as that one is gone, whatever ended it."""
    if os.environ.pop(GUARDED, None):
        threading.Thread(target=_end_with_input, daemon=True).start()


def _end_with_input() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def _start(rank: int, local: int, node: Node, hardware: Hardware, arguments: Sequence[str]) -> subprocess.Popen:
    given = os.environ.get("OMP_NUM_THREADS", "")
    allowed = int(given) if given.isdigit() else cores()
    variables = {
        "RANK": rank,
        "LOCAL_RANK": local,
        "WORLD_SIZE": hardware.world,
        "MASTER_ADDR": node.address,
        "MASTER_PORT": node.port,
        **dict.fromkeys(THREADS, max(1, allowed // hardware.devices)),
        GUARDED: 1,
    }
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    command = [sys.executable, "-P", "-m", "supercosm.cli", *arguments]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)


def _look_after(processes: Sequence[subprocess.Popen]) -> None:
    """Wait until all have ended, or one has failed and the others had time to notice."""
    deadline = None
    while any(process.poll() is None for process in processes):
        failed = [process for process in processes if process.poll() not in (None, 0, EXIT_CODE)]
        if failed and deadline is None:
            deadline = time.monotonic() + GRACE
        if deadline is not None and time.monotonic() > deadline:
            return
        time.sleep(POLL)


def _end_like(codes: Mapping[int, int], sent: Sequence[int], world: int) -> None:
    """Exit as the processes did: with the code of one that failed by itself, before those that noticed that."""
    killed = {rank: -code for rank, code in codes.items() if code < 0}
    for number in sent:
        if number in killed.values():  # asked twice, or before it could listen
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
    failed = sorted(code for code in codes.values() if code > 0)
    own = [code for code in failed if code not in (LOST, EXIT_CODE)]
    if not own and killed:
        rank, number = next(iter(killed.items()))
        print(
            f"supercosm: process {rank + 1} of {world} was ended by {signal.Signals(number).name}, and the others with "
            "it; was there too little memory? The same command goes on from the last checkpoint",
            file=sys.stderr,
        )
        sys.exit(1)
    sys.exit((own or failed or [0])[0])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return listener.getsockname()[1]


def _meeting_point(hardware: Hardware, environment: Mapping[str, str]) -> tuple[str, int]:
    """Return what all tasks of a SLURM step agree on without a word: its first node, and a port of its number."""
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    first = LOOPBACK if hardware.nodes == 1 else first_host(hosts)
    number = APART * int(environment.get("SLURM_JOB_ID", 0)) + int(environment.get("SLURM_STEP_ID", 0))
    port = int(environment.get("MASTER_PORT", PORTS[0] + number % PORTS[1]))
    return environment.get("MASTER_ADDR", first), port


def first_host(hosts: str) -> str:
    """Return the first host of a SLURM list of them, as in node[07-12,20],other3."""
    found = re.match(r"([^,\[\]]+)(?:\[(\d+)[^\]]*\])?([^,\[\]]*)", hosts)
    if found is None:
        raise ConfigurationError(f"SLURM names the nodes '{hosts}', of which none can be read; set MASTER_ADDR to one")
    return "".join(part or "" for part in found.groups())
