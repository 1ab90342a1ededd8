"""Do outputs follow the input's cosmology? Tables whose amplitude is a known function of it."""

import numpy as np
import pytest
from astropy.table import QTable

from supercosm.config import Cosmology
from supercosm.drift import drift, regress
from supercosm.errors import DataError
from supercosm.tables import DENSITY_POWER, WAVE_NUMBER, read_table, write_table

pytestmark = pytest.mark.filterwarnings("error")

NYQUIST = 0.5
K = np.array([0.1, 0.3, 0.6, 0.8, 0.9, 1.5])  # three bins between one and two low Nyquist frequencies, one beyond
SHIFTS = [{}, {"sigma8": -0.1}, {"sigma8": 0.1}, {"Omega_m": -0.05}, {"Omega_m": 0.05}]


def amplitude(cosmology, luck=0.0):
    """Of the true runs, ln A: linear in both parameters, so that a parabola through them is exact."""
    return 1 + 3 * cosmology.sigma8 + 2 * cosmology.Omega_m + luck


def comparison(entry, seed, shift, own=None, luck=0.0):
    """A table as `compare` makes it: the truth's spectrum and the output's, by their amplitudes ln A."""
    usual = Cosmology()
    cosmology = Cosmology(**{name: getattr(usual, name) + shift.get(name, 0) for name in Cosmology.model_fields})
    true = amplitude(cosmology, luck)
    shape = K**-1.5
    table = QTable({"k": K * WAVE_NUMBER})
    table["density_P_reference"] = shape * np.exp(true) * DENSITY_POWER
    table["density_P"] = shape * np.exp(true if own is None else own(cosmology, luck)) * DENSITY_POWER
    table["density_P"][-1] = 1e9 * DENSITY_POWER  # beyond two Nyquist frequencies nothing counts
    reference = {"settings": {"cosmology": cosmology.model_dump()}}
    table.meta = {"entry": entry, "seed": seed, "k_Nyquist_low": NYQUIST, "provenance": {"reference": reference}}
    return table


def stubborn(cosmology, luck):
    """What was trained at the usual cosmology, returned for every input."""
    return amplitude(Cosmology(), luck)


def rows(table, parameter, entry="model"):
    return table[(table["parameter"] == parameter) & (table["entry"] == entry)]


def test_a_model_that_follows_has_slope_one():
    table = regress([comparison("model", "8", shift) for shift in SHIFTS])
    for parameter, values in (("sigma8", [0.8102, 0.7102, 0.9102]), ("Omega_m", [0.3111, 0.2611, 0.3611])):
        found = rows(table, parameter)
        assert found["true"] == pytest.approx(values)
        assert found["inferred"] == pytest.approx(values)
        assert found["slope"] == pytest.approx([1, 1, 1])
        assert found["T_error"] == pytest.approx([0, 0, 0], abs=1e-9)
    assert len(table) == 6  # runs in which the other parameter was changed say nothing of this one


def test_a_stubborn_model_has_slope_zero():
    """Its output says sigma8 = 0.81 whatever the input, and its T is wrong by what the amplitude lacks."""
    table = regress([comparison("model", "8", shift, stubborn) for shift in SHIFTS])
    found = rows(table, "sigma8")
    assert found["inferred"] == pytest.approx([0.8102] * 3)
    assert found["slope"] == pytest.approx([0] * 3, abs=1e-9)
    assert found["T_error"] == pytest.approx([0, np.exp(0.15) - 1, 1 - np.exp(-0.15)])


def test_half_the_way_has_slope_one_half_and_a_bias_none():
    def half(cosmology, luck):
        return (amplitude(cosmology, luck) + stubborn(cosmology, luck)) / 2

    def loud(cosmology, luck):
        return amplitude(cosmology, luck) + 0.06

    tables = [comparison("half", "8", shift, half) for shift in SHIFTS]
    tables += [comparison("loud", "8", shift, loud) for shift in SHIFTS]
    table = regress(tables)
    assert rows(table, "sigma8", "half")["slope"] == pytest.approx([0.5] * 3)
    found = rows(table, "sigma8", "loud")
    assert found["slope"] == pytest.approx([1] * 3)
    assert found["inferred"] - found["true"] == pytest.approx([0.02] * 3)  # 0.06 of ln A are 0.02 of sigma8


def test_a_parameter_that_hardly_shows_is_not_inferred():
    """ln A changes by 0.6 over the values of sigma8; a tenth of a hundredth of that is noise, whatever a model does."""
    tables = [comparison("model", "8", shift) for shift in SHIFTS]
    for table in tables:
        omega = table.meta["provenance"]["reference"]["settings"]["cosmology"]["Omega_m"]
        for name in ("density_P", "density_P_reference"):
            table[name] *= np.exp(-1.99 * omega)
    found = rows(regress(tables), "Omega_m")
    assert found["response"] == pytest.approx([0.001] * 3)
    assert np.isnan(found["inferred"]).all()
    assert np.isnan(found["slope"]).all()
    assert rows(regress(tables), "sigma8")["response"] == pytest.approx([0.6] * 3)


def test_a_spectrum_that_only_tilts_tells_its_parameter():
    """The mean of ln P stays: its amplitude along the response is what changes."""
    tables = []
    for shift in SHIFTS[:3]:
        table = comparison("model", "8", {**shift})
        tilt = 5 * shift.get("sigma8", 0) * (K - K[2:5].mean())
        table["density_P_reference"] = np.exp(tilt) * DENSITY_POWER
        table["density_P"] = np.exp(0.5 * tilt + 1.0) * DENSITY_POWER
        tables.append(table)
    assert rows(regress(tables), "sigma8")["slope"] == pytest.approx([0.5] * 3)


