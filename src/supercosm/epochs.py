"""Trainings of many short epochs that go on where they were asked to stop: all they are made of, in a file.

A state holds plain values and tensors: weights, the optimiser's moments, the generators of random numbers, the history.
It is a safetensors file whose header holds the plain values and a checksum.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from supercosm.files import locked, whole
from supercosm.leftovers import discard_foreign, empty
from supercosm.stopping import asked_to_stop, stop_if_asked, stoppable

EVERY = 10.0  # seconds between states that nobody has asked for

State = dict[str, Any]


class Epochs:
    """The file of one training; without a path nothing is kept and nothing goes on."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._since = time.monotonic()

    def beside(self, name: str) -> Epochs:
        """Return the file of another training in the same folder."""
        return Epochs(None if self.path is None else self.path.with_name(f"{name}.safetensors"))

    def recall(self) -> State:
        """Return the state that was kept, {} where there is no whole one; put back the generators of random numbers."""
        if self.path is None or not self.path.is_file():
            return {}
        try:
            with safe_open(self.path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
                text, digest = (file.metadata()[name] for name in ("state", "sha256"))
            if _digest(text, tensors) != digest:
                return {}
            state = _filled(json.loads(text), tensors)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return {}
        torch.set_rng_state(state.pop("generator"))
        if gpus := state.pop("generators"):  # of the GPU in use then; of all, in files of earlier versions
            torch.cuda.set_rng_state(gpus[0])
        return state

    def keep(self, state: Callable[[], State], finished: bool) -> None:
        """Keep what `state` returns after an epoch, the last one or where that is due; stop where asked to, but then.

        Raises StoppedError.
        """
        if self.path is None:
            return
        if finished or asked_to_stop() or time.monotonic() - self._since > EVERY:
            gpus = [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else []
            random = {"generator": torch.get_rng_state(), "generators": gpus}
            tensors: dict[str, Tensor] = {}
            text = json.dumps(_emptied(state() | random, tensors))
            with whole(self.path) as part:
                save_file(tensors, part, {"state": text, "sha256": _digest(text, tensors)})
            self._since = time.monotonic()
        if not finished:
            stop_if_asked()


@contextmanager
def epochs_in(folder: Path | None, fingerprint: Mapping[str, Any]) -> Iterator[Epochs]:
    """Yield the files of trainings in a folder that is locked, of others emptied, and empty when the block has ended.

    Meanwhile requests to stop are noted. Without a folder nothing is kept. Raises DataError for a folder that holds
    anything but checkpoints.
    """
    if folder is None:
        yield Epochs()
        return
    with locked(folder):
        discard_foreign(folder, dict(fingerprint))
        with stoppable():
            yield Epochs(Path(folder) / "training.safetensors")
        empty(folder)


def resume_optimiser(optimiser: torch.optim.Optimizer, state: State) -> None:
    """Give an optimiser the state that it was in; its moments are laid out in memory as its weights are."""
    optimiser.load_state_dict(state)
    for weight, moments in optimiser.state.items():
        for name, value in moments.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                moments[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _emptied(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Move tensors into a mapping; return JSON values that say where they were. Keys of mappings may be numbers."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"items": [[key, _emptied(part, tensors)] for key, part in value.items()]}
    if isinstance(value, list | tuple):
        return [_emptied(part, tensors) for part in value]
    return value


def _filled(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo `_emptied`; tuples become lists."""
    if isinstance(value, list):
        return [_filled(part, tensors) for part in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    return {key: _filled(part, tensors) for key, part in value["items"]}


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        found.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()
