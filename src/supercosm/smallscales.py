"""The small-scale linear modes of a big lattice, without ever holding the whole lattice in memory.

The modes are functions of the wave vector, so the three-dimensional transform splits: blocks in k_y are made
and transformed along x, and kept on disk; planes in x are then transformed along y and z, each in its place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.files import whole
from supercosm.initial import Phases, displacement_modes, overdensity_modes
from supercosm.mesh import wave_numbers
from supercosm.paging import ScratchFile, ScratchFolder, one_at_a_time, reserve
from supercosm.provenance import provenance
from supercosm.stopping import stop_if_asked

BLOCK = 1 << 21  # modes made at once: 300 MB


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
        kept: Sequence[int] | None = None,
        shared: Path | None = None,
    ) -> None:
        """Make the modes between lattices of `sides` (low, high) at growth D, in scratch space on disk.

        kept: lattice planes along x that are needed, each once; all of them where nothing is said. The space is
        4 bytes a channel and cell of these planes. shared: folder in which all planes stay for whoever needs the same
        ones; where they are not there one process makes them, whole or not at all, and the others wait.
        """
        low, self.cells = sides
        half = self.cells // 2 + 1  # of a real field, whose other modes are the conjugates
        self.channels = 1 if overdensity else 3
        self._kept = range(self.cells) if kept is None or shared else kept
        self._place = {plane: place for place, plane in enumerate(self._kept)}
        self._plane = self.cells * half * np.dtype(np.complex64).itemsize  # bytes of one: its cells need less
        modes = overdensity_modes if overdensity else displacement_modes

        def make(path: Path) -> None:
            self._file = ScratchFile(path, self.channels * len(self._kept) * self._plane)
            self._make_lines(lambda wave: modes(phases, cosmology, box_size, self.cells, wave, low), growth, half)
            self._make_planes(half)

        self._scratch = None if shared else ScratchFolder()
        if self._scratch:
            make(self._scratch.path / "modes")
            return
        path = shared / name_of(asdict(phases), cosmology.model_dump(), box_size, sides, growth, overdensity)
        with one_at_a_time(path):
            if not path.exists():
                with whole(path) as part:
                    make(part)
                    self._file.close()
        expected, found = self.channels * self.cells * self._plane, path.stat().st_size
        if found != expected:
            raise DataError(f"{path} has {found} bytes instead of {expected}; remove it, and it is made again")
        self._file = ScratchFile(path)

    def window(self, first: int, count: int, row: int, rows: int) -> torch.Tensor:
        """Return rows row…row+rows of planes first…first+count, both periodic: (channels, count, rows, n) float32."""
        n, size = self.cells, np.dtype(np.float32).itemsize
        out = np.empty((self.channels, count, rows, n), np.float32)
        for channel in range(self.channels):
            for position in range(count):
                start, done = self._start(channel, (first + position) % n), 0
                while done < rows:
                    at = (row + done) % n
                    some = min(rows - done, n - at)
                    self._file.read(start + at * n * size, out[channel, position, done : done + some])
                    done += some
        return torch.from_numpy(out)

    def planes(self, first: int, count: int) -> torch.Tensor:
        """Return lattice planes first…first+count along x, periodic: (channels, count, n, n) float32."""
        return self.window(first, count, 0, self.cells)

    def close(self) -> None:
        """Give the scratch space back; what is shared stays."""
        self._file.close()
        if self._scratch:
            self._scratch.close()

    def _start(self, channel: int, plane: int) -> int:
        """Return the byte at which a plane begins."""
        return (channel * len(self._kept) + self._place[plane]) * self._plane

    def _make_lines(self, make: Callable, growth: float, half: int) -> None:
        """Write the planes as functions of k_y and k_z, block by block in k_y."""
        kx, ky, kz = wave_numbers(self.cells)
        rows = max(1, BLOCK // (self.cells * half))
        for first in range(0, self.cells, rows):
            stop_if_asked("the same command makes the small-scale modes again, and goes on from there")
            offset = first * half * np.dtype(np.complex64).itemsize
            for channel, modes in enumerate(make((kx, ky[:, first : first + rows], kz))):
                lines = torch.fft.ifft(modes * growth, dim=0, norm="forward").numpy()
                for plane in self._kept:
                    self._file.write(self._start(channel, plane) + offset, lines[plane])

    def _make_planes(self, half: int) -> None:
        """Transform every plane to a function of y and z, which takes its place."""
        modes = np.empty((self.channels, self.cells, half), np.complex64)
        for plane in self._kept:
            for channel in range(self.channels):
                self._file.read(self._start(channel, plane), modes[channel])
            cells = torch.fft.irfft2(torch.from_numpy(modes), s=(self.cells,) * 2, norm="forward").numpy()
            for channel in range(self.channels):
                self._file.write(self._start(channel, plane), cells[channel])


def name_of(*content: Any) -> str:
    """Return the name of the file that holds the modes of which this is said, by this version's code."""
    text = json.dumps(provenance("small scales", content), sort_keys=True)
    return f"small-scales-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def scratch_array(path: Path, shape: tuple[int, ...], kind: type[np.generic]) -> np.memmap:
    """Map a new file of an array; its space is taken at once: a full disk is an error now, no crash later."""
    with open(path, "wb") as file:
        try:
            reserve(file, int(np.prod(shape)) * np.dtype(kind).itemsize)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
    return np.memmap(path, kind, "r+", shape=shape)
