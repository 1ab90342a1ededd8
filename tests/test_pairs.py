"""Paired fields: what they hold, and that only true pairs are paired."""

import dataclasses

import h5py
import numpy as np
import pytest
import torch
from learning import TEST_SEED, TRAINING_SEED

from supercosm.config import Cosmology
from supercosm.cosmology import growth
from supercosm.errors import DataError
from supercosm.initial import linear_displacement
from supercosm.mesh import upsample
from supercosm.pairs import PairFile, check_lattice, make_pairs, phases_of
from supercosm.snapshot import lattice_positions, read_snapshot, write_snapshot


@pytest.fixture
def file(boxes):
    return PairFile(boxes.pairs(TEST_SEED))


def modes(field):
    """Fourier modes of the last three axes, with their largest integer wave number per axis."""
    found = np.fft.fftn(field, axes=(-3, -2, -1))
    wave = np.abs(np.fft.fftfreq(field.shape[-1], 1 / field.shape[-1]))
    return found, np.maximum.reduce(np.meshgrid(wave, wave, wave, indexing="ij"))


def test_shapes_and_attributes(file):
    assert (file.low, file.high, file.slabs, file.seed) == (16, 32, 4, TEST_SEED)
    assert (file.box_size, file.scale_factor, file.cosmology) == (50.0, 1.0, Cosmology())
    assert file.has_initial
    for group, n in (("low", 16), ("high", 32)):
        assert file.read(f"{group}/displacement").shape == (3, n, n, n)
        assert file.read(f"{group}/velocity").shape == (3, n, n, n)
        assert file.read(f"{group}/density").shape == (1, n, n, n)
        assert file.read(f"{group}/slabs").shape == (3, 4, n, n)
    for name, shape in (
        ("displacement", (3, 32, 32, 32)),
        ("overdensity", (1, 32, 32, 32)),
        ("slabs", (3, 4, 32, 32)),
    ):
        assert file.read(f"initial/{name}").shape == shape


