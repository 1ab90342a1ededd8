"""The workflow, run for real on the smoke configuration in a temporary folder, and what a user may do to it.

One finished run is shared; a test that changes something does so in a copy of it.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from supercosm.config import entries, load_config
from supercosm.files import locked
from supercosm.records.export import export
from supercosm.records.inspect import describe
from supercosm.records.inventory import expected, stages
from supercosm.records.reproduce import reproduce
from supercosm.records.run import as_yaml, read_record
from supercosm.records.verdict import compare_runs
from supercosm.snapshot import read_snapshot
from supercosm.stages import CALIBRATIONS, OF_FIELDS, OF_PARTICLES, tables_of

ROOT = Path(__file__).parents[2]
RUN = Path("results/smoke")
SMOKE = load_config([ROOT / "config" / f"{name}.yaml" for name in ("config", "smoke")])
REALISM = SMOKE.classification.tasks["realism"].entries
SMOKE_TABLES = list(tables_of(SMOKE, RUN))
AUDITED = ("environment", "halomass")
SUMMARIES = [f"evaluation/{name}.ecsv" for name in ("metrics", "spectra", "cost", "families", *SMOKE_TABLES)]
MODEL = ["history.csv", "loss.png", "model.json", "model.safetensors"]


THREADED = ("simulate", "simulate_high", "simulate_shifted", "train", "train_skewed")
THREADED += ("superresolve", "sample", "superresolve_shifted", "superresolve_skewed")


def command(folder, *arguments, overlays=()):
    # jobs use one core, so that two run at a time; targets come before options that take many values
    snakemake = [sys.executable, "-m", "snakemake", *arguments, "--directory", folder, "--cores", "2"]
    source = [] if "-s" in arguments else ["-s", ROOT / "Snakefile"]
    threads = ["--set-threads", *(f"{rule}=1" for rule in THREADED)]
    return [*snakemake, *source, *threads, "--configfile", "config/smoke.yaml", *overlays]


def environment():
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_WAIT_POLICY": "passive"}


def snakemake(folder, *arguments, overlays=(), succeeds=True):
    """Run Snakemake in a folder that holds config/; return everything it printed."""
    call = command(folder, *arguments, overlays=overlays)
    result = subprocess.run(
        call, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert (result.returncode == 0) is succeeds, result.stdout
    return result.stdout


def planned(folder, *arguments, overlays=()):
    """Return the files that a dry run would make, without results/smoke/ in front."""
    printed = snakemake(folder, "-n", *arguments, overlays=overlays)
    found = [file for line in re.findall(r"^ +output: (.+)$", printed, re.M) for file in line.split(", ")]
    return {str(Path(file).relative_to(RUN)) for file in found}


def overlay(folder, **content):
    """Write one more overlay for a folder; return how to pass it."""
    (folder / "more.yaml").write_text(yaml.safe_dump(content))
    return ["more.yaml"]


def after(*names, seeds=(4, 5)):
    """Return what follows from new super-resolved boxes of these entries, figures aside."""
    made = {*SUMMARIES, "report/index.html"}
    for entry in (entry for entry in entries(SMOKE) if entry.name in names):
        for seed in seeds:
            box = f"{entry.name}/{seed}"
            made |= {f"superresolved/{box}/{i + 1}.hdf5" for i in range(entry.samples)}
            made |= {f"comparisons/{box}.ecsv", f"costs/superresolved/{box}.json"} | judged(box, entry.samples > 1)
        if entry.model and 4 in seeds:  # the test box that is run in another cosmology
            shift = f"shifts/sigma8_0.9102/{entry.name}/4"
            made |= {f"{shift}/1.hdf5", f"{shift}.ecsv", "evaluation/drift.ecsv"}
        told = entry.name in REALISM
        if told and 4 in seeds:  # the boxes that classifiers learn from are made by the same entry
            made |= {f"classification/densities/{entry.name}/{seed}.hdf5" for seed in (1, 3)}
        made |= classified("realism", entry.name) if told else set()
        made |= classified("environment", "low") if entry.name == "low" else set()
    return made


def classified(task, part):
    """Return what is found of one part of a task of classification."""
    names = ("scores.ecsv", "predictions.hdf5", "histories.ecsv", "looks.hdf5")
    return {f"classification/{task}/{part}/{name}" for name in names}


def judged(box, calibrated):
    """Return what is measured of one super-resolved box."""
    tables = [*(f"{name}.ecsv" for name in OF_FIELDS + OF_PARTICLES), "haloes.hdf5", "slab.fits"]
    found = {f"statistics/{box}/{name}" for name in tables}
    found |= {f"audits/{box}/{name}.ecsv" for name in ("environment", "halomass")}
    return found | {f"calibrations/{box}/{name}.ecsv" for name in CALIBRATIONS if calibrated}


def without_figures(files):
    return {file for file in files if not file.startswith("figures/")}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished smoke run: nobody writes here."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(ROOT / "config", folder / "config")
    snakemake(folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def kill_when(call, folder, there, patience=120):
    """Start a run, kill -9 it and all its jobs as soon as a file is there."""
    with (folder / "killed.log").open("w") as log:
        process = subprocess.Popen(call, cwd=folder, env=environment(), stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + patience
        while not there.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert there.exists(), (folder / "killed.log").read_text()


def test_runs_to_a_self_contained_report(finished):
    page = (finished / RUN / "report/index.html").read_text()
    assert "data:image/png;base64," in page
    assert not re.search(r'(src|href)="https?://[^"]+\.(js|css|png)"', page)
    for entry in ("linear", "unet-drawn", "gan"):
        assert entry in page
    benchmarks = {path.name for path in (finished / RUN / "benchmarks").iterdir()}
    assert benchmarks == {
        *("simulate", "simulate_high", "simulate_shifted", "pair", "train", "train_skewed"),
        *("superresolve", "sample", "superresolve_shifted", "superresolve_skewed"),
        *("compare", "compare_few_steps", "compare_shifted", "measure", "audit", "audit_skewed", "calibrate"),
        *("evaluate", "summarise", "drift", "cost", "families", "report"),
        *("train_coder", "train_small_coders", "rate_distortion", "rate_distortion_particles"),
        *("map_latents", "check_maps", "show_coders"),
        *("simulate_universe", "superresolve_to_classify", "classify"),
    }
    assert list((finished / RUN).rglob("*.part")) == []


def test_a_finished_run_has_nothing_to_do(finished):
    assert "Nothing to be done" in snakemake(finished, "-n")


def test_a_finished_run_keeps_its_record_and_lacks_nothing(finished):
    record = read_record(finished / RUN)
    assert record.config == SMOKE
    assert [stage.folder for stage in stages(finished / RUN, record.config) if stage.missing] == []
    kept = finished / RUN / "provenance/workflow"
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        assert (kept / "workflow/rules" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["config", "families", "paper"])
def test_what_a_finished_run_is_said_to_hold_is_what_the_workflow_plans(tmp_path, name):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    call = [sys.executable, "-m", "snakemake", "-n", "-s", ROOT / "Snakefile", "--directory", tmp_path, "--cores", "2"]
    overlay = f"config/{name}.yaml"
    printed = subprocess.run([*call, "--configfile", overlay], capture_output=True, text=True, check=True).stdout
    config = load_config([ROOT / "config/config.yaml", ROOT / overlay])
    plan = {file for line in re.findall(r"^ +output: (.+)$", printed, re.M) for file in line.split(", ")}
    assert {f"results/{config.name}/{file}" for file in expected(config)} <= plan


def test_no_result_names_a_place_on_this_machine(finished):
    """Logs aside, which hold what libraries say of themselves."""
    for path in (finished / RUN).rglob("*"):
        if path.is_file() and path.relative_to(finished / RUN).parts[0] != "logs":
            for place in (finished, ROOT):
                assert str(place).encode() not in path.read_bytes(), path


def test_a_working_folder_that_moves_is_still_finished(copy):
    moved = copy.rename(copy.with_name("moved"))
    assert "Nothing to be done" in snakemake(moved, "-n")
    assert describe(moved / RUN).facts["missing"] == []


def test_a_run_is_packed_with_its_figures_and_report(finished, tmp_path):
    export(finished / RUN, tmp_path / "paper", weights=True)
    for name in ("report/index.html", "figures/density.png", "models/gan/model.safetensors", "models/gan/loss.png"):
        assert digest(tmp_path / "paper" / name) == digest(finished / RUN / name)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path / "paper", check=True)


def test_a_run_that_was_stopped_is_reproduced_and_compared(finished, copy, monkeypatch):
    """The folder of the second run is a copy of the first that lacks a comparison, so that little runs again."""
    for key, value in environment().items():
        monkeypatch.setenv(key, value)
    (copy / "config/config.yaml").write_text(as_yaml(read_record(finished / RUN).config))
    (copy / RUN / "comparisons/low/4.ecsv").unlink()
    again = reproduce(finished / RUN, copy, ["--cores", "2", "--set-threads", *(f"{rule}=1" for rule in THREADED)])
    assert again == copy / RUN
    comparison = compare_runs(finished / RUN, again)
    assert {file.status for file in comparison.files} == {"identical"}
    assert comparison.tolerance == 0


def test_a_setting_of_one_model_reruns_that_model_and_what_follows(finished, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("models: {gan: {critic_learning_rate: 0.0007}}")
    files = without_figures(planned(finished, overlays=[more]))
    assert files == after("gan") | {f"models/gan/{name}" for name in MODEL}


def test_a_setting_of_a_starting_model_reruns_those_that_start_from_it(finished, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("models: {unet: {training: {learning_rate: 0.001}}}")
    files = without_figures(planned(finished, overlays=[more]))
    trained = {f"models/{model}/{name}" for model in ("unet", "gan") for name in MODEL}
    skewed = {f"skewed/{name}/model.{kind}" for name in ("even", "knot") for kind in ("json", "safetensors")}
    skewed |= {f"skewed/superresolved/{name}/4/1.hdf5" for name in ("even", "knot")}
    skewed |= {f"skewed/audits/{name}/4/{table}.ecsv" for name in ("even", "knot") for table in AUDITED}
    # the super-resolved box predicts displacements, too
    assert files == after("unet", "unet-drawn", "gan") | trained | skewed | {"compression/particles.ecsv"}


def test_other_hardware_reruns_nothing(finished, tmp_path):
    """Nor do `devices` and `accumulate`, tried by hand: they do not divide the smoke run's batches of one crop."""
    more = tmp_path / "more.yaml"
    more.write_text("hardware: {cache: 0.5, workers: 1, checkpoint_activations: true}")
    assert planned(finished, overlays=[more]) == set()


