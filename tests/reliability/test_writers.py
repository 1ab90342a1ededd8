"""Every writer on a full disk, and killed half way: a sentence, no partial file, and nothing left for the next run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("writing.py")
KINDS = {
    *("x.hdf5", "pairs.hdf5", "density.hdf5", "haloes.hdf5", "x.fits", "x.ecsv", "x.png", "model.safetensors"),
    *("last.ckpt", "history.csv", "cost.json", "x.scz", "index.html", "config.yaml", "x.json"),
}


def tried(folder, how):
    """Let all writers try in children of one process; return what each said, and the files after it and another."""
    done = subprocess.run([sys.executable, SCRIPT, folder, how], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    assert set(found) == KINDS
    return found


def test_a_full_disk_is_one_sentence_of_every_writer(tmp_path):
    for name, found in tried(tmp_path, "limit").items():
        assert found["said"].startswith("the disk is full"), (name, found)
        assert "was not written; free some space in" in found["said"]
        assert not [file for file in found["left"] if file == name or file.endswith(".part")], (name, found)
        assert name in found["again"]


@pytest.mark.parametrize(("how", "signal"), [("killed", "SIGXFSZ"), ("renaming", "SIGKILL")])
def test_a_killed_writer_leaves_nothing_under_the_final_name(tmp_path, how, signal):
    for name, found in tried(tmp_path, how).items():
        assert found["said"] == signal, (name, found)
        assert name not in found["left"]
        assert any(file.endswith(".part") for file in found["left"])  # it was under way
        assert name in found["again"]
        assert not [file for file in found["again"] if file.endswith(".part")], (name, found)
