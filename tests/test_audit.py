"""Where a model errs: environments and haloes whose errors are put in beforehand."""

import numpy as np
import pytest

from supercosm.audit import audit, by_environment, by_halo_mass
from supercosm.config import Cosmology, Statistics
from supercosm.errors import DataError
from supercosm.fields import DensityField, density_of, write_density
from supercosm.snapshot import Snapshot, read_snapshot, write_snapshot
from supercosm.statistics.environment import CLASSES
from supercosm.tables import read_table

pytestmark = pytest.mark.filterwarnings("error")

SIDE, BOX = 16, 32.0  # a particle every 2 Mpc/h: the linking length is 0.4
SETTINGS = Statistics(halo_particles=20)
SMALL, LOOSE, LARGE = slice(100, 130), slice(200, 240), slice(300, 400)  # clumps of 30, 40 and 100 particles
FIELD = 900  # a particle in no clump


def snapshot(positions, velocities, box_size=BOX, scale_factor=1.0):
    wrapped = (positions % box_size).astype(np.float32)
    ids = np.arange(1, len(positions) + 1, dtype=np.uint64)
    return Snapshot(wrapped, velocities.astype(np.float32), ids, box_size, scale_factor, Cosmology())


def lattice():
    return (np.indices((SIDE,) * 3).reshape(3, -1).T + 0.5) * BOX / SIDE


@pytest.fixture
def arrays():
    """Positions and velocities of a lattice with three clumps, each far from every other particle."""
    positions, random = lattice(), np.random.default_rng(0)
    for clump, centre in ((SMALL, 8.0), (LOOSE, 16.0), (LARGE, 24.0)):
        count = clump.stop - clump.start
        positions[clump] = centre + random.uniform(-0.05, 0.05, (count, 3))
    return positions, random.normal(0, 200, positions.shape)


# Haloes


def test_the_truth_makes_no_error(arrays):
    truth = snapshot(*arrays)
    table = by_halo_mass(truth, truth, SETTINGS)
    assert table["particles"].tolist() == [SIDE**3 - 170, 70, 100, 0, 0, 0]
    for name in ("displacement", "velocity", "flow"):
        assert np.nansum(table[name].value) == 0
    assert table["haloes"].tolist()[1:] == table["haloes_reference"].tolist()[1:] == [2, 1, 0, 0, 0]
    assert table["kept"].tolist()[:3] == [0, 1, 1]
    assert table["mass_from"][1].value == pytest.approx(20 * truth.particle_mass * 1e10)
    assert np.isnan(table["displacement"].value).tolist() == [False, False, False, True, True, True]
    assert np.isnan([table["flow"][0].value, table["haloes"][0]]).all()  # particles in no halo have none


def test_errors_appear_in_the_row_of_the_true_halo(arrays):
    """The small clump is 0.3 Mpc/h off in x, the large one 50 km/s too fast; the loose one has fallen apart.

    An rms error per component: 0.3/√3 for the one, 50 for the other. 70 particles share the row of small haloes.
    """
    positions, velocities = (part.copy() for part in arrays)
    positions[SMALL, 0] += 0.3
    positions[LOOSE] = lattice()[LOOSE]
    velocities[LARGE] += 50
    truth, sample = snapshot(*arrays), snapshot(positions, velocities)
    table = by_halo_mass(sample, truth, SETTINGS)
    lost = (lattice()[LOOSE] - arrays[0][LOOSE] + BOX / 2) % BOX - BOX / 2
    expected = np.sqrt((30 * 0.3**2 + (lost**2).sum()) / 70 / 3)
    assert table["displacement"].value[:3] == pytest.approx([0, expected, 0], abs=1e-5)
    assert table["velocity"].value[:3] == pytest.approx([0, 0, 50], abs=1e-4)
    assert table["flow"].value[1:3] == pytest.approx([0, 50], abs=1e-4)
    assert (table["haloes"][1], table["haloes_reference"][1]) == (1, 2)
    assert table["kept"][1] == pytest.approx(30 / 70)
    assert table["particles"].tolist()[:3] == [SIDE**3 - 170, 70, 100]  # by the truth's haloes, not the sample's


def test_flow_is_the_error_of_a_halo_as_a_whole(arrays):
    """Random errors of 100 particles average out to a tenth; two haloes that err oppositely do not."""
    velocities = arrays[1].copy()
    random = np.random.default_rng(1).normal(0, 60, (100, 3))
    velocities[LARGE] += random - random.mean(0)
    velocities[SMALL, 1] += 30
    velocities[LOOSE, 1] -= 30
    table = by_halo_mass(snapshot(arrays[0], velocities), snapshot(*arrays), SETTINGS)
    assert table["velocity"].value[2] == pytest.approx(60, rel=0.1)  # 300 numbers: 4 %
    assert table["flow"].value[2] == pytest.approx(0, abs=1e-4)
    assert table["flow"].value[1] == pytest.approx(30 / np.sqrt(3), rel=1e-5)


def test_displacements_are_the_short_way_round_the_box(arrays):
    positions = arrays[0].copy()
    positions[FIELD] = [0.5, 5, 5]
    truth = snapshot(positions, arrays[1])
    positions[FIELD, 0] = BOX - 1
    table = by_halo_mass(snapshot(positions, arrays[1]), truth, SETTINGS)
    assert table["displacement"][0].value == pytest.approx(1.5 / np.sqrt(3 * (SIDE**3 - 170)), rel=1e-4)


