"""The model folder at the end of a training: weights, card, history and loss curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from supercosm.caching import Cache
from supercosm.callbacks import History
from supercosm.crops import Crops
from supercosm.families import Family
from supercosm.files import whole
from supercosm.history import diagnose, write_history
from supercosm.losscurve import loss_curve
from supercosm.model import ModelCard, save_model
from supercosm.pairs import PairFile
from supercosm.provenance import provenance
from supercosm.told import describe_today

DESCRIBED_CROPS = 200  # crops whose environments stand on the card


def publish(
    family: Family, history: History, data: tuple[list[PairFile], list[PairFile]], folder: Path, name: str, cache: Cache
) -> None:
    """Write the folder of a trained model; `data`: pair files of training and validation, `cache`: see `Crops`."""
    write_history(folder / "history.csv", history.rows)
    figure = loss_curve(folder / "history.csv")
    with whole(folder / "loss.png") as part:
        figure.savefig(part, format="png")
    first, rows, settings = data[0][0], history.rows, family.settings
    crops = Crops(data[0], settings, settings.unit, seed=settings.training.seed, augment=True, cache=cache)
    roles = zip(("training", "validation"), data, strict=True)
    card = ModelCard(
        name=name,
        settings=family.settings,
        factor=first.high // first.low,
        low_spacing=first.box_size / first.low,
        scale_factors=times_of(data[0]),
        slabs_per_length=first.slabs / first.box_size,
        cosmologies=sorted({file.cosmology for file in data[0]}, key=str),
        seeds={role: list(dict.fromkeys(file.seed for file in files)) for role, files in roles},
        inputs=[
            describe_today(family.settings, file, file.read("low/displacement"), file.read("low/velocity"))
            for file in data[0]
        ],
        scales=family.features.scales,
        scores={
            "validation_loss": rows[-1].get("validation_loss", float("nan")),
            "train_loss": rows[-1]["train_loss"],
        },
        environments=crops.shares(DESCRIBED_CROPS),
        diagnosis=diagnose(folder / "history.csv"),
        training_seconds=history.seconds,
        training_cores=family.share.world * (torch.get_num_threads() if family.device.type == "cpu" else 1),
        parameters=sum(p.numel() for p in family.network.parameters()),
        provenance=provenance(
            "train",
            family.settings.model_dump(mode="json"),
            device=family.device.type,
            parents=[file.provenance for file in data[0]],
        ),
    )
    save_model(folder, family.trained, card)


def times_of(files: Sequence[PairFile]) -> list[float]:
    """Return the scale factors of the outputs among the files, ascending."""
    return sorted({file.scale_factor for file in files})
