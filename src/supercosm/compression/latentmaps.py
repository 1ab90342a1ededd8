"""Maps of a latent space onto two numbers a point, and how far they can be trusted.

Latents are centred and divided by one number for all axes, never axis by axis, so that distances keep their meaning:
of PCA's latents they are distances between reconstructions, and a VAE has the same unit prior along all its axes.
Axes scaled to equal variance would blow up those that collapsed, which hold noise, to the size of those that tell.
The one number changes nothing but rounding: who is near whom does not depend on a unit.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import numpy as np
from scipy.spatial.distance import cdist

from supercosm.compression_settings import LatentMaps
from supercosm.errors import DataError

Shape = Literal["s-curve", "swiss-roll"]


@dataclass(frozen=True)
class Scores:
    """How well a map keeps neighbourhoods; 1 is perfect, and `chance` says what a map of random points has.

    trustworthiness: whether neighbours in the map are neighbours in latent space (Venna & Kaski 2001).
    preservation: mean share of a point's nearest neighbours in latent space that are its nearest in the map.
    """

    trustworthiness: float
    preservation: float


def available(methods: Sequence[str]) -> list[str]:
    """Return the methods that are installed here, in their order; only "umap" may be missing."""
    return [method for method in methods if method != "umap" or find_spec("umap") is not None]


def embed(latents: np.ndarray, method: str, settings: LatentMaps) -> np.ndarray:
    """Map latents (n, k) onto a plane, float64 (n, 2), the same for the same seed.

    settings: perplexity, early_exaggeration, neighbours and seed. Raises DataError for an unknown method or one that is
    not installed, and for latents that are too few, all equal or no numbers.
    """
    if method not in METHODS:
        raise DataError(f"there is no map '{method}'; choose among {', '.join(METHODS)}")
    points = _unit_free(latents, *_fewest(method, settings))
    with _reproducible():
        found = METHODS[method](points, settings)
    return _upright(np.asarray(found, dtype=np.float64))


def _fewest(method: str, settings: LatentMaps) -> tuple[int, str]:
    """Return how many latents a method needs, and why."""
    if method == "tsne":
        return math.floor(3 * settings.perplexity) + 2, f"t-SNE of perplexity {settings.perplexity:g}"
    return settings.neighbours + 2, f"{settings.neighbours} neighbours"


def _unit_free(latents: np.ndarray, fewest: int, reason: str) -> np.ndarray:
    """Return latents centred and in units of their rms, float64 (n, ≥ 2): a lone axis gets one of zeros beside it."""
    values = _checked(latents, "latents")
    if len(values) < fewest:
        raise DataError(f"{len(values)} latents are too few for {reason}: give {fewest} or more, or ask for less")
    values = values - values.mean(axis=0)
    values = values / np.sqrt(np.mean(np.square(values)))
    return values if values.shape[1] > 1 else np.pad(values, ((0, 0), (0, 1)))


def _checked(latents: np.ndarray, what: str) -> np.ndarray:
    values = np.asarray(latents, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise DataError(f"{what} have the shape {values.shape}; give one row of numbers for each patch: (n, k)")
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise DataError(
            f"{bad.sum()} of {len(bad)} {what} are not finite, the first in row {bad.argmax()}; did training diverge?"
        )
    if what == "latents" and not np.ptp(values, axis=0).any():
        raise DataError(
            f"all {len(values)} latents are equal, so there is nothing to map; the autoencoder has collapsed: "
            "train it longer, or with a weaker prior"
        )
    return values


@contextmanager
def _reproducible() -> Iterator[None]:
    """Compute on one thread, so that maps do not depend on how many there are, and keep quiet.

    What libraries warn of are neighbourhood graphs in pieces. They join these, and the scores tell what came of it.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _upright(embedding: np.ndarray) -> np.ndarray:
    """Turn every axis so that its largest value is positive: the sign of an eigenvector is its library's whim."""
    largest = np.take_along_axis(embedding, np.abs(embedding).argmax(axis=0)[None], axis=0)
    return embedding * np.where(largest < 0, -1.0, 1.0)


