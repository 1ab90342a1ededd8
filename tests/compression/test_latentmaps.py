"""Maps of latents: sheets that are known to unroll do, scores are those of known maps, and latents that cannot be."""

import importlib.util

import numpy as np
import pytest
from scipy.stats import ortho_group, spearmanr

from supercosm.compression import latentmaps
from supercosm.compression.latentmaps import available, chance, embed, scores, toy
from supercosm.compression_settings import LatentMaps
from supercosm.errors import DataError

METHODS = ["pca", "tsne", "lle", "isomap"]
with_umap = pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="umap-learn is not installed")
EVERY = [*METHODS, pytest.param("umap", marks=with_umap)]
FEW = LatentMaps(perplexity=8.0, neighbours=6)  # for a hundred latents


def sanity(method, settings, shape="s-curve", points=1000):
    """Map a sheet that is known to unroll: how far along it each point is, the map, and its scores."""
    sheet, along = toy(shape, points, settings.seed)
    embedding = embed(sheet, method, settings)
    return along, embedding, scores(sheet, embedding, settings.neighbours)


def latents(count=100, size=5, seed=3):
    return np.random.default_rng(seed).normal(size=(count, size))


def order(along, coordinate):
    return abs(spearmanr(along, coordinate).statistic)


def test_isomap_unrolls_the_s_curve():
    """Its first coordinate is the arc length: it never turns back but for the width of the sheet."""
    along, embedding, found = sanity("isomap", LatentMaps())
    assert order(along, embedding[:, 0]) > 0.99
    assert found.trustworthiness > 0.99
    sheet = toy("s-curve")[0]
    unit = np.sqrt(np.mean(np.square(sheet - sheet.mean(axis=0))))
    # geodesic distances are lengths of the sheet, 3π; those along a graph zigzag or cut corners by a few per cent
    assert np.ptp(embedding[:, 0]) * unit == pytest.approx(3 * np.pi, rel=0.1)


@pytest.mark.parametrize("method", ["tsne", "lle", pytest.param("umap", marks=with_umap)])
def test_neighbours_in_maps_of_the_s_curve_are_neighbours(method):
    assert sanity(method, LatentMaps(), points=600)[2].trustworthiness > 0.95


def test_only_a_curved_map_unrolls_the_swiss_roll():
    """Seen flat, its layers lie on each other: no direction of the PCA's map orders them."""
    along, rolled, flat = sanity("pca", LatentMaps(), "swiss-roll")
    _, unrolled, good = sanity("isomap", LatentMaps(), "swiss-roll")
    turns = np.radians(np.arange(0, 180, 5))
    assert max(order(along, rolled @ (np.cos(a), np.sin(a))) for a in turns) < 0.6
    assert order(along, unrolled[:, 0]) > 0.99
    assert flat.trustworthiness < 0.95 < good.trustworthiness
    assert flat.preservation < 0.7 < good.preservation


def test_pca_keeps_distances_of_latents_in_a_plane():
    plane = latents(size=2) * (3.0, 1.0)
    rotated = plane @ ortho_group.rvs(6, random_state=1)[:2] + 40.0
    embedding = embed(rotated, "pca", FEW)
    expected = np.abs((plane - plane.mean(axis=0)) @ np.linalg.svd(plane - plane.mean(axis=0))[2].T)
    ratio = np.abs(embedding) / expected
    assert ratio == pytest.approx(np.full_like(ratio, ratio[0, 0]))  # one unit for both axes
    found = scores(rotated, embedding, 6)
    assert (found.trustworthiness, found.preservation) == (1.0, 1.0)


def test_axes_are_not_scaled_to_equal_variance():
    """Two latents that tell and twenty that collapsed to 1 % of them: the map is of the two."""
    told = latents(300, 2)
    collapsed = 0.01 * latents(300, 20, seed=4)
    found = scores(told, embed(np.hstack([told, collapsed]), "pca", FEW), 6)
    assert found.preservation > 0.9


@pytest.mark.parametrize("method", EVERY)
def test_maps_depend_on_seed_and_latents_alone(method):
    given = latents(250)  # from 200 on, scikit-learn would choose solvers that start from random numbers
    once = embed(given, method, FEW)
    assert once.shape == (250, 2)
    assert once.dtype == np.float64
    assert (once.max(axis=0) == np.abs(once).max(axis=0)).all()  # the way up is settled, too
    np.testing.assert_array_equal(embed(given, method, FEW), once)
    np.testing.assert_array_equal(embed(4 * given, method, FEW), once)  # a power of two rounds nothing


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x[:, :1],
        lambda x: np.hstack([x, np.zeros((len(x), 3))]),
        lambda x: np.hstack([x[:, :1], np.full((len(x), 2), 7.0)]),
        lambda x: np.concatenate([x[:50], np.repeat(x[:1], 50, axis=0)]),
        lambda x: np.concatenate([x[:50], x[50:] + 1000]),
    ],
    ids=["one axis", "collapsed axes", "all but one axis collapsed", "half of them equal", "two islands"],
)
@pytest.mark.filterwarnings("error")
def test_odd_latents_are_mapped_without_a_word(method, spoil):
    given = spoil(latents())
    embedding = embed(given, method, FEW)
    assert np.isfinite(embedding).all()
    np.testing.assert_array_equal(embed(given, method, FEW), embedding)
    found = scores(given, embedding, 6)
    assert found.trustworthiness > 0.6  # chance is 0.5


