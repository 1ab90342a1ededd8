"""Gadget's binary formats: every variant of them is the same snapshot; cut, flipped and foreign bytes are refused."""

import contextlib
import struct

import numpy as np
import pytest
from foreignfiles import Run, binary_header, record, write_binary

from supercosm.errors import DataError
from supercosm.snapshot import read_snapshot


@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize(
    "options",
    [{}, {"order": ">"}, {"floats": "f8", "ids": "u8"}, {"order": ">", "ids": "u8", "masses": True}],
    ids=str,
)
def test_every_variant(truth, same, tmp_path, files, kind, options):
    paths = write_binary(tmp_path / "snap_005", Run(truth), files, kind, **options)
    same(read_snapshot(paths[-1]))
    if files > 1:
        same(read_snapshot(tmp_path / "snap_005"))


def test_yt_and_pynbody_see_the_same(truth, tmp_path):
    yt, pynbody = pytest.importorskip("yt"), pytest.importorskip("pynbody")
    yt.set_log_level("error")
    (path,) = write_binary(tmp_path / "snap", Run(truth))
    found = read_snapshot(path)
    data = yt.load(str(path)).all_data()
    order = np.argsort(data["Halo", "ParticleIDs"].value)
    positions = data["Halo", "Coordinates"].to("code_length").value[order] / 1000
    np.testing.assert_allclose(positions, found.positions, rtol=1e-4, atol=1e-4)
    data = pynbody.load(str(path))
    order = np.argsort(np.asarray(data.dm["iord"]))
    np.testing.assert_allclose(np.asarray(data.dm["pos"])[order] / 1000, found.positions, rtol=1e-5, atol=1e-4)
    stored = np.asarray(data.dm["vel"])[order]  # over √a
    np.testing.assert_allclose(stored * np.sqrt(truth.scale_factor), found.velocities, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("part", [0.999, 0.7, 0.4, 0.1, 0.001])
def test_truncated(truth, refuse, tmp_path, kind, part):
    (path,) = write_binary(tmp_path / "snap", Run(truth), kind=kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    refuse(path, "truncated|fit into")


def test_flipped_marks_are_seen(truth, refuse, tmp_path):
    (path,) = write_binary(tmp_path / "snap", Run(truth))
    content = bytearray(path.read_bytes())
    content[256 + 4] ^= 1  # the second mark of the header
    path.write_bytes(content)
    refuse(path, "the record mark of the block header at byte 260 is 257, not 256")
    content[256 + 4] ^= 1
    content[256 + 8 + 1] ^= 8  # the first mark of the positions
    path.write_bytes(content)
    refuse(path, "the record mark of the block POS is .* 4096 particles need 49152 or 98304 bytes")


def test_flipped_bits_never_crash(truth, tmp_path):
    """Without checksums a flipped coordinate is not seen; whatever is read is a snapshot, or refused with a "
    "sentence."""
    (path,) = write_binary(tmp_path / "snap", Run(truth), kind=2)
    content, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(content)
        damaged[random.integers(600)] ^= 1 << random.integers(8)  # where headers and marks are
        path.write_bytes(damaged)
        with contextlib.suppress(DataError):
            assert np.isfinite(read_snapshot(path).positions).all()


def test_gas_that_is_not_there_is_missed(truth, refuse, tmp_path):
    run = Run(truth)
    header = bytearray(binary_header(run, 4096))
    header[96:100] = struct.pack("<I", 9)  # NumPart_Total of type 0
    (tmp_path / "snap").write_bytes(record(bytes(header), "<") + bytes(200_000))
    refuse(tmp_path / "snap", "the files hold 0 particles of type 0 and NumPart_Total says 9")


def test_counts_that_do_not_fit(truth, refuse, tmp_path):
    run = Run(truth)
    (tmp_path / "snap").write_bytes(record(binary_header(run, 4_000_000_000), "<") + bytes(1000))
    refuse(tmp_path / "snap", "tells of 4000000000 particles, which do not fit into 1264 bytes")
    paths = write_binary(tmp_path / "parts", run, 2)
    content = paths[1].read_bytes()
    paths[1].write_bytes(content[:8] + struct.pack("<I", 12) + content[12:])
    refuse(paths[0], "the files hold .* particles of type 1 and NumPart_Total says 4096")
    paths[1].write_bytes(content[:12] + struct.pack("<I", 12) + content[16:])
    refuse(paths[0], "dark matter of several masses, tracers or neutrinos .12 of type 2")


def test_format_2_without_a_block(truth, refuse, tmp_path):
    (path,) = write_binary(tmp_path / "snap", Run(truth), kind=2)
    path.write_bytes(path.read_bytes().replace(b"VEL ", b"VELX"))
    refuse(path, "lacks the block VEL")


def test_a_run_that_is_not_cosmological(truth, refuse, tmp_path):
    run = Run(truth)
    run.a = 3.0
    content = binary_header(run, 4096)
    (tmp_path / "snap").write_bytes(record(content[:80] + struct.pack("<d", 0.0) + content[88:], "<") + bytes(200_000))
    refuse(tmp_path / "snap", "Time = 3 is no scale factor of Redshift = 0")
