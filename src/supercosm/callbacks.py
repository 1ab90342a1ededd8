"""What a Lightning trainer is given here: a history that survives resumes, and checkpoints that are whole."""

from __future__ import annotations

import logging
import time
import zipfile
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO

from supercosm.config import AnyModel
from supercosm.errors import DataError
from supercosm.families import Family
from supercosm.files import whole
from supercosm.history import COLUMNS, write_history

log = logging.getLogger("supercosm")


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints, whole or not there: a kill while saving loses nothing, and flipped bits are found."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write beside, sync, rename."""
        with whole(path) as part:
            torch.save(checkpoint, part)

    def load_checkpoint(self, path: str | Path, *arguments: Any, **more: Any) -> dict[str, Any]:
        """Read what was saved, once its checksums are right; raise DataError otherwise."""
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        except (OSError, zipfile.BadZipFile) as error:
            damaged = error
        if damaged is not None:
            raise DataError(f"the checkpoint {path} is damaged ({damaged}); delete it to train from the start")
        return super().load_checkpoint(path, *arguments, **more)


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
        """Start the clock, and forget the last epoch's values: not every epoch measures them all."""
        self._since = time.monotonic()
        trainer.callback_metrics.clear()

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
