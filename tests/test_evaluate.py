"""Measures and their evaluation, on fields whose T and r are known beforehand."""

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.table import QTable

from supercosm.compare import compare, compare_files
from supercosm.config import Cosmology, Evaluation
from supercosm.errors import DataError
from supercosm.evaluate import METRICS, Curves, combine, evaluate
from supercosm.fields import density_of, write_density
from supercosm.initial import Phases, linear_displacement
from supercosm.snapshot import from_lattice, write_snapshot
from supercosm.statistics.power import bin_edges
from supercosm.statistics.power import compare as spectra_of
from supercosm.tables import DENSITY_POWER, DISPLACEMENT_POWER, WAVE_NUMBER, read_table, write_table

BOX, SIDE, LOW = 100.0, 32, 8
SETTINGS = Evaluation(bins=12, mesh=2)
ORIGIN = {"low_side": LOW, "factor": SIDE // LOW}


def field(seed):
    return linear_displacement(Phases(seed), Cosmology(), BOX, SIDE).numpy()


def save(path, displacement, **changes):
    attributes = {"scale_factor": 1.0, "cosmology": Cosmology(), "provenance": ORIGIN, **changes}
    box = attributes.pop("box_size", BOX)
    write_snapshot(path, from_lattice(displacement, 0 * displacement, box, **attributes))
    return path


@pytest.fixture
def truth(tmp_path):
    return save(tmp_path / "high.hdf5", field(1))


def test_the_truth_itself_has_perfect_scores(tmp_path, truth):
    table = compare([truth], truth, SETTINGS, "truth", 1)
    assert np.array_equal(table["density_P"], table["density_P_reference"])
    metrics = combine([table])[1][0]
    for f in ("density", "displacement"):
        assert metrics[f"{f}_T_error_all"] == 0
        assert metrics[f"{f}_P_worst_double"] == 0
        assert metrics[f"{f}_r_worst_nyquist"] == pytest.approx(1, abs=1e-6)
        assert np.isnan(metrics[f"{f}_twin_double"])


def test_scaled_displacement_has_the_scale_as_transfer(tmp_path, truth):
    sample = save(tmp_path / "1.hdf5", 0.9 * field(1))
    spectra, metrics = combine([compare([sample], truth, SETTINGS, "scaled", 1)])
    assert np.allclose(spectra["displacement_T"], 0.9, rtol=1e-4)
    assert np.allclose(spectra["displacement_r"], 1, atol=1e-5)
    assert metrics["displacement_T_worst_nyquist"][0] == pytest.approx(0.1, abs=1e-4)
    assert metrics["displacement_P_worst_nyquist"][0] == pytest.approx(0.19, abs=2e-4)


def test_independent_errors_set_r_and_the_twin_correlation(tmp_path, truth):
    """Sample = truth + e_i, each with half the truth's power: r = 1/√1.5, twins 1/1.5, T = √1.5."""
    samples = [save(tmp_path / f"{i}.hdf5", field(1) + np.sqrt(0.5) * field(10 + i)) for i in range(3)]
    table = compare(samples, truth, SETTINGS, "noisy", 1)
    spectra, _ = combine([table])
    many = spectra["modes"] > 300
    assert sorted(set(table["sample"])) == [1, 2, 3]
    assert np.allclose(spectra["displacement_r"][many], 1 / np.sqrt(1.5), atol=0.05)
    assert np.allclose(spectra["displacement_twin"][many], 1 / 1.5, atol=0.06)
    assert np.allclose(spectra["displacement_T"][many], np.sqrt(1.5), atol=0.08)


def test_twins_are_neighbouring_samples(tmp_path, truth):
    fields = [field(1) + 0.3 * field(10 + i) for i in range(3)]
    samples = [save(tmp_path / f"{i}.hdf5", f) for i, f in enumerate(fields)]
    table = compare(samples, truth, SETTINGS, "noisy", 1)
    edges = bin_edges(SIDE, SETTINGS.bins)
    for number, (a, b) in enumerate([(0, 1), (1, 2), (2, 0)], 1):
        expected = spectra_of(torch.from_numpy(fields[a]), torch.from_numpy(fields[b]), BOX, edges).cross
        found = table["displacement_P_twin"][table["sample"] == number].value
        assert found == pytest.approx(expected, rel=1e-3)


def test_scatter_is_that_between_seeds(tmp_path):
    tables = []
    for seed, scale in ((1, 0.8), (2, 1.0), (3, 1.2)):
        high = save(tmp_path / f"high{seed}.hdf5", field(seed))
        tables.append(compare([save(tmp_path / "s.hdf5", scale * field(seed))], high, SETTINGS, "scaled", seed))
    spectra, metrics = combine(tables)
    assert np.allclose(spectra["displacement_T"], 1.0, atol=1e-3)
    assert np.allclose(spectra["displacement_T_std"], 0.2, atol=1e-3)
    assert np.allclose(spectra["displacement_T_min"], 0.8, atol=1e-3)
    assert np.allclose(spectra["displacement_T_max"], 1.2, atol=1e-3)
    assert metrics["seeds"][0] == 3
    assert metrics["displacement_T_error_all"][0] == pytest.approx(0.4 / 3, abs=1e-3)
    one, _ = combine(tables[:1])
    assert np.isnan(one["displacement_T_std"]).all()
    assert np.array_equal(one["displacement_T_min"], one["displacement_T_max"])


def test_metrics_look_at_their_range():
    k = np.array([0.2, 0.5, 0.9, 1.5, 2.5])
    ratio = np.array([[1.0, 1.21, 0.81, 0.49, 4.0]])
    r = np.array([[1.0, 0.95, 0.9, 0.8, 0.4]])
    curves = Curves(k, ratio, np.ones((1, 5)), r, r / 2, nyquist=1.0)
    found = {name: metric(curves)[0] for name, metric in METRICS.items()}
    assert found["T_error_nyquist"] == pytest.approx(0.2 / 3)
    assert found["T_error_double"] == pytest.approx(0.5 / 4)
    assert found["T_error_all"] == pytest.approx(1.5 / 5)
    assert found["T_worst_nyquist"] == pytest.approx(0.1)
    assert found["P_worst_nyquist"] == pytest.approx(0.21)
    assert found["P_worst_double"] == pytest.approx(0.51)
    assert (found["r_worst_quarter"], found["r_worst_nyquist"]) == (1.0, 0.9)
    assert found["r_nyquist"] == pytest.approx(0.9 - 0.1 / 6)
    assert found["r_double"] == pytest.approx(0.6)
    assert found["twin_double"] == pytest.approx(0.3)


@pytest.mark.parametrize("slabs", [None, 4])
def test_density_fields_are_compared_on_their_own_mesh(tmp_path, slabs):
    truth = from_lattice(field(1), field(1), BOX, scale_factor=1.0, cosmology=Cosmology(), provenance=ORIGIN)
    write_snapshot(tmp_path / "high.hdf5", truth)
    write_density(tmp_path / "1.hdf5", density_of(truth, SIDE, slabs))
    table = compare([tmp_path / "1.hdf5"], tmp_path / "high.hdf5", SETTINGS, "field", 1)
    assert table.meta["dimensions"] == (3 if slabs is None else 2)
    assert table.meta["cells"] == SIDE
    assert table["density_P"].unit == DENSITY_POWER
    spectra, metrics = combine([table])
    assert np.allclose(spectra["density_T"], 1, atol=1e-3)
    assert np.allclose(spectra["density_r"], 1, atol=1e-5)
    assert np.isnan(metrics["displacement_r_double"][0])


def test_projected_power_tends_to_that_of_the_box(tmp_path):
    """P₂ × thickness ≈ P(k) where k × thickness ≫ 1; 4 standard errors √(2/modes) are allowed."""
    truth = from_lattice(field(1), field(1), BOX, scale_factor=1.0, cosmology=Cosmology(), provenance=ORIGIN)
    write_snapshot(tmp_path / "high.hdf5", truth)
    found = {}
    for slabs in (None, 2):
        write_density(tmp_path / "1.hdf5", density_of(truth, 2 * SIDE, slabs))
        found[slabs] = compare([tmp_path / "1.hdf5"], tmp_path / "high.hdf5", SETTINGS, "field", 1)
    ratio = (found[2]["density_P"] / found[None]["density_P"])[4:].value
    assert np.all(np.abs(ratio - 1) < 4 * np.sqrt(2 / found[2]["modes"][4:]))


def test_tables_keep_units_names_and_provenance(tmp_path, truth):
    folder = tmp_path / "superresolved" / "unet" / "8"
    sample = save(folder / "1.hdf5", field(1))
    assert compare([sample], truth, SETTINGS).meta["entry"] == "unet"
    output = tmp_path / "comparisons" / "gan" / "9.ecsv"
    compare_files([sample], truth, output, SETTINGS)
    table = read_table(output)
    assert (table.meta["entry"], table.meta["seed"]) == ("gan", "9")
    assert table["k"].unit == WAVE_NUMBER
    assert table["displacement_P_cross"].unit == DISPLACEMENT_POWER
    assert table.meta["k_Nyquist_low"] == pytest.approx(np.pi * LOW / BOX)
    assert table.meta["shot_noise"] == pytest.approx((BOX / SIDE) ** 3)
    assert table.meta["provenance"]["sample"] == ORIGIN
    evaluate([output], tmp_path / "spectra.ecsv", tmp_path / "metrics.ecsv")
    assert read_table(tmp_path / "spectra.ecsv")["density_P"].unit == DENSITY_POWER
    assert read_table(tmp_path / "metrics.ecsv")["entry"][0] == "gan"
    first = output.read_bytes()
    compare_files([sample], truth, output, SETTINGS)
    assert output.read_bytes() == first


def test_a_foreign_reference_without_lattice_is_measured_in_density_alone(tmp_path):
    high = save(tmp_path / "high.hdf5", field(1))
    fewer = save(tmp_path / "low.hdf5", field(1)[:, ::2, ::2, ::2].copy())
    table = compare([fewer], high, SETTINGS, "raw", 1)
    assert "displacement_P" not in table.colnames
    assert np.isfinite(table["density_P"]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"box_size": 50.0}, "box_size = 50 Mpc/h"), ({"scale_factor": 0.5}, "scale_factor = 0.5")],
)
def test_other_boxes_and_times_are_refused(tmp_path, truth, changes, message):
    sample = save(tmp_path / "1.hdf5", 0.1 * field(1), **changes)
    with pytest.raises(DataError, match=message):
        compare([sample], truth, SETTINGS, "x", 1)


