"""Numbers told: one model serves several outputs and cosmologies, and those between that it never saw."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from learning import TEST_SEED, TRAINING_SEED, VALIDATION_SEED, configuration, random_model

from supercosm import sampler, told
from supercosm.config import Cosmology, check
from supercosm.cosmology import growth
from supercosm.crops import Crops
from supercosm.errors import CoverageError, DataError
from supercosm.fields import DensityField
from supercosm.mesh import upsample
from supercosm.model import load_model
from supercosm.pairs import PairFile, make_pairs
from supercosm.sampler import Baseline
from supercosm.simulate import simulate_pair
from supercosm.snapshot import read_snapshot
from supercosm.superresolution import superresolve
from supercosm.training import train

EARLY, BETWEEN, LATE = "_a0.2500", "_a0.5000", ""  # z = 3, 1 and 0
OTHER = Cosmology(Omega_m=0.25, sigma8=0.9)
FAMILIES = {
    "unet": {"noise": "none"},
    "gan": {"family": "gan", "noise": "white", "critic_channels": 4, "training": {"crop": 24}},
    "ensemble": {"family": "ensemble", "loss": {"field": 1.0, "density": 0.5}},
    "vae": {"family": "vae"},
    "flow": {"family": "flow"},
    "flow_matching": {"family": "flow_matching", "evaluations": 2},
    "diffusion": {"family": "diffusion", "evaluations": 3},
    "slabs": {"family": "ensemble", "fields": "density", "dimensions": 2},
}


def settings_of(**model):
    return configuration(**model).models["model"]


@dataclasses.dataclass
class Where:
    """A time in a cosmology."""

    scale_factor: float
    cosmology: Cosmology = dataclasses.field(default_factory=Cosmology)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Return the folder of three seeds' runs at z = 3, 1 and 0, <seed>/low<tag>.hdf5, and pairs <seed><tag>.hdf5."""
    root = tmp_path_factory.mktemp("outputs")
    simulation = {"low": 16, "high": 32, "box_size": 50.0, "steps": 10, "scale_factors": [0.25, 0.5, 1.0]}
    config = check({"device": "cpu", "simulation": simulation, "superresolution": {"tile": 16}})
    for seed in (TRAINING_SEED, VALIDATION_SEED, TEST_SEED):
        simulate_pair(config, seed, root / str(seed))
        for tag in (EARLY, LATE) if seed != TEST_SEED else ():
            runs = (root / str(seed) / f"{run}{tag}.hdf5" for run in ("low", "high"))
            make_pairs(*runs, root / f"{seed}{tag}.hdf5", slabs=4)
    return root


@pytest.fixture(scope="module")
def trained(outputs, tmp_path_factory):
    """Return a model trained at z = 3 and 0; cells of one lattice point need few steps to learn the linear motion."""
    root = tmp_path_factory.mktemp("trained")
    config = configuration(
        condition=["low", "initial"],
        told=["scale_factor"],
        velocity_weight=1.0,
        network={"channels": 8, "patch": 1},
        training={"steps": 240, "validate_every": 240, "margin": 2, "learning_rate": 1.5e-2, "ema": 0.9},
    )
    data = [[outputs / f"{seed}{tag}.hdf5" for tag in (EARLY, LATE)] for seed in (TRAINING_SEED, VALIDATION_SEED)]
    train(config, "model", data, root / "model", root / "checkpoints")
    return load_model(root / "model")


def test_numbers_are_of_order_one_and_in_the_order_named():
    where = Where(0.25, Cosmology(Omega_m=0.4, sigma8=0.6))
    assert told.numbers(["scale_factor", "Omega_m", "sigma8"], where).tolist() == pytest.approx([-1.0, 1.0, -1.0])
    assert told.numbers(["sigma8", "scale_factor"], Where(1.0, Cosmology(sigma8=0.8))).tolist() == pytest.approx([0, 1])
    assert told.numbers([], where).shape == (0,)


def test_growth_is_that_of_linear_theory_and_one_today():
    """In an almost Einstein–de Sitter universe D = a and a H f D = H0 √a D."""
    model = settings_of(told=["scale_factor"])
    assert told.linear_growth(model, Where(1.0)) == pytest.approx((1, 1), rel=1e-12)
    assert told.units(model, Where(1.0)) == pytest.approx((1, 1), rel=1e-12)
    flat = Where(0.25, Cosmology(Omega_m=0.9999))
    assert told.linear_growth(model, flat) == pytest.approx((0.25, math.sqrt(0.25)), rel=1e-3)
    assert told.units(model, flat) == pytest.approx((0.25, 0.125), rel=1e-3)
    assert told.units(settings_of(told=["scale_factor"], fields="density"), flat) == (1.0, 1.0)
    assert told.units(settings_of(told=["Omega_m"]), flat) == told.linear_growth(settings_of(), flat) == (1.0, 1.0)


