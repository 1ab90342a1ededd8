"""Means over an epoch: weighted by crops, forgotten once taken, and kept by a checkpoint in the middle."""

import torch

from supercosm.means import Means


def test_means_weigh_by_crops_and_are_taken_once():
    means = Means()
    means.add(1, {"loss": torch.tensor(1.0)})
    means.add(3, {"loss": torch.tensor(5.0, requires_grad=True), "penalty": torch.tensor(2.0)})
    assert means.take() == {"loss": 4.0, "penalty": 2.0}
    assert means.take() == {}


def test_an_interrupted_epoch_goes_on_with_the_same_bits():
    values = torch.rand(7, generator=torch.Generator().manual_seed(1))
    whole, first, second = Means(), Means(), Means()
    for number, value in enumerate(values):
        whole.add(2, {"loss": value})
        if number == 4:
            state = first.state_dict()
            second.load_state_dict(state)
        (first if number < 4 else second).add(2, {"loss": value})
    first.add(2, {"loss": torch.tensor(9.0)})  # what comes after a checkpoint is not in it
    assert second.take() == whole.take()
