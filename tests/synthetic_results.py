"""A small results folder with real simulations; imperfect copies of the truth stand in for trained models."""

import csv

import numpy as np
import torch

from supercosm.audit import audit
from supercosm.calibrate import calibrate
from supercosm.choice.contenders import contenders
from supercosm.choice.table import families
from supercosm.compare import compare_files
from supercosm.config import check, entries
from supercosm.cost import cost
from supercosm.drift import drift
from supercosm.evaluate import evaluate
from supercosm.features import Scales
from supercosm.fields import density_of, write_density
from supercosm.files import write_json
from supercosm.measure import measure
from supercosm.mesh import upsample
from supercosm.model import ModelCard
from supercosm.simulate import simulate_pair
from supercosm.snapshot import from_lattice, read_snapshot, write_snapshot
from supercosm.stages import measured
from supercosm.summarise import summarise
from supercosm.variants import skewed, variants

CONFIG = {
    "name": "synthetic",
    "seeds": {"training": [1], "validation": [2], "test": [8, 9]},
    "simulation": {"low": 16, "high": 32, "box_size": 50.0, "steps": 6},
    "superresolution": {"tile": 16, "samples": 3},
    "evaluation": {"bins": 10, "mesh": 2},
    "statistics": {"bins": 8, "pair_particles": 2000},
    "audit": {"few_steps": [2], "universes": 2, "shifts": [{"sigma8": 0.1}]},
    "models": {
        "unet": {"family": "unet", "training": {"crop": 16, "margin": 2}},
        "gan": {"family": "gan", "noise": "white", "training": {"crop": 16, "margin": 2}},
    },
}
SKEW = {"model": "unet", "steps": 4, "crop": 16, "margin": 2, "environments": ["void"]}


def configuration(**changes):
    return check({**CONFIG, **changes})


def make_results(folder, config):
    """Fill a results folder as the workflow would, with everything that the report needs."""
    for seed in config.seeds.all:
        runs = folder / "simulations" / str(seed)
        simulate_pair(config, seed, runs, cost=folder / "costs" / "simulate" / f"{seed}.json")
    comparisons = [
        _superresolve_and_compare(folder, config, entry, seed)
        for entry in entries(config)
        for seed in config.seeds.test
    ]
    comparisons += _run_variants(folder, config)
    evaluation = folder / "evaluation"
    evaluate(comparisons, evaluation / "spectra.ecsv", evaluation / "metrics.ecsv")
    for name, model in config.models.items():
        write_model(folder / "models" / name, name, model)
    _judge(folder, config)
    return folder


def _superresolve_and_compare(folder, config, entry, seed):
    tag = config.simulation.tag(entry.scale_factor)
    runs = folder / "simulations" / str(seed)
    outputs = folder / "superresolved" / entry.name / str(seed)
    paths = _superresolve(runs, outputs, config, entry, seed)
    write_json(
        folder / "costs" / "superresolved" / entry.name / f"{seed}.json",
        [{"what": "sample", "seconds": 0.5, "busy": 1.0, "memory": 500.0, "device": "cpu"} for _ in paths],
    )
    output = folder / "comparisons" / entry.name / f"{seed}.ecsv"
    compare_files(paths, runs / f"high{tag}.hdf5", output, config.evaluation)
    return output


def _superresolve(runs, outputs, config, entry, seed):
    """Write samples that know a share of what the low run lacks; stochastic ones with errors of their own."""
    tag = config.simulation.tag(entry.scale_factor)
    low, high = read_snapshot(runs / f"low{tag}.hdf5"), read_snapshot(runs / f"high{tag}.hdf5")
    smooth = upsample(torch.from_numpy(low.displacement()), high.side).numpy()
    share = {"low": 0.0, "linear": 0.5, "unet": 0.8}.get(entry.name.partition("_")[0], 0.9)
    paths = []
    for sample in range(1, entry.samples + 1):
        random = np.random.default_rng(100 * seed + sample).normal(0, 0.25, smooth.shape)
        error = random.astype(np.float32) if entry.phases == "drawn" else 0
        path = outputs / f"{sample}.hdf5"
        snapshot = from_lattice(
            smooth + share * (high.displacement() - smooth) + error,
            high.velocity(),
            config.simulation.box_size,
            scale_factor=high.scale_factor,
            cosmology=high.cosmology,
            provenance={"low_side": low.side, "factor": config.simulation.factor, "stage": "superresolve"},
        )
        model = config.models.get(entry.model)
        if model is not None and model.fields == "density":
            slabs = config.pairs.slabs if model.dimensions == 2 else None
            write_density(path, density_of(snapshot, high.side, slabs))
        else:
            write_snapshot(path, snapshot)
        paths.append(path)
    return paths