def test_a_box_without_haloes(arrays):
    still = snapshot(lattice(), arrays[1])
    table = by_halo_mass(snapshot(*arrays), still, SETTINGS)
    assert table["particles"].tolist() == [SIDE**3, 0, 0, 0, 0, 0]
    assert table["haloes"].tolist()[1:] == [2, 1, 0, 0, 0]
    assert not table["haloes_reference"][1:].any()
    assert np.isnan(table["flow"].value).all()


# Environments


@pytest.fixture(scope="module")
def high(tiny_simulations):
    return tiny_simulations[3] / "high.hdf5"


def test_the_truth_recovers_its_own_environments(high):
    truth = read_snapshot(high)
    table = by_environment(truth, truth, Statistics())
    assert tuple(table["environment"]) == CLASSES
    assert np.array_equal(table["volume"], table["volume_reference"])
    assert table["volume"].sum() == pytest.approx(1)
    assert (table["volume"] > 0).all()
    for name, value in (("recovered", 1), ("mass", 1), ("bias", 0), ("error", 0)):
        assert np.all(table[name] == value), name


def test_a_box_without_structure_is_one_void(high):
    """Of a uniform sample all numbers follow from the truth: its mass is the volume, its logarithm that of 1.1."""
    truth = read_snapshot(high)
    true = density_of(truth, 32).data.astype(float)
    sample = DensityField(np.ones((32,) * 3, np.float32), truth.box_size, 1.0, truth.cosmology)
    reference, table = by_environment(truth, truth, Statistics()), by_environment(sample, truth, Statistics())
    assert table["volume"].tolist() == table["recovered"].tolist() == [1, 0, 0, 0]
    assert np.array_equal(table["volume_reference"], reference["volume"])
    share = table["volume_reference"] / table["mass"]  # the truth's mass in each class
    assert share.sum() == pytest.approx(1, rel=1e-5)
    assert np.all(np.diff(table["mass"]) < 0)  # too much in voids, too little in knots
    bias = (table["bias"] * table["volume_reference"]).sum()
    assert bias == pytest.approx(np.log(1.1) - np.log(true + 0.1).mean(), rel=1e-4)
    square = (table["error"] ** 2 * table["volume_reference"]).sum()
    assert square == pytest.approx(((np.log(1.1) - np.log(true + 0.1)) ** 2).mean(), rel=1e-4)


def test_classes_that_the_truth_lacks_have_no_numbers(arrays):
    still = snapshot(lattice(), arrays[1])
    table = by_environment(snapshot(*arrays), still, SETTINGS)
    assert table["volume_reference"].tolist() == [1, 0, 0, 0]
    for name in ("recovered", "mass", "bias", "error"):
        assert np.isnan(table[name]).tolist() == [False, True, True, True], name
    assert table["mass"][0] == pytest.approx(1)


# Files


def test_tables_of_particles_and_of_fields(high, tmp_path):
    truth = read_snapshot(high)
    write_density(tmp_path / "field.hdf5", density_of(truth, 32))
    audit(high, high, tmp_path / "unet" / "8", Statistics())
    audit(tmp_path / "field.hdf5", high, tmp_path / "field" / "8", Statistics())
    assert {path.name for path in (tmp_path / "unet" / "8").iterdir()} == {"environment.ecsv", "halomass.ecsv"}
    assert {path.name for path in (tmp_path / "field" / "8").iterdir()} == {"environment.ecsv"}
    for name, axis in (("environment", ["environment"]), ("halomass", ["mass_from"])):
        meta = read_table(tmp_path / "unet" / "8" / f"{name}.ecsv").meta
        assert (meta["entry"], meta["seed"], meta["axis"]) == ("unet", "8", axis)
        assert meta["provenance"]["sample"] == truth.provenance
        assert meta["provenance"]["settings"] == Statistics().model_dump()


def test_particles_of_another_lattice_are_audited_by_environment_alone(high, tiny_simulations, tmp_path):
    """A sample at low resolution is painted on the reference's mesh, but has none of its particles."""
    audit(tiny_simulations[3] / "low.hdf5", high, tmp_path / "low" / "3", Statistics())
    assert {path.name for path in (tmp_path / "low" / "3").iterdir()} == {"environment.ecsv"}
    table = read_table(tmp_path / "low" / "3" / "environment.ecsv")
    assert np.all((table["recovered"] > 0.3) & (table["recovered"] < 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"box_size": 40.0}, "the sample's box is 40 Mpc/h, the reference's 32"),
        ({"scale_factor": 0.5}, "the sample's scale factor is 0.5, the reference's 1"),
    ],
)
def test_other_boxes_and_times_are_refused(arrays, tmp_path, changes, message):
    write_snapshot(tmp_path / "1.hdf5", snapshot(*arrays, **changes))
    refused(arrays, tmp_path, message)


@pytest.mark.parametrize(
    ("shape", "dimensions", "message"),
    [((4, 32, 32), 2, "projected slabs; compare it instead"), ((32, 32, 32), 3, "a mesh of 32 cells .* one of 16")],
)
def test_slabs_and_other_meshes_are_refused(arrays, tmp_path, shape, dimensions, message):
    data = DensityField(np.ones(shape, np.float32), BOX, 1.0, Cosmology(), dimensions)
    write_density(tmp_path / "1.hdf5", data)
    refused(arrays, tmp_path, message)


def refused(arrays, tmp_path, message):
    write_snapshot(tmp_path / "high.hdf5", snapshot(*arrays))
    with pytest.raises(DataError, match=message):
        audit(tmp_path / "1.hdf5", tmp_path / "high.hdf5", tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out").exists()
