"""What models are audited with: names, seeds and configurations of the other simulations."""

import pytest

from supercosm.config import check
from supercosm.errors import ConfigurationError
from supercosm.initial import Phases, linear_displacement
from supercosm.variants import OTHER_SMALL_SCALES, skewed, variants

AUDIT = {"few_steps": [3, 5], "universes": 2, "shifts": [{"sigma8": -0.1}, {"Omega_m": -0.05}]}


def config(**audit):
    simulation = {"low": 16, "high": 32, "scale_factors": [0.5, 1.0], "steps": 20}
    return check({"simulation": simulation, "audit": AUDIT | audit})


def test_each_has_a_name_a_kind_and_the_runs_it_needs():
    found = variants(config())
    assert {name: (variant.kind, variant.resolutions) for name, variant in found.items()} == {
        "steps3": ("steps", ("high",)),
        "steps5": ("steps", ("high",)),
        "universe1": ("universe", ("high",)),
        "universe2": ("universe", ("high",)),
        "sigma8_0.7102": ("shift", ("low", "high")),
        "Omega_m_0.2611": ("shift", ("low", "high")),
    }
    assert all(name == variant.name for name, variant in found.items())


def test_nothing_is_run_where_nothing_is_asked_for():
    assert variants(config(few_steps=[], universes=0, shifts=[])) == {}


def test_each_changes_what_its_name_says_and_nothing_else():
    usual = config()
    for variant in variants(usual).values():
        changed = usual.model_dump()
        changed["simulation"]["scale_factors"] = [1.0]  # all have the last output alone
        if variant.kind == "steps":
            changed["simulation"]["steps"] = int(variant.name.removeprefix("steps"))
        if variant.name == "sigma8_0.7102":
            changed["cosmology"]["sigma8"] = 0.7102
        if variant.name == "Omega_m_0.2611":
            changed["cosmology"]["Omega_m"] = 0.2611
        assert variant.config.model_dump() == changed, variant.name
        assert check(changed) == variant.config  # and is a configuration that stands by itself
    assert usual == config()


def test_only_universes_have_small_scales_of_their_own():
    found = variants(config())
    assert {name for name, variant in found.items() if variant.universe} == {"universe1", "universe2"}
    for variant in found.values():
        if variant.kind != "universe":
            assert variant.small_scales(8) is None


def test_small_scales_differ_between_universes_and_boxes():
    """Neither meets another universe of another box, nor a seed that people choose, up to a million."""
    universes = [variant for variant in variants(config(universes=3)).values() if variant.universe]
    seeds = [variant.small_scales(seed) for variant in universes for seed in (0, 8, 9, OTHER_SMALL_SCALES - 1)]
    assert len(set(seeds)) == 12
    assert min(seeds) >= OTHER_SMALL_SCALES
    assert universes[1].small_scales(8) == 2_000_008


def test_universes_share_what_the_low_run_holds():
    """Linear displacements: on the low lattice equal to 1 part in 10⁵, float32, and on the high one not."""
    usual = config()
    first, second = (v for v in variants(usual).values() if v.universe)
    phases = [Phases(8, other=v.small_scales(8), shared=16) for v in (first, second)] + [Phases(8)]
    box = usual.simulation.box_size
    low = [linear_displacement(one, usual.cosmology, box, 16) for one in phases]
    high = [linear_displacement(one, usual.cosmology, box, 32) for one in phases]
    scale = float(low[2].abs().max())
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert float((low[one] - low[other]).abs().max()) < 1e-5 * scale
        assert float((high[one] - high[other]).std()) > 0.1 * float(high[2].std())


def test_a_shift_to_no_universe_is_refused():
    with pytest.raises(ConfigurationError, match="leaves no universe"):
        config(shifts=[{"Omega_m": -0.3}])


def test_shifts_of_one_name_are_refused():
    with pytest.raises(ConfigurationError, match=r"both named sigma8_0\.8202.*four digits"):
        variants(config(shifts=[{"sigma8": 0.01}, {"sigma8": 0.010001}]))


def test_skewed_trainings_change_that_model_alone():
    """An even one first, on the same budget; the other models and all else stay."""
    training = {"crop": 16, "margin": 2}
    models = {name: {"family": "unet", "training": training} for name in ("unet", "other")}
    skew = {"model": "unet", "environments": ["knot", "void"], "steps": 6, "crop": 24, "margin": 4}
    usual = check({"simulation": {"low": 16, "high": 32}, "models": models, "audit": {"skew": skew}})
    found = skewed(usual)
    assert list(found) == ["even", "knot", "void"]
    for name, changed in found.items():
        own = changed.models["unet"].training
        assert (own.steps, own.crop, own.margin, own.skew) == (6, 24, 4, None if name == "even" else name)
        assert changed.models["other"] == usual.models["other"]
        assert changed.audit == usual.audit
    assert skewed(config()) == {}
