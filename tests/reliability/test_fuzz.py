"""A few hundred damaged files of every kind that is read; fuzz.py by itself tries as many as it is asked to."""

from fuzz import fuzz

INPUTS = 450  # fifteen of each kind


def test_damaged_files_are_read_or_refused_with_a_sentence(tmp_path):
    found, kinds = fuzz(INPUTS, 7, tmp_path)
    assert len(found) == INPUTS
    assert len({one.kind for one in found}) == len(kinds) >= 27
    assert [one for one in found if one.finding] == []
    assert sum(one.outcome == "refused" for one in found) > INPUTS / 3
