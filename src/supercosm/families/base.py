"""What all families share: network, moving average, features, optimiser, validation."""

from __future__ import annotations

import lightning
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from supercosm import losses
from supercosm.cellnoise import CellNoise
from supercosm.config import AnyModel
from supercosm.crops import Crop
from supercosm.features import Features
from supercosm.model import build_network
from supercosm.noise import key_of

TRAINING = 3  # stream of the noise function, beside those of the initial conditions and of samples
VALIDATION_SEED = 2**31  # noise of validation crops: the same at every validation, far from training steps


class Family(lightning.LightningModule):
    """A network in training: subclasses say with which loss, in `training_step`."""

    def __init__(self, settings: AnyModel, features: Features) -> None:
        """Build the network with weights that depend on `settings.training.seed` alone."""
        super().__init__()
        self.settings, self.features = settings, features
        torch.manual_seed(settings.training.seed)
        layout = torch.channels_last_3d if settings.dimensions == 3 else torch.channels_last
        self.network = build_network(settings, features).to(memory_format=layout)
        self.ema = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(settings.training.ema), use_buffers=True
        )

    @property
    def trained(self) -> torch.nn.Module:
        """The weights that are kept: the moving average."""
        return self.ema.module

    def step_number(self, index: int) -> int:
        """Return how many steps came before batch `index` of this epoch: every draw is a function of it."""
        return self.current_epoch * self.settings.training.validate_every + index

    def note(self, batch: int, **values: Tensor) -> None:
        """Log values whose mean over the epoch goes into the history."""
        self.log_dict({k: v.detach() for k, v in values.items()}, on_step=False, on_epoch=True, batch_size=batch)

    def generate(self, network: torch.nn.Module, crop: Crop, seed: int) -> Tensor:
        """Return the network's normalised output for a batch of crops, float32."""
        seeds = [key_of(self.settings.training.seed, TRAINING, seed + i) for i in range(len(crop["low"]))]
        origins = [(0, 0, 0)] * len(seeds)
        cells = crop["high"].shape[-1]
        noise = CellNoise(seeds, origins, cells) if self.settings.noise == "white" else None
        inputs = self.features.encode(crop["low"], crop.get("small"))
        return network(inputs, noise).float()

    def inner(self, x: Tensor) -> Tensor:
        """Cut away the margin, where the crop's zero padding is felt."""
        margin = self.settings.training.margin
        size = x.shape[-1]
        return x[(..., *(slice(margin, size - margin),) * self.settings.dimensions)]

    def painted(self, output: Tensor, crop: Crop) -> Tensor:
        """Paint a normalised output (b, 6, …): root density (b, 1, …), in the frame of the crop's low run."""
        displacement = self.features.decode(output, crop["low"])[:, :3]
        frame = crop["low"][:, :3].mean(dim=(2, 3, 4), keepdim=True)
        return losses.root_paint(displacement - frame, self.features.cell)

    def distance(self, output: Tensor, target: Tensor, crop: Crop) -> Tensor:
        """Return D(OUTPUT, TARGET) as the settings name it."""
        painted = None
        if losses.PAINTED.keys() & self.settings.loss.keys():
            painted = tuple(self.inner(self.painted(x, crop)) for x in (output, target))
        output, target = (self.inner(self.features.weigh(x)) for x in (output, target))
        return losses.weighted(self.settings.loss, output, target, painted)

    def validation_step(self, crop: Crop, index: int) -> None:
        """Measure D of the moving average on a validation crop."""
        target = self.features.target(crop["low"], crop["high"])
        output = self.generate(self.trained, crop, VALIDATION_SEED + index)
        self.note(len(target), validation_loss=self.distance(output, target, crop))

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
