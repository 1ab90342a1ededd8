"""Fit any family: one Lightning trainer, checkpoints, exact resume, a model folder at the end."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch.utils.data import DataLoader, Subset

from supercosm.caching import GIGABYTE, Cache
from supercosm.callbacks import History, StopWhenAsked, WholeCheckpoints
from supercosm.config import AnyModel, Config, Hardware, Training
from supercosm.crops import Crops, StepSampler, check_files
from supercosm.device import choose_device
from supercosm.errors import DataError
from supercosm.families import Family, build_family
from supercosm.features import Features, Scales, measure_scales
from supercosm.files import locked
from supercosm.gathering import gathered
from supercosm.hardware_settings import PREFETCH
from supercosm.history import steps_done
from supercosm.leftovers import discard_foreign, empty
from supercosm.model import load_model
from supercosm.pairs import PairFile, digest_of
from supercosm.publishing import publish, times_of
from supercosm.sameboxes import fingerprint, shared_box
from supercosm.sharing import Share
from supercosm.stopping import SIGNALS, stoppable
from supercosm.told import numbers

log = logging.getLogger("supercosm")

SCALE_CROPS = 8  # crops that set the normalisation, for each output
VALIDATION_CROPS = 4  # for each output
SCALE_STREAM, VALIDATION_STREAM = 2**30, 2**30 + 1  # crop seeds apart from those of training


def train(
    config: Config,
    name: str,
    data: tuple[Sequence[Path], Sequence[Path]],
    folder: Path,
    checkpoints: Path,
    start: Path | None = None,
) -> None:
    """Train the named model on pair files (training, validation) and write its model folder.

    Interrupted, the same call goes on from the last checkpoint and ends with the same numbers; checkpoints of
    other settings or data are discarded. SIGTERM and SIGUSR1 end it after the step under way, with a checkpoint: it
    then raises StoppedError. `start`: model folder that a warm start takes its weights from. Where
    `config.hardware` has several processes, each of them makes this call; the first alone touches the folders.
    """
    settings = config.models[name]
    with gathered(config.hardware, choose_device(config.device)) as (share, device), ExitStack() as held:
        files = tuple([PairFile(path) for path in paths] for paths in data)

        def prepare() -> str:
            _check(settings, *files)
            held.enter_context(locked(checkpoints))
            discard_foreign(checkpoints, _fingerprint(settings, [*files[0], *files[1]], start))
            return _scales(settings, files[0]).model_dump_json()

        scales = Scales.model_validate_json(share.lead(prepare))
        family = build_family(settings, Features(settings, files[0][0].box_size / files[0][0].high, scales))
        if start is not None:
            _warm_start(family, start)
        family.adopt(share, config.hardware.checkpoint_activations)
        history = History(settings, Path(checkpoints) / "history.csv")
        kept = Cache(config.hardware.cache * GIGABYTE)
        _fit(family, history, (*files, kept), Path(checkpoints), device, config.hardware)

        def finish() -> None:
            publish(family, history, files, Path(folder), name, kept)
            empty(checkpoints)

        share.lead(finish)


def _check(settings: AnyModel, training: list[PairFile], validation: list[PairFile]) -> None:
    _check_seeds(training, validation)
    check_files([*training, *validation], settings, settings.training.crop)
    _check_told(settings, training)


def _fit(
    family: Family,
    history: History,
    data: tuple[list[PairFile], list[PairFile], Cache],
    checkpoints: Path,
    device: torch.device,
    hardware: Hardware,
) -> None:
    training, share = family.settings.training, family.share
    last = checkpoints / "last.ckpt"
    done = share.lead(lambda: _steps_done(last, training) if last.exists() else None)
    loader, judge = _loaders(family, data, (done or 0) * training.batch, device, hardware)
    keep = ModelCheckpoint(checkpoints, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    _quiet()
    if done is not None:
        log.info("resuming from %s", last)
    with stoppable() as request:
        callbacks = [history, keep, StopWhenAsked(last, request)]
        trainer = _trainer(training, device, callbacks, share)
        try:
            trainer.fit(family, loader, judge, ckpt_path=None if done is None else last, weights_only=True)
        except SystemExit:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None


def _loaders(
    family: Family,
    data: tuple[list[PairFile], list[PairFile], Cache],
    seen: int,
    device: torch.device,
    hardware: Hardware,
) -> tuple[DataLoader, DataLoader]:
    """Return the crops of training, this process's share of those from number `seen` on, and all of validation."""
    settings, training, share = family.settings, family.settings.training, family.share
    *_, kept = data
    crops = Crops(data[0], settings, settings.unit, seed=training.seed, augment=True, cache=kept)
    held_out = Crops(data[1], settings, settings.unit, seed=VALIDATION_STREAM, augment=False, cache=kept)
    workers = hardware.readers(device.type)
    loader = DataLoader(
        crops,
        training.batch // share.world,
        sampler=StepSampler(training.validate_every * training.batch, seen, training.batch, share),
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=PREFETCH if workers else None,
        worker_init_fn=_read_on,
    )
    return loader, DataLoader(Subset(held_out, range(VALIDATION_CROPS * len(times_of(data[1])))), 1)


