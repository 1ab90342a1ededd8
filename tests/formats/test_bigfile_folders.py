"""BigFile folders as MP-Gadget writes them: what the library bigfile wrote is read, and every damage seen."""

import numpy as np
import pytest
from foreignfiles import Run, write_bigfile

from supercosm.formats import files_of
from supercosm.snapshot import read_snapshot

pytest.importorskip("bigfile")


@pytest.mark.parametrize("masses", [True, False])
@pytest.mark.parametrize("peculiar", [True, False])
def test_mp_gadget(truth, same, tmp_path, peculiar, masses):
    folder = write_bigfile(tmp_path / "PART_005", Run(truth), peculiar, masses=masses)
    same(read_snapshot(folder))
    assert len(files_of(folder)) == 1 + 3 * (1 + 1 + 2)  # attributes; header, attr-v2 and two files for each block


def test_every_flipped_bit_of_the_particles_is_seen(truth, refuse, tmp_path):
    folder = write_bigfile(tmp_path / "PART_005", Run(truth))
    random = np.random.default_rng(1)
    for name in ("Position", "Velocity", "ID"):
        path = folder / "1" / name / "000001"
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        refuse(folder, "do not add up to the checksum")
        path.write_bytes(content)


def test_truncated_or_missing_files(truth, refuse, tmp_path):
    folder = write_bigfile(tmp_path / "PART_005", Run(truth))
    path = folder / "1" / "Velocity" / "000000"
    content = path.read_bytes()
    path.write_bytes(content[:-8])
    refuse(folder, f"000000 has {len(content) - 8} bytes, {len(content)} are expected; it is truncated")
    path.unlink()
    refuse(folder, "000000 is missing")
    (folder / "1" / "ID" / "header").unlink()
    refuse(folder, "there is no .*header|missing")


@pytest.mark.parametrize(
    ("file", "old", "new", "match"),
    [
        ("Header/attr-v2", "BoxSize", "BoxXize", "lacks BoxSize"),
        ("Header/attr-v2", "<f8 1", "<q8 1", "is no attribute"),
        ("Header/attr-v2", "<f8 1 ", "<f8 1 ZZ", "is no attribute"),
        ("1/Position/header", "NMEMB: 3", "NMEMB: 2", "rows of 2 numbers"),
        ("1/Position/header", "NFILE: 2", "NFILE: 9", "tells of 9 files and lists 2"),
        ("1/Position/header", "2048", "9999999999", "holds .* rows"),
        ("1/ID/header", "DTYPE", "DTIPE", "'DTIPE' is unexpected"),
    ],
)
def test_damaged_headers(truth, refuse, tmp_path, file, old, new, match):
    folder = write_bigfile(tmp_path / "PART_005", Run(truth))
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    refuse(folder, match)
