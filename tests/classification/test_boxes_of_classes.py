"""Boxes with classes: what is read, and one clear sentence for every box that cannot be used."""

import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest

from supercosm.classification.boxes import SPLITS, Box, check_disjoint, check_splits, read_splits, seed_of
from supercosm.errors import DataError
from supercosm.fields import density_of, read_density, write_density
from supercosm.snapshot import read_snapshot

SEEDS = {"training": (1, 2), "validation": (3,), "test": (4, 5)}


def refusal(call, *arguments):
    """Return the message of a DataError, which must be one line."""
    with pytest.raises(DataError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def damaged(universes, tmp_path):
    """Copy of a density field, to be damaged."""
    return shutil.copy(universes.path("0.6", 1), tmp_path / "damaged.hdf5")


def splits_of(**labelled):
    """Make splits of empty boxes: split="a1 b1 b2" holds class a of seed 1 and class b of seeds 1 and 2."""
    empty = np.ones((4, 4, 4), np.float32)
    given = {split: labelled.get(split, "").split() for split in SPLITS}
    return {split: [Box(box[0], int(box[1:]), empty, 10.0, {}) for box in boxes] for split, boxes in given.items()}


def test_boxes_are_what_their_files_hold(universes):
    splits = universes.splits(("0.6", "1.0"), **SEEDS)
    assert {split: [(box.label, box.seed) for box in boxes] for split, boxes in splits.items()} == {
        split: [(label, seed) for seed in seeds for label in ("0.6", "1.0")] for split, seeds in SEEDS.items()
    }
    assert check_splits(splits, same_seeds=True) == ("0.6", "1.0")
    for split, seeds in SEEDS.items():
        for box, seed in zip(splits[split][::2], seeds, strict=True):
            np.testing.assert_array_equal(box.density, read_density(universes.path("0.6", seed)).data)
            assert box.box_size == 50.0


def test_a_snapshot_is_painted_onto_its_own_lattice(tiny_simulations):
    path = tiny_simulations[1] / "high.hdf5"
    (box,) = read_splits({"training": [f"high={path}"]})["training"]
    np.testing.assert_array_equal(box.density, density_of(read_snapshot(path), 32).data)
    assert box.seed == 1
    assert box.density.mean(dtype=np.float64) == pytest.approx(1, abs=1e-5)  # mass, in float32


def test_a_class_may_stand_in_front_of_a_path_with_an_equals_sign(universes, tmp_path):
    path = tmp_path / "a=b.hdf5"
    shutil.copy(universes.path("0.6", 1), path)
    assert read_splits({"test": [f"x={path}"]})["test"][0].label == "x"


@pytest.mark.parametrize("argument", ["box.hdf5", "=box.hdf5", "high=", ""])
@pytest.mark.parametrize("split", SPLITS)
def test_what_is_no_class_and_file_is_refused(split, argument):
    message = refusal(read_splits, {split: [argument]})
    assert message == f"--{split} {argument}: give a class and a file, like high=box.hdf5"


def test_a_missing_file_is_named_with_its_class(tmp_path):
    assert refusal(read_splits, {"test": [f"x={tmp_path / 'no.hdf5'}"]}).startswith(
        f"class 'x', {tmp_path / 'no.hdf5'}"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_impossible_densities_are_refused(damaged, value):
    with h5py.File(damaged, "r+") as file:
        file["density"][3, 4, 5] = value
    message = refusal(read_splits, {"training": [f"x={damaged}"]})
    assert message.startswith(f"class 'x', {damaged}: a density field must be finite and nowhere negative")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_files_are_refused(damaged, share):
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: int(share * len(whole))])
    message = refusal(read_splits, {"training": [f"x={damaged}"]})
    assert message.startswith(f"class 'x', {damaged}")
    assert "cannot be read" in message


def test_a_flipped_bit_in_the_data_is_noticed(damaged):
    with h5py.File(damaged) as file:
        place = file["density"].id.get_chunk_info(0).byte_offset + 100
    whole = bytearray(damaged.read_bytes())
    whole[place] ^= 1
    damaged.write_bytes(whole)
    assert "cannot be read" in refusal(read_splits, {"training": [f"x={damaged}"]})


def test_projected_slabs_are_refused(tiny_simulations, tmp_path):
    path = tmp_path / "slabs.hdf5"
    write_density(path, density_of(read_snapshot(tiny_simulations[1] / "high.hdf5"), 32, slabs=8))
    message = refusal(read_splits, {"training": [f"x={path}"]})
    assert message == f"class 'x': {path} holds projected slabs; classification needs whole boxes"


