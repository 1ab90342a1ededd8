"""What is recommended, from numbers whose winners and ties are known."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from supercosm.choice.choicefigures import contenders, marks
from supercosm.choice.findings import BARS, FAST, POWER, leaders, sentences, ties


@pytest.fixture
def own(table):
    return table.copy()


def said(table, start, curves=None):
    (found,) = [sentence for sentence in sentences(table, curves) if sentence.startswith(start)]
    return found


def test_the_best_by_more_than_the_scatter_wins_alone(table):
    """0.05 ± 0.005 against 0.1 ± 0.01 and 0.2 ± 0.02."""
    assert said(table, "If power matters most") == (
        "If power matters most: gan (0.05), by the max |P/P_HR − 1| up to 2 k_Ny."
    )


def test_a_difference_within_the_scatter_of_both_is_a_tie(own):
    """0.05 ± 0.005 and 0.056 ± 0.01 differ by half of √(0.005² + 0.01²)."""
    own["P_error"][0] = 0.056
    sentence = said(own, "If power matters most")
    assert "gan (0.05)" in sentence
    assert "unet-drawn (reference) (0.056) ties with it" in sentence
    own["P_error"][0] = 0.0615
    assert "ties" not in said(own, "If power matters most")


def test_without_scatter_nothing_ties_and_one_box_is_said_to_be_one(own):
    own["P_error_std"] = np.nan
    own["P_error"][0] = 0.0501
    own.meta["boxes"] = 1
    assert [row["entry"] for row in leaders(contenders(own), POWER)] == ["gan"]
    assert any("one test box" in sentence for sentence in sentences(own))
    own.meta["boxes"] = 2
    assert not any("one test box" in sentence for sentence in sentences(own))


def test_costs_tie_within_a_fifth(own):
    own["sampling"] = [3.0, 3.5, 3.7, np.nan, np.nan] * u.s
    one, two, three = contenders(own)
    assert ties(one, two, FAST)
    assert not ties(one, three, FAST)


def test_error_bars_are_those_that_hold_at_every_size(own):
    assert "diff (1.00, 1.00, 1.00) is closest" in said(own, "If you need error bars")
    assert said(own, "If you need error bars").endswith("within 0.9 and 1.1 of it: unet-drawn (reference), diff.")
    own["ratio_1"] = [0.8, 0.8, 0.8, np.nan, 1.0]
    own["spread_error"] = [0.1, 0.11, 0.12, np.nan, 0.0]
    sentence = said(own, "If you need error bars")
    assert "nobody's lies within 0.9 and 1.1" in sentence
    assert "ties" in sentence or "tie" in sentence  # their scatter is 0.02 each
    assert len(leaders(contenders(own), BARS)) == 3


def test_only_a_flow_has_a_likelihood(own):
    assert "none of these has one" in said(own, "If you need a likelihood")
    own["family"] = ["unet", "flow", "diffusion", "unet", "nature"]
    assert said(own, "If you need a likelihood").startswith("If you need a likelihood: gan;")


def test_the_reference_is_named_where_it_wins_ties_and_loses(own):
    """By hand: T 0.01 ± 0.001 before 0.03; CRPS 0.5 after 0.4 ± 0.01; a sample costs all the same."""
    wins = said(own, "Nothing beats the reference, unet-drawn")
    shared = said(own, "Nothing is better than the reference")
    lost = said(own, "The reference, unet-drawn, is beaten")
    assert "mean |T − 1|" in wins
    assert "cost of a sample" in shared
    assert "CRPS of the finest cells (by gan)" in lost
    for measure in ("bispectrum", "halo mass function", "told"):  # numbers of one entry alone decide nothing
        assert not any(measure in sentence for sentence in (wins, shared, lost))


def test_without_a_reference_nothing_is_said_of_one(own):
    assert not any("the reference" in sentence.lower() for sentence in sentences(own[1:]))


def test_a_regression_is_judged_by_what_it_is_told(own):
    assert not any(sentence.startswith("A regression") for sentence in sentences(own))  # its error is not known
    own["crps_1"][3] = 0.3
    assert "told the true small-scale modes as well, has" in said(own, "A regression")
    own["phases"] = ["drawn", "drawn", "drawn", "none", "drawn"]
    assert "told the low run alone, has its mean absolute error as CRPS: 0.300" in said(own, "A regression")
    assert "a CRPS of 0.200; that of gan is +100.0 % from it" in said(own, "True runs")


def test_boxes_that_are_found_out_do_not_pass(own):
    own["accuracy"] = [0.9, 0.8, 0.85, np.nan, np.nan]
    own["accuracy_std"] = 0.01
    assert "gan (0.8)" in said(own, "If boxes must pass")
    assert "even that is found out" in said(own, "If boxes must pass")
    own["accuracy"] = [0.9, 0.6, 0.85, np.nan, np.nan]
    assert "found out" not in said(own, "If boxes must pass")


def test_numbers_that_nobody_has_are_not_compared(own):
    for name in ("sampling", "training"):
        own[name] = [np.nan] * 5 * u.s
    own["accuracy"] = np.nan
    assert not any(
        sentence.startswith(("If you need one sample", "If boxes", "If you train")) for sentence in sentences(own)
    )


def curve(power, crps):
    table = QTable({"evaluations": [1, 3, 5], "P_error": power, "crps": crps, "sampling": [1.0, 3.0, 5.0] * u.s})
    table.meta["own"] = 3
    return table


def test_few_evaluations_are_enough_when_they_are_within_a_tenth(table):
    good = {"diff": curve([0.5, 0.105, 0.1], [0.4, 0.41, 0.4])}
    assert "diff: 3 evaluations are within 10 %" in said(table, "diff", good)
    assert "at 3 busy s" in said(table, "diff", good)
    split = {"diff": curve([0.1, 0.2, 0.3], [0.6, 0.5, 0.4])}
    assert "power is best with 1, CRPS with 5" in said(table, "diff", split)


def test_marks_of_the_radar_chart_are_what_its_caption_says(own):
    """Errors at their half-way value are marked ½; the cheapest training 1, twice its cost ½; nobody knows realism."""
    for name in ("T_error", "P_error", "bispectrum", "distribution", "haloes"):
        own[name] = 0.05
    own["spread_error"], own["diversity_error"] = 0.1, 0.25
    first, second, _ = marks(contenders(own))
    assert [first[name] for name in ("quality", "calibration", "diversity")] == pytest.approx([0.5] * 3)
    assert (first["cheap training"], second["cheap training"]) == pytest.approx((1.0, 0.5))
    assert second["realism"] == pytest.approx(0.4)  # told in 80 % of cases
    assert np.isnan(first["realism"])


def test_quality_is_of_what_all_have(own):
    """Only the gan has a bispectrum, so the mean is of power alone: (0.05 + 0.03)/2 = 0.04."""
    assert marks(contenders(own))[1]["quality"] == pytest.approx(1 / (1 + 0.04 / 0.05))
