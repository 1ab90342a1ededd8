"""Figures of classification: that they draw what the tables say, with units, for one part and for many."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from astropy.table import QTable
from matplotlib.backends.backend_agg import FigureCanvasAgg

from supercosm.classification import classfigures, lookfigures, ratefigures
from supercosm.classification.predictions import Predictions
from supercosm.classification.results import Part, read_part, write_part
from supercosm.classification.study import Outcome
from supercosm.classification.verdict import auc, balanced_accuracy, by_seed, calibration_error
from supercosm.networks.multiscale import fold

pytestmark = pytest.mark.filterwarnings("error")

SEEDS = {"training": [1, 2, 3, 4, 5, 6], "validation": [7], "test": [8, 9, 10]}
FALLING = [(8, 0.6, 0.5), (16, 0.3, 0.2), (24, 0.1, 0.4)]  # step, training and validation loss
NAMES = ("low", "linear", "unet", "unet-drawn", "gan", "steps8", "diffusion", "other-seeds")


def predictions(classes, seed, strength=2.0, frequent=0.0):
    """Make 240 examples of three boxes; frequent: how much more often than the others the first class is met."""
    generator = np.random.default_rng(seed)
    labels = np.where(generator.random(240) < frequent, 0, np.arange(240) % classes)
    logits = generator.normal(size=(240, classes)) + strength * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Predictions(probabilities, labels, np.repeat(SEEDS["test"], 80), np.arange(240) // classes)


def outcome(run, classifier, classes, seed, losses=None, **made):
    """Make what a classifier found; losses: rows of step, training and validation loss, of networks."""
    trained = None
    if losses is not None:
        names = ("step", "train_loss", "validation_loss")
        rows = [{n: v for n, v in zip(names, row, strict=True) if v is not None} for row in losses]
        trained = SimpleNamespace(temperature=1.3, rows=rows, network=torch.nn.Linear(2, 2))
    plain = predictions(classes, seed, 1.5, made.get("frequent", 0.0)) if trained else None
    return Outcome(run, classifier, predictions(classes, seed, **made), plain, trained)


def looks(classes, dimensions, side=8):
    """Make looks of two examples of each class, in turns, at random."""
    generator = np.random.default_rng(0)
    field = (side,) * dimensions
    found = {
        "x": generator.normal(size=(2 * classes, *field)),
        "labels": np.arange(2 * classes) % classes,
        "probabilities": generator.dirichlet(np.ones(classes), 2 * classes),
        "gradients": generator.normal(size=(2 * classes, *field)),
        "gradcam": np.zeros((2 * classes, *field)),  # which happens
        "mean_gradients": generator.random((classes, *field)),
        "density_edges": np.linspace(-2, 5, 8),
        "by_density": generator.random((classes, 7)) + 0.1,
        "filters": generator.normal(size=(12, 2**dimensions) + (3,) * dimensions),
        "cell": np.array([1.5]),
        "maps_first": generator.normal(size=(8,) + (4,) * dimensions),
        "maps_last": np.zeros((8,) + (2,) * dimensions),
        "shares": np.array([0, 0.1, 0.4]),
    }
    for number, order in enumerate(lookfigures.ORDERS):
        found |= {f"{what}_{order}": np.array([0.9, 0.7, 0.5]) + 0.01 * number for what in ("occlusion", "accuracy")}
    return found


def written(folder, outcomes, kind, classes, dimensions=2) -> Part:
    meta = {"task": kind, "kind": kind, "part": folder.name, "classes": list(classes), "seeds": SEEDS}
    write_part(folder, outcomes, looks(len(classes), dimensions), meta)
    return read_part(folder)


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    """Two networks and an opponent on one entry."""
    outcomes = [outcome("all", "residual", 2, 0, FALLING), outcome("all", "lectures", 2, 1, FALLING, strength=1)]
    outcomes.append(outcome("all", "power", 2, 2, strength=0.5))
    return written(tmp_path_factory.mktemp("part") / "gan", outcomes, "realism", ("gan", "high"))


@pytest.fixture(scope="module")
def universes(tmp_path_factory):
    """Six runs on two universes, one of which stopped at once."""
    outcomes = []
    for number, run in enumerate(("all", "matched", "boxes1", "boxes3", "skewed-balanced", "shuffled")):
        outcomes.append(outcome(run, "residual", 2, number, FALLING[: 1 if run == "shuffled" else 3]))
        outcomes.append(outcome(run, "logistic", 2, number, strength=1))
    classes = ("sigma8_0.7", "Omega_m_0.26_sigma8_0.9")
    return written(tmp_path_factory.mktemp("part") / "universes", outcomes, "cosmology", classes)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A network without validation boxes and an opponent on four classes of patches in space."""
    endless = [(step, loss, None) for step, loss, _ in FALLING]
    outcomes = [outcome("all", "residual", 4, 0, endless, frequent=0.3), outcome("all", "tidal", 4, 1, frequent=0.3)]
    classes = ("void", "sheet", "filament", "knot")
    return written(tmp_path_factory.mktemp("part") / "low", outcomes, "environment", classes, 3)


