"""Compressed files: what is written is read, and what is damaged is refused."""

import hashlib
import json
import struct

import pytest

from supercosm.compression.bitstream import DIGEST, MAGIC, VERSION, read, write
from supercosm.errors import DataError

HEADER = {"kind": "test", "name": "δ", "bounds": {"b": 0.1, "a": 1e-300}, "list": [1, None, True]}
BLOBS = {"latents": b"\x00\x01\xff" * 20, "empty": b"", "ψ": b"x"}


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "new" / "x.scz", HEADER, BLOBS)
    return tmp_path / "new" / "x.scz"


def sealed(body):
    return body + hashlib.sha256(body).digest()


def test_a_file_gives_back_what_was_written(path):
    assert read(path) == (HEADER, BLOBS)
    assert [file.name for file in path.parent.iterdir()] == ["x.scz"]


def test_a_file_may_hold_nothing(tmp_path):
    write(tmp_path / "x.scz", {}, {})
    assert read(tmp_path / "x.scz") == ({}, {})


def test_equal_content_gives_equal_bytes(path, tmp_path):
    write(tmp_path / "y.scz", dict(reversed(HEADER.items())), dict(reversed(BLOBS.items())))
    assert (tmp_path / "y.scz").read_bytes() == path.read_bytes()


def test_the_container_adds_little(path):
    content = sum(map(len, BLOBS.values())) + len(json.dumps(HEADER, ensure_ascii=False).encode())
    assert len(path.read_bytes()) < content + 120


def test_a_header_that_is_no_json_leaves_no_file(tmp_path):
    for header, error in (({"x": float("nan")}, ValueError), ({"x": b"bytes"}, TypeError)):
        with pytest.raises(error):
            write(tmp_path / "x.scz", header, {})
    assert not list(tmp_path.iterdir())


def test_every_flipped_bit_and_every_truncation_is_seen(path):
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="truncated or damaged" if place >= len(MAGIC) else "is no compressed file"):
            read(path)
    for size in range(1, len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match="truncated or damaged"):
            read(path)


def test_a_checksum_of_next_to_nothing_is_refused(tmp_path):
    (tmp_path / "x.scz").write_bytes(sealed(MAGIC + b"\x01"))
    with pytest.raises(DataError, match="truncated or damaged"):
        read(tmp_path / "x.scz")


def test_bytes_behind_the_end_are_seen(path):
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(DataError, match="truncated or damaged"):
        read(path)


def test_missing_empty_and_foreign_files_are_told_apart(tmp_path):
    path = tmp_path / "x.scz"
    with pytest.raises(DataError, match=r"there is no compressed file .*x\.scz; check the path"):
        read(path)
    with pytest.raises(DataError, match="there is no compressed file"):
        read(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        read(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n and more of it")
    with pytest.raises(DataError, match=r"is no compressed file of Supercosm: it starts with b'.x89HDF"):
        read(path)


def test_a_newer_version_asks_for_an_update(path):
    content = path.read_bytes()[:-DIGEST]
    newer = content.replace(MAGIC + struct.pack("<H", VERSION), MAGIC + struct.pack("<H", VERSION + 1), 1)
    path.write_bytes(sealed(newer))
    with pytest.raises(DataError, match=f"newer version .* is {VERSION + 1}, .* up to {VERSION}; update"):
        read(path)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        (struct.pack("<I", 100) + b"{}", "100 bytes are announced where 2 are left"),
        (struct.pack("<I", 2) + b"[]" + struct.pack("<I", 0), "no dictionary"),
        (struct.pack("<I", 2) + b"{]" + struct.pack("<I", 0), "no compressed file's"),
        (struct.pack("<I", 2) + b"{}" + struct.pack("<I", 1), "2 bytes are announced where 0 are left"),
        (struct.pack("<I", 2) + b"{}" + struct.pack("<I", 0) + b"more", "4 bytes follow"),
    ],
)
def test_a_correct_checksum_of_nonsense_is_refused(tmp_path, rest, words):
    path = tmp_path / "x.scz"
    path.write_bytes(sealed(MAGIC + struct.pack("<H", VERSION) + rest))
    with pytest.raises(DataError, match=words):
        read(path)
