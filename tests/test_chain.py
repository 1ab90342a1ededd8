"""Chains: 16³ → 32³ → 64³ is the same as one after the other by hand, but for the white noise of later links."""

import numpy as np
import pytest
import torch
from learning import TEST_SEED, random_model

import supercosm as sc
from supercosm.baselines import Baseline
from supercosm.cellnoise import CellNoise
from supercosm.choices import Options
from supercosm.errors import ConfigurationError, CoverageError
from supercosm.mesh import upsample
from supercosm.model import save_model
from supercosm.sampler import Link, Sampler
from supercosm.snapshot import read_snapshot, write_snapshot
from supercosm.superresolution import superresolve, superresolve_file

MODELS = {"white": {"noise": "white"}, "known": {"condition": ["low", "initial"]}, "drawn": {"noise": "initial"}}


@pytest.fixture(scope="module")
def models(boxes, tmp_path_factory):
    """Return folders of models with random weights for 16³ → 32³, and for 32³ → 64³: <name>2."""
    root = tmp_path_factory.mktemp("models")
    for name, settings in MODELS.items():
        model = random_model(boxes, root / name, **settings)
        finer = model.card.model_copy(update={"name": f"{name}2", "low_spacing": model.card.low_spacing / 2})
        save_model(root / f"{name}2", model.network, finer)
    return root


def chain(models, *names):
    return [sc.load_model(models / name) for name in names]


def test_a_chain_is_one_model_after_the_other(models, low, tmp_path):
    """Modes drawn for the second are those that one model of factor four would draw: of the seed, at higher k."""
    first, second = chain(models, "drawn", "drawn2")
    outcome = superresolve(low, [first, second], seed=3, tile=16)
    assert outcome.side == 64
    assert np.isfinite(outcome.positions).all()
    middle = superresolve(low, first, seed=3, tile=16)
    by_hand = superresolve(middle, second, seed=3, tile=16)
    assert np.array_equal(outcome.positions, by_hand.positions)
    assert np.array_equal(outcome.velocities, by_hand.velocities)
    assert outcome.provenance["parents"][0] == middle.provenance


def test_known_phases_are_those_of_the_run_at_the_beginning(models, low):
    outcome = superresolve(low, chain(models, "known", "known2"), tile=16)
    assert outcome.provenance["settings"]["phases"] == "known"
    baselines = superresolve(low, [Baseline("linear", 2), Baseline("linear", 2)])
    direct = superresolve(low, Baseline("linear", 4))
    # beyond-Nyquist planes of the run between, which has them real, and float32 positions differ
    for a, b in ((baselines.displacement(), direct.displacement()), (baselines.velocity(), direct.velocity())):
        assert np.std(a - b) < 0.02 * np.std(b)


def test_white_noise_of_links_is_independent_and_that_of_the_first_is_unchanged(models, low):
    model, like = sc.load_model(models / "white"), torch.empty(1, 1, 32, 32, 32)
    seeds = [Sampler(low, model, Options(seed=3), Link(number, low)).white_seed for number in (0, 1, 2)]
    assert seeds[0] == 3
    fields = torch.stack([CellNoise([seed], [(0, 0, 0)], 32)(0, 1, like).ravel() for seed in seeds])
    # 32768 numbers: correlations scatter by 0.006; five of those are allowed
    assert (torch.corrcoef(fields) - torch.eye(3)).abs().max() < 0.028


def test_files_of_a_chain_hold_what_memory_holds_and_go_on_after_a_kill(models, boxes, low, tmp_path, monkeypatch):
    snapshot, names = boxes.snapshot(TEST_SEED, "low"), ("drawn", "white2")
    options = Options(seed=3, tile=16, device="cpu")
    calls, honest = [], Sampler._apply

    def counting(self, *arguments):
        calls.append(self.low)
        if len(calls) == counting.stop:
            raise KeyboardInterrupt
        return honest(self, *arguments)

    def run():
        calls.clear()
        sources = [models / name for name in names]
        superresolve_file(snapshot, [tmp_path / "sr.hdf5"], sources, options, checkpoints=tmp_path / "checkpoints")

    monkeypatch.setattr(Sampler, "_apply", counting)
    counting.stop = 7  # one evaluation for the first model, then eight in two rows
    with pytest.raises(KeyboardInterrupt):
        run()
    counting.stop = 0
    run()
    assert calls == [32] * 4
    write_snapshot(tmp_path / "memory.hdf5", superresolve(low, chain(models, *names), seed=3, tile=16))
    found, expected = (read_snapshot(tmp_path / name) for name in ("sr.hdf5", "memory.hdf5"))
    assert np.array_equal(found.positions, expected.positions)
    assert np.array_equal(found.velocities, expected.velocities)
    assert found.provenance == expected.provenance


def test_large_scales_are_kept_along_a_chain(models, low):
    outcome = superresolve(low, chain(models, "white", "white2"), seed=3, consistency=0.5)
    smooth = upsample(torch.from_numpy(low.displacement()), 64).numpy()
    found, expected = (np.fft.rfftn(f, axes=(1, 2, 3))[:, :2, :2, :2] / 64**3 for f in (outcome.displacement(), smooth))
    np.testing.assert_allclose(found, expected, atol=1e-4 * smooth.std())


def test_what_does_not_fit_together_is_said_before_anything_is_computed(models, boxes, low, tmp_path, monkeypatch):
    monkeypatch.setattr(Sampler, "__init__", None)
    first, second = chain(models, "white", "white")
    words = (
        r"model 2 of the chain: model 'random' was trained for lattice spacing \[Mpc/h\] = 3\.125, but .* has 1\.5625"
    )
    with pytest.raises(CoverageError, match=words):
        superresolve(low, [first, second])
    density = random_model(boxes, tmp_path / "density", noise="white", fields="density")
    with pytest.raises(ConfigurationError, match=r"model 1 of the chain: it makes a density, .* put it last"):
        superresolve(low, [density, second])
    with pytest.raises(ConfigurationError, match="model 1 of the chain: tile = 5 does not divide"):
        superresolve(low, chain(models, "white", "white2"), tile=5)
    with pytest.raises(ConfigurationError, match="there is no model to apply"):
        superresolve(low, [])


def test_a_foreign_run_can_begin_a_chain(models, low):
    """Its header lacks the power spectrum, so the run between is checked by what the header has, too."""
    from dataclasses import replace

    foreign = replace(low, provenance={}, cosmology=low.cosmology.model_copy(update={"sigma8": 0.5}))
    assert superresolve(foreign, chain(models, "drawn", "drawn2"), seed=1).side == 64
    sampler = Sampler(foreign, sc.load_model(models / "drawn"), Options(), Link(1, foreign))
    assert sampler.white_seed != sampler.options.seed
