"""Deliberately wrong models, and the number that exposes each; the truth itself passes the same number first."""

import numpy as np
import pytest
import torch

from supercosm.audit import by_environment, by_halo_mass
from supercosm.calibrate import calibrate
from supercosm.compare import compare
from supercosm.config import Audit, Evaluation, Statistics
from supercosm.evaluate import combine
from supercosm.mesh import upsample
from supercosm.particlesummaries import flows, pairwise, redshift_space
from supercosm.simulate import simulate
from supercosm.snapshot import from_lattice, read_snapshot, write_snapshot
from supercosm.summaries import Box, moments, spectrum
from supercosm.tables import read_table
from supercosm.variants import variants

BOX, SIDE, LOW = 50.0, 32, 16
NYQUIST = np.pi * LOW / BOX  # of the low run
SAMPLES = 3
SETTINGS = Evaluation(bins=10, mesh=2)


@pytest.fixture(scope="module")
def run(tiny_simulations):
    return tiny_simulations[3]


@pytest.fixture(scope="module")
def truth(run):
    return read_snapshot(run / "high.hdf5")


def model(truth, displacement=None, velocity=None):
    """The truth with another displacement or velocity."""
    return from_lattice(
        truth.displacement() if displacement is None else displacement,
        truth.velocity() if velocity is None else velocity,
        BOX,
        scale_factor=1.0,
        cosmology=truth.cosmology,
        provenance={"low_side": LOW},
    )


@pytest.fixture
def scores(run, tmp_path):
    """Compare one snapshot with the truth; return spectra and metrics."""

    def find(snapshot):
        write_snapshot(tmp_path / "1.hdf5", snapshot)
        return combine([compare([tmp_path / "1.hdf5"], run / "high.hdf5", SETTINGS, "model", 3)])

    return find


# Noise off


@pytest.fixture(scope="module")
def universes(tiny_config, tmp_path_factory):
    """True runs with the large scales of seed 3: samples of a perfect model."""
    folder, paths = tmp_path_factory.mktemp("universes"), []
    for name, variant in variants(tiny_config.model_copy(update={"audit": Audit(universes=SAMPLES)})).items():
        if variant.kind == "universe":
            (snapshot,) = simulate(variant.config, 3, "high", variant.small_scales(3))
            paths.append(folder / f"{name}.hdf5")
            write_snapshot(paths[-1], snapshot)
    return paths


def test_noise_off(run, truth, universes, tmp_path):
    """Calibration: spread 0, the truth below or above all samples, samples that are one and the same.

    True universes, for comparison: spread/error 1 within 5 % (512 cells or more, √(1/2N) = 3 %), the truth at the ends
    in 2/(S + 1) of the cells, and as like each other as they are like the truth.
    """
    smooth = upsample(torch.from_numpy(read_snapshot(run / "low.hdf5").displacement()), SIDE).numpy()
    silent = [tmp_path / "silent" / f"{number}.hdf5" for number in range(SAMPLES)]
    for path in silent:
        write_snapshot(path, model(truth, smooth))
    found = {}
    for name, samples in (("right", universes), ("wrong", silent)):
        calibrate(samples, run / "high.hdf5", [], tmp_path / name, SETTINGS)
        found[name] = [read_table(tmp_path / name / f"{table}.ecsv") for table in ("cells", "spectra")]
    cells, spectra = found["right"]
    ends = (cells["rank_0"] + cells[f"rank_{SAMPLES}"]) / sum(cells[f"rank_{rank}"] for rank in range(SAMPLES + 1))
    small = spectra["k"].value > NYQUIST
    assert np.allclose(cells["ratio"], 1, atol=0.05)
    assert np.allclose(ends, 2 / (SAMPLES + 1), atol=0.08)  # of 512 cells: 4 standard errors
    assert np.all(cells["p_value"] > 1e-3)
    assert np.allclose(spectra["twin"][small], spectra["r"][small], atol=0.02)
    assert np.all(spectra["twin"][small] < 0.97)

    cells, spectra = found["wrong"]
    # The finest cells are left out: most of them are empty in all, and ties are broken at random.
    ends = (cells["rank_0"] + cells[f"rank_{SAMPLES}"]) / sum(cells[f"rank_{rank}"] for rank in range(SAMPLES + 1))
    assert np.allclose(cells["spread"], 0, atol=1e-6)
    assert np.allclose(cells["ratio"], 0, atol=1e-5)
    assert np.all(ends[1:] == 1)
    assert np.all(cells["p_value"] < 1e-10)
    assert np.allclose(spectra["twin"], 1, atol=1e-6)
    assert np.all(spectra["r"][small] < 0.97)
    assert np.allclose(spectra["P_spread"].value, 0, atol=1e-9 * spectra["P"][0].value)
    assert np.isnan(spectra["z"]).all()


