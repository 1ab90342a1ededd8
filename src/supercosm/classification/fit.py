"""Train a network to tell classes apart: augmented by the box's symmetries, stopped early, calibrated afterwards."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from supercosm.classification.examples import Examples, cut, shifted
from supercosm.classification.predictions import softmax, temperature
from supercosm.classification_settings import Classifier, Environment, Learning, Task
from supercosm.epochs import Epochs, State, resume_optimiser
from supercosm.errors import DataError
from supercosm.networks.classifiers import Lectures, Residual
from supercosm.patches import SYMMETRIES, turned
from supercosm.schedule import one_cycle

RISE = 0.2  # share of a training in which the learning rate rises
BATCH = 256  # examples at a time where nothing is trained


@dataclass(frozen=True)
class Setup:
    """What is trained: which network, on patches of how many cells a side, for how many classes, with which weights."""

    classifier: Classifier
    task: Task
    classes: int
    side: int
    balance: bool
    device: torch.device

    @property
    def fit(self) -> Learning:
        """How it is trained."""
        return self.task.fit


@dataclass(frozen=True)
class Trained:
    """A network, what normalises its input, the temperature of its probabilities, and how its training went."""

    network: nn.Module
    offset: float
    factor: float
    temperature: float
    rows: list[dict[str, float]]

    def normalise(self, x: np.ndarray) -> Tensor:
        """Return (x − offset) / factor on the network's device, with an axis for the channel: (n, 1, p, …)."""
        device = next(self.network.parameters()).device
        return (torch.from_numpy((x - self.offset) / self.factor).float().unsqueeze(1)).to(device)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return the logits (n, classes) of log density (n, p, …)."""
        with torch.no_grad():
            return torch.cat([self.network(part) for part in self.normalise(x).split(BATCH)]).cpu().numpy()

    def probabilities(self, x: np.ndarray, calibrated: bool = True) -> np.ndarray:
        """Return the probabilities (n, classes) of log density (n, p, …)."""
        return softmax(self.logits(x), self.temperature if calibrated else 1.0)


@dataclass
class Course:
    """How a training goes: its history, the best loss of validation and the weights then, and epochs since."""

    rows: list[dict[str, float]] = field(default_factory=list)
    best: float = math.inf
    kept: dict[str, Tensor] | None = None
    waited: int = 0

    def add(self, row: dict[str, float], network: nn.Module) -> None:
        """Take up an epoch."""
        self.rows.append(row)
        loss = row.get("validation_loss", math.nan)
        if loss < self.best:
            self.best, self.kept, self.waited = loss, copy.deepcopy(network.state_dict()), 0
        elif "validation_loss" in row:
            self.waited += 1

    def finished(self, fit: Learning) -> bool:
        """Whether all epochs are done, or so many without a better loss as patience has."""
        return self.waited >= fit.patience or len(self.rows) == fit.epochs


@dataclass(frozen=True)
class Pace:
    """Steps of an epoch, where it is not one pass, and the state to go on from, {} at the start."""

    steps: int | None
    state: State


def train(
    setup: Setup,
    training: Examples,
    validation: Examples | None,
    steps: int | None = None,
    epochs: Epochs | None = None,
) -> Trained:
    """Train a network; steps: per epoch, where it is not one pass over the training examples.

    Without validation examples all epochs are trained, the last weights are kept and the temperature is one. epochs:
    the file that the same training goes on from. Raises DataError for a class that is not there or a field without any
    structure, StoppedError where it was asked to stop.
    """
    check_present(training.labels, setup.classes)
    offset, factor = float(training.x.mean(dtype=np.float64)), float(training.x.std(dtype=np.float64))
    if not factor > 0:
        raise DataError("the training boxes are constant: there is nothing to tell them apart by")
    torch.manual_seed(setup.fit.seed)
    network = build(setup, training).to(setup.device)
    held_out = None if validation is None else cut(validation, setup.side)
    epochs = epochs or Epochs()
    earlier = epochs.recall()
    course = Course(**earlier.pop("course")) if earlier else Course()
    if earlier:
        network.load_state_dict(earlier["network"])
    trained = Trained(network, offset, factor, 1.0, course.rows)
    going = _epochs(setup, trained, training, held_out, Pace(steps, earlier))
    while not course.finished(setup.fit):
        row, state = next(going)
        course.add(row, network)
        epochs.keep(lambda: state() | {"course": vars(course)}, course.finished(setup.fit))  # noqa: B023 - called at once
    network.eval()
    if held_out is None or course.kept is None:
        return trained
    network.load_state_dict(course.kept)
    return Trained(network, offset, factor, temperature(trained.logits(held_out.x), held_out.labels), trained.rows)


def build(setup: Setup, examples: Examples) -> nn.Module:
    """Build the network for patches cut from such examples."""
    if setup.classifier == "lectures":
        return Lectures(setup.classes, side=setup.side)
    own = setup.task.network
    return Residual(
        setup.classes,
        channels=own.channels,
        levels=own.levels,
        patch=own.patch,
        dimensions=examples.dimensions,
        periodic=examples.periodic and setup.side == examples.x.shape[-1],
        side=setup.side if isinstance(setup.task, Environment) else None,
    )


def check_present(labels: np.ndarray, classes: int) -> None:
    """Raise DataError when a class has no example."""
    missing = sorted(set(range(classes)) - set(labels.tolist()))
    if missing:
        raise DataError(f"classes {missing} of {classes} have no training example; add boxes or patches that hold them")


def _epochs(
    setup: Setup, trained: Trained, training: Examples, held_out: Examples | None, pace: Pace
) -> Iterator[tuple[dict[str, float], Callable[[], State]]]:
    """Train; yield a row of the history after each epoch, and what gives the state to go on from."""
    fit, network = setup.fit, trained.network
    weights, held_weights = (
        _weights(part.labels, setup) for part in (training, training if held_out is None else held_out)
    )
    count = len(cut(training, setup.side))
    steps = pace.steps or max(1, count // fit.batch)
    optimiser = torch.optim.AdamW(network.parameters(), fit.learning_rate, weight_decay=fit.weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: one_cycle(step / (fit.epochs * steps), RISE))
    draw = np.random.default_rng([fit.seed, 8])
    if pace.state:
        resume_optimiser(optimiser, pace.state["optimiser"])
        scheduler.load_state_dict(pace.state["scheduler"])
        draw.bit_generator.state = pace.state["draw"]
    for epoch in range(len(trained.rows), fit.epochs):
        losses = []
        network.train()
        for x, labels in _batches(setup, trained, training, draw, steps):
            loss = _cross_entropy(network(x), labels, weights)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            scheduler.step()
            losses.append(loss.detach())
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise DataError(
                f"the loss became {mean} in epoch {epoch + 1}; lower fit.learning_rate ({fit.learning_rate:g})"
            )
        row = {"step": (epoch + 1) * steps, "learning_rate": optimiser.param_groups[0]["lr"], "train_loss": mean}
        row |= {} if held_out is None else {"validation_loss": _loss(trained, held_out, held_weights)}
        yield (
            row,
            lambda: {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "scheduler": scheduler.state_dict(),
                "draw": draw.bit_generator.state,
            },
        )


def _batches(
    setup: Setup, trained: Trained, training: Examples, draw: np.random.Generator, steps: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield so many batches: cut anew from shifted boxes in every pass, in random order, each turned at random."""
    done = 0
    while done < steps:
        patches = cut(shifted(training, draw), setup.side)
        x, labels = trained.normalise(patches.x), torch.from_numpy(patches.labels).to(setup.device)
        order = torch.from_numpy(draw.permutation(len(patches)))
        size = min(setup.fit.batch, len(patches))
        for first in range(0, len(patches) - size + 1, size):
            which = order[first : first + size]
            yield turned(x[which], int(draw.integers(SYMMETRIES[training.dimensions]))), labels[which]
            done += 1
            if done == steps:
                return


def _loss(trained: Trained, examples: Examples, weights: Tensor) -> float:
    trained.network.eval()
    logits = torch.from_numpy(trained.logits(examples.x)).to(weights.device)
    return float(_cross_entropy(logits, torch.from_numpy(examples.labels).to(weights.device), weights))


def _cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of the weighed cross-entropy, not divided by the weights that a batch happens to have."""
    return (functional.cross_entropy(logits, labels, reduction="none") * weights[labels]).mean()


def _weights(labels: np.ndarray, setup: Setup) -> Tensor:
    """Return the inverse frequency of every class, one where all are as frequent, or where nothing is balanced."""
    counts = np.bincount(labels, minlength=setup.classes) if setup.balance else np.full(setup.classes, len(labels))
    there = np.maximum(counts, 1)
    weights = len(labels) / (np.count_nonzero(counts) * there) if setup.balance else np.ones(setup.classes)
    return torch.from_numpy(weights).float().to(setup.device)
