"""Compressed files (.scz): a JSON header and named binary parts, closed by a SHA-256 of everything before it.

    8 bytes  MAGIC
    uint16   version of the format
    uint32   length of the header, then the header: JSON, keys sorted, UTF-8
    uint32   number of parts, then for each: uint16 length of its name, name, uint64 length, content
    32 bytes SHA-256

All integers are little-endian. Every version starts with MAGIC and its number and ends with the SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from supercosm.errors import DataError
from supercosm.files import whole

MAGIC = b"\x89SCZ\r\n\x1a\n"  # as PNG's: a transfer that takes it for text changes it
VERSION = 1
DIGEST = hashlib.sha256().digest_size
START = len(MAGIC) + 2


def write(path: str | Path, header: dict[str, Any], blobs: dict[str, bytes]) -> None:
    """Write a compressed file, whole or not at all; equal content gives equal bytes.

    Raises ValueError or TypeError for a header that is no JSON, NaN included.
    """
    text = json.dumps(header, sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    parts = [MAGIC, struct.pack("<HI", VERSION, len(text)), text, struct.pack("<I", len(blobs))]
    for name, blob in sorted(blobs.items()):
        parts += [struct.pack("<H", len(name.encode())), name.encode(), struct.pack("<Q", len(blob)), blob]
    content = b"".join(parts)
    with whole(path) as part:
        part.write_bytes(content + hashlib.sha256(content).digest())


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read the header and the parts of a compressed file.

    Raises DataError when it is missing, empty, of another format, truncated, damaged, or of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no compressed file {path}; check the path or make it with `supercosm compress`")
    content = path.read_bytes()
    _check(content, path)
    try:
        return _parse(_Cursor(content[:-DIGEST]))
    except (ValueError, RecursionError, struct.error) as error:
        raise DataError(
            f"{path} has a correct checksum, but its content is no compressed file's ({error}); make it again"
        ) from error


def _check(content: bytes, path: Path) -> None:
    if not content:
        raise DataError(f"{path} is empty; copy it or make it again")
    if not content.startswith(MAGIC[: len(content)]):
        raise DataError(
            f"{path} is no compressed file of Supercosm: it starts with {content[: len(MAGIC)]!r}, "
            f"not with {MAGIC!r}; check the path, or make it again if it was one"
        )
    body, digest = content[:-DIGEST], content[-DIGEST:]
    if len(content) < START + DIGEST or hashlib.sha256(body).digest() != digest:
        raise DataError(
            f"{path} is truncated or damaged: the checksum of its {len(content)} bytes is not the one it was "
            "written with; copy it or make it again"
        )
    (version,) = struct.unpack_from("<H", content, len(MAGIC))
    if version > VERSION:
        raise DataError(
            f"{path} was written by a newer version of Supercosm: its format is {version}, and this one reads up to "
            f"{VERSION}; update with `pip install --upgrade supercosm`"
        )


class _Cursor:
    """Bytes that are taken from the front; raises ValueError where there are fewer than asked for."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = memoryview(content), 0

    def take(self, size: int) -> bytes:
        if size > len(self.content) - self.at:
            raise ValueError(f"{size} bytes are announced where {len(self.content) - self.at} are left")
        self.at += size
        return bytes(self.content[self.at - size : self.at])

    def number(self, form: str) -> int:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0]


def _parse(cursor: _Cursor) -> tuple[dict[str, Any], dict[str, bytes]]:
    cursor.take(START)
    header = json.loads(cursor.take(cursor.number("I")))
    if not isinstance(header, dict):
        raise ValueError("the header is no dictionary")
    blobs = {}
    for _ in range(cursor.number("I")):
        name = cursor.take(cursor.number("H")).decode()
        blobs[name] = cursor.take(cursor.number("Q"))
    if cursor.at != len(cursor.content):
        raise ValueError(f"{len(cursor.content) - cursor.at} bytes follow the last part")
    return header, blobs
