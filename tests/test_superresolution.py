"""Super-resolution: tiles without seams, samples by seed, conserved mass, real velocities, clear refusals."""

import dataclasses

import h5py
import numpy as np
import pytest
import torch
from learning import DEFAULTS, TEST_SEED, configuration, random_model

import supercosm as sc
from supercosm.baselines import Baseline
from supercosm.choices import Options
from supercosm.cosmology import growth
from supercosm.errors import ConfigurationError, CoverageError, DataError
from supercosm.fields import DensityField, density_of, read_density
from supercosm.initial import linear_displacement
from supercosm.mesh import upsample
from supercosm.nbody import velocity_factor
from supercosm.pairs import PairFile, phases_of
from supercosm.sampler import Sampler
from supercosm.snapshot import read_snapshot, write_snapshot
from supercosm.superresolution import superresolve, superresolve_file
from supercosm.training import train

SLABS = {"fields": "density", "dimensions": 2}
FLOW, DIFFUSION = {"family": "flow_matching", "evaluations": 3}, {"family": "diffusion", "evaluations": 3}
MODELS = {
    **DEFAULTS,
    **{f"{name} slabs": {**settings, **SLABS} for name, settings in DEFAULTS.items()},
    "known": {"condition": ["low", "initial"]},
    "drawn": {"noise": "initial"},
    "white": {"noise": "white", "network": {"levels": 2}},
    "density": {"noise": "white", "fields": "density"},
    "ensemble": {"family": "ensemble", "network": {"levels": 2}},
    "drawn density": {"noise": "initial", "fields": "density"},
    "slabs": {"noise": "initial", "fields": "density", "dimensions": 2},
    "white slabs": {"noise": "white", "fields": "density", "dimensions": 2},
    "vae": {"family": "vae", "network": {"levels": 2}},
    "flow_matching": FLOW,
    "flow heun": {**FLOW, "noise": "white", "begin": "white", "solver": "heun", "evaluations": 4},
    "diffusion": {**DIFFUSION, "noise": "white"},
    "diffusion ddpm": {**DIFFUSION, "target": "noise", "solver": "ddpm"},
    "diffusion slabs": {**DIFFUSION, "noise": "white", **SLABS},
}


@pytest.fixture(scope="module")
def trained(boxes, tmp_path_factory):
    """Return the folder of a model that has learnt a little; it is told the small-scale initial modes."""
    root = tmp_path_factory.mktemp("trained")
    config = configuration(
        condition=["low", "initial"],
        noise="initial",
        network={"channels": 16},
        velocity_weight=1.0,
        training={
            "steps": 50,
            "crop": 32,
            "margin": 2,
            "learning_rate": 1e-2,
            "ema": 0.9,
            "validate_every": 25,
        },
    )
    train(config, "model", boxes.data, root / "model", root / "checkpoints")
    return root / "model"


def fields_of(outcome):
    """Return fields (c, …) of a snapshot or a density field."""
    if isinstance(outcome, DensityField):
        return outcome.data[None]
    return np.concatenate([outcome.displacement(), outcome.velocity()])


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


@pytest.mark.parametrize("name", [name for name in MODELS if "slabs" not in name])
def test_tiles_leave_no_seams(models, low, name):
    """Fields agree to 1e-4 of their rms; what the network adds to the up-sampled run, to 1e-3 of its own."""
    model = sc.load_model(models / name)
    whole = fields_of(superresolve(low, model, seed=5))
    smooth = fields_of(superresolve(low, Baseline("low", 2)))
    for tile in (8, 4) if name in ("known", "flow heun") else (8,):
        tiled = fields_of(superresolve(low, model, seed=5, tile=tile))
        error = np.abs(tiled - whole).max(axis=(1, 2, 3))
        assert (error < 1e-4 * whole.std(axis=(1, 2, 3))).all()
        if len(whole) == 6:
            added = (whole - smooth).std(axis=(1, 2, 3))
            assert (added > 0).all()
            assert (error < 1e-3 * added).all()


@pytest.mark.parametrize(
    ("name", "tile", "computed"),
    [("white", 16, 32), ("white", 8, 48), ("white slabs", 8, 32), ("diffusion slabs", 8, 32)],
)
def test_the_whole_box_is_computed_without_a_halo(models, low, monkeypatch, name, tile, computed):
    model = sc.load_model(models / name)
    sides, forward = set(), type(model.network).forward

    def record(self, x, *rest):
        sides.update(x.shape[2:])
        return forward(self, x, *rest)

    monkeypatch.setattr(type(model.network), "forward", record)
    superresolve(low, model, tile=tile)
    assert sides == {computed}


