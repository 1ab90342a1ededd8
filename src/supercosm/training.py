"""Fit any family: one Lightning trainer, checkpoints, exact resume, a model folder at the end."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import shutil
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.utils.data import DataLoader, Subset

from supercosm.config import AnyModel, Config, Training
from supercosm.crops import Crops, StepSampler
from supercosm.device import choose_device
from supercosm.errors import DataError
from supercosm.families import Family, build_family
from supercosm.features import Features, Scales, measure_scales
from supercosm.files import locked, whole, write_json
from supercosm.model import ModelCard, build_network, load_model, save_model
from supercosm.pairs import PairFile
from supercosm.provenance import provenance

log = logging.getLogger("supercosm")

SCALE_CROPS = 8  # crops that set the normalisation
VALIDATION_CROPS = 4
SCALE_STREAM, VALIDATION_STREAM = 2**30, 2**30 + 1  # crop seeds apart from those of training
COLUMNS = (
    "step seconds learning_rate train_loss validation_loss crops_per_second "
    "critic_loss critic_real critic_fake penalty adversarial_loss"
).split()


def train(
    config: Config,
    name: str,
    data: tuple[Sequence[Path], Sequence[Path]],
    folder: Path,
    checkpoints: Path,
    start: Path | None = None,
) -> None:
    """Train the named model on pair files (training, validation) and write its model folder.

    Interrupted, the same call goes on from the last checkpoint and ends with the same numbers; checkpoints of other
    settings or data are discarded. `start`: model folder that a warm start takes its weights from.
    """
    settings = config.models[name]
    training, validation = ([PairFile(path) for path in paths] for paths in data)
    _check_seeds(training, validation)
    with locked(checkpoints):
        _discard_foreign(checkpoints, _fingerprint(settings, training, start))
        features = _features(settings, training)
        family = build_family(settings, features)
        if start is not None:
            _warm_start(family, start)
        history = History(settings, Path(checkpoints) / "history.csv")
        _fit(family, history, (training, validation), Path(checkpoints), choose_device(config.device))
        _publish(family, history, (training, validation), Path(folder), name)
        for leftover in Path(checkpoints).iterdir():
            if leftover.name != ".lock":
                leftover.unlink()


def _fit(
    family: Family,
    history: History,
    data: tuple[list[PairFile], list[PairFile]],
    checkpoints: Path,
    device: torch.device,
) -> None:
    training = family.settings.training
    last = checkpoints / "last.ckpt"
    unit = family.network.unit
    crops = Crops(data[0], family.settings, unit, seed=training.seed, augment=True)
    held_out = Crops(data[1], family.settings, unit, seed=VALIDATION_STREAM, augment=False)
    workers = 0 if device.type == "cpu" else 6
    sampler = StepSampler(training.validate_every * training.batch)
    loader = DataLoader(crops, training.batch, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)
    judge = DataLoader(Subset(held_out, range(VALIDATION_CROPS)), 1)
    keep = ModelCheckpoint(checkpoints, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    _quiet()
    trainer = lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if uses_bfloat16(training, device) else "32-true",
        max_epochs=training.steps // training.validate_every,
        callbacks=[history, keep],
        plugins=[WholeCheckpoints()],
        logger=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        log_every_n_steps=1,
    )
    if last.exists():
        log.info("resuming from %s", last)
    trainer.fit(family, loader, judge, ckpt_path=last if last.exists() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt


def uses_bfloat16(training: Training, device: torch.device) -> bool:
    """Tell whether to compute in bfloat16: as set, or where the processor multiplies it natively."""
    if training.precision != "auto":
        return training.precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or not there, so that a kill while saving loses nothing."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write beside, sync, rename."""
        with whole(path) as part:
            torch.save(checkpoint, part)


class History(Callback):
    """One row per validation, kept through resumes; a line in the log where there is no progress bar."""

    def __init__(self, settings: AnyModel, path: Path) -> None:
        """`path`: the file that follows the training."""
        self.settings, self.path = settings, path
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._since = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the rows of an interrupted training."""
        self.rows, self.seconds = list(state["rows"]), float(state["seconds"])

    def on_train_epoch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Start the clock."""
        self._since = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, family: Family) -> None:
        """Add a row and write the file."""
        training = self.settings.training
        spent = time.monotonic() - self._since
        self.seconds += spent
        step = (trainer.current_epoch + 1) * training.validate_every
        measured = {k: float(v) for k, v in trainer.callback_metrics.items() if k in COLUMNS}
        row = {
            "step": step,
            "seconds": round(self.seconds, 2),
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "crops_per_second": round(training.validate_every * training.batch / spent, 3),
            **measured,
        }
        self.rows.append(row)
        write_history(self.path, self.rows)
        left = (training.steps - step) * self.seconds / step
        log.info(
            "step %d/%d  loss %.4g  validation %.4g  %.2f crops/s  %d:%02d left",
            step, training.steps, row["train_loss"], row.get("validation_loss", float("nan")),
            row["crops_per_second"], left // 60, left % 60,
        )  # fmt: skip
        if not torch.isfinite(torch.tensor(row["train_loss"])):
            raise DataError(
                f"the training loss became {row['train_loss']} before step {step}; lower training.learning_rate "
                f"({training.learning_rate:g}) or the adversarial weight, then run again"
            )


