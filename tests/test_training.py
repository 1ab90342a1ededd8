"""Training: exact resume after a kill, no mixing of settings, and model folders that say what they are."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from learning import DEFAULTS, TRAINING, configuration, random_model, small_family

from supercosm import training
from supercosm.callbacks import WholeCheckpoints
from supercosm.cellnoise import CellNoise
from supercosm.errors import DataError, StoppedError
from supercosm.families import Family
from supercosm.files import locked, sha256
from supercosm.model import WEIGHTS, load_model
from supercosm.schemes import Region
from supercosm.training import train

CASES = {
    **DEFAULTS,
    "unet": {"condition": ["low", "initial"], "noise": "initial"},
    "white": {"noise": "white"},
    "gan": {"family": "gan", "noise": "white", "warm_up": 1, "penalty_every": 2, "critic_channels": 4},
    "ensemble": {"family": "ensemble", "loss": {"field": 1.0, "density": 0.5}},
    "white ensemble": {"family": "ensemble", "noise": "white"},
    "slabs": {"fields": "density", "dimensions": 2, "noise": "white", "training": {"batch": 2}},
}

# runs `supercosm train` as a process of its own, and kills it while it writes the checkpoint of a given number, or asks
# it to stop in the step of a given number
CHILD = """
import json, os, signal, subprocess, sys
from pathlib import Path
from supercosm import cli, hardware_settings
from supercosm.callbacks import WholeCheckpoints
from supercosm.families import Family

config, data, folder, checkpoints, how, when = json.loads(sys.argv[1])
count, save = 0, WholeCheckpoints.save_checkpoint