def _pca(points: np.ndarray, settings: LatentMaps) -> np.ndarray:
    from sklearn.decomposition import PCA

    return PCA(n_components=2, svd_solver="full").fit_transform(points)


def _tsne(points: np.ndarray, settings: LatentMaps) -> np.ndarray:
    from sklearn.manifold import TSNE

    return TSNE(
        perplexity=settings.perplexity, early_exaggeration=settings.early_exaggeration,
        init="pca", random_state=settings.seed,
    ).fit_transform(points)  # fmt: skip


# the dense solvers of LLE and Isomap take 0.2 s; the sparse ones start from other random numbers each time


def _lle(points: np.ndarray, settings: LatentMaps) -> np.ndarray:
    from sklearn.manifold import LocallyLinearEmbedding

    return LocallyLinearEmbedding(n_neighbors=settings.neighbours, eigen_solver="dense").fit_transform(points)


def _isomap(points: np.ndarray, settings: LatentMaps) -> np.ndarray:
    from sklearn.manifold import Isomap

    return Isomap(n_neighbors=settings.neighbours, eigen_solver="dense").fit_transform(points)


def _umap(points: np.ndarray, settings: LatentMaps) -> np.ndarray:
    if not available(["umap"]):
        raise DataError("UMAP is not installed: pip install supercosm[maps], or leave 'umap' out of the methods")
    from umap import UMAP

    return UMAP(n_neighbors=settings.neighbours, random_state=settings.seed, n_jobs=1).fit_transform(points)


METHODS: dict[str, Callable[[np.ndarray, LatentMaps], np.ndarray]] = {
    "pca": _pca,
    "tsne": _tsne,
    "lle": _lle,
    "isomap": _isomap,
    "umap": _umap,
}


def scores(latents: np.ndarray, embedding: np.ndarray, neighbours: int) -> Scores:
    """Compare the neighbourhoods of latents (n, k) and of their map (n, 2).

    Raises DataError for values that are no numbers, for latents that are all equal, and unless 1 ≤ neighbours < n/2.
    """
    from sklearn.manifold import trustworthiness

    points, places = _checked(latents, "latents"), _checked(embedding, "places in the map")
    if len(points) != len(places):
        raise DataError(f"{len(points)} latents and {len(places)} places in the map are not of the same patches")
    if not 1 <= neighbours < len(points) / 2:
        raise DataError(
            f"neighbourhoods of {neighbours} cannot be judged among {len(points)} latents: give more than "
            f"{max(2 * neighbours, 2)} latents, or fewer neighbours but at least 1"
        )
    # places that coincide are told apart by their row, which follows the box: shuffled, they score chance
    shuffled = np.random.default_rng(0).permutation(len(points))
    points, places = points[shuffled], places[shuffled]
    with _reproducible():
        trust = float(trustworthiness(points, places, n_neighbors=neighbours))
    return Scores(trust, _preservation(points, places, neighbours))


def _preservation(points: np.ndarray, places: np.ndarray, neighbours: int) -> float:
    near, found = (_nearest(values, neighbours) for values in (points, places))
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(near, found, strict=True)]) / neighbours)


def _nearest(values: np.ndarray, neighbours: int) -> np.ndarray:
    """Return the rows of the nearest neighbours of every point but itself, (n, neighbours)."""
    distances = cdist(values, values)
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1, kind="stable")[:, :neighbours]


def chance(count: int, neighbours: int) -> Scores:
    """Return what a map of `count` random points scores on average."""
    n, k = count, neighbours
    return Scores(1 - (n - 1 - k) * (n - k) / ((n - 1) * (2 * n - 3 * k - 1)), k / (n - 1))


def toy(shape: Shape, points: int = 1000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return points (n, 3) on a bent sheet of scikit-learn, and how far along its curve each is, (n,) in radians."""
    from sklearn.datasets import make_s_curve, make_swiss_roll

    shapes = {"s-curve": make_s_curve, "swiss-roll": make_swiss_roll}
    if shape not in shapes:
        raise DataError(f"there is no shape '{shape}'; choose among {', '.join(shapes)}")
    return shapes[shape](points, random_state=seed)
