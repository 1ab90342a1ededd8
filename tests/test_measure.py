"""Every statistic of one box: what is written, that it is written alike again, and what odd boxes give."""

import logging

import h5py
import numba
import numpy as np
import pytest
import torch
from astropy.io import fits

from supercosm import stages
from supercosm.config import Cosmology, Statistics
from supercosm.errors import ConfigurationError, DataError
from supercosm.fields import DensityField, density_of, write_density
from supercosm.halofile import read_haloes
from supercosm.measure import measure
from supercosm.particlesummaries import OF_PARTICLES
from supercosm.snapshot import Snapshot, read_snapshot, write_snapshot
from supercosm.summaries import OF_FIELDS, SMALLEST, Box
from supercosm.tables import DENSITY_POWER, WAVE_NUMBER, read_table

pytestmark = pytest.mark.filterwarnings("error")  # a number that cannot be is NaN on purpose, never a RuntimeWarning

SIDE, BOX = 16, 50.0
EVERY = {**OF_FIELDS, **OF_PARTICLES}
HALO = 150  # particles: within the bins of the mass function, which end at 200 here


@pytest.fixture(scope="module")
def high(tiny_simulations):
    return tiny_simulations[3] / "high.hdf5"


@pytest.fixture(scope="module")
def folder(high, tmp_path_factory):
    """Where the high run of seed 3 was measured."""
    folder = tmp_path_factory.mktemp("statistics") / "high" / "3"
    measure(high, folder, Statistics())
    return folder


def written(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tables(*names):
    return {f"{name}.ecsv" for name in names}


# What is written


def test_every_statistic_of_a_snapshot_is_written(folder):
    assert written(folder).keys() == tables(*EVERY) | {"haloes.hdf5", "slab.fits"}
    for name in EVERY:
        assert len(read_table(folder / f"{name}.ecsv")) > 0, name


def test_the_workflow_asks_for_what_is_measured():
    assert (tuple(OF_FIELDS), tuple(OF_PARTICLES)) == (stages.OF_FIELDS, stages.OF_PARTICLES)


def test_tables_catalogue_and_slab_belong_to_one_box(folder, high):
    box, density = read_snapshot(high), density_of(read_snapshot(high), 32).data
    haloes, counted = read_haloes(folder / "haloes.hdf5"), read_table(folder / "haloes.ecsv")
    end = counted["mass"][-1].value ** 1.5 / counted["mass"][-2].value ** 0.5  # of the logarithmic bins
    assert counted["haloes"].sum() == np.count_nonzero(haloes.masses < end) > 20
    web = read_table(folder / "web.ecsv")
    assert [web[share].sum() for share in ("volume", "mass")] == pytest.approx([1, 1])
    assert np.all(np.diff(web["mass"] / web["volume"]) > 0)  # from voids to knots
    with fits.open(folder / "slab.fits", checksum=True) as (image,):
        layers = round(Statistics().slab / BOX * 32)
        np.testing.assert_allclose(image.data, density[:, :, :layers].mean(2).T, rtol=1e-5)
        assert (image.header["BOXSIZE"], image.header["SCALEFAC"]) == (box.box_size, 1.0)


def test_headers_say_what_names_a_row_and_where_the_numbers_come_from(folder, high):
    for name, statistic in EVERY.items():
        table = read_table(folder / f"{name}.ecsv")
        meta = table.meta
        assert set(meta["axis"]) < set(table.colnames), name
        assert (meta["statistic"], meta["entry"], meta["seed"]) == (name, "high", "3")
        assert statistic.__doc__.startswith(meta["what"])
        assert (meta["box_size"], meta["scale_factor"], meta["particles"]) == (BOX, 1.0, 32**3)
        origin = meta["provenance"]
        assert (origin["stage"], origin["settings"]) == ("measure", Statistics().model_dump())
        assert origin["sample"] == read_snapshot(high).provenance
    spectrum = read_table(folder / "spectrum.ecsv")
    assert (spectrum["k"].unit, spectrum["P"].unit) == (WAVE_NUMBER, DENSITY_POWER)


def test_the_same_box_gives_the_same_files_on_any_number_of_threads(folder, high):
    first, threads = written(folder), (numba.get_num_threads(), torch.get_num_threads())
    numba.set_num_threads(1)
    torch.set_num_threads(2)
    try:
        measure(high, folder, Statistics())
    finally:
        numba.set_num_threads(threads[0])
        torch.set_num_threads(threads[1])
    assert [name for name, content in written(folder).items() if content != first[name]] == []


def test_single_statistics(tmp_path, high, folder):
    measure(high, tmp_path / "high" / "3", Statistics(), ["moments", "pairwise"])
    assert written(tmp_path / "high" / "3") == {name: written(folder)[name] for name in tables("moments", "pairwise")}
    measure(high, tmp_path / "one", Statistics(), ["haloes"])
    assert written(tmp_path / "one").keys() == tables("haloes") | {"haloes.hdf5"}


def test_settings_reach_the_statistics(tmp_path, high):
    settings = Statistics(smoothing=[3.0], bins=5, halo_particles=100)
    measure(high, tmp_path, settings, ["moments", "spectrum", "haloes"])
    assert read_table(tmp_path / "moments.ecsv")["radius"].value.tolist() == [3.0]
    assert len(read_table(tmp_path / "spectrum.ecsv")) == 5
    assert read_haloes(tmp_path / "haloes.hdf5").particles.min() >= 100


def test_an_unknown_statistic_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigurationError, match="no statistic 'spectra'; choose among spectrum, bispectrum"):
        measure(tmp_path / "nothing.hdf5", tmp_path / "out", Statistics(), ["spectra"])
    assert not (tmp_path / "out").exists()


