"""Calibration of samples in files: of models that are calibrated, or too sure, by construction."""

import numpy as np
import pytest

from supercosm.calibrate import absolute_errors, calibrate, cells
from supercosm.compare import compare, comparison_grid
from supercosm.config import Cosmology, Evaluation
from supercosm.errors import DataError
from supercosm.fields import density_of, log_density, write_density
from supercosm.initial import Phases, linear_displacement
from supercosm.snapshot import from_lattice, read_snapshot, write_snapshot
from supercosm.tables import LENGTH, read_table

pytestmark = pytest.mark.filterwarnings("error")

BOX, SIDE = 50.0, 16
SETTINGS = Evaluation(bins=6, mesh=2)
BASE = linear_displacement(Phases(1), Cosmology(), BOX, SIDE).numpy()  # what everybody knows of the box
NOISE = 1.0  # Mpc/h per axis: what nobody knows


def save(path, seed, noise=NOISE, base=BASE, **changes):
    """Write the known displacement plus unknown noise: truth, universes and perfect samples are alike."""
    random = np.random.default_rng(seed).normal(0, noise, base.shape).astype(np.float32)
    attributes = {"scale_factor": 1.0, "cosmology": Cosmology(), "provenance": {"low_side": 8}, **changes}
    box = attributes.pop("box_size", BOX)
    write_snapshot(path, from_lattice(base + random, 0 * base, box, **attributes))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Truth, five universes, and three samples of a perfect model and of one whose noise is too weak."""
    folder = tmp_path_factory.mktemp("files")
    return {
        "truth": save(folder / "high.hdf5", 0),
        "universes": [save(folder / f"universe{i}.hdf5", i) for i in range(1, 6)],
        "perfect": [save(folder / "perfect" / "8" / f"{i}.hdf5", 10 + i) for i in range(3)],
        "sure": [save(folder / "sure" / "8" / f"{i}.hdf5", 20 + i, 0.3 * NOISE) for i in range(3)],
    }


@pytest.fixture(scope="module")
def tables(files, tmp_path_factory):
    """Spectra and cells of both models, with all universes."""
    found = {}
    for name in ("perfect", "sure"):
        folder = tmp_path_factory.mktemp(name)
        calibrate(files[name], files["truth"], files["universes"], folder, SETTINGS)
        found[name] = {table: read_table(folder / f"{table}.ecsv") for table in ("spectra", "cells")}
    return found


def rows(cells, source):
    return cells[cells["source"] == source]


def test_model_and_nature_stand_in_rows_of_one_table(tables):
    cells = tables["perfect"]["cells"]
    assert cells["source"].tolist() == ["model"] * 3 + ["nature"] * 3
    assert cells["samples"].tolist() == [3] * 3 + [5] * 3
    assert cells["side"].unit == LENGTH
    assert cells["side"].value.tolist() == 2 * [BOX / 16, BOX / 8, BOX / 4]
    ranks = np.array([cells[f"rank_{rank}"] for rank in range(6)])
    assert ranks.sum(0).tolist() == 2 * [16**3, 8**3, 4**3]
    assert not ranks[4:, :3].any()  # three samples have four ranks
    assert (ranks[:, 3] > 0).all()
    assert "rank_6" not in cells.colnames


def test_a_perfect_model_is_calibrated(tables):
    """Spread/error is 1, and coverage as expected: (S − 1)/(S + 1) of the level.

    Of n independent cells the ratio is known to about 1/√n, coverage to √(p (1 − p)/n): of 512 cells 0.04 and 0.02, and
    neighbours share particles. The coarsest cells, 64, are too few.
    """
    cells = tables["perfect"]["cells"]
    for source, size in (("model", 3), ("nature", 5)):
        found = rows(cells, source)
        assert found["expected_90"] == pytest.approx([0.9 * (size - 1) / (size + 1)] * 3)
        assert found["ratio"][:2] == pytest.approx([1, 1], abs=0.1)
        assert found["coverage_90"][:2] == pytest.approx(found["expected_90"][:2], abs=0.06)
        assert np.all(found["p_value"] > 1e-3)
        assert np.all(np.abs(found["bias"]) < 0.1 * found["error"])


def test_a_model_that_is_too_sure_is_caught(tables):
    """Its noise is 0.3 of the truth's: spread/error falls below 1, the truth lies outside of all samples."""
    perfect, sure = (rows(tables[name]["cells"], "model") for name in ("perfect", "sure"))
    assert np.all(sure["ratio"] < 0.5)
    assert np.all(sure["spread"] < 0.7 * perfect["spread"])
    ends = (sure["rank_0"] + sure["rank_3"]) / np.array([16, 8, 4]) ** 3
    assert np.all(ends > 0.6)  # one half if calibrated
    assert np.all(sure["coverage_90"] < sure["expected_90"] - 0.05)
    assert np.all(sure["p_value"][:2] < 1e-4)
    assert np.all(sure["crps"] > perfect["crps"])
    excess = [tables[name]["spectra"]["twin"] - tables[name]["spectra"]["r"] for name in ("perfect", "sure")]
    assert np.all(np.abs(excess[0]) < 0.02)
    assert np.all(excess[1] > 0)  # samples are more like each other than like the truth
    assert excess[1][-1] > 0.1
    nature = [rows(tables[name]["cells"], "nature") for name in ("perfect", "sure")]
    assert np.array_equal(nature[0]["ratio"], nature[1]["ratio"])  # nature is the same beside any model


