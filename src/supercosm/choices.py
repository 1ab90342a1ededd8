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

TILE = 16  # low-resolution cells per side where nobody says otherwise: a few hundred MB


@dataclass(frozen=True)
class Options:
    """How to apply a model.

    phases: where the small scales come from: "known" (the seed of the snapshot's initial conditions), "drawn"
    (from `seed`), "none"; None picks what the model was made for. tile: side of the tiles in low-resolution
    cells, a divisor of the snapshot's side; None: about 16, so that memory does not grow with the box.
    override: apply a model outside what it was trained on. consistency: modes below this fraction of the low run's
    Nyquist frequency stay those of the low run; None: they are what the model makes of them.
    """

    phases: PhaseChoice | None = None
    seed: int = 1000
    tile: int | None = None
    device: str = "auto"
    override: bool = False
    consistency: float | None = None


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
            raise ConfigurationError(f"phases: {asked} was asked for, but this model takes no small-scale modes")
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
        raise ConfigurationError(f"tile = {tile} does not divide the snapshot's {low} cells per side; choose a divisor")
    volume = settings is not None and settings.dimensions == 3
    fault = settings.tile_fault(tile, low, model.card.factor) if volume else None
    if fault:
        raise ConfigurationError(fault)
    return tile, halo
