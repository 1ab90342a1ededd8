"""The whole configuration of a run: one YAML file and any number of overlays merged onto it.

It is checked once, here, before anything runs; every stage then receives its own frozen section. Keys, defaults and
their meaning live in `settings`, `model_settings` and `family_settings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from supercosm.classification_settings import Classification
from supercosm.compression_settings import Compression
from supercosm.errors import ConfigurationError
from supercosm.external_settings import conflicts
from supercosm.family_settings import AnyModel, Unet
from supercosm.hardware_settings import Hardware
from supercosm.model_settings import Model, Network, Training
from supercosm.overlays import merge, read_json, read_yaml, without_nulls
from supercosm.sentences import sentence
from supercosm.settings import (
    Audit,
    Cosmology,
    Evaluation,
    Pairs,
    Report,
    Seeds,
    Settings,
    Simulation,
    Skew,
    Statistics,
    Superresolution,
)

__all__ = [
    "BASELINES",
    "AnyModel",
    "Audit",
    "Classification",
    "Compression",
    "Config",
    "Cosmology",
    "Entry",
    "Evaluation",
    "Hardware",
    "Model",
    "Network",
    "Pairs",
    "Report",
    "Seeds",
    "Settings",
    "Simulation",
    "Skew",
    "Statistics",
    "Superresolution",
    "Training",
    "check",
    "entries",
    "load_config",
]


class Config(Settings):
    """The whole configuration of one run."""

    name: str = Field("laptop", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="results go to results/<name>")
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
    statistics: Statistics = Statistics()
    audit: Audit = Audit()
    compression: Compression = Compression()
    classification: Classification = Classification()
    report: Report = Report()
    hardware: Hardware = Hardware()

    @model_validator(mode="after")
    def _models_fit(self) -> Config:
        for name, model in self.models.items():
            self._check_model(name, model)
        if self.pairs.slabs and self.simulation.low % self.pairs.slabs:
            raise ValueError(f"pairs.slabs = {self.pairs.slabs} does not divide simulation.low = {self.simulation.low}")
        for name in ("tile", "files"):
            low, value = self.simulation.low, getattr(self.superresolution, name)
            if low % value:
                raise ValueError(
                    f"superresolution.{name} = {value} does not divide simulation.low = {low}; choose a divisor"
                )
        for shift in self.audit.shifts:
            self.shifted(shift)
        if self.simulation.external and (faults := list(conflicts(self))):
            raise ValueError("; ".join(faults))
        if fault := self.hardware.fault((name, model.training.batch) for name, model in self.models.items()):
            raise ValueError(fault)
        self._check_skew()
        boxes = [entry.name for entry in entries(self) if is_whole_box(self, entry)]
        classification = self.classification.fault(boxes, self.simulation.high, self.seeds, self.cosmology)
        last = self.simulation.scale_factors[-1]
        predictors = {name: model for name, model in self.models.items() if last in self.applied_at(name)}
        if fault := self.compression.fault(predictors) or classification:
            raise ValueError(fault)
        return self

    def _check_skew(self) -> None:
        """Refuse skewed trainings that their model cannot have."""
        skew = self.audit.skew
        if skew.model is None:
            return
        if skew.model not in self.models:
            known = ", ".join(self.models) or "none"
            raise ValueError(
                f"audit.skew.model = '{skew.model}' is no model of the configuration (models there: {known}); name "
                "one of them, or none: null"
            )
        model = self.models[skew.model]
        if not isinstance(model, Unet) or model.dimensions != 3 or model.fields != "displacement":
            raise ValueError(f"audit.skew.model = '{skew.model}' must be a unet of the displacement")
        if self.simulation.scale_factors[-1] not in self.trained_at(skew.model):
            raise ValueError(f"audit.skew.model = '{skew.model}' is of an earlier output; audits are of the last one")
        training = {"steps": skew.steps, "validate_every": skew.steps, "crop": skew.crop, "margin": skew.margin}
        try:
            Unet.model_validate(model.model_dump() | {"training": model.training.model_dump() | training})
        except ValidationError as error:
            raise ValueError(f"audit.skew: {sentence(error.errors()[0], Config.model_json_schema)}") from None
        if skew.crop > self.simulation.high:
            raise ValueError(f"audit.skew.crop = {skew.crop} is larger than simulation.high = {self.simulation.high}")

    def shifted(self, shift: Mapping[str, float]) -> Cosmology:
        """Return the cosmology with some parameters changed; raise ValueError when there is no such one."""
        known = self.cosmology.model_dump()
        try:
            return Cosmology(**(known | {key: round(known[key] + value, 10) for key, value in shift.items()}))
        except ValidationError as error:
            raise ValueError(
                f"audit.shifts: {shift} leaves no universe: {sentence(error.errors()[0], Config.model_json_schema)}"
            ) from None

    def _check_model(self, name: str, model: Model) -> None:
        simulation = self.simulation
        if name in BASELINES:
            raise ValueError(f"models.{name}: this name is kept for a baseline; choose another")
        if name in ("high", "universes") or re.fullmatch(r"steps\d+", name):
            raise ValueError(f"models.{name}: this name is kept for high-resolution runs; choose another")
        if name == "superresolved":
            raise ValueError(f"models.{name}: this name is kept for the checkpoints of samples; choose another")
        if model.training.crop > simulation.high:
            raise ValueError(
                f"models.{name}.training.crop = {model.training.crop} is larger than simulation.high = "
                f"{simulation.high}"
            )
        if self.superresolution.consistency is not None and model.fields == "density":
            raise ValueError(
                f"superresolution.consistency = {self.superresolution.consistency} keeps modes of displacement and "
                f"velocity, but models.{name} makes log densities; set it to null, or leave that model out"
            )
        if simulation.high % model.unit:
            raise ValueError(
                f"simulation.high = {simulation.high} is not a multiple of {model.unit} cells, the unit of the network "
                f"of models.{name}"
            )
        fault = model.tile_fault(self.superresolution.tile, simulation.low, simulation.factor)
        if fault and model.dimensions == 3:
            raise ValueError(f"superresolution.{fault} (models.{name})")
        fault = model.slab_fault(self.superresolution.files, simulation.low, simulation.factor)
        if fault and model.fields == "displacement" and not model.several_passes:
            raise ValueError(f"superresolution.{fault} (models.{name})")
        for scale_factor in self.trained_at(name):
            if scale_factor not in simulation.scale_factors:
                raise ValueError(
                    f"models.{name}.scale_factor = {scale_factor} is not one of simulation.scale_factors = "
                    f"{simulation.scale_factors}"
                )
        start = getattr(model, "start", None)
        if start is None:
            return
        first = self.models.get(start)
        if not isinstance(first, Unet):
            unets = ", ".join(other for other, settings in self.models.items() if isinstance(settings, Unet)) or "none"
            raise ValueError(f"models.{name}.start = '{start}' must name a model of family unet (there: {unets})")
        alike = ("network", "fields", "dimensions", "sees_initial")
        if any(getattr(first, key) != getattr(model, key) for key in alike):
            raise ValueError(
                f"models.{name} cannot start from '{start}': network, fields, dimensions and the use of the "
                "small-scale modes must agree"
            )
        if first.told not in ([], model.told):
            raise ValueError(
                f"models.{name} cannot start from '{start}', which is told {first.told}: give it the same told (it is "
                f"{model.told}), or start from a model with told: []"
            )

    def trained_at(self, model: str) -> list[float]:
        """Scale factors of the outputs that a model is trained on, ascending."""
        named = self.models[model].scale_factor
        if named is None:
            return self.simulation.scale_factors[-1:]
        return named if isinstance(named, list) else [named]

    def applied_at(self, model: str) -> list[float]:
        """Scale factors of the outputs that a model is applied at, descending: those trained on and all between."""
        trained = self.trained_at(model)
        return [a for a in reversed(self.simulation.scale_factors) if trained[0] <= a <= trained[-1]]


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

    The baseline "linear" is left out of runs of other codes, whose initial phases nobody knows.
    A model trained on several outputs is applied there and at all between, the name of each but the last with its tag.
    A model told the initial conditions is applied with the known phases; a model with noise is applied with
    `superresolution.samples` drawn ones; one that can do both appears twice, the second time as `<name>-drawn`.
    """
    used = {a for name in config.models for a in config.applied_at(name)} | {config.simulation.scale_factors[-1]}
    found = []
    baselines = {"low": "none"} | ({} if config.simulation.external else {"linear": "known"})
    for scale_factor in sorted(used, reverse=True):
        tag = config.simulation.tag(scale_factor)
        for baseline, phases in baselines.items():
            found.append(Entry(name=baseline + tag, model=None, phases=phases, samples=1, scale_factor=scale_factor))
    for name in config.models:
        for scale_factor in config.applied_at(name):
            found += _entries_of_model(config, name, scale_factor)
    return found


