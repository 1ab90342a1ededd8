"""Threads: two at least, whatever a job was allowed."""

import os

import pytest

from supercosm import threads
from supercosm.threads import two_threads_at_least

NAMES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@pytest.mark.parametrize(
    ("given", "cores", "expected"), [("1", 8, "2"), ("2", 1, "2"), ("6", 8, "6"), ("4,2", 8, "4,2"), (None, 1, "2")]
)
def test_one_thread_becomes_two_and_more_stay(monkeypatch, given, cores, expected):
    monkeypatch.setattr(threads, "cores", lambda: cores)
    for name in NAMES:
        if given is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, given)
    two_threads_at_least()
    assert [os.environ[name] for name in NAMES] == [expected] * 3


def test_where_nothing_is_said_and_cores_abound_nothing_is_set(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 4)
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    two_threads_at_least()
    assert not any(name in os.environ for name in NAMES)
