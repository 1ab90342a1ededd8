"""What a model cannot do, said from tables whose faults are known."""

import numpy as np
import pytest
from astropy.table import QTable

from supercosm.limits import limits
from supercosm.tables import LENGTH, MASS, SPEED, WAVE_NUMBER

K = np.array([0.25, 0.5, 1.0, 2.0, 4.0])


def spectra(power, r):
    return QTable(
        {"entry": ["m"] * 5, "k": K * WAVE_NUMBER, "density_T": np.sqrt(power), "density_r": np.array(r, float)}
    )


def said(name, table):
    return limits("m", {name: table}, 1.0)


def test_a_model_that_is_right_has_no_limits():
    assert said("spectra", spectra(np.ones(5), np.ones(5))) == []
    assert limits("m", {}, 1.0) == []


def test_power_and_place_end_where_they_first_fail():
    power, place = said("spectra", spectra(np.array([1, 1.05, 0.93, 0.8, 1.0]), [1, 1, 0.95, 0.85, 0.5]))
    assert "only up to k = 1 h/Mpc" in power
    assert "at k = 4 it has 1.00 of it" in power
    assert "only up to k = 1 h/Mpc, 1 Nyquist frequencies of the low run; at k = 4, r = 0.50" in place


def test_haloes_count_where_there_are_enough():
    """Of 100, 50 and 2 haloes the model has half, all and none: the last two say nothing."""
    mass = np.array([1e12, 1e13, 1e14])
    true = QTable({"entry": ["high"] * 3, "boxes": [2] * 3, "mass": mass * MASS, "haloes": [100.0, 50.0, 2.0]})
    own = QTable({"entry": ["m"] * 3, "boxes": [2] * 3, "mass": mass * MASS, "haloes": [50.0, 50.0, 0.0]})
    (sentence,) = said("haloes", vstacked(true, own))
    assert "around 1e+12 M☉/h: around 1e+12 M☉/h it has 0.50 of them" in sentence
    own["haloes"][0] = 90.0
    assert said("haloes", vstacked(true, own)) == []


def vstacked(*tables):
    from astropy.table import vstack

    return vstack(list(tables))


def test_slow_pairs_are_told_at_their_separation():
    def table(entry, dispersion):
        return QTable(
            {"entry": [entry] * 2, "separation": [0.5, 2.0] * LENGTH, "dispersion": np.array(dispersion) * SPEED}
        )

    (sentence,) = said("pairwise", vstacked(table("high", [300.0, 300.0]), table("m", [200.0, 290.0])))
    assert "0.5 Mpc/h apart scatter by 0.67" in sentence


def test_biased_environments_are_named_in_per_cent():
    table = QTable({"entry": ["m"] * 2, "environment": ["void", "knot"], "bias": [0.01, np.log(1.2)]})
    (sentence,) = said("environment", table)
    assert "+20 % in knots" in sentence
    assert "void" not in sentence


@pytest.mark.parametrize(("ratio", "words"), [(0.5, "too small"), (1.0, None), (1.4, "too large")])
def test_spread_is_compared_with_the_error(ratio, words):
    table = QTable(
        {
            "entry": ["m"] * 2,
            "source": ["model"] * 2,
            "side": [4.0, 1.0] * LENGTH,
            "ratio": [3.0, ratio],  # the coarse cells do not count
            "coverage_90": [0.9, 0.4],
            "expected_90": [0.7, 0.7],
        }
    )
    found = said("calibration_cells", table)
    assert (found == []) if words is None else (words in found[0] and "70 % of the truth hold 40 %" in found[0])


def test_drift_is_told_by_parameter():
    table = QTable({"entry": ["m"] * 2, "parameter": ["sigma8", "Omega_m"], "slope": [0.4, 0.95]})
    (sentence,) = said("drift", table)
    assert "of a change in sigma8 they show 40 %" in sentence


def costs(box, even, error=0.1):
    table = QTable({"entry": ["high", "steps5", "m"], "kind": ["simulation", "few steps", "model"]})
    table["box"] = [100.0, 25.0, box] * (LENGTH / LENGTH)
    table["break_even"] = [1.0, 1.0, even]
    table["density_T_error_double"], table["density_r_double"] = [0.0, 0.05, error], [1.0, 0.99, 0.9]
    return table


def test_cost_says_when_it_pays_and_what_is_better_for_less():
    assert "does not pay here: a box costs 120" in said("cost", costs(120.0, np.inf))[0]
    pays, better = said("cost", costs(50.0, 80.0))
    assert "only from 80 boxes on" in pays
    assert "5 N-body steps" in better
    assert len(said("cost", costs(20.0, 80.0))) == 1  # cheaper than the five steps
    assert len(said("cost", costs(50.0, 80.0, error=0.01))) == 1  # and here better


def test_who_draws_small_scales_is_not_judged_by_cells_that_the_truth_chose():
    table = QTable({"entry": ["m"], "environment": ["knot"], "bias": [0.5]})
    assert limits("m", {"environment": table}, 1.0, drawn=True) == []
    assert len(limits("m", {"environment": table}, 1.0)) == 1


def test_what_is_wrong_from_the_first_bin_on_is_right_at_no_scale():
    (power,) = said("spectra", spectra(np.full(5, 0.5), np.ones(5)))
    assert "at no scale" in power


def test_few_haloes_scatter_and_are_not_blamed():
    """Half of 10 haloes in one box is chance, half of 10 in each of 20 boxes is not."""
    for boxes, faults in ((1, 0), (20, 1)):
        true = QTable({"entry": ["high"], "boxes": [boxes], "mass": [1e13] * MASS, "haloes": [10.0]})
        own = QTable({"entry": ["m"], "boxes": [boxes], "mass": [1e13] * MASS, "haloes": [5.0]})
        assert len(said("haloes", vstacked(true, own))) == faults
