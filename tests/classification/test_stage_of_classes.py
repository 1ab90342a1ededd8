"""The stage of classification: files in, files out, the same bits again, and refusals before any work."""

import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from supercosm.classification.results import FIELDS, HISTORIES, LOOKS, PREDICTIONS, SCORES, read_part
from supercosm.classification.stage import classify
from supercosm.epochs import Epochs
from supercosm.errors import ConfigurationError, DataError, StoppedError
from supercosm.fields import read_density, write_density
from supercosm.statistics.environment import CLASSES

LABELS = ("0.6", "1.0")
SEEDS = {"training": (1, 2), "validation": (7,), "test": (9, 10)}
WEB = {"radius": 2.0, "coarsen": 1, "patches": 300, "network": {"channels": 4}, "fit": {"epochs": 1}}


@pytest.fixture(scope="module")
def configuration(configured):
    return configured("cosmology", opponents=["log_power"], altered=["randomised"], shuffled=False, fit={"epochs": 2})


@pytest.fixture(scope="module")
def universes_part(universes, configuration, tmp_path_factory):
    """Folder of a part of the task `cosmology`."""
    folder = tmp_path_factory.mktemp("classified") / "universes"
    classify(configuration, "task", universes.arguments(LABELS, **SEEDS), folder)
    return folder


def test_a_part_says_what_it_is(universes_part, configuration):
    part = read_part(universes_part)
    meta = part.scores.meta
    assert part.classes == list(LABELS)
    assert (meta["task"], meta["kind"], meta["part"], meta["stage"]) == ("task", "cosmology", "universes", "classify")
    assert meta["seeds"] == {split: list(seeds) for split, seeds in SEEDS.items()}
    assert meta["settings"] == configuration.classification.tasks["task"].model_dump(mode="json")
    runs = [("all", "residual"), ("all", "log_power"), ("randomised", "residual"), ("randomised", "log_power")]
    assert list(zip(part.scores["run"], part.scores["classifier"], strict=True)) == runs
    assert part.looks["x"].shape == (4, 32, 32)  # two of each class
    assert part.looks["labels"].tolist() == [0, 0, 1, 1]
    predictions, _ = part.predictions["all", "residual"]
    assert set(predictions.seeds) == {9, 10}
    # the looks are of the network that the predictions are of
    rows = [
        np.flatnonzero(np.abs(predictions.probabilities - p).max(axis=1) < 1e-6) for p in part.looks["probabilities"]
    ]
    assert all(len(row) for row in rows)


def test_what_is_asked_to_stop_goes_on_to_the_same_bytes(
    universes, configuration, universes_part, tmp_path, monkeypatch
):
    """In the first epoch of the first run and of the second one: two runs of two epochs."""
    keep, kept = Epochs.keep, []

    def asking(self, *arguments):
        kept.append(self.path.name)
        if len(kept) in (1, 3):
            signal.raise_signal(signal.SIGTERM)
        keep(self, *arguments)

    monkeypatch.setattr(Epochs, "keep", asking)
    arguments = universes.arguments(LABELS, **SEEDS)
    more = {"checkpoints": tmp_path / "checkpoints"}
    for _ in range(2):
        with pytest.raises(StoppedError, match="stopped by SIGTERM; the same command goes on from here"):
            classify(configuration, "task", arguments, tmp_path / "universes", **more)
    classify(configuration, "task", arguments, tmp_path / "universes", **more)
    assert kept == ["all-residual.safetensors"] * 2 + ["randomised-residual.safetensors"] * 2
    for name in (SCORES, PREDICTIONS, HISTORIES, LOOKS):
        assert (tmp_path / "universes" / name).read_bytes() == (universes_part / name).read_bytes(), name
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [".lock"]


def test_the_same_settings_give_the_same_bytes(universes, configuration, universes_part, tmp_path):
    before = torch.get_num_threads()
    classify(configuration, "task", universes.arguments(LABELS, **SEEDS), tmp_path / "universes")
    assert torch.get_num_threads() == before
    for name in (SCORES, PREDICTIONS, HISTORIES, LOOKS):
        assert (tmp_path / "universes" / name).read_bytes() == (universes_part / name).read_bytes(), name


@pytest.mark.parametrize("fails", [False, True])
def test_the_number_of_threads_stays_as_it_was(universes, configured, tmp_path, fails):
    """One thread is used, whatever there was before, and also given back when something goes wrong."""
    before = torch.get_num_threads()
    config = configured("realism", thickness=25.0, opponents=[], fit={"epochs": 1})
    seeds = {"training": (1,), "test": (1 if fails else 6,)}
    torch.set_num_threads(2)
    try:
        if fails:
            with pytest.raises(DataError, match="seed 1 is in the training and the test"):
                classify(config, "task", universes.arguments(("low", "high"), **seeds), tmp_path / "part")
        else:
            classify(config, "task", universes.arguments(("low", "high"), **seeds), tmp_path / "part")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_unknown_task_is_refused_with_those_there_are(configuration, tmp_path):
    with pytest.raises(
        ConfigurationError, match=r"no task 'other' in the configuration \(classification.tasks: task\)"
    ):
        classify(configuration, "other", {}, tmp_path)
    bare = configuration.model_copy(update={"classification": type(configuration.classification)()})
    with pytest.raises(ConfigurationError, match=r"\(classification.tasks: none\)"):
        classify(bare, "task", {}, tmp_path)


