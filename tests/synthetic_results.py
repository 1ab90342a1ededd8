"""A small results folder with real simulations; imperfect copies of the truth stand in for trained models."""

import csv
import json

import numpy as np
import torch

from supercosm.compare import compare_files
from supercosm.config import check, entries
from supercosm.evaluate import evaluate
from supercosm.fields import density_of, write_density
from supercosm.mesh import upsample
from supercosm.simulate import simulate_pair
from supercosm.snapshot import from_lattice, read_snapshot, write_snapshot

CONFIG = {
    "name": "synthetic",
    "seeds": {"training": [1], "validation": [2], "test": [8, 9]},
    "simulation": {"low": 16, "high": 32, "box_size": 50.0, "steps": 6},
    "superresolution": {"tile": 16},
    "evaluation": {"bins": 10, "mesh": 2},
    "models": {
        "unet": {"family": "unet", "training": {"crop": 16, "margin": 2}},
        "gan": {"family": "gan", "noise": "white", "training": {"crop": 16, "margin": 2}},
    },
}


def configuration(**changes):
    return check({**CONFIG, **changes})


def make_results(folder, config):
    for seed in config.seeds.test:
        simulate_pair(config, seed, folder / "simulations" / str(seed))
    comparisons = []
    for entry in entries(config):
        for seed in config.seeds.test:
            comparisons.append(_superresolve_and_compare(folder, config, entry, seed))
    evaluation = folder / "evaluation"
    evaluate(comparisons, evaluation / "spectra.ecsv", evaluation / "metrics.ecsv")
    for name, model in config.models.items():
        _write_model(folder / "models" / name, name, model.family == "gan")
    return folder


def _superresolve_and_compare(folder, config, entry, seed):
    box = config.simulation.box_size
    runs, tag = folder / "simulations" / str(seed), config.simulation.tag(entry.scale_factor)
    low, high = read_snapshot(runs / f"low{tag}.hdf5"), read_snapshot(runs / f"high{tag}.hdf5")
    smooth = upsample(torch.from_numpy(low.displacement()), high.side).numpy()
    share = {"low": 0.0, "linear": 0.5, "unet": 0.8}.get(entry.name.partition("_")[0], 0.9)
    paths = []
    for sample in range(1, entry.samples + 1):
        random = np.random.default_rng(100 * seed + sample).normal(0, 0.25, smooth.shape)
        error = random.astype(np.float32) if entry.phases == "drawn" else 0
        path = folder / "superresolved" / entry.name / str(seed) / f"{sample}.hdf5"
        snapshot = from_lattice(
            smooth + share * (high.displacement() - smooth) + error,
            high.velocity(),
            box,
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
    output = folder / "comparisons" / entry.name / f"{seed}.ecsv"
    compare_files(paths, runs / f"high{tag}.hdf5", output, config.evaluation)
    return output


def _write_model(folder, name, adversarial):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(json.dumps({"name": name, "parameters": 12345, "training_seconds": 61.0}))
    write_history(folder / "history.csv", np.exp(-np.arange(60) / 15) + 0.1, adversarial=adversarial)


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