def test_the_parameter_is_read_off_a_parabola():
    """Where ln A is no line, its inverse is: here sigma8 = A², which a parabola through three runs meets exactly."""
    tables = []
    for shift in SHIFTS[:3]:
        table = comparison("model", "8", shift)
        for name in ("density_P", "density_P_reference"):
            table[name] = np.full(len(K), np.exp(np.sqrt(0.8102 + shift.get("sigma8", 0)))) * DENSITY_POWER
        tables.append(table)
    wrong = tables[0].copy()
    wrong["density_P"] *= np.exp(0.02)
    wrong.meta["entry"] = "loud"
    found = rows(regress([*tables, wrong]), "sigma8", "loud")
    assert found["inferred"] == pytest.approx([(np.sqrt(0.8102) + 0.02) ** 2], rel=1e-9)
    assert np.isnan(found["slope"]).all()  # one input has no slope


def test_two_boxes_are_each_read_off_their_own_truths():
    """The luck of a box, here 0.3 in ln A or 0.1 in sigma8, is known from its true runs, so it cancels."""
    tables = [comparison("model", "8", shift) for shift in SHIFTS[:3]]
    tables += [comparison("model", "9", shift, luck=0.3) for shift in SHIFTS[:3]]
    tables += [comparison("lazy", "9", shift, stubborn, luck=0.3) for shift in SHIFTS[:3]]
    table = regress(tables)
    found = rows(table, "sigma8")
    assert found["seed"].tolist() == ["8"] * 3 + ["9"] * 3
    assert found["inferred"] == pytest.approx(found["true"])
    assert found["slope"] == pytest.approx([1] * 6)
    assert rows(table, "sigma8", "lazy")["inferred"] == pytest.approx([0.8102] * 3)


def test_projected_slabs_have_truths_of_their_own():
    """Their spectra are others, here ten times as large, and neither is read off the other's."""
    tables = [comparison("model", "8", shift) for shift in SHIFTS[:3]]
    slabs = [comparison("flat", "8", shift) for shift in SHIFTS[:3]]
    for table in slabs:
        table.meta["dimensions"] = 2
        table["density_P"] *= 10
        table["density_P_reference"] *= 10
    found = regress([*tables, *slabs])
    for entry in ("model", "flat"):
        assert rows(found, "sigma8", entry)["inferred"] == pytest.approx([0.8102, 0.7102, 0.9102])


def test_a_box_run_once_tells_nothing():
    """Its only amplitude would give its own parameter back, for any model: a slope that no data support."""
    tables = [comparison("model", "8", shift, stubborn) for shift in SHIFTS[:3]]
    once = comparison("model", "9", {}, lambda cosmology, luck: 9.0)
    found = rows(regress([*tables, once]), "sigma8")
    assert found["seed"].tolist() == ["8"] * 3
    assert np.array_equal(found["slope"], rows(regress(tables), "sigma8")["slope"])


def test_samples_of_one_box_are_averaged():
    """Two samples whose ln A err by ±0.3: their mean is right."""
    tables = [comparison("model", "8", shift) for shift in SHIFTS[:3]]
    pair = tables[0]["density_P"][:-1]
    tables[0] = QTable({name: np.tile(tables[0][name].value, 2) * tables[0][name].unit for name in tables[0].colnames})
    tables[0].meta = comparison("model", "8", {}).meta
    tables[0]["density_P"][: len(pair)] *= np.exp(0.3)
    tables[0]["density_P"][len(K) : len(K) + len(pair)] *= np.exp(-0.3)
    assert rows(regress(tables), "sigma8")["inferred"] == pytest.approx([0.8102, 0.7102, 0.9102])


def test_tables_are_read_and_written(tmp_path):
    paths = []
    for number, shift in enumerate(SHIFTS):
        paths.append(tmp_path / f"{number}.ecsv")
        write_table(paths[-1], comparison("model", "8", shift))
    drift(paths, tmp_path / "drift.ecsv")
    table = read_table(tmp_path / "drift.ecsv")
    assert table.colnames == ["parameter", "entry", "seed", "true", "inferred", "response", "T_error", "slope"]
    assert rows(table, "sigma8")["slope"] == pytest.approx([1] * 3)


@pytest.mark.parametrize(
    "runs",
    [
        [("8", {})],
        [("8", {}), ("9", {})],
        [("8", {}), ("9", {"sigma8": 0.1})],
    ],
)
def test_nothing_can_drift_where_nothing_was_varied(runs):
    with pytest.raises(DataError, match="no parameter was run at two values"):
        regress([comparison("model", seed, shift) for seed, shift in runs])


def test_tables_that_do_not_tell_are_refused():
    tables = [comparison("model", "8", shift) for shift in SHIFTS[:3]]
    foreign, coarse, unknown = (tables[0].copy() for _ in range(3))
    foreign.meta["provenance"] = {"reference": {}}
    with pytest.raises(DataError, match="entry 'model' does not name the cosmology of its reference"):
        regress([foreign, *tables[1:]])
    coarse.meta["k_Nyquist_low"] = 5.0
    with pytest.raises(DataError, match="no bin lies between one and two low Nyquist frequencies"):
        regress([coarse, *tables[1:]])
    unknown.meta["k_Nyquist_low"] = None
    with pytest.raises(DataError, match="entry 'model' does not name the low run's resolution"):
        regress([unknown, *tables[1:]])
