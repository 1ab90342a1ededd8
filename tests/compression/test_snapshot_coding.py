"""Compressed snapshots: error bounds are kept, with a prediction and without, and predictions are known again."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from supercosm.compression.particles import KIND, PROBES, compress_snapshot, decompress_snapshot
from supercosm.compression.rivals import CODECS
from supercosm.config import Cosmology
from supercosm.errors import ConfigurationError, DataError
from supercosm.snapshot import from_lattice, is_foreign, read_snapshot, write_snapshot
from supercosm.superresolution import Baseline, superresolve

pytest.importorskip("hdf5plugin")

BOX = 50.0
KEEPING = [name for name, codec in CODECS.items() if codec.bounded or not codec.lossy]


@pytest.fixture(scope="module")
def run(tiny_simulations):
    """High run of the tiny simulations (32³ in 50 Mpc/h), and the up-sampled low run that predicts it."""
    low, high = (read_snapshot(tiny_simulations[3] / f"{name}.hdf5") for name in ("low", "high"))
    return high, superresolve(low, Baseline("low", 2))


def errors(found, snapshot):
    """Return the largest errors of positions, the shorter way round the box, and of velocities."""
    box = snapshot.box_size
    moved = np.abs(found.positions.astype(np.float64) - snapshot.positions) % box
    changed = np.abs(found.velocities.astype(np.float64) - snapshot.velocities)
    return np.minimum(moved, box - moved).max(), changed.max()


def through_json(header):
    return json.loads(json.dumps(header, allow_nan=False))


@pytest.mark.parametrize("predicted", [False, True])
@pytest.mark.parametrize("codec", KEEPING)
@pytest.mark.parametrize(("bound", "velocity_bound"), [(0.1, 10.0), (2e-3, 0.3)])
def test_bounds_are_kept(run, codec, predicted, bound, velocity_bound):
    snapshot, prediction = run[0], run[1] if predicted else None
    header, blobs = compress_snapshot(snapshot, bound, velocity_bound, codec, prediction)
    found = decompress_snapshot(through_json(header), blobs, prediction)
    position, velocity = errors(found, snapshot)
    assert position <= bound
    assert velocity <= velocity_bound
    assert found.positions.dtype == found.velocities.dtype == np.float32
    assert found.positions.min() >= 0
    assert found.positions.max() < snapshot.box_size
    if CODECS[codec].bounded:  # and used, or the file is larger than it needs to be; ZFP is cautious
        assert position > bound / 10
        assert velocity > velocity_bound / 10


def test_the_result_is_a_snapshot_like_the_first(run, tmp_path):
    snapshot, prediction = run
    found = decompress_snapshot(
        *compress_snapshot(snapshot, 0.05, 5.0, "sz3", prediction, {"model": "unet"}), prediction
    )
    np.testing.assert_array_equal(found.ids, snapshot.ids)
    assert found.cosmology == snapshot.cosmology
    assert (found.box_size, found.scale_factor) == (snapshot.box_size, snapshot.scale_factor)
    lost = found.provenance["compression"]
    assert lost == {
        "codec": "sz3",
        "bounds": {"positions": 0.05, "velocities": 5.0},
        "lineage": {"model": "unet"},
    }
    assert {key: found.provenance[key] for key in snapshot.provenance} == snapshot.provenance
    write_snapshot(tmp_path / "x.hdf5", found)
    assert read_snapshot(tmp_path / "x.hdf5").provenance == found.provenance


@pytest.mark.parametrize("offset", [0.0, 0.4213])
def test_lattice_points_stay_where_they_are(run, offset):
    """Particles that began at corners, or beside gas, are predicted to rest there; what was left out is told."""
    snapshot = replace(run[0], offset=offset, left_out={"gas": 7}, provenance={})
    found = decompress_snapshot(*compress_snapshot(snapshot, 0.05, 5.0))
    assert (found.offset, found.left_out) == (offset, {"gas": 7})
    assert is_foreign(found.provenance)
    assert errors(found, snapshot)[0] <= 0.05


def test_a_good_prediction_saves_space(run):
    """One that is off by the error bounds leaves less than half of what there was to say."""
    snapshot, rng = run[0], np.random.default_rng(1)
    off = [rng.normal(scale=bound, size=snapshot.positions.shape).astype(np.float32) for bound in (0.05, 5.0)]
    positions = (snapshot.positions + off[0]) % np.float32(BOX)
    prediction = replace(snapshot, positions=positions, velocities=snapshot.velocities + off[1])
    alone, helped = (
        sum(map(len, compress_snapshot(snapshot, 0.05, 5.0, prediction=p)[1].values())) for p in (None, prediction)
    )
    assert helped < 0.5 * alone < 0.15 * (snapshot.positions.nbytes + snapshot.velocities.nbytes)


def test_particles_that_cross_the_edge_of_the_box_cost_no_more():
    """Smooth motion is smooth for those, too, which leave the box on one side and enter it on the other."""
    n = 16
    wave = np.sin(2 * np.pi * np.arange(n) / n, dtype=np.float32) + np.zeros((3, n, n, n), np.float32)
    sizes = []
    for drift in (0, BOX / 4):
        snapshot = from_lattice(wave + np.float32(drift), wave, BOX, scale_factor=1.0, cosmology=Cosmology())
        sizes.append(len(compress_snapshot(snapshot, 0.01, 1.0, codec="sperr")[1]["positions"]))
    assert sizes[1] < 1.1 * sizes[0]


@pytest.mark.parametrize("codec", ["sperr", "sz3", "zfp"])
def test_particles_at_the_edge_of_the_box_keep_their_bounds(codec):
    """They cross it by displacement, by error and by the rounding of float32; the side is no float32."""
    box, n, rng = 67.3, 16, np.random.default_rng(1)
    displacement = rng.normal(scale=3, size=(3, n, n, n)).astype(np.float32)
    displacement[:, 0, 0] = -box / 2 / n  # on the edge
    displacement[:, 0, 1] = np.nextafter(np.float32(-box / 2 / n), np.float32(-9))
    displacement[:, 1, 0] = box / 2  # as far as can be
    velocity = rng.normal(scale=300, size=(3, n, n, n)).astype(np.float32)
    snapshot = from_lattice(displacement, velocity, box, scale_factor=1.0, cosmology=Cosmology())
    for bound in (1.0, 0.01, 1e-4):
        found = decompress_snapshot(*compress_snapshot(snapshot, bound, 100 * bound, codec))
        position, change = errors(found, snapshot)
        assert position <= bound
        assert change <= 100 * bound
        assert found.positions.max() < box


def test_tiny_snapshots_can_be_coded():
    zero = np.zeros((3, 2, 2, 2), np.float32)
    snapshot = from_lattice(zero, zero, BOX, scale_factor=1.0, cosmology=Cosmology())
    found = decompress_snapshot(*compress_snapshot(snapshot, 0.01, 1.0))
    assert errors(found, snapshot) == (0, 0)


def test_last_bits_of_a_prediction_do_not_matter(run, caplog):
    """Another machine's prediction differs by rounding; less than a hundredth of the bounds is set aside for it."""
    snapshot, prediction = run
    header, blobs = compress_snapshot(snapshot, 0.01, 1.0, prediction=prediction)
    shift = np.float32(0.9e-4)  # 0.9 % of the bound
    other = replace(prediction, positions=(prediction.positions + shift) % np.float32(BOX))
    with caplog.at_level(logging.WARNING):
        position, _ = errors(decompress_snapshot(header, blobs, other), snapshot)
    assert position <= 0.01
    assert not caplog.records


