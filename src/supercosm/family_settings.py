"""The settings of every family: what is its own beside what all models share."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from supercosm.model_settings import Model, check_cells

LossName = Literal["mse", "l1", "huber", "log_cosh", "density", "spectrum"]


def _check_loss(terms: dict[str, float], fields: str) -> None:
    painted = sorted({"density", "spectrum"} & set(terms))
    if painted and fields != "displacement":
        raise ValueError(f"loss '{painted[0]}' paints particles, so it needs fields: displacement")
    if set(terms) == set(painted):
        raise ValueError(f"loss '{painted[0]}' alone leaves velocities free; add mse, l1, huber or log_cosh")


class Unet(Model):
    """Regression: the network that minimises D(OUTPUT, TARGET)."""

    family: Literal["unet"] = "unet"
    loss: dict[LossName, Annotated[float, Field(gt=0)]] = Field(
        {"mse": 1.0}, min_length=1, description="D(OUTPUT, TARGET): weights of the named terms"
    )

    @model_validator(mode="after")
    def _loss_fits(self) -> Unet:
        _check_loss(self.loss, self.fields)
        return self


class Gan(Model):
    """Conditional GAN after Li et al. 2021: generator, patch critic, lazy gradient penalty."""

    family: Literal["gan"] = "gan"
    noise: Literal["white", "initial"] = Field(
        "initial",
        description="source of randomness: white noise inside the network, or the drawn linear modes",
    )
    start: str | None = Field(None, description="warm start: the name of a trained unet of the same network")
    warm_up: int = Field(
        0, ge=0, description="steps before the adversarial term joins the pixel loss; the critic learns meanwhile"
    )
    adversarial: Literal["wgan-gp", "non-saturating", "minimax"] = Field(
        "wgan-gp", description="adversarial loss, with gradient penalty, or with R1"
    )
    adversarial_weight: float = Field(0.01, gt=0, description="weight of the adversarial term")
    loss: dict[LossName, Annotated[float, Field(gt=0)]] = Field(
        {"mse": 1.0}, min_length=1, description="weights of the pixel terms that keep the generator on its target"
    )
    penalty: float = Field(10.0, ge=0, description="weight of the critic's gradient penalty")
    penalty_every: int = Field(8, ge=1, description="lazy penalty: steps between evaluations")
    critic_channels: int = Field(32, ge=4, description="features of the critic's first level")
    critic_learning_rate: float = Field(4e-4, gt=0, description="Adam learning rate of the critic")

    @model_validator(mode="after")
    def _loss_fits(self) -> Gan:
        _check_loss(self.loss, self.fields)
        if self.warm_up >= self.training.steps:
            raise ValueError(
                f"warm_up = {self.warm_up} leaves nothing of training.steps = {self.training.steps} to the critic's say"
            )
        return self

    @model_validator(mode="after")
    def _critic_has_room(self) -> Gan:
        seen = self.training.crop - 2 * self.training.margin
        if seen % (2 * self.network.patch):
            raise ValueError(
                f"training.crop − 2 margin = {seen} is not a multiple of 2 × patch = {2 * self.network.patch}, "
                "which the critic needs"
            )
        check_cells("the coarse level of the critic", seen // (2 * self.network.patch))
        return self


class Ensemble(Model):
    """Samples without a critic: a network with noise inside, trained by the energy score of two draws."""

    family: Literal["ensemble"] = "ensemble"
    noise: Literal["white", "initial"] = Field(
        "initial", description="source of randomness: white noise inside the network, or the drawn linear modes"
    )
    start: str | None = Field(None, description="warm start: the name of a trained unet of the same network")
    loss: dict[Literal["field", "density", "spectrum"], Annotated[float, Field(gt=0)]] = Field(
        {"field": 1.0},
        description="weights of the scores of the fields, and of the root density that particles paint; and of the "
        "distance of that density's spectrum to the truth's, which is no score",
    )
    block: int = Field(2, ge=1, description="cells a side that are scored together: 1 judges every cell for itself")

    @property
    def draws(self) -> int:
        """Two draws of the modes, where they are the noise."""
        return 2 if self.noise == "initial" else 0

    @model_validator(mode="after")
    def _score_fits(self) -> Ensemble:
        if self.noise == "initial" and "initial" in self.condition:
            raise ValueError("told the initial modes, there are none to draw: set condition: [low], or noise: white")
        if "field" not in self.loss:
            raise ValueError("loss lacks 'field', the score of what the network makes; density alone leaves it free")
        painted = sorted({"density", "spectrum"} & set(self.loss))
        if painted and self.fields != "displacement":
            raise ValueError(f"loss '{painted[0]}' paints particles, so it needs fields: displacement")
        seen = self.training.crop - 2 * self.training.margin
        if seen % self.block:
            raise ValueError(f"training.crop − 2 margin = {seen} is not a multiple of block = {self.block}")
        return self


class OwnNoise(Model):
    """What families have in common that make samples of white noise, beside the modes that may be drawn."""

    own_noise: ClassVar[bool] = True
    noise: Literal["white", "initial"] = Field(
        "initial", description="source of randomness: white noise alone, or with the drawn linear modes beside it"
    )
    start: str | None = Field(None, description="warm start: the name of a trained unet of the same network")


class Vae(OwnNoise):
    """Conditional variational autoencoder (Kingma & Welling 2014; Sohn et al. 2015)."""

    family: Literal["vae"] = "vae"
    latents: int = Field(4, ge=1, description="numbers on each cell of the network's coarsest level")
    beta: float = Field(1.0, gt=0, description="weight of the Kullback–Leibler term; 1: the evidence bound")
    warm_up: float = Field(0.3, ge=0, le=1, description="share of the training in which that weight grows from 0")
    grain: bool = Field(True, description="add to samples, as white noise, what the latents leave unexplained")


class FlowMatching(OwnNoise):
    """Flow matching from white noise, or from the linearly moved small scales."""

    several_passes: ClassVar[bool] = True
    family: Literal["flow_matching"] = "flow_matching"
    begin: Literal["white", "linear"] = Field(
        "linear", description="where lines begin: white noise, or the linear small-scale modes and a little of it"
    )
    jitter: float = Field(0.2, gt=0, description="white noise at the beginning of lines that are linear [rms residual]")
    solver: Literal["euler", "heun"] = Field("euler", description="of the equation of motion along the lines")
    evaluations: int = Field(10, ge=1, description="network evaluations for one sample")

    @model_validator(mode="after")
    def _modes_are_there(self) -> FlowMatching:
        if self.begin == "linear" and not self.sees_initial:
            raise ValueError("begin: linear needs small-scale modes: set noise: initial, or begin: white")
        return self


class Diffusion(OwnNoise):
    """Denoising diffusion after Karras et al. 2022, or as DDPM (Ho et al. 2020)."""

    several_passes: ClassVar[bool] = True
    family: Literal["diffusion"] = "diffusion"
    target: Literal["data", "preconditioned", "noise"] = Field(
        "data",
        description="what the network is trained to say: data: the clean field · preconditioned: the mixture of it and "
        "of the noise of Karras et al. · noise: the noise, at the thousand levels of the classic DDPM",
    )
    solver: Literal["heun", "euler", "ddpm"] = Field(
        "heun", description="how samples are made: along the probability flow, or ddpm: with fresh noise at every step"
    )
    evaluations: int = Field(9, ge=1, description="network evaluations for one sample; odd for heun")
    noise_levels: list[Annotated[float, Field(gt=0)]] = Field(
        [0.05, 7.0],
        min_length=2,
        max_length=2,
        description="least and most noise of a sample on its way [rms residual]; target: noise has its own",
    )
    log_noise_mean: float = Field(
        -0.5, description="mean of the logarithm of the noise in training; target: noise has levels of its own"
    )
    log_noise_deviation: float = Field(1.2, gt=0, description="deviation of the logarithm of the noise in training")

    @model_validator(mode="after")
    def _sampler_fits(self) -> Diffusion:
        if self.solver == "heun" and self.evaluations % 2 == 0:
            raise ValueError(
                f"evaluations = {self.evaluations} does not suit heun, which takes two for every step but the last; "
                "choose an odd number"
            )
        if self.target == "noise" and self.start is not None:
            raise ValueError(f"start = '{self.start}' says what the truth is, target: noise the noise; leave one out")
        if self.noise_levels[0] >= self.noise_levels[1]:
            raise ValueError(f"noise_levels = {list(self.noise_levels)} must be [least, most]")
        return self


class Flow(OwnNoise):
    """Normalizing flow: couplings of wavelets beside a regression (Dinh et al. 2017; Yu et al. 2020)."""

    several_passes: ClassVar[bool] = True
    family: Literal["flow"] = "flow"
    wavelet_levels: int = Field(2, ge=1, le=4, description="levels of Haar's transform, each of cells twice as wide")
    couplings: int = Field(2, ge=0, le=8, description="couplings at each level; 0: Gaussian given the input")
    transform: Literal["affine", "spline"] = Field(
        "affine", description="of a number in a coupling: a shift and a scale, or a monotonic spline"
    )
    conditioner_channels: int = Field(32, ge=4, description="features of the network of each coupling")
    conditioner_blocks: int = Field(1, ge=1, description="residual blocks of it; it sees one cell more, of its level")

    @property
    def unit(self) -> int:
        """Whole units of the regression, and whole cells of the coarsest level."""
        return math.lcm(self.network.unit, 2**self.wavelet_levels)

    @property
    def reach(self) -> int:
        """That of the regression, or of a coupling at the coarsest level, in whole units."""
        coarsest = 2**self.wavelet_levels * (1 + self.conditioner_blocks)
        return math.ceil(max(self.network.reach, coarsest) / self.unit) * self.unit

    @model_validator(mode="after")
    def _margin_fits(self) -> Flow:
        if self.training.margin % 2**self.wavelet_levels:
            raise ValueError(
                f"training.margin = {self.training.margin} cuts cells of the coarsest wavelets, whose likelihood is "
                f"one number; make it a multiple of 2^wavelet_levels = {2**self.wavelet_levels}"
            )
        return self


AnyModel = Annotated[Unet | Gan | Ensemble | Vae | FlowMatching | Diffusion | Flow, Field(discriminator="family")]
