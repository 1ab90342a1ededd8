"""Friends-of-friends haloes of a box in slabs: those of the whole box, to the last particle and bit.

Each slab links its own planes of cells with each other and with the lowest planes of the slab above. Groups that stay
inside are finished there. Of those that touch the lowest planes, or planes of the slab above, the parts are kept, and
joined where both slabs name the same cell: so a halo may span any number of slabs, and the periodic boundary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np

from supercosm.errors import DataError
from supercosm.slabs.scratch import Scratch, missing
from supercosm.slabs.sorting import COLUMNS, LOW, POSITIONS, Layout, particles
from supercosm.statistics.friends import REACH, cell_keys, link, occupied, roots
from supercosm.statistics.haloes import Haloes, Universe, catalogue, describe, fill

CLOSED, COUNTS, FLOOR, ROOF, KEPT = "closed", "counts", "floor", "roof", "kept"
RESULT = "haloes"
HALO = np.dtype([("id", np.uint64), ("particles", np.int64), ("table", np.float64, 12)])  # see `describe`
FIELDS = ("number", *COLUMNS)  # of the particles in open groups


class Linked(NamedTuple):
    """One slab after linking: roots (C,) and first particles (C + 1,) of its cells, and what lies where.

    order: of its own particles by cell. low, own: number of its cells in the lowest planes, and in all that are its
    own; those of the slab above follow.
    """

    roots: np.ndarray
    starts: np.ndarray
    order: np.ndarray
    low: int
    own: int


def members_room(layout: Layout) -> float:
    """Return about how many bytes members of open groups take on disk, for each particle of the box.

    They are those of haloes cut by borders: 4 to 10 times the particles of the planes that tell, where slabs are
    hundreds of planes thick, and at most all. A member's number, position, velocity and ID take 36 bytes.
    """
    return 36 * min(1.0, 12 * REACH * layout.number / layout.cells)


def share_names(slab: int) -> list[str]:
    """Name the arrays that one slab leaves for the gathering, the last one written last."""
    members = [f"halo-{name}-{slab}" for name in FIELDS]
    return [*members, *(f"halo-{name}-{slab}" for name in (CLOSED, COUNTS, FLOOR, ROOF))]


def find_share(scratch: Scratch, layout: Layout, slab: int, minimum: int, tick: Callable[[], None]) -> None:
    """Find one slab's groups, unless that was done.

    Writes the haloes that lie in it alone, HALO (H,); and of groups that may go on elsewhere, open ones: particles of
    each, numbers of those in the lowest own cells and in the cells above (-1: of none in this slab), and all members.
    """
    if not scratch.has(*share_names(slab)):
        numbers, closed, opened = _numbered(_linked(scratch, layout, slab), minimum)
        _save_closed(scratch, layout, slab, numbers, closed)
        _save_open(scratch, layout, slab, numbers, closed)
        floor, roof, counts = opened
        for name, array in ((COUNTS, counts), (FLOOR, floor), (ROOF, roof)):
            scratch.save(f"halo-{name}-{slab}", array.astype(np.int32))
    tick()


def _linked(scratch: Scratch, layout: Layout, slab: int) -> Linked:
    above = (slab + 1) % layout.number
    side, first, planes = layout.cells, int(layout.borders[slab]), layout.planes(slab)
    points = particles(scratch, layout, POSITIONS, slab, [(above, LOW)])
    keys = cell_keys(points, side / layout.box_size, side)
    keys -= first * side * side
    keys[keys < 0] += side**3  # the slab above the last one is the first
    own = len(particles(scratch, layout, "ids", slab))
    if layout.number == 1:
        keys[own:] += side**3
    order = np.argsort(keys, kind="stable")
    keys, points = keys[order], points[order]  # what was unsorted is let go: memory is short
    grid = occupied(keys, points, planes + REACH, side, (layout.box_size, layout.length))
    del keys
    link(grid, planes)
    ends = (int(grid.rows[n * side]) for n in (REACH, planes))
    return Linked(roots(grid.parents), grid.starts, order[:own], *ends)


def _numbered(linked: Linked, minimum: int) -> tuple[np.ndarray, int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Give numbers to the groups that matter: closed ones of at least `minimum` particles, then open ones.

    Returns each own particle's number (N,) or -1, how many are closed, and numbers of open groups, from 0 on, of
    the lowest own cells, of the cells above, and their counts of own particles.
    """
    found, starts, order, low, own = linked
    counts = _tally(found, starts, own)
    touching = np.zeros(len(found), bool)
    touching[found[:low]] = touching[found[own:]] = True
    closed = np.flatnonzero(~touching & (counts >= minimum))
    opened = np.flatnonzero(touching & (counts > 0))
    numbers = np.full(len(found), -1, np.int32)
    numbers[closed], numbers[opened] = np.arange(len(closed)), len(closed) + np.arange(len(opened))
    floor, roof = (np.where(part >= 0, part - len(closed), -1) for part in (numbers[found[:low]], numbers[found[own:]]))
    return _of_particles(numbers, found, starts, order), len(closed), (floor, roof, counts[opened])


