"""Means over an epoch of what its steps measure, kept by a checkpoint that is written in the middle of it."""

from __future__ import annotations

from typing import Any

from torch import Tensor


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
        self.sums, self.counts = {}, {}
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the epoch of an interrupted training."""
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])
