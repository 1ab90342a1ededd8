"""Settings of classification: one sentence for every mistake, and what a task's jobs depend on."""

import json

import pytest

from supercosm.classification_settings import Environment, Realism, Universes
from supercosm.config import check, load_config
from supercosm.errors import ConfigurationError
from supercosm.settings import Cosmology
from supercosm.stages import (
    classification_figures,
    classification_settings,
    classified_entries,
    parts_of,
    stage_settings,
)

MODELS = {"box": {"family": "unet"}, "slabs": {"family": "unet", "fields": "density", "dimensions": 2}}


def configured(task, models=None, **rest):
    return check({"models": models or {}, "classification": {"tasks": {"x": task}}, **rest})


def refusal(task, **rest):
    """Return what is said of a task, which must be one line without the words of the library that checks it."""
    with pytest.raises(ConfigurationError) as caught:
        configured(task, **rest)
    message = str(caught.value)
    assert "\n" not in message
    assert "pydantic" not in message
    assert "validation error" not in message
    return message


def test_without_tasks_there_is_no_such_stage():
    assert check({}).classification.tasks == {}


@pytest.mark.parametrize("tasks", [None, {}, {"x": None}])
def test_tasks_that_are_null_are_left_out(tasks):
    assert check({"classification": {"tasks": tasks}}).classification.tasks == {}


def test_an_overlay_takes_one_task_away(tmp_path):
    (tmp_path / "base.yaml").write_text("classification: {tasks: {x: {kind: realism}, y: {kind: cosmology}}}")
    (tmp_path / "overlay.yaml").write_text("classification: {tasks: {x: null, y: {particles: 32}}}")
    tasks = load_config([tmp_path / "base.yaml", tmp_path / "overlay.yaml"]).classification.tasks
    assert list(tasks) == ["y"]
    assert tasks["y"].particles == 32
    (tmp_path / "none.yaml").write_text("classification: {tasks: null}")
    assert load_config([tmp_path / "base.yaml", tmp_path / "none.yaml"]).classification.tasks == {}


@pytest.mark.parametrize(
    ("kind", "settings"), [("realism", Realism), ("cosmology", Universes), ("environment", Environment)]
)
def test_defaults_of_every_kind_suit_the_default_configuration(kind, settings):
    task = configured({"kind": kind}).classification.tasks["x"]
    assert isinstance(task, settings)
    assert task == settings()


@pytest.mark.parametrize("kind", ["realism", "environment"])
def test_unknown_entries_are_refused_with_those_there_are(kind):
    there = "there are: low, linear, box"
    words = f"classification.tasks.x: 'no' is no whole box at the last output ({there}); leave it out of entries"
    assert refusal({"kind": kind, "entries": ["low", "no"]}, models=MODELS) == words
    # neither are projected slabs, nor the true run, which is always there
    assert "'slabs' is no whole box" in refusal({"kind": kind, "entries": ["slabs"]}, models=MODELS)
    assert "'high' is no whole box" in refusal({"kind": kind, "entries": ["high"]}, models=MODELS)
    assert configured({"kind": kind, "entries": ["low", "box"]}, MODELS).classification.tasks["x"].entries[1] == "box"


def test_entries_of_an_earlier_output_are_refused():
    outputs = {"scale_factors": [0.5, 1.0]}
    early = {"early": {"family": "unet", "scale_factor": 0.5}}
    for entry in ("early", "low_a0.5000"):
        message = refusal({"kind": "realism", "entries": [entry]}, models=early, simulation=outputs)
        assert f"'{entry}' is no whole box at the last output (there are: low, linear)" in message


@pytest.mark.parametrize("kind", ["realism", "environment"])
def test_more_boxes_than_training_seeds_are_refused(kind):
    words = "classification.tasks.x: boxes = 7 are more than the 6 training seeds"
    assert refusal({"kind": kind, "boxes": 7}) == words
    assert configured({"kind": kind, "boxes": 6})


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"kind": "realism", "side": 48}, "side = 48 does not divide the 128 cells of a box"),
        ({"kind": "realism", "side": 256}, "side = 256 does not divide the 128 cells of a box"),
        ({"kind": "realism", "side": 32, "network": {"levels": 6}}, "patches of 32 cells are not a multiple of"),
        ({"kind": "environment", "coarsen": 3}, "coarsen = 3 does not divide 128 cells"),
        ({"kind": "environment", "side": 72}, "side = 72 is more than is left"),
        (
            {"kind": "environment", "side": 12},
            "patches of 12 cells are not a multiple of network.patch × 2^(levels-1) = 8",
        ),
        ({"kind": "cosmology", "particles": 60}, "particles = 60 must be even and a multiple of slabs = 8"),
        ({"kind": "cosmology", "particles": 36, "slabs": 6}, "patches of 36 cells are not a multiple of"),
    ],
)
def test_sides_that_do_not_divide_are_refused(task, words):
    message = refusal(task)
    assert message.startswith("classification.tasks.x: ")
    assert words in message


