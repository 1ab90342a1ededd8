"""Figures and the diagnosis of loss curves."""

import numpy as np
import pytest
from synthetic_results import write_history

from supercosm import figures
from supercosm.errors import DataError
from supercosm.figures import Panel
from supercosm.history import diagnose, read_history, smooth
from supercosm.losscurve import loss_curve
from supercosm.tables import read_table

STEPS = np.arange(60)
CONVERGED = np.exp(-STEPS / 5) + 0.1
FALLING = np.exp(-STEPS / 30)


@pytest.mark.parametrize(
    ("verdict", "loss", "more"),
    [
        ("Converged", CONVERGED, {}),
        ("Still falling", FALLING, {}),
        ("Overfitting", FALLING, {"validation": np.abs(STEPS - 25) / 50 + 0.5}),
        ("Unsettled", CONVERGED + (STEPS > 50) * 0.03, {"validation": CONVERGED + (STEPS > 50) * 0.05}),
        ("Diverging", 1 + (STEPS > 40) * STEPS, {}),
        ("Diverged: the loss is not a number from step 410", np.where(STEPS < 40, 1.0, np.nan), {}),
        ("Too short", CONVERGED[:4], {}),
        ("critic is in balance", CONVERGED, {"adversarial": True}),
        ("Collapsed critic", CONVERGED, {"adversarial": True, "separation": np.exp(-STEPS / 8)}),
        ("critic runs away", CONVERGED, {"adversarial": True, "separation": np.exp(STEPS / 8)}),
        ("pixel error", CONVERGED, {"adversarial": True, "validation": 1 + STEPS / 60}),
    ],
)
def test_diagnosis(tmp_path, verdict, loss, more):
    write_history(tmp_path / "history.csv", loss, **more)
    sentence = diagnose(tmp_path / "history.csv")
    assert verdict in sentence
    assert sentence.endswith(".")


def test_eight_rows_are_judged(tmp_path):
    """400 steps with a row every 50: what the default configuration writes."""
    path = tmp_path / "history.csv"
    rows = "\n".join(f"{50 * (i + 1)},{1 / (i + 1)},{1.1 / (i + 1)}" for i in range(8))
    path.write_text("step,train_loss,validation_loss\n" + rows + "\n")
    assert diagnose(path).startswith("Still falling: the last quarter of the training took another 2")


def test_damaged_histories_are_refused(tmp_path):
    path = tmp_path / "history.csv"
    with pytest.raises(DataError, match="no training history"):
        read_history(path)
    path.write_text("step,seconds\n1,2\n")
    with pytest.raises(DataError, match="train_loss"):
        read_history(path)
    path.write_text("step,train_loss\n")
    with pytest.raises(DataError, match="0 rows"):
        read_history(path)
    path.write_text("step,train_loss\n1,much\n")
    with pytest.raises(DataError, match="much"):
        read_history(path)


def test_smoothing_keeps_a_straight_line_straight_inside():
    assert np.allclose(smooth(np.arange(100.0))[5:-5], np.arange(100)[5:-5])
    assert np.array_equal(smooth(np.arange(8.0)), np.arange(8))


@pytest.mark.parametrize("more", [{}, {"adversarial": True}])
def test_loss_curve_shows_losses_critic_and_diagnosis(tmp_path, more):
    write_history(tmp_path / "history.csv", CONVERGED, **more)
    figure = loss_curve(tmp_path / "history.csv")
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert "loss (normalised fields)" in labels
    assert ("critic's score" in labels) == bool(more)
    assert figure.axes[-1].get_xlabel() == "optimiser step"
    assert figure.get_suptitle().startswith("Converged")
    figure.savefig(tmp_path / "loss.png")


def test_a_diverged_run_still_has_a_loss_curve(tmp_path):
    write_history(tmp_path / "history.csv", np.where(STEPS < 40, 1.0, np.nan))
    figure = loss_curve(tmp_path / "history.csv")
    figure.savefig(tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert "diverg" in figure.get_suptitle().lower().replace("\n", " ")


@pytest.fixture
def spectra(finished_run):
    return read_table(finished_run[1] / "evaluation" / "spectra.ecsv")


@pytest.mark.parametrize("field", ["density", "displacement"])
@pytest.mark.parametrize("kind", ["power", "transfer", "correlation", "twins"])
def test_spectra_have_units_labels_and_the_nyquist_mark(spectra, kind, field, tmp_path):
    figure = getattr(figures, kind)(spectra, field)
    assert figure.axes[-1].get_xlabel() == r"$k$ [$h$/Mpc]"
    assert all(ax.get_ylabel() for ax in figure.axes)
    marks = [line for line in figure.axes[0].lines if np.allclose(line.get_xdata(), spectra.meta["k_Nyquist_low"])]
    assert marks
    if kind == "power":
        assert "Mpc" in figure.axes[0].get_ylabel()
        drawn = {line.get_label(): line for line in figure.axes[0].lines}
        rows = spectra[spectra["entry"] == "gan"]
        assert np.allclose(drawn["gan"].get_ydata(), rows[f"{field}_P"].value)
        assert np.allclose(drawn["true high resolution"].get_ydata(), rows[f"{field}_P_reference"].value)
    figure.savefig(tmp_path / "figure.png")


def test_twins_need_samples(spectra):
    assert figures.twins(spectra[spectra["entry"] == "low"], "density") is None


def test_density_panels_share_the_scale_of_the_truth():
    truth = np.exp(np.random.default_rng(0).normal(size=(16, 16)))
    panels = [Panel("low", 0 * truth, 0 * truth), Panel("high", truth, truth)]
    figure = figures.density(panels, 50.0, (10.0, 20.0, 12.5))
    images = [image for ax in figure.axes for image in ax.images]
    assert len(images) == 4
    assert len({(image.norm.vmin, image.norm.vmax) for image in images}) == 1
    assert images[0].norm.vmax == pytest.approx(np.percentile(np.log10(truth), 99.8))
    assert images[2].get_extent() == [10.0, 22.5, 20.0, 32.5]
    assert np.array_equal(images[1].get_array(), np.log10(np.maximum(truth, figures.FLOOR)).T)


def test_labels():
    assert figures.label("low") == "up-sampled low run"
    assert figures.label("linear_a0.3333") == "low run + linear small scales, a = 0.3333"
    assert figures.label("unet-drawn") == "unet-drawn"
