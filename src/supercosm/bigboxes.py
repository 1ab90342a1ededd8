"""Big boxes: a super-resolved snapshot in several files, each a slab along x that is made, or made again, by itself.

A file appears under its name when it is whole, and says what it was made of, so the same command goes on where it was
killed, and many jobs can make one each. A model of several passes needs the whole box between them: one process then
makes all files.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from supercosm.chain import Chain
from supercosm.checkpoints import checkpoints_in
from supercosm.choices import Options
from supercosm.cosmology import linear_power
from supercosm.errors import ConfigurationError, DataError
from supercosm.files import write_json
from supercosm.formats.origin import difference, made_for
from supercosm.formats.parts import numbered, part_names
from supercosm.journal import cost_noted
from supercosm.leftovers import read_plain
from supercosm.metering import Cost, Meter, cost_from
from supercosm.paging import Stored
from supercosm.progress import progress
from supercosm.rows import along_x
from supercosm.sampler import Sampler
from supercosm.snapshot import Part, lattice_positions, read_snapshot, snapshot_writer
from supercosm.stopping import stop_if_asked, stoppable
from supercosm.superresolution import fingerprint, source_of

log = logging.getLogger(__name__)

Row = Iterator[tuple[int, np.ndarray]]

IN_SLAB = "finished files are kept, and the same command makes the slab under way again"


@dataclass(frozen=True)
class Cut:
    """Into how many files a snapshot goes, and the number of the only one to make, from 0 on; None: all of them."""

    files: int
    part: int | None = None

    def __post_init__(self) -> None:
        if self.part is not None and not 0 <= self.part < self.files:
            raise ConfigurationError(f"part = {self.part} is none of {self.files} files, whose numbers begin with 0")

    @property
    def numbers(self) -> Sequence[int]:
        """Numbers of the files to make."""
        return range(self.files) if self.part is None else [self.part]


@dataclass(frozen=True)
class Aside:
    """What is needed, or left, beside the files.

    factor: up-sampling of baselines. cost: file for what the files cost, in all calls with it. checkpoints: folder from
    which a model of several passes goes on. scratch: folder in which small-scale modes stay for other calls that need
    the same ones.
    """

    factor: int | None = None
    cost: Path | None = None
    checkpoints: Path | None = None
    scratch: Path | None = None


@dataclass(frozen=True)
class Files:
    """The files of one sample: their names, which of them are missing, and what they all are made of.

    note: called when one more is there.
    """

    names: list[Path]
    missing: list[int]
    made_for: dict[str, Any]
    note: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        """What the names of the files begin with."""
        return self.names[0].name.removesuffix(".0.hdf5")


def superresolve_slabs(
    snapshot: Path,
    output: Path,
    sources: Sequence[Path | str],
    options: Options,
    cut: Cut,
    aside: Aside = Aside(),
) -> None:
    """Super-resolve a snapshot file into output.0.hdf5, output.1.hdf5, …; files that are there are not made again.

    sources, options: as of `superresolve_file`. SIGTERM and SIGUSR1 raise StoppedError once the strip of tiles under
    way is made, or the whole file where that is in its last row; with checkpoints, once a row is kept. Raises
    ConfigurationError where the box cannot be cut so, DataError where files of another origin lie there.
    """
    chain = Chain(read_snapshot(snapshot), [source_of(one, aside.factor, options.device) for one in sources], options)
    chain.cut(cut.files)
    files = _files(output, cut, _made_for(snapshot, chain, cut))
    meter = Meter(chain.device)
    if not files.missing:
        log.info("%s: nothing to do, all files are there", output)
    with ExitStack() as stack:
        notes = None
        if aside.checkpoints is not None:  # with nothing to make, too: they are emptied at the end
            kept = stack.enter_context(checkpoints_in(aside.checkpoints, files.made_for))
            notes = kept.folder / "0"
        if chain.sees_modes:
            linear_power(chain.low.cosmology)  # as in `superresolve_file`
        if not files.missing:
            return
        with meter.measure("sample", _earlier(files, cut, aside, notes)) as spent:
            files = replace(files, note=lambda: _note(aside.cost, spent()))
            sampler = chain.sampler(options.seed, None if notes is None else (notes, spent))
            del chain
            _make(sampler, files, cut, aside)


def _earlier(files: Files, cut: Cut, aside: Aside, notes: Path | None) -> Cost | None:
    """Return what calls have cost that were stopped, each with those before: up to their last file, or row."""
    found = [] if notes is None else [cost_noted(folder) for folder in notes.glob("*")]
    if aside.cost is not None and len(files.missing) < len(cut.numbers):
        noted = read_plain(aside.cost)
        found += [cost_from(entry) for entry in noted] if isinstance(noted, list) else []
    return max((cost for cost in found if cost), key=lambda cost: cost.seconds, default=None)


def _note(path: Path | None, spent: Cost) -> None:
    """Write what the files that are there have cost."""
    if path is not None:
        write_json(path, [asdict(spent)])


def _made_for(snapshot: Path, chain: Chain, cut: Cut) -> dict[str, Any]:
    """Describe what all files of a sample are made of; model cards, which are long, by their checksum.

    The version of the package counts, the commit does not: others commit to a clone while jobs of one sample run.
    """
    found = {key: value for key, value in fingerprint(snapshot, chain).items() if key != "commit"}
    cards = [sha256(json.dumps(card, sort_keys=True).encode()).hexdigest() for card in found["models"]]
    return found | {"models": cards, "files": cut.files}


def _files(output: Path, cut: Cut, expected: dict[str, Any]) -> Files:
    """Find out which files are missing; raise DataError where one that lies there does not belong to the others."""
    names = part_names(output, cut.files)
    there = numbered(output)  # other jobs are at work on the other files: what `join` makes of them, it checks
    for path in there.values() if cut.part is None else [there[n] for n in cut.numbers if n in there]:
        found = made_for(path)
        if found != expected:
            raise DataError(
                f"{path} lies there already, and was made of something else ({difference(found, expected)}): files of "
                "two origins do not go together; remove it and those beside it, or name another --output"
            )
    return Files(names, [number for number in cut.numbers if not names[number].exists()], expected)


def _make(sampler: Sampler, files: Files, cut: Cut, aside: Aside) -> None:
    """Make the missing files, in order."""
    one_pass = sampler.passes == 1 and sampler.consistency is None
    if cut.part is not None and not one_pass:
        raise ConfigurationError(
            "this model makes a box in several passes (or keeps large scales of the low run), for which the whole box "
            "is needed in one process: leave out --part"
        )
    work = len(files.missing) * sampler.row_work * (sampler.low // cut.files // sampler.depth)
    log.info(
        "%d of %d files to make, tiles of %d × %d × %d low-resolution cells",
        *(len(files.missing), cut.files, sampler.depth, sampler.tile, sampler.tile),
    )
    with ExitStack() as stack:
        tick = stack.enter_context(progress(f"super-resolve {files.name}", work if one_pass else sampler.work))
        if one_pass or aside.checkpoints is not None:
            stack.enter_context(stoppable())
        if one_pass:
            _one_by_one(sampler, files, cut.files, aside.scratch, tick)
        else:
            _as_they_come(sampler, files, cut, tick)


def _one_by_one(sampler: Sampler, files: Files, count: int, scratch: Path | None, tick: Callable[[], None]) -> None:
    """Make every missing file of a model of one pass by itself."""
    slab, low = sampler.low // count, Stored(sampler.low_fields().numpy())  # each row needs it, but for a moment
    sampler.forget_particles()

    def row(x: int) -> Row:
        last = (x + sampler.depth) % slab == 0  # with it there is a file: worth going on, where asked to stop
        for strip in sampler.strips(along_x(sampler, torch.from_numpy(low.read()), x), modes, x, tick):
            if not last:
                stop_if_asked(IN_SLAB)
            yield strip

    with closing(low), sampler.modes(_planes(sampler, files.missing, slab), scratch) as modes:
        for number in files.missing:
            places = range(number * slab, (number + 1) * slab, sampler.depth)  # of rows of tiles
            _write(sampler, files, number, ((x, row(x)) for x in places))


def _planes(sampler: Sampler, missing: Sequence[int], slab: int) -> list[int] | None:
    """Return the planes along x that slabs and their halos need of the small scales; None for all."""
    halo, factor = sampler.halos[0], sampler.factor
    spans = (range((n * slab - halo) * factor, ((n + 1) * slab + halo) * factor) for n in missing)
    found = sorted({plane % sampler.high for span in spans for plane in span})
    return None if len(found) == sampler.high else found


def _as_they_come(sampler: Sampler, files: Files, cut: Cut, tick: Callable[[], None]) -> None:
    """Write the rows of the last pass, in order, to the files that are missing."""
    count = sampler.low // cut.files // sampler.depth
    with closing(sampler.slabs(tick)) as made:
        for number in range(cut.files):
            rows = ((first // sampler.factor, iter([(0, fields)])) for first, fields in islice(made, count))
            if number in files.missing:
                _write(sampler, files, number, rows)
            else:
                for _ in rows:
                    pass


def _write(sampler: Sampler, files: Files, number: int, rows: Iterator[tuple[int, Row]]) -> None:
    """Write one file, plane by plane of every strip of every row: (x [low-resolution cells], (first y, fields))."""
    low, side, factor = sampler.snapshot, sampler.high, sampler.factor
    like = SimpleNamespace(box_size=low.box_size, offset=low.offset, **sampler.attributes())
    count = side**3 // len(files.names)
    part = Part(number, len(files.names), side**3, files.made_for)
    with snapshot_writer(files.names[number], like, count, part) as put:
        for x, row in rows:
            for y, fields in row:
                for plane in range(fields.shape[1]):
                    first = x * factor + plane
                    displacement, velocity = fields[:3, plane : plane + 1], fields[3:, plane]
                    positions = lattice_positions(displacement, low.box_size, first, low.offset, y)
                    start = (first * side + y) * side
                    ids = np.arange(start + 1, start + 1 + len(positions), dtype=np.uint64)
                    put(start - number * count, positions, np.moveaxis(velocity, 0, -1).reshape(-1, 3), ids)
    log.info("%s is there", files.names[number])
    files.note()
    if number != files.missing[-1]:
        stop_if_asked()