def test_freed_of_their_growth_all_outputs_weigh_alike(outputs):
    """Displacement and velocity that a network adds: factors 3.4 and 5.4 between z = 3 and 0, of which 1.1 is left."""
    model = settings_of(told=["scale_factor"])
    found = []
    for tag in (EARLY, LATE):
        file = PairFile(outputs / f"{TRAINING_SEED}{tag}.hdf5")
        for name, unit in zip(("displacement", "velocity"), told.units(model, file), strict=True):
            low, high = (torch.from_numpy(file.read(f"{run}/{name}")) for run in ("low", "high"))
            found.append((float((high - upsample(low, 32, (0, 0, 0), 32)).std()), unit))
    (d3, D), (v3, V), (d0, _), (v0, _) = found
    assert d0 / d3 > 3
    assert v0 / v3 > 5
    assert 1 / 1.3 < d0 / (d3 / D) < 1.3
    assert 1 / 1.3 < v0 / (v3 / V) < 1.3


@pytest.mark.parametrize("fields", ["displacement", "density"])
def test_crops_carry_what_is_told_and_are_freed_of_growth(boxes, fields):
    """Small scales are the same at both times; the other fields, as they stand in the file, over their units."""
    model = settings_of(condition=["low", "initial"], fields=fields, told=["scale_factor", "sigma8"])
    files = [PairFile(boxes.pairs(TRAINING_SEED, tag)) for tag in ("_a0.5000", "")]
    both = Crops(files, model, 4, seed=0, augment=True)
    plain = settings_of(condition=["low", "initial"], fields=fields)
    early = [i for i in range(12) if both[i]["told"][0] == 0]
    assert 0 < len(early) < 12
    for index in range(12):
        crop, file = both[index], files[0] if index in early else files[1]
        assert torch.equal(crop["told"], told.numbers(model.told, file))
        D, V = told.units(model, file)
        assert crop["growth"].shape == (1, 1, 1, 1)
        assert float(crop["growth"]) == pytest.approx(D)
        alone = Crops([file, file], plain, 4, seed=0, augment=True)[index]
        assert "told" not in alone
        assert "growth" not in alone
        for name, units in (("low", [D, V]), ("high", [D, V]), ("small", [D])):
            each = torch.tensor(units).repeat_interleave(3)[: len(alone[name])].view(-1, 1, 1, 1)
            torch.testing.assert_close(crop[name] * each, alone[name], rtol=1e-5, atol=1e-4)
    if fields == "displacement":
        today = Crops([files[1]] * 2, model, 4, seed=0, augment=True)
        torch.testing.assert_close(both[early[0]]["small"], today[early[0]]["small"], rtol=1e-4, atol=1e-5)


def test_modes_are_drawn_from_boxes_of_the_same_time_and_cosmology(boxes):
    """Those of two times differ by their growth alone, in units of which modes of an early and a late box agree."""
    model = settings_of(family="ensemble", fields="density", told=["scale_factor"])
    files = [PairFile(boxes.pairs(TRAINING_SEED, tag)) for tag in ("_a0.5000", "")]
    crops = Crops(files, model, 4, seed=0, augment=False)
    rms = {0.0: [], 1.0: []}
    for index in range(12):
        crop = crops[index]
        rms[float(crop["told"])] += [float(crop[f"drawn{i}"].std()) for i in (0, 1)]
    D = growth(files[0].cosmology, 0.5).D
    assert np.mean(rms[0.0]) / np.mean(rms[1.0]) == pytest.approx(D, rel=0.1)
    assert max(rms[0.0]) < min(rms[1.0])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_trained_on_several_outputs_and_applied_to_each(boxes, family, tmp_path):
    case = {"training": {}, **FAMILIES[family]}
    training = {"learning_rate": 3e-2, "ema": 0.5, "steps": 4, **case["training"]}
    config = configuration(**{**case, "told": ["scale_factor"], "scale_factor": [0.5, 1.0], "training": training})
    tags = [config.simulation.tag(a) for a in config.trained_at("model")]
    data = [[boxes.pairs(seed, tag) for tag in tags] for seed in (TRAINING_SEED, VALIDATION_SEED)]
    train(config, "model", data, tmp_path / "model", tmp_path / "checkpoints")
    model = load_model(tmp_path / "model")
    assert model.card.scale_factors == [0.5, 1.0]
    assert model.card.seeds == {"training": [TRAINING_SEED], "validation": [VALIDATION_SEED]}
    modulations = [p for name, p in model.network.named_parameters() if "modulation" in name]
    assert len(modulations) >= 2
    assert all(p.abs().max() > 0 for p in modulations)  # they begin at zero
    for tag in tags:
        low = read_snapshot(boxes.snapshot(TEST_SEED, "low", tag))
        outcome = superresolve(low, model, seed=1)
        fields = outcome.data if isinstance(outcome, DensityField) else outcome.velocities
        assert np.isfinite(fields).all()
        if not isinstance(outcome, DensityField):
            assert (errors(outcome, superresolve(low, Baseline("low", 2))) > 0).all()


def test_a_network_is_not_told_what_never_changes(boxes, tmp_path):
    with pytest.raises(DataError, match="told: sigma8 is the same in all training pairs"):
        train(configuration(told=["sigma8"]), "model", boxes.data, tmp_path / "model", tmp_path / "checkpoints")
    assert not (tmp_path / "model").exists()


