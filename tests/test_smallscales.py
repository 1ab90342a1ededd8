"""Small-scale modes plane by plane: the same as those of the whole lattice at once."""

import errno
import threading
import time

import numpy as np
import pytest
import torch

from supercosm import smallscales
from supercosm.config import Cosmology
from supercosm.initial import SAMPLE, Phases, linear_displacement, linear_overdensity
from supercosm.smallscales import SmallScales

BOX, LOW, HIGH = 50.0, 8, 24
PHASES = [Phases(3), Phases(1000, stream=SAMPLE), Phases(4, fixed=True)]


@pytest.mark.parametrize("phases", PHASES)
@pytest.mark.parametrize("overdensity", [False, True])
def test_planes_are_those_of_the_transform_in_one_go(phases, overdensity, monkeypatch):
    monkeypatch.setattr(smallscales, "BLOCK", 1000)  # several blocks, the last one not full
    modes = SmallScales(phases, Cosmology(), BOX, (LOW, HIGH), growth=0.7, overdensity=overdensity)
    if overdensity:
        whole = 0.7 * linear_overdensity(phases, Cosmology(), BOX, HIGH, beyond=LOW)[None]
    else:
        whole = 0.7 * linear_displacement(phases, Cosmology(), BOX, HIGH, beyond=LOW)
    torch.testing.assert_close(modes.planes(0, HIGH), whole, rtol=0, atol=2e-6 * float(whole.abs().max()))
    periodic = torch.roll(whole, 5, dims=1)[:, :9]
    torch.testing.assert_close(modes.planes(-5, 9), periodic, rtol=0, atol=2e-6 * float(whole.abs().max()))
    modes.close()


def test_no_mode_of_the_low_lattice_is_among_them():
    modes = SmallScales(Phases(3), Cosmology(), BOX, (LOW, HIGH), growth=1.0)
    found = np.abs(np.fft.fftn(modes.planes(0, HIGH).numpy(), axes=(1, 2, 3)))
    wave = np.abs(np.fft.fftfreq(HIGH, 1 / HIGH))
    largest = np.maximum.reduce(np.meshgrid(wave, wave, wave, indexing="ij"))
    assert found[:, largest < LOW // 2].max() < 1e-5 * found.max()
    modes.close()


def test_scratch_space_is_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    modes = SmallScales(Phases(3), Cosmology(), BOX, (LOW, HIGH), growth=1.0)
    assert list(tmp_path.iterdir())
    modes.close()
    assert not list(tmp_path.iterdir())


def test_a_full_scratch_disk_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        SmallScales(Phases(3), Cosmology(), BOX, (LOW, HIGH), growth=1.0)
    assert not list(tmp_path.iterdir())


def test_of_jobs_that_start_together_one_makes_what_all_share(tmp_path, monkeypatch):
    honest, makers, found = smallscales.displacement_modes, [], []
    together = threading.Barrier(3)

    def counting(*arguments):
        makers.append(arguments)
        time.sleep(0.2)  # the others come while these are made
        return honest(*arguments)

    def job():
        together.wait()
        modes = SmallScales(Phases(3), Cosmology(), BOX, (LOW, HIGH), growth=1.0, shared=tmp_path)
        found.append(modes.planes(0, HIGH))
        modes.close()

    monkeypatch.setattr(smallscales, "displacement_modes", counting)
    threads = [threading.Thread(target=job) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(makers) == 1
    assert len(found) == 3
    assert all(torch.equal(planes, found[0]) for planes in found)
