"""Slices as FITS images: astropy reads them, their coordinates are the box's, and damage does not pass."""

import os
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS

from supercosm.fitsfile import write_slab

BOX, CELLS = 60.0, 12  # cells of 5 Mpc/h


@pytest.fixture
def density():
    """A box whose every cell has a density of its own."""
    return np.random.default_rng(0).random((CELLS,) * 3).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "slab.fits"


def read(path):
    """Return image and header of a file that obeys the standard and whose checksums fit: else astropy warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path, checksum=True, memmap=False) as file:
            file.verify("exception")
            assert len(file) == 1
            return file[0].data, file[0].header


@pytest.mark.parametrize(("depth", "layers"), [(15, 3), (17.4, 3), (17.6, 4), (5, 1), (0.01, 1), (60, 12), (500, 12)])
def test_image_is_the_mean_of_the_layers_that_the_header_tells(density, path, depth, layers):
    """The depth is rounded to whole layers, one to all. Means are taken in float64 and stored as float32."""
    write_slab(path, density, BOX, depth, 0.5)
    image, header = read(path)
    expected = density[:, :, :layers].astype(float).mean(axis=2).astype(np.float32)
    assert image.dtype == np.dtype(">f4")
    assert np.array_equal(image, expected.T)
    assert header["DEPTH"] == layers * 5.0


def test_header_tells_box_and_time(density, path):
    write_slab(path, density, BOX, 15.0, 0.25)
    _, header = read(path)
    assert (header["BOXSIZE"], header["DEPTH"], header["SCALEFAC"]) == (60.0, 15.0, 0.25)
    assert "Mpc/h" in header.comments["BOXSIZE"]
    assert "Mpc/h" in header.comments["DEPTH"]
    assert (header["CTYPE1"], header["CTYPE2"]) == ("X", "Y")
    assert header["CUNIT1"] == header["CUNIT2"] == "Mpc/h"


def test_coordinates_are_the_boxs_with_x_to_the_right_and_y_up(density, path):
    """One dense cell at x = 7 and y = 2 of 12, its centre at 37.5 and 12.5 Mpc/h; sums of such numbers are exact."""
    density[7, 2, 0] = 100
    write_slab(path, density, BOX, 5.0, 1.0)
    image, header = read(path)
    wcs = WCS(header)
    row, column = np.unravel_index(image.argmax(), image.shape)  # rows are counted upwards by every viewer
    assert (column, row) == (7, 2)
    assert wcs.wcs_pix2world([[column, row]], 0).tolist() == [[37.5, 12.5]]
    assert wcs.wcs_pix2world([[8, 3]], 1).tolist() == [[37.5, 12.5]]  # as FITS counts them
    centres = 5.0 * (np.arange(CELLS) + 0.5)
    x, y = wcs.pixel_to_world_values(*np.meshgrid(np.arange(CELLS), np.arange(CELLS)))
    assert np.array_equal(x, np.tile(centres, (CELLS, 1)))
    assert np.array_equal(y, np.tile(centres[:, None], (1, CELLS)))
    assert wcs.wcs_pix2world([[-0.5, -0.5], [11.5, 11.5]], 0).tolist() == [[0, 0], [60, 60]]  # the box's edges


def test_equal_boxes_give_equal_files(density, path):
    """No date and no name of a machine is in them: bit for bit the same, and another where one cell differs."""
    files = []
    for value in (1.0, 1.0, 2.0):
        density[0, 0, 0] = value
        write_slab(path, density, BOX, 15.0, 1.0)
        files.append(path.read_bytes())
    assert files[0] == files[1] != files[2]
    assert not re.search(rb"[12]\d{3}-\d\d-\d\d", files[0])  # dates, which may agree in one second
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("where", ["data", "header"])
def test_a_flipped_bit_does_not_fit_the_checksums(density, path, where):
    write_slab(path, density, BOX, 5.0, 0.125)
    content = bytearray(path.read_bytes())
    damaged = density[:, :, 0].T.astype(">f4").tobytes() if where == "data" else b"0.125 /"
    content[content.index(damaged) + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(AstropyUserWarning, match="Checksum verification failed"):
        read(path)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_writer_that_is_stopped_leaves_what_was_there(density, path, monkeypatch, error):
    """Stopped when the new file is written but has not been synced."""
    write_slab(path, density, BOX, 5.0, 1.0)
    before, seen = path.read_bytes(), []

    def stop(_):
        seen.extend(path.parent.iterdir())
        raise error("stop")

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(error, match="stop"):
        write_slab(path, density, BOX, 15.0, 1.0)
    assert len(seen) == 2
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_header_that_cannot_be_written_leaves_no_file(density, path):
    with pytest.raises(ValueError, match="not allowed in FITS headers"):
        write_slab(path, density, BOX, 5.0, np.nan)
    assert not path.exists()


def test_a_full_disk_is_one_sentence_and_leaves_no_file(path):
    """A limit on the size of files fails as a full disk does; in a child, because it cannot be lifted again."""
    script = (
        "import resource, signal, sys\nimport numpy as np\n"
        "from supercosm.errors import DataError\nfrom supercosm.fitsfile import write_slab\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 13, 1 << 13))\n"  # the image needs 16 KiB
        "try:\n    write_slab(sys.argv[1], np.ones((64, 64, 64), np.float32), 60.0, 5.0, 1.0)\n"
        "except DataError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"the disk is full (or a quota is used up): {path} was not written")
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(path.parent.iterdir())
