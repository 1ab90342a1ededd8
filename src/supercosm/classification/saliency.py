"""Saliency: where in a field a classifier looks, and whether that is where it decides.

Networks map normalised patches (b, 1, p, …), whose mean field is 0, to logits (b, k). They have `first` and `last`, as
those of `networks.classifiers` do. All is done in batches on the network's device, and comes back as float32 arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from supercosm.errors import ConfigurationError
from supercosm.networks.multiscale import wrap

# captum is imported by the functions that need it, because every job would wait for it

BATCH = 64  # patches in memory at once, steps of integration included
AROUND = 5  # cells a side of the region whose mean replaces a cell: wide enough to lose what tells, and no new texture


@dataclass(frozen=True)
class Occlusion:
    """What is left of a classification when cells lose their detail, that is, are replaced by the mean around them.

    shares: of the cells of every patch that are replaced, (s,), from 0 on. probability: mean probability of the true
    class and accuracy: share of patches classified correctly, each (s,) by the order in which cells go: "salient" first
    (largest |integrated gradient|), "random", "densest" first, "least" salient first.
    """

    shares: np.ndarray
    probability: dict[str, np.ndarray]
    accuracy: dict[str, np.ndarray]


def integrated_gradients(network: nn.Module, x: Tensor, target: Tensor, steps: int = 32) -> np.ndarray:
    """Return the attribution (b, p, …) of the margin of class `target` (b,) to every cell of patches x (b, 1, p, …).

    The margin is the logit of the class less the mean of the others', for only differences of logits decide. The sum
    over cells is the margin at x less that of the mean field, up to the error of `steps` Gauss-Legendre points
    (Sundararajan et al. 2017, equation 1).
    """
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(_margins(network))

    def attribute(batch: Tensor, classes: Tensor) -> Tensor:
        along = {"n_steps": steps, "internal_batch_size": BATCH}
        return method.attribute(batch, baselines=0.0, target=classes, **along).squeeze(1)

    return _in_batches(attribute, network, x, target)


def grad_cam(network: nn.Module, x: Tensor, target: Tensor) -> np.ndarray:
    """Return the Grad-CAM (b, p, …), ≥ 0, for class `target` (b,) of patches (b, 1, p, …) at the layer `last`.

    The maps of the layer are weighted by the mean gradient of the margin (Selvaraju et al. 2017, equations 1 and 2) and
    stretched over the patch; where convolutions are not padded, that is only roughly where they look.
    """
    from captum.attr import LayerGradCam

    method = LayerGradCam(_margins(network), network.last)
    periodic = getattr(network, "periodic", False)

    def attribute(batch: Tensor, classes: Tensor) -> Tensor:
        # a gradient is needed at the layer even where all parameters are frozen
        batch = batch.detach().requires_grad_()
        maps = method.attribute(batch, target=classes, relu_attributions=True)
        return _stretch(maps.detach(), batch.shape[2:], periodic).squeeze(1)

    return _in_batches(attribute, network, x, target)


def occlude(
    network: nn.Module,
    x: Tensor,
    labels: Tensor,
    salience: np.ndarray,
    shares: Sequence[float],
    seed: int,
    temperature: float = 1.0,
) -> Occlusion:
    """Classify patches (b, 1, p, …) of true classes (b,) with shares of their cells replaced by the mean around them.

    Where salient cells are what decides, they cost the most (Samek et al. 2017). Holes at the mean field would be a new
    texture, by which networks decide, too: random ones would cost as much (Fong & Vedaldi 2017 blur, therefore).
    salience: (b, p, …), of any sign, like integrated gradients. temperature: of the probabilities. Share 0 is always
    included. Raises ConfigurationError for shares that are not between 0 and 1.
    """
    if wrong := [share for share in shares if not 0 <= share <= 1]:
        raise ConfigurationError(f"shares of cells to replace lie between 0 and 1, not at {wrong}")
    replaced = np.unique([0.0, *shares])
    strength = torch.from_numpy(np.abs(salience))
    priorities = {"salient": strength, "random": _random(x, seed), "densest": x, "least": -strength}
    counts = [round(share * x[0].numel()) for share in replaced]

    def classify(batch: Tensor, priority: Tensor) -> Tensor:
        return (_logits_without(network, batch, priority, counts) / temperature).softmax(dim=2)

    left = {order: _in_batches(classify, network, x, priority) for order, priority in priorities.items()}
    true = labels.cpu().numpy()
    return Occlusion(
        shares=replaced,
        probability={order: p[np.arange(len(p)), :, true].mean(axis=0) for order, p in left.items()},
        accuracy={order: (p.argmax(axis=2) == true[:, None]).mean(axis=0) for order, p in left.items()},
    )


def by_density(attribution: np.ndarray, x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the mean |attribution| of cells (b, p, …) in bins (n,) of x, patches (b, 1, p, …), between edges (n + 1,).

    In units of the mean over all cells, so that 1 is no preference; NaN where there are no cells. It tells whether a
    network looks at voids or at haloes.
    """
    weight, values = np.abs(attribution, dtype=float).ravel(), np.asarray(x).ravel()
    cells, _ = np.histogram(values, edges)
    sums, _ = np.histogram(values, edges, weights=weight)
    with np.errstate(invalid="ignore"):
        return (sums / cells / weight.mean()).astype(np.float32)


