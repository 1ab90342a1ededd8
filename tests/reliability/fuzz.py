"""Damage files of every kind that Supercosm reads, and see that each is read, or refused with one sentence.

    python tests/reliability/fuzz.py --inputs 10000 --seed 1 --keep /tmp/findings

Each damaged file is read in a process of its own kind: a few of them at a time, with a bound on memory and time. What
ends in any other error, kills or hangs the process, asks for memory far beyond the file's size, or runs code of the
file is a finding: it is printed, its file kept, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from corpus import Kind, make
from damaging import damage

from supercosm.errors import SupercosmError

SPACE = 4 << 30  # bytes of address space beyond what the libraries take
RESIDENT = 400 << 10  # KiB that the memory in use may grow by: the files have less than 300
SECONDS = 20  # of computing, for one file
PATIENCE = 120  # seconds by the clock, on a machine that is busy
LONGEST = 3000  # characters of a sentence


@dataclass(frozen=True)
class Found:
    """What one damaged file led to: read, refused, or a finding with its trace."""

    number: int
    kind: str
    outcome: str
    detail: str = ""

    @property
    def finding(self) -> bool:
        """Whether it is neither read nor refused."""
        return self.outcome not in ("read", "refused")


def judge(kind: Kind, folder: Path) -> tuple[str, str]:
    """Read a damaged file with all readers of its kind; return the outcome and its detail."""
    path, outcome, before = folder / (kind.reads or kind.file), "read", _resident()
    for reader in kind.readers:
        try:
            reader(path)
        except (SupercosmError, OSError) as error:
            outcome = "refused"
            if fault := _fault(error):
                return fault, _trace(error)
        except BaseException as error:  # whatever it is, it is none of those that a user is told in a sentence
            return type(error).__name__, _trace(error)
        if Path("executed").exists():
            return "executed", reader.__name__
        if _resident() - before > RESIDENT:
            return "memory", f"{reader.__name__}: {(_resident() - before) >> 10} MiB"
    return outcome, ""


def _fault(error: BaseException) -> str:
    """Say what is wrong with an error that is to be a sentence; nothing if it is well."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return "memory"
        cause = cause.__cause__ or cause.__context__
    if not isinstance(error, SupercosmError):
        return "" if error.filename is not None else "OSError without a file"
    sentence = str(error)
    return "no sentence" if "\n" in sentence or not 20 < len(sentence) < LONGEST else ""


def _trace(error: BaseException) -> str:
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if "supercosm" in f.filename and "tests" not in f.filename
    ]
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-3:]))
    return f"{where}: {' '.join(str(error).split())[:200]}"


def _resident() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> 10 if sys.platform == "darwin" else peak


def prepare(kinds: Sequence[Kind], seed: int, number: int, folder: Path) -> Kind:
    """Put a damaged file into an empty folder: which kind and how follow from seed and number."""
    dice = random.Random(f"{seed} {number}")
    kind = kinds[number % len(kinds)]
    shutil.copytree(kind.folder, folder, dirs_exist_ok=True)
    try:
        damage(dice, folder / kind.file, kind.form)
    except Exception:  # what the libraries that write do not take: then bytes of it, or of what there is
        damage(dice, folder / kind.file, "bytes")
    if kind.repair:
        kind.repair(folder / kind.file)
    return kind


def work(kinds: Sequence[Kind], seed: int, numbers: Sequence[int], pipe: Connection, root: Path) -> None:
    """Judge damaged files one after the other, in a process with bounds; tell of each before and after."""
    warnings.simplefilter("ignore")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if _has_proc() else 0
    resource.setrlimit(resource.RLIMIT_AS, (used + SPACE, used + SPACE)) if used else None
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what libraries print of damaged files
        os.dup2(null, stream)
    for number in numbers:
        folder = root / str(number)
        folder.mkdir(parents=True)
        os.chdir(folder)
        pipe.send(number)
        kind = prepare(kinds, seed, number, folder)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        found = Found(number, kind.name, *judge(kind, folder))
        signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send(found)
        if not found.finding:
            shutil.rmtree(folder)
    pipe.close()