def test_density_has_mean_one_and_slabs_are_its_projections(file):
    for group in ("low", "high"):
        density = file.read(f"{group}/density")[0]
        assert density.mean() == pytest.approx(1, abs=1e-5)
        slabs, n = file.read(f"{group}/slabs"), len(density)
        np.testing.assert_allclose(slabs[0, 1], density[n // 4 : n // 2].mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(slabs[2, 3], density[..., 3 * n // 4 :].mean(axis=2), rtol=1e-4)


@pytest.mark.parametrize("resolution", ["low", "high"])
def test_displacements_lead_to_the_particles(boxes, file, resolution):
    snapshot = read_snapshot(boxes.snapshot(TEST_SEED, resolution))
    found = lattice_positions(file.read(f"{resolution}/displacement"), 50.0)
    distance = np.abs(found - snapshot.positions)
    assert np.minimum(distance, 50.0 - distance).max() < 2e-5
    velocity = np.moveaxis(file.read(f"{resolution}/velocity"), 0, -1).reshape(-1, 3)
    np.testing.assert_array_equal(velocity, snapshot.velocities)


@pytest.mark.parametrize("tag", ["", "_a0.5000"])
def test_initial_fields_are_linear_theory_at_the_time_of_the_snapshot(boxes, tag):
    file = PairFile(boxes.pairs(TEST_SEED, tag))
    D = growth(Cosmology(), file.scale_factor).D
    high = read_snapshot(boxes.snapshot(TEST_SEED, "high", tag))
    linear = D * linear_displacement(phases_of(high), Cosmology(), 50.0, 32).numpy()
    np.testing.assert_allclose(file.read("initial/displacement"), linear, atol=1e-6)
    # large scales move as linear theory says, so the two displacements are much alike
    evolved = file.read("high/displacement")
    assert np.corrcoef(evolved.ravel(), linear.ravel())[0, 1] > 0.9


def test_small_scales_are_the_modes_beyond_the_low_lattice_and_nothing_else(file):
    small, largest = modes(file.read("initial/small_scales"))
    whole, _ = modes(file.read("initial/displacement"))
    power = np.abs(whole).max()
    beyond = (largest >= 8) & (largest < 16)
    assert np.abs(small[:, ~beyond]).max() < 1e-5 * power
    np.testing.assert_allclose(small[:, beyond], whole[:, beyond], atol=1e-5 * power)
    assert np.abs(small[:, beyond]).min(axis=0).max() > 0


def test_linear_fields_of_both_resolutions_and_the_small_scales_add_up(file, low):
    coarse = linear_displacement(phases_of(low), Cosmology(), 50.0, 16)
    total = upsample(coarse, 32).numpy() + file.read("initial/small_scales")
    np.testing.assert_allclose(total, file.read("initial/displacement"), atol=1e-4)


def test_overdensity_is_minus_the_divergence_of_the_small_scale_displacement(file):
    small, _ = modes(file.read("initial/small_scales"))
    wave = np.fft.fftfreq(32, 1 / 32) * 2 * np.pi / 50.0
    divergence = sum(1j * k * m for k, m in zip(np.meshgrid(wave, wave, wave, indexing="ij"), small, strict=True))
    delta = -np.fft.ifftn(divergence).real
    np.testing.assert_allclose(file.read("initial/overdensity")[0], delta, atol=1e-4 * delta.std())


@pytest.mark.parametrize("start", [(0, 0, 0), (28, 5, 31), (16, 30, 2)])
def test_a_block_is_a_slice_of_the_rolled_box(file, start):
    whole = np.roll(file.read("high/displacement"), [-s for s in start], axis=(1, 2, 3))
    np.testing.assert_array_equal(file.block("high/displacement", start, 12), whole[:, :12, :12, :12])


def test_a_block_may_be_larger_than_the_box_and_pick_a_slab(file):
    slabs = file.read("high/slabs")
    found = file.block("high/slabs", (30, 1), 40, lead=(2, 3))
    rows = np.arange(40)
    np.testing.assert_array_equal(found, slabs[2, 3][np.ix_((30 + rows) % 32, (1 + rows) % 32)])


def test_snapshots_without_a_seed_make_pairs_without_initial_conditions(tmp_path, low, high):
    for name, snapshot in (("low", low), ("high", high)):
        write_snapshot(tmp_path / name, dataclasses.replace(snapshot, provenance={}))
    make_pairs(tmp_path / "low", tmp_path / "high", tmp_path / "pairs", slabs=4)
    file = PairFile(tmp_path / "pairs")
    assert not file.has_initial
    assert file.seed == -1
    with pytest.raises(DataError, match="initial/small_scales is missing"):
        file.read("initial/small_scales")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"box_size": 51.0}, r"box size \[Mpc/h\] is 50.0 in the low and 51.0 in the high run"),
        ({"scale_factor": 0.5}, "scale factor is 1.0 in the low and 0.5"),
        ({"cosmology": Cosmology(Omega_m=0.25)}, "Omega_m is 0.3111 in the low and 0.25"),
        ({"cosmology": Cosmology(sigma8=0.7)}, "sigma8 is 0.8102 in the low and 0.7"),
        ({"provenance": {"seed": 99}}, "seed is 3 in the low and 99"),
        ({"provenance": {}}, "seed is 3 in the low and None"),
    ],
)
def test_runs_of_different_universes_are_no_pair(tmp_path, boxes, high, change, words):
    write_snapshot(tmp_path / "high.hdf5", dataclasses.replace(high, **change))
    with pytest.raises(DataError, match=words):
        make_pairs(boxes.snapshot(TEST_SEED, "low"), tmp_path / "high.hdf5", tmp_path / "pairs.hdf5", slabs=4)
    assert not list(tmp_path.glob("*pairs*"))


def test_swapped_runs_and_bad_slabs_are_refused_and_leave_nothing(tmp_path, boxes):
    low, high = (boxes.snapshot(TEST_SEED, resolution) for resolution in ("low", "high"))
    with pytest.raises(DataError, match="16 particles per side of the high run are no multiple"):
        make_pairs(high, low, tmp_path / "pairs.hdf5", slabs=4)
    with pytest.raises(DataError, match="5 slabs do not divide 16 cells"):
        make_pairs(low, high, tmp_path / "pairs.hdf5", slabs=5)
    assert not list(tmp_path.iterdir())


def test_particles_that_are_not_where_their_ids_say_are_refused(high):
    order = np.random.default_rng(3).permutation(len(high.ids))
    shuffled = dataclasses.replace(high, positions=high.positions[order])
    with pytest.raises(DataError, match="not the Lagrangian index"):
        check_lattice(shuffled)


