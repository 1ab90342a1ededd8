"""Studies of latents: what the columns of a map say of its patches, and what a variational coder draws."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from learning import TEST_SEED, VALIDATION_SEED

from supercosm.compression import study
from supercosm.compression.ratedistortion import evaluation_patches
from supercosm.compression_settings import Compression, LatentMaps
from supercosm.config import Statistics
from supercosm.errors import DataError
from supercosm.fields import density_of, from_log_density
from supercosm.patches import draw_patches, log_slabs
from supercosm.snapshot import read_snapshot
from supercosm.tables import WAVE_NUMBER

MAPS = LatentMaps(methods=["pca", "isomap"], points=120, perplexity=10, neighbours=6)
SETTINGS = Compression(maps=MAPS)


@pytest.fixture(scope="module")
def runs(boxes):
    """Densities of two boxes, the second said to be of another cosmology."""
    first, second = (
        density_of(read_snapshot(boxes.snapshot(seed, "high")), 32) for seed in (TEST_SEED, VALIDATION_SEED)
    )
    other = second.cosmology.model_copy(update={"Omega_m": 0.25, "sigma8": 0.9})
    return [first, replace(second, cosmology=other)]


@pytest.fixture(scope="module")
def table(coders, runs):
    return study.map_latents(coders["conv"], runs, SETTINGS, Statistics(environment_radius=2.0))


@pytest.fixture(scope="module")
def patches(density):
    return evaluation_patches([log_slabs(density, 2)], 12, 400, seed=5)[0]


def test_a_map_has_a_row_for_each_patch_and_columns_for_each_method(table):
    assert len(table) == 120
    coordinates = [f"{method}_{axis}" for method in ("pca", "isomap") for axis in "xy"]
    assert table.colnames == ["log_density", "environment", "Omega_m", "sigma8", *coordinates]
    for name in coordinates:
        assert np.isfinite(table[name]).all()
        assert np.std(table[name]) > 0
    assert set(table.meta["scores"]) == {"pca", "isomap"}
    assert table.meta["left_out"] == []
    assert table.meta["latents"] == 8
    for scores in table.meta["scores"].values():  # better than points at random
        assert scores["trustworthiness"] > table.meta["chance"]["trustworthiness"] + 0.2
        assert scores["preservation"] > 2 * table.meta["chance"]["preservation"]


def test_patches_know_their_cosmology_and_their_density(table, runs):
    np.testing.assert_array_equal(table["Omega_m"], np.repeat([run.cosmology.Omega_m for run in runs], 60))
    np.testing.assert_array_equal(table["sigma8"], np.repeat([run.cosmology.sigma8 for run in runs], 60))
    assert len(set(table["sigma8"])) == 2
    x, _ = draw_patches([log_slabs(runs[0].data, 2)], 12, 60, study.PATCHES)
    np.testing.assert_allclose(
        table["log_density"][:60], np.log(from_log_density(x.numpy()).mean((1, 2, 3))), rtol=1e-4
    )
    assert np.corrcoef(table["log_density"], table["pca_x"])[0, 1] ** 2 > 0.3  # the first thing that patches differ in


def test_environments_are_classes_and_denser_from_void_to_knot(table):
    assert set(table["environment"]) <= {0, 1, 2, 3}
    assert len(set(table["environment"])) >= 3
    means = [table["log_density"][table["environment"] == c].mean() for c in sorted(set(table["environment"]))]
    assert means[0] < means[-1]


@pytest.mark.parametrize("axis", range(3))
def test_the_environment_is_that_of_the_cells_that_a_patch_projects(axis):
    """Only the cells behind the patch are knots, whatever the axis; the patch lies across the border of the box."""
    n, side, thick, slab, start = 16, 8, 2, 3, (13, 6)
    rows, columns = (np.arange(first, first + side) % n for first in start)
    classes = np.zeros((n, n, n), np.uint8)
    turned = np.moveaxis(classes, axis, 0)  # a view
    turned[np.ix_(range(slab * thick, slab * thick + thick), rows, columns)] = 3
    place = SimpleNamespace(axis=axis, slab=slab, start=start)
    density = np.ones((n, n, n), np.float32)
    assert study._environment(place, classes, density, side, thick) == 3
    assert study._environment(place, 3 - classes, density, side, thick) == 0
    shown = log_slabs(classes.astype(np.float32), thick)[axis, slab][np.ix_(rows, columns)]
    assert (from_log_density(shown) > 2.9).all()  # the same cells that a patch of that place shows


def test_the_environment_holds_the_most_mass_not_the_most_cells():
    classes, density = np.zeros((8, 8, 8), np.uint8), np.full((8, 8, 8), 0.1, np.float32)
    classes[2:4, 4, 4], density[2:4, 4, 4] = 2, 100
    place = SimpleNamespace(axis=0, slab=1, start=(0, 0))
    assert study._environment(place, classes, density, 8, 2) == 2
    assert study._environment(SimpleNamespace(**vars(place) | {"slab": 0}), classes, density, 8, 2) == 0


def test_coders_of_blocks_have_no_maps(coders, runs):
    with pytest.raises(DataError, match="'block' is of blocks"):
        study.map_latents(coders["block"], runs, SETTINGS, Statistics())


def test_maps_of_known_surfaces_have_the_same_columns():
    found = study.sanity_table("s-curve", MAPS)
    assert found.colnames == ["x", "y", "z", "along", "pca_x", "pca_y", "isomap_x", "isomap_y"]
    assert set(found.meta["scores"]) == {"pca", "isomap"}


def test_samples_of_the_prior_have_the_power_of_the_data_and_means_have_less(coders, patches):
    found = study.prior_spectra(coders["vae"], patches, seed=1)
    assert found["k"].unit == WAVE_NUMBER
    for name in ("data", "decoded", "mean", "sample", "density_data", "density_sample"):
        assert (found[name] > 0).all()
    # six epochs: 20 % in most bins, a prior that does not fit by more than 40 %
    ratio = np.asarray(found["sample"] / found["data"])
    assert np.abs(ratio - 1).max() < 0.4
    assert (np.asarray(found["mean"] < found["sample"])).all()
    small = np.asarray(found["mean"] / found["data"])[-1]
    assert small < 0.7  # latents do not hold the smallest scales


def test_draws_are_seeded(coders):
    first, again, other = (coders["vae"].draw(4, seed)[1] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_walks_go_where_they_say(coders, patches):
    vae = coders["vae"]
    found = study.walks(vae, patches, seed=1)
    assert found["traversal"].shape == (study.TRAVERSED, study.STEPS, 12, 12)
    assert found["interpolation"].shape == (2, study.STEPS, 12, 12)
    assert found["drawn"].shape == found["drawn_means"].shape == (study.STEPS, 12, 12)
    information = np.array(vae.card.information)
    assert list(information[found["traversed"]]) == sorted(information, reverse=True)[: study.TRAVERSED]
    ends = vae.decode(vae.encode(patches[:2]))[:, 0].numpy()
    np.testing.assert_allclose(found["interpolation"][0][[0, -1]], ends, atol=1e-4)
    np.testing.assert_allclose(found["interpolation"][1][[0, -1]], patches[:2, 0], atol=1e-5)
    middle = found["traversal"][:, study.STEPS // 2]  # all latents zero, whichever is traversed
    np.testing.assert_allclose(middle, np.broadcast_to(middle[0], middle.shape), atol=1e-5)
    spans = np.abs(found["traversal"][:, -1] - found["traversal"][:, 0]).max(axis=(1, 2))
    assert (spans > 0.1).all()


def test_a_gallery_shows_patches_latents_and_reconstructions(coders, patches):
    found = study.gallery(coders["conv"], patches[:3])
    assert {name: array.shape for name, array in found.items()} == {
        "original": (3, 12, 12),
        "latents": (3, 8),
        "decoded": (3, 12, 12),
    }
    error, spread = (np.mean(np.square(x)) for x in (found["original"] - found["decoded"], found["original"] + 0.5))
    assert error < spread
    np.testing.assert_array_equal(found["original"], patches[:3, 0])