def dying(self, content, path, storage_options=None):
    global count
    count += 1
    if count == when and how == "while saving":
        import torch
        write = torch.save
        def half(content, file):
            write(content, file)
            file.truncate(file.tell() // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        torch.save = half
    save(self, content, path, storage_options)
    if count == when and how == "after saving":
        os.kill(os.getpid(), signal.SIGKILL)

def asking(self, *arguments):
    follow(self, *arguments)
    if self.global_step == when:
        subprocess.run(["kill", "-TERM", "--", f"-{os.getpgrp()}"])  # by another process, as a scheduler is one

follow = Family.on_train_batch_end
if how == "ask":
    Family.on_train_batch_end = asking
if how == "ask, with workers":
    hardware_settings.WORKERS, Family.on_train_batch_end = {"cpu": 2}, asking
WholeCheckpoints.save_checkpoint = dying
files = [f"--{role}={path}" for role, paths in zip(("training", "validation"), data) for path in paths]
sys.argv = ["supercosm", "train", "model", *files, "--output", folder, "--checkpoints", checkpoints]
sys.argv += ["--settings", json.dumps(config)]
cli.main()
"""


def settings(name, **changes):
    case = {**CASES[name], **changes}
    training_section = {**CASES[name].get("training", {}), **changes.get("training", {})}
    if case.get("family") == "gan":
        training_section = {"crop": 24, **training_section}  # room for the critic
    return configuration(**{**case, "training": training_section})


def run(config, boxes, root, start=None):
    train(config, "model", boxes.data, root / "model", root / "checkpoints", start)
    return root / "model"


def start_child(config, boxes, root, how="", when=0, **variables):
    data = [[str(path) for path in paths] for paths in boxes.data]
    job = [config.model_dump(mode="json"), data, str(root / "model"), str(root / "checkpoints"), how, when]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), **variables}
    command = [sys.executable, "-c", CHILD, json.dumps(job)]
    return subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, cwd=root, start_new_session=True
    )


@pytest.fixture(scope="module")
def finished(boxes, tmp_path_factory):
    """Return a function that gives the model folder of an uninterrupted training, made once per case."""
    root, found = tmp_path_factory.mktemp("finished"), {}

    def make(name):
        if name not in found:
            found[name] = run(settings(name), boxes, root / name)
        return found[name]

    return make


def rows_of(folder):
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


TIMES = ("seconds", "crops_per_second")


def without_times(rows):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


@pytest.mark.parametrize(
    ("name", "how", "when"),
    [
        ("unet", "while saving", 2),
        ("gan", "after saving", 1),
        ("ensemble", "after saving", 2),
        ("slabs", "after saving", 3),  # all steps done, but no model folder yet
        *((name, "after saving", 2) for name in DEFAULTS if name not in ("gan", "ensemble")),
    ],
)
def test_a_killed_training_ends_with_the_numbers_of_one_that_never_was(boxes, tmp_path, finished, name, how, when):
    process = start_child(settings(name), boxes, tmp_path, how, when)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, errors
    assert not (tmp_path / "model").exists()
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
    folder = run(settings(name), boxes, tmp_path)
    expected = finished(name)
    assert (folder / WEIGHTS).read_bytes() == (expected / WEIGHTS).read_bytes()
    assert without_times(rows_of(folder)) == without_times(rows_of(expected))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [".lock"]


@pytest.mark.parametrize("how", ["ask", "ask, with workers"])
def test_a_training_that_is_asked_to_stop_says_so_and_goes_on_when_asked_again(boxes, tmp_path, finished, how):
    """The signal goes to the whole group, as a scheduler sends it, and so to the processes that read crops."""
    process = start_child(settings("white"), boxes, tmp_path, how, 3)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 75, errors
    last = errors.splitlines()[-1]
    assert last == "supercosm: training was stopped by SIGTERM after 3 of 6 steps; the same command goes on from there"
    folder = run(settings("white"), boxes, tmp_path)
    assert sha256(folder / WEIGHTS) == sha256(finished("white") / WEIGHTS)
    assert without_times(rows_of(folder)) == without_times(rows_of(finished("white")))


@pytest.mark.parametrize("name", [name for name in CASES if name != "white ensemble"])
def test_a_training_stopped_between_any_two_steps_ends_with_the_same_numbers(
    boxes, tmp_path, monkeypatch, finished, name
):
    """Twice in one epoch, at the end of one, in another, and after the last step, which changes nothing."""
    config = settings(name, training={"validate_every": 3})
    expected = run(config, boxes, tmp_path / "expected")
    follow = Family.on_train_batch_end

    def asking(self, *arguments):
        follow(self, *arguments)
        step = len(steps) + 1
        steps.append(step)
        if step in (1, 2, 3, 5, 6):
            signal.raise_signal(signal.SIGUSR1)

    steps = []
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    monkeypatch.setattr(Family, "on_train_batch_end", asking)
    for step in (1, 2, 3, 5):
        with pytest.raises(StoppedError, match=f"stopped by SIGUSR1 after {step} of 6 steps"):
            run(config, boxes, tmp_path)
    folder = run(config, boxes, tmp_path)
    assert steps == [1, 2, 3, 4, 5, 6], "no step is made twice"
    assert (folder / WEIGHTS).read_bytes() == (expected / WEIGHTS).read_bytes()
    assert without_times(rows_of(folder)) == without_times(rows_of(expected))
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before


def test_a_task_of_several_in_a_slurm_job_waits_for_no_other(boxes, tmp_path, finished):
    """Where SLURM starts several tasks, or an interactive job has room for them, each is a training of its own."""
    job = {"JOB_ID": "7", "JOB_NAME": "train", "JOB_NODELIST": "localhost", "NODELIST": "localhost", "NNODES": "2"}
    job |= {"NTASKS": "4", "NTASKS_PER_NODE": "2", "PROCID": "3", "LOCALID": "1", "NODEID": "1"}
    variables = {f"SLURM_{name}": value for name, value in job.items()}
    process = start_child(settings("white"), boxes, tmp_path, **variables)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert sha256(tmp_path / "model" / WEIGHTS) == sha256(finished("white") / WEIGHTS)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(boxes, tmp_path, finished):
    again = run(settings("unet"), boxes, tmp_path / "again")
    assert sha256(again / WEIGHTS) == sha256(finished("unet") / WEIGHTS)
    other = run(settings("unet", training={"seed": 1}), boxes, tmp_path / "other")
    assert sha256(other / WEIGHTS) != sha256(finished("unet") / WEIGHTS)


def interrupt(config, boxes, root, monkeypatch):
    """Press Ctrl-C after the first checkpoint."""
    save = WholeCheckpoints.save_checkpoint

    def interrupted(*arguments, **more):
        save(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WholeCheckpoints, "save_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(config, boxes, root)


def test_an_interrupted_training_goes_on_when_asked_again(boxes, tmp_path, monkeypatch, finished):
    before = signal.getsignal(signal.SIGINT)
    interrupt(settings("white"), boxes, tmp_path, monkeypatch)
    assert signal.getsignal(signal.SIGINT) is before
    folder = run(settings("white"), boxes, tmp_path)
    assert sha256(folder / WEIGHTS) == sha256(finished("white") / WEIGHTS)


def test_a_resume_is_exact_when_other_processes_read_the_crops(boxes, tmp_path, monkeypatch, finished):
    """As on a GPU: they draw ahead, so the epoch must be known before the first batch is asked for."""
    monkeypatch.setattr("supercosm.hardware_settings.WORKERS", {"cpu": 2})
    interrupt(settings("unet"), boxes, tmp_path, monkeypatch)
    folder = run(settings("unet"), boxes, tmp_path)
    assert sha256(folder / WEIGHTS) == sha256(finished("unet") / WEIGHTS)


def test_checkpoints_of_other_settings_are_discarded(boxes, tmp_path, monkeypatch, finished):
    first = settings("white", training={"learning_rate": 1e-4})
    interrupt(first, boxes, tmp_path, monkeypatch)
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
    folder = run(settings("white"), boxes, tmp_path)
    assert sha256(folder / WEIGHTS) == sha256(finished("white") / WEIGHTS)
    assert len(rows_of(folder)) == 3


@pytest.mark.parametrize("change", ["settings", "training", "validation", "start"])
def test_what_a_checkpoint_belongs_to(boxes, tmp_path, change):
    from supercosm.pairs import PairFile

    files = [PairFile(boxes.pairs(seed)) for seed in (1, 2)]
    section = settings("white").models["model"]
    first = training._fingerprint(section, files, None)
    assert first == training._fingerprint(section, files, None)
    start = None
    if change == "settings":
        section = settings("unet").models["model"]
    elif change == "start":
        random_model(boxes, tmp_path / "start")
        start = tmp_path / "start"
    else:
        files[change == "validation"] = PairFile(boxes.pairs(3))
    assert training._fingerprint(section, files, start) != first


def test_a_damaged_checkpoint_is_found(tmp_path):
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"weights": torch.arange(1000.0)}, path)
    assert torch.equal(WholeCheckpoints().load_checkpoint(path)["weights"], torch.arange(1000.0))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"last\.ckpt is damaged .*delete it to train from the start"):
        WholeCheckpoints().load_checkpoint(path)
    path.write_bytes(content[:100])
    with pytest.raises(DataError, match="is damaged"):
        training._steps_done(path, settings("white").models["model"].training)


def test_two_trainings_on_the_same_checkpoints_are_refused(boxes, tmp_path):
    script = """
import sys, time
from supercosm.files import locked
with locked(sys.argv[1]):
    print(flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "checkpoints")], stdout=subprocess.PIPE)
    holder.stdout.readline()
    try:
        with pytest.raises(DataError, match=r"another process is working in .*checkpoints; wait for it or stop it"):
            run(settings("unet"), boxes, tmp_path)
    finally:
        holder.kill()
        holder.wait()
    with locked(tmp_path / "checkpoints"):  # a killed holder leaves no lock behind
        pass


