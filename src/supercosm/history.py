"""Read a training history and say in one sentence what a person would see in its loss curve."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from supercosm.errors import DataError
from supercosm.files import LONGEST, whole

COLUMNS = (
    *("step", "seconds", "learning_rate", "train_loss", "validation_loss", "crops_per_second"),
    *("critic_loss", "critic_real", "critic_fake", "penalty", "adversarial_loss"),
)
NEEDED = ("step", "train_loss")
STILL_FALLING = 0.05  # share of the loss that the last quarter must take off to count as "still falling"
OVERFITTING = 1.05  # validation loss over its minimum
DIVERGING = 1.5  # smoothed training loss over its minimum
COLLAPSED = 0.05  # critic's separation over its peak
ENOUGH = 5  # rows below which a curve cannot be judged


@dataclass(frozen=True)
class History:
    """The columns of history.csv as float arrays (rows,); an empty cell is NaN."""

    columns: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a column, all NaN where the history does not have it."""
        return self.columns.get(name, np.full(len(self.columns["step"]), np.nan))

    def known(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return steps and values of a column where it is neither empty nor NaN."""
        keep = np.isfinite(self[name])
        return self["step"][keep], self[name][keep]

    @property
    def adversarial(self) -> bool:
        """Whether a critic was trained."""
        return self.known("critic_real")[0].size > 0


def read_history(path: str | Path) -> History:
    """Read history.csv; raise DataError when it is missing, empty or lacks step or train_loss."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no training history {path}; train the model first")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), reader.fieldnames or []
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no history ({error}); delete it and train again") from None
    lacking = [name for name in NEEDED if name not in names]
    if lacking or not rows:
        raise DataError(
            f"{path} holds {len(rows)} rows and lacks {lacking}; a history needs rows of {', '.join(NEEDED)}"
        )
    try:
        columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}
    except (TypeError, ValueError) as error:
        why = str(error)[:LONGEST]
        raise DataError(f"{path} holds a row that is not numbers ({why}); delete it and train again") from None
    if not np.isfinite(columns["step"]).all():
        raise DataError(f"{path} holds a step that is no number; delete it and train again")
    return History(columns)


def write_history(path: Path, rows: list[dict[str, float]]) -> None:
    """Write history rows as CSV; a column no row has stays out."""
    used = [column for column in COLUMNS if any(column in row for row in rows)]
    with whole(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, used, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def steps_done(loops: dict[str, Any], validate_every: int) -> int:
    """Return how many steps the loops of a checkpoint (`fit_loop`) have made, whose epochs have so many steps.

    Its global_step counts every step of an optimiser, and so those of a critic, too.
    """
    epoch, batch = (loops[name]["current"] for name in ("epoch_progress", "epoch_loop.batch_progress"))
    whole_epoch = epoch["processed"] == epoch["ready"]  # it was written at the end of an epoch
    return int(epoch["processed"] * validate_every + (0 if whole_epoch else batch["completed"]))


def smooth(values: np.ndarray) -> np.ndarray:
    """Average (rows,) over a running tenth of a long history, shorter at its ends: crops scatter widely."""
    half = len(values) // 20
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    start, stop = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (total[stop] - total[start]) / (stop - start)


def diagnose(path: str | Path) -> str:
    """Say what the loss curve in history.csv shows and what to do about it, in one or two sentences."""
    return diagnosis(read_history(path))


def diagnosis(history: History) -> str:
    """Say what a loss curve shows and what to do about it, in one or two sentences."""
    steps, train = history["step"], history["train_loss"]
    if not np.all(np.isfinite(train)):
        first = int(steps[np.argmin(np.isfinite(train))])
        return f"Diverged: the loss is not a number from step {first} on. Lower the learning rate."
    if len(train) < ENOUGH:
        return f"Too short to judge: the history has {len(train)} rows, a verdict needs {ENOUGH}."
    sentences = [_trend(history)]
    if history.adversarial:
        sentences.append(_critic(history))
    return " ".join(sentences)


def _trend(history: History) -> str:
    train = smooth(history["train_loss"])
    if train[-1] > DIVERGING * train.min() and not history.adversarial:
        return (
            f"Diverging: the training loss rose to {train[-1] / train.min():.1f} times its minimum. "
            "Lower the learning rate."
        )
    steps, validation = history.known("validation_loss")
    if len(validation) < ENOUGH:
        return _pace(history["step"], train, "training")
    best = int(np.argmin(validation))
    excess = validation[-1] / validation[best]
    if excess < OVERFITTING:
        return _pace(steps, validation, "validation")
    if history.adversarial:
        return (
            f"The pixel error on validation boxes is {excess - 1:.0%} above its best (step "
            f"{steps[best]:.0f}): "
            "the usual price of adversarial sharpness; judge by P(k) and r(k)."
        )
    falls = train[-1] < train[np.searchsorted(history["step"], steps[best])]
    if falls:
        return (
            f"Overfitting: the validation loss was lowest at step {steps[best]:.0f} and is {excess - 1:.0%} "
            "above "
            "that now, while the training loss still falls. Add training boxes or stop earlier."
        )
    return (
        f"Unsettled: the validation loss ends {excess - 1:.0%} above its minimum at step {steps[best]:.0f}, "
        "and the "
        "training loss with it. Lower the learning rate."
    )


def _pace(steps: np.ndarray, loss: np.ndarray, name: str) -> str:
    """Compare the end of a curve with its value a quarter of the training earlier."""
    earlier = float(np.interp(steps[-1] - 0.25 * (steps[-1] - steps[0]), steps, loss))
    gain = 1 - loss[-1] / earlier if earlier else 0.0
    if gain > STILL_FALLING:
        return (
            f"Still falling: the last quarter of the training took another {gain:.0%} off the {name} loss, "
            "so more steps would pay."
        )
    return f"Converged: the last quarter of the training changed the {name} loss by only {abs(gain):.1%}."


def _critic(history: History) -> str:
    _, real = history.known("critic_real")
    _, fake = history.known("critic_fake")
    if len(real) < ENOUGH or len(real) != len(fake):
        return f"The critic has {len(real)} rows, too few to judge."
    separation = smooth(real - fake)
    end, peak = separation[-1], separation.max()
    if peak <= 0 or end < COLLAPSED * peak:
        return (
            f"Collapsed critic: it scores real and generated fields alike ({real[-1]:.2g} and "
            f"{fake[-1]:.2g}), so the "
            "generator learns nothing from it. Raise its learning rate or size."
        )
    if end == peak and end > 3 * np.median(separation):
        return (
            f"The critic runs away: it tells real from generated ever better (separation {end:.2g}). Lower "
            "its "
            "learning rate or raise the penalty."
        )
    return f"The critic is in balance: it tells real from generated (separation {end:.2g}, at most {peak:.2g})."