# Small scales multiplied by 0.9


def test_weak_small_scales(truth, scores):
    """T(k) of the displacement is 0.9 above the Nyquist frequency of the low run, and 1 below.

    Positions in float32 are known to 4e-6 Mpc/h, in root P at most 1e-3 of the displacement's; the bin that holds the
    Nyquist frequency has both kinds of modes.
    """
    modes = np.fft.rfftn(truth.displacement().astype(float), axes=(1, 2, 3), norm="forward")
    n = np.meshgrid(*(np.fft.fftfreq(SIDE, 1 / SIDE),) * 2, np.arange(SIDE // 2 + 1), indexing="ij")
    modes *= np.where(sum(axis**2 for axis in n) > (LOW / 2) ** 2, 0.9, 1)
    weak = np.fft.irfftn(modes, (SIDE,) * 3, axes=(1, 2, 3), norm="forward").astype(np.float32)
    right, metrics = scores(model(truth))
    assert np.allclose(right["displacement_T"], 1, atol=1e-4)
    assert metrics["displacement_P_worst_double"][0] < 2e-4
    found, metrics = scores(model(truth, weak))
    k, step = found["k"].value, np.diff(found["k"].value).max()
    large, small = k < NYQUIST - step, k > NYQUIST + step
    assert large.sum() > 4
    assert small.sum() > 1
    assert np.allclose(found["displacement_T"][large], 1, atol=1e-3)
    assert np.allclose(found["displacement_T"][small], 0.9, atol=1e-3)
    assert np.allclose(found["displacement_r"], 1, atol=2e-3)  # phases are right: r does not see it
    assert metrics["displacement_P_worst_double"][0] == pytest.approx(1 - 0.9**2, abs=2e-3)


# Density smoothed


def test_smooth_density(truth, scores):
    """Particles displaced at random by σ per axis: P → P exp(−k²σ²) + (1 − exp(−k²σ²)) V/N.

    10 % are allowed: the mean of the exponential over the widest bin is 6 % above its value at the mean k. Spheres hold
    less variance, the smaller the more, and haloes dissolve.
    """
    sigma = 1.0
    error = np.random.default_rng(0).normal(0, sigma, truth.displacement().shape).astype(np.float32)
    smooth = model(truth, truth.displacement() + error)
    right, _ = scores(model(truth))
    assert np.allclose(right["density_T"], 1, atol=1e-4)
    found, _ = scores(smooth)
    damping = np.exp(-((found["k"].value * sigma) ** 2))
    true, noise = found["density_P_reference"].value, BOX**3 / SIDE**3
    assert np.allclose(found["density_P"].value / (true * damping + (1 - damping) * noise), 1, atol=0.1)
    assert np.all(np.diff(found["density_T"]) < 0)
    assert found["density_T"][-1] < 0.3
    boxes = [Box(data, Statistics()) for data in (truth, model(truth), smooth)]
    variance = [moments(box)["variance"] for box in boxes]
    assert np.allclose(variance[1] / variance[0], 1, atol=1e-4)
    assert np.all(np.diff(variance[2] / variance[0]) > 0)  # with the radius of the spheres
    assert (variance[2] / variance[0])[0] < 0.7
    assert np.all(variance[2] < variance[0])
    haloes = [len(box.haloes) for box in boxes]
    assert haloes[0] == haloes[1] > 80
    assert haloes[2] < 20


# Velocities zero


def quadrupole(data):
    """P₂ / P₀, averaged over lines of sight along all three axes: zero for any P(k) of real space, since Σ μᵢ² = 1."""
    seen = [redshift_space(Box(data, Statistics(line_of_sight=axis))) for axis in range(3)]
    return (sum(table["P2"] for table in seen) / sum(table["P0"] for table in seen)).value


def test_still_particles(truth, scores):
    """Redshift space is real space, nothing falls in, velocities have no power; densities cannot tell.

    The audit's velocity error is then the rms of the true velocities.
    """
    still = model(truth, velocity=0 * truth.velocity())
    boxes = [Box(data, Statistics()) for data in (truth, model(truth), still)]
    real, infall, power = ([f(box) for box in boxes] for f in (spectrum, pairwise, flows))
    small = real[0]["k"].value > 1.0
    assert np.allclose(real[1]["P"] / real[0]["P"], 1, atol=1e-4)
    assert np.allclose(real[2]["P"] / real[0]["P"], 1, atol=1e-4)
    assert np.allclose(scores(still)[0]["density_T"], 1, atol=1e-4)

    assert np.all(quadrupole(truth)[small] < -0.5)  # fingers of god
    assert np.allclose(quadrupole(model(truth)), quadrupole(truth), atol=1e-3)
    assert np.allclose(quadrupole(still), 0, atol=1e-6)
    assert np.allclose(redshift_space(boxes[2])["P0"] / real[2]["P"], 1, atol=1e-5)
    assert np.all(redshift_space(boxes[0])["P0"][small] / real[0]["P"][small] < 0.7)

    close = infall[0]["separation"].value < 5
    assert np.all(infall[0]["infall"][close].value < -40)
    assert np.allclose(infall[1]["infall"].value, infall[0]["infall"].value, atol=0.5)
    assert not infall[2]["infall"].value.any()
    assert not infall[2]["dispersion"].value.any()
    assert np.all(power[0]["velocity"].value > 1e4)
    assert np.allclose(power[1]["velocity"] / power[0]["velocity"], 1, atol=1e-3)
    assert not power[2]["velocity"].value.any()

    right, wrong = (by_halo_mass(data, truth, Statistics()) for data in (model(truth), still))
    full = right["particles"] > 0
    assert not right["velocity"][full].value.any()
    assert np.all(wrong["velocity"][full].value > 150)
    total = np.sum((wrong["particles"] * wrong["velocity"].value ** 2)[full]) / wrong["particles"].sum()
    assert total**0.5 == pytest.approx(np.sqrt(np.mean(truth.velocities.astype(float) ** 2)), rel=1e-5)
    assert np.array_equal(wrong["haloes"], wrong["haloes_reference"], equal_nan=True)


# Box shifted by half a cell


def test_shifted_box(truth, scores):
    """The mean displacement and the audit's error are half a cell; r(k) of the density is ⟨cos k·s⟩ = sin(ks)/ks.

    The mean is over the directions of k, which the modes of one box weigh unequally: 0.04 is allowed. Spectra of either
    field and even r(k) of the displacement, whose mean is no mode, cannot tell.
    """
    half = BOX / SIDE / 2
    shifted = model(truth, truth.displacement() + np.float32(half))
    right, _ = scores(model(truth))
    assert np.allclose(right["density_r"], 1, atol=1e-5)
    assert np.allclose(truth.displacement().mean((1, 2, 3)), 0, atol=1e-5)
    found, _ = scores(shifted)
    distance = np.sqrt(3) * half
    assert np.allclose(found["density_r"], np.sinc(found["k"].value * distance / np.pi), atol=0.04)
    assert found["density_r"][0] > 0.95
    assert found["density_r"][-1] < 0.4
    assert np.allclose(shifted.displacement().mean((1, 2, 3)), half, atol=1e-5)
    # Half a cell of the lattice is a whole one of the measuring mesh, so that even the painting is the same.
    assert np.allclose(found["density_T"], 1, atol=1e-5)
    for number in ("displacement_T", "displacement_r"):
        assert np.allclose(found[number], 1, atol=1e-5)

    tables = [by_halo_mass(data, truth, Statistics()) for data in (model(truth), shifted)]
    full = tables[0]["particles"] > 0
    assert np.allclose(tables[0]["displacement"][full].value, 0, atol=1e-5)
    assert np.allclose(tables[1]["displacement"][full].value, half, atol=1e-5)
    environments = [by_environment(data, truth, Statistics()) for data in (model(truth), shifted)]
    assert np.all(environments[0]["recovered"] > 0.999)
    assert np.all(environments[1]["recovered"] < 0.95)
    assert np.allclose(environments[0]["error"], 0, atol=1e-3)
    assert np.all(environments[1]["error"] > 0.5)
