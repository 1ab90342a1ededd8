"""Big files that pass through a process without filling its memory: written pages go to disk, and are let go.

The operating system keeps what is written until it finds the time to store it, and counts that towards the memory of a
job. So every now and then it is asked to store and to forget.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from supercosm.stopping import stop_if_asked

log = logging.getLogger(__name__)

FLUSH = 1 << 28  # bytes written between two requests: smaller files never wait for the disk


def let_go(descriptor: int) -> None:
    """Store what was written to an open file, and drop it from memory."""
    os.fsync(descriptor)
    if hasattr(os, "posix_fadvise"):  # macOS lacks it
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


class Written:
    """Counts the bytes written to an open file, and lets them go in portions."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._bytes = descriptor, 0

    def add(self, count: int) -> None:
        """Note that so many bytes more were written."""
        self._bytes += count
        if self._bytes >= FLUSH:
            let_go(self._descriptor)
            self._bytes = 0


class ScratchFolder:
    """A folder for temporary files, removed when it is closed, or, where its process was killed, by the next one.

    A lock tells which folders are in use: it ends with the process that holds it. Names of folder and lock are no one
    else's, and say which machine it is: locks of others may not be seen here. Where the file system knows no locks,
    nothing is removed that is not closed.
    """

    LOCK = ".scratch-lock"

    def __init__(self) -> None:
        """Make a folder where the system keeps temporary files, and remove those that nobody uses any more."""
        prefix = f".supercosm-scratch-{socket.gethostname()}@"  # which no host's name holds: node1 is not node1-b
        for left in Path(tempfile.gettempdir()).glob(f"{glob.escape(prefix)}*/{self.LOCK}"):
            with suppress(OSError), open(left, "r+b") as lock:  # in use, or another user's
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left.parent, ignore_errors=True)
        self._folder = tempfile.TemporaryDirectory(prefix=prefix)
        self.path = Path(self._folder.name)
        new = self.path / f"{self.LOCK}.new"
        self._lock = open(new, "w+b")  # noqa: SIM115 - held as long as the folder is there
        with suppress(OSError):
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            new.rename(self.path / self.LOCK)  # locked before others see it

    def close(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()
        self._lock.close()


@contextmanager
def one_at_a_time(path: Path, patience: float = 0.2) -> Iterator[None]:
    """Let one process at a time, of all that want to make this file, go on; the others look every `patience` [s].

    The lock lies beside the file, and stays. Where the file system knows no locks, nobody waits. Raises StoppedError
    where a process that waits is asked to stop.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "wb") as lock:
        told = False
        while (error := _locked(lock)) == errno.EWOULDBLOCK:
            if not told:
                log.info("waiting for another process that makes %s", path)
            told = True
            stop_if_asked()
            time.sleep(patience)
        if error:
            log.warning("%s: no locks here (%s), so each process makes it", path, os.strerror(error))
        yield


def _locked(lock: Any) -> int:
    """Try to lock an open file; return 0, or the number of the error."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno or errno.ENOLCK
    return 0


class ScratchFile:
    """A file of raw numbers that is written and read at any place; its space is taken at once."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        """Make a file of `size` bytes, or open one that is there to read; raise OSError where the disk has no room."""
        self._file = open(path, "rb" if size is None else "w+b", buffering=0)  # noqa: SIM115 - closed by `close`
        self._written = Written(self._file.fileno())
        try:
            if size is not None:
                reserve(self._file, size)
        except OSError as error:
            self._file.close()
            raise OSError(error.errno, error.strerror, str(path)) from None

    def write(self, offset: int, numbers: np.ndarray) -> None:
        """Write an array, in C order, from byte `offset` on."""
        rest = memoryview(np.ascontiguousarray(numbers)).cast("B")
        self._written.add(len(rest))
        while rest:
            count = os.pwrite(self._file.fileno(), rest, offset)
            rest, offset = rest[count:], offset + count

    def read(self, offset: int, into: np.ndarray) -> None:
        """Fill an array, contiguous in C order, with what lies from byte `offset` on."""
        rest = memoryview(into).cast("B")
        while rest:
            count = os.preadv(self._file.fileno(), [rest], offset)
            if count == 0:
                raise OSError(f"{self._file.name} ends at byte {offset}, before what is read from it")
            rest, offset = rest[count:], offset + count

    def close(self) -> None:
        """Close the file, which stays."""
        self._file.close()


class Stored:
    """An array that waits in scratch space until it is needed again."""

    def __init__(self, numbers: np.ndarray) -> None:
        """Write an array to disk."""
        self._shape, self._kind, self._scratch = numbers.shape, numbers.dtype, ScratchFolder()
        self._file = ScratchFile(self._scratch.path / "numbers", numbers.nbytes)
        self._file.write(0, numbers)

    def read(self) -> np.ndarray:
        """Return it, as a new array."""
        numbers = np.empty(self._shape, self._kind)
        self._file.read(0, numbers)
        return numbers

    def close(self) -> None:
        """Give the scratch space back."""
        self._file.close()
        self._scratch.close()


def reserve(file: Any, size: int) -> None:
    """Take the space of an open file at once: a full disk is an error now, no crash later."""
    if hasattr(os, "posix_fallocate"):  # macOS lacks it
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)
