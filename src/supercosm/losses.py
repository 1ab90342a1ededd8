"""D(OUTPUT, TARGET), by name: what a network is asked to make small."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from supercosm.deposit import paint_crop

Pixel = Callable[[Tensor, Tensor], Tensor]


LONGEST_WAVE = 2.0  # waves per crop below which the window swallows the power
SPECTRUM_BINS = 2.5  # per octave
SILENT = 1e-6  # added to the power before the logarithm: an even density has none
TINY = 1e-12  # under the root of a norm, whose slope at nothing would be infinite
EMPTY = 0.1  # added before the root, whose slope in an empty cell would be infinite


def log_cosh(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of log cosh(output − target): quadratic near zero, linear far away."""
    error = (output - target).abs()
    return (error + functional.softplus(-2 * error) - math.log(2)).mean()


PIXEL: Mapping[str, Pixel] = {
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "huber": functional.huber_loss,
    "log_cosh": log_cosh,
}


def root_paint(displacement: Tensor, cell: float) -> Tensor:
    """Paint a crop of particles and compress: √(ρ + ε) on the crop's own cells.

    The root weighs haloes enough to set their profiles right, which a logarithm does not, without letting them drown
    all else.

    displacement: (b, 3, n, n, n) [Mpc/h] relative to the crop; cell: lattice spacing [Mpc/h].
    Returns (b, 1, n, n, n).
    """
    return torch.sqrt(paint_crop(displacement / cell) + EMPTY)


def density_distance(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of two painted root densities."""
    return functional.mse_loss(output, target)


def spectrum_distance(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean |ln of the ratio| of two power spectra, of painted root densities (b, 1, n, n, n).

    A mean error is smallest for fields with too little small-scale power; this term asks for the right amount of it,
    wherever it is. It is not squared: bins that are nearly right would be neglected beside those that are far off. The
    crops are not periodic, so a Hann window fades their sides out.
    """
    spectra = [_crop_spectra(torch.square(x.float()) - (1 + EMPTY)) for x in (output, target)]
    logs = [torch.log(spectrum + SILENT) for spectrum in spectra]
    return (logs[0] - logs[1]).abs().mean()


def _crop_spectra(delta: Tensor) -> Tensor:
    """Return the power of crops (b, 1, n, n, n) in logarithmic bins of |k|, from 2 waves per crop on: (b, bins)."""
    side = delta.shape[-1]
    fade = torch.hann_window(side, periodic=False, device=delta.device)
    faded = delta[:, 0] * fade[:, None, None] * fade[:, None] * fade
    squared = torch.fft.rfftn(faded, dim=(1, 2, 3)).abs().square().flatten(1)
    index, bins = _spectrum_bins(side)
    sums = squared.new_zeros(len(squared), bins + 2)
    return sums.index_add(1, index.to(delta.device), squared)[:, 1:-1]


@cache
def _spectrum_bins(side: int) -> tuple[Tensor, int]:
    """Return the bin of every mode of a real transform of `side` cells, and the number of bins; ends are left out."""
    axis = torch.fft.fftfreq(side, 1 / side).double()
    last = torch.arange(side // 2 + 1).double()
    n = torch.sqrt(axis.view(-1, 1, 1) ** 2 + axis.view(1, -1, 1) ** 2 + last.view(1, 1, -1) ** 2)
    bins = max(1, round(SPECTRUM_BINS * math.log2(side / 2 / LONGEST_WAVE)))
    edges = torch.logspace(math.log10(LONGEST_WAVE), math.log10(side / 2), bins + 1, dtype=torch.float64)
    return torch.bucketize(n.flatten(), edges, right=True), bins


def score(first: Tensor, second: Tensor, target: Tensor, block: int) -> Tensor:
    """Return the energy score of two samples, E|x − y| − E|x − x′|/2, without bias for so few: its mean over blocks.

    first, second, target: (b, c, n, …). The distance is the norm over the channels of a block of `block` cells a side,
    per root of its numbers; of single cells and one channel that is the CRPS (Gneiting & Raftery 2007, eq. 21, 22).
    A proper score: smallest in the mean where the samples have the distribution of the target.
    """
    miss = (_block_norm(first - target, block) + _block_norm(second - target, block)) / 2
    return (miss - _block_norm(first - second, block) / 2).mean()


def _block_norm(x: Tensor, block: int) -> Tensor:
    """Return the root mean square over the channels and cells of every block, (b, n / block, …)."""
    pool = functional.avg_pool3d if x.ndim == 5 else functional.avg_pool2d
    squares = pool(x.square().mean(dim=1, keepdim=True), block)
    return torch.sqrt(squares + TINY)[:, 0]


PAINTED: Mapping[str, Pixel] = {"density": density_distance, "spectrum": spectrum_distance}


def weighted(
    terms: Mapping[str, float], output: Tensor, target: Tensor, painted: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Return Σ weight × term. `painted`: root densities of output and target, needed by the terms of PAINTED."""
    total = output.new_zeros(())
    for name, weight in sorted(terms.items()):
        if name in PAINTED:
            total = total + weight * PAINTED[name](*painted)
        else:
            total = total + weight * PIXEL[name](output, target)
    return total
