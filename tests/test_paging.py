"""Scratch space: what a killed process leaves is removed, what others keep is not; one process makes what many need."""

import errno
import fcntl
import os
import signal
import tempfile
import threading
import time

import pytest

from supercosm.errors import StoppedError
from supercosm.files import locked
from supercosm.paging import ScratchFolder, one_at_a_time
from supercosm.stopping import stoppable


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Let the system's folder for temporary files be this one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def abandon():
    """Leave a scratch folder as a killed process does: its files, and a lock that nobody holds."""
    folder = ScratchFolder()
    (folder.path / "numbers").write_bytes(b"123")
    folder._folder._finalizer.detach()
    folder._lock.close()
    return folder.path


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_stays():
    used, left = ScratchFolder(), abandon()
    new = ScratchFolder()
    assert not left.exists()
    assert used.path.exists()
    for folder in (used, new):
        folder.close()
        assert not folder.path.exists()


@pytest.mark.parametrize("name", ["supercosm-train", ".supercosm-scratch", "checkpoints"])
def test_folders_of_others_are_left_alone(temporary, name):
    folder = temporary / name
    with locked(folder):
        (folder / "last.ckpt").write_bytes(b"days of training")
    ScratchFolder().close()
    assert (folder / "last.ckpt").exists()


def test_folders_of_other_machines_are_left_alone(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "node1-b")
    left = abandon()
    monkeypatch.setattr("socket.gethostname", lambda: "node1")
    ScratchFolder().close()
    assert left.exists()
    monkeypatch.setattr("socket.gethostname", lambda: "node1-b")
    ScratchFolder().close()
    assert not left.exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_file_systems_without_locks_do(temporary, monkeypatch, number):
    def refused(*_):
        raise OSError(number, os.strerror(number))

    left = abandon()
    monkeypatch.setattr(fcntl, "flock", refused)
    folder = ScratchFolder()
    assert left.exists()  # nobody can tell whether it is in use
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    ScratchFolder().close()
    assert folder.path.exists()  # nor of this one
    folder.close()
    assert not folder.path.exists()


def test_one_makes_a_file_and_the_others_wait_for_it(temporary):
    path, made = temporary / "new" / "modes", []

    def make():
        with one_at_a_time(path, patience=0.01):
            if not path.exists():
                made.append(1)
                time.sleep(0.1)  # others come while it is made
                path.write_bytes(b"1")

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_waiting_ends_where_the_process_is_asked_to_stop(temporary):
    path = temporary / "modes"
    with one_at_a_time(path), stoppable():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StoppedError), one_at_a_time(path):
            pytest.fail("the lock was not held")


def test_without_locks_nobody_waits(temporary, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)
    path = temporary / "modes"
    with one_at_a_time(path), one_at_a_time(path):
        path.write_bytes(b"1")
