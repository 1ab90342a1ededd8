"""How to apply a model: what is asked for, and what follows from the model where nothing is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from supercosm.baselines import Baseline
from supercosm.errors import ConfigurationError
from supercosm.initial import SAMPLE, Phases
from supercosm.model import Model
from supercosm.pairs import phases_of
from supercosm.snapshot import Snapshot

PhaseChoice = Literal["none", "known", "drawn"]

CELLS = 4_000_000  # of a tile with its halo, in files of big boxes: some 1.2 GB
TILE = 16  # low-resolution cells per side where nobody says otherwise: a few hundred MB


@dataclass(frozen=True)
class Options:
    """How to apply a model.

    phases: where the small scales come from: "known" (the seed of the snapshot's initial conditions), "drawn"
    (from `seed`), "none"; None picks what the model was made for. tile: side of the tiles in low-resolution
    cells, a divisor of the snapshot's side; None: about 16, so that memory does not grow with the box.
    override: apply a model outside what it was trained on. consistency: modes below this fraction of the low run's
    Nyquist frequency stay those of the low run; None: they are what the model makes of them. shape: thickness along x
    and side along y and z of the last model's tiles, where they are no cubes (see `supercosm.bigboxes`).
    training_boxes: boxes that the model was trained on are welcome, as for classifiers, which are tested on others.
    """

    phases: PhaseChoice | None = None
    seed: int = 1000
    tile: int | None = None
    device: str = "auto"
    override: bool = False
    consistency: float | None = None
    shape: tuple[int, int] | None = None
    training_boxes: bool = False


def choose_phases(snapshot: Snapshot, model: Model | Baseline, options: Options) -> Phases | None:
    """Return the small-scale modes that go in; None for a model that takes none.

    Raises ConfigurationError for modes that the model has no use for, DataError for known ones that nobody knows.
    """
    baseline = isinstance(model, Baseline)
    asked = options.phases
    needed = model.name == "linear" if baseline else model.card.settings.sees_initial
    white = not baseline and model.card.settings.needs_white
    if not needed:
        if asked == "known" or (asked == "drawn" and not white):
            what = f"the baseline '{model.name}'" if baseline else "this model"
            raise ConfigurationError(
                f"phases: {asked} was asked for, but {what} takes no small-scale modes; leave out --phases"
            )
        if asked == "none" and white:
            raise ConfigurationError("this model draws white noise for every sample: choose phases: drawn")
        return None
    known = baseline or "initial" in model.card.settings.condition
    choice = asked or ("known" if known else "drawn")
    if choice == "none":
        raise ConfigurationError("this model needs small-scale modes: choose phases: known or drawn")
    return phases_of(snapshot) if choice == "known" else Phases(options.seed, stream=SAMPLE)


def check_consistency(model: Model | Baseline, options: Options) -> None:
    """Raise ConfigurationError where the low run's modes cannot be kept."""
    fraction = options.consistency
    if fraction is None:
        return
    if not 0 < fraction <= 1:
        raise ConfigurationError(
            f"consistency = {fraction} is no fraction of the low run's Nyquist frequency; give one above 0, up to 1"
        )
    if not isinstance(model, Baseline) and model.card.settings.fields == "density":
        raise ConfigurationError(
            f"consistency = {fraction} keeps modes of displacement and velocity, but this model makes log densities, "
            "which do not add up to those of the low run: leave it out (null)"
        )


def choose_tile(low: int, model: Model | Baseline, options: Options) -> tuple[int, int]:
    """Return the sides of tiles of a box of `low` cells a side, and of the halo that parts of it need [low cells].

    Raises ConfigurationError for tiles that do not suit box or network.
    """
    settings = None if isinstance(model, Baseline) else model.card.settings
    step, halo = (1, 0) if settings is None else settings.tiling(model.card.factor)
    tile = options.tile
    if tile is None:
        fitting = [t for t in range(max(TILE, halo), low) if low % t == 0 and t % step == 0]
        tile = min(fitting, default=low)
    if tile < 1 or low % tile:
        raise ConfigurationError(
            f"tile = {tile} does not divide the snapshot's {low} cells per side; possible are {_divisors(low)}"
        )
    volume = settings is not None and settings.dimensions == 3
    fault = settings.tile_fault(tile, low, model.card.factor) if volume else None
    if fault:
        raise ConfigurationError(fault)
    return tile, halo


def choose_shape(low: int, model: Model | Baseline, options: Options, files: int) -> tuple[int, int]:
    """Return thickness along x and side along y and z of the tiles that `files` slabs of a box consist of.

    They are tiles of the side asked for, thinner where a slab is; where none is asked for, those that waste least on
    halos in bounded memory. Raises ConfigurationError where a box cannot be cut so, or holds no particles.
    """
    settings = None if isinstance(model, Baseline) else model.card.settings
    if settings is not None and settings.fields == "density":
        raise ConfigurationError("this model makes a density, which is one small file: leave out --files")
    factor = model.factor if settings is None else model.card.factor
    halo = 0 if settings is None else settings.tiling(factor)[1]
    fault = None if settings is None else settings.slab_fault(files, low, factor)
    if fault is None and low % files:
        fault = (
            f"files = {files} does not divide the {low} low-resolution cells per side; possible are {_divisors(low)}"
        )
    if fault:
        raise ConfigurationError(fault)

    def suitable(whole: int) -> list[int]:
        divisors = (size for size in range(1, whole + 1) if whole % size == 0)
        return [size for size in divisors if settings is None or settings.suits(size, low, factor)]

    def waste(shape: tuple[int, int]) -> tuple[bool, float]:
        spans = [size if size == low else size + 2 * halo for size in shape]
        cells = spans[0] * spans[1] ** 2
        too_large = cells * factor**3 > CELLS
        return too_large, cells if too_large else cells / (shape[0] * shape[1] ** 2)

    sides, depths = suitable(low), suitable(low // files)
    if options.tile is not None:
        sides, depths = [options.tile], [max((d for d in depths if d <= options.tile), default=depths[0])]
    return min(((depth, side) for depth in depths for side in sides), key=waste)


def _divisors(number: int) -> str:
    return ", ".join(str(size) for size in range(1, number + 1) if number % size == 0)