def write_history(path: Path, rows: list[dict[str, float]]) -> None:
    """Write history rows as CSV; a column no row has stays out."""
    used = [column for column in COLUMNS if any(column in row for row in rows)]
    with whole(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, used, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _features(settings: AnyModel, files: list[PairFile]) -> Features:
    """Measure the normalisation on a few training crops."""
    cell = files[0].box_size / files[0].high
    plain = Features(settings, cell, Scales())
    unit = build_network(settings, plain).unit
    crops = Crops(files, settings, unit, seed=SCALE_STREAM, augment=False)
    batch = torch.utils.data.default_collate([crops[i] for i in range(SCALE_CROPS)])
    return Features(settings, cell, measure_scales(batch["low"], batch.get("small"), batch["high"], plain))


def _warm_start(family: Family, start: Path) -> None:
    """Copy the weights of a trained regression; injections it lacks keep their zero amplitude."""
    model = load_model(start)
    if model.card.scales != family.features.scales:
        family.features.scales = model.card.scales  # its weights expect its own normalisation
    missing, unexpected = family.network.load_state_dict(model.network.state_dict(), strict=False)
    if unexpected or any(not key.endswith("amplitude") for key in missing):
        raise DataError(f"{start} holds another network: it cannot start this one; give both the same settings")
    family.ema.module.load_state_dict(family.network.state_dict())


def _publish(
    family: Family,
    history: History,
    data: tuple[list[PairFile], list[PairFile]],
    folder: Path,
    name: str,
) -> None:
    from supercosm.figures import loss_curve
    from supercosm.history import diagnose

    write_history(folder / "history.csv", history.rows)
    figure = loss_curve(folder / "history.csv")
    with whole(folder / "loss.png") as part:
        figure.savefig(part, format="png")
    first, rows = data[0][0], history.rows
    card = ModelCard(
        name=name,
        settings=family.settings,
        factor=first.high // first.low,
        low_spacing=first.box_size / first.low,
        scale_factor=first.scale_factor,
        slabs_per_length=first.slabs / first.box_size,
        cosmologies=sorted({file.cosmology for file in data[0]}, key=str),
        seeds={role: [file.seed for file in files] for role, files in zip(("training", "validation"), data, strict=True)},
        scales=family.features.scales,
        scores={"validation_loss": rows[-1].get("validation_loss", float("nan")), "train_loss": rows[-1]["train_loss"]},
        diagnosis=diagnose(folder / "history.csv"),
        training_seconds=history.seconds,
        parameters=sum(p.numel() for p in family.network.parameters()),
        provenance=provenance(
            "train", family.settings.model_dump(mode="json"), device=family.device.type, parents=[data[0][0].provenance]
        ),
    )
    save_model(folder, family.trained, card)


def _check_seeds(training: list[PairFile], validation: list[PairFile]) -> None:
    shared = {f.seed for f in training} & {f.seed for f in validation} - {-1}
    if shared:
        raise DataError(f"seeds {sorted(shared)} are in both training and validation; give each its own boxes")


def _fingerprint(settings: AnyModel, training: list[PairFile], start: Path | None) -> dict[str, Any]:
    """Describe what a checkpoint belongs to."""
    origin = json.dumps([file.provenance for file in training], sort_keys=True)
    return {
        "settings": settings.model_dump(mode="json"),
        "data": hashlib.sha256(origin.encode()).hexdigest(),
        "start": None if start is None else load_model(start).card.weights_sha256,
    }


def _discard_foreign(checkpoints: Path, fingerprint: dict[str, Any]) -> None:
    """Remove checkpoints that were made with other settings or data."""
    note = Path(checkpoints) / "made_for.json"
    if note.is_file() and json.loads(note.read_text(encoding="utf-8")) == fingerprint:
        return
    for leftover in Path(checkpoints).iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover)
        elif leftover.name != ".lock":
            leftover.unlink()
    write_json(note, fingerprint)


def _quiet() -> None:
    """Silence advice that does not apply: data loading is not the bottleneck, and there is one batch per step."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (".*does not have many workers.*", ".*exists and is not empty.*", ".*isinstance.treespec.*"):
        warnings.filterwarnings("ignore", message)