def test_damaged_samples_are_refused(tmp_path, truth):
    sample = save(tmp_path / "1.hdf5", field(1))
    sample.write_bytes(sample.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"1\.hdf5 cannot be read"):
        compare([sample], truth, SETTINGS, "x", 1)


def test_samples_of_different_kinds_are_refused(tmp_path, truth):
    sample = save(tmp_path / "1.hdf5", field(1))
    other = save(tmp_path / "2.hdf5", field(1)[:, ::2, ::2, ::2].copy())
    with pytest.raises(DataError, match="same grid"):
        compare([sample, other], truth, SETTINGS, "x", 1)


def test_tables_that_do_not_belong_together_are_refused(tmp_path, truth):
    table = compare([truth], truth, SETTINGS, "truth", 1)
    with pytest.raises(DataError, match="nothing to compare"):
        compare([], truth, SETTINGS)
    with pytest.raises(DataError, match="nothing to evaluate"):
        combine([])
    with pytest.raises(DataError, match="twice with seed 1"):
        combine([table, table])
    other = table.copy()
    other.meta |= {"box_size": 200.0, "seed": "2"}
    with pytest.raises(DataError, match="differ in box_size"):
        combine([table, other])
    foreign = table.copy()
    foreign.meta["k_Nyquist_low"] = None
    with pytest.raises(DataError, match="k_Nyquist_low"):
        combine([foreign])
    coarse = compare([truth], truth, Evaluation(bins=5), "truth", 2)
    with pytest.raises(DataError, match="different bins"):
        combine([table, coarse])