def test_spectra_are_those_of_compare(files, tables):
    spectra, reference = tables["perfect"]["spectra"], compare(files["perfect"], files["truth"], SETTINGS)
    found = np.array(reference["density_P"].value).reshape(3, -1)
    true = reference["density_P_reference"].value[: len(spectra)]
    assert spectra["P"].value == pytest.approx(found.mean(0), rel=1e-6)
    assert spectra["P_spread"].value == pytest.approx(found.std(0, ddof=1), rel=1e-6)
    assert spectra["P_reference"].value == pytest.approx(true, rel=1e-6)
    assert spectra["rank"].tolist() == (found < true).sum(0).tolist()
    logs = np.log(found)
    z = (np.log(true) - logs.mean(0)) / (logs.std(0, ddof=1) * np.sqrt(1 + 1 / 3))
    assert spectra["z"] == pytest.approx(z, rel=1e-4)
    assert spectra["k"].value == pytest.approx(reference["k"].value[: len(spectra)])


def test_nature_counts_the_truth_among_the_universes(files, tables):
    runs = [files["truth"], *files["universes"]]
    found = compare(runs, files["truth"], SETTINGS, "nature", 8)["density_P"].value.reshape(6, -1)
    spectra = tables["perfect"]["spectra"]
    assert spectra["P_universes"].value == pytest.approx(found.mean(0), rel=1e-6)
    assert spectra["P_universes_spread"].value == pytest.approx(found.std(0, ddof=1), rel=1e-6)
    assert np.all(np.diff(spectra["physical"]) < 0)  # they agree at large scales
    assert spectra["physical"] == pytest.approx(spectra["twin"], abs=0.05)


def test_without_universes_there_is_the_model_alone(files, tmp_path):
    for universes, known in (([], False), (files["universes"][:1], True)):
        calibrate(files["perfect"], files["truth"], universes, tmp_path, SETTINGS)
        cells, spectra = read_table(tmp_path / "cells.ecsv"), read_table(tmp_path / "spectra.ecsv")
        assert cells["source"].tolist() == ["model"] * 3  # one universe has no spread
        assert cells.meta["universes"] == len(universes)
        for name in ("P_universes", "P_universes_spread", "physical"):
            assert np.isfinite(np.asarray(spectra[name])).all() == known
            assert np.isnan(np.asarray(spectra[name])).all() != known


