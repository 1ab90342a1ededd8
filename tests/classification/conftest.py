"""Small real boxes with a class each: 32³ particles in 50 Mpc/h, simulated when a test first asks for them."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from supercosm.choices import Options
from supercosm.classification.boxes import Box, read_splits
from supercosm.config import check
from supercosm.densities import superresolve_densities
from supercosm.fields import density_of, read_density, write_density
from supercosm.simulate import simulate
from supercosm.snapshot import write_snapshot
from supercosm.threads import one_thread

SIMULATION = {"low": 16, "high": 32, "box_size": 50.0, "steps": 6}
NETWORK = {"channels": 8, "levels": 2, "patch": 2}
FIT = {"epochs": 8, "batch": 16, "learning_rate": 3e-3}


@dataclass(frozen=True)
class Universes:
    """Density fields by class and seed; a class is a σ8, "high" that of Planck, "low" its low run, up-sampled."""

    folder: Path

    def path(self, label, seed):
        """Return the file of a box; do not change it."""
        path = self.folder / label / f"{seed}.hdf5"
        if not path.exists():
            _make(path, label, seed)
        return path

    def box(self, label, seed):
        """Return a box as a classifier gets it."""
        field = read_density(self.path(label, seed))
        return Box(label, seed, field.data, field.box_size, field.provenance)

    def arguments(self, labels, **seeds):
        """Return what the command line is given: `class=file` for every class and seed of every split."""
        return {
            split: [f"{label}={self.path(label, seed)}" for seed in own for label in labels]
            for split, own in seeds.items()
        }

    def splits(self, labels, **seeds):
        return read_splits(self.arguments(labels, **seeds))


def _make(path, label, seed):
    cosmology = {} if label in ("low", "high") else {"sigma8": float(label)}
    config = check({"device": "cpu", "simulation": SIMULATION, "cosmology": cosmology})
    *_, snapshot = simulate(config, seed, "low" if label == "low" else "high")
    if label != "low":
        write_density(path, density_of(snapshot, snapshot.side))
        return
    particles = path.with_suffix(".particles.hdf5")
    write_snapshot(particles, snapshot)
    superresolve_densities([particles], [path], "low", Options(device="cpu"), config.simulation.factor)


@pytest.fixture(scope="session")
def universes(tmp_path_factory):
    return Universes(tmp_path_factory.mktemp("universes"))


@pytest.fixture(scope="session")
def configured():
    """Make a Config of these simulations with one task, named "task", a small network and a short training."""

    def configure(kind, **settings):
        small = {"network": NETWORK | settings.pop("network", {}), "fit": FIT | settings.pop("fit", {})}
        if kind == "cosmology":
            small |= {"box_size": 50.0, "particles": 32, "slabs": 8, "curve": [], "altered": [], "skew": None}
        task = {"kind": kind, **small, **settings}
        return check({"device": "cpu", "simulation": SIMULATION, "classification": {"tasks": {"task": task}}})

    return configure


@pytest.fixture(scope="session")
def task_of(configured):
    """Make the settings of one task alone."""
    return lambda kind, **settings: configured(kind, **settings).classification.tasks["task"]


@pytest.fixture(autouse=True)
def _on_one_thread():
    """Sums keep their order, and small networks their speed; what torch had before comes back."""
    with one_thread():
        yield