def drawn(figure):
    """Draw a figure, which must not warn, and return it."""
    FigureCanvasAgg(figure).draw()
    return figure


def points(ax, name):
    """Return places (n, 2) of the markers of one container of error bars."""
    container = next(c for c in ax.containers if c.get_label() == name)
    return container[0].get_xydata()


def names(ax):
    return ax.get_legend_handles_labels()[1]


def inside(figure):
    """Tell whether everything that is drawn lies within the figure."""
    drawn(figure)
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    return box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < width + 0.02 and box.y1 < height + 0.02


def smallest(figure):
    return min(text.get_fontsize() for text in figure.findobj(lambda a: hasattr(a, "get_fontsize")) if text.get_text())


FIGURES = (
    classfigures.accuracy,
    classfigures.confusion,
    classfigures.seeds,
    ratefigures.rates,
    ratefigures.losses,
)


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize("kind", ["part", "universes", "environment"])
@pytest.mark.parametrize("count", [1, 8])
def test_one_part_and_eight_are_drawn_whole_and_legibly(draw, kind, count, request):
    found = request.getfixturevalue(kind)
    figure = draw(dict.fromkeys(NAMES[-count:], found))
    assert inside(figure)
    assert smallest(figure) >= 6.5


@pytest.mark.parametrize("draw", [lookfigures.looks, lookfigures.occlusion, lookfigures.filters, classfigures.curve])
@pytest.mark.parametrize("kind", ["part", "universes", "environment"])
def test_looks_in_two_and_three_dimensions_are_drawn_whole_and_legibly(draw, kind, request):
    figure = draw(request.getfixturevalue(kind))
    assert inside(figure)
    assert smallest(figure) >= 6.5


@pytest.mark.parametrize(
    ("name", "pretty"),
    [
        ("sigma8_0.7", "σ8 = 0.7"),
        ("Omega_m_0.26", "Ωm = 0.26"),
        ("Omega_m_0.26_sigma8_0.9", "Ωm = 0.26, σ8 = 0.9"),
        ("h_0.7", "h = 0.7"),
        ("usual", "usual"),
        ("high", "true high resolution"),
        ("knot", "knot"),
        ("unet_a0.5", "unet, a = 0.5"),
    ],
)
def test_classes_have_names_for_people(name, pretty):
    assert classfigures.class_name(name) == pretty


def test_runs_and_parts_have_names_for_people():
    runs = [classfigures.run_name(run) for run in ("all", "matched", "boxes1", "boxes12", "skewed-balanced", "boxes")]
    assert runs == ["everything", "equal P(k)", "1 training box", "12 training boxes", "skewed, weighed", "boxes"]
    assert classfigures.part_name("other-seeds") == "true runs of other seeds"
    assert classfigures.part_name("low") == "up-sampled low run"


def test_other_seeds_take_no_models_colour(part):
    with_others = classfigures.rows_of({"other-seeds": part, "unet": part, "gan": part})
    without = classfigures.rows_of({"unet": part, "gan": part})
    assert [row.line["color"] for row in with_others[1:]] == [row.line["color"] for row in without]
    assert with_others[0].line["color"] == "black"


