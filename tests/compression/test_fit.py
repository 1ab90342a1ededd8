"""Training coders: seeded, better than where they start, honest on the card, refused where it cannot be."""

import hashlib
import signal

import numpy as np
import pytest
import torch
from learning import TRAINING_SEED, VALIDATION_SEED

from supercosm.compression.coder import load_coder, unexplained
from supercosm.compression.data import read_patches, scaled
from supercosm.compression.fit import _loss, train_coders
from supercosm.config import check
from supercosm.epochs import Epochs
from supercosm.errors import ConfigurationError, DataError, StoppedError
from supercosm.history import read_history
from supercosm.pairs import PairFile


@pytest.fixture(scope="module")
def held_out(settings, boxes):
    files = [PairFile(boxes.pairs(seed)) for seed in (TRAINING_SEED, VALIDATION_SEED)]
    return read_patches(settings, 2, files[:1], files[1:]).validation


def test_training_builds_on_principal_components_and_beats_them(coders, held_out):
    missed = {
        name: unexplained(held_out, coders[name].decode(coders[name].encode(held_out))) for name in ("pca", "conv")
    }
    assert missed["conv"] < 0.99 * missed["pca"]


def test_the_same_settings_give_the_same_weights(settings, boxes, folders, tmp_path):
    for name in ("dense", "vae"):
        train_coders(settings, {name: settings.compression.coders[name]}, boxes.data, tmp_path)
        first, second = (
            hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
            for folder in (folders[name], tmp_path / name)
        )
        assert first == second


def test_coders_that_are_asked_to_stop_go_on_with_the_same_bits(settings, boxes, folders, tmp_path, monkeypatch):
    """In the first coder, in the second one, and once more there; what is finished is not trained again."""
    coders = {name: settings.compression.coders[name] for name in ("pca", "dense", "vae")}
    first, keep, kept = coders["dense"].fit.epochs, Epochs.keep, []

    def asking(self, *arguments):
        kept.append(self.path.name)
        if len(kept) in (1, first + 1, first + 2):
            signal.raise_signal(signal.SIGTERM)
        keep(self, *arguments)

    monkeypatch.setattr(Epochs, "keep", asking)
    for _ in range(3):
        with pytest.raises(StoppedError, match="stopped by SIGTERM; the same command goes on from here"):
            train_coders(settings, coders, boxes.data, tmp_path, tmp_path / "checkpoints")
    train_coders(settings, coders, boxes.data, tmp_path, tmp_path / "checkpoints")
    assert len(kept) == first + coders["vae"].fit.epochs, "no epoch is trained twice"
    for name in coders:
        one, other = ((folder / "model.safetensors").read_bytes() for folder in (tmp_path / name, folders[name]))
        assert one == other, name
    for name in ("dense", "vae"):
        one, other = (read_history(folder / "history.csv") for folder in (tmp_path / name, folders[name]))
        assert np.array_equal(one["validation_loss"], other["validation_loss"])
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [".lock"]