def _run_variants(folder, config):
    """Run few steps, universes and shifts; return the comparisons of few-step runs and write that of the drift."""
    few_steps, shifted = [], []
    tests = config.seeds.test
    last = [e for e in entries(config) if e.model and e.scale_factor == config.simulation.scale_factors[-1]]
    for variant in variants(config).values():
        for seed in tests if variant.kind != "shift" else tests[:1]:
            runs = folder / "variants" / variant.name / str(seed)
            costs = folder / "costs" / "variants" / variant.name / f"{seed}.json"
            simulate_pair(variant.config, seed, runs, variant.resolutions, variant.small_scales(seed), costs)
            if variant.kind == "steps":
                few_steps.append(folder / "comparisons" / variant.name / f"{seed}.ecsv")
                truth = folder / "simulations" / str(seed) / "high.hdf5"
                compare_files([runs / "high.hdf5"], truth, few_steps[-1], config.evaluation)
            elif variant.kind == "shift":
                shifted += [_shifted(folder, variant, runs, entry, seed) for entry in last]
    if shifted:
        usual = [folder / "comparisons" / entry.name / f"{tests[0]}.ecsv" for entry in last]
        drift(shifted + usual, folder / "evaluation" / "drift.ecsv")
    return few_steps


def _shifted(folder, variant, runs, entry, seed):
    place = folder / "shifts" / variant.name / entry.name
    paths = _superresolve(runs, place / str(seed), variant.config, entry, seed)
    compare_files(paths, runs / "high.hdf5", place / f"{seed}.ecsv", variant.config.evaluation)
    return place / f"{seed}.ecsv"


def _judge(folder, config):
    """Measure, audit and calibrate with the real functions; a skewed model is a copy of the even one here."""
    for entry in measured(config):
        tag = config.simulation.tag(entry.scale_factor)
        for seed in config.seeds.test:
            place, truth = f"{entry.name}/{seed}", folder / "simulations" / str(seed) / f"high{tag}.hdf5"
            source = truth if entry.truth else folder / "superresolved" / place / "1.hdf5"
            measure(source, folder / "statistics" / place, config.statistics)
            if entry.audits:
                audit(source, truth, folder / "audits" / place, config.statistics)
            if entry.calibrated:
                samples = sorted(source.parent.glob("*.hdf5"))
                others = [] if tag else sorted(folder.glob(f"variants/universe*/{seed}/high.hdf5"))
                calibrate(samples, truth, others, folder / "calibrations" / place, config.evaluation)
    seed = config.seeds.test[0]
    for name in skewed(config):
        sample = folder / "superresolved" / config.audit.skew.model / str(seed) / "1.hdf5"
        truth = folder / "simulations" / str(seed) / "high.hdf5"
        audit(sample, truth, folder / "skewed" / "audits" / name / str(seed), config.statistics)
    summarise(config, folder, folder / "evaluation")
    cost(config, folder, folder / "evaluation" / "cost.ecsv")
    if contenders(config):
        families(config, folder, folder / "evaluation" / "families.ecsv")


def write_model(folder, name, settings):
    """Write the card and the history of a model that was trained for 61 seconds on two cores."""
    card = ModelCard(
        name=name,
        settings=settings,
        factor=2,
        low_spacing=3.125,
        scale_factors=[1.0],
        slabs_per_length=0.08,
        cosmologies=[],
        seeds={"training": [1], "validation": [2]},
        inputs=[],
        environments={"void": 0.1, "sheet": 0.3, "filament": 0.4, "knot": 0.2},
        scales=Scales(),
        scores={},
        diagnosis="",
        training_seconds=61.0,
        training_cores=2,
        parameters=12345,
        provenance={},
    )
    write_json(folder / "model.json", card.model_dump(mode="json"))
    write_history(folder / "history.csv", np.exp(-np.arange(60) / 15) + 0.1, adversarial=settings.family == "gan")


def write_history(path, loss, validation=None, adversarial=False, separation=None):
    """Write a history; its validation loss, every fifth row, is 10 % above the training loss unless given."""
    names = ["step", "seconds", "learning_rate", "train_loss", "validation_loss", "crops_per_second"]
    more = ["critic_loss", "critic_real", "critic_fake", "penalty", "adversarial_loss"]
    random = np.random.default_rng(0)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names + more * adversarial)
        for i, value in enumerate(loss):
            known = "" if (i + 1) % 5 else 1.1 * value if validation is None else validation[i]
            row = [10 * (i + 1), 4.0 * i, 1e-3, value * random.uniform(0.95, 1.05), known, 2.5]
            gap = 0.5 if separation is None else separation[i]
            writer.writerow(row + [-gap, 0.2 + gap, 0.2, 0.01, -0.2] * adversarial)
