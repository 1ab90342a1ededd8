"""Where tensors live: the choice between CPU and CUDA."""

from __future__ import annotations

import torch

from supercosm.errors import ConfigurationError


def choose_device(wanted: str = "auto") -> torch.device:
    """Return the device for "auto", "cpu" or "cuda"; raise ConfigurationError when CUDA is demanded but missing."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(
            "device: cuda was asked for, but torch finds no CUDA GPU here; "
            "set device: auto or cpu, or run on a GPU node"
        )
    return torch.device(wanted)
