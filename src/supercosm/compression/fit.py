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
from supercosm.compression_settings import AnyCoder, Dense, Fit, Trained, Variational
from supercosm.config import Config
from supercosm.errors import DataError
from supercosm.files import whole
from supercosm.history import diagnose, write_history
from supercosm.losscurve import loss_curve
from supercosm.pairs import PairFile
from supercosm.patches import SYMMETRIES, turned
from supercosm.progress import progress
from supercosm.provenance import provenance
from supercosm.schedule import one_cycle
from supercosm.threads import one_thread

log = logging.getLogger("supercosm")

RISE = 0.1  # share of a training in which a scheduled learning rate rises
STILL = 1e-6  # deviation, relative to the largest, below which a latent is dead


@dataclass(frozen=True)
class Course:
    """How a training went: rows of its history, and its time [s]."""

    rows: list[dict[str, float]]
    seconds: float


@dataclass(frozen=True)
class Measured:
    """What is measured of a trained coder; see `CoderCard` and `Coder`."""

    dead: int
    information: list[float]
    grain: Tensor
    residual_power: Tensor


def train_coders(
    config: Config, coders: Mapping[str, AnyCoder], files: tuple[Sequence[Path], Sequence[Path]], folder: Path
) -> None:
    """Train coders on pair files (training, validation); write the folder of each, its history and its loss curve."""
    training, validation = ([PairFile(path) for path in paths] for paths in files)
    shared = {file.seed for file in training} & {file.seed for file in validation} - {-1}
    if shared:
        raise DataError(f"seeds {sorted(shared)} are in both training and validation; give each its own boxes")
    patches: dict[int, Patches] = {}
    with one_thread(), progress("train coders", sum(_epochs_of(c) for c in coders.values())) as tick:
        for name, settings in coders.items():
            d = settings.dimensions
            patches[d] = patches.get(d) or read_patches(config, d, training, validation)
            _train(name, settings, scaled(patches[d], settings), Path(folder) / name, (training, validation), tick)


def _epochs_of(settings: AnyCoder) -> int:
    return settings.fit.epochs if isinstance(settings, Trained) else 1


def _train(
    name: str,
    settings: AnyCoder,
    data: Data,
    folder: Path,
    files: tuple[list[PairFile], list[PairFile]],
    tick: Callable[[], None],
) -> None:
    started = time.monotonic()
    torch.manual_seed(settings.fit.seed if isinstance(settings, Trained) else 0)
    network = build(settings, data.patch, data.periodic)
    if hasattr(network, "fit"):
        network.fit(cut_blocks(data.training, data.patch))
    rows = []
    for row in _epochs(network, settings, data) if isinstance(settings, Trained) else ():
        rows.append(row | {"seconds": round(time.monotonic() - started, 2)})
        tick()
    if not rows:
        tick()
    course = Course(rows, time.monotonic() - started)
    _publish(name, settings, network.eval(), data, course, folder, files)
    log.info("%s: %s", name, diagnose(folder / "history.csv") if rows else "computed")


def _epochs(network: nn.Module, settings: Trained, data: Data) -> Iterator[dict[str, float]]:
    """Train; yield a row of the history after each epoch."""
    fit = settings.fit
    steps = max(1, len(data.training) // fit.batch)
    optimiser, scheduler = _optimiser(network, fit, fit.epochs * steps)
    draw = np.random.default_rng([fit.seed, 7])
    for epoch in range(fit.epochs):
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
        yield {
            "step": (epoch + 1) * steps,
            "learning_rate": optimiser.param_groups[0]["lr"],
            "train_loss": _shown(settings, mean),
            "validation_loss": _shown(settings, float(held_out)),
        }


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
    information = _information(mean, log_variance).clamp(min=settings.free_bits).sum()
    blocks = x.shape[-1] // network.patch
    cells = x[0].numel() / blocks ** (x.ndim - 2)
    weight = settings.beta * (min(1.0, share / settings.warm_up) if settings.warm_up else 1.0)
    return 0.5 * (error + 1e-8).log() + weight * information / cells


def _shown(settings: Trained, loss: float) -> float:
    """Return a loss as histories show it: the evidence bound as a squared error, which is never negative."""
    return math.exp(2 * loss) if isinstance(settings, Variational) else loss


def _information(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the mean Kullback–Leibler divergence from the unit Gaussian of every latent (k,) [nats]."""
    each = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return each.mean(dim=[axis for axis in range(each.ndim) if axis != 1])


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
        _match_prior(network, data.training)
    found = _measure(network, settings, data)
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


@torch.no_grad()
def _measure(network: nn.Module, settings: AnyCoder, data: Data) -> Measured:
    """Measure the latents of the validation patches, and what decoding them misses."""
    x = data.validation
    z = network.encode(x)
    deviation = z.transpose(0, 1).flatten(1).std(dim=1)
    dead = deviation <= STILL * deviation.max().clamp(min=1e-30)
    decoded, information = network.decode(z), []
    if isinstance(settings, Variational):  # whose likelihood is about what latents drawn from their posterior decode to
        mean, log_variance = network.posterior(x)
        information = [float(v) for v in _information(mean, log_variance)]
        decoded = network.decode(mean + torch.randn_like(mean) * (0.5 * log_variance).exp())
    residual = cut_blocks(x - decoded, data.patch)
    power = torch.fft.fftn(residual, dim=tuple(range(2, residual.ndim))).abs().square().mean(dim=(0, 1))
    return Measured(int(dead.sum()), information, grain_of(network, settings, deviation), power)


@torch.no_grad()
def _match_prior(network: nn.Module, x: Tensor) -> None:
    """Give the latents of the training patches, sampled from their posterior, the deviation of the prior.

    At the best fit they have it; training comes close in the number of steps there is, and the rest is exact algebra.
    """
    variance: list[Tensor] = []
    for part in x.split(500):
        mean, log_variance = network.posterior(part)
        variance.append(
            mean.square().transpose(0, 1).flatten(1).mean(1) + log_variance.exp().transpose(0, 1).flatten(1).mean(1)
        )
    network.standardise(torch.stack(variance).mean(dim=0).sqrt())


def grain_of(network: nn.Module, settings: AnyCoder, deviation: Tensor) -> Tensor:
    """Return the relative size of a quantisation step for each latent (k,).

    Latents of principal components are amplitudes of orthonormal modes, so equal steps err alike; those in units of
    their deviation get it back; of others nothing is known but their own deviation.
    """
    if isinstance(settings, Trained) and hasattr(network, "deviation"):
        return 1 / network.deviation
    if isinstance(settings, Dense):
        return torch.where(deviation > 0, deviation, torch.ones_like(deviation)) / deviation.max().clamp(min=1e-30)
    return torch.ones_like(deviation)
