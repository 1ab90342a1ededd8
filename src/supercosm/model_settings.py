"""The settings of a model that all families share."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from supercosm.settings import Settings

Environment = Literal["void", "sheet", "filament", "knot"]  # by the number of axes that collapse
Told = Literal["scale_factor", "Omega_m", "sigma8"]


class Network(Settings):
    """The multi-scale U-Net that every family shares."""

    channels: int = Field(32, ge=4, description="features at the finest level; doubled at each coarser level")
    levels: int = Field(2, ge=1, le=4, description="resolution levels, each half as fine as the one before")
    blocks: int = Field(2, ge=1, description="residual blocks at each level")
    patch: int = Field(2, ge=1, description="cells per side folded into channels before the first level")

    @property
    def unit(self) -> int:
        """Crop and tile sides, and their origins, must be multiples of this many high-resolution cells."""
        return self.patch * 2 ** (self.levels - 1)

    @property
    def reach(self) -> int:
        """High-resolution cells beyond a region, rounded up to whole units, that can influence the output inside it."""
        fine = self.patch * (1 + 2 * self.blocks)
        middle = sum(self.patch * 2**level * 2 * self.blocks for level in range(1, self.levels - 1))
        coarse = self.unit * self.blocks if self.levels > 1 else -self.patch * self.blocks
        return math.ceil((fine + middle + coarse) / self.unit + (self.levels > 1)) * self.unit


class Training(Settings):
    """Budget and optimiser of one model."""

    steps: int = Field(400, ge=1, description="optimiser steps; sets the cost")
    batch: int = Field(1, ge=1, description="crops per step")
    crop: int = Field(64, ge=8, description="side of a training crop [high-resolution cells]")
    margin: int = Field(8, ge=0, description="border of a crop that the loss ignores [high-resolution cells]")
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate (one-cycle schedule)")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW weight decay")
    clip: float | None = Field(10.0, gt=0, description="norm to which longer gradients are cut; none: they are not")
    ema: float = Field(0.98, ge=0, lt=1, description="decay of the exponential moving average of the weights")
    precision: Literal["auto", "bf16", "float32"] = Field(
        "auto", description="auto: bfloat16 autocast where the processor multiplies it natively"
    )
    validate_every: int = Field(50, ge=1, description="steps between validations, checkpoints and history rows")
    seed: int = Field(0, ge=0, description="seed of weights, crops and symmetries")
    skew: Environment | None = Field(
        None, description="environment that crops are chosen to abound in: a training set skewed on purpose"
    )

    @model_validator(mode="after")
    def _room(self) -> Training:
        if 2 * self.margin >= self.crop:
            raise ValueError(f"training.margin = {self.margin} leaves nothing of training.crop = {self.crop}")
        if self.steps % self.validate_every:
            raise ValueError(
                f"training.steps = {self.steps} is not a multiple of training.validate_every = {self.validate_every}"
            )
        return self


class Model(Settings):
    """What every family has in common."""

    several_passes: ClassVar[bool] = False  # over the whole box, which a sample needs between them
    own_noise: ClassVar[bool] = False  # whether samples are made of white noise that is no part of the network
    condition: list[Literal["low", "initial"]] = Field(
        ["low"], description="what the network is told: the low run, and the small-scale initial conditions"
    )
    noise: Literal["none", "white", "initial"] = Field(
        "none",
        description="source of randomness: none, white noise with learnt amplitudes inside the network, or the "
        "small-scale linear modes drawn from their prior",
    )
    fields: Literal["displacement", "density"] = Field(
        "displacement", description="Lagrangian displacement and velocity, or log(1 + density) on a mesh"
    )
    dimensions: Literal[2, 3] = Field(3, description="3, or 2 for projected density slabs")
    velocity_weight: float = Field(
        0.2,
        gt=0,
        description="factor on velocity errors in the loss: most of their variance is unpredictable virial motion; of "
        "no effect on a likelihood (vae, flow)",
    )
    told: list[Told] = Field(
        [], description="numbers of the whole box that modulate every block of the network (FiLM); none: []"
    )
    scale_factor: float | Annotated[list[float], Field(min_length=1)] | None = Field(
        None,
        description="output to train on, or several, ascending, by a network told the scale_factor; none: the last one",
    )
    network: Network = Network()
    training: Training = Training()

    @model_validator(mode="after")
    def _consistent(self) -> Model:
        if "low" not in self.condition or len(set(self.condition)) != len(self.condition):
            raise ValueError(f"condition = {self.condition} must be [low] or [low, initial]")
        self._check_told()
        if self.dimensions == 2 and self.fields != "density":
            raise ValueError(
                f"dimensions = 2 works on projected density slabs: set fields: density (it is {self.fields})"
            )
        if self.dimensions == 2 and self.training.skew:
            raise ValueError(f"training.skew = {self.training.skew} is of volumes, but dimensions is 2; leave it out")
        unit = self.unit
        if self.training.crop % unit:
            raise ValueError(
                f"training.crop = {self.training.crop} is not a multiple of the network's unit, {unit} cells"
            )
        check_cells("the coarsest level of the network", self.training.crop // unit)
        return self

    def _check_told(self) -> None:
        if len(set(self.told)) != len(self.told):
            raise ValueError(f"told = {self.told} names a number twice")
        several = self.scale_factor if isinstance(self.scale_factor, list) else []
        if sorted(set(several)) != several:
            raise ValueError(f"scale_factor = {several} must ascend without repeats")
        if len(several) > 1 and "scale_factor" not in self.told:
            raise ValueError(
                f"scale_factor = {several} are several outputs, which the network cannot tell apart: set told: "
                f"{[*self.told, 'scale_factor']}, or train a model for each"
            )

    @property
    def unit(self) -> int:
        """Crop and tile sides, and their origins, must be multiples of this many high-resolution cells."""
        return self.network.unit

    @property
    def reach(self) -> int:
        """High-resolution cells beyond a region, in whole units, that one pass can see."""
        return self.network.reach

    def tiling(self, factor: int) -> tuple[int, int]:
        """Return the step that tiles come in and the halo they need, in low-resolution cells."""
        step = math.lcm(self.unit, factor) // factor
        return step, math.ceil(self.reach / factor / step) * step

    def tile_fault(self, tile: int, low: int, factor: int) -> str | None:
        """Say why a tile side does not suit a box of `low` cells per side; None where it does."""
        step, halo = self.tiling(factor)
        if tile % step:
            return f"tile = {tile} must be a multiple of {step} low-resolution cells for this network"
        if tile < min(halo, low):
            return (
                f"tile = {tile} is smaller than the network's halo of {halo} low-resolution cells, so most of the work "
                f"would be thrown away; choose a tile of at least {min(halo, low)}"
            )
        return None

    def suits(self, size: int, low: int, factor: int) -> bool:
        """Tell whether tiles of a box of `low` cells per side can have this size along an axis."""
        step, halo = self.tiling(factor)
        return size == low or (size % step == 0 and size >= halo)

    def slab_fault(self, files: int, low: int, factor: int) -> str | None:
        """Say why a box of `low` cells per side cannot be made in so many slabs; None where it can."""
        possible = [n for n in range(1, low + 1) if low % n == 0 and self.suits(low // n, low, factor)]
        if files in possible:
            return None
        step, halo = self.tiling(factor)
        return (
            f"files = {files} does not suit a box of {low} low-resolution cells per side: each file is a slab, in "
            f"whole multiples of {step} cells and no thinner than the network's halo of {halo}; possible are "
            f"{', '.join(map(str, possible))}"
        )

    @property
    def needs_white(self) -> bool:
        """Whether a sample is a function of white noise."""
        return self.noise == "white" or self.own_noise

    @property
    def injects(self) -> bool:
        """Whether white noise enters inside the network."""
        return self.noise == "white" and not self.own_noise

    @property
    def draws(self) -> int:
        """How many draws of the small-scale modes a training crop carries beside those of its own box."""
        return 0

    @property
    def sees_initial(self) -> bool:
        """Whether the network takes the small-scale linear modes as input channels."""
        return "initial" in self.condition or self.noise == "initial"


def check_cells(where: str, cells: int) -> None:
    """Refuse two cells a side: oneDNN's bfloat16 weight gradient of a 3³ convolution reads stray memory there."""
    if cells < 3:
        raise ValueError(f"training.crop leaves {where} {cells} cells a side; enlarge it so that there are 3")