@pytest.mark.parametrize(("cells", "size"), [(16, 50.0), (32, 51.0), (16, 25.0)])
def test_boxes_of_different_size_are_refused_even_in_different_splits(universes, tmp_path, cells, size):
    field = read_density(universes.path("0.6", 1))
    write_density(tmp_path / "other.hdf5", replace(field, data=field.data[:cells, :cells, :cells], box_size=size))
    given = {"training": [f"a={universes.path('0.6', 1)}"], "test": [f"b={tmp_path / 'other.hdf5'}"]}
    message = refusal(read_splits, given)
    assert f"{cells}³ cells in {size:g} Mpc/h" in message
    assert "32³ cells in 50 Mpc/h" in message
    assert message.endswith("give boxes of one size")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"training": "a1 a2", "test": "a3"}, "there is one class only (a); nothing can be told apart: give two"),
        ({"test": "a3 b3"}, "there is one class only (none)"),
        ({"training": "a1 b1", "test": "a3"}, "class 'b' has no test box; give --test b=file"),
        ({"training": "a1 b1"}, "class 'a' has no test box; give --test a=file"),
        ({"training": "a1 b1", "validation": "b2", "test": "a3 b3"}, "class 'a' has no validation box"),
        ({"training": "a1 b1", "test": "a3 b3 c3"}, "class 'c' of the test boxes is none of those trained on (a, b)"),
        ({"training": "a1 b1", "validation": "a2 b2 c2", "test": "a3 b3"}, "class 'c' of the validation boxes is none"),
        ({"training": "a1 b1 a2 b2", "test": "a2 b2"}, "seed 2 is in the training and the test boxes"),
        ({"training": "a1 b1", "validation": "a2 b2", "test": "a2 b2"}, "seed 2 is in the validation and the test"),
        ({"training": "a1 b2", "test": "a3 b3"}, "the training boxes of 'b' have seeds [2], those of 'a' [1]"),
        ({"training": "a1 b1", "test": "a3 b4"}, "the test boxes of 'b' have seeds [4], those of 'a' [3]"),
        ({"training": "a1 b1 a2", "test": "a3 b3"}, "the training boxes of 'b' have seeds [1], those of 'a' [1, 2]"),
    ],
)
def test_splits_that_would_deceive_are_refused(given, words):
    assert words in refusal(check_splits, splits_of(**given), True)


def test_validation_boxes_may_be_left_out():
    assert check_splits(splits_of(training="b1 a1", test="a3 b3"), same_seeds=True) == ("b", "a")


def test_classes_may_have_other_seeds_where_that_is_said():
    given = splits_of(training="a1 b2", test="a3 b4")
    assert check_splits(given, same_seeds=False) == ("a", "b")
    # but no seed in two splits, be it of different classes
    assert "seed 1 is in the training and the test" in refusal(
        check_splits, splits_of(training="a1 b2", test="a3 b1"), False
    )
    assert "seed 1 is in the training and the test" in refusal(check_disjoint, splits_of(training="a1", test="b1"))


def test_the_seed_of_a_box_is_that_of_the_run_it_was_made_from(universes):
    assert seed_of({"seed": 7}) == 7
    assert seed_of({"stage": "superresolve", "parents": [{"stage": "x", "parents": [{"seed": 5}]}, {"seed": 6}]}) == 5
    assert seed_of({}) is None
    assert seed_of({"parents": []}) is None
    assert seed_of({"parents": [{"stage": "foreign"}]}) is None
    (box,) = read_splits({"test": [f"low={universes.path('low', 4)}"]})["test"]
    assert "seed" not in box.provenance
    assert box.seed == 4


def test_boxes_without_seeds_are_paired_by_their_order(universes, tmp_path):
    given = {split: [] for split in SPLITS}
    for split, seeds in SEEDS.items():
        for seed in seeds:
            for label in ("0.6", "1.0"):
                path = tmp_path / f"{label}-{seed}.hdf5"
                write_density(path, replace(read_density(universes.path(label, seed)), provenance={}))
                given[split].append(f"{label}={path}")
    splits = read_splits(given)
    assert check_splits(splits, same_seeds=True) == ("0.6", "1.0")
    for split, seeds in SEEDS.items():
        own = {label: [box.seed for box in splits[split] if box.label == label] for label in ("0.6", "1.0")}
        assert own["0.6"] == own["1.0"]
        assert len(set(own["0.6"])) == len(seeds)
    # a class with seeds and a class without are no pairs
    given["training"] = [f"a={universes.path('0.6', 1)}", given["training"][1].replace("1.0=", "b=")]
    given["test"] = [a.replace("0.6=", "a=").replace("1.0=", "b=") for a in given["test"]]
    given["validation"] = []
    assert "the training boxes of 'b' have seeds" in refusal(check_splits, read_splits(given), True)
