"""What a training runs on: it changes how fast the numbers come, and their rounding, but not what is computed."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from supercosm.basic_settings import Settings

WORKERS = {"cpu": 0, "cuda": 6}  # processes that read crops: on the CPU they would take time from the network
PREFETCH = 2  # batches that each of them has ready


class Hardware(Settings):
    """Processes, nodes and memory of a training."""

    devices: int = Field(1, ge=1, description="GPUs of a node, or on the CPU processes, that share every batch")
    nodes: int = Field(1, ge=1, description="nodes with as many devices each; more than one need srun or torchrun")
    accumulate: int = Field(
        1, ge=1, description="parts of a device's share of a batch, one after another: less memory, the same step"
    )
    checkpoint_activations: bool = Field(
        False, description="compute the network's activations again for the gradients: less memory, more time"
    )
    workers: int | None = Field(
        None, ge=0, description="processes of each device that read crops; none: 6 for a GPU, 0 for a CPU"
    )
    cache: float = Field(
        4.0, gt=0, description="low fields of pair files that a process keeps in memory between crops, at most [GB]"
    )

    @property
    def world(self) -> int:
        """Processes that learn together."""
        return self.devices * self.nodes

    def readers(self, device: str) -> int:
        """Return how many processes read crops for each device, "cpu" or "cuda"; at 0 the training itself does."""
        return WORKERS[device] if self.workers is None else self.workers

    def fault(self, batches: Iterable[tuple[str, int]]) -> str | None:
        """Say which of some batches (name, crops) cannot be shared evenly; None where all can."""
        for name, batch in batches:
            if batch % (self.world * self.accumulate):
                return (
                    f"models.{name}.training.batch = {batch} is not a multiple of hardware.devices × nodes × "
                    f"accumulate = {self.devices} × {self.nodes} × {self.accumulate} = {self.world * self.accumulate}; "
                    "change either, so that all parts of a batch are alike"
                )
        return None
