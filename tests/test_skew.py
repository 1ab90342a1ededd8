"""Environments of training crops, and training sets skewed towards one of them."""

import numpy as np
import pytest
from learning import TRAINING_SEED, configuration

from supercosm.config import check
from supercosm.crops import Crops
from supercosm.errors import ConfigurationError
from supercosm.pairs import PairFile
from supercosm.skew import Environments
from supercosm.statistics.environment import CLASSES


def shares(boxes, crops, count=60):
    """Share of knots in the crops, and in the box."""
    environments = Environments([PairFile(boxes.pairs(TRAINING_SEED))])
    return crops.shares(count), environments.shares((0, (0, 0, 0)), 32)


def crops(boxes, skew, augment=True):
    settings = configuration(training={"skew": skew, "crop": 16}).models["model"]
    return Crops([PairFile(boxes.pairs(TRAINING_SEED))], settings, 4, seed=0, augment=augment)


def test_shares_are_those_of_particles_by_hand(boxes):
    """The class at a particle's place now, of the crop's particles on the low lattice; periodic."""
    file = PairFile(boxes.pairs(TRAINING_SEED))
    environments = Environments([file])
    whole = environments.shares((0, (0, 0, 0)), 32)
    assert whole.sum() == pytest.approx(1)
    parts = [environments.shares((0, (x, y, z)), 16) for x in (24, 8) for y in (24, 8) for z in (24, 8)]
    assert np.mean(parts, axis=0) == pytest.approx(whole)
    assert environments.shares((0, (40, 8, 8)), 16) == pytest.approx(environments.shares((0, (8, 8, 8)), 16))
    assert whole[3] > 0.02  # particles weigh mass: knots hold little volume but some of it


@pytest.mark.parametrize("environment", ["void", "knot"])
def test_skewed_crops_abound_in_what_they_are_chosen_for(boxes, environment):
    """The best of 32 places has twice the share of knots, or of voids half as much again, of an even draw."""
    even, whole = shares(boxes, crops(boxes, None))
    skewed, _ = shares(boxes, crops(boxes, environment))
    assert even[environment] == pytest.approx(whole[CLASSES.index(environment)], rel=0.25)  # 60 overlapping crops
    assert skewed[environment] > {"knot": 2.0, "void": 1.5}[environment] * even[environment]


def test_even_and_held_out_crops_are_drawn_as_ever(boxes):
    """Without a skew, and for validation with it, places are the first ones drawn."""
    first = crops(boxes, None)[3]["high"]
    draw = np.random.default_rng([0, 3])
    draw.integers(1)
    start = [int(i) * 4 for i in draw.integers(8, size=3)]
    held_out = crops(boxes, "knot", augment=False)[3]["high"]
    again = PairFile(boxes.pairs(TRAINING_SEED)).block("high/displacement", start, 16)
    np.testing.assert_array_equal(held_out[:3].numpy(), again)
    assert sorted(first[:3].abs().flatten().tolist()) == sorted(np.abs(again).ravel().tolist())  # turned, not moved


def test_slabs_have_no_environments(boxes):
    settings = configuration(fields="density", dimensions=2).models["model"]
    assert Crops([PairFile(boxes.pairs(TRAINING_SEED))], settings, 4, seed=0, augment=True).shares(3) == {}


@pytest.mark.parametrize(
    ("model", "audit", "sentence"),
    [
        ({"fields": "density", "dimensions": 2, "training": {"skew": "void"}}, {}, "skew = void is of volumes"),
        ({}, {"skew": {"model": "other"}}, "audit.skew.model = 'other' is no model"),
        ({"fields": "density"}, {"skew": {"model": "model"}}, "must be a unet of the displacement"),
        ({}, {"skew": {"model": "model", "crop": 16, "margin": 8}}, "audit.skew: .*margin = 8 leaves nothing"),
        ({}, {"skew": {"model": "model", "crop": 64}}, "larger than simulation.high = 32"),
    ],
)
def test_impossible_skews_are_refused(model, audit, sentence):
    usual = configuration().model_dump(mode="json", exclude={"audit"})
    usual["models"]["model"] |= model | {"training": usual["models"]["model"]["training"] | model.get("training", {})}
    with pytest.raises(ConfigurationError, match=sentence):
        check(usual | {"audit": audit})
