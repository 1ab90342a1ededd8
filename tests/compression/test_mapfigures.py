"""Figures of latent maps: a panel for each map and colouring, with names, units and scores; odd maps have limits."""

import numpy as np
import pytest
from matplotlib.colors import LogNorm, to_rgba

from supercosm.compression.latentmaps import Scores
from supercosm.compression.mapfigures import ENVIRONMENTS, UNKNOWN, Check, latent_maps, sanity_maps

COUNT = 60
RANDOM = np.random.default_rng(5)
MAPS = {"pca": RANDOM.normal(size=(COUNT, 2)) * (5, 1), "tsne": RANDOM.normal(size=(COUNT, 2)) * 20}
SCORES = {"pca": Scores(0.913, 0.25), "tsne": Scores(0.98, 0.617)}
COLOURS = {
    "mean density": np.exp(RANDOM.normal(size=COUNT)),
    "environment": np.arange(COUNT) % 4,
    "cosmology": np.repeat([0.7, 0.8, 0.9], COUNT // 3),
}


def panels(figure):
    """Return the axes that hold the points of a map."""
    return [ax for ax in figure.axes if ax.collections and ax.name != "3d" and ax.get_box_aspect() == 1]


def points(ax):
    return ax.collections[0]


def texts(figure):
    return "\n".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def test_every_map_has_a_panel_in_every_colouring():
    figure = latent_maps(MAPS, COLOURS, SCORES)
    found = panels(figure)
    assert len(found) == 6
    for ax, places in zip(found, [*MAPS.values()] * 3, strict=True):
        drawn = np.asarray(points(ax).get_offsets())
        assert sorted(map(tuple, drawn)) == sorted(map(tuple, places))
        assert len(ax.get_xticks()) == len(ax.get_yticks()) == 0
    assert [ax.get_title() != "" for ax in found] == [True, True, False, False, False, False]
    assert found[0].get_title() == "PCA\ntrustworthiness 0.91\nneighbours kept 25 %"
    assert found[1].get_title() == "t-SNE\ntrustworthiness 0.98\nneighbours kept 62 %"
    assert figure.get_figwidth() <= 8


def test_keys_name_quantities_and_units():
    shown = texts(latent_maps(MAPS, COLOURS, SCORES))
    for words in ("mean density", "[cosmic mean]", r"\sigma_8", "environment", "knot, 25 %", "have no unit"):
        assert words in shown


def test_points_have_the_colours_of_their_own_values():
    """Whatever order they are drawn in."""
    figure = latent_maps(MAPS, {"environment": COLOURS["environment"]}, SCORES)
    figure.draw_without_rendering()
    for ax, places in zip(panels(figure), MAPS.values(), strict=True):
        found = dict(zip(map(tuple, np.asarray(points(ax).get_offsets())), points(ax).get_facecolors(), strict=True))
        for place, number in zip(places, COLOURS["environment"], strict=True):
            assert tuple(found[tuple(place)]) == to_rgba(ENVIRONMENTS[number])


def test_densities_are_logarithmic_and_other_quantities_are_not():
    colours = {"mean density": COLOURS["mean density"], "size": COLOURS["mean density"]}
    figure = latent_maps({"pca": MAPS["pca"]}, colours, SCORES)
    dense, other = (points(ax).norm for ax in panels(figure))
    assert isinstance(dense, LogNorm)
    assert not isinstance(other, LogNorm)
    assert "size" in texts(figure)
    overdensity = {"mean density": COLOURS["mean density"] - 1}  # which has no logarithm
    assert not isinstance(points(panels(latent_maps(MAPS, overdensity, SCORES))[0]).norm, LogNorm)


def test_what_is_unknown_is_grey():
    values = np.where(np.arange(COUNT) == 7, np.nan, COLOURS["cosmology"])
    figure = latent_maps({"pca": MAPS["pca"]}, {"cosmology": values}, SCORES)
    figure.draw_without_rendering()
    (ax,) = panels(figure)
    assert not np.ma.getmaskarray(points(ax).get_offsets()).any()
    grey = (points(ax).get_facecolors() == to_rgba(UNKNOWN)).all(axis=1)
    assert np.asarray(points(ax).get_offsets())[grey].tolist() == [MAPS["pca"][7].tolist()]


@pytest.mark.parametrize(
    ("places", "values"),
    [
        (np.zeros((COUNT, 2)), np.full(COUNT, 0.8)),
        (MAPS["pca"] * (1, 0), np.full(COUNT, np.nan)),
        (MAPS["pca"] * 1e-12, np.zeros(COUNT)),
    ],
    ids=["one place, one value", "a line, nothing known", "tiny, zeros"],
)
@pytest.mark.parametrize("name", ["mean density", "environment", "cosmology"])
@pytest.mark.filterwarnings("error")
def test_odd_maps_have_finite_limits(places, values, name):
    figure = latent_maps({"lle": places}, {name: values}, {"lle": Scores(0.5, 0.1)})
    figure.draw_without_rendering()
    (ax,) = panels(figure)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert np.isfinite([left, right, bottom, top]).all()
    assert right - left == pytest.approx(top - bottom)  # the same scale along both axes
    assert left < places[:, 0].min() <= places[:, 0].max() < right


def test_sheets_stand_beside_their_maps():
    solid = RANDOM.normal(size=(COUNT, 3))
    along = np.linspace(0, 9, COUNT)
    checks = [Check(shape, solid, along, MAPS, SCORES) for shape in ("s-curve", "swiss-roll")]
    figure = sanity_maps(checks)
    found = panels(figure)
    assert len(found) == 4
    assert sum(ax.name == "3d" for ax in figure.axes) == 2
    assert all("trustworthiness" in ax.get_title() for ax in found)
    for words in ("S-curve", "Swiss roll", "along the curve", "start", "have no unit"):
        assert words in texts(figure)
    for ax, places in zip(found, [*MAPS.values()] * 2, strict=True):
        drawn = dict(zip(map(tuple, np.asarray(points(ax).get_offsets())), points(ax).get_array(), strict=True))
        assert [drawn[tuple(place)] for place in places] == pytest.approx(along)


def test_figures_are_written(tmp_path):
    path = tmp_path / "maps.png"
    latent_maps(MAPS, COLOURS, SCORES).savefig(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000
