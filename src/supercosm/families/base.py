"""What all families share: network, moving average, features, optimiser, validation."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from supercosm import losses
from supercosm.cellnoise import CellNoise
from supercosm.config import AnyModel
from supercosm.crops import Crop
from supercosm.features import Features
from supercosm.means import Means
from supercosm.networks.multiscale import MultiScale
from supercosm.noise import key_of
from supercosm.schemes import Region, scheme_of
from supercosm.sharing import ALONE, Share

TRAINING = 3  # stream of the noise function, beside those of the initial conditions and of samples
GOLDEN = (5**0.5 - 1) / 2  # its multiples, modulo one, fill the interval most evenly
VALIDATION_SEED = 2**31  # noise of validation crops: the same at every validation, far from training steps


class Family(lightning.LightningModule):
    """A network in training: subclasses say with which loss, in `loss`; those that need more override the steps."""

    def __init__(self, settings: AnyModel, features: Features) -> None:
        """Build the network with weights that depend on `settings.training.seed` alone."""
        super().__init__()
        self.settings, self.features, self.means = settings, features, Means()
        self.share = ALONE  # of every batch: all of it
        torch.manual_seed(settings.training.seed)
        layout = torch.channels_last_3d if settings.dimensions == 3 else torch.channels_last
        self.scheme = scheme_of(settings, features)
        self.network = self.scheme.build().to(memory_format=layout)
        self.ema = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(settings.training.ema), use_buffers=True
        )

    def adopt(self, share: Share, recompute: bool = False) -> None:
        """Take a share of every batch from now on; recompute: activations, where gradients need them."""
        self.share = share
        share.align(self)
        for module in self.modules():
            if isinstance(module, MultiScale):
                module.recompute = recompute

    def on_train_epoch_start(self) -> None:
        """Give all processes the weights of the first: processors that round otherwise may have led theirs apart."""
        self.share.align(self)

    @property
    def trained(self) -> torch.nn.Module:
        """The weights that are kept: the moving average."""
        return self.ema.module

    def step_number(self, index: int) -> int:
        """Return how many steps came before batch `index` of this epoch: every draw is a function of it."""
        return self.current_epoch * self.settings.training.validate_every + index

    def parts(self, crop: Crop, index: int) -> list[tuple[Crop, int]]:
        """Return what this process has of batch `index`, in parts, each with the number of its first crop among all."""
        count = len(crop["low"])
        first = (self.step_number(index) * self.share.world + self.share.rank) * count
        size = count // self.share.parts
        if size == count:
            return [(crop, first)]
        pieces = range(0, count, size)
        return [({name: field[i : i + size] for name, field in crop.items()}, first + i) for i in pieces]

    def batch_around(self, seed: int, count: int) -> tuple[int, int]:
        """Return number of the first crop, and of crops, of the batch that `count` crops from `seed` on are part of."""
        if self.share.whole or seed >= VALIDATION_SEED:
            return seed, count
        size = count * self.share.world * self.share.parts
        return seed - seed % size, size

    def note(self, batch: int, **values: Tensor) -> None:
        """Note values whose mean over the epoch goes into the history."""
        self.means.add(batch, values)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the means of an epoch that is interrupted, of all processes."""
        checkpoint["means"] = self.means.total(self.share).state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the means of the epoch that was interrupted; at the end of one there are none."""
        self.means.load_state_dict(checkpoint.get("means", Means().state_dict()))
        if not self.share.first:
            self.means.forget()

    def loss(self, network: torch.nn.Module, crop: Crop, seed: int) -> Tensor:
        """Return what is made small for a batch of crops; its random numbers are those of `seed` and what follows.

        There are as many seeds as crops. Without an own loss it is D(OUTPUT, TARGET).
        """
        target = self.features.target(crop["low"], crop["high"])
        return self.distance(self.generate(network, crop, seed), target, crop)

    def training_step(self, crop: Crop, index: int) -> Tensor | None:
        """Return the loss of a batch of crops, or of its last part, with the gradients of those before."""
        *before, last = self.parts(crop, index)
        if before:
            self.zero_grad(set_to_none=True)
        for part in before:
            loss = self._noted_loss(*part) / self.share.parts
            with torch.autocast(loss.device.type, enabled=False):
                loss.backward()
        return self._noted_loss(*last) / self.share.parts

    def _noted_loss(self, crop: Crop, seed: int) -> Tensor:
        count = len(crop["low"])
        loss = self.loss(self.network, crop, seed)
        self.log("loss", loss.detach(), prog_bar=True, batch_size=count)
        self.note(count, train_loss=loss)
        return loss

    def optimizer_zero_grad(self, *arguments: Any) -> None:
        """Forget the gradients of the step before, unless they are of the parts of a batch before the last."""
        if self.share.parts == 1:
            super().optimizer_zero_grad(*arguments)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Average the gradients over all processes, then cut those of the network that are too long.

        After one step far longer than any should be a training may never recover. Not so those of a critic, whose
        penalty sees to them.
        """
        self.share.average(weight for group in optimizer.param_groups for weight in group["params"])
        clip = self.settings.training.clip
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), clip)

    def on_train_batch_end(self, *_: object) -> None:
        """Follow the weights with their moving average."""
        self.ema.update_parameters(self.network)

    def validation_step(self, crop: Crop, index: int) -> None:
        """Measure the loss of the moving average on a validation crop."""
        count = len(crop["low"])
        self.note(count, validation_loss=self.loss(self.trained, crop, VALIDATION_SEED + index * count))

    def configure_optimizers(self) -> dict | list[torch.optim.Optimizer]:
        """Return AdamW on the one-cycle schedule."""
        optimiser = self.optimiser()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self.learning_rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def region(self, crop: Crop, noise: CellNoise | None = None) -> Region:
        """Return what a network is given of a batch of crops."""
        return Region(self.features.encode(crop["low"], crop.get("small")), noise=noise, told=crop.get("told"))

    def generate(self, network: torch.nn.Module, crop: Crop, seed: int) -> Tensor:
        """Return the normalised output of one evaluation for a batch of crops, float32."""
        seeds = [key_of(self.settings.training.seed, TRAINING, seed + i) for i in range(len(crop["low"]))]
        origins = [(0, 0, 0)] * len(seeds)
        noise = CellNoise(seeds, origins, crop["high"].shape[-1]) if self.settings.injects else None
        return self.scheme.run(0, network, self.region(crop, noise))

    def white(self, like: Tensor, seed: int) -> Tensor:
        """Return white noise of the shape of a batch, for the crops from `seed` on; the same on every device."""
        fields = []
        for number in range(len(like)):
            key = key_of(self.settings.training.seed, TRAINING, seed + number)
            generator = torch.Generator().manual_seed(key % 2**63)
            fields.append(torch.randn(like.shape[1:], generator=generator))
        return torch.stack(fields).to(like)

    def fractions(self, like: Tensor, seed: int) -> Tensor:
        """Return numbers in (0, 1) for the crops from `seed` on, (b,): few of them are already spread evenly."""
        index = torch.arange(seed, seed + len(like), dtype=torch.float64)
        return (torch.remainder(index * GOLDEN, 1) * (1 - 2e-6) + 1e-6).float().to(like.device)

    def inner(self, x: Tensor) -> Tensor:
        """Cut away the margin, where the crop's zero padding is felt."""
        margin = self.settings.training.margin
        size = x.shape[-1]
        return x[(..., *(slice(margin, size - margin),) * self.settings.dimensions)]

    def painted(self, output: Tensor, crop: Crop) -> Tensor:
        """Paint a normalised output (b, 6, …): root density (b, 1, …), in the frame of the crop's low run."""
        displacement = self.features.decode(output, crop["low"])[:, :3]
        frame = crop["low"][:, :3].mean(dim=(2, 3, 4), keepdim=True)
        return losses.root_paint((displacement - frame) * crop.get("growth", 1.0), self.features.cell)

    def distance(self, output: Tensor, target: Tensor, crop: Crop) -> Tensor:
        """Return D(OUTPUT, TARGET) as the settings name it."""
        painted = None
        if losses.PAINTED.keys() & self.settings.loss.keys():
            painted = tuple(self.inner(self.painted(x, crop)) for x in (output, target))
        output, target = (self.inner(self.features.weigh(x)) for x in (output, target))
        return losses.weighted(self.settings.loss, output, target, painted)

    def weighed_error(self, error: Tensor) -> Tensor:
        """Return the mean square of an error of normalised outputs, without the margin; velocities are weighed."""
        return self.inner(self.features.weigh(error)).square().mean()

    def learning_rate(self, step: int) -> float:
        """Return the one-cycle factor of a step: a tenth of the steps up, then a cosine down to 1 %."""
        total = self.settings.training.steps
        warm = max(1, total // 10)
        if step < warm:
            return (step + 1) / warm
        fraction = min(1.0, (step - warm) / max(1, total - warm))
        return float(0.01 + 0.99 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * fraction))))

    def optimiser(self) -> torch.optim.Optimizer:
        """Return AdamW over the network."""
        training = self.settings.training
        return torch.optim.AdamW(
            self.network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
        )
