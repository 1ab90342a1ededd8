"""Typed settings: the one place where configuration keys, defaults and their meaning live.

A configuration is one YAML file and any number of overlays merged onto it. It is checked once, here,
before anything runs; every stage then receives its own frozen section.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from supercosm.errors import ConfigurationError

LossName = Literal["mse", "l1", "huber", "log_cosh", "density"]


class Settings(BaseModel):
    """Base of every section: unknown keys are errors and values never change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Cosmology(Settings):
    """A flat ΛCDM universe with massless neutrinos (defaults: Planck 2018, TT,TE,EE+lowE+lensing+BAO)."""

    Omega_m: float = Field(0.3111, gt=0, lt=1, description="total matter density today")
    Omega_b: float = Field(0.0490, gt=0, lt=1, description="baryon density today")
    h: float = Field(0.6766, gt=0.1, lt=2, description="Hubble constant / (100 km/s/Mpc)")
    n_s: float = Field(0.9665, gt=0, lt=2, description="slope of the primordial spectrum")
    sigma8: float = Field(0.8102, gt=0, lt=3, description="linear rms overdensity in 8 Mpc/h spheres, z = 0")

    @model_validator(mode="after")
    def _baryons_are_matter(self) -> Cosmology:
        if self.Omega_b >= self.Omega_m:
            raise ValueError(
                f"Omega_b = {self.Omega_b} must be below Omega_m = {self.Omega_m}: baryons are part of the matter"
            )
        return self


class Seeds(Settings):
    """Which initial conditions are trained on, validated on, and kept for the test."""

    training: list[int] = Field([1, 2, 3, 4, 5, 6], min_length=1, description="seeds of the training boxes")
    validation: list[int] = Field(
        [7], min_length=1, description="seeds that choose and diagnose, never train"
    )
    test: list[int] = Field(
        [8, 9], min_length=1, description="seeds seen by no model; all results are for these"
    )

    @model_validator(mode="after")
    def _disjoint(self) -> Seeds:
        seen: dict[int, str] = {}
        for role in ("training", "validation", "test"):
            for seed in getattr(self, role):
                if seed < 0:
                    raise ValueError(f"seed {seed} in '{role}' is negative; seeds are integers from 0 up")
                if seed in seen:
                    raise ValueError(
                        f"seed {seed} stands in both '{seen[seed]}' and '{role}'; give every role its own seeds"
                    )
                seen[seed] = role
        return self

    @property
    def all(self) -> list[int]:
        """Every seed, in the order training, validation, test."""
        return [*self.training, *self.validation, *self.test]


class Simulation(Settings):
    """The paired N-body simulations."""

    box_size: float = Field(100.0, gt=0, description="side of the periodic box [Mpc/h]")
    low: int = Field(32, ge=4, description="particles per side, low resolution")
    high: int = Field(128, ge=8, description="particles per side, high resolution: a multiple of low")
    scale_factors: list[float] = Field(
        [1.0], min_length=1, description="outputs, ascending; the last names the run"
    )
    start: float = Field(
        0.05, ge=0.001, lt=1, description="scale factor at which 2LPT hands over to the N-body steps"
    )
    steps: int = Field(20, ge=1, description="N-body steps from the start to the last output")
    spacing: Literal["a", "D"] = Field(
        "a", description="steps uniform in the scale factor or the growth factor"
    )
    mesh: int = Field(2, ge=1, le=4, description="force mesh cells per particle and side")
    amplitude: Literal["gaussian", "fixed"] = Field(
        "gaussian", description="mode amplitudes of the initial conditions: drawn, or all set to their rms"
    )

    @model_validator(mode="after")
    def _sizes(self) -> Simulation:
        for name in ("low", "high"):
            if getattr(self, name) % 2:
                raise ValueError(f"simulation.{name} = {getattr(self, name)} is odd; it must be even")
        if self.high % self.low or self.high == self.low:
            raise ValueError(
                f"simulation.high = {self.high} is not a multiple (2, 4, 8, …) of simulation.low = {self.low}"
            )
        if self.factor & (self.factor - 1):
            raise ValueError(f"simulation.high / simulation.low = {self.factor} is not a power of two")
        if sorted(set(self.scale_factors)) != self.scale_factors:
            raise ValueError(f"simulation.scale_factors = {self.scale_factors} must ascend without repeats")
        if self.scale_factors[0] <= self.start:
            raise ValueError(
                f"simulation.scale_factors starts at {self.scale_factors[0]}, which is not after simulation.start "
                f"= {self.start}"
            )
        if self.scale_factors[-1] > 2:
            raise ValueError(
                f"simulation.scale_factors ends at {self.scale_factors[-1]}; growth is known up to 2 (today is 1)"
            )
        if len(self.scale_factors) > self.steps:
            raise ValueError(
                f"simulation.steps = {self.steps} is fewer than the {len(self.scale_factors)} outputs asked for"
            )
        return self

    @property
    def factor(self) -> int:
        """Up-sampling factor per side."""
        return self.high // self.low

    def tag(self, scale_factor: float) -> str:
        """File-name suffix of an output: none for the last one, `_a0.3333` for an earlier one."""
        return "" if scale_factor == self.scale_factors[-1] else f"_a{scale_factor:.4f}"