def test_an_odd_lattice_is_refused(low):
    few = slice(0, 5**3)
    odd = dataclasses.replace(low, positions=low.positions[few], velocities=low.velocities[few], ids=low.ids[few])
    with pytest.raises(DataError, match="5 particles per side"):
        check_lattice(odd)


def test_damaged_pair_files_are_refused(tmp_path, boxes):
    path, content = tmp_path / "pairs.hdf5", boxes.pairs(TEST_SEED).read_bytes()
    with pytest.raises(DataError, match="there is no pair file"):
        PairFile(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="truncated"):
        PairFile(path)
    with pytest.raises(DataError, match="is no pair file; make one with `supercosm pair`"):
        PairFile(boxes.snapshot(TEST_SEED, "low"))
    flipped = bytearray(content)
    with h5py.File(boxes.pairs(TEST_SEED), "r") as file:
        offset = file["high/displacement"].id.get_chunk_info(0).byte_offset
    flipped[offset + 1000] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(DataError, match="high/displacement is missing or damaged"):
        PairFile(path).read("high/displacement")


def test_nan_in_a_field_is_refused(tmp_path, boxes):
    path = tmp_path / "pairs.hdf5"
    path.write_bytes(boxes.pairs(TEST_SEED).read_bytes())
    with h5py.File(path, "r+") as file:
        file["low/velocity"][1, 2, 3, 4] = np.nan
    with pytest.raises(DataError, match="low/velocity holds NaN"):
        PairFile(path).read("low/velocity")


def test_upsampled_low_run_and_high_run_have_no_shift_between_them(file):
    """A shift by half a high-resolution cell (0.78 Mpc/h) would turn the phase of every mode."""
    smooth, _ = modes(upsample(torch.from_numpy(file.read("low/displacement")), 32).numpy())
    true, largest = modes(file.read("high/displacement"))
    large = (largest > 0) & (largest <= 2)
    phase = np.angle(smooth[:, large] * true[:, large].conj())
    weight = np.abs(true[:, large]) ** 2
    assert np.sqrt((weight * phase**2).sum() / weight.sum()) < 0.05


def test_a_bound_makes_files_smaller_and_is_kept(boxes, tmp_path):
    bound = 0.02
    low, high = (boxes.snapshot(TEST_SEED, resolution) for resolution in ("low", "high"))
    make_pairs(low, high, tmp_path / "small.hdf5", 4, bound)
    plain, small = PairFile(boxes.pairs(TEST_SEED)), PairFile(tmp_path / "small.hdf5")
    for group in ("low", "high", "initial"):
        error = np.abs(plain.read(f"{group}/displacement") - small.read(f"{group}/displacement"))
        assert 0.1 * bound < error.max() <= bound
    velocity = np.abs(plain.read("high/velocity") - small.read("high/velocity"))
    assert 10 * bound < velocity.max() <= 100 * bound
    for name in ("high/density", "high/slabs", "initial/overdensity"):
        np.testing.assert_array_equal(plain.read(name), small.read(name))
    assert small.path.stat().st_size < 0.6 * plain.path.stat().st_size
    block = small.block("high/displacement", (30, 5, 5), 6)
    assert np.abs(block - plain.block("high/displacement", (30, 5, 5), 6)).max() <= bound


def test_runs_of_unknown_seeds_must_be_of_the_same_phases(boxes, tmp_path):
    """Of other codes' runs no seed is known, so what is compared are the motions."""
    for seed in (TEST_SEED, TRAINING_SEED):
        for resolution in ("low", "high"):
            found = read_snapshot(boxes.snapshot(seed, resolution))
            write_snapshot(
                tmp_path / f"{resolution}{seed}.hdf5", dataclasses.replace(found, provenance={"command": "import"})
            )
    low, high, other = (
        tmp_path / f"{name}.hdf5" for name in (f"low{TEST_SEED}", f"high{TEST_SEED}", f"high{TRAINING_SEED}")
    )
    make_pairs(low, high, tmp_path / "pairs.hdf5", slabs=4)
    with pytest.raises(DataError, match=r"correlated by -?0\.[0-4]\d, and runs from the same initial phases by 0\.5"):
        make_pairs(low, other, tmp_path / "others.hdf5", slabs=4)