@numba.njit(cache=True)
def _tally(found: np.ndarray, starts: np.ndarray, own: int) -> np.ndarray:
    """Count the own particles of each root (C,)."""
    counts = np.zeros(len(found), np.int32)
    for cell in range(own):
        counts[found[cell]] += starts[cell + 1] - starts[cell]
    return counts


@numba.njit(cache=True)
def _of_particles(numbers: np.ndarray, found: np.ndarray, starts: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the number of each own particle's group (N,)."""
    result = np.empty(len(order), np.int32)
    cell = 0
    for place in range(len(order)):
        while starts[cell + 1] <= place:
            cell += 1
        result[order[place]] = numbers[found[cell]]
    return result


def _save_closed(scratch: Scratch, layout: Layout, slab: int, numbers: np.ndarray, closed: int) -> None:
    ids = particles(scratch, layout, "ids", slab)
    chosen = np.flatnonzero((numbers >= 0) & (numbers < closed))
    chosen = chosen[np.argsort(ids[chosen], kind="stable")]
    positions, velocities = (particles(scratch, layout, name, slab)[chosen] for name in COLUMNS[:2])
    scratch.save(
        f"halo-{CLOSED}-{slab}", _described(numbers[chosen], positions, velocities, ids[chosen], layout.box_size)
    )


def _save_open(scratch: Scratch, layout: Layout, slab: int, numbers: np.ndarray, closed: int) -> None:
    chosen = np.flatnonzero(numbers >= closed)
    scratch.save(f"halo-number-{slab}", numbers[chosen] - closed)
    for name in COLUMNS:
        scratch.save(f"halo-{name}-{slab}", particles(scratch, layout, name, slab)[chosen])


def _described(
    numbers: np.ndarray, positions: np.ndarray, velocities: np.ndarray, ids: np.ndarray, box_size: float
) -> np.ndarray:
    """Describe groups 0…H of particles sorted by ID: HALO (H,)."""
    counts = np.bincount(numbers)
    starts = np.concatenate([[0], np.cumsum(counts)])
    members = fill(numbers, starts[:-1].copy(), starts[-1])
    found = np.empty(len(counts), HALO)
    found["id"], found["particles"] = ids[members[starts[:-1]]], counts
    found["table"] = describe(positions, velocities, members, starts, box_size)
    return found


def gather(scratch: Scratch, layout: Layout, minimum: int, tick: Callable[[], None]) -> None:
    """Join the open groups of all slabs and write the haloes of the box: the array RESULT, HALO (H,)."""
    if scratch.has(RESULT):
        return
    starts, found = _joined(scratch, layout, minimum)
    tables = [scratch.load(f"halo-{CLOSED}-{slab}") for slab in range(layout.number)]
    owner = np.searchsorted(starts, found, side="right") - 1  # the slab of a group's root, -1: too small
    names = [f"halo-joined-{slab}" for slab in range(layout.number)]

    def describe_of(slab: int) -> None:
        scratch.save(names[slab], _across(scratch, layout, starts, np.where(owner == slab, found, -1)))

    missing(scratch, names, describe_of, tick)
    tables += [scratch.load(name) for name in names]
    scratch.save(RESULT, np.concatenate(tables))
    scratch.remove("halo-*")


def result(scratch: Scratch, snapshot: Universe, linking: float, minimum: int) -> Haloes:
    """Return the catalogue that `gather` found, in the order of `find_haloes`."""
    found = scratch.load(RESULT)
    found = found[np.lexsort((found["id"], -found["particles"]))]
    table = np.ascontiguousarray(found["table"])
    return catalogue(snapshot, table, (found["id"].copy(), found["particles"].copy()), linking, minimum)


def _joined(scratch: Scratch, layout: Layout, minimum: int) -> tuple[np.ndarray, np.ndarray]:
    """Join open groups: return the first group of each slab (number + 1,), and each group's root, -1 if too small.

    Only those that matter are numbered, see `_kept`.
    """
    counts = [_kept(scratch, layout, slab, minimum) for slab in range(layout.number)]
    starts = np.concatenate([[0], np.cumsum([len(part) for part in counts])])
    parents = np.arange(starts[-1])
    for slab in range(layout.number):
        above = (slab + 1) % layout.number
        lower, upper = _named_by_both(scratch, layout, slab)
        lower, upper = (scratch.load(f"halo-{KEPT}-{n}")[part] for n, part in ((slab, lower), (above, upper)))
        _unite(parents, lower + starts[slab], upper + starts[above])
    found = roots(parents)
    totals = np.bincount(found, weights=np.concatenate(counts), minlength=len(found))
    return starts, np.where(totals[found] >= minimum, found, -1)


def _kept(scratch: Scratch, layout: Layout, slab: int, minimum: int) -> np.ndarray:
    """Choose the open groups of a slab that go on elsewhere or are large enough; return how many particles each has.

    Most touch the slab's own lowest planes alone, and the slab below names none of their cells: those are as whole as
    closed ones. Writes each open group's number, or -1.
    """
    counts, roof = (scratch.load(f"halo-{name}-{slab}") for name in (COUNTS, ROOF))
    matter = counts >= minimum
    matter[roof[roof >= 0]] = True
    matter[_named_by_both(scratch, layout, (slab - 1) % layout.number)[1]] = True
    if not scratch.has(f"halo-{KEPT}-{slab}"):
        scratch.save(f"halo-{KEPT}-{slab}", np.where(matter, np.cumsum(matter) - 1, -1).astype(np.int32))
    return counts[matter]


def _named_by_both(scratch: Scratch, layout: Layout, slab: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the open groups of a slab, and those of the slab above, that have the same cells, pair by pair."""
    above = (slab + 1) % layout.number
    roof, floor = scratch.load(f"halo-{ROOF}-{slab}"), scratch.load(f"halo-{FLOOR}-{above}")
    if len(roof) != len(floor):
        raise DataError(f"slabs {slab} and {above} do not fit together; delete {scratch.folder} and start again")
    both = (roof >= 0) & (floor >= 0)
    return roof[both], floor[both]


@numba.njit(cache=True)
def _unite(parents: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    """Join pairs of groups; the smaller root stays, so the result has one form."""
    for i in range(len(first)):
        a, b = first[i], second[i]
        while parents[a] != a:
            parents[a] = parents[parents[a]]
            a = parents[a]
        while parents[b] != b:
            parents[b] = parents[parents[b]]
            b = parents[b]
        parents[max(a, b)] = min(a, b)


def _across(scratch: Scratch, layout: Layout, starts: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Describe the haloes made of open groups that have a root, not -1, in `found`: HALO (H,)."""
    haloes = np.unique(found[found >= 0])
    parts = {name: [] for name in FIELDS}
    for slab in range(layout.number):
        mine = found[starts[slab] : starts[slab + 1]]
        if np.all(mine < 0):
            continue
        kept = scratch.load(f"halo-{KEPT}-{slab}")
        roots_of = np.where(kept >= 0, mine[kept], -1)[scratch.load(f"halo-number-{slab}")]
        chosen = np.flatnonzero(roots_of >= 0)
        parts["number"].append(np.searchsorted(haloes, roots_of[chosen]).astype(np.int32))
        for name in COLUMNS:
            parts[name].append(scratch.load(f"halo-{name}-{slab}")[chosen])
    if not len(haloes):
        return np.empty(0, HALO)
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    order = np.argsort(joined["ids"], kind="stable")
    return _described(*(joined[name][order] for name in FIELDS), layout.box_size)