def test_a_box_in_two_roles_is_refused(boxes, tmp_path):
    same = [boxes.pairs(1)]
    with pytest.raises(DataError, match=r"seeds \[1\] are in both training and validation"):
        train(settings("unet"), "model", (same, same), tmp_path / "model", tmp_path / "checkpoints")


def test_validation_boxes_of_another_kind_are_refused(boxes, tmp_path):
    data = [boxes.pairs(1)], [boxes.pairs(2, "_a0.5000")]
    with pytest.raises(DataError, match=r"has scale_factor = 0\.5, but .* has 1\.0"):
        train(settings("unet"), "model", data, tmp_path / "model", tmp_path / "checkpoints")


def test_a_loss_that_is_no_number_ends_the_training(boxes, tmp_path, monkeypatch):
    from supercosm.families.unet import UnetFamily

    honest = UnetFamily.distance

    def broken(self, output, target, crop):
        value = honest(self, output, target, crop)
        return value * float("nan") if self.training and self.global_step >= 3 else value

    monkeypatch.setattr(UnetFamily, "distance", broken)
    with pytest.raises(DataError, match=r"the training loss became nan before step 4; lower training\.learning_rate"):
        run(settings("unet"), boxes, tmp_path)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["unet", "gan"])
def test_the_history_has_a_row_per_validation(finished, name):
    rows = rows_of(finished(name))
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    for row in rows:
        assert all(float(row[k]) > 0 for k in ("seconds", "learning_rate", "crops_per_second", "train_loss"))
        assert float(row["validation_loss"]) > 0
    assert float(rows[-1]["learning_rate"]) < float(rows[0]["learning_rate"])
    if name == "gan":
        for column in ("critic_loss", "critic_real", "critic_fake", "adversarial_loss", "penalty"):
            assert all(row[column] for row in rows[1:])
    else:
        assert "critic_loss" not in rows[0]


