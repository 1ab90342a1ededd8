"""Files appear whole or not at all: on errors, on kill -9, on a full disk."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.files import hdf5_reader, hdf5_writer, locked, sha256, whole, write_json
from supercosm.snapshot import from_lattice, write_snapshot


def test_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "new" / "folder" / "x.txt"
    with whole(target) as part:
        part.write_text("done")
        assert not target.exists()
    assert target.read_text() == "done"
    assert list(target.parent.iterdir()) == [target]


def fail(target, error):
    with whole(target) as part:
        part.write_text("half")
        raise error("stop")


@pytest.mark.parametrize("error", [ValueError, OSError, RuntimeError, KeyboardInterrupt, SystemExit])
def test_error_leaves_what_was_there(tmp_path, error):
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(error):
        fail(target, error)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["x.hdf5", "a[1]*.hdf5"])
def test_leftovers_of_a_killed_writer_are_removed(tmp_path, name):
    target = tmp_path / name
    script = (
        "import sys, time\nfrom supercosm.files import whole\n"
        "with whole(sys.argv[1]) as part:\n"
        "    part.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"ready\n"
        with whole(target) as part:  # a writer that lives keeps its file
            part.write_text("first")
        assert len(list(tmp_path.iterdir())) == 2
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    assert target.read_text() == "first"
    with whole(target) as part:
        part.write_text("second")
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_text() == "second"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def snapshot(n):
    zero = np.zeros((3, n, n, n), np.float32)
    return from_lattice(zero, zero, 50.0, scale_factor=1.0, cosmology=Cosmology())


def test_full_disk_is_one_sentence_and_leaves_no_file(small_disk):
    with pytest.raises(DataError, match=r"the disk is full .*x\.hdf5 was not written; free some space in .* and run"):
        write_snapshot(small_disk / "x.hdf5", snapshot(48))  # 3.5 MB
    assert not list(small_disk.iterdir())
    write_snapshot(small_disk / "x.hdf5", snapshot(16))  # fits: nothing of the first try takes up space
    with pytest.raises(DataError, match="the disk is full"):
        write_json(small_disk / "x.json", "0" * 1_000_000)
    assert [path.name for path in small_disk.iterdir()] == ["x.hdf5"]


def test_size_limit_is_one_sentence_and_leaves_no_file(tmp_path):
    """The limit a shell or a batch system sets; in a child, because it cannot be lifted again."""
    script = (
        "import resource, signal, sys\nimport numpy as np\n"
        "from supercosm.config import Cosmology\nfrom supercosm.errors import DataError\n"
        "from supercosm.snapshot import from_lattice, write_snapshot\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "zero = np.zeros((3, 48, 48, 48), np.float32)\n"
        "try:\n"
        "    snapshot = from_lattice(zero, zero, 50.0, scale_factor=1.0, cosmology=Cosmology())\n"
        "    write_snapshot(sys.argv[1], snapshot)\n"
        "except DataError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "x.hdf5")], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("the disk is full")
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.iterdir())


def test_hdf5_metadata_has_checksums(tmp_path):
    """A flipped bit in an attribute is seen: plain HDF5 would hand out the wrong number."""
    path = tmp_path / "x.hdf5"
    with hdf5_writer(path) as file:
        file.attrs["number"] = 0.123456789
    content = path.read_bytes()
    place = content.index(np.float64(0.123456789).tobytes())
    damaged = bytearray(content)
    damaged[place] ^= 1
    path.write_bytes(damaged)
    with (
        pytest.raises(DataError, match="truncated, damaged or of another kind"),
        hdf5_reader(path, "table") as file,
    ):
        _ = file.attrs["number"]


def test_hdf5_reader_passes_on_what_it_finds(tmp_path):
    path = tmp_path / "x.hdf5"
    with hdf5_writer(path) as file:
        file["x"] = np.arange(3)
    with hdf5_reader(path, "table") as file:
        assert file["x"][:].tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="my own"), hdf5_reader(path, "table"):
        raise DataError("my own sentence")
    with pytest.raises(DataError, match="there is no table"), hdf5_reader(tmp_path / "none", "table"):
        pass


def test_json_is_sorted_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "x.json", {"b": 1, "a": "δ"})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert text.index('"a"') < text.index('"b"')
    assert text.endswith("}\n")
    with pytest.raises(TypeError):
        write_json(tmp_path / "y.json", {"a": object()})
    assert not (tmp_path / "y.json").exists()


def test_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_lock_admits_one(tmp_path):
    script = (
        "import sys\nfrom supercosm.files import locked\nfrom supercosm.errors import DataError\n"
        "try:\n    with locked(sys.argv[1]): print('free')\nexcept DataError as error: print(error)\n"
    )

    def other():
        return subprocess.run(
            [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
        ).stdout

    with locked(tmp_path):
        assert other().startswith(f"another process is working in {tmp_path}")
    assert other() == "free\n"