@pytest.mark.parametrize("network", [{"patch": 1, "levels": 1}, {"patch": 3, "levels": 1}])
def test_blocks_have_a_corner_in_their_middle(network):
    """The class told is that at the corner of cells in the middle, which a block of an odd side does not have."""
    side = 5 if network["patch"] == 1 else 9
    assert "even" in refusal({"kind": "environment", "side": side, "network": network})


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"kind": "environment", "side": 24}, "not 24^3"),
        ({"kind": "realism", "side": 16}, "at least 19 cells, not 16^2"),
        ({"kind": "cosmology", "particles": 16, "slabs": 4}, "at least 19 cells, not 16^2"),
    ],
)
def test_the_lectures_network_needs_large_projected_patches(task, words):
    message = refusal({**task, "networks": ["residual", "lectures"]})
    assert message.startswith("classification.tasks.x: the lectures' network needs projected patches")
    assert words in message


def test_the_lectures_network_needs_no_multiple_of_the_other():
    task = {"kind": "realism", "side": 32, "network": {"levels": 6}}
    assert configured({**task, "networks": ["lectures"]})
    assert "are not a multiple of" in refusal({**task, "networks": ["lectures", "residual"]})


@pytest.mark.parametrize("networks", [["residual", "residual"], ["lectures", "residual", "lectures"]])
def test_a_network_named_twice_is_refused(networks):
    assert "names one twice" in refusal({"kind": "realism", "networks": networks})


@pytest.mark.parametrize("curve", [[12], [1, 20], [3, 1], [1, 1, 2]])
def test_a_learning_curve_ascends_below_the_number_of_boxes(curve):
    message = refusal({"kind": "cosmology", "curve": curve})
    assert f"curve = {curve} must ascend and stay below the 12 training boxes, which are its end" in message


def test_a_learning_curve_may_have_no_points_but_none_of_no_boxes():
    assert configured({"kind": "cosmology", "curve": []}).classification.tasks["x"].curve == []
    assert "classification.tasks.x.curve.0" in refusal({"kind": "cosmology", "curve": [0]})


@pytest.mark.parametrize(
    "classes", [[{"sigma8": 0.8}, {"sigma8": 0.8}], [{"sigma8": 0.8}, {"h": 0.7}, {"sigma8": 0.80001}], [{}, {}]]
)
def test_two_equal_classes_are_refused(classes):
    assert "two of them are the same in the first four digits" in refusal({"kind": "cosmology", "classes": classes})


def test_one_class_is_refused():
    assert "classification.tasks.x.classes" in refusal({"kind": "cosmology", "classes": [{"sigma8": 0.7}]})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sigma8": -1}, "sigma8"),
        ({"Omega_m": 0.01}, "Omega_b = 0.049 must be below Omega_m = 0.01: baryons are part of the matter"),
    ],
)
def test_impossible_cosmologies_are_refused_in_one_sentence(change, words):
    message = refusal({"kind": "cosmology", "classes": [{}, change]})
    assert message.startswith("classification.tasks.x")
    assert words in message


def test_parameters_that_no_cosmology_has_are_refused():
    assert "(given: 'w0')" in refusal({"kind": "cosmology", "classes": [{}, {"w0": -0.9}]})


def test_classes_are_named_by_what_they_change():
    classes = [{}, {"sigma8": 0.9, "Omega_m": 0.25}]
    task = configured({"kind": "cosmology", "classes": classes}).classification.tasks["x"]
    usual = Cosmology(h=0.7)
    assert task.cosmologies(usual) == {
        "usual": usual,
        "Omega_m_0.25_sigma8_0.9": Cosmology(h=0.7, sigma8=0.9, Omega_m=0.25),
    }


def test_a_seed_in_two_splits_of_a_task_is_refused():
    message = refusal({"kind": "cosmology", "seeds": {"training": [1, 2, 3, 4], "validation": [4], "test": [5]}})
    assert message.startswith("classification.tasks.x.seeds: seed 4 stands in both 'training' and 'validation'")
    # the boxes of the paired simulations are others
    assert configured({"kind": "cosmology", "seeds": {"training": [1, 2, 3, 7], "validation": [8], "test": [9]}})


