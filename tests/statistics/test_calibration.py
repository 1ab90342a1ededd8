"""Scores, ranks and spreads against closed forms for Gaussian ensembles, and small ensembles by hand."""

import numba
import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import binom, kstest, norm, t

from supercosm.errors import DataError
from supercosm.statistics import calibration
from supercosm.statistics.power import power, transform

BOX = 50.0
EDGES = np.array([0.5, 8, 16, 24])
CELLWISE = ["crps", "spread_skill", "ranks", "rank_histogram"]


def ensemble(size, cells, spread=1.0, bias=0.0, seed=0):
    """Draw samples and truth from one Gaussian per cell, whose centre and width vary; `spread` widens the samples."""
    generator = np.random.default_rng(seed)
    centre, width = 3 * generator.normal(size=cells), np.exp(0.3 * generator.normal(size=cells))
    truth = centre + width * generator.normal(size=cells)
    return centre + width * (bias + spread * generator.normal(size=(size, *np.atleast_1d(cells)))), truth


def rank_shares(size, spread=1.0, bias=0.0):
    """Probability of every rank of a standard normal truth among samples N(bias, spread²), (size + 1,)."""
    y = np.linspace(-9, 9, 20_001)[:, None]  # the integrand vanishes at both ends, so the sum is exact to 1e-8
    return 9e-4 * np.sum(norm.pdf(y) * binom.pmf(np.arange(size + 1), size, ndtr((y - bias) / spread)), axis=0)


def test_score_of_three_samples_by_hand():
    """∫ (F − 1[x ≥ 2])² dx for samples 0, 1, 5 is (1 + 4 + 3)/9; over pairs, ⟨|x − 2|⟩ = 2 less half of 20/6."""
    samples, truth = np.array([[5.0], [0.0], [1.0]]), np.array([2.0])
    assert calibration.crps(samples, truth, fair=False) == pytest.approx([8 / 9], rel=1e-14)
    assert calibration.crps(samples, truth) == pytest.approx([1 / 3], rel=1e-14)


def test_scores_and_ranks_are_those_of_all_pairs(monkeypatch):
    """In blocks, of torch tensors in float32, on two axes; differences are summed in float64."""
    monkeypatch.setattr(calibration, "BLOCK", 7)
    samples, truth = ensemble(6, (4, 5))
    samples, truth = torch.as_tensor(samples).float(), torch.as_tensor(truth).float()
    x, y = samples.double().numpy(), truth.double().numpy()
    pairs = np.abs(x[:, None] - x[None]).sum((0, 1)) / 2
    assert np.array_equal(calibration.ranks(samples, truth), np.sum(x < y, axis=0))
    error = np.abs(x - y).mean(0)
    assert np.allclose(calibration.crps(samples, truth), error - pairs / 30, rtol=0, atol=1e-13)
    assert np.allclose(calibration.crps(samples, truth, fair=False), error - pairs / 36, rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [2, 5, 40])
