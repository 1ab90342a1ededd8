"""Weights in safetensors: checked against their SHA-256, read without running code, put into the network they fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from supercosm.errors import DataError
from supercosm.files import sha256


def read_weights(path: Path, expected: str) -> dict[str, Tensor]:
    """Read a file of weights; raise DataError where its SHA-256 is not the expected one, or it is no such file."""
    if sha256(path) != expected:
        raise DataError(f"{path} does not match the checksum in its card; it is damaged: train it again")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, MemoryError) as error:
        why = " ".join(str(error).split())[:200]
        raise DataError(f"{path} cannot be read as weights in safetensors ({why}); train it again") from None


def network_with(build: Callable[[], nn.Module], weights: dict[str, Tensor], path: Path) -> nn.Module:
    """Build a network and give it weights; raise DataError where they do not fit, before it takes any memory.

    path: of the weights, for the message. A card that was changed may describe a network of any size.
    """
    try:
        with torch.device("meta"):
            expected = {name: value.shape for name, value in build().state_dict().items()}
        if expected == {name: value.shape for name, value in weights.items()}:
            network = build()
            network.load_state_dict(weights)
            return network
    except (RuntimeError, TypeError, ValueError, OverflowError, MemoryError):
        pass  # as PyTorch has it for sizes that are none
    raise DataError(f"{path} does not fit the network that its card describes; the card was changed: train it again")