def first_filters(network: nn.Module) -> np.ndarray:
    """Return a copy of the filters (filters, channels, side, …) of the first convolution.

    Where the network folds patches of cells into channels, a channel is a place in the patch (`multiscale.fold`).
    """
    return network.first.weight.detach().float().cpu().numpy().copy()


def feature_maps(network: nn.Module, x: Tensor, layer: str) -> np.ndarray:
    """Return what the layer "first" or "last" makes of patches (b, 1, p, …): maps (b, c, q, …).

    Raises ConfigurationError for another layer.
    """
    if layer not in ("first", "last"):
        raise ConfigurationError(f'feature maps are those of the layer "first" or "last", not "{layer}"')
    seen: list[Tensor] = []
    hook = _watch(network, layer, seen)

    @torch.no_grad()
    def maps(batch: Tensor) -> Tensor:
        network(batch)
        return seen.pop()

    try:
        return _in_batches(maps, network, x)
    finally:
        hook.remove()


def _watch(network: nn.Module, layer: str, seen: list[Tensor]) -> torch.utils.hooks.RemovableHandle:
    """Add the maps of a layer to `seen` at every pass, until the hook returned is removed."""
    if layer == "first" and hasattr(network, "norm"):
        # a periodic convolution uses the weights of its module without calling it, so look at what comes next
        return network.norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    return getattr(network, layer).register_forward_hook(lambda module, inputs, output: seen.append(output))


def _margins(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the function from patches to every class's logit less the mean of the others', (b, k)."""

    def margins(x: Tensor) -> Tensor:
        logits = network(x)
        others = (logits.sum(dim=1, keepdim=True) - logits) / (logits.shape[1] - 1)
        return logits - others

    return margins


@torch.no_grad()
def _logits_without(network: nn.Module, x: Tensor, priority: Tensor, counts: list[int]) -> Tensor:
    """Return the logits (b, s, k) of classes without the so many cells of highest priority (b, …)."""
    first = priority.flatten(1).argsort(dim=1, descending=True, stable=True)
    cells, around = x.flatten(1), smoothed(x, getattr(network, "periodic", False)).flatten(1)
    chosen = (first[:, :count] for count in counts)
    without = (cells.scatter(1, which, around.gather(1, which)).reshape(x.shape) for which in chosen)
    return torch.stack([network(patches) for patches in without], dim=1)


def smoothed(x: Tensor, periodic: bool) -> Tensor:
    """Return the mean of the cells around each, AROUND a side, of patches (b, 1, p, …); beyond an edge lies nothing."""
    pool = functional.avg_pool3d if x.ndim == 5 else functional.avg_pool2d
    half = AROUND // 2
    if periodic:
        return pool(functional.pad(x, (half,) * 2 * (x.ndim - 2), mode="circular"), AROUND, stride=1)
    return pool(x, AROUND, stride=1, padding=half, count_include_pad=False)


def _random(x: Tensor, seed: int) -> Tensor:
    """Return a number for every cell, which depends on the seed and the patch's index only."""
    draws = [np.random.default_rng((seed, index)).random(x[0].numel(), np.float32) for index in range(len(x))]
    return torch.from_numpy(np.stack(draws))


def _stretch(maps: Tensor, sizes: Sequence[int], periodic: bool) -> Tensor:
    """Interpolate maps (b, 1, q, …) linearly to cells (b, 1, p, …), across the faces of a periodic box."""
    mode = "trilinear" if len(sizes) == 3 else "bilinear"
    if not periodic:
        return functional.interpolate(maps, tuple(sizes), mode=mode)
    scale = sizes[0] // maps.shape[2]  # whole: the network leaves a map cell for each patch of cells
    wide = functional.interpolate(wrap(maps), scale_factor=scale, mode=mode)
    return wide[(..., *(slice(scale, -scale),) * len(sizes))]


def _in_batches(function: Callable[..., Tensor], network: nn.Module, *tensors: Tensor) -> np.ndarray:
    """Apply a function of tensors (b, …) in batches on the device of a network in evaluation mode."""
    device = next(network.parameters()).device
    with _evaluating(network):
        batches = zip(*(tensor.split(BATCH) for tensor in tensors), strict=True)
        parts = [function(*(part.to(device) for part in batch)).detach().float().cpu() for batch in batches]
    return torch.cat(parts).numpy()


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Keep a network in evaluation mode for a while, and leave each of its layers in the mode it was in."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
