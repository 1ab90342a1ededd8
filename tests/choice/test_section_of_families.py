"""The section of the report on families: figures, tables with dashes, and words for each."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable
from comparedfamilies import MODELS, ORDER, configured

from supercosm.choice import choicefigures
from supercosm.choice.contenders import FIGURES
from supercosm.choice.section import section
from supercosm.choice.table import families
from supercosm.choice.words import FAMILIES, UNKNOWN, words
from supercosm.config import Config
from supercosm.errors import DataError
from supercosm.strokes import COLOURS, stroke
from supercosm.tables import write_table


@pytest.fixture
def ready(results):
    """Write the tables that the section is made of."""
    families(configured(), results, results / "evaluation" / "families.ecsv")
    table = QTable({"evaluations": [1, 3], "P_error": [0.3, 0.2], "crps": [0.7, 0.6], "sampling": [1.0, 3.0] * u.s})
    table.meta["own"] = 3
    write_table(results / "evaluations" / "diff.ecsv", table)
    return results


def test_a_section_has_figures_tables_and_words(ready):
    found = section(configured(), ready, ORDER)
    assert sorted(path.stem for path in (ready / "figures").glob("*.png")) == sorted(f"families_{n}" for n in FIGURES)
    assert list(found["families"]) == ["unet", "gan", "diffusion"]
    assert found["entries"][0] == ("unet-drawn (reference)", "unet")
    assert any(sentence.startswith("If power matters most") for sentence in found["sentences"])
    assert any(sentence.startswith("diff: 3 evaluations") for sentence in found["sentences"])


def test_what_was_not_measured_is_a_dash_and_the_best_are_marked(ready):
    quality, bars, cost = section(configured(), ready, ORDER)["tables"]
    rows = {row["name"]: row["cells"] for row in quality["rows"]}
    assert list(rows) == ["unet-drawn (reference)", "gan", "diff", "unet (regression, told the true modes)"]
    power, _, bispectrum, *_ = rows["gan"]
    assert power == {"text": "0.050", "scatter": "0.005", "best": True}
    assert bispectrum["text"] == "0.350"
    assert rows["diff"][2] == {"text": "–", "scatter": "", "best": False}
    assert not rows["unet (regression, told the true modes)"][0]["best"]
    assert [row["name"] for row in bars["rows"]][-1] == "true runs, other small scales"
    assert "true runs, other small scales" not in [row["name"] for row in cost["rows"]]  # nothing but dashes
    assert [cell["text"] for cell in cost["rows"][1]["cells"]] == ["1", "3.00", "1.00", "244", "400", "12,345"]


def test_one_family_gets_no_section(tmp_path):
    only = configured(models={"unet": MODELS["unet"]}, classification={"tasks": {}})
    assert section(only, tmp_path, ORDER) is None
    assert section(Config(), tmp_path, ORDER) is None


@pytest.mark.parametrize("missing", ["evaluation/families.ecsv", "evaluations/diff.ecsv"])
def test_a_table_that_is_missing_is_named(ready, missing):
    (ready / missing).unlink()
    with pytest.raises(DataError, match=missing.rpartition("/")[2]):
        section(configured(), ready, ORDER)


def test_every_family_of_the_configuration_is_described():
    mapping = Config.model_json_schema()["properties"]["models"]["patternProperties"].values()
    known = {name for union in mapping for name in union["discriminator"]["mapping"]}
    assert known <= set(FAMILIES)
    assert all(words(name).sampled != UNKNOWN.sampled for name in known)
    assert [name for name in FAMILIES if words(name).likelihood] == ["flow"]
    assert words("other") == UNKNOWN


def test_more_models_than_colours_are_told_apart():
    names = [f"m{i}" for i in range(len(COLOURS) + 2)]
    lines = [tuple(stroke(name, names).values()) for name in names]
    assert len(set(lines)) == len(names)
    assert stroke("m0", names)["linestyle"] == "-"


def test_a_radar_chart_leaves_out_axes_without_numbers_and_the_ninth_polygon(table):
    own = table.copy()
    own["accuracy"] = np.nan
    ax = choicefigures.radar(own, ORDER).axes[0]
    assert [text.get_text() for text in ax.get_xticklabels()] == [
        "quality", "calibration", "diversity", "speed", "cheap training",
    ]  # fmt: skip
    assert len(ax.lines) == 3
    assert ax.lines[0].get_label() == "unet-drawn (reference)"
    many = own[[0, *[1] * 10]]
    assert len(choicefigures.radar(many, ORDER).axes[0].lines) == choicefigures.MOST


def test_cost_joins_the_numbers_of_evaluations(table):
    curve = QTable({"evaluations": [1, 3], "P_error": [0.3, 0.2], "crps": [0.7, 0.6], "sampling": [1.0, 9.0] * u.s})
    left, right = choicefigures.cost(table, ORDER, {"diff": curve}).axes
    assert [text.get_text() for text in left.texts] == ["1", "3"]
    (joined,) = [line for line in right.lines if len(line.get_xdata()) == 2 and list(line.get_ydata()) == [0.7, 0.6]]
    assert list(joined.get_xdata()) == [1.0, 9.0]
    assert left.get_xlim() == pytest.approx((0.5, 18.0))


def test_figures_survive_what_is_missing(table):
    bare = table[:3].copy()
    for name in bare.colnames[4:]:
        bare[name] = np.full(3, np.nan) * (bare[name].unit or 1)
    drawn = [
        choicefigures.radar(bare, ORDER),
        choicefigures.cost(bare, ORDER, {}),
        choicefigures.calibration(bare, ORDER),
    ]
    assert all(figure.axes for figure in drawn)