def test_an_epoch_without_a_penalty_leaves_the_cell_empty(boxes, tmp_path):
    folder = run(settings("gan", warm_up=0, penalty_every=4), boxes, tmp_path)
    assert [bool(row["penalty"]) for row in rows_of(folder)] == [True, False, True]


def test_the_card_says_what_the_model_is(finished, boxes):
    folder = finished("unet")
    card = load_model(folder).card
    assert (card.name, card.factor, card.low_spacing, card.scale_factors) == ("model", 2, 3.125, [1.0])
    assert card.seeds == {"training": [1], "validation": [2]}
    assert [c.Omega_m for c in card.cosmologies] == [0.3111]
    assert card.slabs_per_length == pytest.approx(4 / 50.0)
    assert card.settings == settings("unet").models["model"]
    assert card.weights_sha256 == sha256(folder / WEIGHTS)
    assert card.scores["validation_loss"] == pytest.approx(float(rows_of(folder)[-1]["validation_loss"]))
    assert card.parameters == sum(p.numel() for p in load_model(folder).network.parameters())
    assert card.training_seconds > 0
    assert card.diagnosis
    assert card.provenance["parents"][0]["parents"][1]["seed"] == 1
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert "/" not in json.dumps(card.provenance), "provenance names no path of this machine"


def test_the_kept_weights_are_the_moving_average(boxes, tmp_path, finished):
    slow = run(settings("unet", training={"ema": 0.999}), boxes, tmp_path)
    assert sha256(slow / WEIGHTS) != sha256(finished("unet") / WEIGHTS)


def test_a_warm_start_begins_with_the_weights_it_is_given(boxes, tmp_path):
    first = random_model(boxes, tmp_path / "first", noise="initial", training={"crop": 24})
    config = configuration(
        family="gan", noise="initial", start="first", critic_channels=4,
        training={"steps": 1, "validate_every": 1, "learning_rate": 1e-12, "crop": 24, "weight_decay": 0.0},
    )  # fmt: skip
    model = load_model(run(config, boxes, tmp_path / "gan", tmp_path / "first"))
    assert model.card.scales == first.card.scales
    for name, value in first.network.state_dict().items():
        torch.testing.assert_close(model.network.state_dict()[name], value, rtol=0, atol=1e-9)


def test_a_warm_start_may_add_white_noise_but_not_another_network(boxes, tmp_path):
    first = random_model(boxes, tmp_path / "first")
    family = training.build_family(settings("white").models["model"], first.features())
    training._warm_start(family, tmp_path / "first")
    assert torch.equal(family.network.stem.weight, first.network.stem.weight)
    assert torch.equal(family.trained.stem.weight, first.network.stem.weight)
    random_model(boxes, tmp_path / "deeper", network={"levels": 2})
    with pytest.raises(DataError, match="holds another network: it cannot start this one"):
        training._warm_start(family, tmp_path / "deeper")
    random_model(boxes, tmp_path / "wider", network={"channels": 8})
    with pytest.raises(DataError, match="holds another network: it cannot start this one"):
        training._warm_start(family, tmp_path / "wider")


