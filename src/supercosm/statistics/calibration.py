"""Calibration of stochastic models: whether the spread of samples of one box is the error that they make.

If samples are drawn from the true distribution given the low-resolution run, then the truth is one more sample.
Everything here tests that, with the finite number of samples S in the expected values. Arrays are (S, …) for samples
and (…) for the truth, numpy or CPU torch; they are gone through in blocks, so only results have the truth's size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import chdtrc, ndtr

from supercosm import noise
from supercosm.errors import DataError
from supercosm.statistics.power import power

BLOCK = 1 << 16  # cells sorted at once: a block of eight samples in float64 fits a CPU's cache
LEVELS = (0.5, 0.68, 0.9)
TIES = 2  # stream of the noise that breaks ties: never that of simulations (0) or of samples (1)
ROW = 1 << 16  # cells that share their second coordinate in the noise


def crps(samples: np.ndarray, truth: np.ndarray, fair: bool = True) -> np.ndarray:
    """Score samples (S, …) in every cell by the continuous ranked probability score: float64 (…), small is good.

    CRPS = ⟨|x − y|⟩ − ½ ⟨|x − x'|⟩ (Gneiting & Raftery 2007, eq. 21), in the field's unit. fair: over the S (S − 1)
    pairs of different samples, so that its mean does not depend on S, though it can be negative (Ferro 2014); else
    over all S², which favours too narrow ensembles. Raises DataError on unequal shapes, S < 2 and NaN.
    """
    samples, truth = _ensemble(samples, truth)
    size = len(samples)
    weights = np.arange(1 - size, size, 2) / (size * (size - fair))  # Σ_{i<j} |xᵢ − xⱼ| = Σ (2i − S − 1) x₍ᵢ₎
    score = np.empty(truth.size)
    for rows, x, y in _blocks(samples, truth):
        score[rows] = np.abs(x - y).mean(0) - weights @ np.sort(x, axis=0)
    return score.reshape(truth.shape)


@dataclass(frozen=True)
class SpreadSkill:
    """Spread of `size` samples beside the error of their mean, in the field's unit.

    spread: root of the mean unbiased variance over samples. error: rms of mean − truth. bias: mean of mean − truth.
    """

    size: int
    spread: float
    error: float
    bias: float

    @property
    def ratio(self) -> float:
        """√((S + 1)/S) spread / error: 1 if calibrated, below 1 if overconfident (Fortin et al. 2014)."""
        return math.sqrt((self.size + 1) / self.size) * self.spread / self.error if self.error else math.nan


def spread_skill(samples: np.ndarray, truth: np.ndarray) -> SpreadSkill:
    """Compare spread and error of samples (S, …) over all cells of the truth (…); raises DataError as `crps`."""
    samples, truth = _ensemble(samples, truth)
    sums = np.zeros(3)
    for _, x, y in _blocks(samples, truth):
        difference = x.mean(0) - y
        sums += x.var(0, ddof=1).sum(), (difference**2).sum(), difference.sum()
    variance, squared, bias = (float(x) for x in sums / truth.size)
    return SpreadSkill(len(samples), math.sqrt(variance), math.sqrt(squared), bias)


def ranks(samples: np.ndarray, truth: np.ndarray, seed: int = 0) -> np.ndarray:
    """Count the samples (S, …) below the truth (…) in every cell: int16 (…), 0 to S.

    The truth takes any place among equal samples with equal probability, by (seed, cell). Raises DataError as `crps`.
    """
    samples, truth = _ensemble(samples, truth)
    found = np.empty(truth.size, np.int16)
    for rows, x, y in _blocks(samples, truth):
        below, equal = (x < y).sum(0), (x == y).sum(0)
        tied = np.flatnonzero(equal)
        below[tied] += np.floor(_uniform(seed, rows.start + tied) * (equal[tied] + 1)).astype(int)
        found[rows] = below
    return found.reshape(truth.shape)


def _uniform(seed: int, cells: np.ndarray) -> np.ndarray:
    index = torch.as_tensor(cells)
    gaussian, _ = noise.gaussian_pair(noise.key_of(seed, TIES), (index % ROW, index // ROW, torch.zeros_like(index)))
    return ndtr(gaussian.numpy())


@dataclass(frozen=True)
class Coverage:
    """How often the truth lies in the central interval of the samples at nominal levels: each array (levels,).

    found: share of cells. expected: of them, if calibrated, with this S. error: binomial, of `found` if calibrated.
    """

    levels: np.ndarray
    found: np.ndarray
    expected: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class RankHistogram:
    """Histogram of the rank of the truth among S samples: flat if calibrated.

    ∪ is too narrow, ∩ too wide, a slope biased (Hamill 2001). counts: (S + 1,). effective: number of cells that count
    as independent; neighbours are correlated, so for fields it is far below the number of cells.
    """

    counts: np.ndarray
    effective: float

    @property
    def chi2(self) -> float:
        """χ² of a flat histogram, S degrees of freedom, as if from `effective` cells (Rao & Scott 1981)."""
        expected = 1 / len(self.counts)
        return float(self.effective * ((self.counts / self.counts.sum() - expected) ** 2 / expected).sum())

    @property
    def p_value(self) -> float:
        """Probability of a larger χ² if calibrated."""
        return float(chdtrc(len(self.counts) - 1, self.chi2))


def coverage(counts: np.ndarray, effective: float, levels: Sequence[float] = LEVELS) -> Coverage:
    """Compute the coverage of central intervals from rank counts (S + 1,); raises DataError on levels outside (0, 1].

    Level p lies between order statistics h and S + 1 − h, h = 1 + (S − 1)(1 − p)/2 (Hyndman & Fan 1996, type 7, numpy's
    default). Of a fractional h the two neighbours are averaged by weight, so that a calibrated truth is inside with
    probability (S − 1) p / (S + 1) for any distribution.
    """
    size, p = len(counts) - 1, np.asarray(levels, float)
    if not np.all((p > 0) & (p <= 1)):
        raise DataError(f"coverage was asked at levels {list(levels)}; they must lie above 0 and not above 1")
    below = np.append(0, np.cumsum(counts)) / np.sum(counts)
    h = 1 + (size - 1) * (1 - p) / 2
    low, high = (np.interp(place, np.arange(size + 2), below) for place in (h, size + 1 - h))
    expected = (size - 1) * p / (size + 1)
    return Coverage(p, high - low, expected, np.sqrt(expected * (1 - expected) / effective))


def rank_histogram(
    samples: np.ndarray, truth: np.ndarray, seed: int = 0, effective: float | None = None, blocks: int = 0
) -> RankHistogram:
    """Count ranks of the truth (…) among samples (S, …), with the number of cells that count as independent.

    That number is `effective` where given; else, from the scatter between `blocks` pieces along every axis (4 or more
    blocks, each wider than the field's correlation length); else, all cells. Raises DataError as `ranks`.
    """
    found, size = ranks(samples, truth, seed), len(samples)
    if effective is None:
        effective = _effective(found, size, blocks) if blocks else found.size
    return RankHistogram(np.bincount(found.reshape(-1), minlength=size + 1), float(effective))


def _effective(found: np.ndarray, size: int, blocks: int) -> float:
    """Divide the number of cells N by the design effect of a flat histogram, N Σⱼ var(pⱼ)/p₀ / S, if above 1.

    var(pⱼ) is that of the mean over blocks (Rao & Scott 1981, first-order correction).
    """
    if blocks < 2 or any(length % blocks for length in found.shape):
        raise DataError(f"cells {found.shape} cannot be cut into {blocks} equal blocks per axis; it must divide them")
    cut = found.reshape([n for length in found.shape for n in (blocks, length // blocks)])
    cut = np.moveaxis(cut, range(0, cut.ndim, 2), range(found.ndim)).reshape(blocks**found.ndim, -1)
    shares = np.stack([np.bincount(block, minlength=size + 1) for block in cut]) / cut.shape[1]
    variance = shares.var(0, ddof=1).sum() / len(cut)
    return found.size / max(1.0, found.size * variance * (size + 1) / size)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


@dataclass(frozen=True)
class CurveCalibration:
    """Calibration of curves such as P(k) over boxes and bins.

    z: (boxes, bins), (truth − mean)/(s √(1 + 1/S)), NaN where all samples agree: Student's t with S − 1 degrees of
    freedom if calibrated and Gaussian; its rms is then z_rms_expected = √((S − 1)/(S − 3)), infinite for S ≤ 3.
    histogram: ranks over all boxes and bins. by_bin: coverage found over boxes (levels, bins).
    """

    z: np.ndarray
    z_rms: float
    z_rms_expected: float
    histogram: RankHistogram
    by_bin: np.ndarray


def curve_calibration(
    samples: np.ndarray, truth: np.ndarray, levels: Sequence[float] = LEVELS, effective: float | None = None
) -> CurveCalibration:
    """Test curves of samples (S, boxes, bins) against those of the truth (boxes, bins).

    Pass ln P rather than P where bins hold few modes. `effective`: how many of the boxes × bins are independent;
    default all, too many where non-linear bins move together. Raises DataError on other shapes, S < 2 and NaN.
    """
    samples, truth = (np.asarray(x, np.float64) for x in _ensemble(samples, truth))
    if truth.ndim != 2:
        raise DataError(f"curves of shape {truth.shape} are not (boxes, bins); give one row per box")
    size, places = len(samples), ranks(samples, truth)
    z = _share(truth - samples.mean(0), (np.ptp(samples, 0) > 0) * samples.std(0, ddof=1) * math.sqrt(1 + 1 / size))
    counts = np.stack([np.bincount(column, minlength=size + 1) for column in places.T])
    return CurveCalibration(
        z=z,
        z_rms=math.sqrt(np.nanmean(z**2)) if np.isfinite(z).any() else math.nan,
        z_rms_expected=math.sqrt((size - 1) / (size - 3)) if size > 3 else math.inf,
        histogram=RankHistogram(counts.sum(0), float(effective or truth.size)),
        by_bin=np.stack([coverage(one, len(truth), levels).found for one in counts], axis=1),
    )


@dataclass(frozen=True)
class Diversity:
    """Cross-correlation of samples with each other, `twin`, and with the truth: each (bins,), at k [h/Mpc].

    Equal if calibrated; twin above truth if samples differ too little. Over all S (S − 1)/2 pairs and all S samples
    the cross spectra are averaged, then divided by the average √(PᵢPⱼ). NaN where there is no power.
    """

    k: np.ndarray
    twin: np.ndarray
    truth: np.ndarray


def diversity(
    samples: Iterable[torch.Tensor], truth: torch.Tensor, box_size: float, edges: np.ndarray, cells: int
) -> Diversity:
    """Correlate S ≥ 2 samples with each other and with the truth, all as transforms of `power.transform`.

    Samples are read once: the sum over pairs is the power of the summed field less that of each. Painting windows
    cancel but for the width of bins. Raises DataError on fewer than two samples.
    """
    total, autos, crosses, spectra = None, [], [], None
    for sample in samples:
        spectra = power(sample, truth, box_size, edges, cells)
        autos, crosses = [*autos, spectra.first], [*crosses, spectra.cross]
        total = sample.clone() if total is None else total.add_(sample)
    if len(autos) < 2:
        raise DataError(f"diversity needs at least 2 samples of one box, but there are {len(autos)}; draw more")
    autos, roots = np.array(autos), np.sqrt(autos)
    pairs = power(total, total, box_size, edges, cells).first - autos.sum(0)
    against = _share(np.sum(crosses, axis=0), roots.sum(0) * np.sqrt(spectra.second))
    return Diversity(spectra.k, _share(pairs, roots.sum(0) ** 2 - autos.sum(0)), against)


def _ensemble(samples: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    samples, truth = np.asarray(samples), np.asarray(truth)
    if samples.shape[1:] != truth.shape or not truth.size or samples.ndim != truth.ndim + 1:
        raise DataError(f"samples {samples.shape} do not fit a truth {truth.shape}; they must be (S, …) and (…)")
    if len(samples) < 2:
        raise DataError(f"calibration needs at least 2 samples of one box, but there are {len(samples)}; draw more")
    for name, values in (("samples", samples), ("truth", truth)):
        if bad := values.size - np.count_nonzero(np.isfinite(values)):
            raise DataError(f"{bad} values of the {name} are NaN or infinite; leave them out or repair the model")
    return samples, truth


def _blocks(samples: np.ndarray, truth: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yield flat cells in blocks, float64: rows, samples (S, rows), truth (rows,)."""
    flat, target = samples.reshape(len(samples), -1), truth.reshape(-1)
    for start in range(0, truth.size, BLOCK):
        rows = slice(start, min(start + BLOCK, truth.size))
        yield rows, flat[:, rows].astype(np.float64), target[rows].astype(np.float64)
