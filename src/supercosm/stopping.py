"""Being asked to stop: SIGTERM and SIGUSR1, which schedulers send some time before they kill.

A request is only noted. Work that can go on later looks for it where it has just kept what it did, and ends there.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from supercosm.errors import StoppedError

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, ask again
OUTLOOK = "the same command goes on from here"
ONE_REQUEST = 1.0  # seconds: schedulers signal a process and its parents, who may pass it on, so it comes several times


class Request:
    """Whether this process was asked to stop, by which signal, and when."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._since = 0.0
        self._process = os.getpid()

    def catch(self) -> None:
        """Note signals from now on; do nothing in any but the main thread, as Python allows handlers there alone."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._note)

    def check(self, outlook: str = OUTLOOK) -> None:
        """Raise StoppedError if the process was asked to stop; outlook: what becomes of the work."""
        if self.signal is not None:
            raise StoppedError(f"stopped by {self.signal.name}; {outlook}")

    def _note(self, number: int, _: FrameType | None) -> None:
        """Note the first request; a second one ends the process, unless it is a helper, whose end is its parent's."""
        if self.signal is None:
            self.signal, self._since = signal.Signals(number), time.monotonic()
        elif time.monotonic() - self._since > ONE_REQUEST and os.getpid() == self._process:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


_requests: list[Request] = []  # signals belong to the process, and so does the request


@contextmanager
def stoppable() -> Iterator[Request]:
    """Note requests to stop while the block runs, in which `stop_if_asked` then ends the work."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    request = Request()
    request.catch()
    _requests.append(request)
    try:
        yield request
    finally:
        _requests.remove(request)
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


def asked_to_stop() -> bool:
    """Tell whether the process was asked to stop in a block of `stoppable`."""
    return any(request.signal is not None for request in _requests)


def stop_if_asked(outlook: str = OUTLOOK) -> None:
    """Raise StoppedError where the process was asked to stop in a block of `stoppable`, and nowhere else.

    outlook: what becomes of the work.
    """
    for request in _requests:
        request.check(outlook)