def errors(outcome, truth):
    """Return the rms errors of displacement [Mpc/h] and velocity [km/s]."""
    fields = ((outcome.displacement(), truth.displacement()), (outcome.velocity(), truth.velocity()))
    return np.array([np.sqrt(np.mean((a - b) ** 2)) for a, b in fields])


def test_an_output_never_trained_on_is_made_from_those_around_it(trained, outputs, monkeypatch):
    """At z = 1, trained at 3 and 0: better than both baselines, and than the same network told another redshift."""
    low, truth = (read_snapshot(outputs / str(TEST_SEED) / f"{run}{BETWEEN}.hdf5") for run in ("low", "high"))
    found = errors(superresolve(low, trained), truth)
    smooth = errors(superresolve(low, Baseline("low", 2)), truth)
    assert found[0] < 0.7 * smooth[0]
    assert found[0] < 0.95 * errors(superresolve(low, Baseline("linear", 2)), truth)[0]
    honest, wrong = sampler.numbers, []
    for a in (0.25, 1.0):
        monkeypatch.setattr(sampler, "numbers", lambda names, box, a=a: honest(names, Where(a)))
        wrong.append(errors(superresolve(low, trained), truth))
    early, late = wrong
    assert found[0] < 0.97 * late[0]
    assert found[1] < 0.95 * early[1]
    total = [np.sum((error / smooth) ** 2) for error in (found, early, late)]  # neither gains as much as it loses
    assert total[0] < min(total[1:])


@pytest.mark.parametrize("tag", [EARLY, LATE])
def test_outputs_trained_on_need_to_be_told_apart(trained, outputs, monkeypatch, tag):
    low, truth = (read_snapshot(outputs / str(TEST_SEED) / f"{run}{tag}.hdf5") for run in ("low", "high"))
    found = errors(superresolve(low, trained), truth)
    assert (found < errors(superresolve(low, Baseline("linear", 2)), truth)).all()
    honest, other = sampler.numbers, 1.0 if tag == EARLY else 0.25
    monkeypatch.setattr(sampler, "numbers", lambda names, box: honest(names, Where(other)))
    assert (found < 0.95 * errors(superresolve(low, trained), truth)).all()


def test_what_is_usual_is_compared_at_one_time(trained, outputs):
    """Linear theory brings all outputs together; particles at rest are a surprise at each.

    The asymmetry, of which one small box says little, is left out.
    """
    for tag in (EARLY, BETWEEN, LATE):
        low = read_snapshot(outputs / str(TEST_SEED) / f"low{tag}.hdf5")
        assert not [doubt for doubt in trained.doubts(low) if "asymmetry" not in doubt]
        unfamiliar = dataclasses.replace(low, scale_factor=1.0 if tag == EARLY else 0.25)
        assert any("compression" in doubt for doubt in trained.doubts(unfamiliar))
        still = dataclasses.replace(low, velocities=np.zeros_like(low.velocities))
        assert any("flow" in doubt for doubt in trained.doubts(still))


def test_two_cosmologies_in_one_model(boxes, tmp_path):
    """Pairs of another cosmology join; what lies between both is covered, and told."""
    simulation = {"low": 16, "high": 32, "box_size": 50.0, "steps": 5, "scale_factors": [1.0]}
    shared = {"device": "cpu", "simulation": simulation, "superresolution": {"tile": 16}}
    other = check({**shared, "cosmology": OTHER.model_dump()})
    simulate_pair(other, 11, tmp_path / "11")
    make_pairs(tmp_path / "11" / "low.hdf5", tmp_path / "11" / "high.hdf5", tmp_path / "11.hdf5", slabs=4)
    config = configuration(told=["Omega_m", "sigma8"], training={"learning_rate": 3e-2, "ema": 0.5})
    data = [boxes.pairs(TRAINING_SEED), tmp_path / "11.hdf5"], [boxes.pairs(VALIDATION_SEED)]
    train(config, "model", data, tmp_path / "model", tmp_path / "checkpoints")
    model = load_model(tmp_path / "model")
    assert {c.sigma8 for c in model.card.cosmologies} == {0.8102, 0.9}
    low = read_snapshot(boxes.snapshot(TEST_SEED, "low"))
    between = dataclasses.replace(low, cosmology=Cosmology(Omega_m=0.28, sigma8=0.85))
    first, second = (superresolve(box, model).displacement() for box in (low, between))
    assert np.abs(first - second).max() > 0
    beyond = dataclasses.replace(low, cosmology=Cosmology(Omega_m=0.28, sigma8=0.95))
    with pytest.raises(CoverageError, match=r"sigma8 = 0\.8102 to 0\.9, but the snapshot has 0\.95"):
        superresolve(beyond, model)


def test_a_foreign_snapshot_cannot_be_told_what_its_header_lacks(boxes, low, tmp_path):
    model = random_model(boxes, tmp_path / "model", told=["sigma8"])
    foreign = dataclasses.replace(low, provenance={})
    with pytest.raises(CoverageError, match=r"is told sigma8, which the header .* --override .* tells it 0\.8102"):
        model.check_covers(foreign)
    assert superresolve(foreign, model, override=True).side == 32
