"""Requests to stop: noted once, a second one ends the process, and handlers are put back."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from supercosm.errors import StoppedError
from supercosm.stopping import SIGNALS, stop_if_asked, stoppable


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_ends_the_work_where_it_looks(number):
    before = signal.getsignal(number)
    with stoppable():
        stop_if_asked()
        os.kill(os.getpid(), number)
        with pytest.raises(StoppedError, match=f"stopped by {number.name}; the same command goes on"):
            stop_if_asked()
    assert signal.getsignal(number) is before
    stop_if_asked()  # the request went with its block


def test_what_was_asked_several_times_at_once_is_one_request():
    with stoppable() as request:
        for number in (*SIGNALS, *SIGNALS):
            os.kill(os.getpid(), number)
        assert request.signal == SIGNALS[0]


def test_another_thread_works_without_handlers():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with stoppable() as request:
            seen.append((signal.getsignal(signal.SIGTERM), request.signal))
            stop_if_asked()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, None)]


SCRIPT = """
import os, signal, sys, time
from supercosm import stopping
stopping.ONE_REQUEST = 0.05
with stopping.stoppable() as request:
    os.kill(os.getpid(), signal.SIGTERM)
    print("noted", request.signal.name, flush=True)
    time.sleep(0.1)
    child = os.fork() if sys.argv[1] == "helper" else None
    if child is None or child == 0:
        os.kill(os.getpid(), signal.SIGUSR1)
        print("goes on", flush=True)
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""


@pytest.mark.parametrize(
    ("who", "code", "printed"),
    [("itself", -signal.SIGUSR1, "noted SIGTERM\n"), ("helper", 0, "noted SIGTERM\ngoes on\n0\n")],
)
def test_a_second_request_ends_the_process_but_no_helper(who, code, printed):
    result = subprocess.run([sys.executable, "-c", SCRIPT, who], stdout=subprocess.PIPE, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (code, printed)