def test_accuracy_draws_the_table_a_row_for_each_part(part):
    (ax,) = figure_axes(classfigures.accuracy({"gan": part, "unet": part}))
    assert [text.get_text() for text in ax.get_yticklabels()] == ["gan", "unet"]
    assert ax.get_xlabel() == "share of test patches decided rightly (bars: 68 %)"
    for number, classifier in enumerate(part.scores["classifier"]):
        x, y = points(ax, classfigures.CLASSIFIERS[classifier]).T
        np.testing.assert_allclose(x, part.scores["accuracy"][number])
        np.testing.assert_array_equal(np.round(y), [0, 1])
    bar = next(c for c in ax.containers if c.get_label() == "residual network")[2][0].get_segments()[0]
    np.testing.assert_allclose(bar[:, 0], [part.scores[f"accuracy_{end}"][0] for end in ("low", "high")])


def figure_axes(figure):
    return drawn(figure).axes


def test_accuracy_of_one_part_has_a_row_for_each_run(universes):
    (ax,) = figure_axes(classfigures.accuracy({"universes": universes}))
    assert [text.get_text() for text in ax.get_yticklabels()][:3] == ["everything", "equal P(k)", "1 training box"]
    assert len(points(ax, "all summaries, logistic")) == 6
    assert "test slabs" in ax.get_xlabel()
    chance = next(line for line in ax.lines if line.get_label() == "chance")
    assert set(chance.get_xdata()) == {0.5}


def test_accuracy_of_uneven_classes_is_balanced_and_has_bars(environment):
    (ax,) = figure_axes(classfigures.accuracy({"low": environment, "high": environment}))
    x = points(ax, "residual network")[:, 0]
    np.testing.assert_allclose(x, balanced_accuracy(environment.predictions["all", "residual"][0]))
    assert "mean over classes" in ax.get_xlabel()
    bar = next(c for c in ax.containers if c.get_label() == "residual network")[2][0].get_segments()[0]
    assert bar[0, 0] < x[0] < bar[1, 0]


def test_learning_curve_ends_at_all_training_boxes(universes):
    (ax,) = figure_axes(classfigures.curve(universes))
    x, y = points(ax, "residual network").T
    # markers are moved aside, by less than a tenth of an octave each way
    np.testing.assert_allclose(x, [1, 3, 6], rtol=0.08)
    scores = universes.scores[universes.scores["classifier"] == "residual"]
    expected = [scores["accuracy"][scores["run"] == run][0] for run in ("boxes1", "boxes3", "all")]
    np.testing.assert_allclose(y, expected)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "3", "6"]
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "training boxes of each class"


def test_confusion_writes_shares_of_the_true_class(part):
    axes = [ax for ax in figure_axes(classfigures.confusion({"gan": part})) if ax.texts]
    assert [ax.get_title() for ax in axes] == ["residual network", "lectures' CNN", "P(k) of δ"]
    made = part.predictions["all", "residual"][0]
    right = 100 * made.correct[made.labels == 0].mean()
    values = [float(text.get_text()) for text in axes[0].texts]
    assert values[0] == pytest.approx(right, abs=0.051)
    assert values[0] + values[1] == pytest.approx(100, abs=0.11)
    assert axes[0].get_ylabel() == "true"
    assert axes[0].get_xlabel() == "decided"
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["gan", "true high\nresolution"]


def test_confusion_of_a_class_without_examples_is_no_number(part):
    made = part.predictions["all", "residual"][0]
    own = made.labels == 0
    few = Predictions(*(getattr(made, n)[own] for n in ("probabilities", "labels", "seeds", "places")))
    bare = Part(part.scores[:1], {("all", "residual"): (few, None)}, part.histories, part.looks)
    axes = figure_axes(classfigures.confusion({"gan": bare}))
    assert [text.get_text() for text in axes[0].texts][2:] == ["–", "–"]


