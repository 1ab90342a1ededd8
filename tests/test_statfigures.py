"""Figures of statistics and audits: what is drawn is what the tables say, with units and names."""

import numpy as np
import pytest
from astropy.table import QTable, vstack
from matplotlib.figure import Figure

from supercosm import judgement
from supercosm.curves import SHOWN
from supercosm.stages import FIGURES, figures_of
from supercosm.statfigures import Curve, Panel, statistic
from supercosm.strokes import stroke
from supercosm.tables import WAVE_NUMBER

ORDER = ["high", "low", "linear", "unet", "gan"]
K = np.array([0.1, 0.2, 0.4, 0.8, 1.6])


def rows(entry, P, scatter=0.0, paired=0.0):
    table = QTable({"entry": [entry] * 5, "boxes": [4] * 5, "k": K * WAVE_NUMBER, "P": P, "scale": np.full(5, 10.0)})
    table["P_std"], table["P_paired"] = np.full(5, scatter), np.full(5, paired)
    return table


def drawn(curve, *tables):
    figure = statistic(vstack(list(tables)), curve, ORDER, nyquist=1.0)
    return figure, figure.axes[:2]


def line_of(ax, entry):
    (found,) = [
        line for line in ax.lines if line.get_color() == stroke(entry, ORDER)["color"] and len(line.get_xdata()) == 5
    ]
    return found.get_ydata()


def curve(**more):
    return Curve("t", "t", "k", "k [h/Mpc]", "P [(Mpc/h)³]", (Panel("P", "power"),), **more)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, np.array([0, 0, 0.5, 0, -0.25])),
        ({"scale": "scale"}, np.array([0, 0, 0.4, 0, -0.4])),
        ({"scale": "peak"}, np.array([0, 0, 0.25, 0, -0.25])),
    ],
)
def test_deviations_are_relative_to_truth_scale_or_peak(more, expected):
    true, own = np.array([1.0, 2, 8, 4, 16]), np.array([1.0, 2, 12, 4, 12])
    _, (top, bottom) = drawn(curve(**more), rows("high", true), rows("unet", own))
    assert line_of(bottom, "unet") == pytest.approx(expected)
    assert line_of(top, "unet") == pytest.approx(own)


def test_curves_can_be_weighted_and_deviations_are_not():
    _, (top, bottom) = drawn(curve(weight=2), rows("high", K), rows("unet", 1.1 * K))
    assert line_of(top, "unet") == pytest.approx(1.1 * K**3)
    assert line_of(bottom, "unet") == pytest.approx(np.full(5, 0.1))


def test_bands_are_of_the_paired_difference():
    """Boxes scatter by 1, their differences to the truth by 0.2: the lower band is 0.2/4 wide to each side."""
    true = np.full(5, 4.0)
    _, (top, bottom) = drawn(curve(), rows("high", true, scatter=1.0), rows("unet", true, scatter=1.0, paired=0.2))
    own = bottom.collections[0].get_paths()[0].vertices[:, 1]
    assert (own.min(), own.max()) == pytest.approx((-0.05, 0.05))
    assert len(top.collections) == 1  # of the truth alone
    truth = top.collections[0].get_paths()[0].vertices[:, 1]
    assert (truth.min(), truth.max()) == pytest.approx((3, 5))


def test_what_the_workflow_expects_is_what_there_is():
    assert {section: set(names) - {"shares"} for section, names in FIGURES.items()} == {
        section: set(shown) for section, shown in SHOWN.items()
    }


def test_every_figure_of_a_run_has_labels_and_a_table(finished_run, tmp_path, monkeypatch):
    """All axes of all figures are labelled, with a unit where the quantity has one."""
    config, folder = finished_run
    figures = []

    def keep(figure: Figure, path, pdf):
        figures.append((path.stem, figure))
        return ""

    monkeypatch.setattr(judgement, "save_figure", keep)
    sections = judgement.sections(config, folder, ["low", "linear", "unet", "gan"], 1.0)
    assert [name for name, _ in figures] == [name for names in figures_of(config).values() for name in names]
    for name, figure in figures:
        for ax in figure.axes:
            below = ax.get_subplotspec().is_last_row()
            assert ax.get_xlabel() or not below or name in ("shares", "environments", "skew"), name
        assert any(ax.get_ylabel() for ax in figure.axes), name
    looks = {shown["title"]: shown["look"] for section in sections for shown in section["figures"]}
    assert "Measured with 2000 of 32768 particles." in looks["Pairwise velocities"]
    for section in sections:
        assert section["introduction"].endswith(".")
        for shown in section["figures"]:
            assert (folder / shown["table"]).is_file()
            assert shown["look"].endswith(".")


def test_shortcomings_name_every_model(finished_run):
    config, folder = finished_run
    found = {part["entry"]: part["sentences"] for part in judgement.shortcomings(config, folder, 1.0)}
    assert list(found) == ["unet", "gan"]
    assert any("pays" in sentence or "does not pay" in sentence for sentence in found["gan"])
