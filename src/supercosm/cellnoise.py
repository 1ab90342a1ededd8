"""White noise for the injections of a network, as a function of seed, site and global Lagrangian cell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from supercosm import noise

WHITE = 2  # stream of the noise function, beside those of the initial conditions


class CellNoise:
    """Noise of a batch of regions: each has a seed and an origin on a periodic lattice of `cells` per side.

    A region's noise does not depend on its extent, so tiles agree where they overlap.
    """

    def __init__(self, seeds: Sequence[int], origins: Sequence[Sequence[int]], cells: int) -> None:
        """`origins`: first high-resolution cell of every region, possibly negative (periodic)."""
        self.seeds, self.origins, self.cells = seeds, origins, cells

    def __call__(self, site: int, stride: int, like: Tensor) -> Tensor:
        """Return noise (b, 1, …) for an injection site whose cells are `stride` high-resolution ones wide."""
        period = self.cells // stride
        fields = []
        for seed, origin in zip(self.seeds, self.origins, strict=True):
            axes = []
            for axis, size in enumerate(like.shape[2:]):
                index = (torch.arange(size, device=like.device) + origin[axis] // stride) % period
                axes.append(index.view(*(-1 if a == axis else 1 for a in range(like.ndim - 2))))
            while len(axes) < 3:
                axes.append(torch.full_like(axes[0], origin[2] if len(origin) > 2 else 0))
            fields.append(noise.white_noise(noise.key_of(seed, WHITE, site), tuple(axes)))
        return torch.stack(fields)[:, None].to(like.dtype)

    def fields(self, first: int, count: int, like: Tensor, stride: int = 1) -> Tensor:
        """Return `count` independent fields (b, count, …) of the shape of `like`, those of sites from `first` on."""
        return torch.cat([self(first + number, stride, like) for number in range(count)], dim=1)