@pytest.mark.parametrize("name", MODELS)
def test_a_sample_is_a_function_of_its_seed(models, low, name):
    model = sc.load_model(models / name)
    first, again, other = (fields_of(superresolve(low, model, seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    if name == "known":
        assert np.array_equal(first, other)
    else:
        assert np.abs(first - other).std() > 1e-3 * first.std()


@pytest.mark.parametrize("name", MODELS)
def test_mass_is_conserved(models, low, name):
    outcome = superresolve(low, sc.load_model(models / name), seed=1)
    if isinstance(outcome, DensityField):
        shape = (4, 32, 32) if "slabs" in name else (32, 32, 32)
        assert outcome.data.shape == shape
        assert outcome.data.mean(dtype=np.float64) == pytest.approx(1, abs=1e-6)
        assert outcome.data.min() >= 0
        return
    assert outcome.side == 32
    assert 8 * outcome.particle_mass == pytest.approx(low.particle_mass)
    assert density_of(outcome, 16).data.mean() == pytest.approx(1, abs=1e-5)
    assert np.array_equal(outcome.ids, np.arange(1, 32**3 + 1))
    assert outcome.positions.min() >= 0
    assert outcome.positions.max() < 50.0


def test_the_low_baseline_is_the_upsampled_run(low, high):
    outcome = superresolve(low, Baseline("low", 2))
    expected = upsample(torch.from_numpy(low.displacement()), 32).numpy()
    np.testing.assert_allclose(outcome.displacement(), expected, atol=2e-5)
    expected = upsample(torch.from_numpy(low.velocity()), 32).numpy()
    np.testing.assert_allclose(outcome.velocity(), expected, atol=2e-2)
    assert (outcome.box_size, outcome.scale_factor, outcome.cosmology) == (50.0, 1.0, high.cosmology)


def test_no_particle_is_half_a_cell_off(low, high):
    """Mean displacement is that of the low run, and on large scales density lies where the high run has it.

    A shift of half a high-resolution cell, 0.78 Mpc/h, would turn the phases of these modes by 0.1 and 0.2.
    """
    outcome = superresolve(low, Baseline("low", 2))
    mean = outcome.displacement().mean(axis=(1, 2, 3))
    np.testing.assert_allclose(mean, low.displacement().mean(axis=(1, 2, 3)), atol=1e-4)
    a, b = (np.fft.fftn(density_of(s, 32).data) for s in (outcome, high))
    for axis in range(3):
        for n in (1, 2):
            index = [n if i == axis else 0 for i in range(3)]
            assert abs(np.angle(a[tuple(index)] * b[tuple(index)].conj())) < 0.04 * n


def test_the_linear_baseline_adds_the_small_scales_of_the_simulation(boxes, low, high):
    """The high run's own initial modes, at linear velocity a H f D."""
    linear = superresolve(low, Baseline("linear", 2), phases="known")
    smooth = superresolve(low, Baseline("low", 2))
    psi = linear_displacement(phases_of(high), high.cosmology, 50.0, 32, beyond=16).numpy()
    D = growth(high.cosmology, 1.0).D
    added = linear.displacement() - smooth.displacement()
    np.testing.assert_allclose(added, D * psi, atol=3e-5)
    np.testing.assert_allclose(added, PairFile(boxes.pairs(TEST_SEED)).read("initial/small_scales"), atol=3e-5)
    faster = linear.velocity() - smooth.velocity()
    np.testing.assert_allclose(faster, velocity_factor(high.cosmology, 1.0) * psi, atol=2e-2)
    error = [np.std(s.displacement() - high.displacement()) for s in (linear, smooth)]
    assert error[0] < error[1]


def test_a_trained_model_beats_both_baselines(trained, low, high):
    outcome = superresolve(low, sc.load_model(trained))
    baselines = [superresolve(low, Baseline(name, 2)) for name in ("low", "linear")]
    for field in ("displacement", "velocity"):
        true = getattr(high, field)()
        error, *others = (np.std(getattr(s, field)() - true) for s in (outcome, *baselines))
        assert error < min(others)


def test_velocities_are_real(trained, low, high):
    """What the model adds to the up-sampled velocities goes along with what the high run has beyond them."""
    smooth = superresolve(low, Baseline("low", 2)).velocity()
    outcome = superresolve(low, sc.load_model(trained))
    assert correlation(outcome.velocity() - smooth, high.velocity() - smooth) > 0.15
    assert correlation(outcome.velocity(), high.velocity()) > correlation(smooth, high.velocity())


def test_one_trained_model_samples_with_drawn_phases(trained, low, high):
    model = sc.load_model(trained)
    known = superresolve(low, model, phases="known")
    one, two = (superresolve(low, model, phases="drawn", seed=seed) for seed in (1, 2))
    smooth = superresolve(low, Baseline("low", 2)).displacement()
    beyond = [s.displacement() - smooth for s in (known, one, two, high)]
    assert correlation(beyond[1], beyond[2]) < 0.9, "two samples differ"
    assert correlation(beyond[0], beyond[3]) > correlation(beyond[1], beyond[3])
    assert np.std(beyond[1]) == pytest.approx(np.std(beyond[0]), rel=0.2)


def test_quick_start_of_the_library(trained, boxes):
    high = sc.superresolve(sc.read_snapshot(boxes.snapshot(TEST_SEED, "low")), sc.load_model(trained), seed=1)
    assert isinstance(high, sc.Snapshot)
    assert high.provenance["settings"]["sample_seed"] == 1
    assert high.provenance["parents"][0]["seed"] == TEST_SEED


@pytest.mark.parametrize("name", ["drawn", "density", "slabs", "diffusion ddpm"])
def test_files_hold_what_memory_holds(models, boxes, low, tmp_path, name):
    outputs = [tmp_path / f"{i}.hdf5" for i in (1, 2)]
    snapshot = boxes.snapshot(TEST_SEED, "low")
    superresolve_file(snapshot, outputs, models / name, Options(seed=7, tile=8, device="cpu"))
    model = sc.load_model(models / name)
    for number, output in enumerate(outputs):
        memory = superresolve(low, model, seed=7 + number, tile=8)
        if isinstance(memory, DensityField):
            found = read_density(output)
            assert np.array_equal(found.data, memory.data)
            assert found.provenance == memory.provenance
            continue
        write_snapshot(tmp_path / "memory.hdf5", memory)
        with h5py.File(output) as a, h5py.File(tmp_path / "memory.hdf5") as b:
            for part in ("Coordinates", "Velocities", "ParticleIDs"):
                assert np.array_equal(a[f"PartType1/{part}"], b[f"PartType1/{part}"])
            assert dict(a["Header"].attrs).keys() == dict(b["Header"].attrs).keys()
        assert read_snapshot(output).provenance == memory.provenance


def test_the_order_of_the_particles_does_not_matter(models, boxes, low, tmp_path):
    order = np.random.default_rng(1).permutation(len(low.ids))
    shuffled = dataclasses.replace(
        low, positions=low.positions[order], velocities=low.velocities[order], ids=low.ids[order]
    )
    write_snapshot(tmp_path / "shuffled.hdf5", shuffled)
    model = sc.load_model(models / "known")
    found = superresolve(read_snapshot(tmp_path / "shuffled.hdf5"), model)
    expected = superresolve(read_snapshot(boxes.snapshot(TEST_SEED, "low")), model)
    assert np.array_equal(found.positions, expected.positions)
    assert np.array_equal(found.velocities, expected.velocities)


def test_a_box_smaller_than_the_halo_is_done_as_a_whole(boxes, tmp_path):
    """What the network reaches then wraps around the box more than once."""
    model = random_model(boxes, tmp_path / "deep", network={"levels": 3, "blocks": 1}, training={"crop": 32})
    low = read_snapshot(boxes.snapshot(TEST_SEED, "low"))
    _, halo = model.card.settings.tiling(2)
    assert halo >= low.side
    outcome = superresolve(low, model)
    # periodic: rolling the input by one unit rolls the output
    by = model.card.settings.unit // 2
    rolled = sc.superresolve(_rolled(low, by), model)
    np.testing.assert_allclose(rolled.velocity(), np.roll(outcome.velocity(), 2 * by, axis=1), atol=5e-2)


def _rolled(low, by):
    from supercosm.snapshot import from_lattice

    fields = [np.roll(f, by, axis=1) for f in (low.displacement(), low.velocity())]
    return from_lattice(*fields, low.box_size, scale_factor=1.0, cosmology=low.cosmology, provenance=low.provenance)


@pytest.mark.parametrize("field", ["positions", "velocities"])
@pytest.mark.parametrize("name", ["known", "density"])
def test_nan_is_refused(models, low, field, name):
    broken = getattr(low, field).copy()
    broken[17, 1] = np.nan
    snapshot = dataclasses.replace(low, **{field: broken})
    with pytest.raises(DataError, match=f"NaN or infinite {field}"):
        superresolve(snapshot, sc.load_model(models / name))


def test_a_snapshot_the_card_does_not_cover_is_refused_unless_overridden(models, low):
    model = sc.load_model(models / "white")
    other = dataclasses.replace(low, scale_factor=0.5)
    with pytest.raises(CoverageError, match=r"scale factor = 1, but the snapshot has 0.5"):
        superresolve(other, model)
    assert superresolve(other, model, override=True).side == 32


@pytest.mark.parametrize(
    ("tile", "words"),
    [
        (5, "tile = 5 does not divide the snapshot's 16 cells per side"),
        (0, "tile = 0 does not divide"),
        (1, "tile = 1 must be a multiple of 2"),
        (4, "tile = 4 is smaller than the network's halo of 8 low-resolution cells.*at least 8"),
    ],
)
def test_impossible_tiles_are_refused(models, low, tile, words):
    with pytest.raises(ConfigurationError, match=words):
        superresolve(low, sc.load_model(models / "white"), tile=tile)


@pytest.mark.parametrize(
    ("name", "phases", "words"),
    [
        ("white", "known", "phases: known was asked for, but this model takes no small-scale modes"),
        ("white", "none", "draws white noise for every sample: choose phases: drawn"),
        ("known", "none", "this model needs small-scale modes"),
        ("drawn", "none", "this model needs small-scale modes"),
    ],
)
def test_phases_that_do_not_suit_the_model_are_refused(models, low, name, phases, words):
    with pytest.raises(ConfigurationError, match=words):
        superresolve(low, sc.load_model(models / name), phases=phases)


def test_foreign_snapshots_have_no_known_phases(models, low):
    """A foreign snapshot has no provenance: phases can be drawn, by the card's power, but are not known."""
    foreign = dataclasses.replace(low, provenance={})
    for model in (sc.load_model(models / "known"), Baseline("linear", 2)):
        with pytest.raises(DataError, match=r"does not record the seed.*draw them instead \(phases: drawn\)"):
            superresolve(foreign, model)
    drawn = superresolve(foreign, sc.load_model(models / "drawn"), seed=4)
    assert np.array_equal(drawn.positions, superresolve(low, sc.load_model(models / "drawn"), seed=4).positions)


def test_ids_that_name_no_lattice_are_refused(models, low):
    order = np.random.default_rng(0).permutation(len(low.ids))
    shuffled = dataclasses.replace(low, positions=low.positions[order])
    with pytest.raises(DataError, match="not the Lagrangian index"):
        superresolve(shuffled, sc.load_model(models / "known"))


def test_baselines_need_a_factor(boxes, tmp_path):
    snapshot, output = boxes.snapshot(TEST_SEED, "low"), tmp_path / "sr.hdf5"
    with pytest.raises(ConfigurationError, match="the baseline 'low' needs the up-sampling factor"):
        superresolve_file(snapshot, [output], "low", Options())
    with pytest.raises(ConfigurationError, match="factor = 1 does not up-sample"):
        superresolve_file(snapshot, [output], "low", Options(), factor=1)
    assert not list(tmp_path.iterdir())


def test_a_failure_on_the_way_leaves_no_file(models, boxes, tmp_path, monkeypatch):
    calls = []

    def break_down(self, number, low, fields, origin):
        calls.append(origin)
        if len(calls) == 5:
            raise RuntimeError("out of luck")
        return torch.zeros(1, 6, *(n - 2 for n in low.shape[2:]))

    monkeypatch.setattr(Sampler, "_apply", break_down)
    with pytest.raises(RuntimeError, match="out of luck"):
        superresolve_file(
            boxes.snapshot(TEST_SEED, "low"),
            [tmp_path / "sr.hdf5"],
            models / "white",
            Options(tile=8, device="cpu"),
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", ["white", "drawn", "density", "slabs"])
def test_cpu_and_gpu_agree(models, low, name):
    found = [fields_of(superresolve(low, sc.load_model(models / name, device), seed=3)) for device in ("cpu", "cuda")]
    error = np.abs(found[1] - found[0]).max(axis=(1, 2, 3))
    assert (error < 1e-4 * found[0].std(axis=(1, 2, 3))).all()
