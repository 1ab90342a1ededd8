"""Files of one part of a task: they come back as they were, or not at all."""

import numpy as np
import pytest
import torch

from supercosm.classification.examples import slabs_of_boxes
from supercosm.classification.looks import look
from supercosm.classification.results import FIELDS, HISTORIES, LOOKS, PREDICTIONS, SCORES, read_part, write_part
from supercosm.classification.study import MAIN, Data, outcomes
from supercosm.classification.verdict import accuracy, judged
from supercosm.errors import DataError
from supercosm.networks.classifiers import parameters

LABELS = ("0.6", "1.0")
META = {"task": "t", "kind": "cosmology", "part": "universes", "classes": list(LABELS), "seeds": {"test": [9, 10]}}


@pytest.fixture(scope="module")
def made(universes, task_of):
    """Return outcomes of two runs, of two networks in the first, and where its first network looks."""
    splits = universes.splits(LABELS, training=(1, 2), validation=(7,), test=(9, 10))
    parts = {split: slabs_of_boxes(boxes, LABELS, 12.5, (0, 2)) for split, boxes in splits.items()}
    task = task_of("cosmology", networks=["residual", "lectures"], opponents=["log_power"], fit={"epochs": 2})
    main = Data(MAIN, parts["training"], parts["validation"], parts["test"], 32)
    other = Data("boxes1", parts["training"], None, parts["test"], 32, main=False)
    found = [o for data in (main, other) for o in outcomes(data, task, 2, torch.device("cpu"))]
    return found, look(found[0].trained, parts["test"], 2)


@pytest.fixture
def folder(made, tmp_path):
    write_part(tmp_path / "part", *made, META)
    return tmp_path / "part"


def test_a_part_comes_back_as_it_was(made, folder):
    found, looks = made
    assert sorted(path.name for path in folder.iterdir()) == sorted([SCORES, PREDICTIONS, HISTORIES, LOOKS])
    part = read_part(folder)
    assert part.classes == list(LABELS)
    assert dict(part.scores.meta) == META
    names = [
        ("all", "residual"),
        ("all", "lectures"),
        ("all", "log_power"),
        ("boxes1", "residual"),
        ("boxes1", "log_power"),
    ]
    assert [(o.run, o.classifier) for o in found] == names
    assert set(part.predictions) == set(names)
    for outcome in found:
        predictions, plain = part.predictions[outcome.run, outcome.classifier]
        for name in FIELDS:
            array = getattr(outcome.predictions, name)
            np.testing.assert_array_equal(getattr(predictions, name), array)
            assert getattr(predictions, name).dtype == array.dtype
        assert (plain is None) == (outcome.uncalibrated is None) == (outcome.classifier == "log_power")
        if plain:
            np.testing.assert_array_equal(plain.probabilities, outcome.uncalibrated.probabilities)
            np.testing.assert_array_equal(plain.labels, outcome.uncalibrated.labels)
    assert part.looks.keys() == looks.keys()
    for name, array in looks.items():
        np.testing.assert_array_equal(part.looks[name], array)
        assert part.looks[name].dtype == array.dtype


def test_scores_are_those_of_the_predictions(made, folder):
    part = read_part(folder)
    assert list(zip(part.scores["run"], part.scores["classifier"], strict=True)) == [
        (o.run, o.classifier) for o in made[0]
    ]
    for row, outcome in zip(part.scores, made[0], strict=True):
        assert row["accuracy"] == accuracy(outcome.predictions)
        for name, value in judged(outcome.predictions, outcome.uncalibrated).items():
            assert row[name] == value or (np.isnan(row[name]) and np.isnan(value))
        if outcome.trained is None:
            assert np.isnan(row["temperature"])
            assert np.isnan(row["ece_uncalibrated"])
            assert row["epochs"] == row["parameters"] == 0
        else:
            assert row["temperature"] == outcome.trained.temperature
            assert row["epochs"] == 2
            assert row["parameters"] == parameters(outcome.trained.network)


def test_histories_have_a_row_for_every_epoch_of_every_network(made, folder):
    histories = read_part(folder).histories
    expected = [(o.run, o.classifier, row) for o in made[0] if o.trained for row in o.trained.rows]
    assert len(histories) == len(expected) == 6
    for row, (run, classifier, values) in zip(histories, expected, strict=True):
        assert (row["run"], row["classifier"]) == (run, classifier)
        assert {name: row[name] for name in values} == values
        assert np.isnan(row["validation_loss"]) == (run == "boxes1")  # where no boxes were held out


@pytest.mark.parametrize("name", [SCORES, PREDICTIONS, HISTORIES, LOOKS])
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"there is no .*{name}"):
        read_part(folder)


@pytest.mark.parametrize("name", [PREDICTIONS, LOOKS])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(folder, name, share):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=rf"{name} cannot be read as a file of \w+ \(truncated, damaged"):
        read_part(folder)


@pytest.mark.parametrize("name", [SCORES, HISTORIES])
def test_a_truncated_table_is_refused(folder, name):
    """In the middle of a row; a table that ends after a row cannot tell that there was another."""
    whole = (folder / name).read_text()
    (folder / name).write_text(whole[: whole.rindex(" ")])
    with pytest.raises(DataError, match=f"{name} is no whole ECSV table"):
        read_part(folder)


@pytest.mark.parametrize("name", [PREDICTIONS, LOOKS])
def test_a_flipped_bit_changes_nothing_unnoticed(folder, name):
    """Where it is in no used byte, all comes back; elsewhere it is noticed."""
    whole, before = (folder / name).read_bytes(), read_part(folder)
    noticed = 0
    for place in np.random.default_rng(0).integers(len(whole), size=60):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        (folder / name).write_bytes(damaged)
        try:
            after = read_part(folder)
        except DataError:
            noticed += 1
            continue
        for key, (predictions, _) in before.predictions.items():
            np.testing.assert_array_equal(after.predictions[key][0].probabilities, predictions.probabilities)
        for key, array in before.looks.items():
            np.testing.assert_array_equal(after.looks[key], array)
    assert noticed > 20


def test_a_file_of_something_else_is_refused(folder):
    (folder / PREDICTIONS).write_bytes((folder / LOOKS).read_bytes())
    with pytest.raises(DataError, match=PREDICTIONS):
        read_part(folder)
