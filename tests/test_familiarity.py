"""What a model says of inputs that are unlike its training boxes."""

import logging

import numpy as np
import pytest
from learning import random_model

from supercosm.config import Cosmology, check
from supercosm.cosmology import expansion, growth
from supercosm.familiarity import describe, unusual
from supercosm.simulate import simulate
from supercosm.snapshot import from_lattice
from supercosm.superresolution import superresolve


def plane_wave(cells, box_size, amplitude, speed):
    x = (np.arange(cells) + 0.5) / cells
    displacement = np.zeros((3, cells, cells, cells), np.float32)
    displacement[0] = amplitude * np.sin(2 * np.pi * x)[:, None, None]
    return displacement, speed * displacement


def test_numbers_of_a_plane_wave():
    found = describe(*plane_wave(64, 100.0, 2.0, 40.0), 100.0)
    assert found["compression"] == pytest.approx(2.0 * 2 * np.pi / 100 / np.sqrt(2), rel=1e-4)
    assert found["asymmetry"] == pytest.approx(0.0, abs=1e-6)
    assert found["flow"] == pytest.approx(40.0, rel=1e-5)


def test_flow_is_the_growth_rate_early_on():
    cosmology = Cosmology()
    config = check({"simulation": {"low": 16, "high": 32, "box_size": 200.0, "scale_factors": [0.055], "steps": 1}})
    (snapshot,) = simulate(config, 1, "low")
    found = describe(snapshot.displacement(), snapshot.velocity(), snapshot.box_size)
    a = 0.055
    linear = a * 100 * float(expansion(cosmology, a)) * growth(cosmology, a).f
    assert found["flow"] == pytest.approx(linear, rel=0.05)  # second order changes it by the rms, 0.04


def test_particles_at_rest_are_numbers_too():
    still = np.zeros((3, 8, 8, 8), np.float32)
    assert set(describe(still, still, 10.0).values()) == {0.0}


def test_a_few_boxes_leave_more_room():
    known = [{"flow": 43.0}, {"flow": 43.2}, {"flow": 42.8}]
    assert unusual({"flow": 43.9}, known) == []
    (sentence,) = unusual({"flow": 47.0}, known)
    assert sentence == "its flow is 47, that of the training boxes 43 ± 1.3"
    assert unusual({"flow": 47.0}, known[:1]) == []  # one box has no scatter


def simulated(seed, **cosmology):
    config = check(
        {
            "simulation": {"box_size": 100.0, "low": 32, "high": 64, "steps": 10},
            "cosmology": cosmology,
        }
    )
    (snapshot,) = simulate(config, seed, "low")
    return describe(snapshot.displacement(), snapshot.velocity(), snapshot.box_size)


def test_other_universes_are_recognised():
    known = [simulated(seed) for seed in range(1, 7)]
    assert unusual(simulated(12), known) == []
    for changed in ({"sigma8": 0.7102}, {"sigma8": 0.9102}, {"Omega_m": 0.2611}, {"Omega_m": 0.3611}):
        assert unusual(simulated(12, **changed), known), changed


def test_superresolve_warns_but_goes_on(boxes, low, tmp_path, caplog):
    model = random_model(boxes, tmp_path / "model")
    with caplog.at_level(logging.WARNING):
        superresolve(low, model, seed=1)
        assert caplog.text == ""
        doubled = from_lattice(
            2 * low.displacement(), low.velocity(), low.box_size, scale_factor=low.scale_factor, cosmology=low.cosmology
        )
        superresolve(doubled, model, seed=1)
    assert "unlike those that model 'random' was trained on (its compression is" in caplog.text
