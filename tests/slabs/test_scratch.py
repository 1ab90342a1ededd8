"""The folder of what is on disk meanwhile: who may work in it, what it is named after, and what is gone of it."""

import errno
import fcntl
import os
from contextlib import suppress
from dataclasses import replace

import h5py
import numpy as np
import pytest

from supercosm import files
from supercosm.errors import DataError
from supercosm.formats.blocks import open_blocks
from supercosm.slabs.measuring import SlabBox, Task, measure_by_slabs
from supercosm.slabs.scratch import FOLDER, Scratch, check_room, fingerprint
from supercosm.slabs.sorting import particles
from supercosm.snapshot import write_snapshot

SLABS = 3


@pytest.fixture
def box(lower, settings, tmp_path):
    """16³ particles, not sorted yet."""
    write_snapshot(tmp_path / "box.hdf5", lower)
    blocks = open_blocks(tmp_path / "box.hdf5", 1000)
    return SlabBox(blocks, settings.model_copy(update={"slabs": SLABS}), Scratch(tmp_path / "scratch" / f"{FOLDER}1"))


def sorted_columns(box):
    box.sort_particles(range(SLABS))
    return {name: box.scratch.folder / f"{name}-0-{SLABS - 1}" for name in ("positions", "velocities", "ids")}


# What has disappeared


@pytest.mark.parametrize("column", ["positions", "ids"])
@pytest.mark.parametrize("lost", ["1.high", "rows.json", "half of 1.high"])
def test_sorted_particles_that_are_gone_are_no_empty_slab(box, column, lost):
    folder = sorted_columns(box)[column]
    path = folder / lost.split()[-1]
    if lost.startswith("half"):
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.unlink()
    with pytest.raises(DataError, match=f"disappeared from .*; remove the scratch folder {box.scratch.folder} and"):
        particles(box.scratch, box.layout, column, 1)


def test_all_particles_must_have_been_sorted(box):
    sorted_columns(box)
    fewer = vars(box.layout) | {"count": box.count + 1}
    with pytest.raises(DataError, match="have disappeared"):
        particles(box.scratch, type(box.layout)(**fewer), "positions", 0)


def test_an_array_that_is_gone_is_told(tmp_path):
    with pytest.raises(DataError, match=f"x.npy has disappeared; remove {tmp_path} and start again"):
        Scratch(tmp_path).load("x")


# IDs


@pytest.mark.parametrize("first", [0, 2**32 - 2000, 2**40])
def test_ids_are_never_cut(box, first):
    with h5py.File(box.snapshot.paths[0], "r+") as file:  # one of this package's own, as far as it tells
        ids = np.arange(box.count, dtype=np.uint64) + np.uint64(first)
        del file["PartType1/ParticleIDs"]
        file["PartType1/ParticleIDs"] = ids
    sorted_columns(box)
    found = np.concatenate([particles(box.scratch, box.layout, "ids", slab) for slab in range(SLABS)])
    np.testing.assert_array_equal(np.sort(found), ids)
    assert found.itemsize == (8 if first else 4)


# Names


def test_boxes_of_one_name_size_and_time_are_two(tmp_path, monkeypatch):
    paths = [tmp_path / folder / "box.hdf5" for folder in ("one", "two")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(b"x")
        os.utime(path, ns=(1, 1))
    first, second = (fingerprint([path], {}) for path in paths)
    assert first != second
    monkeypatch.chdir(tmp_path)
    assert fingerprint([paths[0].relative_to(tmp_path)], {}) == first
    monkeypatch.setattr("supercosm.slabs.scratch.provenance", lambda *_: {"version": "another"})
    assert fingerprint([paths[0]], {}) != first


# Locks


def test_slabs_are_worked_on_side_by_side_and_gathered_alone(tmp_path):
    scratch, busy = Scratch(tmp_path / "slabs-1"), "another process is working in"
    with scratch.locked(0), scratch.locked(1):
        for slab in (0, None):
            with pytest.raises(DataError, match=busy), scratch.locked(slab):
                pass
    with scratch.locked(passing=True):
        with pytest.raises(DataError, match=busy), scratch.locked(2):
            pass
        opened = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
        links = [link for number in opened for link in [_target(number)] if link.startswith(str(scratch.folder))]
        assert links == []  # no open file keeps NFS from removing the folder
    assert not list(tmp_path.glob(".*"))


def _target(number):
    with suppress(OSError):
        return os.readlink(f"/proc/self/fd/{number}")
    return ""


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    path, real, tries = tmp_path / "lock", fcntl.flock, []

    def late(file, kind):
        tries.append(kind)
        if len(tries) == 1:  # the one who held it removes it just now
            path.unlink()
        real(file, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    with files.lock_file(path, tmp_path):
        assert len(tries) == 2
        with pytest.raises(DataError), files.lock_file(path, tmp_path):
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_a_sentence(tmp_path, monkeypatch, number):
    def refuse(file, kind):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    told = f"{tmp_path}/.lock cannot be locked: .* name a folder on another one"
    with pytest.raises(DataError, match=told), files.locked(tmp_path):
        pass


# Leftovers


def test_what_other_settings_have_left_goes_unless_somebody_is_at_work(box, settings, tmp_path):
    task = Task(box.snapshot.paths[0], tmp_path / "out", box.settings, ("spectrum",))
    own = task.output / ".scratch"
    idle, busy = Scratch(own / f"{FOLDER}idle"), Scratch(own / f"{FOLDER}busy")
    for scratch in (idle, busy):
        scratch.save("x", np.zeros(3))
    with busy.locked(1):
        measure_by_slabs(task)
        assert {path.name for path in own.iterdir()} == {busy.folder.name, f".{busy.folder.name}.lock"}
    measure_by_slabs(task)
    assert {path.name for path in task.output.iterdir()} == {"spectrum.ecsv"}
    elsewhere = Scratch(tmp_path / "mine" / f"{FOLDER}idle")
    elsewhere.save("x", np.zeros(3))
    measure_by_slabs(replace(task, scratch=tmp_path / "mine"))
    assert elsewhere.has("x")


def test_a_disk_that_is_too_small_is_told_before_the_work(tmp_path):
    with pytest.raises(DataError, match=r"the scratch needs about 1000000000\.0 GB"):
        check_room(tmp_path, 1e18)
