"""What a Lightning trainer is given here: a history that survives resumes, and checkpoints that are whole."""

from __future__ import annotations

import logging
import signal
import time
import zipfile
import zlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO

from supercosm.config import AnyModel
from supercosm.errors import DataError, StoppedError
from supercosm.families import Family
from supercosm.files import LONGEST, UNREADABLE, whole
from supercosm.history import write_history
from supercosm.sharing import ALONE, Share
from supercosm.stopping import Request

log = logging.getLogger("supercosm")


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints, whole or not there: a kill while saving loses nothing, and flipped bits are found."""

    def __init__(self, share: Share = ALONE) -> None:
        """`share`: of several processes, the first writes what all have."""
        super().__init__()
        self.share = share

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write beside, sync, rename."""
        if not self.share.first:
            return
        with whole(path) as part, open(part, "wb") as file:  # by its name, PyTorch would not tell of a full disk
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: str | Path, *arguments: Any, **more: Any) -> dict[str, Any]:
        """Read what was saved, once its checksums are right; raise DataError otherwise."""
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            found = None if damaged else super().load_checkpoint(path, *arguments, **more)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, UnpicklingError, *UNREADABLE) as error:
            damaged = " ".join(str(error).split())[:LONGEST]
        if damaged is not None:
            raise DataError(f"the checkpoint {path} is damaged ({damaged}); delete it to train from the start")
        return found


class History(Callback):
    """One row per validation, kept through resumes; a line in the log where there is no progress bar."""

    def __init__(self, settings: AnyModel, path: Path) -> None:
        """`path`: the file that follows the training."""
        self.settings, self.path = settings, path
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0  # of the epochs that are finished
        self._earlier = 0.0  # of the epoch under way, before it was interrupted
        self._since = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"rows": self.rows, "seconds": self.seconds, "spent": self._spent()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the rows of an interrupted training."""
        self.rows, self.seconds = list(state["rows"]), float(state["seconds"])
        self._earlier = float(state.get("spent", 0.0))  # not kept by earlier versions

    def on_train_start(self, *_: Any) -> None:
        """Start the clock of an epoch that goes on."""
        self._since = time.monotonic()

    def on_train_epoch_start(self, *_: Any) -> None:
        """Start the clock of a new epoch; one that goes on is not started again."""
        self._earlier, self._since = 0.0, time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, family: Family) -> None:
        """Add a row and write the file."""
        training = self.settings.training
        spent = self._spent()
        self.seconds += spent
        self._earlier, self._since = 0.0, time.monotonic()  # what is saved now has spent nothing on the next epoch
        step = (trainer.current_epoch + 1) * training.validate_every
        measured = self._measured(family)
        row = {
            "step": step,
            "seconds": round(self.seconds, 2),
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "crops_per_second": round(training.validate_every * training.batch / spent, 3),
            **measured,
        }
        self.rows.append(row)
        if family.share.first:
            write_history(self.path, self.rows)
        left = (training.steps - step) * self.seconds / step
        log.info(
            "step %d/%d  loss %.4g  validation %.4g  %.2f crops/s  %d:%02d left",
            step, training.steps, row["train_loss"], row.get("validation_loss", float("nan")),
            row["crops_per_second"], left // 60, left % 60,
        )  # fmt: skip
        if not torch.isfinite(torch.tensor(row["train_loss"])):
            sentence = (
                f"the training loss became {row['train_loss']} before step {step}; lower training.learning_rate "
                f"({training.learning_rate:g}) or the adversarial weight, then run again"
            )
            raise DataError(family.share.says(sentence))

    def _measured(self, family: Family) -> dict[str, float]:
        """Return the means of the epoch over all processes, and have them forgotten."""
        total = family.means.total(family.share)
        found = total.take()
        family.means.clear()
        return found

    def _spent(self) -> float:
        """Return the seconds of the epoch under way."""
        return self._earlier + time.monotonic() - self._since


class StopWhenAsked(Callback):
    """Between two steps, once the process was asked to stop: write a checkpoint and end the training."""

    def __init__(self, checkpoint: Path, request: Request) -> None:
        """`checkpoint`: the file that the same training goes on from."""
        self.checkpoint, self.request = checkpoint, request

    def on_train_start(self, *_: Any) -> None:
        """Take signals back from Lightning, which ends on SIGTERM without a checkpoint."""
        self.request.catch()

    def on_train_batch_start(self, trainer: lightning.Trainer, family: Family, batch: Any, index: int) -> None:
        """Raise StoppedError if asked to. At the start of an epoch the checkpoint of the one before holds it all."""
        number = family.share.highest(self.request.signal or 0)  # of any process: all stop, at the same step
        if not number:
            return
        if index > 0:
            trainer.save_checkpoint(self.checkpoint)
            family.share.wait()  # what started them may end all as soon as one ends
        sentence = (
            f"training was stopped by {signal.Signals(number).name} after {family.step_number(index)} of "
            f"{family.settings.training.steps} steps; the same command goes on from there"
        )
        raise StoppedError(family.share.says(sentence))
