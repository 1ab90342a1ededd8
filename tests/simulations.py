"""Real simulations that take a second, run once and shared by all tests of a session."""

from pathlib import Path

import pytest

from supercosm.config import Config, Seeds, Simulation, Superresolution
from supercosm.simulate import simulate_pair


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """Configuration of 16³ and 32³ particles in 50 Mpc/h, with two outputs."""
    return Config(
        name="tiny",
        device="cpu",
        seeds=Seeds(training=[1], validation=[2], test=[3]),
        simulation=Simulation(box_size=50.0, low=16, high=32, scale_factors=[0.5, 1.0], steps=10),
        superresolution=Superresolution(tile=8),
    )


@pytest.fixture(scope="session")
def tiny_simulations(tiny_config, tmp_path_factory) -> dict[int, Path]:
    """Folder of every seed of `tiny_config`, with {low,high}.hdf5 and {low,high}_a0.5000.hdf5: read only."""
    root = tmp_path_factory.mktemp("simulations")
    folders = {seed: root / str(seed) for seed in tiny_config.seeds.all}
    for seed, folder in folders.items():
        simulate_pair(tiny_config, seed, folder)
    return folders