@pytest.mark.parametrize("told", [[], ["scale_factor"]])
def test_a_warm_start_says_what_the_regression_said_at_every_time(boxes, tmp_path, told):
    """Whether or not the first is told the redshift; the new input and the number of the scheme have no effect yet."""
    first = random_model(boxes, tmp_path / "first", noise="initial", told=told)
    config = configuration(family="flow_matching", begin="white", start="first", told=["scale_factor"])
    family = training.build_family(config.models["model"], first.features())
    training._warm_start(family, tmp_path / "first")
    seen, x = torch.randn(1, 21, 16, 16, 16), torch.randn(1, 6, 16, 16, 16)
    region = Region(seen, told=torch.tensor([[-0.4]]))
    expected = first.network(seen, told=region.told)
    for t in (0.0, 0.7):
        torch.testing.assert_close(family.scheme.outlook(family.network, region, x, t), expected, rtol=0, atol=1e-5)


BEGINNINGS = {
    "gan": {"noise": "white", "training": {"crop": 24}},
    "ensemble": {"noise": "white"},
    "vae": {"noise": "white"},
    "flow_matching": {"noise": "initial"},
    "diffusion": {"noise": "initial"},
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_what_a_warm_start_adds_to_a_regression_begins_without_effect(boxes, tmp_path, name):
    """Whatever is beside the regression's input, and whichever noise and numbers the network is told."""
    settings = {"noise": "none", **BEGINNINGS[name]}
    sees = {"noise": "initial"} if settings["noise"] == "initial" else {}
    first = random_model(boxes, tmp_path / "first", **sees)
    family, batch = small_family(boxes, family=name, **settings)
    training._warm_start(family, tmp_path / "first")
    scheme, seen = family.scheme, family.region(batch).seen
    beside = torch.randn(1, scheme.extra_inputs, *seen.shape[2:])
    told = torch.full((1, scheme.numbers), 0.3) if scheme.numbers else None
    expected = first.network(seen)
    assert expected.std() > 0.05
    for network in (family.network, family.trained):
        found = network(torch.cat([seen, beside], dim=1), CellNoise([1], [(0, 0, 0)], 32), False, told)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_lines_start_where_a_regression_ends(boxes, tmp_path):
    """Flow matching's first step of Euler's, all the way, is the regression that it was started from."""
    first = random_model(boxes, tmp_path / "first", noise="initial")
    family, batch = small_family(boxes, family="flow_matching", evaluations=1)
    training._warm_start(family, tmp_path / "first")
    region = family.region(batch, CellNoise([1], [(0, 0, 0)], 32))
    found = family.scheme.run(0, family.network, region)
    torch.testing.assert_close(found, first.network(region.seen), rtol=0, atol=1e-5)


def test_training_leaves_nothing_beside_its_folders(boxes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(settings("slabs"), boxes, Path("out"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert sorted(path.name for path in (tmp_path / "out" / "model").iterdir()) == [
        "history.csv", "loss.png", "model.json", "model.safetensors",
    ]  # fmt: skip


def test_slurm_variables_change_nothing(boxes, tmp_path, monkeypatch, finished):
    for name, value in {
        "SLURM_NTASKS": "4",
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS_PER_NODE": "4",
    }.items():
        monkeypatch.setenv(name, value)
    folder = run(settings("slabs"), boxes, tmp_path)
    assert sha256(folder / WEIGHTS) == sha256(finished("slabs") / WEIGHTS)


def test_bfloat16_is_used_as_the_settings_say():
    cpu = torch.device("cpu")
    for precision, expected in (("bf16", True), ("float32", False)):
        section = configuration(training={**TRAINING, "precision": precision}).models["model"].training
        assert training.uses_bfloat16(section, cpu) is expected
    section = configuration(training={**TRAINING, "precision": "auto"}).models["model"].training
    assert isinstance(training.uses_bfloat16(section, cpu), bool)


@pytest.mark.parametrize("name", [*DEFAULTS, "white", "white ensemble"])
def test_families_train_in_bfloat16(boxes, tmp_path, name):
    folder = run(settings(name, training={"precision": "bf16", "steps": 4}), boxes, tmp_path)
    weights = load_model(folder).network.state_dict().values()
    assert all(value.dtype == torch.float32 and torch.isfinite(value).all() for value in weights)


def test_trainings_cut_their_gradients(boxes, tmp_path):
    """Cut to next to nothing at every step, they count alike, whatever their length, so other weights come out."""
    found = {}
    for clip in (None, 1e6, 1e-3):
        folder = run(settings("unet", training={"clip": clip}), boxes, tmp_path / str(clip))
        found[clip] = load_model(folder).card.weights_sha256
    assert found[None] == found[1e6] != found[1e-3]
