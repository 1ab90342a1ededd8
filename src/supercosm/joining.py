"""Several files of a snapshot become one, block by block: memory does not grow with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import h5py
import numpy as np

from supercosm.errors import DataError
from supercosm.files import hdf5_reader, hdf5_writer, write_json
from supercosm.formats import gadgethdf5
from supercosm.formats.header import check_alike
from supercosm.formats.origin import MADE_FOR, check_same_origin, made_for
from supercosm.formats.parts import all_files, any_file
from supercosm.metering import Cost, read_costs
from supercosm.progress import progress
from supercosm.snapshot import CHUNK, particle_sets, write_counts


def join(snapshot: Path, output: Path) -> None:
    """Join the files of a snapshot that this package has split into one, whole or not at all.

    snapshot: what the names of the files begin with, or one of them. Raises DataError where one is missing, does not
    belong to the others, or holds particles of another slab.
    """
    paths = _parts(snapshot)
    total = _total(paths)
    with hdf5_writer(output) as file, progress(f"join {output.name}", len(paths)) as tick:
        with hdf5_reader(paths[0], "snapshot") as first:
            for group in ("Header", "Units", "Provenance"):
                file.create_group(group).attrs.update({k: v for k, v in first[group].attrs.items() if k != MADE_FOR})
        write_counts(file, total, total, 1)
        sets, start = particle_sets(file, total), 0
        for path in paths:
            with hdf5_reader(path, "snapshot") as part:
                start = _copy(part, path, sets, start)
            tick()


def join_samples(
    snapshots: Sequence[Path], outputs: Sequence[Path], part_costs: Sequence[Path] = (), cost: Path | None = None
) -> None:
    """Join the files of every sample; write what making them has cost, which is the sum of what their parts have.

    part_costs: cost files of all parts, those of the first sample first.
    """
    if len(snapshots) != len(outputs):
        raise DataError(f"{len(snapshots)} snapshots go into as many files, and {len(outputs)} outputs are named")
    counts = [len(_parts(snapshot)) for snapshot in snapshots] if part_costs else []
    if sum(counts) != len(part_costs):
        raise DataError(
            f"{len(part_costs)} cost files cannot be those of all parts: the snapshots have {counts}; name one for each"
        )
    for snapshot, output in zip(snapshots, outputs, strict=True):
        join(snapshot, output)
    if cost is not None and part_costs:
        rest = iter(part_costs)
        samples = [list(islice(rest, count)) for count in counts]
        write_json(cost, [asdict(_sum([one for path in paths for one in read_costs(path)])) for paths in samples])


def _sum(costs: Sequence[Cost]) -> Cost:
    """Add up what the parts of one sample cost; they need memory one at a time."""
    seconds, busy = (sum(getattr(cost, name) for cost in costs) for name in ("seconds", "busy"))
    return Cost(costs[0].what, seconds, busy, max(cost.memory for cost in costs), costs[0].device)


def _parts(snapshot: Path) -> list[Path]:
    """Return all files of a split snapshot of this package, checked to belong together."""
    one = any_file(snapshot)
    if made_for(one) is None:
        raise DataError(
            f"{one} is no file of a snapshot that this package has split; `supercosm import` reads those of other codes"
        )
    paths = all_files(one, _header(one).files)
    check_same_origin(paths)
    return paths


def _header(path: Path) -> gadgethdf5.Header:
    with hdf5_reader(path, "snapshot") as file:
        return gadgethdf5.read_header(file, path)


def _total(paths: Sequence[Path]) -> int:
    headers = [_header(path) for path in paths]
    check_alike(headers, paths)
    return sum(header.count for header in headers)


def _copy(part: h5py.File, path: Path, sets: dict[str, h5py.Dataset], start: int) -> int:
    """Append the particles of one file, whose IDs must go on where those before it end; return where it ends."""
    count = len(part["PartType1/ParticleIDs"])
    for first in range(0, count, CHUNK):
        block = slice(first, min(first + CHUNK, count))
        here = slice(start + block.start, start + block.stop)
        for name, whole in sets.items():
            values = part[f"PartType1/{name}"][block]
            if name == "ParticleIDs" and not np.array_equal(values, np.arange(here.start + 1, here.stop + 1)):
                raise DataError(
                    f"{path} does not hold particles {here.start + 1} to {here.stop} in order: it is damaged, or not "
                    "what its name says; make it again"
                )
            whole[here] = values
    return start + count