def test_one_more_test_seed_retrains_nothing(finished, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("seeds: {test: [4, 5, 6]}")
    files = without_figures(planned(finished, overlays=[more]))
    simulated = {"simulations/6/low.hdf5", "simulations/6/high.hdf5", "costs/simulate/6.json"}
    for variant in ("steps2", "universe1"):
        simulated |= {f"variants/{variant}/6/high.hdf5", f"costs/variants/{variant}/6.json"}
    simulated |= {"comparisons/steps2/6.ecsv"} | judged("high/6", False) - {f"audits/high/6/{t}.ecsv" for t in AUDITED}
    shown = {f"compression/{name}" for name in ("patches.ecsv", "prior.ecsv", "gallery.hdf5")}
    shown |= classified("realism", "other-seeds") | classified("environment", "high")
    assert files == simulated | shown | after("low", "linear", "unet", "unet-drawn", "gan", seeds=[6])


def test_a_setting_of_one_coder_reruns_that_coder_and_what_follows(finished, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("compression: {coders: {conv64: {fit: {learning_rate: 0.001}}}}")
    made = {f"compression/coders/conv64/{name}" for name in MODEL}
    made |= {f"compression/{name}" for name in ("patches.ecsv", "prior.ecsv", "gallery.hdf5", "maps/conv64.ecsv")}
    assert without_figures(planned(finished, overlays=[more])) == made | {"report/index.html"}


def test_a_setting_of_one_task_reruns_that_task(finished, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("classification: {tasks: {environment: {patches: 120}, realism: {entries: [gan]}}}")
    made = classified("environment", "low") | classified("environment", "high")
    made |= {"evaluation/families.ecsv"}  # which asks whom the classifiers of realism were told to tell
    assert without_figures(planned(finished, overlays=[more])) == made | {"report/index.html"}


def test_another_universe_runs_its_simulations(finished, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("classification: {tasks: {sigma8: {classes: [{sigma8: 0.7}, {sigma8: 1.0}]}}}")
    made = {f"classification/universes/sigma8/sigma8_1/{seed}.hdf5" for seed in (100, 101, 102, 103)}
    made |= classified("sigma8", "universes") | {"report/index.html"}
    assert without_figures(planned(finished, overlays=[more])) == made


def test_a_model_of_several_outputs_learns_from_all_and_is_compared_between_them(tmp_path):
    """Trained at z = 3 and 0: pairs of those, and boxes of it and of both baselines at z = 1, too."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    training = {"steps": 4, "validate_every": 2, "crop": 32, "margin": 4}
    model = {"family": "unet", "told": ["scale_factor"], "scale_factor": [0.25, 1.0], "training": training}
    more = overlay(
        tmp_path, simulation={"scale_factors": [0.2, 0.25, 0.5, 1.0]},
        models={"all": model, "unet": None, "gan": None}, audit={"skew": {"model": None}},
        compression={"coders": None}, classification={"tasks": None},
    )  # fmt: skip
    files = planned(tmp_path, overlays=more)
    seeds = [*SMOKE.seeds.training, *SMOKE.seeds.validation]
    pairs = {f"pairs/{seed}{tag}.hdf5" for seed in seeds for tag in ("", "_a0.2500")}
    assert {file for file in files if file.startswith("pairs/")} == pairs
    assert {file for file in files if file.startswith("models/")} == {f"models/all/{name}" for name in MODEL}
    names = {f"{name}{tag}" for name in ("all", "low", "linear") for tag in ("", "_a0.5000", "_a0.2500")}
    made = {file for file in files if file.startswith("superresolved/")}
    assert made == {f"superresolved/{name}/{seed}/1.hdf5" for name in names for seed in SMOKE.seeds.test}
    assert {f"comparisons/{name}/{SMOKE.seeds.test[0]}.ecsv" for name in names} <= files


def test_report_settings_rerun_the_report_alone(finished, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("report: {zoom: 10.0}")
    assert without_figures(planned(finished, overlays=[more])) == {"report/index.html"}


def test_the_catalogue_entry_runs_the_same(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    printed = snakemake(tmp_path, "-n", "-s", ROOT / "workflow/Snakefile")
    assert re.search(r"^catalogue +1$", printed, re.M)
    assert re.search(r"^total +102$", printed, re.M)


def test_snakemakes_own_report_holds_figures_and_tables(finished, tmp_path):
    snakemake(finished, "--report", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for words in (
        "Training",
        "Spectra",
        "Pictures",
        "Tables",
        "Transfer function",
        "Bias audit",
        "Calibration",
        "Classification",
        "Families",
    ):
        assert words in page


def test_training_killed_finishes_with_the_same_numbers(finished, copy):
    """Deleting a model folder reruns it and what follows; kill -9 on the way changes no number."""
    shutil.rmtree(copy / RUN / "models/gan")
    assert without_figures(planned(copy)) == after("gan") | {f"models/gan/{name}" for name in MODEL}
    kill_when(command(copy), copy, copy / RUN / "checkpoints/gan/last.ckpt")
    assert not (copy / RUN / "models/gan/model.safetensors").exists()
    assert "resuming from" in snakemake(copy)
    for file in ("models/gan/model.safetensors", "evaluation/metrics.ecsv"):
        assert digest(copy / RUN / file) == digest(finished / RUN / file), file
    assert "Nothing to be done" in snakemake(copy, "-n")


def test_simulation_killed_leaves_no_half_file_and_finishes(finished, copy):
    shutil.rmtree(copy / RUN / "simulations/3")
    made = RUN / "simulations/3"
    kill_when(command(copy, made / "high.hdf5"), copy, copy / made / "low.hdf5")
    for path in (copy / made).glob("*.hdf5"):
        read_snapshot(path)  # whole, or not there
    snakemake(copy, made / "high.hdf5")
    for name in ("low", "high"):
        first, second = (read_snapshot(folder / made / f"{name}.hdf5") for folder in (finished, copy))
        np.testing.assert_array_equal(first.positions, second.positions)
        np.testing.assert_array_equal(first.velocities, second.velocities)
    assert list((copy / RUN).rglob("*.part")) == []


WRITER = """
import os, signal, sys
from pathlib import Path
from supercosm.snapshot import read_snapshot, snapshot_writer
snapshot = read_snapshot(sys.argv[1])
with snapshot_writer(sys.argv[2], snapshot, len(snapshot.ids)) as write:
    half = len(snapshot.ids) // 2
    write(0, snapshot.positions[:half], snapshot.velocities[:half], snapshot.ids[:half])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_writer_killed_half_way_leaves_nothing_under_the_final_name(finished, tmp_path):
    source, target = finished / RUN / "simulations/3/low.hdf5", tmp_path / "low.hdf5"
    result = subprocess.run([sys.executable, "-c", WRITER, source, target])
    assert result.returncode == -signal.SIGKILL
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    complete = WRITER.replace("    os.kill(os.getpid(), signal.SIGKILL)", "").replace("// 2", "")
    subprocess.run([sys.executable, "-c", complete, source, target], check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["low.hdf5"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"simulatoin": {"low": 8}}, ["unknown configuration key 'simulatoin'", "did you mean 'simulation'"]),
        ({"seeds": {"test": [1]}}, ["seed 1", "'training'", "'test'"]),
        ({"simulation": {"low": 24}}, ["high = 32", "low = 24"]),
    ],
)
def test_a_bad_configuration_stops_before_anything_runs(tmp_path, content, words):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    printed = snakemake(tmp_path, overlays=overlay(tmp_path, **content), succeeds=False)
    for word in words:
        assert word in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("held", ["", "/checkpoints/unet"])
def test_a_second_run_on_the_same_results_is_refused(tmp_path, held):
    """Held by a run, or by a job on a cluster that outlived its run."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    with locked(f"{tmp_path / RUN}{held}"):
        printed = snakemake(tmp_path, succeeds=False)
    assert f"another process is working in results/smoke{held}; wait" in printed
    assert not (tmp_path / RUN / "simulations").exists()
