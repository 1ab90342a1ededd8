"""Model folders: whole, undamaged, and applied only to what they were made for."""

import dataclasses
import json

import pytest
import torch
from learning import random_model

from supercosm.config import Cosmology
from supercosm.errors import CoverageError, DataError
from supercosm.model import CARD, WEIGHTS, load_model, save_model


@pytest.fixture
def folder(boxes, tmp_path):
    """Folder of a model with white noise and two levels."""
    random_model(boxes, tmp_path / "model", noise="white", network={"levels": 2})
    return tmp_path / "model"


def test_a_folder_gives_back_what_was_saved(folder):
    first = load_model(folder)
    save_model(folder.with_name("copy"), first.network, first.card)
    second = load_model(folder.with_name("copy"))
    assert first.card == second.card
    assert first.high_spacing == 50.0 / 32
    for name, value in first.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[name], value)
    assert (folder / WEIGHTS).read_bytes() == (folder.with_name("copy") / WEIGHTS).read_bytes()
    assert not any(p.requires_grad for p in second.network.parameters())
    assert not second.network.training


def test_a_flipped_bit_in_the_weights_is_found(folder):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-5] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(DataError, match="does not match the checksum in its card; it is damaged"):
        load_model(folder)


@pytest.mark.parametrize("name", [CARD, WEIGHTS])
def test_a_missing_part_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"is no model folder: it lacks {name}"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card.pop("factor"), "factor: Field required"),
        (lambda card: card.update(temperature=3), "temperature: Extra inputs"),
        (lambda card: card["settings"].update(family="oracle"), "settings"),
    ],
)
def test_a_card_of_another_version_is_refused(folder, change, words):
    card = json.loads((folder / CARD).read_text())
    change(card)
    (folder / CARD).write_text(json.dumps(card))
    with pytest.raises(DataError, match=f"is no model card of this version: {words}"):
        load_model(folder)


def test_a_card_that_is_no_json_or_describes_another_network_is_refused(folder):
    text = (folder / CARD).read_text()
    (folder / CARD).write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match="is no model card of this version"):
        load_model(folder)
    card = json.loads(text)
    card["settings"]["network"]["channels"] = 8
    (folder / CARD).write_text(json.dumps(card))
    with pytest.raises(DataError, match="does not fit the network that its card describes"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"box_size": 60.0}, r"lattice spacing \[Mpc/h\] = 3.125, but the snapshot has 3.75"),
        ({"scale_factor": 0.5}, "scale factor = 1, but the snapshot has 0.5"),
        ({"cosmology": Cosmology(Omega_m=0.25)}, "Omega_m = 0.3111, but the snapshot has 0.25"),
        ({"cosmology": Cosmology(sigma8=0.7)}, "sigma8 = 0.8102, but the snapshot has 0.7"),
    ],
)
def test_snapshots_unlike_those_of_the_training_are_refused(folder, low, change, words):
    with pytest.raises(CoverageError, match=f"model 'random' was trained for {words}.*--override"):
        load_model(folder).check_covers(dataclasses.replace(low, **change))


def test_snapshots_within_one_percent_are_covered(folder, low):
    model = load_model(folder)
    model.check_covers(low)
    model.check_covers(dataclasses.replace(low, box_size=50.3, scale_factor=0.995))


def test_what_is_told_is_covered_from_the_least_to_the_greatest_value(boxes, low, tmp_path):
    model = random_model(boxes, tmp_path / "told", told=["scale_factor", "Omega_m"])
    cosmologies = [Cosmology(Omega_m=0.25), Cosmology(Omega_m=0.35)]
    changed = {"scale_factors": [0.25, 0.5, 1.0], "cosmologies": cosmologies}
    model = dataclasses.replace(model, card=model.card.model_copy(update=changed))
    for scale_factor in (0.249, 0.25, 0.4, 1.0, 1.005):
        model.check_covers(dataclasses.replace(low, scale_factor=scale_factor))
    for change, words in (
        ({"scale_factor": 0.2}, r"scale factor = 0\.25 to 1, but the snapshot has 0\.2"),
        ({"scale_factor": 1.1}, r"scale factor = 0\.25 to 1, but the snapshot has 1\.1"),
        ({"cosmology": Cosmology(Omega_m=0.36)}, r"Omega_m = 0\.25 to 0\.35, but the snapshot has 0\.36"),
        ({"cosmology": Cosmology(sigma8=0.7)}, r"sigma8 = 0\.8102, but the snapshot has 0\.7"),
    ):
        with pytest.raises(CoverageError, match=words):
            model.check_covers(dataclasses.replace(low, **change))


def test_a_foreign_box_is_taken_for_the_closest_cosmology_of_the_training(folder, low):
    model = load_model(folder)
    cosmologies = [Cosmology(Omega_m=0.25, sigma8=0.9), Cosmology()]
    model = dataclasses.replace(model, card=model.card.model_copy(update={"cosmologies": cosmologies}))
    for Omega_m, expected in ((0.26, cosmologies[0]), (0.31, cosmologies[1])):
        foreign = dataclasses.replace(low, cosmology=Cosmology(Omega_m=Omega_m, sigma8=0.7), provenance={})
        assert model.likely_cosmology(foreign) == expected
    assert model.likely_cosmology(low) == low.cosmology


def test_a_foreign_header_is_asked_only_for_what_it_holds(folder, low):
    """Gadget headers know Omega_m but not sigma8: what stands in its place is a default."""
    foreign = dataclasses.replace(low, cosmology=Cosmology(sigma8=0.7), provenance={})
    load_model(folder).check_covers(foreign)


def test_a_model_of_several_cosmologies_covers_each(folder, low):
    model = load_model(folder)
    other = Cosmology(Omega_m=0.25)
    card = model.card.model_copy(update={"cosmologies": [*model.card.cosmologies, other]})
    both = dataclasses.replace(model, card=card)
    both.check_covers(low)
    both.check_covers(dataclasses.replace(low, cosmology=other))
    with pytest.raises(CoverageError, match=r"Omega_m = 0.25, 0.3111, but the snapshot has 0.28"):
        both.check_covers(dataclasses.replace(low, cosmology=Cosmology(Omega_m=0.28)))
