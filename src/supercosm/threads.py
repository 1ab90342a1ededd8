"""How many threads torch and numba compute on: decided before they are imported, because that is when they look."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")  # of torch, MKL and numba


def two_threads_at_least() -> None:
    """Take two threads where one would be taken.

    On some processors the FFT of MKL rounds otherwise on one thread than on two or any larger number; the same settings
    are to give the same bits, also in a job that was allowed one core. numba shares torch's threads, so one for numba
    would leave torch one, too.
    """
    for name in THREADS:
        given = os.environ.get(name, "").partition(",")[0]  # OpenMP takes a list, one number for each level
        if (int(given) if given.isdigit() else cores()) < 2:
            os.environ[name] = "2"


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: small networks gain nothing from more, and sums keep their order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
