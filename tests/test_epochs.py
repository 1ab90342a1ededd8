"""States of trainings between two epochs: kept as they are, whole or not at all, and only for the same training."""

import signal

import numpy as np
import pytest
import torch

from supercosm.epochs import Epochs, epochs_in, resume_optimiser
from supercosm.errors import DataError, StoppedError
from supercosm.stopping import stoppable


def state():
    moments = {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(2, 3)}, 1: {}}
    draw = np.random.default_rng(1)
    return {
        "rows": [{"step": 4, "loss": 0.1 + 0.2}],
        "best": float("inf"),
        "optimiser": {"state": moments, "param_groups": [{"lr": 1e-3, "betas": [0.9, 0.99], "fused": None}]},
        "draw": draw.bit_generator.state,
    }


def test_a_state_comes_back_as_it_was_with_the_random_numbers_that_follow(tmp_path):
    epochs, kept = Epochs(tmp_path / "one.safetensors"), state()
    assert epochs.recall() == {}
    torch.manual_seed(3)
    epochs.keep(lambda: kept, finished=True)
    expected = torch.randn(4)
    torch.manual_seed(4)
    found = epochs.recall()
    assert torch.equal(torch.randn(4), expected)
    for name in ("rows", "best", "draw"):
        assert found[name] == kept[name]
    assert found["optimiser"]["param_groups"] == kept["optimiser"]["param_groups"]
    for name, value in kept["optimiser"]["state"][0].items():
        assert torch.equal(found["optimiser"]["state"][0][name], value)
    assert epochs.beside("two").recall() == {}


def test_a_state_of_the_gpu_in_use_is_all_that_is_kept(tmp_path, monkeypatch):
    """Where there are fewer GPUs later, the others' would have no place."""
    restored, first = [], torch.arange(16, dtype=torch.uint8)
    monkeypatch.setattr(torch.cuda, "set_rng_state", restored.append)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: first)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    epochs = Epochs(tmp_path / "one.safetensors")
    epochs.keep(state, finished=True)
    epochs.recall()
    (found,) = restored
    assert torch.equal(found, first)


@pytest.mark.parametrize("place", [0.02, 0.5, 0.98])
def test_a_damaged_state_is_none(tmp_path, place):
    path = tmp_path / "one.safetensors"
    Epochs(path).keep(state, finished=True)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    assert Epochs(path).recall() == {}
    path.write_bytes(b"")
    assert Epochs(path).recall() == {}


def test_states_are_kept_when_asked_to_stop_or_at_the_end_and_else_now_and_then(tmp_path, monkeypatch):
    epochs = Epochs(tmp_path / "one.safetensors")
    with stoppable():
        epochs.keep(state, finished=False)
        assert not epochs.path.exists(), "less than a while has passed"
        monkeypatch.setattr("supercosm.epochs.EVERY", 0.0)
        epochs.keep(state, finished=False)
        assert epochs.path.exists()
        epochs.path.unlink()
        monkeypatch.setattr("supercosm.epochs.EVERY", 1e9)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StoppedError, match="stopped by SIGTERM"):
            epochs.keep(state, finished=False)
        assert epochs.path.exists()
        epochs.keep(state, finished=True)  # there is nothing left to stop


def test_a_folder_of_states_belongs_to_one_training(tmp_path):

    def interrupted(fingerprint, left):
        with epochs_in(tmp_path / "states", fingerprint) as epochs:
            assert bool(epochs.beside("one").recall()) == left
            epochs.beside("one").keep(state, finished=True)
            raise KeyboardInterrupt

    for fingerprint, left in (({"a": 1}, False), ({"a": 1}, True), ({"a": 2}, False)):
        with pytest.raises(KeyboardInterrupt):
            interrupted(fingerprint, left)
    with epochs_in(tmp_path / "states", {"a": 2}) as epochs:
        assert epochs.beside("one").recall()
    assert [path.name for path in (tmp_path / "states").iterdir()] == [".lock"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter").touch()
    with (
        pytest.raises(DataError, match="holds chapter and is no folder of checkpoints"),
        epochs_in(tmp_path / "thesis", {}),
    ):
        pass


def test_moments_lie_in_memory_as_their_weights_do():
    """Fused optimisers go through memory, whatever the axes."""
    weight = torch.nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
    weight.grad = torch.randn_like(weight)
    one, two = (torch.optim.AdamW([weight], fused=True) for _ in range(2))
    one.step()
    kept = one.state_dict()
    kept["state"][0]["exp_avg"] = kept["state"][0]["exp_avg"].contiguous()
    resume_optimiser(two, kept)
    assert two.state[weight]["exp_avg"].stride() == weight.stride()
    assert torch.equal(two.state[weight]["exp_avg"], one.state[weight]["exp_avg"])
