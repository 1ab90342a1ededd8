"""Intermediate results on disk: arrays under names, each whole or not there, in a folder that belongs to one task."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from supercosm.errors import DataError
from supercosm.files import FULL, lock_file
from supercosm.provenance import provenance

FOLDER = "slabs-"  # what folders of tasks are called, before their fingerprint


@dataclass(frozen=True)
class Scratch:
    """A folder of arrays; what is there is finished, so work that was stopped goes on after it."""

    folder: Path

    def path(self, name: str) -> Path:
        """Return where an array lies."""
        return self.folder / f"{name}.npy"

    def has(self, *names: str) -> bool:
        """Tell whether all of these arrays are there."""
        return all(self.path(name).is_file() for name in names)

    def save(self, name: str, array: np.ndarray) -> None:
        """Write an array; it appears under its name when it is whole.

        The disk is not waited for: after a power cut an array may be damaged, which is told when it is read.
        """
        part = self.folder / f".{name}.part"
        self.folder.mkdir(parents=True, exist_ok=True)
        with room_told(self.path(name)), open(part, "wb") as file:
            np.save(file, array, allow_pickle=False)
        part.replace(self.path(name))

    def load(self, name: str) -> np.ndarray:
        """Read an array; raise DataError when it is missing or damaged."""
        with self._opened(name) as file:
            return np.load(file, allow_pickle=False)

    def rows(self, name: str, start: int, stop: int, part: slice = slice(None)) -> np.ndarray:
        """Read rows start…stop of an array along its first axis, and of these a part along the second."""
        with self._opened(name) as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            begin, rest = file.tell(), shape[2:]
            first, last, _ = part.indices(shape[1])
            length = int(np.prod(rest, dtype=np.int64))
            found = np.empty((stop - start, last - first, *rest), dtype)
            for row in range(start, stop) if last - first < shape[1] else (start,):
                file.seek(begin + (row * shape[1] + first) * length * dtype.itemsize)
                target = found[row - start] if last - first < shape[1] else found
                if file.readinto(target.reshape(-1).view(np.uint8)) != target.nbytes:
                    raise ValueError("it ends too early")
            return found

    def remove(self, *patterns: str) -> None:
        """Remove arrays and folders whose names match."""
        for pattern in patterns:
            for path in self.folder.glob(pattern):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    @contextmanager
    def locked(self, slab: int | None = None, passing: bool = False) -> Iterator[None]:
        """Let nobody else work here, or, given a slab, nobody else on that slab; raise DataError if somebody does.

        The lock that all take part in lies beside the folder, which may so be removed meanwhile. passing: at the end
        it is.
        """
        beside = self.folder.with_name(f".{self.folder.name}.lock")
        with ExitStack() as stack:
            stack.enter_context(lock_file(beside, self.folder, slab is not None, passing))
            if slab is not None:
                stack.enter_context(lock_file(self.folder / f".slab-{slab}.lock", self.folder))
            yield

    @contextmanager
    def _opened(self, name: str) -> Iterator[Any]:
        path = self.path(name)
        try:
            with open(path, "rb") as file:
                yield file
        except FileNotFoundError:
            raise DataError(f"{path} has disappeared; remove {self.folder} and start again") from None
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"{path} cannot be read ({error}); delete it, and the same command makes it again"
            ) from None


def remove_others(folder: Path) -> None:
    """Remove what measurements with other settings have left in a folder, unless one is at work; and it, if empty."""
    names = {path.name.removeprefix(".").removesuffix(".lock") for path in folder.glob(f"*{FOLDER}*")}
    for name in sorted(names):
        with suppress(DataError), Scratch(folder / name).locked(passing=True):
            shutil.rmtree(folder / name, ignore_errors=True)
    with suppress(OSError):  # somebody is at work
        folder.rmdir()


@contextmanager
def room_told(path: Path) -> Iterator[None]:
    """Raise DataError, in a sentence, where the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DataError(f"the disk is full: {path} was not written; free some space and run again") from error


def check_room(folder: Path, needed: float) -> None:
    """Raise DataError unless a file system has so many bytes free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"the scratch needs about {needed / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free; "
            "name another place with --scratch"
        )


def fingerprint(files: Sequence[Path], content: dict[str, Any]) -> str:
    """Return what tells one task from another, as hexadecimal digits.

    That is its files (where they are, sizes, times), its settings, and the version of this package.
    """
    found = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    task = provenance("measure", content)["version"], found, content
    return hashlib.sha256(json.dumps(task, sort_keys=True).encode()).hexdigest()[:16]


def missing(scratch: Scratch, names: Sequence[str], make: Callable[[int], None], tick: Callable[[], None]) -> None:
    """Make the arrays that are not there yet, by their number."""
    for number, name in enumerate(names):
        if not scratch.has(name):
            make(number)
        tick()
