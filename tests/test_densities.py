"""Densities without particles: the same as by way of the particles."""

import numpy as np
import pytest
from learning import random_model

from supercosm.baselines import Baseline
from supercosm.choices import Options
from supercosm.config import check
from supercosm.densities import simulate_densities, superresolve_densities
from supercosm.errors import ConfigurationError, DataError
from supercosm.fields import DensityField, density_of, read_density
from supercosm.model import load_model
from supercosm.simulate import simulate
from supercosm.snapshot import read_snapshot
from supercosm.superresolution import superresolve

CPU = Options(device="cpu")


@pytest.fixture(scope="module")
def config():
    simulation = {"box_size": 50.0, "low": 16, "high": 32, "steps": 4, "scale_factors": [0.5, 1.0]}
    return check({"device": "cpu", "simulation": simulation})


@pytest.fixture
def snapshots(tiny_simulations):
    return [tiny_simulations[seed] / "low.hdf5" for seed in (1, 2)]


def sample_seed(low):
    """Return the sample seed of a box: its own, far from the first ones, which test boxes have."""
    return 1000 + 10_000 * (1 + low.provenance["seed"])


def assert_same(found, expected):
    np.testing.assert_array_equal(found.data, expected.data)
    for name in ("box_size", "scale_factor", "cosmology", "dimensions", "provenance"):
        assert getattr(found, name) == getattr(expected, name)


def test_simulated_densities_are_those_of_the_last_snapshot(config, tmp_path):
    simulate_densities(config, [5, 3], tmp_path / "densities")
    assert sorted(path.name for path in (tmp_path / "densities").iterdir()) == ["3.hdf5", "5.hdf5"]
    for seed in (3, 5):
        early, last = simulate(config, seed, "high")
        found = read_density(tmp_path / "densities" / f"{seed}.hdf5")
        assert_same(found, density_of(last, 32))
        assert (found.scale_factor, found.provenance["seed"]) == (1.0, seed)
        assert not np.array_equal(found.data, density_of(early, 32).data)
        assert found.data.mean(dtype=np.float64) == pytest.approx(1, abs=1e-5)  # mass, in float32


@pytest.mark.parametrize("name", ["low", "linear"])
def test_densities_of_baselines_are_those_of_their_particles(snapshots, tmp_path, name):
    outputs = [tmp_path / f"{number}.hdf5" for number in (1, 2)]
    superresolve_densities(snapshots, outputs, name, CPU, 2)
    for snapshot, output in zip(snapshots, outputs, strict=True):
        low = read_snapshot(snapshot)
        expected = density_of(superresolve(low, Baseline(name, 2), seed=sample_seed(low)), 32)
        assert_same(read_density(output), expected)
    one, two = (read_density(output).data for output in outputs)
    assert np.abs(one - two).max() > 1


def test_drawn_phases_follow_the_seed_and_the_options(snapshots, tmp_path):
    outputs = [tmp_path / f"{number}.hdf5" for number in (1, 2)]
    options = Options(device="cpu", phases="drawn", seed=7, tile=8)
    superresolve_densities(snapshots, outputs, "linear", options, 2)
    low = read_snapshot(snapshots[1])
    seed = sample_seed(low) - 1000 + 7
    expected = superresolve(low, Baseline("linear", 2), seed=seed, tile=8, phases="drawn")
    assert_same(read_density(outputs[1]), density_of(expected, 32))
    assert read_density(outputs[1]).provenance["settings"]["sample_seed"] == seed
    assert read_density(outputs[0]).provenance["settings"]["sample_seed"] != seed, "boxes share no small scales"


@pytest.mark.parametrize("fields", ["displacement", "density"])
def test_densities_of_models_are_those_of_superresolve(boxes, snapshots, tmp_path, fields):
    random_model(boxes, tmp_path / "model", noise="white", fields=fields)
    superresolve_densities(snapshots, [tmp_path / "a.hdf5", tmp_path / "b.hdf5"], tmp_path / "model", CPU, None)
    low = read_snapshot(snapshots[0])
    expected = superresolve(low, load_model(tmp_path / "model"), seed=sample_seed(low))
    assert isinstance(expected, DensityField) == (fields == "density")
    assert_same(
        read_density(tmp_path / "a.hdf5"), expected if fields == "density" else density_of(expected, expected.side)
    )


@pytest.mark.parametrize("outputs", [0, 1, 3])
def test_every_snapshot_needs_one_output(snapshots, tmp_path, outputs):
    given = [tmp_path / f"{number}.hdf5" for number in range(outputs)]
    words = f"2 snapshots and {outputs} outputs do not match: give one --output for each snapshot"
    with pytest.raises(ConfigurationError, match=words):
        superresolve_densities(snapshots, given, "low", CPU, 2)
    assert not list(tmp_path.iterdir())


def test_a_baseline_without_factor_and_a_missing_snapshot_are_refused(snapshots, tmp_path):
    with pytest.raises(ConfigurationError, match="the baseline 'low' needs the up-sampling factor"):
        superresolve_densities(snapshots, [tmp_path / "a", tmp_path / "b"], "low", CPU, None)
    with pytest.raises(DataError, match="there is no snapshot"):
        superresolve_densities([tmp_path / "no.hdf5"], [tmp_path / "a"], "low", CPU, 2)
    assert not list(tmp_path.iterdir())
