"""Fixtures of the learning tests: pairs of the tiny simulations (16³ and 32³ in 50 Mpc/h), small models."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
import torch

from supercosm.config import AnyModel, check
from supercosm.crops import Crops
from supercosm.familiarity import describe
from supercosm.families import build_family
from supercosm.features import Features, measure_scales
from supercosm.features import Scales as Units
from supercosm.model import ModelCard, load_model, save_model
from supercosm.pairs import PairFile, make_pairs
from supercosm.snapshot import read_snapshot

SIMULATION = {"low": 16, "high": 32, "box_size": 50.0, "steps": 10, "scale_factors": [0.5, 1.0]}
NETWORK = {"channels": 4, "levels": 1, "blocks": 1, "patch": 2}
TRAINING = {"steps": 6, "crop": 16, "margin": 4, "validate_every": 2, "precision": "float32"}
TRAINING_SEED, VALIDATION_SEED, TEST_SEED = 1, 2, 3

# settings of every family by its name: tests that go through these are passed by a new one, too
FAMILIES = {settings.model_fields["family"].default: settings for settings in get_args(get_args(AnyModel)[0])}
STOCHASTIC = [name for name in FAMILIES if name != "unet"]
DEFAULTS = {name: {"family": name, "training": {"crop": 24}} for name in STOCHASTIC}  # a critic needs a crop of 24


def configuration(**model):
    """Return a Config with one small model, named "model", of the given settings (see config.Model)."""
    network = {**NETWORK, **model.pop("network", {})}
    training = {**TRAINING, **model.pop("training", {})}
    settings = {"family": "unet", **model, "network": network, "training": training}
    return check(
        {
            "simulation": SIMULATION,
            "superresolution": {"tile": 16},
            "models": {"model": settings, **({"first": _first(settings)} if "start" in settings else {})},
        }
    )


def _first(settings):
    keep = ("condition", "fields", "dimensions", "network", "training", "told")
    same = {k: settings[k] for k in keep if k in settings}
    return {"family": "unet", "noise": settings.get("noise", "initial"), **same}


@dataclass
class Boxes:
    """Files of the simulated seeds: their snapshots, and the folder of their pairs."""

    simulations: dict[int, Path]
    folder: Path

    def snapshot(self, seed, resolution, tag=""):
        return self.simulations[seed] / f"{resolution}{tag}.hdf5"

    def pairs(self, seed, tag=""):
        return self.folder / f"{seed}{tag}.pairs.hdf5"

    @property
    def data(self):
        """Pair files for training and validation."""
        return [self.pairs(TRAINING_SEED)], [self.pairs(VALIDATION_SEED)]


@pytest.fixture(scope="session")
def boxes(tiny_simulations, tmp_path_factory):
    """Make the pairs of three seeds at two times; do not change the files."""
    found = Boxes(tiny_simulations, tmp_path_factory.mktemp("pairs"))
    for seed in (TRAINING_SEED, VALIDATION_SEED, TEST_SEED):
        for tag in ("", "_a0.5000"):
            low, high = (found.snapshot(seed, resolution, tag) for resolution in ("low", "high"))
            make_pairs(low, high, found.pairs(seed, tag), slabs=4)
    return found


@pytest.fixture(scope="session")
def low(boxes):
    """Low-resolution snapshot of the test seed."""
    return read_snapshot(boxes.snapshot(TEST_SEED, "low"))


@pytest.fixture(scope="session")
def high(boxes):
    """High-resolution snapshot of the test seed."""
    return read_snapshot(boxes.snapshot(TEST_SEED, "high"))


@pytest.fixture(scope="module")
def models(boxes, request, tmp_path_factory):
    """Folder of models with random weights, one for each of the settings that the test module calls MODELS."""
    root = tmp_path_factory.mktemp("models")
    for name, settings in request.module.MODELS.items():
        random_model(boxes, root / name, **settings)
    return root


def crops_of(boxes, settings, seed=TRAINING_SEED, count=2):
    """Return a batch of crops, not turned."""
    crops = Crops([PairFile(boxes.pairs(seed))], settings, 4, seed=0, augment=False)
    return torch.utils.data.default_collate([crops[i] for i in range(count)])


def small_family(boxes, **model):
    """Return an untrained family of the given settings, and a batch of crops for it."""
    settings = configuration(**model).models["model"]
    batch = crops_of(boxes, settings, count=1)
    cell = SIMULATION["box_size"] / SIMULATION["high"]
    plain = Features(settings, cell, Units())
    scales = measure_scales(batch["low"], batch.get("small"), batch["high"], plain)
    return build_family(settings, Features(settings, cell, scales)), batch


def random_model(boxes, folder, strength=0.3, **model):
    """Write and load a model whose weights are random, so that its output depends on all that goes in."""
    family, _ = small_family(boxes, **model)
    generator = torch.Generator().manual_seed(5)
    for parameter in family.network.parameters():
        fan = max(1, parameter[0].numel())
        parameter.data = torch.randn(parameter.shape, generator=generator) * fan**-0.5
    for head in (head for module in family.network.modules() for head in getattr(module, "heads", ())):
        head.weight.data *= strength
        head.bias.data.zero_()
    file = PairFile(boxes.pairs(TRAINING_SEED))
    card = ModelCard(
        name="random",
        settings=family.settings,
        factor=2,
        low_spacing=file.box_size / file.low,
        scale_factors=[file.scale_factor],
        slabs_per_length=file.slabs / file.box_size,
        cosmologies=[file.cosmology],
        seeds={"training": [TRAINING_SEED], "validation": [VALIDATION_SEED]},
        inputs=[describe(file.read("low/displacement"), file.read("low/velocity"), file.box_size)],
        environments={"void": 0.1, "sheet": 0.3, "filament": 0.4, "knot": 0.2},
        scales=family.features.scales,
        scores={"validation_loss": 0.5},
        diagnosis="",
        training_seconds=1.0,
        training_cores=1,
        parameters=1,
        provenance={},
    )
    save_model(folder, family.network, card)
    return load_model(folder)