def test_headers_name_the_samples(files, tables):
    for name, axis in (("spectra", ["k", "modes"]), ("cells", ["source", "samples", "side"])):
        meta = tables["sure"][name].meta
        assert (meta["entry"], meta["seed"], meta["axis"]) == ("sure", "8", axis)
        assert (meta["samples"], meta["universes"]) == (3, 5)
        assert (meta["provenance"]["stage"], meta["provenance"]["sample"]) == ("calibrate", {"low_side": 8})


@pytest.mark.parametrize("slabs", [None, 4])
def test_density_fields_are_calibrated_on_their_own_mesh(files, tables, tmp_path, slabs):
    """A box painted as calibrate itself would gives the same cells; slabs have rows of their own."""
    paths = []
    for path in files["perfect"]:
        paths.append(tmp_path / path.name)
        write_density(paths[-1], density_of(read_snapshot(path), SIDE, slabs))
    calibrate(paths, files["truth"], files["universes"], tmp_path / "out", SETTINGS)
    cells, expected = read_table(tmp_path / "out" / "cells.ecsv"), tables["perfect"]["cells"]
    assert cells["source"].tolist() == expected["source"].tolist()
    assert cells["ratio"][:2] == pytest.approx([1, 1], abs=0.1)
    if slabs is None:
        assert np.array_equal(cells["crps"], expected["crps"])
        assert np.array_equal(cells["rank_0"], expected["rank_0"])
    else:
        assert sum(cells[f"rank_{rank}"][0] for rank in range(4)) == slabs * SIDE**2


def test_cells_of_a_lattice_that_no_four_divide(tmp_path):
    base = np.zeros((3, 18, 18, 18), np.float32)
    truth, *samples = (save(tmp_path / f"{seed}.hdf5", seed, base=base) for seed in range(4))
    calibrate(samples, truth, [], tmp_path / "out", SETTINGS)
    assert read_table(tmp_path / "out" / "cells.ecsv")["side"].value.tolist() == pytest.approx([BOX / 18, BOX / 9])


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_samples_are_refused(files, tmp_path, count):
    with pytest.raises(DataError, match=f"at least 2 samples of one box, but there are {count}; draw more"):
        calibrate(files["perfect"][:count], files["truth"], files["universes"], tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"box_size": 60.0}, "box_size = 60 Mpc/h, the reference 50"), ({"scale_factor": 0.5}, "scale_factor = 0.5")],
)
@pytest.mark.parametrize("what", ["first sample", "last sample", "universe"])
def test_other_boxes_and_times_are_refused(files, tmp_path, what, changes, message):
    other, samples, universes = save(tmp_path / "1.hdf5", 9, **changes), files["perfect"], files["universes"]
    if what == "universe":
        universes = [*universes, other]
    else:
        samples = [other, *samples] if what == "first sample" else [*samples, other]
    with pytest.raises(DataError, match=message):
        calibrate(samples, files["truth"], universes, tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out").exists()


def test_samples_of_two_models_are_refused(files, tmp_path):
    write_density(tmp_path / "1.hdf5", density_of(read_snapshot(files["sure"][0]), SIDE))
    with pytest.raises(DataError, match="not on the same grid as the sample before it"):
        calibrate([*files["perfect"], tmp_path / "1.hdf5"], files["truth"], [], tmp_path / "out", SETTINGS)


def test_the_score_of_a_prediction_without_spread_is_its_absolute_error(files):
    """The CRPS of two equal samples has no spread to take off: by cells merged, as `cells` gives it by their side."""
    one = files["perfect"][0]
    found = absolute_errors(one, files["truth"], SETTINGS)
    truth = read_snapshot(files["truth"])
    grid = comparison_grid(read_snapshot(one), truth, SETTINGS)
    table = cells([one, one], truth, [], grid)
    assert list(found) == [1, 2, 4]
    assert list(found.values()) == pytest.approx(list(table["crps"]), rel=1e-6)
    direct = np.abs(
        log_density(density_of(read_snapshot(one), SIDE).data) - log_density(density_of(truth, SIDE).data)
    ).mean()
    assert found[1] == pytest.approx(direct, rel=1e-6)
