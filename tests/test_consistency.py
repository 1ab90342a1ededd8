"""Kept large scales are those of the low run, all other modes stay, and no tile leaves a seam."""

import numpy as np
import pytest
import torch
from learning import configuration, random_model

import supercosm as sc
from supercosm.baselines import Baseline
from supercosm.consistency import excess, planes_of
from supercosm.errors import ConfigurationError
from supercosm.fields import density_of
from supercosm.mesh import upsample
from supercosm.superresolution import superresolve

FRACTION = 0.75  # of the Nyquist frequency, 8 fundamental modes: |k| < 6


@pytest.fixture(scope="module")
def model(boxes, tmp_path_factory):
    return random_model(boxes, tmp_path_factory.mktemp("model") / "white", noise="white")


@pytest.fixture(scope="module")
def free(low, model):
    return fields_of(superresolve(low, model, seed=5))


@pytest.fixture(scope="module")
def kept(low, model):
    return superresolve(low, model, seed=5, consistency=FRACTION)


def fields_of(snapshot):
    return np.concatenate([snapshot.displacement(), snapshot.velocity()])


def modes(fields):
    """Return the modes of fields (c, n, n, n), and their |k| in fundamental modes."""
    n = fields.shape[-1]
    wave = np.fft.fftfreq(n, 1 / n)
    k = np.sqrt(wave[:, None, None] ** 2 + wave[None, :, None] ** 2 + wave[None, None, :] ** 2)
    return np.fft.fftn(fields.astype(np.float64), axes=(1, 2, 3)) / n**3, k


def test_kept_modes_are_those_of_the_low_run_and_others_are_unchanged(low, free, kept):
    """To 1e-4 of the rms of each field; positions are float32 numbers of 50 Mpc/h, velocities of hundreds of km/s."""
    smooth, k = modes(upsample(torch.from_numpy(fields_of(low)), 32).numpy())
    before, after = modes(free)[0], modes(fields_of(kept))[0]
    inside = k < FRACTION * 8
    assert 800 < inside.sum() < 1000, "4/3 π 6³ modes"
    scale = free.std(axis=(1, 2, 3))[:, None]
    assert (np.abs(after - smooth)[:, inside] < 1e-4 * scale).all()
    assert (np.abs(before - smooth)[:, inside] > 1e-4 * scale).mean() > 0.5, "the model has changed them"
    assert (np.abs(after - before)[:, ~inside] < 1e-4 * scale).all()
    assert (np.abs(before - smooth)[:, ~inside]).max() > 1e-2 * scale.min()


def test_tiles_leave_no_seams(low, model, kept):
    whole, tiled = fields_of(kept), fields_of(superresolve(low, model, seed=5, tile=8, consistency=FRACTION))
    assert (np.abs(tiled - whole).max(axis=(1, 2, 3)) < 1e-4 * whole.std(axis=(1, 2, 3))).all()


def test_mass_is_conserved_and_nothing_is_nan(kept):
    assert np.isfinite(kept.positions).all()
    assert np.isfinite(kept.velocities).all()
    assert kept.side == 32
    assert density_of(kept, 16).data.mean(dtype=np.float64) == pytest.approx(1, abs=1e-5)
    assert kept.provenance["settings"]["consistency"] == FRACTION


@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
def test_the_excess_of_a_known_wave_is_that_wave(fraction):
    """A wave of two fundamental modes, and one of five, on top of a smooth low run of 8 points per side."""
    low = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    points = (torch.arange(16) + 0.5) / 16
    wave = torch.cos(2 * torch.pi * (2 * points.view(-1, 1, 1) - points.view(1, -1, 1) + 0 * points) + 0.3)
    short = torch.sin(2 * torch.pi * 5 * points).expand(16, 16, 16)
    fields = planes_of(low, 16, 0, 16) + wave + short
    rows = [(first, fields[:, first : first + 4]) for first in range(0, 16, 4)]
    found = planes_of(excess(low, rows, 16, fraction), 16, 0, 16)[0]
    expected = wave if fraction * 4 > 5**0.5 else torch.zeros_like(wave)
    # without the Nyquist mode of the low lattice, which has no definite phase, so it never counts as kept
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


def test_baselines_need_no_correction(low):
    free, kept = (superresolve(low, Baseline("low", 2), consistency=c) for c in (None, 0.5))
    assert np.array_equal(free.positions, kept.positions)


def test_what_cannot_be_kept_is_refused(boxes, low, model, tmp_path):
    density = random_model(boxes, tmp_path / "density", noise="white", fields="density")
    with pytest.raises(ConfigurationError, match=r"consistency = 0\.5 keeps modes of displacement and velocity, but"):
        sc.superresolve(low, density, consistency=0.5)
    with pytest.raises(ConfigurationError, match=r"consistency = 1\.5 is no fraction of the low run's Nyquist"):
        sc.superresolve(low, model, consistency=1.5)
    from supercosm.config import check

    section = configuration(fields="density").model_dump(mode="json")
    section["superresolution"]["consistency"] = 0.5
    with pytest.raises(ConfigurationError, match=r"but models\.model makes log densities; set it to null"):
        check(section)
