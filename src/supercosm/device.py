"""Where tensors live: the choice between CPU and CUDA."""

from __future__ import annotations

import torch

from supercosm.errors import ConfigurationError


def choose_device(wanted: str = "auto") -> torch.device:
    """Return the device for "auto", "cpu" or "cuda"; raise ConfigurationError when CUDA is demanded but missing.

    On the CPU torch is given two threads at least: the FFT of MKL rounds otherwise on one thread than on any larger
    number on some processors, and the same settings are to give the same bits.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(
            "device: cuda was asked for, but torch finds no CUDA GPU here; "
            "set device: auto or cpu, or run on a GPU node"
        )
    if wanted == "cpu":
        torch.set_num_threads(max(2, torch.get_num_threads()))
    return torch.device(wanted)
