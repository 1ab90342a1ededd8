"""What P(k) of a density mesh costs, against its FFT alone and, in the same run, against Pylians.

    python benchmarks/power.py [--cells 256 512] [--threads 2] [--peer PYTHON] [--output FILE.ecsv]

--peer is the interpreter of an environment with Pylians, which always measures multipoles with P(k). Everything takes
turns, so that a busy machine is busy for all; the smallest of the repeats counts. Memory is the most that a process of
its own needs for one mesh and its spectra.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

OURS = """
import resource, sys, time, torch
import numpy as np
from supercosm.statistics.multipoles import multipoles
from supercosm.statistics.power import CLOUD_IN_CELL, compare, transform
cells, threads = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
small = torch.zeros((1, 8, 8, 8))
edges = np.arange(1.0, cells // 2 + 1)
compare(small, small, 1.0, np.arange(1.0, 4), window=CLOUD_IN_CELL)
multipoles(transform(small, 3, 4), 1.0, np.arange(1.0, 4), 8)
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
field = torch.randn((1,) + (cells,) * 3)
"""
OURS_RUN = "compare(field, field, 100.0, edges, window=CLOUD_IN_CELL)"
MULTIPOLES_RUN = "multipoles(transform(field, 3, cells // 2), 100.0, edges, cells)"
FFT_RUN = "torch.fft.rfftn(field[0])"
PYLIANS = """
import resource, sys, time
import numpy as np
import Pk_library as PKL
cells, threads = int(sys.argv[1]), int(sys.argv[2])
PKL.Pk(np.zeros((8, 8, 8), np.float32), 100.0, 2, "CIC", threads, verbose=False)
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
field = np.random.default_rng(1).standard_normal((cells,) * 3, dtype=np.float32)
"""
PYLIANS_RUN = 'PKL.Pk(field, 100.0, 2, "CIC", threads, verbose=False)'
SERVE = """
for line in sys.stdin:
    begin = time.perf_counter()
    {run}
    print(time.perf_counter() - begin, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024, flush=True)
"""


class Worker:
    """A process that repeats one piece of work whenever asked, and says how long it took."""

    def __init__(self, python: str, setup: str, run: str, cells: int, threads: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [python, "-c", setup + SERVE.format(run=run), str(cells), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def once(self) -> tuple[float, float]:
        """Return seconds of one repeat and the most memory ever needed [MB]."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds, memory = self.process.stdout.readline().split()
        return float(seconds), float(memory)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure(workers: dict[str, Callable[[], Worker]], repeats: int) -> dict[str, tuple[float, float]]:
    """Let the workers take turns: the smallest time of each [s] and its memory [MB]."""
    running = {name: start() for name, start in workers.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in running}
    for _ in range(repeats):
        for name, worker in running.items():
            found[name].append(worker.once())
            time.sleep(0.05)
    for worker in running.values():
        worker.close()
    return {name: (min(t for t, _ in times), times[-1][1]) for name, times in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--peer", help="interpreter of an environment with Pylians")
    parser.add_argument("--output")
    options = parser.parse_args()
    rows = []
    for cells in options.cells:

        def worker(python: str, setup: str, run: str, cells: int = cells) -> Callable[[], Worker]:
            return lambda: Worker(python, setup, run, cells, options.threads)

        workers = {
            "FFT alone": worker(sys.executable, OURS, FFT_RUN),
            "P(k)": worker(sys.executable, OURS, OURS_RUN),
            "P0, P2, P4": worker(sys.executable, OURS, MULTIPOLES_RUN),
        }
        if options.peer:
            workers["P(k), P2, P4: Pylians"] = worker(options.peer, PYLIANS, PYLIANS_RUN)
        found = measure(workers, options.repeats)
        alone = found["FFT alone"][0]
        mesh = cells**3 * np.dtype(np.float32).itemsize / 2**20
        rows += [(cells, name, s, s / alone, memory, memory / mesh) for name, (s, memory) in found.items()]
    report(rows, options)


def report(rows: list[tuple], options: argparse.Namespace) -> None:
    from astropy.table import Table

    from supercosm.provenance import machine

    table = Table(rows=rows, names=("cells", "piece", "seconds", "of_fft", "memory_MB", "of_mesh"))
    for name, form in {"seconds": ".4f", "of_fft": ".2f", "memory_MB": ".0f", "of_mesh": ".1f"}.items():
        table[name].info.format = form
    table.meta = {
        "what": "shells of |n| = 1, 2 … cells/2 of a cloud-in-cell mesh given in memory; smallest of the repeats",
        "threads": options.threads,
        "repeats": options.repeats,
        "load": round(os.getloadavg()[0], 1),
        **machine(),
    }
    table.pprint_all()
    if options.output:
        for name, digits in {"seconds": 4, "of_fft": 2, "memory_MB": 0, "of_mesh": 1}.items():
            table[name] = np.round(table[name], digits)
        table.write(options.output, format="ascii.ecsv", overwrite=True)


if __name__ == "__main__":
    main()
