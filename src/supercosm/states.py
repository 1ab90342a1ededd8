"""What a scheme carries from pass to pass: fields of the whole box, on disk, read and written in slabs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from supercosm.smallscales import scratch_array


class States:
    """Two states of (width, n, n, n): the one that a pass reads, and the one that it writes."""

    def __init__(self, width: int, cells: int) -> None:
        """Take the space of both in a scratch folder."""
        self._scratch = tempfile.TemporaryDirectory(prefix="supercosm-")
        self.cells = cells
        shape = (width, cells, cells, cells)
        self._read, self._write = (
            scratch_array(Path(self._scratch.name) / name, shape, np.float32) for name in ("one", "other")
        )

    def planes(self, first: int, count: int) -> Tensor:
        """Return lattice planes first…first+count along x, periodic, of the state that the last pass wrote."""
        index = np.arange(first, first + count) % self.cells
        return torch.from_numpy(self._read[:, index])

    def put(self, first: int, fields: np.ndarray) -> None:
        """Write planes (width, planes, n, n) from `first` on into the state that the next pass reads."""
        self._write[:, first : first + fields.shape[1]] = fields

    def turn(self) -> None:
        """End a pass: what was written is read from now on."""
        self._read, self._write = self._write, self._read

    def close(self) -> None:
        """Give the scratch space back."""
        del self._read, self._write
        self._scratch.cleanup()