def test_a_refusal_leaves_no_file(universes, configuration, tmp_path):
    given = universes.arguments(LABELS, training=(1,)) | universes.arguments(("0.6",), test=(9,))
    with pytest.raises(DataError, match=r"class '1\.0' has no test box"):
        classify(configuration, "task", given, tmp_path / "part")
    assert not (tmp_path / "part").exists()


def test_other_seeds_have_to_be_asked_for(universes, configured, tmp_path):
    """The control of leaks: true runs of two sets of seeds, which nothing tells apart."""
    config = configured("realism", thickness=6.25, opponents=["log_power", "logistic"], fit={"epochs": 2})
    given = {
        split: [f"{name}={universes.path('high', seed)}" for name, seed in zip(("one", "two"), seeds, strict=True)]
        for split, seeds in {"training": (1, 2), "validation": (3, 4), "test": (6, 7)}.items()
    }
    with pytest.raises(DataError, match="or say --other-seeds"):
        classify(config, "task", given, tmp_path / "other-seeds")
    classify(config, "task", given, tmp_path / "other-seeds", other_seeds=True)
    scores = read_part(tmp_path / "other-seeds").scores
    assert scores.meta["classes"] == ["one", "two"]
    # 16 slabs, of two boxes: chance is 0.5 ± 0.125 at least, and boxes as a whole may be taken for either
    assert ((scores["accuracy"] > 0.1) & (scores["accuracy"] < 0.9)).all()


@pytest.mark.parametrize("fields", [("low", "high"), ("high",)])
def test_environments_of_one_field(universes, configured, tmp_path, fields):
    config = configured("environment", **WEB)
    classify(
        config, "task", universes.arguments(fields, training=(1, 2), validation=(5,), test=(6,)), tmp_path / "part"
    )
    part = read_part(tmp_path / "part")
    assert part.classes == list(CLASSES)
    assert list(part.scores["classifier"]) == ["residual", "logistic", "eigenvalues", "tidal"]
    assert set(part.scores["run"]) == {"all"}
    assert (part.predictions["all", "tidal"][0].correct.all()) == (fields == ("high",))
    assert part.looks["x"].shape[1:] == (8, 8, 8)
    assert part.looks["mean_gradients"].shape == (4, 8, 8, 8)


@pytest.mark.parametrize(
    ("labels", "splits", "words"),
    [
        (("low",), ("training", "validation", "test"), "fields given: low; the environment is that of the true run"),
        (("low", "0.6", "high"), ("training", "validation", "test"), "fields given: low, 0.6, high"),
        ((), (), "fields given: none"),
        (("low", "high"), ("validation", "test"), "there is no training box of low; give --training low=file"),
        (("high",), ("training", "validation"), "there is no test box of high; give --test high=file"),
    ],
)
def test_fields_that_say_nothing_of_the_true_run_are_refused(universes, configured, tmp_path, labels, splits, words):
    seeds = {
        split: seed for split, seed in {"training": (1,), "validation": (5,), "test": (6,)}.items() if split in splits
    }
    with pytest.raises(DataError, match=words):
        classify(configured("environment", **WEB), "task", universes.arguments(labels, **seeds), tmp_path)


def test_boxes_without_seeds_are_classified(universes, configuration, universes_part, tmp_path):
    """Foreign boxes record none; the network does not know, and the predictions are the same but for their numbers."""
    given = {}
    for split, arguments in universes.arguments(LABELS, **SEEDS).items():
        given[split] = []
        for number, argument in enumerate(arguments):
            label, _, path = argument.partition("=")
            foreign = tmp_path / f"{split}{number}.hdf5"
            write_density(foreign, replace(read_density(path), provenance={}))
            given[split].append(f"{label}={foreign}")
    classify(configuration, "task", given, tmp_path / "part")
    mine, expected = (
        read_part(folder).predictions["all", "residual"][0] for folder in (tmp_path / "part", universes_part)
    )
    for name in FIELDS:
        if name != "seeds":
            np.testing.assert_array_equal(getattr(mine, name), getattr(expected, name))
    assert len(set(mine.seeds)) == 2


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("realism", {"side": 32}), ("environment", WEB), ("cosmology", {"opponents": []})],
)
def test_boxes_that_do_not_fit_the_task_are_refused(universes, configured, tmp_path, kind, settings):
    """Boxes of 20³ cells, where patches of 32 cells, blocks of coarse cells and slabs of 32 particles are asked for."""
    given = {}
    if kind == "environment":
        settings = {**settings, "coarsen": 8, "side": 4}
    for split, seed in {"training": 1, "validation": 5, "test": 6}.items():
        given[split] = []
        for label in ("low", "high"):
            field = read_density(universes.path(label, seed))
            data = field.data[:20, :20, :20] / field.data[:20, :20, :20].mean()
            write_density(tmp_path / f"{label}{seed}.hdf5", replace(field, data=data))
            given[split].append(f"{label}={tmp_path / f'{label}{seed}.hdf5'}")
    with pytest.raises(DataError, match="20"):
        classify(configured(kind, **settings), "task", given, tmp_path / "part")
