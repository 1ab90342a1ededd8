"""The small-scale linear modes of a big lattice, without ever holding the whole lattice in memory.

The modes are functions of the wave vector, so the three-dimensional transform splits: blocks in k_y are made
and transformed along x, and kept on disk; slabs in x are then read and transformed along y and z.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from supercosm.config import Cosmology
from supercosm.initial import Phases, displacement_modes, overdensity_modes
from supercosm.mesh import wave_numbers

BLOCK = 1 << 22  # modes made at once


class SmallScales:
    """Linear displacement (3) or overdensity (1) of the modes that the low lattice does not hold."""

    def __init__(
        self,
        phases: Phases,
        cosmology: Cosmology,
        box_size: float,
        sides: tuple[int, int],
        *,
        growth: float,
        overdensity: bool = False,
    ) -> None:
        """Make the modes between lattices of `sides` (low, high) at growth D, in scratch space on disk."""
        low, self.cells = sides
        self._scratch = tempfile.TemporaryDirectory(prefix="supercosm-")
        make = overdensity_modes if overdensity else displacement_modes
        self.channels = 1 if overdensity else 3
        half = self.cells // 2 + 1  # of a real field, whose other modes are the conjugates
        shape = (self.channels, self.cells, self.cells, half)
        self._modes = scratch_array(Path(self._scratch.name) / "modes", shape, np.complex64)
        kx, ky, kz = wave_numbers(self.cells)
        rows = max(1, BLOCK // (self.cells * half))
        for first in range(0, self.cells, rows):
            block = slice(first, first + rows)
            wave = (kx, ky[:, block], kz)
            for channel, modes in enumerate(make(phases, cosmology, box_size, self.cells, wave, low)):
                lines = torch.fft.ifft(modes * growth, dim=0, norm="forward")
                self._modes[channel, :, block] = lines.numpy()

    def planes(self, first: int, count: int) -> torch.Tensor:
        """Return lattice planes first…first+count along x, periodic: (channels, count, n, n) float32."""
        index = np.arange(first, first + count) % self.cells
        out = torch.empty(self.channels, count, self.cells, self.cells)
        for position, plane in enumerate(index):
            modes = torch.from_numpy(self._modes[:, plane].copy())
            out[:, position] = torch.fft.irfft2(modes, s=(self.cells, self.cells), norm="forward")
        return out

    def close(self) -> None:
        """Give the scratch space back."""
        del self._modes
        self._scratch.cleanup()


def scratch_array(path: Path, shape: tuple[int, ...], kind: type[np.generic]) -> np.memmap:
    """Map a new file of an array; its space is taken at once: a full disk is an error now, no crash later."""
    with open(path, "wb") as file:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        try:
            if hasattr(os, "posix_fallocate"):  # macOS lacks it
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
    return np.memmap(path, kind, "r+", shape=shape)