def _has_proc() -> bool:
    return Path("/proc/self/statm").exists()


def judged(kinds: Sequence[Kind], seed: int, numbers: Sequence[int], root: Path) -> Iterator[Found]:
    """Yield what became of each damaged file; a process that dies or hangs is replaced."""
    context, rest = multiprocessing.get_context("fork"), list(numbers)
    while rest:
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=work, args=(kinds, seed, rest, theirs, root), daemon=True)
        child.start()
        theirs.close()
        current = rest[0]
        try:
            while ours.poll(PATIENCE):
                told = ours.recv()
                if isinstance(told, int):
                    current = told
                else:
                    yield told
                    rest = rest[rest.index(told.number) + 1 :]
            child.kill()
            outcome = "hangs"
        except EOFError:
            child.join()
            outcome = "hangs" if child.exitcode == -signal.SIGPROF else f"dies ({child.exitcode})"
        child.join()
        if rest:
            yield Found(current, kinds[current % len(kinds)].name, outcome)
            rest = rest[rest.index(current) + 1 :]


def table(found: Sequence[Found], kinds: Sequence[Kind]) -> str:
    """Write a table: what became of the damaged files of each kind."""
    rows = [f"{'kind':<32}{'read':>8}{'refused':>9}{'findings':>10}"]
    for name in [kind.name for kind in kinds]:
        counts = Counter("findings" if f.finding else f.outcome for f in found if f.kind == name)
        rows.append(f"{name:<32}{counts['read']:>8}{counts['refused']:>9}{counts['findings']:>10}")
    total = Counter("findings" if f.finding else f.outcome for f in found)
    return "\n".join([*rows, f"{'all':<32}{total['read']:>8}{total['refused']:>9}{total['findings']:>10}"])


def fuzz(inputs: int, seed: int, root: Path) -> tuple[list[Found], list[Kind]]:
    """Judge so many damaged files; the corpus and the files of findings lie in root.

    A fresh process does, for threads of OpenMP that this one may have started do not outlive a fork.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(_fuzz, inputs, seed, root).result()


def _fuzz(inputs: int, seed: int, root: Path) -> tuple[list[Found], list[Kind]]:
    kinds = corpus(root / "whole")
    return list(judged(kinds, seed, range(inputs), root / "damaged")), kinds


def corpus(root: Path) -> list[Kind]:
    """Make the whole files in a process of their own: numba ends a child of one that has used OpenMP."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as apart:
        return apart.submit(make, root).result()


def main() -> None:
    """Parse the command line, print findings and a table, and exit with 1 where there are any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="kinds whose names contain this")
    parser.add_argument("--first", type=int, default=0, help="number of the first input, to repeat a finding")
    parser.add_argument("--keep", type=Path, help="a new folder for the corpus and the files of findings")
    arguments = parser.parse_args()
    root = (arguments.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))).resolve()
    kinds = [kind for kind in corpus(root / "whole") if arguments.only in kind.name]
    found, numbers = [], range(arguments.first, arguments.first + arguments.inputs)
    known: set[tuple[str, ...]] = set()
    for one in judged(kinds, arguments.seed, numbers, root / "damaged"):
        found.append(one)
        where = (one.kind, one.outcome, one.detail.partition(": ")[0])
        if one.finding and where not in known:  # the first of its like
            known.add(where)
            print(f"{one.kind}, input {one.number}: {one.outcome} at {one.detail}", flush=True)
    print(f"\n{table(found, kinds)}\nseed {arguments.seed}, {len(known)} different findings in {root}")
    if not arguments.keep and not known:
        shutil.rmtree(root)
    sys.exit(bool(known))


if __name__ == "__main__":
    main()
