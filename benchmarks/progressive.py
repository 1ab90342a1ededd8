"""Three models of factor two in a chain, against one of factor four and one of factor eight: equal seconds of training.

    python benchmarks/progressive.py [--low 16] [--box 50] [--seconds 900] [--folder FOLDER] [--output FILE.ecsv]

Simulates one set of seeds at low, 2 low, 4 low and 8 low particles per side, which share all modes they have in common,
trains regressions that are told the initial conditions, and applies them to the test seed with its own phases. Every
model of the chain gets a third of the seconds; the direct one of factor eight gets all, that of factor four two thirds,
as the two links that it replaces. How many steps that makes is measured on a short training of each first.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from supercosm.baselines import Baseline
from supercosm.config import Config, check
from supercosm.fields import density_of
from supercosm.model import Model, load_model
from supercosm.pairs import make_pairs
from supercosm.provenance import machine
from supercosm.simulate import simulate
from supercosm.snapshot import Snapshot, read_snapshot, write_snapshot
from supercosm.statistics.power import CLOUD_IN_CELL, compare
from supercosm.superresolution import superresolve
from supercosm.training import train


@dataclass(frozen=True)
class Study:
    """Sizes of the comparison, and the folder that holds its files."""

    folder: Path
    options: argparse.Namespace

    def config(self, low: int, high: int, steps: int = 1) -> Config:
        """Return the configuration of a regression from one resolution to another."""
        own = self.options
        return check(
            {
                "simulation": {"box_size": own.box, "low": low, "high": high, "steps": own.steps},
                "superresolution": {"tile": low},
                "pairs": {"slabs": 1},
                "models": {
                    "regression": {
                        "family": "unet",
                        "condition": ["low", "initial"],
                        "loss": {"mse": 1.0, "density": 3.0},
                        "network": {"channels": own.channels},
                        "training": {
                            "steps": steps,
                            "validate_every": steps,
                            "crop": own.crop,
                            "margin": own.crop // 8,
                        },
                    }
                },
            }
        )

    def snapshot(self, seed: int, side: int) -> Path:
        """Return the file of a run, simulated when it is first asked for."""
        path = self.folder / "simulations" / str(seed) / f"{side}.hdf5"
        if not path.exists():
            *_, found = simulate(self.config(side, 2 * side), seed, "low")
            write_snapshot(path, found)
        return path

    def pairs(self, seed: int, low: int, high: int) -> Path:
        """Return the file of a pair, made when it is first asked for."""
        path = self.folder / "pairs" / f"{seed}-{low}-{high}.hdf5"
        if not path.exists():
            make_pairs(self.snapshot(seed, low), self.snapshot(seed, high), path, slabs=1)
        return path

    def trained(self, low: int, high: int, seconds: float) -> Model:
        """Train a regression for so many seconds, as a short training of it predicts them."""
        roles = (self.options.training, [self.options.validation])
        data = [[self.pairs(seed, low, high) for seed in seeds] for seeds in roles]
        steps = self.options.probe
        for name in ("probe", "model"):
            root = self.folder / "models" / f"{low}-{high}" / name
            if not (root / "model.json").exists():
                train(self.config(low, high, steps), "regression", data, root, root / "checkpoints")
            model = load_model(root)
            steps = max(1, round(seconds / model.card.training_seconds * steps))
        return model


def measure(sample: Snapshot, truth: Snapshot, low: int, at: list[float]) -> list[dict[str, float]]:
    """Return P/P_HR and T and r of the density at wave numbers [Nyquist frequencies of the first low run]."""
    edges = np.arange(0.5, truth.side // 2 + 1)
    one, other = (density_of(snapshot, 2 * truth.side).data[None] for snapshot in (sample, truth))
    spectra = compare(one, other, truth.box_size, edges, window=CLOUD_IN_CELL)
    nyquist = np.pi * low / truth.box_size
    bins = {k: int(np.abs(spectra.k - k * nyquist).argmin()) for k in at if k * nyquist <= spectra.k[-1] * 1.001}
    return [
        {
            "k_over_low_Nyquist": k,
            "P_over_P_HR": float(spectra.transfer[i] ** 2),
            "T": float(spectra.transfer[i]),
            "r": float(spectra.correlation[i]),
        }
        for k, i in bins.items()
    ]


def rows_of(study: Study) -> list[dict]:
    options = study.options
    low, seconds = options.low, options.seconds
    links = [study.trained(low * 2**i, low * 2 ** (i + 1), seconds / 3) for i in range(3)]
    ways = {
        ("2 × 2", 4): links[:2],
        ("direct", 4): [study.trained(low, low * 4, seconds * 2 / 3)],
        ("up-sampled", 4): [Baseline("low", 4)],
        ("2 × 2 × 2", 8): links,
        ("direct", 8): [study.trained(low, low * 8, seconds)],
        ("up-sampled", 8): [Baseline("low", 8)],
    }
    start, rows = read_snapshot(study.snapshot(options.test, low)), []
    for (way, factor), models in ways.items():
        truth = read_snapshot(study.snapshot(options.test, low * factor))
        begin = time.perf_counter()
        sample = superresolve(start, models)
        applied = time.perf_counter() - begin
        training = sum(model.card.training_seconds for model in models if isinstance(model, Model))
        for found in measure(sample, truth, low, options.at):
            rows.append({"way": way, "factor": factor, **found, "training_s": training, "sample_s": applied})
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--low", type=int, default=16, help="particles per side of the coarsest run")
    parser.add_argument("--box", type=float, default=50.0, help="side of the box [Mpc/h]")
    parser.add_argument("--steps", type=int, default=20, help="N-body steps")
    parser.add_argument("--training", type=int, nargs="+", default=[1, 2, 3, 4], help="seeds")
    parser.add_argument("--validation", type=int, default=5)
    parser.add_argument("--test", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=900.0, help="of training, for each way")
    parser.add_argument("--probe", type=int, default=10, help="steps of the trainings that tell how long a step takes")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--crop", type=int, default=32, help="side of a crop [high-resolution cells], up to 2 low")
    parser.add_argument("--at", type=float, nargs="+", default=[0.5, 1, 2, 3.5, 7], help="k [low Nyquist frequencies]")
    parser.add_argument("--folder", type=Path, help="keeps runs and models, so that a killed benchmark goes on")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        table = Table(rows=rows_of(Study(options.folder or Path(scratch), options)))
    for name, digits in {"P_over_P_HR": 4, "T": 4, "r": 4, "training_s": 1, "sample_s": 2}.items():
        table[name] = np.round(table[name], digits)
    table.meta = {
        "what": "density of a test box against the true run of the same resolution; phases known",
        **{name: getattr(options, name) for name in ("low", "box", "steps", "seconds", "channels", "crop")},
        "load": round(os.getloadavg()[0], 1),
        **machine(),
    }
    table.pprint_all()
    if options.output:
        table.write(options.output, format="ascii.ecsv", overwrite=True)


if __name__ == "__main__":
    main()
