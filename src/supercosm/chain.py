"""Models applied one after the other, each to what the one before has made; mostly there is one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch

from supercosm.baselines import Baseline
from supercosm.choices import Options, check_consistency, choose_phases, choose_shape, choose_tile
from supercosm.errors import ConfigurationError, SupercosmError
from supercosm.journal import Journal
from supercosm.metering import Cost
from supercosm.model import Model
from supercosm.progress import silent
from supercosm.sameboxes import check_unseen
from supercosm.sampler import Link, Sampler, check_snapshot
from supercosm.snapshot import Snapshot

log = logging.getLogger(__name__)

Notes = tuple[Path, Callable[[], Cost]]  # folder for the rows that are finished, and what they have cost


class Chain:
    """A low run and the models that are applied to it, the first to the run itself.

    Raises, before anything is computed, ConfigurationError for phases, tiles or models that do not suit, CoverageError
    where a model was not trained for what it is given, DataError for a snapshot that cannot be super-resolved.
    """

    def __init__(self, low: Snapshot, models: Sequence[Model | Baseline], options: Options) -> None:
        self.low, self.models, self.options = low, models, options
        self.sees_modes = False  # whether small-scale modes go in
        if not models:
            raise ConfigurationError("there is no model to apply; give one, or several for a chain")
        check_snapshot(low)
        side = low.side
        for number, model in enumerate(models):
            self.last = side  # particles per side that the last model is given
            with self._named(number):
                self._check(number, side)
            side *= _factor(model)
        self._voiced: set[int] = set()
        self._voice_doubts(0, low)

    @property
    def device(self) -> torch.device:
        """Where models compute: baselines do without a GPU."""
        found = [model.device for model in self.models if not isinstance(model, Baseline)]
        return found[0] if found else torch.device("cpu")

    def cut(self, files: int) -> None:
        """Choose tiles for slabs along x, one for each file; raise ConfigurationError where there are none."""
        self.options = replace(self.options, shape=choose_shape(self.last, self.models[-1], self.options, files))

    def sampler(self, seed: int, notes: Notes | None = None) -> Sampler:
        """Apply all models but the last; return what makes the sample of this seed with that one."""
        snapshot, options = self.low, replace(self.options, seed=seed)
        for number, model in enumerate(self.models):
            journal = None if notes is None else Journal(notes[0] / str(number), notes[1])
            own = options if number + 1 == len(self.models) else replace(options, shape=None)
            sampler = Sampler(snapshot, model, own, Link(number, self.low, journal))
            if number + 1 < len(self.models):
                snapshot = sampler.snapshot_of(silent)
                self._voice_doubts(number + 1, snapshot)
        return sampler

    @contextmanager
    def _named(self, number: int) -> Iterator[None]:
        """Say in errors which model of several they are about."""
        try:
            yield
        except SupercosmError as error:
            if len(self.models) == 1:
                raise
            raise type(error)(f"model {number + 1} of the chain: {error}") from None

    def _check(self, number: int, side: int) -> None:
        """Raise what would go wrong with one model, whose input has so many particles per side."""
        low, model, options = self.low, self.models[number], self.options
        if not isinstance(model, Baseline):
            if model.card.settings.fields == "density" and number + 1 < len(self.models):
                raise ConfigurationError("it makes a density, to which no further model can be applied; put it last")
            if not options.override:
                given = {name: getattr(low, name) for name in ("box_size", "scale_factor", "cosmology", "provenance")}
                model.check_covers(SimpleNamespace(side=side, **given))
                if not options.training_boxes:
                    check_unseen(low, model.card)
        check_consistency(model, options)
        self.sees_modes |= choose_phases(low, model, options) is not None
        choose_tile(side, model, options)

    def _voice_doubts(self, number: int, snapshot: Snapshot) -> None:
        """Warn, once, when what a model is given is unlike what it was trained on."""
        model = self.models[number]
        doubts = [] if isinstance(model, Baseline) or number in self._voiced else model.doubts(snapshot)
        self._voiced.add(number)
        if doubts:
            log.warning(
                "warning: this snapshot is unlike those that model '%s' was trained on (%s); expect structure as in "
                "the training boxes rather than its own",
                model.card.name,
                "; ".join(doubts),
            )


def _factor(model: Model | Baseline) -> int:
    return model.factor if isinstance(model, Baseline) else model.card.factor
