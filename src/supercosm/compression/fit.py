"""Train a coder on patches: a plain loop, for networks of seconds; the same settings give the same weights."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from supercosm.compression.coder import Coder, CoderCard, build, save_coder
from supercosm.compression.data import Data, Patches, cut_blocks, read_patches, scaled
from supercosm.compression.latents import information_of, match_prior, measure
from supercosm.compression_settings import AnyCoder, Dense, Fit, Trained, Variational
from supercosm.config import Config
from supercosm.epochs import Epochs, State, epochs_in, resume_optimiser
from supercosm.errors import DataError
from supercosm.files import whole
from supercosm.history import diagnose, write_history
from supercosm.losscurve import loss_curve
from supercosm.pairs import PairFile, digest_of
from supercosm.patches import SYMMETRIES, turned
from supercosm.progress import progress
from supercosm.provenance import provenance
from supercosm.schedule import one_cycle
from supercosm.threads import one_thread

log = logging.getLogger("supercosm")

RISE = 0.1  # share of a training in which a scheduled learning rate rises


@dataclass(frozen=True)
class Course:
    """How a training went: rows of its history, and its time [s]."""

    rows: list[dict[str, float]]
    seconds: float


@dataclass(frozen=True)
class Run:
    """What one training is given: its patches, the file that it goes on from, and what to call after every epoch."""

    data: Data
    epochs: Epochs
    tick: Callable[[], None]


def train_coders(
    config: Config,
    coders: Mapping[str, AnyCoder],
    files: tuple[Sequence[Path], Sequence[Path]],
    folder: Path,
    checkpoints: Path | None = None,
) -> None:
    """Train coders on pair files (training, validation); write the folder of each, its history and its loss curve.

    checkpoints: folder for what the same call goes on from when SIGTERM or SIGUSR1 ended it, with a StoppedError.
    """
    training, validation = ([PairFile(path) for path in paths] for paths in files)
    shared = {file.seed for file in training} & {file.seed for file in validation} - {-1}
    if shared:
        raise DataError(f"seeds {sorted(shared)} are in both training and validation; give each its own boxes")
    patches: dict[int, Patches] = {}
    fingerprint = {
        "stage": "train-coder",
        "coders": {name: settings.model_dump(mode="json") for name, settings in coders.items()},
        "patches": config.compression.patches.model_dump(mode="json"),
        "data": digest_of([*training, *validation]),
    }
    total = sum(_epochs_of(settings) for settings in coders.values())
    with epochs_in(checkpoints, fingerprint) as epochs, one_thread(), progress("train coders", total) as tick:
        for name, settings in coders.items():
            d = settings.dimensions
            patches[d] = patches.get(d) or read_patches(config, d, training, validation)
            run = Run(scaled(patches[d], settings), epochs.beside(name), tick)
            _train(name, settings, run, Path(folder) / name, (training, validation))


def _epochs_of(settings: AnyCoder) -> int:
    return settings.fit.epochs if isinstance(settings, Trained) else 1


def _train(
    name: str,
    settings: AnyCoder,
    run: Run,
    folder: Path,
    files: tuple[list[PairFile], list[PairFile]],
) -> None:
    started, data = time.monotonic(), run.data
    torch.manual_seed(settings.fit.seed if isinstance(settings, Trained) else 0)
    network = build(settings, data.patch, data.periodic)
    if hasattr(network, "fit"):
        network.fit(cut_blocks(data.training, data.patch))
    rows: list[dict[str, float]] = []
    if isinstance(settings, Trained):
        kept = run.epochs.recall()
        rows, started = kept.pop("rows", []), started - kept.pop("seconds", 0.0)
        for row, state in _epochs(network, settings, data, kept):
            seconds = time.monotonic() - started
            rows.append(row | {"seconds": round(seconds, 2)})
            run.tick()
            run.epochs.keep(lambda: state() | {"rows": rows, "seconds": seconds}, len(rows) == settings.fit.epochs)  # noqa: B023
    else:
        run.tick()
    course = Course(rows, time.monotonic() - started)
    _publish(name, settings, network.eval(), data, course, folder, files)
    log.info("%s: %s", name, diagnose(folder / "history.csv") if rows else "computed")


def _epochs(
    network: nn.Module, settings: Trained, data: Data, kept: State
) -> Iterator[tuple[dict[str, float], Callable[[], State]]]:
    """Train, on from a state that was kept; yield a row of the history after each epoch, and what gives the state."""
    fit = settings.fit
    steps = max(1, len(data.training) // fit.batch)
    optimiser, scheduler = _optimiser(network, fit, fit.epochs * steps)
    draw = np.random.default_rng([fit.seed, 7])
    if kept:
        network.load_state_dict(kept["network"])
        resume_optimiser(optimiser, kept["optimiser"])
        scheduler.load_state_dict(kept["scheduler"])
        draw.bit_generator.state = kept["draw"]
    for epoch in range(kept.get("epoch", 0), fit.epochs):
        network.train()
        order = torch.from_numpy(draw.permutation(len(data.training)))
        losses = []
        for step in range(steps):
            x = data.training[order[step * fit.batch : (step + 1) * fit.batch]]
            x = turned(x, int(draw.integers(SYMMETRIES[settings.dimensions])))
            share = (epoch * steps + step) / (fit.epochs * steps)
            loss = _loss(network, settings, x, share)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            scheduler.step()
            losses.append(loss.detach())
        mean = float(torch.stack(losses).mean())
        if not np.isfinite(mean):
            raise DataError(
                f"the loss became {mean} in epoch {epoch + 1}; lower fit.learning_rate ({fit.learning_rate:g})"
            )
        network.eval()
        with torch.no_grad():
            held_out = torch.stack([_loss(network, settings, x, 1.0) for x in data.validation.split(500)]).mean()
        row = {
            "step": (epoch + 1) * steps,
            "learning_rate": optimiser.param_groups[0]["lr"],
            "train_loss": _shown(settings, mean),
            "validation_loss": _shown(settings, float(held_out)),
        }
        done = epoch + 1
        yield (
            row,
            lambda done=done: {
                "epoch": done,
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "scheduler": scheduler.state_dict(),
                "draw": draw.bit_generator.state,
            },
        )


def _optimiser(
    network: nn.Module, fit: Fit, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    if fit.optimiser == "adadelta":  # the constants of Keras
        optimiser = torch.optim.Adadelta(network.parameters(), fit.learning_rate, rho=0.95, eps=1e-7)
    else:
        optimiser = torch.optim.AdamW(network.parameters(), fit.learning_rate, weight_decay=1e-4, fused=True)
    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _share_of_rate(fit, step / steps))


def _share_of_rate(fit: Fit, done: float) -> float:
    """Return the learning rate in units of its peak."""
    return 1.0 if fit.schedule == "constant" else one_cycle(done, RISE)


def _loss(network: nn.Module, settings: Trained, x: Tensor, share: float) -> Tensor:
    """D(OUTPUT, TARGET) of a batch; share: how much of the training is done."""
    if isinstance(settings, Variational):
        return _bound(network, settings, x, share)
    if isinstance(settings, Dense) and settings.loss == "bce":
        return functional.binary_cross_entropy_with_logits(network.decode_logits(network.encode(x)), x)
    return functional.mse_loss(network.decode(network.encode(x)), x)


def _bound(network: nn.Module, settings: Variational, x: Tensor, share: float) -> Tensor:
    """Minus the evidence bound per cell [nats], the variance of the likelihood being the one that fits best.

    Kingma & Welling 2014; optimal variance: Rybkin, Daniilidis & Levine 2021; free bits: Kingma et al. 2016.
    """
    mean, log_variance = network.posterior(x)
    noise = torch.randn_like(mean) if network.training else torch.zeros_like(mean)
    error = functional.mse_loss(network.decode(mean + noise * (0.5 * log_variance).exp()), x)
    information = information_of(mean, log_variance).clamp(min=settings.free_bits).sum()
    blocks = x.shape[-1] // network.patch
    cells = x[0].numel() / blocks ** (x.ndim - 2)
    weight = settings.beta * (min(1.0, share / settings.warm_up) if settings.warm_up else 1.0)
    return 0.5 * (error + 1e-8).log() + weight * information / cells


def _shown(settings: Trained, loss: float) -> float:
    """Return a loss as histories show it: the evidence bound as a squared error, which is never negative."""
    return math.exp(2 * loss) if isinstance(settings, Variational) else loss


def _publish(
    name: str,
    settings: AnyCoder,
    network: nn.Module,
    data: Data,
    course: Course,
    folder: Path,
    files: tuple[list[PairFile], list[PairFile]],
) -> None:
    """Write history and loss curve, then the coder with its card."""
    diagnosis = "not trained step by step: the components are computed"
    if course.rows:
        write_history(folder / "history.csv", course.rows)
        diagnosis = diagnose(folder / "history.csv")
        figure = loss_curve(folder / "history.csv")
        with whole(folder / "loss.png") as part:
            figure.savefig(part, format="png")
    if isinstance(settings, Variational):
        match_prior(network, data.training)
    found = measure(network, settings, data)
    roles = zip(("training", "validation"), files, strict=True)
    card = CoderCard(
        name=name,
        settings=settings,
        patch=data.patch,
        cell=data.cell,
        thickness=data.thickness,
        periodic=data.periodic,
        offset=data.offset,
        factor=data.factor,
        seeds={role: [file.seed for file in part] for role, part in roles},
        parameters=sum(p.numel() for p in network.parameters()),
        dead_latents=found.dead,
        information=found.information,
        diagnosis=diagnosis,
        training_seconds=round(course.seconds, 2),
        provenance=provenance(
            "train-coder", settings.model_dump(mode="json"), parents=[file.provenance for file in files[0]]
        ),
    )
    save_coder(folder, Coder(card, network, found.grain, found.residual_power))