def test_mean_score_of_a_gaussian_does_not_depend_on_the_number_of_samples(size):
    """σ [z (2Φ(z) − 1) + 2φ(z) − 1/√π] (Gneiting & Raftery 2007), within 5 standard errors of 20 000 ensembles.

    Without the correction for S it is σ/(√π S) higher.
    """
    sigma = 1.7
    samples = sigma * np.random.default_rng(size).normal(size=(size, 20_000))
    for z in (0.0, 0.6, -2.0):
        truth = np.full(20_000, sigma * z)
        expected = sigma * (z * (2 * ndtr(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
        fair, plain = calibration.crps(samples, truth), calibration.crps(samples, truth, fair=False)
        assert fair.mean() == pytest.approx(expected, abs=5 * fair.std() / np.sqrt(20_000))
        assert plain.mean() == pytest.approx(
            expected + sigma / np.sqrt(np.pi) / size, abs=5 * plain.std() / np.sqrt(20_000)
        )


def test_spread_and_error_by_hand():
    """Cells with samples (0, 2) and (1, 5): variances 2 and 8; means 1 and 3 beside truths 2 and 6."""
    found = calibration.spread_skill(np.array([[0.0, 1], [2, 5]]), np.array([2.0, 6]))
    assert (found.size, found.bias) == (2, -2.0)
    assert [found.spread, found.error] == pytest.approx([np.sqrt(5), np.sqrt(5)], rel=1e-14)
    assert found.ratio == pytest.approx(np.sqrt(1.5), rel=1e-14)
    assert np.isnan(calibration.spread_skill(np.array([[0.0], [2]]), np.array([1.0])).ratio)


@pytest.mark.parametrize("size", [2, 7])
def test_calibrated_spread_is_the_error_and_stretching_it_shows(size):
    """200 000 cells of varying width leave 0.3 % of the ratio: 4 of that. Stretched about its mean, exactly s."""
    samples, truth = ensemble(size, 200_000, seed=size)
    found = calibration.spread_skill(samples, truth)
    assert found.ratio == pytest.approx(1, abs=0.012)
    assert found.bias == pytest.approx(0, abs=5 * found.error / np.sqrt(200_000))
    mean = samples.mean(0)
    for s in (0.5, 3.0):
        stretched = calibration.spread_skill(mean + s * (samples - mean), truth)
        assert [stretched.ratio, stretched.error] == pytest.approx([s * found.ratio, found.error], rel=1e-10)


@pytest.mark.parametrize(
    ("spread", "bias", "steps"),
    [(1.0, 0.0, None), (0.5, 0.0, [-1, -1, -1, 1, 1, 1]), (2.0, 0.0, [1, 1, 1, -1, -1, -1]), (1.0, 0.7, [-1] * 6)],
)
def test_rank_histogram_is_flat_hollow_bulging_or_sloped(spread, bias, steps):
    """Shares of ranks by quadrature, 4.5 binomial errors of 50 000 independent cells; with the shape they must have."""
    shares = rank_shares(6, spread, bias)
    found = calibration.rank_histogram(*ensemble(6, 50_000, spread, bias))
    assert found.counts.sum() == found.effective == 50_000
    assert np.all(np.abs(found.counts / 50_000 - shares) < 4.5 * np.sqrt(shares * (1 - shares) / 50_000))
    if steps is None:
        assert shares == pytest.approx(np.full(7, 1 / 7), abs=1e-8)
        assert found.p_value > 1e-4
    else:
        assert np.sign(np.diff(found.counts)).tolist() == steps
        assert found.p_value < 1e-100


def test_p_value_of_a_histogram():
    """χ² = 30 Σ (p − 1/3)²/(1/3) = 5, and exp(−χ²/2) for 2 degrees of freedom; of calibrated ones 20 % are below 0.2.

    Among 400 histograms the share below scatters by 0.02: four times that is allowed.
    """
    known = calibration.RankHistogram(np.array([10, 20, 30]), 30.0)
    assert [known.chi2, known.p_value] == pytest.approx([5, np.exp(-2.5)], rel=1e-12)
    values = [calibration.rank_histogram(*ensemble(3, 1000, seed=seed)).p_value for seed in range(400)]
    assert np.mean(np.array(values) < 0.2) == pytest.approx(0.2, abs=0.08)


def test_ties_are_broken_evenly_and_by_seed(monkeypatch):
    """The truth 1 among 0, 1, 1, 2 has rank 1, 2 or 3, each in a third of 90 000 cells: 4.5 binomial errors."""
    samples, truth = np.repeat([[0.0], [1], [1], [2]], 90_000, axis=1), np.ones(90_000)
    found = calibration.ranks(samples, truth, seed=3)
    counts = np.bincount(found, minlength=5)
    assert counts[0] == counts[4] == 0
    assert np.all(np.abs(counts[1:4] - 30_000) < 4.5 * np.sqrt(20_000))
    agreement = np.mean(found == calibration.ranks(samples, truth, seed=4))
    assert agreement == pytest.approx(1 / 3, abs=4.5 * np.sqrt(2 / 9 / 90_000))
    monkeypatch.setattr(calibration, "BLOCK", 1000)
    assert np.array_equal(found, calibration.ranks(samples, truth, seed=3))
    assert np.array_equal(found[:40_000], calibration.ranks(samples[:, :40_000], truth[:40_000], seed=3))


@pytest.mark.parametrize(("axes", "side"), [(2, 128), (3, 32)])
def test_effective_number_of_a_field_of_patches_is_that_of_the_patches(axes, side):
    """Cells are equal in patches of 4: N/4^d count. Between 16 or 64 blocks the scatter is known to 14 or 7 %.

    (√(2/(blocks − 1)/S), S = 7.) The mean of four fields is allowed four errors. Of independent cells nearly all count.
    """
    patch, patched, white = np.ones((4,) * axes), [], []
    for seed in range(4):
        samples, truth = ensemble(7, (side // 4,) * axes, seed=seed)
        samples, truth = np.stack([np.kron(one, patch) for one in samples]), np.kron(truth, patch)
        patched.append(calibration.rank_histogram(samples, truth, blocks=4).effective)
        white.append(calibration.rank_histogram(*ensemble(7, (side,) * axes, seed=seed), blocks=4).effective)
    error = np.sqrt(2 / (4**axes - 1) / 7)
    assert np.mean(patched) == pytest.approx((side // 4) ** axes, rel=4 * error / np.sqrt(4))
    assert (1 - 3 * error) * side**axes < min(white) <= max(white) <= side**axes
    assert calibration.rank_histogram(samples, truth, effective=12.5, blocks=4).effective == 12.5


def test_coverage_is_the_share_between_quantiles():
    """A flat histogram has the expected share. Of 11 samples, 40, 80 and 100 % lie between two, as numpy's quantiles.

    Counts 1, 2, 3, 4 and level ½: half way between 0.1 and 0.3 are below, half way between 0.6 and 0.3 below the other.
    """
    for size in (2, 8, 11):
        flat = calibration.coverage(np.full(size + 1, 40), 100.0, (0.1, 0.5, 0.68, 1.0))
        for share in (flat.expected, flat.found):
            assert share == pytest.approx((size - 1) * flat.levels / (size + 1), rel=1e-12)
        assert flat.error == pytest.approx(np.sqrt(flat.expected * (1 - flat.expected) / 100), rel=1e-14)
    samples, truth = ensemble(11, 5000, spread=0.6)
    found = calibration.coverage(calibration.rank_histogram(samples, truth).counts, 5000.0, (0.4, 0.8, 1.0))
    low, high = (np.quantile(samples, (1 + sign * found.levels) / 2, axis=0) for sign in (-1, 1))
    assert found.found == pytest.approx(np.mean((low < truth) & (truth < high), axis=1), abs=1e-12)
    assert np.all(found.found < found.expected - 5 * found.error)
    assert calibration.coverage(np.array([1, 2, 3, 4]), 10.0, [0.5]).found == pytest.approx([0.25], rel=1e-12)


def test_curves_of_a_calibrated_ensemble_follow_student():
    """z has Student's t distribution with S − 1 = 7 degrees of freedom, √(7/5) its rms: 1 % with 12 000 curves' bins.

    z² has variance 7.84 there (fourth moment 9.8); four errors are allowed.
    """
    samples, truth = ensemble(8, (3000, 4))
    found = calibration.curve_calibration(samples, truth, levels=(0.5, 0.9))
    assert [found.z_rms_expected**2, found.z_rms**2] == pytest.approx([7 / 5, np.mean(found.z**2)], rel=1e-12)
    assert found.z_rms**2 == pytest.approx(7 / 5, abs=4 * np.sqrt(7.84 / 12_000))
    assert kstest(found.z.ravel(), t(7).cdf).pvalue > 1e-3
    assert np.array_equal(found.histogram.counts, calibration.rank_histogram(samples, truth).counts)
    fewer = calibration.curve_calibration(samples, truth, effective=50).histogram
    assert (found.histogram.effective, fewer.effective) == (12_000, 50)
    for b, shares in enumerate(found.by_bin.T):
        counts = calibration.rank_histogram(samples[..., b], truth[:, b]).counts
        assert np.array_equal(shares, calibration.coverage(counts, 3000, (0.5, 0.9)).found)


def test_curves_of_few_or_equal_samples():
    """z by hand: samples 0 and 2, truth 3: 2 over √2 √1.5. Samples that agree, on 0.1 too, have no spread and no z."""
    found = calibration.curve_calibration(np.array([[[0.0, 0.1]], [[2.0, 0.1]]]), np.array([[3.0, 0.2]]))
    assert [found.z[0, 0], found.z_rms] == pytest.approx([2 / np.sqrt(3)] * 2, rel=1e-14)
    assert found.z_rms_expected == np.inf
    agreeing = calibration.curve_calibration(np.full((3, 2, 2), 0.1), np.full((2, 2), 0.2))
    assert np.isnan([*agreeing.z.ravel(), agreeing.z_rms]).all()


def related_fields(own, count):
    """Return transforms of a shared white field plus `own` times independent ones, 48 cells per side."""
    fields = [torch.randn((48, 48, 48), generator=torch.Generator().manual_seed(seed)) for seed in range(count + 1)]
    return [transform((fields[0] + own * field)[None], 3, 24) for field in fields[1:]]


def test_samples_correlate_with_each_other_as_with_the_truth():
    """r = 1/(1 + a²) where fields share one part and have a part of rms a each; 5 (1 − r²)/√modes are allowed.

    Samples with a smaller part b of their own agree with each other more than with the truth: 1/(1 + b²) above
    1/√((1 + a²)(1 + b²)). The same field twice has 1.
    """
    *samples, truth = related_fields(1.0, 4)
    found = calibration.diversity((one for one in samples), truth, BOX, EDGES, 48)
    alone = power(truth, truth, BOX, EDGES, 48)
    assert np.array_equal(found.k, alone.k)
    narrow = calibration.diversity(related_fields(0.3, 3), truth, BOX, EDGES, 48)
    values = (found.twin, found.truth, narrow.twin, narrow.truth)
    for value, r in zip(values, (0.5, 0.5, 1 / 1.09, 1 / np.sqrt(2 * 1.09)), strict=True):
        assert np.all(np.abs(value - r) < 5 * (1 - r**2) / np.sqrt(alone.modes))
    assert calibration.diversity([truth, truth], truth, BOX, EDGES, 48).twin == pytest.approx(np.ones(3), rel=1e-6)


def test_diversity_averages_the_spectra_of_all_pairs():
    """As written out pair by pair; 1e-5 is for float32. Samples stay; so do the bits, on one thread and on all."""
    *samples, truth = related_fields(1.0, 4)
    samples[1] *= 2.0
    kept = [one.clone() for one in samples]
    found = calibration.diversity(samples, truth, BOX, EDGES, 48)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = calibration.diversity(samples, truth, BOX, EDGES, 48)
    finally:
        numba.set_num_threads(threads)
    assert np.array_equal([found.twin, found.truth], [alone.twin, alone.truth])
    pairs = [power(kept[i], kept[j], BOX, EDGES, 48) for i, j in ((0, 1), (0, 2), (1, 2))]
    against = [power(one, truth, BOX, EDGES, 48) for one in kept]
    for value, spectra in ((found.twin, pairs), (found.truth, against)):
        level = sum(np.sqrt(one.first * one.second) for one in spectra)
        assert value == pytest.approx(sum(one.cross for one in spectra) / level, rel=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(samples, kept, strict=True))
    nothing = calibration.diversity([0 * truth, 0 * truth], truth, BOX, EDGES, 48)
    assert np.isnan([nothing.twin, nothing.truth]).all()


@pytest.mark.parametrize("name", [*CELLWISE, "curve_calibration"])
def test_impossible_ensembles_are_refused(name):
    good, truth = np.zeros((3, 4, 2)), np.zeros((4, 2))
    broken, lost = good.copy(), truth.copy()
    broken[1, 2, 1], broken[0, 0, 0], lost[3, 0] = np.nan, np.inf, -np.inf
    for samples, target, message in (
        (good[:1], truth, "at least 2 samples of one box, but there are 1"),
        (good, truth.T, r"samples \(3, 4, 2\) do not fit a truth \(2, 4\)"),
        (good, np.zeros((4, 2, 1)), r"must be \(S, …\) and \(…\)"),
        (np.zeros((3, 0, 2)), np.zeros((0, 2)), "do not fit"),
        (broken, truth, "2 values of the samples are NaN or infinite"),
        (good, lost, "1 values of the truth are NaN or infinite"),
    ):
        with pytest.raises(DataError, match=message):
            getattr(calibration, name)(samples, target)


def test_other_impossible_input_is_refused():
    for level in (0.0, -0.1, 1.01, np.nan):
        with pytest.raises(DataError, match="above 0 and not above 1"):
            calibration.coverage(np.ones(4), 10.0, (0.5, level))
    for blocks in (1, 5):
        with pytest.raises(DataError, match=rf"cells \(8, 8\) cannot be cut into {blocks} equal blocks"):
            calibration.rank_histogram(np.zeros((3, 8, 8)), np.zeros((8, 8)), blocks=blocks)
    with pytest.raises(DataError, match=r"curves of shape \(6,\) are not \(boxes, bins\)"):
        calibration.curve_calibration(np.zeros((3, 6)), np.zeros(6))
    modes = related_fields(1.0, 1)
    for samples in ([], modes):
        with pytest.raises(DataError, match=f"at least 2 samples of one box, but there are {len(samples)}"):
            calibration.diversity(samples, modes[0], BOX, EDGES, 48)
