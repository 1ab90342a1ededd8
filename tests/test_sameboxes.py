"""One universe in two roles is noticed among runs of other codes, whatever format, time or resolution they have."""

import itertools

import numpy as np
import pytest
from foreignfiles import Run, write_binary, write_fields, write_gadget_hdf5, write_swift
from learning import configuration

from supercosm.choices import Options
from supercosm.densities import superresolve_densities
from supercosm.errors import CoverageError, DataError
from supercosm.fields import read_density
from supercosm.importing import import_snapshot
from supercosm.model import load_model
from supercosm.pairs import PairFile, make_pairs
from supercosm.sameboxes import check_unseen, fingerprint, same
from supercosm.snapshot import read_snapshot
from supercosm.superresolution import superresolve
from supercosm.training import train

CPU = Options(device="cpu")


def test_fingerprints_know_a_box_at_any_time_and_resolution(tiny_simulations):
    prints = {}
    for seed, name in itertools.product((1, 2, 3), ("low", "high", "low_a0.5000")):
        prints[seed, name] = fingerprint(read_snapshot(tiny_simulations[seed] / f"{name}.hdf5").displacement())
    for (first, a), (second, b) in itertools.combinations(prints.items(), 2):
        assert same(a, b) == (first[0] == second[0])
    nothing = fingerprint(np.zeros((3, 8, 8, 8)))
    assert not same(nothing, nothing)


@pytest.fixture(scope="module")
def foreign(tiny_simulations, tmp_path_factory):
    """Pairs of three boxes, as if another code had made them; the third is the first, in another format."""
    root = tmp_path_factory.mktemp("foreign")
    for name, seed, write in (("a", 1, write_swift), ("b", 2, write_swift), ("again", 1, write_gadget_hdf5)):
        for resolution in ("low", "high"):
            snapshot = read_snapshot(tiny_simulations[seed] / f"{resolution}.hdf5")
            (source,) = write(root / f"{name}_{resolution}", Run(snapshot, "F" if name == "again" else "C", 0))
            import_snapshot(source, root / f"{name}/{resolution}.hdf5")
        make_pairs(root / f"{name}/low.hdf5", root / f"{name}/high.hdf5", root / f"{name}.pairs.hdf5", slabs=4)
    return root


def learn(foreign, training, validation, folder):
    paths = ([foreign / f"{name}.pairs.hdf5"] for name in (training, validation))
    config = configuration(condition=["low"], noise="none")
    train(config, "model", tuple(paths), folder / "model", folder / "checkpoints")
    return load_model(folder / "model")


def test_a_box_in_training_and_validation_is_refused(foreign, tmp_path):
    with pytest.raises(DataError, match=r"a\.pairs\.hdf5 .training. and .*again\.pairs\.hdf5 .validation. are one"):
        learn(foreign, "a", "again", tmp_path)
    assert not (tmp_path / "model").exists()


def test_a_box_of_the_training_is_no_test(foreign, tiny_simulations, tmp_path):
    model = learn(foreign, "a", "b", tmp_path)
    words = r"trained on this box: the snapshot \(from again_low\.hdf5, SHA-256 .*pair \(from a_low\.hdf5, SHA-256"
    with pytest.raises(CoverageError, match=words):
        superresolve(read_snapshot(foreign / "again/low.hdf5"), model)
    assert superresolve(read_snapshot(foreign / "again/low.hdf5"), model, override=True).side == 32
    # classifiers learn from boxes of the training, but not from ones of other cells
    superresolve_densities([foreign / "again/low.hdf5"], [tmp_path / "box.hdf5"], tmp_path / "model", CPU, None)
    assert read_density(tmp_path / "box.hdf5").data.shape == (32, 32, 32)
    with pytest.raises(CoverageError, match="was trained for lattice spacing"):
        superresolve_densities([foreign / "a/high.hdf5"], [tmp_path / "no.hdf5"], tmp_path / "model", CPU, None)
    # the other code's own file, in a third format, and fields of another time
    first = read_snapshot(tiny_simulations[1] / "low.hdf5")
    (path,) = write_binary(tmp_path / "snap", Run(first))
    earlier = write_fields(tmp_path / "fields", read_snapshot(tiny_simulations[1] / "low_a0.5000.hdf5"))
    for source in (path, earlier):
        with pytest.raises(CoverageError, match="trained on this box"):
            check_unseen(read_snapshot(source), model.card)
    for source in (foreign / "b/low.hdf5", write_binary(tmp_path / "other", Run(third(tiny_simulations)))[0]):
        assert superresolve(read_snapshot(source), model).side == 32


def third(simulations):
    return read_snapshot(simulations[3] / "low.hdf5")


def test_simulated_pairs_need_no_fingerprint(boxes):
    """They are told apart by their seeds, and their files are what they were."""
    assert "fingerprint" not in PairFile(boxes.pairs(1)).provenance