def _read_on(_: int) -> None:
    """Let a process that reads crops outlive a request to stop, which goes to all: the training ends it in its time.

    Torch's own handler ends it at once, and the training with an error, unless the training itself sent the signal.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _trainer(training: Training, device: torch.device, callbacks: list[Callback], share: Share) -> lightning.Trainer:
    """Return a trainer of one process, of several too: what they tell each other is `share`'s, not Lightning's."""
    return lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision="bf16-mixed" if uses_bfloat16(training, device) else "32-true",
        max_epochs=training.steps // training.validate_every,
        callbacks=callbacks,
        plugins=[WholeCheckpoints(share), LightningEnvironment()],  # not the environment that SLURM's variables tell of
        logger=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=share.first and sys.stderr.isatty(),
        log_every_n_steps=1,
    )


def _steps_done(checkpoint: Path, training: Training) -> int:
    """Return how many steps a checkpoint holds."""
    loops = WholeCheckpoints().load_checkpoint(checkpoint, weights_only=True)["loops"]["fit_loop"]
    return steps_done(loops, training.validate_every)


def uses_bfloat16(training: Training, device: torch.device) -> bool:
    """Tell whether to compute in bfloat16: as set, or where the processor multiplies it natively."""
    if training.precision != "auto":
        return training.precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _scales(settings: AnyModel, files: list[PairFile]) -> Scales:
    """Measure the normalisation on a few training crops."""
    plain = Features(settings, files[0].box_size / files[0].high, Scales())
    crops = Crops(files, settings, settings.unit, seed=SCALE_STREAM, augment=False)
    batch = torch.utils.data.default_collate([crops[i] for i in range(SCALE_CROPS * len(times_of(files)))])
    return measure_scales(batch["low"], batch.get("small"), batch["high"], plain)


def _warm_start(family: Family, start: Path) -> None:
    """Copy the weights of a trained regression; what it lacks begins without effect.

    That is the amplitude of noise, the modulation by numbers, the couplings of a flow, and the input that a family adds
    to that of a regression.
    """
    model = load_model(start)
    if model.card.scales != family.features.scales:
        family.features.scales = model.card.scales  # its weights expect its own normalisation
    theirs, ours = model.network.state_dict(), family.network.state_dict()
    added = ("amplitude", "modulation", "embedding", "log_deviation", "couplings")
    lacking = [name for name in ours if name not in theirs and not any(part in name for part in added)]
    for name, first in (("stem.weight", True), ("embedding.layers.0.weight", False)):  # where theirs stands in ours
        if not lacking and name in theirs and name in ours:
            theirs[name] = _wider(theirs[name], ours[name].shape[1], first)
    if lacking or any(name not in ours or value.shape != ours[name].shape for name, value in theirs.items()):
        raise DataError(
            f"{start} holds another network: it cannot start this one; give both the same network, fields and "
            "dimensions"
        )
    family.network.load_state_dict(theirs, strict=False)
    family.ema.module.load_state_dict(family.network.state_dict())


def _wider(weight: torch.Tensor, inputs: int, first: bool) -> torch.Tensor:
    """Append inputs without effect to a layer, or put them before its own, until there are so many."""
    extra = weight.new_zeros(len(weight), max(0, inputs - weight.shape[1]), *weight.shape[2:])
    return torch.cat([weight, extra] if first else [extra, weight], dim=1)


def _check_seeds(training: list[PairFile], validation: list[PairFile]) -> None:
    shared = {f.seed for f in training} & {f.seed for f in validation} - {-1}
    if shared:
        raise DataError(f"seeds {sorted(shared)} are in both training and validation; give each its own boxes")
    unknown = (
        [(str(file.path), fingerprint(file.read("low/displacement"))) for file in files if file.seed < 0]
        for files in (training, validation)
    )
    if found := shared_box(*unknown):
        raise DataError(
            f"{found[0]} (training) and {found[1]} (validation) are one universe: their low runs move alike; give each "
            "role its own boxes"
        )


def _check_told(settings: AnyModel, files: list[PairFile]) -> None:
    """Raise DataError where a network is told what never changes: it would learn nothing of it, and guess later."""
    for name in settings.told:
        found = {round(float(numbers([name], file)), 6) for file in files}
        if len(found) == 1:
            raise DataError(
                f"told: {name} is the same in all training pairs; leave it out, or give pairs in which it differs"
            )


def _fingerprint(settings: AnyModel, files: list[PairFile], start: Path | None) -> dict[str, Any]:
    """Describe what a checkpoint belongs to: settings, boxes (origin and a piece), first weights."""
    return {
        "settings": settings.model_dump(mode="json"),
        "data": digest_of(files),
        "start": None if start is None else load_model(start).card.weights_sha256,
    }


def _quiet() -> None:
    """Silence advice that does not apply: data loading is no bottleneck, and there is one batch per step."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*exists and is not empty.*",
        ".*dataloader is not resumable.*",  # the sampler leaves out what was seen
        "The `srun` command is available.*",  # a job of one process needs none
        ".*isinstance.treespec.*",
    ):
        warnings.filterwarnings("ignore", message)
