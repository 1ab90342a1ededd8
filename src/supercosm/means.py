"""Means over an epoch of what its steps measure, kept by a checkpoint that is written in the middle of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from supercosm.sharing import Share


class Means:
    """Sums and counts by name; tensors stay on their device until the means are taken."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, count: int, values: dict[str, Tensor]) -> None:
        """Add values that are means over so many crops."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().double() * count
            self.counts[name] = self.counts.get(name, 0) + count

    def take(self) -> dict[str, float]:
        """Return the means, and forget them."""
        found = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.clear()
        return found

    def clear(self) -> None:
        """Begin a new epoch."""
        self.sums, self.counts = {}, {}

    def total(self, share: Share) -> Means:
        """Return what all processes of a training have together."""
        if share.world == 1 or not self.sums:
            return self
        names, found = sorted(self.sums), Means()
        counts = torch.tensor([float(self.counts[name]) for name in names], dtype=torch.float64)
        sums = torch.stack([self.sums[name].cpu() for name in names])
        sums, counts = share.sum(torch.stack([sums, counts]))
        found.sums = dict(zip(names, sums, strict=True))
        found.counts = {name: int(count) for name, count in zip(names, counts, strict=True)}
        return found

    def forget(self) -> None:
        """Keep the names alone: another process has what was there."""
        self.sums = {name: torch.zeros_like(total) for name, total in self.sums.items()}
        self.counts = dict.fromkeys(self.counts, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the epoch of an interrupted training."""
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])