def test_training_leaves_the_number_of_threads_as_it_was(settings, boxes, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    train_coders(settings, {"pca": settings.compression.coders["pca"]}, boxes.data, tmp_path)
    found = torch.get_num_threads()
    torch.set_num_threads(before)
    assert found == 2


def test_the_loss_falls_and_is_plotted(folders):
    for name in ("dense", "conv", "vae"):
        history = read_history(folders[name] / "history.csv")
        assert history["validation_loss"][-1] < history["validation_loss"][0]
        assert np.isfinite(history["validation_loss"]).all()
        assert (folders[name] / "loss.png").stat().st_size > 5000
    assert not (folders["pca"] / "history.csv").exists()


def test_latents_that_a_relu_killed_are_counted(coders, held_out):
    card = coders["dense"].card
    inside = held_out.clamp(card.offset, card.offset + card.factor)
    still = coders["dense"].encode(inside).std(dim=0) == 0
    assert card.dead_latents == int(still.sum()) > 0
    assert coders["conv"].card.dead_latents == 0


def test_a_latent_that_never_changes_is_counted_as_dead(settings, boxes, tmp_path, monkeypatch):
    from supercosm.networks import autoencoders

    original = autoencoders.Dense.__init__

    def deadened(self, *arguments):
        original(self, *arguments)
        with torch.no_grad():
            self.encoder[2].bias[:3] = -1e3  # their ReLU never opens

    monkeypatch.setattr(autoencoders.Dense, "__init__", deadened)
    train_coders(settings, {"dense": settings.compression.coders["dense"]}, boxes.data, tmp_path)
    assert load_coder(next(tmp_path.iterdir())).card.dead_latents >= 3


def test_information_of_every_latent_is_on_the_card(coders):
    card = coders["vae"].card
    assert len(card.information) == 8
    assert all(v >= 0 for v in card.information)
    assert max(card.information) > 0.5
    assert coders["conv"].card.information == []


def test_a_heavy_prior_collapses_latents(settings, boxes, tmp_path, coders):
    heavy = settings.compression.coders["vae"].model_copy(update={"beta": 100.0, "warm_up": 0.0})
    train_coders(settings, {"heavy": heavy}, boxes.data, tmp_path)
    assert sum(load_coder(tmp_path / "heavy").card.information) < 0.1 * sum(coders["vae"].card.information)


def test_information_below_the_free_bits_costs_the_same_whatever_it_is(settings, coders, held_out):
    network, card = coders["vae"].network, coders["vae"].card
    x = (held_out - card.offset) / card.factor
    generous = card.settings.model_copy(update={"free_bits": 50.0})
    error = (network.decode(network.encode(x)) - x).square().mean()
    expected = 0.5 * error.log() + 8 * 50.0 / 144  # nats of eight latents, by the cells of a patch
    assert float(_loss(network, generous, x, 1.0)) == pytest.approx(float(expected), rel=1e-4)
    assert float(_loss(network, card.settings, x, 1.0)) < float(expected)


def test_the_latents_of_a_variational_coder_have_the_priors_deviation(coders, held_out):
    network, card = coders["vae"].network, coders["vae"].card
    mean, log_variance = network.posterior((held_out - card.offset) / card.factor)
    variance = mean.square().mean(dim=0) + log_variance.exp().mean(dim=0)
    assert float((variance.mean() - 1).abs()) < 0.1


def test_unit_scaling_spans_the_training_patches(settings, boxes):
    files = [PairFile(boxes.pairs(seed)) for seed in (TRAINING_SEED, VALIDATION_SEED)]
    data = scaled(read_patches(settings, 2, files[:1], files[1:]), settings.compression.coders["dense"])
    assert (float(data.training.min()), float(data.training.max())) == (0.0, 1.0)
    assert 0 <= float(data.validation.min()) <= float(data.validation.max()) <= 1


def test_a_seed_in_two_splits_is_refused(settings, boxes, tmp_path):
    same = ([boxes.pairs(TRAINING_SEED)], [boxes.pairs(TRAINING_SEED)])
    with pytest.raises(DataError, match="both training and validation"):
        train_coders(settings, {"pca": settings.compression.coders["pca"]}, same, tmp_path)


def test_a_diverging_training_is_named(settings, boxes, tmp_path):
    wild = settings.compression.coders["dense"].model_copy(
        update={"fit": settings.compression.coders["dense"].fit.model_copy(update={"learning_rate": 1e12})}
    )
    with pytest.raises(DataError, match=r"lower fit.learning_rate"):
        train_coders(settings, {"wild": wild}, boxes.data, tmp_path)


@pytest.mark.parametrize(
    ("coder", "words"),
    [
        ({"kind": "dense", "ending": "linear", "loss": "bce"}, "logarithms of the output"),
        ({"kind": "dense", "ending": "sigmoid", "scaling": "standard"}, "half of the standardised values are negative"),
        ({"kind": "downsample", "latents": 10}, "must be a square"),
        ({"kind": "dense", "sweep": {"learnin_rate": [1]}}, "'learnin_rate' is no key"),
        ({"kind": "dense", "sweep": {"learning_rate": [0.1, 0.1]}}, "twice"),
        ({"kind": "dense", "sweep": {"batch": [-1]}}, "batch"),
        ({"kind": "dense", "sweep": {"batch": []}}, "sweep"),
        ({"kind": "autoencoder"}, "kind"),
        ({"latents": 3}, "kind"),
    ],
)
def test_mistakes_in_the_settings_are_one_sentence(coder, words):
    with pytest.raises(ConfigurationError, match=words) as caught:
        check({"compression": {"coders": {"mine": coder}}})
    assert "\n" not in str(caught.value)


def test_a_sweep_is_one_coder_for_each_combination():
    coder = {"kind": "dense", "sweep": {"learning_rate": [0.1, 0.01], "batch": [10, 20]}}
    found = check({"compression": {"coders": {"mine": coder}}}).compression.expanded()
    assert list(found) == ["mine-10-0.1", "mine-10-0.01", "mine-20-0.1", "mine-20-0.01"]
    assert (found["mine-20-0.01"].fit.learning_rate, found["mine-20-0.01"].fit.batch) == (0.01, 20)


@pytest.mark.parametrize("damage", ["missing", "flipped", "card", "other"])
def test_a_damaged_folder_is_named(folders, tmp_path, damage):
    for name in ("model.safetensors", "model.json"):
        (tmp_path / name).write_bytes((folders["pca"] / name).read_bytes())
    weights, card = tmp_path / "model.safetensors", tmp_path / "model.json"
    if damage == "missing":
        weights.unlink()
    elif damage == "flipped":
        content = bytearray(weights.read_bytes())
        content[-5] ^= 1
        weights.write_bytes(content)
    elif damage == "card":
        card.write_text("{}")
    else:
        card.write_text(card.read_text().replace('"latents": 8', '"latents": 9'))
    with pytest.raises(DataError, match=r"model\."):
        load_coder(tmp_path)


def test_boxes_that_are_constant_teach_nothing(settings, boxes, tmp_path, monkeypatch):
    monkeypatch.setattr(PairFile, "read", lambda self, name: np.ones((1, 32, 32, 32), np.float32))
    with pytest.raises(DataError, match="constant"):
        train_coders(settings, {"pca": settings.compression.coders["pca"]}, boxes.data, tmp_path)
