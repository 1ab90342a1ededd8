"""The settings of classification: which tasks there are, what learns them, and what it is confronted with."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from supercosm.sentences import sentence
from supercosm.settings import Cosmology, Seeds, Settings

SMALLEST = 19  # cells per side that the lectures' network needs
Parameter = Literal["Omega_m", "Omega_b", "h", "n_s", "sigma8"]
Classifier = Literal["residual", "lectures"]
Opponent = Literal["power", "log_power", "logistic", "boosted"]


class ResidualNetwork(Settings):
    """The small residual network."""

    channels: int = Field(12, ge=4, description="features at the finest level; doubled at each coarser level")
    levels: int = Field(3, ge=1, le=6, description="resolution levels, each half as fine as the one before")
    patch: int = Field(2, ge=1, description="cells per side folded into channels before the first level")

    @property
    def unit(self) -> int:
        """Sides of what it sees must be multiples of this many cells."""
        return self.patch * 2 ** (self.levels - 1)


class Learning(Settings):
    """How a network is trained."""

    epochs: int = Field(8, ge=1, description="most passes over the training examples")
    batch: int = Field(32, ge=2, description="examples per step")
    learning_rate: float = Field(3e-3, gt=0, description="peak learning rate (one-cycle schedule)")
    weight_decay: float = Field(1e-2, ge=0, description="AdamW weight decay")
    patience: int = Field(4, ge=1, description="epochs without a lower validation loss after which a training stops")
    seed: int = Field(0, ge=0, description="seed of weights, order, symmetries and shifts")


class Task(Settings):
    """What every task has in common."""

    networks: list[Classifier] = Field(
        ["residual"], min_length=1, description="residual: periodic, 2D and 3D · lectures: the CNN of the lectures, 2D"
    )
    opponents: list[Opponent] = Field(
        ["power", "log_power", "logistic", "boosted"],
        description="power, log_power: logistic regression on P(k) of δ, of ln(1 + δ + 0.1) · logistic, boosted: on "
        "P(k), distribution and peaks of the latter, by logistic regression, by gradient boosting",
    )
    network: ResidualNetwork = ResidualNetwork()
    fit: Learning = Learning()
    balance: bool = Field(True, description="weigh classes by the inverse of their frequency in training")

    def side_fault(self, side: int, dimensions: int) -> str | None:
        """Say why patches of `side` cells do not suit the networks; None where they do."""
        if len(set(self.networks)) < len(self.networks):
            return f"networks = {self.networks} names one twice"
        if "residual" in self.networks and side % self.network.unit:
            return (
                f"patches of {side} cells are not a multiple of network.patch × 2^(levels-1) = {self.network.unit}, "
                "which the residual network needs"
            )
        if "lectures" in self.networks and (dimensions == 3 or side < SMALLEST):
            return (
                f"the lectures' network needs projected patches of at least {SMALLEST} cells, not {side}^{dimensions}"
            )
        return None


class Realism(Task):
    """Tell super-resolved from true high-resolution density: a classifier two-sample test."""

    kind: Literal["realism"] = "realism"
    side: int = Field(32, ge=8, description="side of a patch [high-resolution cells]")
    thickness: float = Field(3.125, gt=0, description="thickness of the projected slabs [Mpc/h]")
    boxes: int = Field(2, ge=1, description="training seeds, from the first, whose boxes it learns from")
    entries: list[str] = Field([], description="what is told from the true run; none: every whole box of the report")
    other_seeds: bool = Field(
        True, description="also tell true runs from those of other seeds (audit.universes), which must be impossible"
    )


class BoxSeeds(Seeds):
    """The boxes of every class."""

    training: list[int] = Field(list(range(100, 112)), min_length=1, description="seeds of the training boxes")
    validation: list[int] = Field(list(range(112, 116)), min_length=1, description="seeds that stop the training")
    test: list[int] = Field(list(range(116, 124)), min_length=1, description="seeds that are judged")


class Universes(Task):
    """Tell cosmologies apart by slabs of cheap simulations."""

    kind: Literal["cosmology"] = "cosmology"
    classes: list[dict[Parameter, float]] = Field(
        [{"sigma8": 0.7}, {"sigma8": 0.9}], min_length=2, description="what each class changes in the cosmology"
    )
    seeds: BoxSeeds = BoxSeeds()
    box_size: float = Field(100.0, gt=0, description="side of the periodic boxes [Mpc/h]")
    particles: int = Field(64, ge=16, description="particles, and cells of the density, per side")
    steps: int = Field(10, ge=1, description="N-body steps")
    slabs: int = Field(8, ge=1, description="projected slabs per box along each axis")
    altered: list[Literal["randomised", "matched"]] = Field(
        ["randomised", "matched"],
        description="randomised: the same with random phases, what P(k) tells · matched: with equal P(k), the rest",
    )
    curve: list[Annotated[int, Field(ge=1)]] = Field([1, 3], description="learning curve: numbers of training boxes")
    skew: float | None = Field(
        0.1, gt=0, lt=1, description="share of a skewed training set that the first class keeps; null: no such run"
    )
    shuffled: bool = Field(True, description="also train on shuffled labels, which must give chance")

    @model_validator(mode="after")
    def _fits(self) -> Universes:
        if self.particles % self.slabs or self.particles % 2:
            raise ValueError(f"particles = {self.particles} must be even and a multiple of slabs = {self.slabs}")
        if fault := self.side_fault(self.particles, 2):
            raise ValueError(fault)
        too_many = [n for n in self.curve if n >= len(self.seeds.training)]
        if too_many or sorted(set(self.curve)) != self.curve:
            raise ValueError(
                f"curve = {self.curve} must ascend and stay below the {len(self.seeds.training)} training boxes, "
                "which are its end"
            )
        return self

    def cosmologies(self, usual: Cosmology) -> dict[str, Cosmology]:
        """Return the cosmology of every class by its name, like sigma8_0.7; raise ValueError for an impossible one."""
        found = {}
        for changes in self.classes:
            name = "_".join(f"{key}_{changes[key]:.4g}" for key in sorted(changes)) or "usual"
            found[name] = Cosmology.model_validate(usual.model_dump() | changes)
        if len(found) < len(self.classes):
            raise ValueError(f"classes = {self.classes}: two of them are the same in the first four digits")
        return found


class Environment(Task):
    """Tell the environment of a place in the true run from the low-resolution and super-resolved density there."""

    kind: Literal["environment"] = "environment"
    opponents: list[Opponent] = Field(
        ["logistic"], description="as in other tasks; the tidal tensor of the same field is an opponent always"
    )
    entries: list[str] = Field(["low"], min_length=1, description="fields that it is told from, beside the true one")
    radius: float = Field(1.0, gt=0, description="smoothing of the tidal tensor [Mpc/h]")
    threshold: float = Field(0.2, description="eigenvalue above which an axis has collapsed")
    coarsen: int = Field(2, ge=1, description="high-resolution cells per side in a cell of the patches")
    side: int = Field(8, ge=4, description="side of a patch [cells]; its centre is told")
    boxes: int = Field(2, ge=1, description="training seeds, from the first, whose boxes it learns from")
    patches: int = Field(2000, ge=100, description="patches of each box, at random places that all fields share")


AnyTask = Annotated[Realism | Universes | Environment, Field(discriminator="kind")]


class Classification(Settings):
    """What networks tell apart."""

    tasks: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$")], AnyTask] = Field(
        default_factory=dict, description="any number of named tasks; none: no such stage"
    )

    def fault(self, known: Collection[str], high: int, seeds: Seeds, usual: Cosmology) -> str | None:
        """Say what does not fit the rest of the configuration.

        known: entries that are whole boxes at the last output; high: cells per side of their density.
        """
        for name, task in self.tasks.items():
            fault = (
                _cosmology_fault(task, usual)
                if isinstance(task, Universes)
                else _entries_fault(task, known, high, seeds)
            )
            if fault:
                return f"classification.tasks.{name}: {fault}"
        return None


def _cosmology_fault(task: Universes, usual: Cosmology) -> str | None:
    try:
        task.cosmologies(usual)
    except ValidationError as error:
        return f"classes = {task.classes} leave no universe: {sentence(error.errors()[0], Cosmology.model_json_schema)}"
    except ValueError as error:
        return str(error)
    return None


def _entries_fault(task: Realism | Environment, known: Collection[str], high: int, seeds: Seeds) -> str | None:
    for entry in task.entries:
        if entry not in known:
            return (
                f"'{entry}' is no whole box at the last output (there are: {', '.join(known)}); leave it out of entries"
            )
    if task.boxes > len(seeds.training):
        return f"boxes = {task.boxes} are more than the {len(seeds.training)} training seeds"
    if isinstance(task, Environment):
        if task.side % 2:
            return f"side = {task.side} must be even: then the centre of a patch is where eight cells meet"
        if high % task.coarsen or task.side > high // task.coarsen:
            return f"coarsen = {task.coarsen} does not divide {high} cells, or side = {task.side} is more than is left"
        return task.side_fault(task.side, 3)
    if high % task.side:
        return f"side = {task.side} does not divide the {high} cells of a box"
    if task.other_seeds and len(seeds.training) < 2:
        return "other_seeds needs two training seeds at least; add one, or set it to false"
    return task.side_fault(task.side, 2)