def test_damaged_tables_are_refused(tmp_path):
    with pytest.raises(DataError, match="no table"):
        read_table(tmp_path / "none.ecsv")
    path = tmp_path / "t.ecsv"
    write_table(path, QTable({"k": [1.0, 2.0] * u.one, "P": [1.0, 2.0]}))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="no whole ECSV table"):
        read_table(path)


@pytest.mark.parametrize("name", ["k", "modes", "density_P_cross", "displacement_P_reference"])
def test_a_comparison_without_one_of_its_columns_is_named(truth, tmp_path, name):
    output = tmp_path / "comparison.ecsv"
    compare_files([save(tmp_path / "sample.hdf5", field(2))], truth, output, SETTINGS)
    table = read_table(output)
    table.remove_column(name)
    write_table(output, table)
    with pytest.raises(DataError, match=f"comparison.ecsv lacks the columns {name}; it is damaged"):
        evaluate([output], tmp_path / "spectra.ecsv", tmp_path / "metrics.ecsv")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("box_size", "wide"),
        ("k_Nyquist_low", float("nan")),
        ("k_Nyquist_high", -1.0),
        ("scale_factor", [1.0]),
        ("dimensions", "three"),
        ("entry", ["a", "b"]),
    ],
)
def test_a_header_that_holds_no_number_is_named(truth, tmp_path, key, value):
    table = compare([save(tmp_path / "sample.hdf5", field(2))], truth, SETTINGS, "truth", 2)
    table.meta[key] = value
    with pytest.raises(DataError, match=f"damaged: {key} = "):
        combine([table])
    del table.meta[key]
    with pytest.raises(DataError, match=f"lacks {key} in its header"):
        combine([table])