class Network(Settings):
    """The multi-scale U-Net that every family shares."""

    channels: int = Field(32, ge=4, description="features at the finest level; doubled at each coarser level")
    levels: int = Field(2, ge=1, le=4, description="resolution levels, each half as fine as the one before")
    blocks: int = Field(2, ge=1, description="residual blocks at each level")
    patch: int = Field(2, ge=1, description="cells per side folded into channels before the first level")


class Training(Settings):
    """Budget and optimiser of one model."""

    steps: int = Field(400, ge=1, description="optimiser steps; sets the cost")
    batch: int = Field(1, ge=1, description="crops per step")
    crop: int = Field(64, ge=8, description="side of a training crop [high-resolution cells]")
    margin: int = Field(8, ge=0, description="border of a crop that the loss ignores [high-resolution cells]")
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate (one-cycle schedule)")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW weight decay")
    ema: float = Field(0.98, ge=0, lt=1, description="decay of the exponential moving average of the weights")
    precision: Literal["auto", "bf16", "float32"] = Field(
        "auto", description="auto: bfloat16 autocast where the processor multiplies it natively"
    )
    validate_every: int = Field(
        50, ge=1, description="steps between validations, checkpoints and history rows"
    )
    seed: int = Field(0, ge=0, description="seed of weights, crops and symmetries")

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
        description="factor on velocity errors in the loss: most of their variance is unpredictable virial motion",
    )
    scale_factor: float | None = Field(None, description="output to train on; none: the last one")
    network: Network = Network()
    training: Training = Training()

    @model_validator(mode="after")
    def _consistent(self) -> Model:
        if "low" not in self.condition or len(set(self.condition)) != len(self.condition):
            raise ValueError(f"condition = {self.condition} must be [low] or [low, initial]")
        if self.dimensions == 2 and self.fields != "density":
            raise ValueError(
                f"dimensions = 2 works on projected density slabs: set fields: density (it is {self.fields})"
            )
        unit = self.network.patch * 2 ** (self.network.levels - 1)
        if self.training.crop % unit:
            raise ValueError(
                f"training.crop = {self.training.crop} is not a multiple of patch × 2^(levels-1) = {unit}"
            )
        _check_cells("the coarsest level of the network", self.training.crop // unit)
        return self

    @property
    def sees_initial(self) -> bool:
        """Whether the network takes the small-scale linear modes as input channels."""
        return "initial" in self.condition or self.noise == "initial"


def _check_cells(where: str, cells: int) -> None:
    """Refuse two cells a side: oneDNN's bfloat16 weight gradient of a 3³ convolution reads stray memory there."""
    if cells < 3:
        raise ValueError(f"training.crop leaves {where} {cells} cells a side; enlarge it so that there are 3")


class Unet(Model):
    """Regression: the network that minimises D(OUTPUT, TARGET)."""

    family: Literal["unet"] = "unet"
    loss: dict[LossName, Annotated[float, Field(gt=0)]] = Field(
        {"mse": 1.0}, min_length=1, description="D(OUTPUT, TARGET): weights of the named terms"
    )

    @model_validator(mode="after")
    def _density_term(self) -> Unet:
        if "density" in self.loss and self.fields != "displacement":
            raise ValueError("loss 'density' paints particles, so it needs fields: displacement")
        if set(self.loss) == {"density"}:
            raise ValueError("loss 'density' alone leaves velocities free; add mse, l1, huber or log_cosh")
        return self


class Gan(Model):
    """Conditional GAN after Li et al. 2021: generator, patch critic, lazy gradient penalty."""

    family: Literal["gan"] = "gan"
    noise: Literal["white", "initial"] = Field(
        "initial",
        description="source of randomness: white noise inside the network, or the drawn linear modes",
    )
    start: str | None = Field(None, description="warm start: the name of a trained unet of the same network")
    warm_up: int = Field(0, ge=0, description="steps with the pixel loss alone before the critic joins")
    adversarial: Literal["wgan-gp", "non-saturating"] = Field("wgan-gp", description="adversarial loss")
    adversarial_weight: float = Field(0.01, gt=0, description="weight of the adversarial term")
    loss: dict[LossName, Annotated[float, Field(gt=0)]] = Field(
        {"mse": 1.0}, description="weights of the pixel terms that keep the generator on its target"
    )
    penalty: float = Field(10.0, ge=0, description="weight of the critic's gradient penalty")
    penalty_every: int = Field(8, ge=1, description="lazy penalty: steps between evaluations")
    critic_channels: int = Field(32, ge=4, description="features of the critic's first level")
    critic_learning_rate: float = Field(4e-4, gt=0, description="Adam learning rate of the critic")

    @model_validator(mode="after")
    def _density_term(self) -> Gan:
        if "density" in self.loss and self.fields != "displacement":
            raise ValueError("loss 'density' paints particles, so it needs fields: displacement")
        return self

    @model_validator(mode="after")
    def _critic_has_room(self) -> Gan:
        seen = self.training.crop - 2 * self.training.margin
        if seen % (2 * self.network.patch):
            raise ValueError(
                f"training.crop − 2 margin = {seen} is not a multiple of 2 × patch = {2 * self.network.patch}, "
                "which the critic needs"
            )
        _check_cells("the coarse level of the critic", seen // (2 * self.network.patch))
        return self


AnyModel = Annotated[Unet | Gan, Field(discriminator="family")]


class Superresolution(Settings):
    """How trained models are applied to the test boxes."""

    tile: int = Field(16, ge=1, description="tile side [low-resolution cells]; memory grows with its cube")
    samples: int = Field(2, ge=1, description="samples drawn per box from every stochastic model")
    seed: int = Field(1000, ge=0, description="seed of the first sample; the next ones count up")


class Evaluation(Settings):
    """How spectra are measured."""

    bins: int = Field(
        24, ge=3, description="wave-number bins from the fundamental mode to the Nyquist frequency"
    )
    mesh: int = Field(2, ge=1, description="measuring mesh cells per high-resolution particle and side")


class Report(Settings):
    """What the pictures show."""

    slab: float = Field(10.0, gt=0, description="thickness of the pictured density slab [Mpc/h]")
    zoom: float = Field(25.0, gt=0, description="side of the zoomed region [Mpc/h]")


class Pairs(Settings):
    """Projected slabs for two-dimensional models."""

    slabs: int = Field(8, ge=1, description="slabs per box along each axis, for models with dimensions: 2")


class Config(Settings):
    """The whole configuration of one run."""

    name: str = Field(
        "laptop", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="results go to results/<name>"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one")
    cosmology: Cosmology = Cosmology()
    seeds: Seeds = Seeds()
    simulation: Simulation = Simulation()
    pairs: Pairs = Pairs()
    models: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$")], AnyModel] = Field(
        default_factory=dict, description="any number of named models"
    )
    superresolution: Superresolution = Superresolution()
    evaluation: Evaluation = Evaluation()
    report: Report = Report()

    @model_validator(mode="after")
    def _models_fit(self) -> Config:
        for name, model in self.models.items():
            self._check_model(name, model)
        if self.pairs.slabs and self.simulation.low % self.pairs.slabs:
            raise ValueError(
                f"pairs.slabs = {self.pairs.slabs} does not divide simulation.low = {self.simulation.low}"
            )
        if self.simulation.low % self.superresolution.tile:
            raise ValueError(
                f"superresolution.tile = {self.superresolution.tile} does not divide simulation.low = "
                f"{self.simulation.low}; choose a divisor"
            )
        return self

    def _check_model(self, name: str, model: Model) -> None:
        simulation = self.simulation
        if name in BASELINES:
            raise ValueError(f"models.{name}: this name is kept for a baseline; choose another")
        if model.training.crop > simulation.high:
            raise ValueError(
                f"models.{name}.training.crop = {model.training.crop} is larger than simulation.high = "
                f"{simulation.high}"
            )
        if model.scale_factor is not None and model.scale_factor not in simulation.scale_factors:
            raise ValueError(
                f"models.{name}.scale_factor = {model.scale_factor} is not one of simulation.scale_factors = "
                f"{simulation.scale_factors}"
            )
        start = getattr(model, "start", None)
        if start is None:
            return
        first = self.models.get(start)
        if not isinstance(first, Unet):
            raise ValueError(f"models.{name}.start = '{start}' must name a model of family unet")
        if (first.network, first.fields, first.dimensions, first.sees_initial) != (
            model.network,
            model.fields,
            model.dimensions,
            model.sees_initial,
        ):
            raise ValueError(
                f"models.{name} cannot start from '{start}': network, fields, dimensions and the use of the "
                "small-scale modes must agree"
            )

    def scale_factor(self, model: str) -> float:
        """Scale factor of the output that a model is trained on."""
        value = self.models[model].scale_factor
        return self.simulation.scale_factors[-1] if value is None else value


BASELINES = ("low", "linear")


class Entry(Settings):
    """One line of the comparison: a baseline or a model, with the phases it is given.

    `phases`: "none" (deterministic, low run alone), "known" (the small-scale modes of the run's own initial
    conditions) or "drawn" (samples).
    """

    name: str
    model: str | None
    phases: Literal["none", "known", "drawn"]
    samples: int
    scale_factor: float


def entries(config: Config) -> list[Entry]:
    """List what is compared: both baselines at every output used, then each model as it can be applied.

    A model told the initial conditions is applied with the known phases; a model with noise is applied with
    `superresolution.samples` drawn ones; one that can do both appears twice, the second time as `<name>-drawn`.
    """
    used = {config.scale_factor(name) for name in config.models} | {config.simulation.scale_factors[-1]}
    found = []
    for scale_factor in sorted(used, reverse=True):
        tag = config.simulation.tag(scale_factor)
        for baseline, phases in (("low", "none"), ("linear", "known")):
            found.append(
                Entry(name=baseline + tag, model=None, phases=phases, samples=1, scale_factor=scale_factor)
            )
    for name, model in config.models.items():
        common = {"model": name, "scale_factor": config.scale_factor(name)}
        known = "initial" in model.condition
        if known:
            found.append(Entry(name=name, phases="known", samples=1, **common))
        if model.noise != "none":
            label = f"{name}-drawn" if known else name
            found.append(Entry(name=label, phases="drawn", samples=config.superresolution.samples, **common))
        elif not known:
            found.append(Entry(name=name, phases="none", samples=1, **common))
    return found


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Merge an overlay onto a configuration: sections merge key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read one YAML file as a mapping; raise ConfigurationError when it is missing or not a mapping."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the configuration {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} must hold a mapping of sections, not {type(content).__name__}")
    return content


def load_config(files: Iterable[str | Path] = (), settings: str | None = None) -> Config:
    """Read YAML files, merge them in order with a JSON overlay, and check the result."""
    content: dict[str, Any] = {}
    for path in files:
        content = merge(content, read_yaml(path))
    if settings:
        content = merge(content, _read_json(settings))
    return check(content)


def _read_json(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"--settings is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"--settings must be a JSON mapping of sections, not {type(content).__name__}"
        )
    return content


def check(content: Mapping[str, Any]) -> Config:
    """Turn a plain mapping into a Config; raise ConfigurationError with one line per mistake."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError("; ".join(_sentence(e) for e in error.errors())) from None


def _sentence(error: Mapping[str, Any]) -> str:
    # After "models" and its name, pydantic puts the family that it chose: no key of the file.
    location = [part for i, part in enumerate(error["loc"]) if not (error["loc"][0] == "models" and i == 2)]
    where = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        return f"unknown configuration key '{where}'{_suggestion(error['loc'])}"
    if error["type"] == "union_tag_not_found":
        return f"{where} lacks its family; add family: unet or family: gan"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{where}: {message}" if location and location[0] == "models" else message
    given = error.get("ctx", {}).get("tag", error["input"])
    return f"{where}: {message} (given: {given!r})" if where else f"{message} (given: {given!r})"


def _suggestion(location: tuple) -> str:
    from difflib import get_close_matches

    close = get_close_matches(str(location[-1]), sorted(_all_keys(Config.model_json_schema())), n=1)
    return f"; did you mean '{close[0]}'?" if close else "; see config/README.md for the keys there are"


def _all_keys(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = set(schema.get("properties", {}))
        return own.union(*(_all_keys(value) for value in schema.values()))
    if isinstance(schema, list):
        return set().union(*(_all_keys(value) for value in schema))
    return set()
