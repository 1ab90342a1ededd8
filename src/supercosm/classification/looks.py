"""Where the network of a part looks: arrays for pictures, and the test that what it looks at is what it decides by."""

from __future__ import annotations

import numpy as np
import torch

from supercosm.classification.examples import Examples
from supercosm.classification.fit import Trained
from supercosm.classification.saliency import (
    by_density,
    feature_maps,
    first_filters,
    grad_cam,
    integrated_gradients,
    occlude,
)

EXAMPLES = 32  # of each class, over which saliency is averaged
SHOWN = 2  # examples of each class in pictures
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)  # of the cells that are deleted
BINS = 14  # of log density
MAPS = 8  # feature maps shown of a layer
SEED = 5


def look(trained: Trained, test: Examples, classes: int) -> dict[str, np.ndarray]:
    """Return, of test examples of every class, where the network looks and what deleting that does.

    Of the examples shown, (e, …): x (log density), labels, probabilities (e, classes), gradients (integrated, of the
    margin of the true class) and gradcam. Of the first one: maps_first and maps_last. Of all: mean_gradients (classes,
    p, …) the mean |gradients|; density_edges (b + 1,) of log density and by_density (classes, b); shares (s,) of cells
    that lose their detail and, for every order in which they do, occlusion_<order> (s,), the mean probability of the
    true class. filters of the first layer. cell: side of a cell [Mpc/h].
    """
    chosen = test.chosen(_some_of_each(test.labels, classes, EXAMPLES))
    x, labels = trained.normalise(chosen.x), torch.from_numpy(chosen.labels)
    gradients = integrated_gradients(trained.network, x, labels)
    shown = _some_of_each(chosen.labels, classes, SHOWN)
    edges = np.quantile(chosen.x, np.linspace(0, 1, BINS + 1))
    edges[-1] += 1e-3  # so that the densest cell is below it
    found = {
        "x": chosen.x[shown],
        "labels": chosen.labels[shown],
        "probabilities": trained.probabilities(chosen.x[shown]),
        "gradients": gradients[shown],
        "gradcam": grad_cam(trained.network, x[shown], labels[shown]),
        "mean_gradients": np.stack([np.abs(gradients[chosen.labels == c]).mean(axis=0) for c in range(classes)]),
        "density_edges": edges,
        "by_density": np.stack(
            [by_density(gradients[chosen.labels == c], chosen.x[chosen.labels == c], edges) for c in range(classes)]
        ),
        "filters": first_filters(trained.network),
        "cell": np.array([test.cell]),
    }
    for layer in ("first", "last"):
        found[f"maps_{layer}"] = feature_maps(trained.network, x[shown[:1]], layer)[0, :MAPS]
    occlusion = occlude(trained.network, x, labels, gradients, SHARES, SEED, trained.temperature)
    found["shares"] = occlusion.shares
    for order in occlusion.probability:
        found[f"occlusion_{order}"] = occlusion.probability[order]
    return found


def _some_of_each(labels: np.ndarray, classes: int, count: int) -> np.ndarray:
    """Return indices of so many examples of every class, or all of them, class by class and evenly over the boxes."""
    chosen = []
    for label in range(classes):
        own = np.flatnonzero(labels == label)
        if len(own):
            chosen.append(own[np.linspace(0, len(own) - 1, min(count, len(own))).astype(int)])
    return np.concatenate(chosen)