def test_the_control_of_other_seeds_needs_two():
    seeds = {"training": [1], "validation": [2], "test": [3]}
    message = refusal({"kind": "realism", "boxes": 1}, seeds=seeds)
    assert message.startswith("classification.tasks.x: other_seeds needs two training seeds at least")
    assert configured({"kind": "realism", "boxes": 1, "other_seeds": False}, seeds=seeds)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({}, "classification.tasks.x lacks its kind; add one, like kind: realism"),
        ({"side": 32}, "classification.tasks.x lacks its kind; add one, like kind: realism"),
        (
            {"kind": "x"},
            "classification.tasks.x.kind = 'x' is unknown; there are 'realism', 'cosmology', 'environment'",
        ),
        ({"kind": "realism", "sides": 3}, "configuration key 'classification.tasks.x.sides'; did you mean 'side'?"),
        ({"kind": "realism", "fit": {"epoch": 3}}, "key 'classification.tasks.x.fit.epoch'; did you mean 'epochs'?"),
        ({"kind": "cosmology", "skew": 1.5}, "classification.tasks.x.skew: Input should be less than 1 (given: 1.5)"),
        ({"kind": "cosmology", "altered": ["mixed"]}, "classification.tasks.x.altered.0: "),
    ],
)
def test_mistakes_are_named_by_their_place(task, words):
    assert words in refusal(task)


def test_names_of_tasks_are_plain():
    with pytest.raises(ConfigurationError, match=r"classification.tasks.No-name: .*pattern"):
        check({"classification": {"tasks": {"No-name": {"kind": "realism"}}}})


def test_parts_of_a_task_are_its_entries_and_its_controls():
    def parts(**task):
        config = configured(task, MODELS)
        return parts_of(config, config.classification.tasks["x"])

    assert parts(kind="cosmology") == ["universes"]
    assert parts(kind="realism") == ["low", "linear", "box", "other-seeds"]  # every whole box
    assert parts(kind="realism", entries=["box"], other_seeds=False) == ["box"]
    assert parts(kind="environment", entries=["low", "box"]) == ["low", "box", "high"]


def test_entries_that_are_classified_are_listed_once():
    tasks = {
        "a": {"kind": "realism", "entries": ["box", "low"]},
        "b": {"kind": "environment", "entries": ["low"]},
        "c": {"kind": "cosmology"},
    }
    config = check({"models": MODELS, "classification": {"tasks": tasks}})
    assert classified_entries(config) == ["box", "low"]
    assert classified_entries(check({})) == []
    figures = classification_figures(config)
    assert list(figures) == ["a", "b", "c"]
    assert "curve" in figures["c"]
    assert "curve" not in figures["a"]
    assert "curve" not in classification_figures(configured({"kind": "cosmology", "curve": []}))["x"]


@pytest.mark.parametrize("kind", ["realism", "environment"])
def test_another_entry_or_box_reruns_no_other_job(kind):
    plain = configured({"kind": kind}, MODELS)
    more = configured({"kind": kind, "entries": ["low", "box"], "boxes": 3}, MODELS, seeds={"training": [1, 2, 3, 4]})
    assert classification_settings(more, "x") == classification_settings(plain, "x")
    # nor do other tasks, models, or what is drawn
    tasks = {"x": {"kind": kind}, "y": {"kind": "cosmology"}}
    other = check({"classification": {"tasks": tasks}, "report": {"slab": 5.0}, "statistics": {"bins": 10}})
    assert classification_settings(other, "x") == classification_settings(plain, "x")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("realism", {"side": 64}),
        ("realism", {"fit": {"seed": 1}}),
        ("environment", {"radius": 2.0}),
        ("cosmology", {"classes": [{"sigma8": 0.7}, {"sigma8": 0.8}]}),
        ("cosmology", {"networks": ["lectures"]}),
    ],
)
def test_what_a_result_depends_on_reruns_its_job(kind, change):
    plain, changed = (configured({"kind": kind, **more}) for more in ({}, change))
    assert classification_settings(changed, "x") != classification_settings(plain, "x")
    assert stage_settings(changed, "simulate") == stage_settings(plain, "simulate")


@pytest.mark.parametrize("kind", ["realism", "environment", "cosmology"])
def test_the_settings_of_a_job_are_a_configuration_of_its_task(kind):
    task = {"kind": kind, "fit": {"epochs": 3}, **({} if kind == "cosmology" else {"entries": ["box"], "boxes": 5})}
    simulation = {"low": 24, "high": 96, "box_size": 80.0} if kind != "cosmology" else {}
    seeds = {"training": [1, 2, 3, 4, 5], "validation": [7], "test": [8]}
    config = configured(task, MODELS, simulation=simulation, superresolution={"tile": 8}, seeds=seeds, device="cpu")
    again = load_config([], classification_settings(config, "x"))
    dropped = {"entries", "boxes", "other_seeds"}  # which decide which jobs there are
    mine, theirs = (c.classification.tasks["x"].model_dump(exclude=dropped) for c in (config, again))
    assert theirs == mine
    assert (again.simulation, again.device) == (config.simulation, "cpu")
    assert list(json.loads(classification_settings(config, "x"))) == sorted(
        json.loads(classification_settings(config, "x"))
    )