def test_a_prediction_that_differs_more_is_warned_of_then_refused(run, caplog):
    snapshot, prediction = run
    header, blobs = compress_snapshot(snapshot, 0.01, 1.0, prediction=prediction, lineage={"model": "abc"})
    with caplog.at_level(logging.WARNING):
        decompress_snapshot(header, blobs, replace(prediction, velocities=prediction.velocities + np.float32(0.05)))
    assert "differs by up to 0 Mpc/h and 0.05 km/s" in caplog.text
    for other in (
        replace(prediction, velocities=prediction.velocities + np.float32(0.11)),
        replace(prediction, positions=(prediction.positions + np.float32(0.0011)) % np.float32(BOX)),
        superresolve_other(prediction),
    ):
        with pytest.raises(DataError, match=r"not the one .* differ by up to .* Mpc/h and .* km/s, .*'model': 'abc'"):
            decompress_snapshot(header, blobs, other)


def superresolve_other(prediction):
    """Return a prediction whose particles are right but in another order."""
    return replace(prediction, positions=prediction.positions[::-1], velocities=prediction.velocities[::-1])


def test_predictions_lacking_or_too_many_are_refused(run):
    snapshot, prediction = run
    alone = compress_snapshot(snapshot, 0.1, 10.0)
    helped = compress_snapshot(snapshot, 0.1, 10.0, prediction=prediction, lineage={"model": "abc"})
    with pytest.raises(DataError, match=r"none is given: make the prediction again \(\{'model': 'abc'\}\)"):
        decompress_snapshot(*helped)
    with pytest.raises(DataError, match="without a prediction, but one is given: leave it out"):
        decompress_snapshot(*alone, prediction)
    del helped[1]["prediction"]
    with pytest.raises(DataError, match="no compressed snapshot"):
        decompress_snapshot(*helped, prediction)