def _entries_of_model(config: Config, name: str, scale_factor: float) -> list[Entry]:
    """List what is compared of a model at one output."""
    model, found = config.models[name], []
    tag = config.simulation.tag(scale_factor) if len(config.trained_at(name)) > 1 else ""
    common = {"model": name, "scale_factor": scale_factor}
    known = "initial" in model.condition
    if known:
        found.append(Entry(name=name + tag, phases="known", samples=1, **common))
    if model.noise != "none":
        label = f"{name}-drawn" if known else name
        found.append(Entry(name=label + tag, phases="drawn", samples=config.superresolution.samples, **common))
    elif not known:
        found.append(Entry(name=name + tag, phases="none", samples=1, **common))
    return found


def is_whole_box(config: Config, entry: Entry) -> bool:
    """Tell whether an entry is a box, not projected slabs, at the last output."""
    last = entry.scale_factor == config.simulation.scale_factors[-1]
    return last and (entry.model is None or config.models[entry.model].dimensions == 3)


def load_config(files: Iterable[str | Path] = (), settings: str | None = None, hardware: str | None = None) -> Config:
    """Read YAML files, merge them in order with a JSON overlay and with one of that section, and check the result."""
    content: dict[str, Any] = {}
    for path in files:
        content = merge(content, read_yaml(path))
    if settings:
        content = merge(content, read_json(settings))
    if hardware:
        content = merge(content, {"hardware": read_json(hardware, "--hardware")})
    return check(content)


def check(content: Mapping[str, Any]) -> Config:
    """Turn a plain mapping into a Config; raise ConfigurationError with one line per mistake.

    A model, a term of a loss, a coder or a task that is null, or all coders or tasks, are left out: so an overlay can
    take them away.
    """
    try:
        return Config.model_validate(without_nulls(content))
    except ValidationError as error:
        raise ConfigurationError("; ".join(sentence(e, Config.model_json_schema) for e in error.errors())) from None
