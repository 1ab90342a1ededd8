"""Files that appear whole or not at all, and locks on folders."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from supercosm.errors import DataError, SupercosmError
from supercosm.paging import Written
from supercosm.stored import check_all

METADATA = "v110"  # HDF5's format with checksums on attributes and structure too; fletcher32 guards the data
# h5py has no error class of its own: a flipped bit can surface as any of these
UNREADABLE = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, MemoryError, ArithmeticError)
LONGEST = 200  # characters of what a library says that an error passes on
FOREIGN = ("snapshot", "HDF5 file")  # kinds of files that others write, too
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # as Lustre answers where it is mounted without flock


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; sync and rename it once the block ends without an error.

    A failure leaves nothing behind, and a reader never sees a half-written file. Left-overs of writers that
    were killed are removed by the next one.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # whose place a file would take: root might replace /dev/null
        what = "a folder" if path.is_dir() else "a device"
        raise DataError(f"{path} is {what}; name a file to write instead")
    part = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        yield part
        _sync(part)
        os.replace(part, path)
        _sync(path.parent)
    except (OSError, RuntimeError) as error:  # HDF5 tells of a full disk as either
        if not is_full(error):
            raise
        named = getattr(error, "filename", None)
        full = Path(named) if isinstance(named, str) and named != str(part) else path  # or scratch space
        raise DataError(
            f"the disk is full (or a quota is used up): {full} was not written; "
            f"free some space in {full.parent} and run again"
        ) from error
    finally:
        if part.exists():
            part.unlink()


def is_full(error: Exception) -> bool:
    """Tell whether an error says that a disk, a quota or a limit of a file's size is exceeded."""
    messages = [os.strerror(number) for number in FULL]
    return getattr(error, "errno", None) in FULL or any(message in str(error) for message in messages)


class _Output:
    """A binary file that keeps its first error and lets later writes pass: HDF5 crashes when one fails."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115 - closed by the writer
        self._error: OSError | None = None
        self._written = Written(self._file.fileno())
        self.read, self.readinto = self._file.read, self._file.readinto
        self.seek, self.tell, self.close = self._file.seek, self._file.tell, self._file.close

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        self._try(self._write_all, rest)
        return len(rest)

    def truncate(self, size: int) -> int:
        self._try(self._file.truncate, size)
        return size

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def check(self) -> None:
        """Raise what went wrong."""
        if self._error is not None:
            raise self._error

    def _write_all(self, rest: memoryview) -> None:
        count = len(rest)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._written.add(count)

    def _try(self, action: Callable[[Any], Any], value: Any) -> None:
        if self._error is None:
            try:
                action(value)
            except OSError as error:
                self._error = error


@contextmanager
def hdf5_writer(path: str | Path) -> Iterator[h5py.File]:
    """Open an HDF5 file to write, whole or not at all, with checksums on everything but the data.

    Give every dataset `fletcher32=True`, and every string attribute as `numpy.bytes_`, which stays in the
    checked header.
    """
    with whole(path) as part, closing(_Output(part)) as output:
        with h5py.File(output, "w", libver=(METADATA, METADATA)) as file:
            yield file
        output.check()


@contextmanager
def hdf5_reader(path: str | Path, kind: str) -> Iterator[h5py.File]:
    """Open an HDF5 file to read; raise DataError when it is missing, or damaged anywhere the block reads.

    Files of this package's own kinds are looked at whole first; readers of snapshots, which others write, too, check
    what they take.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no {kind} {path}; check the path or run the stage that makes it")
    try:
        with h5py.File(path, "r") as file:
            if kind not in FOREIGN:
                check_all(file, path)
            yield file
    except SupercosmError:
        raise
    except UNREADABLE as error:
        why = " ".join(str(error).split())[:LONGEST]
        raise DataError(
            f"{path} cannot be read as a {kind} (truncated, damaged or of another kind: {why}); "
            "delete it and make it again"
        ) from error


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON, keys sorted, whole or not at all."""
    with whole(path) as part:
        part.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read JSON; raise OSError where there is none, and ValueError for garbage, nested without end included."""
    try:
        return json.loads(Path(path).read_bytes())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold an exclusive lock on a folder; raise DataError when another process holds it, or none can be held there."""
    with lock_file(Path(folder) / ".lock", Path(folder)):
        yield


@contextmanager
def lock_file(path: Path, folder: Path, shared: bool = False, passing: bool = False) -> Iterator[None]:
    """Hold a lock by means of a file, made where there is none, on what happens in a folder.

    shared: with others who share it. passing: the file is removed at the end. Raises DataError as `locked` does.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file:
            _flock(file, folder, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            if not _same(file, path):  # its last holder has removed it since it was opened: it guards nothing
                continue
            yield
            if passing:
                path.unlink(missing_ok=True)
            return


def _flock(file: BinaryIO, folder: Path, kind: int) -> None:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(f"another process is working in {folder}; wait for it or stop it, then run again") from None
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
        raise DataError(
            f"{file.name} cannot be locked: its file system has no locks ({os.strerror(error.errno)}); "
            "name a folder on another one"
        ) from error


def _same(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _remove_leftovers(path: Path) -> None:
    host = socket.gethostname()
    for part in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(host)}-*.part"):
        pid = part.name.removesuffix(".part").rpartition("-")[2]
        if pid.isdigit() and int(pid) != os.getpid() and not _alive(int(pid)):
            part.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
