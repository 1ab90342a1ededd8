"""What latents look like: maps of those of real patches, reconstructions, and what a variational coder draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from astropy.table import QTable
from torch import Tensor

from supercosm.compression import latentmaps
from supercosm.compression.coder import Coder
from supercosm.compression.distortion import spectra
from supercosm.compression_settings import LatentMaps
from supercosm.config import Compression, Statistics
from supercosm.errors import DataError
from supercosm.fields import DensityField, from_log_density
from supercosm.patches import Place, draw_patches, log_slabs, slab_cells
from supercosm.statistics.environment import CLASSES, classify
from supercosm.tables import LENGTH, WAVE_NUMBER

PATCHES = 3  # seed of the drawn patches: apart from those of training and validation
TRAVERSED = 6  # latents whose traversal is shown
STEPS = 7  # pictures of a traversal and of an interpolation
REACH = 3.0  # deviations of the prior that a traversal goes to


def map_latents(coder: Coder, boxes: Sequence[DensityField], settings: Compression, statistics: Statistics) -> QTable:
    """Map the latents of patches of several boxes, by every method that is installed.

    One row per patch: x and y of every map, ln of its mean density, environment (0 void, 1 sheet, 2 filament, 3 knot:
    the class that holds most mass of its central quarter), Ω_m and σ_8. meta: scores by method, methods left out.
    """
    if coder.card.settings.dimensions != 2:
        raise DataError(f"coder '{coder.card.name}' is of blocks; latents are mapped of coders of projected patches")
    maps = settings.maps
    count = max(1, maps.points // len(boxes))
    thick = slab_cells(coder.card.thickness, boxes[0].box_size, len(boxes[0].data))
    pieces, rows = [], []
    for number, box in enumerate(boxes):
        x, places = draw_patches([log_slabs(box.data, thick)], coder.card.patch, count, PATCHES + 1000 * number)
        pieces.append(x)
        classes = classify(box.data, box.box_size, statistics.environment_radius, statistics.environment_threshold)
        environments = [_environment(place, classes, box.data, coder.card.patch, thick) for place in places]
        means = np.log(from_log_density(x.numpy()).mean(axis=(1, 2, 3)))
        rows += [
            (mean, environment, box.cosmology.Omega_m, box.cosmology.sigma8)
            for mean, environment in zip(means, environments, strict=True)
        ]
    table = QTable(rows=rows, names=("log_density", "environment", "Omega_m", "sigma8"))
    # in units in which equal differences of any latent change the patch alike
    latents = (coder.encode(torch.cat(pieces)) / coder.grain).numpy().astype(np.float64)
    table.meta = {"coder": coder.card.name, "latents": latents.shape[1], **_meta(maps, len(latents))}
    return _with_maps(table, latents, maps)


def sanity_table(shape: latentmaps.Shape, settings: LatentMaps) -> QTable:
    """Map an S-curve or a swiss roll of 1000 points: x, y, z, place along the curve, and every map."""
    points, along = latentmaps.toy(shape, seed=settings.seed)
    table = QTable({"x": points[:, 0], "y": points[:, 1], "z": points[:, 2], "along": along})
    table.meta = {"shape": shape, **_meta(settings, len(points))}
    return _with_maps(table, points, settings)


def _meta(maps: LatentMaps, count: int) -> dict[str, object]:
    left_out = [method for method in maps.methods if method not in latentmaps.available(maps.methods)]
    by_chance = latentmaps.chance(count, maps.neighbours)
    return {
        "left_out": left_out,
        "neighbours": maps.neighbours,
        "perplexity": maps.perplexity,
        "chance": {"trustworthiness": by_chance.trustworthiness, "preservation": by_chance.preservation},
        "scores": {},
    }


def _with_maps(table: QTable, latents: np.ndarray, maps: LatentMaps) -> QTable:
    for method in latentmaps.available(maps.methods):
        found = latentmaps.embed(latents, method, maps)
        table[f"{method}_x"], table[f"{method}_y"] = found[:, 0], found[:, 1]
        scores = latentmaps.scores(latents, found, maps.neighbours)
        table.meta["scores"][method] = {
            "trustworthiness": round(scores.trustworthiness, 4),
            "preservation": round(scores.preservation, 4),
        }
    return table


def _environment(place: Place, classes: np.ndarray, density: np.ndarray, side: int, thick: int) -> int:
    """Return the class that holds the most mass in the central quarter of a projected patch."""
    n = len(density)
    depth = np.arange(place.slab * thick, (place.slab + 1) * thick)
    across = [(np.arange(side // 4, side - side // 4) + first) % n for first in place.start]
    cells = np.ix_(depth, *across)
    classes, density = (np.moveaxis(field, place.axis, 0)[cells] for field in (classes, density))
    return int(np.argmax(np.bincount(classes.ravel(), density.ravel(), len(CLASSES))))


def gallery(coder: Coder, x: Tensor) -> dict[str, np.ndarray]:
    """Return original (b, p, p), latents (b, k) and reconstruction (b, p, p) of patches of log density."""
    z = coder.encode(x)
    return {"original": x[:, 0].numpy(), "latents": z.numpy(), "decoded": coder.decode(z)[:, 0].numpy()}


def prior_spectra(coder: Coder, x: Tensor, seed: int) -> QTable:
    """Compare P(k) of what a variational coder draws with that of test patches (b, 1, p, p) of log density.

    Columns: k [h/Mpc]; of the log density, data, decoded, mean (of the prior, decoded) and sample (with the noise of
    the likelihood) [(Mpc/h)²]; the same of the density, with density_ before the name.
    """
    length = coder.card.patch * coder.card.cell
    means, samples = coder.draw(len(x), seed)
    columns: dict[str, np.ndarray] = {}
    fields = {"data": x, "decoded": coder.decode(coder.encode(x)), "mean": means, "sample": samples}
    for name, field in fields.items():
        plain = field[:, 0].numpy()
        lifted = plain - plain.mean() + 1  # P(k) is of contrasts: of ln(1 + δ) about its mean, too
        found = spectra(lifted, lifted, length, 2)
        columns |= {"k": found.k * WAVE_NUMBER, name: found.first * LENGTH**2}
        density = from_log_density(plain)
        columns[f"density_{name}"] = spectra(density, density, length, 2).first * LENGTH**2
    return QTable(columns)


def walks(coder: Coder, x: Tensor, seed: int) -> dict[str, np.ndarray]:
    """Walk through the latent space of a variational coder.

    traversal (t, s, p, p): the most informative latents, one by one from −3 to 3 deviations of the prior; interpolation
    (2, s, p, p): from one test patch to another, through the latents, and in a straight line through the fields.
    drawn (s, p, p), drawn_means: samples of the prior.
    """
    z = coder.encode(x[:2])
    order = np.argsort(coder.card.information)[::-1][:TRAVERSED]
    course = torch.linspace(-REACH, REACH, STEPS)
    traversal = torch.zeros(len(order), STEPS, z.shape[1])
    for row, latent in enumerate(order):
        traversal[row, :, latent] = course
    decoded = coder.decode(traversal.flatten(0, 1))[:, 0]
    share = torch.linspace(0, 1, STEPS)[:, None]
    between = coder.decode((1 - share) * z[:1] + share * z[1:])[:, 0]
    share = share[..., None]
    straight = (1 - share) * x[:1, 0] + share * x[1:2, 0]
    means, samples = coder.draw(STEPS, seed)
    return {
        "traversed": order.astype(np.int32),
        "traversal": decoded.reshape(len(order), STEPS, *decoded.shape[1:]).numpy(),
        "interpolation": torch.stack([between, straight]).numpy(),
        "drawn": samples[:, 0].numpy(),
        "drawn_means": means[:, 0].numpy(),
    }