def test_predictions_of_other_boxes_and_lattices_are_refused(run, tiny_simulations):
    snapshot, prediction = run
    low = read_snapshot(tiny_simulations[3] / "low.hdf5")
    for other, words in (
        (low, "16³ particles in 50 Mpc/h"),
        (replace(prediction, box_size=60.0), "32³ .* in 60 Mpc/h"),
    ):
        with pytest.raises(DataError, match=words):
            compress_snapshot(snapshot, 0.1, 10.0, prediction=other)


@pytest.mark.parametrize("name", ["positions", "velocities"])
def test_values_that_are_no_numbers_are_refused(run, name):
    snapshot, prediction = run

    def broken(whole):
        values = getattr(whole, name).copy()
        values[5, 1] = np.nan
        return replace(whole, **{name: values})

    with pytest.raises(DataError, match=f"1 of the {name} of the snapshot are NaN"):
        compress_snapshot(broken(snapshot), 0.1, 10.0)
    with pytest.raises(DataError, match=f"1 of the {name} of the prediction are NaN"):
        compress_snapshot(snapshot, 0.1, 10.0, prediction=broken(prediction))


def test_wishes_that_cannot_be_met_are_refused(run):
    snapshot = run[0]
    for codec in ("float16", "jpeg"):
        with pytest.raises(ConfigurationError, match=f"cannot be coded by '{codec}'; choose among sz3, zfp, sperr"):
            compress_snapshot(snapshot, 0.1, 10.0, codec)
    for bounds in ((0.0, 10.0), (0.1, -1.0), (np.nan, 1.0), (0.1, np.inf)):
        with pytest.raises(ConfigurationError, match="it must be above 0"):
            compress_snapshot(snapshot, *bounds)
    with pytest.raises(DataError, match=r"bound of 1e-06 Mpc/h is finer than float32 holds .* up to 50; give at least"):
        compress_snapshot(snapshot, 1e-6, 10.0)
    with pytest.raises(DataError, match=r"bound of 1e-06 km/s is finer than float32 holds"):
        compress_snapshot(snapshot, 0.1, 1e-6)


def test_the_bound_that_is_suggested_can_be_kept(run):
    with pytest.raises(DataError) as refused:
        compress_snapshot(run[0], 1e-6, 10.0)
    bound = float(str(refused.value).split()[-1])
    assert errors(decompress_snapshot(*compress_snapshot(run[0], bound, 10.0)), run[0])[0] <= bound


def test_particles_without_a_lattice_are_refused(run):
    snapshot = run[0]
    with pytest.raises(DataError, match="no cube"):
        compress_snapshot(
            replace(
                snapshot, positions=snapshot.positions[:9], velocities=snapshot.velocities[:9], ids=snapshot.ids[:9]
            ),
            0.1,
            10.0,
        )


def test_a_broken_promise_is_not_kept_silent(run, monkeypatch):
    """Whatever the codec does: the result is decoded and compared."""
    import supercosm.compression.particles as particles

    decode = particles.decode
    monkeypatch.setattr(particles, "decode", lambda data: decode(data) + np.float32(0.2))
    with pytest.raises(
        DataError, match=r"decoded positions are off by up to 0\.[23].*, more than the 0.1 Mpc/h asked for"
    ):
        compress_snapshot(run[0], 0.1, 10.0)


def test_something_else_is_refused(run):
    header, blobs = compress_snapshot(run[0], 0.1, 10.0)
    with pytest.raises(DataError, match="no compressed snapshot but 'density field' with positions, velocities"):
        decompress_snapshot({**header, "kind": "density field"}, blobs)
    with pytest.raises(DataError, match=f"no compressed snapshot but '{KIND}' with positions"):
        decompress_snapshot(header, {"positions": blobs["positions"]})
    with pytest.raises(DataError, match=r"shape \(3, 32, 32, 32\), but the header tells of 16³"):
        decompress_snapshot({**header, "side": 16}, blobs)


def test_the_fingerprint_is_small(run):
    _, blobs = compress_snapshot(run[0], 0.1, 10.0, prediction=run[1])
    assert len(blobs["prediction"]) == PROBES * 6 * 4
