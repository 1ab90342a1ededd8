"""What passes leave on disk, and folders that are not ours."""

import numpy as np
import pytest

from supercosm.errors import DataError
from supercosm.journal import Journal
from supercosm.leftovers import discard_foreign, empty
from supercosm.metering import Cost
from supercosm.states import States

WIDTHS, SHAPE = [1, 1, 1, 1], (4, 2, 2)


def opened(folder):
    """Return the states of four passes of two rows each, in a folder that outlives them."""
    return States(WIDTHS, SHAPE, Journal(folder, lambda: Cost("sample", 1.0, 1.0, 1.0, "cpu")))


def test_a_kill_while_a_pass_writes_over_the_one_before_the_last_loses_nothing_finished(tmp_path):
    states = opened(tmp_path)
    for number in (0, 1):
        for first in (0, 2):
            states.put(number, first, np.full((1, 2, 2, 2), number + 1.0, np.float32))
    states._arrays["even"][:, :2] = 9.0  # a row of pass 2, in the place of pass 0, that is not noted yet
    states._arrays["even"].flush()
    again = opened(tmp_path)
    assert again.has(1, 2)
    assert not again.has(2, 0)
    assert np.array_equal(again.planes(1, 0, 4), np.full((1, 4, 2, 2), 2.0))


def test_a_row_that_changed_on_disk_begins_the_sample_anew(tmp_path):
    states = opened(tmp_path)
    for first in (0, 2):
        states.put(0, first, np.ones((1, 2, 2, 2), np.float32))
    states.put(1, 0, np.ones((1, 2, 2, 2), np.float32))
    states._arrays["even"][:, 3] = 5.0  # of pass 0, which pass 1 reads
    states._arrays["even"].flush()
    assert not opened(tmp_path).has(0, 0)


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"holds thesis\.tex and is no folder of checkpoints.* name an empty"):
        discard_foreign(tmp_path, {"of": "this"})
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_leftovers_of_something_else_are_discarded(tmp_path):
    discard_foreign(tmp_path, {"of": "this"})
    (tmp_path / "rows").mkdir()
    discard_foreign(tmp_path, {"of": "this"})
    assert (tmp_path / "rows").is_dir()
    discard_foreign(tmp_path, {"of": "that"})
    assert not (tmp_path / "rows").exists()
    empty(tmp_path)
    assert not list(tmp_path.iterdir())