# Density fields


def test_a_density_field_gives_what_needs_no_particles(tmp_path, high, folder):
    write_density(tmp_path / "1.hdf5", density_of(read_snapshot(high), 32))
    measure(tmp_path / "1.hdf5", tmp_path / "field" / "3", Statistics())
    assert written(tmp_path / "field" / "3").keys() == tables(*OF_FIELDS) | {"slab.fits"}
    assert read_table(tmp_path / "field" / "3" / "web.ecsv").meta["particles"] == 0
    for name in ("moments", "distribution", "extrema", "minkowski", "web"):  # the very same mesh
        found, expected = (read_table(one / f"{name}.ecsv") for one in (tmp_path / "field" / "3", folder))
        for column in found.colnames:
            assert np.array_equal(found[column], expected[column], equal_nan=found[column].dtype.kind == "f"), column
    with pytest.raises(DataError, match="haloes and velocities need particles"):
        measure(tmp_path / "1.hdf5", tmp_path / "out", Statistics(), ["flows"])
    assert not (tmp_path / "out").exists()


def test_spectra_of_a_density_field_are_those_of_its_particles(tmp_path, high, folder):
    """The window is divided out of both; up to half the Nyquist frequency aliases of cloud in cell add less than 1 %.

    Without the division P would be up to 28 % too low there.
    """
    write_density(tmp_path / "1.hdf5", density_of(read_snapshot(high), 32))
    measure(tmp_path / "1.hdf5", tmp_path, Statistics(), ["spectrum", "bispectrum"])
    for name, column, shell in (("spectrum", "P", "k"), ("bispectrum", "B", "k3")):
        found, expected = (read_table(one / f"{name}.ecsv") for one in (tmp_path, folder))
        large = expected[shell].value < np.pi * 32 / BOX / 2
        assert large.sum() > 4
        np.testing.assert_allclose(found[column][large] / expected[column][large], 1, atol=0.01)


@pytest.mark.parametrize(
    ("data", "dimensions", "message"),
    [
        (np.ones((16, 16, 32)), 3, r"has shape \(m, m, m\), not \(16, 16, 32\)"),
        (np.ones((4, 32, 32)), 2, "holds projected slabs; compare it instead"),
        (np.ones((8, 8, 8)), 3, "8³ particles or cells are too few to measure; the statistics need 16³"),
        (np.full((16, 16, 16), np.nan), 3, "must be finite"),
        (np.zeros((16, 16, 16)), 3, "mean 0, but 1 . δ has mean 1"),
        (np.full((16, 16, 16), 7.0), 3, "mean 7, but 1 . δ has mean 1; divide it by its mean"),
    ],
)
def test_meshes_that_cannot_be_measured_are_refused(tmp_path, data, dimensions, message):
    path = tmp_path / "1.hdf5"
    write_density(path, DensityField(np.ones((16,) * 3, np.float32), BOX, 1.0, Cosmology()))
    with h5py.File(path, "a") as file:
        del file["density"]
        file["density"] = data.astype(np.float32)
        file.attrs["dimensions"] = dimensions
    refused(path, tmp_path, message)


def refused(path, tmp_path, message):
    with pytest.raises(DataError, match=message) as caught:
        measure(path, tmp_path / "out", Statistics())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


# Odd boxes of particles


def snapshot(positions, box_size=BOX, speed=0.0):
    velocities = speed * np.random.default_rng(1).normal(size=positions.shape)
    ids = np.arange(1, len(positions) + 1, dtype=np.uint64)
    return Snapshot(*(part.astype(np.float32) for part in (positions, velocities)), ids, box_size, 1.0, Cosmology())


def lattice(box_size=BOX):
    return (np.indices((SIDE,) * 3).reshape(3, -1).T + 0.5) * box_size / SIDE


def clump(box_size=BOX):
    """A lattice with a ball of HALO particles, an eighth of a cell wide, in the place of as many."""
    positions = lattice(box_size)
    positions[:HALO] = box_size / 2 + np.random.default_rng(2).uniform(-0.06, 0.06, (HALO, 3)) * box_size / SIDE
    return positions


def uniform(count=SIDE**3):
    return np.random.default_rng(3).uniform(0, BOX, (count, 3))


