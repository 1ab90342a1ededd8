"""Coder folders: a trained coder with its card, applied to log density in physical units."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError
from safetensors.torch import save
from torch import Tensor, nn

from supercosm.compression_settings import AnyCoder, Dense, Downsample, Pca, Variational
from supercosm.errors import DataError
from supercosm.files import sha256, whole, write_json
from supercosm.networks import autoencoders
from supercosm.settings import Settings
from supercosm.weights import network_with, read_weights

WEIGHTS, CARD = "model.safetensors", "model.json"
CHUNK = 512  # patches that pass through a network at once


class CoderCard(Settings):
    """What a coder is, and what it was made from."""

    name: str
    settings: AnyCoder
    patch: int = Field(description="cells per side of a patch")
    cell: float = Field(description="cell size [Mpc/h]")
    thickness: float = Field(description="thickness of its slabs [Mpc/h]; the cell size for blocks of the volume")
    periodic: bool = Field(description="whether it was trained on whole boxes, across whose faces it then sees")
    offset: float = Field(description="log density that is 0 for the network")
    factor: float = Field(description="log density per unit of the network")
    seeds: dict[str, list[int]] = Field(description="seeds of the boxes it was trained and validated on")
    parameters: int
    dead_latents: int = Field(description="latents that never change on the validation patches")
    information: list[float] = Field(description="Kullback–Leibler term of each latent [nats]; of variational coders")
    diagnosis: str = Field(description="what the loss curve shows")
    training_seconds: float
    provenance: dict[str, Any]
    weights_sha256: str = ""


@dataclass(frozen=True)
class Coder:
    """A coder ready to be applied. All its arrays are log density, as `fields.log_density` makes it.

    grain: (k,) size that a step of quantisation has for each latent, so that all of them err alike in the patch.
    residual_power: (p, …) mean |FFT|² of what the coder loses of a validation patch, in units of the network.
    """

    card: CoderCard
    network: nn.Module
    grain: Tensor
    residual_power: Tensor

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Return the latents (b, k) of patches (b, 1, p, …); (b, k, m, …) of m blocks a side, for coders of blocks.

        Raises DataError for patches of another size.
        """
        self._check_sides(tuple(x.shape[2:]))
        x = (x - self.card.offset) / self.card.factor
        return torch.cat([self.network.encode(part) for part in x.split(CHUNK)])

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Return patches (b, 1, p, …) of latents."""
        x = torch.cat([self.network.decode(part) for part in z.split(CHUNK)])
        return x * self.card.factor + self.card.offset

    def _check_sides(self, sides: tuple[int, ...]) -> None:
        p, d = self.card.patch, self.card.settings.dimensions
        single = isinstance(self.card.settings, Dense | Downsample)
        if len(sides) != d or any(n % p or (single and n != p) for n in sides):
            raise DataError(
                f"coder '{self.card.name}' takes patches of {p} cells per side in {d} dimensions, not of "
                f"{' × '.join(map(str, sides))} cells; give it such, or train one for these"
            )

    @property
    def variational(self) -> bool:
        """Whether its latents have a prior to draw from."""
        return isinstance(self.card.settings, Variational)

    @torch.no_grad()
    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw patches (count, 1, p, …) from the prior of a variational coder: its means, and samples.

        Samples add the Gaussian noise of the likelihood, with the measured spectrum of what the coder loses; without
        it, they lack what the latents do not hold (as in a linear-Gaussian model, Tipping & Bishop 1999).
        """
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(count, self.card.settings.latents, generator=generator)
        means = self.decode(z)
        axes = tuple(range(2, means.ndim))
        white = torch.randn(means.shape, generator=generator)
        cells = self.residual_power.numel()
        noise = torch.fft.ifftn(torch.fft.fftn(white, dim=axes) * (self.residual_power / cells).sqrt(), dim=axes).real
        return means, means + noise * self.card.factor


def build(settings: AnyCoder, patch: int, periodic: bool) -> nn.Module:
    """Build the network of a coder with fresh weights; periodic: what it is trained on are whole boxes."""
    d = settings.dimensions
    if isinstance(settings, Pca):
        return autoencoders.Linear(patch, d, settings.latents)
    if isinstance(settings, Downsample):
        return autoencoders.Downsampling(patch, d, settings.side)
    if isinstance(settings, Dense):
        return autoencoders.Dense(patch, d, settings.hidden, settings.latents, settings.bottleneck, settings.ending)
    network, variational = settings.network.model_dump(), isinstance(settings, Variational)
    return autoencoders.Convolutional(patch, d, settings.latents, network, variational, periodic)


def save_coder(folder: str | Path, coder: Coder) -> None:
    """Write weights, then the card with their checksum, each whole or not at all."""
    folder = Path(folder)
    tensors = {f"network.{k}": v.contiguous().cpu() for k, v in coder.network.state_dict().items()}
    tensors |= {"grain": coder.grain.contiguous(), "residual_power": coder.residual_power.contiguous()}
    with whole(folder / WEIGHTS) as part:
        part.write_bytes(save(tensors))  # which tells of a full disk
    complete = coder.card.model_copy(update={"weights_sha256": sha256(folder / WEIGHTS)})
    write_json(folder / CARD, complete.model_dump(mode="json"))


def read_card(folder: str | Path) -> CoderCard:
    """Read the card of a coder folder; raise DataError when it is missing or not of this kind."""
    path = Path(folder) / CARD
    try:
        return CoderCard.model_validate_json(path.read_bytes())
    except OSError:
        raise DataError(f"{folder} is no coder folder: it lacks {CARD}; train a coder or correct the path") from None
    except ValidationError as error:
        fault = error.errors()[0]
        if fault["type"] == "union_tag_not_found":
            raise DataError(
                f"{folder} is the folder of another kind of model, not of a coder; correct the path"
            ) from None
        raise DataError(f"{path} is no card of a coder: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def load_coder(folder: str | Path) -> Coder:
    """Load a coder folder; raise DataError when a part is missing, damaged, or not of this kind."""
    folder = Path(folder)
    card = read_card(folder)
    if not (folder / WEIGHTS).is_file():
        raise DataError(f"{folder} is no coder folder: it lacks {WEIGHTS}; train a coder or correct the path")
    tensors = read_weights(folder / WEIGHTS, card.weights_sha256)
    weights = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    network = network_with(lambda: build(card.settings, card.patch, card.periodic), weights, folder / WEIGHTS)
    if not {"grain", "residual_power"} <= tensors.keys():
        raise DataError(f"{folder / WEIGHTS} lacks the grain of its latents; it is damaged: train it again")
    return Coder(card, network.eval().requires_grad_(False), tensors["grain"], tensors["residual_power"])


def unexplained(x: Tensor, decoded: Tensor) -> float:
    """Return the share of the variance of patches (b, 1, p, …), about their mean patch, that decoding misses."""
    error = (x - decoded).double().square().sum()
    return float(error / (x - x.mean(dim=0)).double().square().sum())
