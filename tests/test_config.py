"""The configuration: shipped files, merging, entries, stage settings, and one sentence for every mistake."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from learning import STOCHASTIC

from supercosm.config import check, entries, load_config
from supercosm.errors import ConfigurationError
from supercosm.overlays import merge
from supercosm.schema import json_schema, markdown_table
from supercosm.stages import PLACELESS, SECTIONS, stage_settings

ROOT = Path(__file__).parents[1]
BASE = ROOT / "config" / "config.yaml"
OVERLAYS = sorted(path.stem for path in (ROOT / "config").glob("*.yaml") if path != BASE)
UNET, GAN, ENSEMBLE, VAE, FLOW, DIFFUSION = (
    {"family": name} for name in ("unet", "gan", "ensemble", "vae", "flow_matching", "diffusion")
)


def shipped(overlay=None):
    """Load config.yaml with an overlay on it; gpu512 is an overlay on gpu."""
    names = {None: [], "gpu512": ["gpu", "gpu512"]}.get(overlay, [overlay])
    return load_config([BASE, *(ROOT / "config" / f"{name}.yaml" for name in names)])


@pytest.mark.parametrize("overlay", [None, *OVERLAYS])
def test_shipped_configurations_are_valid(overlay):
    config = shipped(overlay)
    assert config.name == (overlay or "laptop")
    content = yaml.safe_load(BASE.read_text())
    if overlay:
        content = merge(content, yaml.safe_load((ROOT / "config" / f"{overlay}.yaml").read_text()))
    jsonschema.Draft202012Validator(yaml.safe_load(json_schema())).validate(content)


def test_shipped_file_shows_every_key_with_its_default():
    def keys(node):
        leaves = ("loss", "coders", "sweep", "tasks")
        return {k: keys(v) if isinstance(v, dict) and k not in leaves else None for k, v in node.items()}

    config, written = shipped(), yaml.safe_load(BASE.read_text())
    assert keys(written) == keys(config.model_dump(mode="json"))
    # what depends on the run: whose training is skewed, and tiles, here as large as the box
    # which coders there are, and whose latents are mapped
    special = {"audit": {"skew": {"model": "unet"}}, "superresolution": {"tile": 32}}
    chosen = {key: written["compression"][key] for key in ("coders", "predictor")}
    special["compression"] = {**chosen, "maps": {"coders": written["compression"]["maps"]["coders"]}}
    special["classification"] = written["classification"]
    default = check({"models": written["models"], **special})
    for section in set(written) - {"models"}:
        assert getattr(config, section) == getattr(default, section)


def test_shipped_file_shows_every_key_of_every_kind_of_coder():
    config, written = shipped(), yaml.safe_load(BASE.read_text())["compression"]["coders"]
    shown = {}
    for name, coder in written.items():
        settings = config.compression.coders[name]
        shown.setdefault(settings.kind, set()).update(coder)
        assert not set(coder) - set(type(settings).model_fields)
    assert shown == {c.kind: set(type(c).model_fields) for c in config.compression.coders.values()}


def test_shipped_file_shows_every_key_of_every_kind_of_task():
    config, written = shipped(), yaml.safe_load(BASE.read_text())["classification"]["tasks"]
    assert {task.kind for task in config.classification.tasks.values()} == {"realism", "cosmology", "environment"}
    for name, task in written.items():
        settings = type(config.classification.tasks[name])
        assert set(task) == set(settings.model_fields)
        assert set(task["fit"]) == set(settings.model_fields["fit"].annotation.model_fields)
        assert set(task["network"]) == set(settings.model_fields["network"].annotation.model_fields)


def test_every_key_is_explained_where_it_stands():
    lines = BASE.read_text().splitlines()
    written = yaml.safe_load(BASE.read_text())
    names = {*written["compression"]["coders"], *written["classification"]["tasks"]}
    explained = {line.split(":")[0].strip() for line in lines if "#" in line}
    for line in lines:
        key, colon, rest = line.partition(":")
        if key.strip() in {*names, "<<"}:
            continue
        if colon and rest.strip() and not line.lstrip().startswith("#"):
            assert key.strip() in explained, line


@pytest.mark.parametrize(
    ("path", "text"),
    [("workflow/schemas/config.schema.yaml", json_schema), ("config/README.md", markdown_table)],
)
def test_generated_files_are_in_step(path, text):
    command = "supercosm schema" + (" --table" if path.endswith(".md") else "")
    assert (ROOT / path).read_text().endswith(text()), f"{path} is out of date: run `{command}` and put it there"


def test_schema_and_checks_agree_on_misspelt_keys():
    schema = jsonschema.Draft202012Validator(yaml.safe_load(json_schema()))
    for content in (
        {"simulatoin": {}},
        {"models": {"unet": {"family": "unet", "los": {}}}},
        {"seeds": {"train": [1]}},
    ):
        assert not schema.is_valid(content)
        with pytest.raises(ConfigurationError):
            check(content)


def test_overlays_merge_section_by_section():
    merged = merge({"a": {"b": 1, "c": [1, 2]}, "d": 3}, {"a": {"c": [4]}, "d": {"e": 5}})
    assert merged == {"a": {"b": 1, "c": [4]}, "d": {"e": 5}}


def test_the_families_run_has_every_family():
    assert {model.family for model in shipped("families").models.values()} == {"unet", *STOCHASTIC}


def test_entries_of_the_laptop_run():
    assert [(e.name, e.phases, e.samples) for e in entries(shipped())] == [
        ("low", "none", 1),
        ("linear", "known", 1),
        ("unet", "known", 1),
        ("unet-drawn", "drawn", 8),
        ("gan", "drawn", 8),
        ("ensemble", "drawn", 8),
    ]


def test_entries_of_a_model_of_several_outputs():
    """It is trained at z = 3 and 0, and compared there and at z = 1 between; z = 4 lies outside."""
    several = {"told": ["scale_factor"], "scale_factor": [0.25, 1.0], "noise": "initial"}
    models = {"both": {**UNET, **several, "condition": ["low", "initial"]}, "early": {**UNET, "scale_factor": 0.5}}
    config = check({"simulation": {"scale_factors": [0.2, 0.25, 0.5, 1.0]}, "models": models})
    assert config.trained_at("both") == [0.25, 1.0]
    found = entries(config)
    assert [(e.name, e.scale_factor) for e in found if e.model is None] == [
        ("low", 1.0), ("linear", 1.0), ("low_a0.5000", 0.5), ("linear_a0.5000", 0.5), ("low_a0.2500", 0.25),
        ("linear_a0.2500", 0.25),
    ]  # fmt: skip
    assert [(e.name, e.phases, e.scale_factor) for e in found if e.model] == [
        ("both", "known", 1.0), ("both-drawn", "drawn", 1.0), ("both_a0.5000", "known", 0.5),
        ("both-drawn_a0.5000", "drawn", 0.5), ("both_a0.2500", "known", 0.25), ("both-drawn_a0.2500", "drawn", 0.25),
        ("early", "none", 0.5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"simulatoin": {}}, ["'simulatoin'", "did you mean 'simulation'"]),
        (
            {"models": {"unet": {**UNET, "training": {"stepz": 3}}}},
            ["'models.unet.training.stepz'", "'steps'"],
        ),
        ({"models": {"unet": {}}}, ["models.unet", "lacks its family", "family: unet"]),
        ({"models": {"unet": {"family": "vqgan"}}}, ["models.unet", "'vqgan'", "'unet', 'gan'"]),
        ({"models": {"U-net": UNET}}, ["'U-net'", "pattern"]),
        ({"models": {"low": UNET}}, ["models.low", "kept for a baseline"]),
        ({"models": {"superresolved": UNET}}, ["models.superresolved", "kept for the checkpoints of samples"]),
        ({"simulation": {"low": 48}}, ["high = 128", "multiple", "low = 48"]),
        ({"simulation": {"low": 32, "high": 96}}, ["= 3", "power of two"]),
        ({"simulation": {"low": "many"}}, ["simulation.low", "integer", "'many'"]),
        ({"simulation": {"scale_factors": [1.0, 0.5]}}, ["[1.0, 0.5]", "ascend"]),
        ({"simulation": {"scale_factors": [0.01]}}, ["0.01", "after simulation.start"]),
        ({"cosmology": {"Omega_m": 1.3}}, ["cosmology.Omega_m", "less than 1", "1.3"]),
        ({"cosmology": {"Omega_m": 0.04}}, ["Omega_b = 0.049", "below Omega_m = 0.04"]),
        ({"seeds": {"test": [1, 9]}}, ["seed 1", "'training'", "'test'"]),
        ({"seeds": {"test": []}}, ["seeds.test", "at least 1"]),
        ({"seeds": {"test": [-1]}}, ["-1", "negative"]),
        ({"superresolution": {"tile": 5}}, ["tile = 5", "divide", "32"]),
        ({"pairs": {"slabs": 7}}, ["slabs = 7", "divide", "32"]),
        ({"models": {"a": {**UNET, "training": {"crop": 256}}}}, ["models.a.training.crop = 256", "128"]),
        ({"models": {"a": {**UNET, "training": {"crop": 61}}}}, ["crop = 61", "multiple"]),
        ({"models": {"a": {**UNET, "training": {"crop": 16}}}}, ["margin = 8", "crop = 16"]),
        (
            {"models": {"a": {**UNET, "network": {"levels": 4}, "training": {"crop": 32}}}},
            ["crop", "2 cells"],
        ),
        ({"models": {"a": {**GAN, "training": {"margin": 28}}}}, ["critic 2 cells", "there are 3"]),
        ({"models": {"a": {**UNET, "condition": ["initial"]}}}, ["['initial']", "[low, initial]"]),
        ({"models": {"a": {**UNET, "dimensions": 2}}}, ["dimensions = 2", "fields: density"]),
        ({"models": {"a": {**UNET, "loss": {"ssim": 1}}}}, ["models.a.loss", "'ssim'", "'log_cosh'"]),
        ({"models": {"a": {**UNET, "scale_factor": 0.5}}}, ["scale_factor = 0.5", "[1.0]"]),
        ({"models": {"a": {**UNET, "told": ["n_s"]}}}, ["models.a.told.0", "'scale_factor'", "'n_s'"]),
        ({"models": {"a": {**UNET, "told": ["sigma8", "sigma8"]}}}, ["models.a", "names a number twice"]),
        (
            {"models": {"a": {**UNET, "scale_factor": [0.5, 1.0], "told": ["sigma8"]}}},
            ["models.a", "[0.5, 1.0]", "cannot tell apart", "['sigma8', 'scale_factor']"],
        ),
        ({"models": {"a": {**UNET, "scale_factor": [1.0, 0.5], "told": ["scale_factor"]}}}, ["models.a", "ascend"]),
        (
            {"models": {"a": {**UNET, "scale_factor": [0.5, 1.0], "told": ["scale_factor"]}}},
            ["models.a.scale_factor = 0.5", "[1.0]"],
        ),
        (
            {"models": {"a": {**UNET, "told": ["sigma8"], "noise": "initial"}, "b": {**GAN, "start": "a"}}},
            ["models.b cannot start from 'a'", "told ['sigma8']", "it is []"],
        ),
        ({"models": {"a": {**GAN, "start": "b"}}}, ["start = 'b'", "family unet"]),
        ({"models": {"a": {**ENSEMBLE, "condition": ["low", "initial"]}}}, ["none to draw", "noise: white"]),
        ({"models": {"a": {**ENSEMBLE, "loss": {"density": 1.0}}}}, ["lacks 'field'"]),
        ({"models": {"a": {**ENSEMBLE, "block": 5}}}, ["crop − 2 margin = 48", "block = 5"]),
        ({"models": {"a": {**GAN, "start": "b"}, "b": UNET}}, ["cannot start from 'b'", "agree"]),
        ({"models": {"a": {**VAE, "start": "b"}, "b": VAE}}, ["models.a.start = 'b'", "family unet"]),
        (
            {"models": {"a": {**FLOW, "start": "b"}, "b": UNET}},
            ["cannot start from 'b'", "small-scale modes must agree"],
        ),
        ({"models": {"a": {**DIFFUSION, "start": "c"}, "b": UNET}}, ["models.a.start = 'c'", "family unet"]),
        ({"models": {"a": {**VAE, "noise": "none"}}}, ["models.a.noise", "'white' or 'initial'", "'none'"]),
        ({"models": {"a": {**VAE, "latents": 0}}}, ["models.a.latents", "greater than or equal to 1", "0"]),
        ({"models": {"a": {**VAE, "warm_up": 1.5}}}, ["models.a.warm_up", "less than or equal to 1", "1.5"]),
        ({"models": {"a": {**FLOW, "noise": "white"}}}, ["begin: linear needs", "noise: initial, or begin: white"]),
        ({"models": {"a": {**FLOW, "solver": "ddpm"}}}, ["models.a.solver", "'euler' or 'heun'", "'ddpm'"]),
        ({"models": {"a": {**FLOW, "jitter": 0}}}, ["models.a.jitter", "greater than 0"]),
        ({"models": {"a": {**DIFFUSION, "evaluations": 8}}}, ["evaluations = 8", "heun", "odd number"]),
        (
            {"models": {"a": {**DIFFUSION, "noise_levels": [20, 0.03]}}},
            ["noise_levels = [20.0, 0.03]", "[least, most]"],
        ),
        ({"models": {"a": {**DIFFUSION, "noise_levels": [1]}}}, ["models.a.noise_levels", "at least 2"]),
        ({"models": {"a": {"family": "flow", "training": {"margin": 6}}}}, ["margin = 6", "2^wavelet_levels = 4"]),
        ({"models": {"a": {**UNET, "network": {"patch": 3}, "training": {"crop": 60}}}}, ["high = 128", "6 cells"]),
        ({"models": {"a": {**DIFFUSION, "target": "noise", "start": "b"}, "b": UNET}}, ["start = 'b'", "the noise"]),
        ({"models": {"a": {**DIFFUSION, "target": "velocity"}}}, ["models.a.target", "'preconditioned' or 'noise'"]),
        ({"name": "../away"}, ["name", "pattern", "'../away'"]),
        ({"device": "tpu"}, ["device", "'auto', 'cpu' or 'cuda'", "'tpu'"]),
    ],
)
def test_a_mistake_is_named_in_one_sentence(content, words):
    with pytest.raises(ConfigurationError) as caught:
        check(content)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(
    ("text", "word"), [("a: [", "not valid YAML"), ("- a", "mapping of sections"), (None, "No such file")]
)
def test_unreadable_files_are_named(tmp_path, text, word):
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=word) as caught:
        load_config([path])
    assert "mine.yaml" in str(caught.value)


@pytest.mark.parametrize("overlay", [None, *OVERLAYS])
def test_a_stage_can_work_on_its_part_of_the_configuration(overlay):
    config = shipped(overlay)
    for stage, sections in SECTIONS.items():
        part = load_config(settings=stage_settings(config, stage))
        expected = config
        if stage in PLACELESS:  # a moved snapshot of the user's own trains no model again
            simulation = config.simulation.model_copy(update={"external": None})
            expected = config.model_copy(update={"simulation": simulation})
        assert all(getattr(part, section) == getattr(expected, section) for section in sections)
    for name, model in config.models.items():
        part = load_config(settings=stage_settings(config, "train", name))
        assert part.models[name] == model
        assert set(part.models) == {name, getattr(model, "start", None) or name}


def changed(config, **sections):
    return check(merge(config.model_dump(mode="json"), sections))


def test_a_stage_does_not_see_what_it_does_not_depend_on():
    config = shipped()
    another = changed(config, seeds={"test": [8, 9, 10]}, report={"zoom": 20.0}, models={"gan": {"penalty": 1.0}})
    differ = {stage for stage in SECTIONS if stage_settings(config, stage) != stage_settings(another, stage)}
    assert differ == {"report", "summarise", "cost"}  # these list what seeds and models there are
    assert stage_settings(config, "train", "unet") == stage_settings(another, "train", "unet")
    assert stage_settings(config, "train", "gan") != stage_settings(another, "train", "gan")


def test_numbers_of_evaluations_rerun_their_study_alone():
    config = shipped()
    another = changed(config, evaluation={"evaluations": [3, 5]})
    differ = {stage for stage in SECTIONS if stage_settings(config, stage) != stage_settings(another, stage)}
    assert differ == {"report", "evaluations"}


def test_slabs_measure_nothing_again():
    config, summary = shipped(), {}
    for slabs in (1, 16, 32):
        another = changed(config, statistics={"slabs": slabs})
        for stage in ("measure", "audit"):
            assert stage_settings(another, stage) == stage_settings(config, stage)
            assert "slabs" not in json.loads(stage_settings(another, stage))["statistics"]  # as before there were any
        summary[slabs] = stage_settings(another, "summarise")
    assert summary[1] != summary[16] == summary[32]  # with several there are fewer tables


def test_a_model_depends_on_the_one_it_starts_from():
    config = shipped()
    another = changed(config, models={"unet": {"training": {"learning_rate": 1e-4}}})
    assert stage_settings(config, "train", "gan") != stage_settings(another, "train", "gan")


def test_stage_settings_are_sorted_so_that_order_in_a_file_does_not_matter():
    text = stage_settings(shipped(), "simulate")
    assert text == json.dumps(json.loads(text), sort_keys=True)


@pytest.mark.parametrize(("early", "late"), [("unetz2", "unet"), ("ganz2", "gan"), ("whitez2", "white")])
def test_the_paper_trains_alike_at_both_redshifts(early, late):
    models = shipped("paper").models
    first, second = (models[name].model_dump(exclude={"scale_factor", "start"}) for name in (early, late))
    assert first == second


def test_null_takes_a_model_or_a_loss_term_away():
    config = load_config(
        [BASE], json.dumps({"models": {"gan": None, "ensemble": None, "unet": {"loss": {"density": None}}}})
    )
    assert list(config.models) == ["unet"]
    assert config.models["unet"].loss == {"mse": 1.0}


def test_a_tile_smaller_than_the_halo_is_refused_at_once():
    with pytest.raises(ConfigurationError, match=r"tile = 4 is smaller than the network's halo of 6 .* at least 6"):
        load_config([BASE], json.dumps({"superresolution": {"tile": 4}}))
