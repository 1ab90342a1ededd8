"""What a piece of work costs, measured inside the process: start-up and imports are left out."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from supercosm.errors import DataError
from supercosm.files import read_json, write_json


@dataclass(frozen=True)
class Cost:
    """Cost of one piece of work.

    seconds: wall clock. busy: core-seconds on the CPU, GPU-seconds where a GPU computed. memory: largest resident
    memory of the process so far, or of the GPU [MB].
    """

    what: str
    seconds: float
    busy: float
    memory: float
    device: str


class Meter:
    """Collects the costs of pieces of work that are done one after another."""

    def __init__(self, device: torch.device) -> None:
        """`device`: where the work is done."""
        self.device = device
        self.costs: list[Cost] = []

    @contextmanager
    def measure(self, what: str, earlier: Cost | None = None) -> Iterator[Callable[[], Cost]]:
        """Add the cost of the enclosed work to what it has cost earlier, before it was killed; failures cost nothing.

        Yields a function that says what it has cost so far.
        """
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        wall, cores = time.perf_counter(), time.process_time()

        def spent() -> Cost:
            if cuda:
                torch.cuda.synchronize()
            seconds = time.perf_counter() - wall
            busy = seconds if cuda else time.process_time() - cores
            memory = torch.cuda.max_memory_allocated() / 1e6 if cuda else _resident()
            if earlier is not None:
                seconds, busy, memory = seconds + earlier.seconds, busy + earlier.busy, max(memory, earlier.memory)
            return Cost(what, seconds, busy, memory, self.device.type)

        yield spent
        self.costs.append(spent())

    def write(self, path: str | Path | None) -> None:
        """Write the costs as JSON, where a path is given."""
        if path is not None:
            write_json(Path(path), [asdict(cost) for cost in self.costs])


def _resident() -> float:
    """Return the largest resident memory of this process so far [MB]; macOS counts bytes, Linux KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def cost_from(entry: Any) -> Cost | None:
    """Make a Cost of what JSON holds of one; None where that is something else."""
    try:
        return Cost(str(entry["what"]), *(float(entry[k]) for k in ("seconds", "busy", "memory")), str(entry["device"]))
    except (TypeError, KeyError, ValueError, OverflowError):
        return None


def read_costs(path: str | Path) -> Sequence[Cost]:
    """Read what `Meter.write` wrote; raise DataError when it is missing or something else."""
    path = Path(path)
    try:
        found = [cost_from(entry) for entry in read_json(path)]
    except OSError:
        raise DataError(f"there is no cost file {path}; run that stage again with --cost {path}") from None
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is no cost file ({error}); run that stage again with --cost {path}") from error
    if None in found:
        raise DataError(f"{path} is no cost file: an entry lacks times; run that stage again with --cost {path}")
    return found
