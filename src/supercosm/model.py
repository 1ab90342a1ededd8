"""Model folders: weights, and the card that says what they are for.

Weights are safetensors, so that loading runs no code; the card holds their SHA-256, so that a flipped bit is
found.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError
from safetensors.torch import save
from torch import nn

from supercosm.config import AnyModel, Cosmology, Settings
from supercosm.errors import CoverageError, DataError
from supercosm.familiarity import unusual
from supercosm.features import Features, Scales
from supercosm.files import sha256, whole, write_json
from supercosm.schemes import Scheme, scheme_of
from supercosm.snapshot import Snapshot, is_foreign
from supercosm.told import describe_today
from supercosm.weights import network_with, read_weights

WEIGHTS, CARD = "model.safetensors", "model.json"
TOLERANCE = 0.01  # relative difference of spacing, time and cosmology that a model is used across without a word


class ModelCard(Settings):
    """What a model is, what it was trained on, and what it may be applied to."""

    name: str
    settings: AnyModel
    factor: int = Field(ge=1, description="up-sampling factor per side")
    low_spacing: float = Field(gt=0, lt=1e6, description="lattice spacing of its input [Mpc/h]")
    scale_factors: list[float] = Field(description="of the outputs seen in training")
    slabs_per_length: float = Field(ge=0, lt=1e6, description="projected slabs per Mpc/h, for two-dimensional models")
    cosmologies: list[Cosmology] = Field(description="cosmologies seen in training")
    seeds: dict[str, list[int]] = Field(description="seeds seen in training and validation")
    inputs: list[dict[str, float]] = Field(description="what is usual: numbers of every training box's low run")
    environments: dict[str, float] = Field(
        description="shares of voids, sheets, filaments and knots among the particles of its training crops"
    )
    scales: Scales
    scores: dict[str, float] = Field(description="validation scores of the weights in this folder")
    diagnosis: str = Field(description="what the loss curve shows")
    training_seconds: float
    training_cores: int = Field(description="CPU threads, or GPUs, that were busy meanwhile")
    parameters: int
    provenance: dict[str, Any]
    weights_sha256: str = ""

    def seen(self, parameter: str) -> list[float]:
        """Return the values that a parameter had in the cosmologies seen in training."""
        return [getattr(cosmology, parameter) for cosmology in self.cosmologies]


@dataclass(frozen=True)
class Coverage:
    """The values of one quantity that a model may be applied at: those known, ascending, or all between them."""

    known: tuple[float, ...]
    between: bool

    def __contains__(self, value: float) -> bool:
        """Tell whether a value is covered, give or take the tolerance."""
        inside = self.between and self.known[0] <= value <= self.known[-1]
        return inside or any(abs(value / k - 1) <= TOLERANCE for k in self.known)

    def __str__(self) -> str:
        """List the values, or say from where to where."""
        texts = [f"{k:g}" for k in self.known]
        return f"{texts[0]} to {texts[-1]}" if self.between and len(texts) > 1 else ", ".join(texts)


@dataclass(frozen=True)
class Model:
    """A trained network with its card, ready to be applied."""

    card: ModelCard
    network: nn.Module

    @property
    def high_spacing(self) -> float:
        """Lattice spacing of its output [Mpc/h]."""
        return self.card.low_spacing / self.card.factor

    def features(self) -> Features:
        """Return the encoder and decoder of its fields."""
        return Features(self.card.settings, self.high_spacing, self.card.scales)

    @property
    def device(self) -> torch.device:
        """Where its network computes."""
        return next(self.network.parameters()).device

    def scheme(self) -> Scheme:
        """Return the way in which it makes samples."""
        return scheme_of(self.card.settings, self.features())

    def check_covers(self, snapshot: Snapshot) -> None:
        """Raise CoverageError when a snapshot has another spacing, time or cosmology than the model was trained on.

        Of what the network is told, all between the least and the greatest value of the training is covered.
        """
        card, told = self.card, self.card.settings.told
        parameters = ["Omega_m"] if is_foreign(snapshot.provenance) else Cosmology.model_fields
        if "sigma8" in told and "sigma8" not in parameters:
            raise CoverageError(
                f"model '{card.name}' is told sigma8, which the header of this snapshot does not hold; take a model "
                "that is not, or apply this one all the same with --override (override=True), which tells it "
                f"{snapshot.cosmology.sigma8:g}"
            )
        for what, value, known, between in (
            ("lattice spacing [Mpc/h]", snapshot.box_size / snapshot.side, [card.low_spacing], False),
            ("scale factor", snapshot.scale_factor, card.scale_factors, "scale_factor" in told),
            *((p, getattr(snapshot.cosmology, p), card.seen(p), p in told) for p in parameters),
        ):
            covers = Coverage(tuple(sorted(set(known))), between)
            if value not in covers:
                raise CoverageError(
                    f"model '{card.name}' was trained for {what} = {covers}, but the snapshot has {value:g}; "
                    "train a model on such runs, or apply this one all the same with --override (override=True)"
                )

    def likely_cosmology(self, snapshot: Snapshot) -> Cosmology:
        """Return the cosmology of the snapshot; of a foreign one, whose header lacks most of it, that of the training.

        Of several it is the one whose Omega_m, which the header holds, is closest.
        """
        if not is_foreign(snapshot.provenance):
            return snapshot.cosmology
        return min(self.card.cosmologies, key=lambda known: abs(known.Omega_m - snapshot.cosmology.Omega_m))

    def doubts(self, snapshot: Snapshot) -> list[str]:
        """Say what about a snapshot lies outside the model's training boxes; empty where nothing does."""
        found = describe_today(self.card.settings, snapshot, snapshot.displacement(), snapshot.velocity())
        return unusual(found, self.card.inputs)


def build_network(settings: AnyModel, features: Features) -> nn.Module:
    """Build the network of a model with fresh weights."""
    return scheme_of(settings, features).build()


def save_model(folder: str | Path, network: nn.Module, card: ModelCard) -> None:
    """Write weights, then the card with their checksum, each whole or not at all."""
    folder = Path(folder)
    with whole(folder / WEIGHTS) as part:
        part.write_bytes(
            save({k: v.contiguous().cpu() for k, v in network.state_dict().items()})
        )  # full disks are told
    complete = card.model_copy(update={"weights_sha256": sha256(folder / WEIGHTS)})
    write_json(folder / CARD, complete.model_dump(mode="json"))


def read_card(folder: str | Path) -> ModelCard:
    """Read the card of a model folder; raise DataError when it is missing or not of this kind."""
    path = Path(folder) / CARD
    try:
        return ModelCard.model_validate_json(path.read_bytes())
    except OSError:
        raise DataError(f"{folder} is no model folder: it lacks {CARD}; train a model or correct the path") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path} is no model card of this version: {where}: {first['msg']}") from None


def load_model(folder: str | Path, device: torch.device | str = "cpu") -> Model:
    """Load a model folder; raise DataError when a part is missing, damaged, or not of this kind."""
    folder = Path(folder)
    card = read_card(folder)
    if not (folder / WEIGHTS).is_file():
        raise DataError(f"{folder} is no model folder: it lacks {WEIGHTS}; train a model or correct the path")
    weights = read_weights(folder / WEIGHTS, card.weights_sha256)
    features = Features(card.settings, card.low_spacing / card.factor, card.scales)
    network = network_with(lambda: build_network(card.settings, features), weights, folder / WEIGHTS)
    layout = torch.channels_last_3d if card.settings.dimensions == 3 else torch.channels_last
    return Model(card, network.to(device=device, memory_format=layout).eval().requires_grad_(False))