def test_rates_name_area_and_calibration_error(part):
    left, right = figure_axes(ratefigures.rates({"gan": part}))[:2]
    made, plain = part.predictions["all", "residual"]
    assert names(left)[0] == f"residual network: {auc(made):.3f}"
    assert names(right)[0] == f"residual network: {calibration_error(made):.3f} ({calibration_error(plain):.3f})"
    assert names(right)[2] == f"P(k) of δ: {calibration_error(part.predictions['all', 'power'][0]):.3f}"
    assert left.get_ylabel() == "true positive rate of “true high resolution”"
    assert right.get_xlabel() == "probability of the decided class"
    dotted = [line for line in right.lines if line.get_linestyle() == ":"]
    assert len(dotted) == 2  # of the networks alone


def test_bins_of_few_examples_are_not_drawn():
    sure = np.append(np.full(30, 0.97), np.full(10, 0.72))
    zeros = np.zeros(40, int)
    made = Predictions(np.stack([sure, 1 - sure], axis=1), zeros, zeros, np.arange(40))
    x, y = ratefigures._filled(made)
    np.testing.assert_allclose((*x, *y), (0.97, 1))


def test_mean_roc_of_many_classes_has_the_area_of_the_table(environment):
    made = environment.predictions["all", "residual"][0]
    false, true = ratefigures.mean_roc(made)
    # rates are interpolated to a thousandth
    assert np.trapezoid(true, false) == pytest.approx(auc(made), abs=2e-3)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)


def test_roc_of_one_part_of_many_classes_has_a_curve_for_each(environment):
    left = figure_axes(ratefigures.rates({"low": environment}))[0]
    assert [name.partition(":")[0] for name in names(left)] == ["void", "sheet", "filament", "knot"]


def test_the_lowest_validation_loss_is_marked(universes):
    (ax,) = figure_axes(ratefigures.losses({"universes": universes}))
    rings = [line.get_xydata()[0] for line in ax.lines if line.get_markersize() == 7 and len(line.get_xdata())]
    np.testing.assert_allclose(rings, [(16, 0.2)] * 5 + [(8, 0.5)])
    assert ax.get_xlabel() == "optimiser step"
    assert ax.get_ylabel() == "cross-entropy [nats]"
    assert names(ax)[:2] == ["everything", "equal P(k)"]
    guess = next(line for line in ax.lines if line.get_label() == "guessing: ln 2")
    assert guess.get_ydata()[0] == pytest.approx(math.log(2))
    assert ax.get_yscale() == "log"  # they span a factor of six


def test_losses_of_several_networks_are_named_after_them(part):
    (ax,) = figure_axes(ratefigures.losses({"gan": part}))
    assert names(ax)[:2] == ["gan, residual network", "gan, lectures' CNN"]


def test_without_validation_no_network_is_marked(environment):
    (ax,) = figure_axes(ratefigures.losses({"low": environment, "high": environment}))
    assert not [line for line in ax.lines if line.get_markersize() == 7 and len(line.get_xdata())]
    assert names(ax)[:2] == ["up-sampled low run", "true high resolution"]


def test_losses_without_any_training_are_an_empty_figure(part):
    bare = Part(part.scores, part.predictions, QTable(), part.looks)
    (ax,) = figure_axes(ratefigures.losses({"gan": bare}))
    assert names(ax)[0] == "guessing: ln 2"


def test_seeds_draws_every_box_with_its_binomial_error(part):
    (ax,) = figure_axes(classfigures.seeds({"gan": part, "unet": part}))
    expected = by_seed(part.predictions["all", "residual"][0])
    np.testing.assert_allclose(points(ax, "unet")[:, 1], [a for a, _ in expected.values()])
    bar = next(c for c in ax.containers if c.get_label() == "unet")[2][0].get_segments()[0]
    assert np.ptp(bar[:, 1]) == pytest.approx(2 * expected[8][1])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["8", "9", "10"]
    assert ax.get_xlabel() == "seed of the test box"


