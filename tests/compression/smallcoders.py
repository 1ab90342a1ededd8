"""Small coders of the tiny simulations (32³ in 50 Mpc/h), trained once for all tests of compression."""

import pytest
from learning import TEST_SEED

from supercosm.compression.coder import load_coder
from supercosm.compression.fit import train_coders
from supercosm.config import check
from supercosm.pairs import PairFile

NETWORK = {"channels": 4, "levels": 1, "blocks": 1, "patch": 2}
FIT = {"epochs": 6, "batch": 50, "optimiser": "adam", "learning_rate": 2e-3, "schedule": "one-cycle"}
CODERS = {
    "pca": {"kind": "pca", "latents": 8},
    "mean": {"kind": "downsample", "latents": 9},
    "dense": {"kind": "dense", "latents": 8, "hidden": [32], "fit": {"epochs": 6}},
    "conv": {"kind": "convolutional", "latents": 8, "network": NETWORK, "fit": FIT},
    "vae": {"kind": "variational", "latents": 8, "network": NETWORK, "fit": FIT},
    "block": {"kind": "convolutional", "dimensions": 3, "latents": 32, "network": NETWORK, "fit": FIT},
    "rates": {"kind": "dense", "latents": 8, "fit": {"epochs": 1}, "sweep": {"learning_rate": [0.001, 0.01]}},
    "cube": {"kind": "pca", "dimensions": 3, "latents": 32},
}
PATCHES = {"side": 12, "thickness": 3.125, "block": 4, "training": 1500, "test": 300}


@pytest.fixture(scope="session")
def settings():
    return check({"compression": {"coders": CODERS, "patches": PATCHES}})


@pytest.fixture(scope="session")
def folders(settings, boxes, tmp_path_factory):
    """Folder of every coder of `CODERS`."""
    root = tmp_path_factory.mktemp("coders")
    train_coders(settings, settings.compression.expanded(), boxes.data, root)
    return {name: root / name for name in settings.compression.expanded()}


@pytest.fixture(scope="session")
def coders(folders):
    return {name: load_coder(folder) for name, folder in folders.items()}


@pytest.fixture(scope="session")
def density(boxes):
    """1 + δ of the test box, (32, 32, 32)."""
    return PairFile(boxes.pairs(TEST_SEED)).read("high/density")[0]