def test_one_axis_has_a_map_with_an_axis_of_zeros():
    line = latents(size=1)
    embedding = embed(line, "pca", FEW)
    assert order(line[:, 0], embedding[:, 0]) == pytest.approx(1)
    assert not embedding[:, 1].any()


def test_random_maps_score_chance():
    """Mean of 20 maps, within four standard errors of it: every map is of other random numbers."""
    given, expected = latents(200), chance(200, 8)
    found = [scores(given, latents(200, 2, seed), 8) for seed in range(100, 120)]
    for name in ("trustworthiness", "preservation"):
        values = np.array([getattr(f, name) for f in found])
        assert values.mean() == pytest.approx(getattr(expected, name), abs=4 * values.std() / np.sqrt(20))
    assert expected.preservation == pytest.approx(8 / 199)


def test_a_map_to_one_place_scores_chance_whatever_the_order_of_latents():
    """Rows that follow each other are near here, as patches of a box are; places that coincide tell nothing of it."""
    line = np.arange(200.0)[:, None]
    found = scores(line, np.zeros((200, 2)), 8)
    assert found.preservation < 3 * chance(200, 8).preservation
    assert found.trustworthiness == pytest.approx(chance(200, 8).trustworthiness, abs=0.1)


def test_preservation_counts_the_neighbours_kept():
    """Exchange two points of a line with growing gaps, where everyone but the first is nearest to the one before."""
    line = np.arange(20.0)[:, None] + 0.01 * np.arange(20.0)[:, None] ** 2  # no two distances equal
    places = np.hstack([line, 0 * line])
    assert scores(line, places, 1).preservation == 1
    swapped = places.copy()
    swapped[[5, 15]] = swapped[[15, 5]]
    # 5 and 15 lose the one before, 6 and 16 lose them
    assert scores(line, swapped, 1).preservation == pytest.approx(16 / 20)


@pytest.mark.parametrize(
    ("given", "method", "more", "message"),
    [
        (latents(11), "pca", {}, "11 latents are too few for 10 neighbours: give 12 or more"),
        (latents(91), "tsne", {}, "91 latents are too few for t-SNE of perplexity 30: give 92 or more"),
        (np.full((100, 3), 2.5), "isomap", {}, "all 100 latents are equal"),
        (np.where(np.arange(300).reshape(100, 3) == 7, np.nan, 1.0), "lle", {}, "1 of 100 latents .* first in row 2"),
        (np.ones(100), "pca", {}, r"shape \(100,\)"),
        (latents(), "som", {}, "no map 'som'; choose among pca, tsne"),
    ],
)
def test_latents_that_cannot_be_mapped(given, method, more, message):
    with pytest.raises(DataError, match=message):
        embed(given, method, LatentMaps(**more))


@pytest.mark.parametrize("method", EVERY)
def test_as_few_latents_as_allowed_are_mapped(method):
    few = LatentMaps(perplexity=3.0, neighbours=9)
    assert np.isfinite(embed(latents(11), method, few)).all()


@pytest.mark.parametrize(
    ("given", "places", "neighbours", "message"),
    [
        (latents(20), latents(20, 2), 10, "10 cannot be judged among 20 latents: give more than 20"),
        (latents(20), latents(20, 2), 0, "0 cannot be judged"),
        (latents(20), latents(19, 2), 3, "20 latents and 19 places"),
        (latents(20), np.full((20, 2), np.inf), 3, "20 of 20 places in the map are not finite"),
        (np.zeros((20, 2)), latents(20, 2), 3, "all 20 latents are equal"),
    ],
)
def test_maps_that_cannot_be_scored(given, places, neighbours, message):
    with pytest.raises(DataError, match=message):
        scores(given, places, neighbours)


def test_without_umap_the_other_maps_remain(monkeypatch):
    monkeypatch.setattr(latentmaps, "find_spec", lambda name: None)
    assert available(["umap", "pca", "lle"]) == ["pca", "lle"]
    with pytest.raises(DataError, match=r"pip install supercosm\[maps\]"):
        embed(latents(), "umap", FEW)


def test_unknown_shapes_are_refused():
    with pytest.raises(DataError, match="no shape 'torus'; choose among s-curve, swiss-roll"):
        toy("torus")