def test_of_uneven_classes_the_commonest_is_the_guess(environment):
    (ax,) = figure_axes(classfigures.seeds({"low": environment}))
    share = np.mean(environment.predictions["all", "residual"][0].labels == 0)
    guess = next(line for line in ax.lines if line.get_label() == "always the commonest class")
    assert guess.get_ydata()[0] == pytest.approx(share)


@pytest.mark.parametrize(("kind", "cut"), [("part", "projected slab"), ("environment", "central slice")])
def test_looks_are_sorted_by_class_and_measured_in_lengths(kind, cut, request):
    found = request.getfixturevalue(kind)
    figure = drawn(lookfigures.looks(found))
    classes = len(found.classes)
    axes = {ax.get_label(): ax for ax in figure.axes}
    titles = [axes[f"x{e}"].get_title() for e in range(2 * classes)]
    assert titles[0].startswith(classfigures.class_name(found.classes[0]))
    assert titles[1].startswith(classfigures.class_name(found.classes[0]))
    assert titles[0].endswith(lookfigures.percent(found.looks["probabilities"][0, 0]))
    first = found.looks["x"][classes]  # the second example of the first class
    expected = first if first.ndim == 2 else first[..., 4]
    np.testing.assert_array_equal(axes["x1"].images[0].get_array(), expected.T)
    assert axes["x0"].images[0].get_extent() == [0, 12, 0, 12]
    assert figure.get_supxlabel().startswith(f"x [Mpc/h], {cut}")
    gradients = axes["g0"].images[0].norm
    assert gradients.vmin == -gradients.vmax
    assert [f"m{c}" in axes for c in range(classes)] == [True] * classes


def test_probabilities_are_never_certain():
    assert [lookfigures.percent(p) for p in (1.0, 0.4567, 1e-9)] == ["> 99.9 %", "= 45.7 %", "< 0.1 %"]


def test_occlusion_draws_four_orders_and_a_step_for_each_class(environment):
    left, right = figure_axes(lookfigures.occlusion(environment))
    assert names(left) == [*lookfigures.ORDERS.values(), "chance"]
    np.testing.assert_allclose(left.lines[1].get_xydata().T, [[0, 10, 40], environment.looks["occlusion_densest"]])
    assert left.get_xlabel() == "cells replaced by the mean around [%]"
    assert names(right) == environment.classes
    values, edges, _ = right.patches[2].get_data()
    np.testing.assert_array_equal(values, environment.looks["by_density"][2])
    np.testing.assert_array_equal(edges, environment.looks["density_edges"])


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_filters_unfold_as_patches_fold(dimensions):
    """A filter of folded cells is an image whose folding gives its channels back."""
    filters = np.random.default_rng(0).normal(size=(5, 2**dimensions) + (3,) * dimensions)
    pictures = lookfigures.unfolded(filters)
    assert pictures.shape == (5,) + (6,) * dimensions
    np.testing.assert_array_equal(fold(torch.from_numpy(pictures)[:, None], 2).numpy(), filters)


@pytest.mark.parametrize(("kind", "cut"), [("part", ""), ("environment", " (central slices)")])
def test_filters_and_maps_stand_beside_their_example(kind, cut, request):
    found = request.getfixturevalue(kind)
    figure = drawn(lookfigures.filters(found))
    assert figure.subfigs[0].axes[0].get_xlabel().startswith("x [Mpc/h]")
    blocks = figure.subfigs[1].subfigs
    assert [block.get_suptitle() for block in blocks] == [
        f"filters of the first layer, 6 × 6 cells{cut}",
        f"maps of the first layer{cut}",
        f"maps of the last layer{cut}",
    ]
    shown = [sum(bool(ax.images) for ax in block.axes) for block in blocks]
    assert shown == [12, 8, 8]


def test_filters_of_unfolded_fields_stay_as_they_are(part):
    lectures = Part(part.scores, part.predictions, part.histories, part.looks | {"filters": np.ones((32, 1, 10, 10))})
    figure = drawn(lookfigures.filters(lectures))
    assert figure.subfigs[1].subfigs[0].get_suptitle() == "filters of the first layer, 10 × 10 cells"
