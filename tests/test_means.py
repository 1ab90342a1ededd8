"""Means over an epoch: weighted by crops, forgotten once taken, and kept by a checkpoint in the middle."""

import torch

from supercosm.means import Means
from supercosm.sharing import Share


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


def test_what_one_process_has_is_a_part_of_the_mean_and_the_others_begin_anew(monkeypatch):
    """Two processes after a resume: the first has what there was, and both what they have measured since."""
    kept = {"sums": {"loss": torch.tensor(8.0).double(), "penalty": torch.tensor(3.0).double()}}
    kept["counts"] = {"loss": 4, "penalty": 1}
    first, second = Means(), Means()
    for means in (first, second):
        means.load_state_dict(kept)
    second.forget()
    first.add(2, {"loss": torch.tensor(1.0)})
    second.add(2, {"loss": torch.tensor(5.0)})
    sent = []
    monkeypatch.setattr(Share, "sum", lambda _, values: sent.append(values) or values)
    second.total(Share(1, 2))
    monkeypatch.setattr(Share, "sum", lambda _, values: values + sent[0])
    assert first.total(Share(0, 2)).take() == {"loss": (8 + 2 + 10) / 8, "penalty": 3.0}
