"""A Snakemake run that is watched through its log, and killed with all its jobs by `kill -9`."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
THREADED = ("simulate", "simulate_high", "simulate_shifted", "train", "train_skewed", "superresolve", "sample")
THREADED += ("superresolve_shifted", "superresolve_skewed", "superresolve_to_classify", "evaluations")
THREADED += ("rate_distortion", "rate_distortion_particles")
STARTED = re.compile(r"^(?:local)?rule (\w+):$")
FIELD = re.compile(r"^ {4}(output|jobid|benchmark): (.+)$")
ENDED = re.compile(r"^Finished jobid: (\d+) ")
LOOK = 0.02  # seconds between two looks at the log


@dataclass
class Job:
    """One job as the log tells of it."""

    rule: str
    outputs: list[str] = field(default_factory=list)
    benchmark: str = ""


@dataclass
class Log:
    """What a log told so far: jobs by their number, in the order of their starts, and which have ended."""

    path: Path
    jobs: dict[str, Job] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    _at: int = 0
    _job: Job | None = None

    def look(self) -> list[str]:
        """Read on; return the numbers of the jobs that have started since."""
        with open(self.path, encoding="utf-8", errors="replace") as file:
            file.seek(self._at)
            new = file.read()
        new = new[: new.rfind("\n") + 1]
        self._at += len(new.encode())
        return [number for number in map(self._line, new.splitlines()) if number]

    def _line(self, line: str) -> str | None:
        if found := STARTED.match(line):
            self._job = Job(found[1])
        elif found := ENDED.match(line):
            self.ended.add(found[1])
        elif self._job and (found := FIELD.match(line)):
            if found[1] == "output":
                self._job.outputs = found[2].split(", ")
            elif found[1] == "benchmark":
                self._job.benchmark = found[2]
            else:
                self.jobs[found[2]] = self._job
                return found[2]
        return None

    def running(self) -> list[str]:
        """List the numbers of the jobs that have started and not ended."""
        return [number for number in self.jobs if number not in self.ended]


def command(folder: Path, *arguments: str, overlay: str = "soak.yaml") -> list[str]:
    """Return the call of Snakemake in a folder that holds config/ and the overlay: jobs use one core each."""
    call = [sys.executable, "-m", "snakemake", *arguments, "--directory", str(folder), "--cores", "2"]
    threads = [f"{rule}=1" for rule in THREADED]
    return [
        *(*call, "-s", str(ROOT / "Snakefile"), "--set-threads", *threads),
        *("--configfile", "config/smoke.yaml", overlay),
    ]


def environment() -> dict[str, str]:
    """Return the environment in which jobs find this tree's package and this Python's commands."""
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(paths), "OMP_WAIT_POLICY": "passive"}


@dataclass(frozen=True)
class Outcome:
    """How a run ended: None where it was killed, else its exit code; the job aimed at, and what was running."""

    code: int | None
    aim: str = ""
    hit: bool = False
    running: tuple[str, ...] = ()


Delay = Callable[[Job], float]


def run(call: Sequence[str], folder: Path, log: Path, aims: Sequence[str] = (), delay: Delay | None = None) -> Outcome:
    """Start a run; kill it some seconds after the first job of one of the aimed rules has started.

    delay: seconds to let such a job run. The moment is relative to the start that the log tells of.
    """
    told = Log(log)
    with log.open("w") as file:
        process = subprocess.Popen(
            call, cwd=folder, env=environment(), stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        while process.poll() is None:
            for number in told.look():
                rule = told.jobs[number].rule
                if delay is not None and rule in aims:
                    return _kill_after(process, told, number, delay(told.jobs[number]))
            time.sleep(LOOK)
        return Outcome(process.returncode)
    finally:
        end(process)


def _kill_after(process: subprocess.Popen, told: Log, number: str, seconds: float) -> Outcome:
    stop = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < stop:
        time.sleep(LOOK)
    if process.poll() is not None:
        return Outcome(process.returncode, told.jobs[number].rule)
    end(process)
    told.look()
    rules = tuple(told.jobs[other].rule for other in told.running())
    return Outcome(None, told.jobs[number].rule, number not in told.ended, rules)


def end(process: subprocess.Popen) -> None:
    """Kill -9 a run and all that it started, and wait until nothing of it is left."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    while left := _session(process.pid):  # jobs that were being started meanwhile
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK)


def _session(leader: int) -> list[int]:
    """List the living processes of a session; none where there is no /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] not in "ZX":
                found.append(int(stat.parent.name))
    return found


def durations(folder: Path, jobs: Sequence[Job]) -> dict[str, float]:
    """Return how many seconds the jobs of each rule took at most, by their benchmarks in a finished run."""
    found: dict[str, float] = {}
    for job in jobs:
        path = folder / job.benchmark
        if job.benchmark and path.is_file():
            seconds = float(path.read_text().splitlines()[1].split("\t")[0])
            found[job.rule] = max(found.get(job.rule, 0.0), seconds)
    return found


def plan(rules: Sequence[str], kills: int, dice: random.Random) -> list[str]:
    """Return the rules to aim at, every one as often as any other, the rest drawn."""
    whole, rest = divmod(kills, len(rules))
    return [*rules] * whole + dice.sample(list(rules), rest)