ODD = {
    "all in one cell": (snapshot(20 + uniform() / SIDE / 8, speed=100), [SIDE**3]),
    "all at one point": (snapshot(np.full((SIDE**3, 3), 20.0)), [SIDE**3]),
    "one halo": (snapshot(clump(), speed=100), [HALO]),
    "one halo in a box of 2 Gpc/h": (snapshot(clump(2000.0), 2000.0), [HALO]),
    "no halo": (snapshot(uniform(), speed=100), []),
    "a lattice at rest": (snapshot(lattice()), []),
    "no cube of particles": (snapshot(uniform(4000)), []),
}
# What asks for haloes, for pairs or for structure is NaN where there are none.
LACKING = {
    "bispectrum": {"Q", "Q_error_gaussian"},
    "moments": {"S3", "S4"},
    "profiles": {"density", "error"},
    "bias": {"bias", "error", "tinker10"},
    "pairwise": {"infall", "dispersion"},
}


@pytest.mark.parametrize("case", ODD)
def test_odd_boxes_give_numbers(case):
    data, sizes = ODD[case]
    box = Box(data, Statistics())
    assert box.haloes.particles.tolist() == sizes
    for name, statistic in EVERY.items():
        table = statistic(box)
        for column in table.colnames:
            values = np.asarray(getattr(table[column], "value", table[column]))
            known = values.dtype.kind in "US" or np.isfinite(values).all()
            assert known or column in LACKING.get(name, ()), (name, column)
            assert values.dtype.kind in "US" or not np.isinf(values).any(), (name, column)
    assert EVERY["haloes"](box)["haloes"].sum() == sizes.count(HALO)
    assert np.isfinite(EVERY["bias"](box)["bias"]).sum() == len(sizes)
    assert EVERY["spectrum"](box)["shot_noise"][0].value == pytest.approx(data.box_size**3 / len(data.ids))


def test_numbers_of_odd_boxes_are_the_known_ones():
    """A lattice has no power; of a point all modes have P = V, and its particles move with nobody near."""
    still, point = (Box(ODD[case][0], Statistics()) for case in ("a lattice at rest", "all at one point"))
    shot = BOX**3 / SIDE**3
    assert np.abs(EVERY["spectrum"](still)["P"].value).max() < 1e-8 * shot  # the rounding of float32, squared
    assert np.abs(EVERY["moments"](still)["variance"]).max() < 1e-10
    np.testing.assert_allclose(EVERY["spectrum"](point)["P"].value, BOX**3, rtol=1e-3)
    assert EVERY["pairwise"](point)["pairs"].sum() == 0
    assert not EVERY["flows"](still)["velocity"].value.any()


# Files that are refused, or put right


def save(tmp_path, positions):
    write_snapshot(tmp_path / "x.hdf5", snapshot(positions))
    return tmp_path / "x.hdf5"


def test_no_numbers_and_too_few_particles_are_refused(tmp_path):
    positions = uniform()
    positions[5:8, 1] = np.nan
    refused(save(tmp_path, positions), tmp_path, "3 of the positions are NaN or infinite")
    refused(save(tmp_path, uniform(SMALLEST**2)), tmp_path, "6³ particles or cells are too few to measure")


def test_a_snapshot_without_particles_is_refused(tmp_path):
    path = save(tmp_path, uniform())
    with h5py.File(path, "a") as file:
        for name, shape in (("Coordinates", (0, 3)), ("Velocities", (0, 3)), ("ParticleIDs", (0,))):
            del file["PartType1"][name]
            file["PartType1"].create_dataset(name, shape, "u8" if len(shape) == 1 else "f4")
    refused(path, tmp_path, "a snapshot needs particles, but there are none")


def test_spheres_larger_than_the_box_are_refused(tmp_path):
    write_snapshot(tmp_path / "x.hdf5", snapshot(lattice(10.0), 10.0))
    with pytest.raises(DataError, match="smoothing radius of 8 Mpc/h does not fit a box of 10 Mpc/h"):
        measure(tmp_path / "x.hdf5", tmp_path / "out", Statistics(), ["moments"])


def test_positions_outside_the_box_are_wrapped_with_one_warning(tmp_path, caplog):
    inside = uniform()
    moved = inside.copy()
    moved[:100, 0] += BOX
    moved[100:150, 2] -= BOX
    spectra = []
    for name, positions in (("inside", inside), ("moved", moved)):
        path = save(tmp_path, positions)
        with caplog.at_level(logging.WARNING):
            measure(path, tmp_path / name, Statistics(), ["spectrum"])
        spectra.append(read_table(tmp_path / name / "spectrum.ecsv")["P"].value)
    (warning,) = caplog.messages
    assert "150 of 4096 particles lie outside the box of 50 Mpc/h" in warning
    np.testing.assert_allclose(*spectra, rtol=1e-4)  # float32 at 100 Mpc/h: 4e-6 Mpc/h, 3e-5 of a wave
