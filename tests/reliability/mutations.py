"""How content is damaged: bytes, numbers of headers, words of texts, nodes of JSON and YAML.

Every function takes dice and content, and returns other content; equal dice give equal content.
"""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Callable
from typing import Any

import yaml

EARLY = 2000  # bytes at the beginning, where headers are
NUMBERS = (0, -1, 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, 2**64 - 1, 10**30, 1e308, -1e308, 1e-320, 0.5)
WORDS = (
    "nan",
    "inf",
    "-inf",
    "",
    "null",
    "9" * 30,
    "-1",
    "0",
    "1e999",
    "[]",
    "{}",
    "x" * 5000,
    "\\x00",
    "'",
    '"',
    "%s",
)
HOSTILE = ("!!python/object/apply:os.system ['touch executed']", "&a [*a, *a]", "!!binary aGVsbG8=", "? [1, 2]")
HEADERS = (b"\x00", b"\xff", b"\x7f", b"\x80")


def bytewise(dice: random.Random, content: bytes) -> bytes:
    """Flip bits, overwrite, cut, splice, repeat; more often near the beginning."""
    found = bytearray(content)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        at = dice.randrange(max(1, min(len(found), EARLY) if dice.random() < 0.5 else len(found)))
        action = dice.randrange(6)
        if action == 0 and found:
            found[at % len(found)] ^= 1 << dice.randrange(8)
        elif action == 1:
            found[at : at + 8] = _packed(dice)
        elif action == 2:
            del found[at:]
        elif action == 3:
            del found[at : at + dice.choice((1, 4, 64, 1000))]
        elif action == 4:
            source = dice.randrange(max(1, len(content)))
            found[at:at] = content[source : source + dice.choice((1, 4, 64, 1000))]
        else:
            found[at : at + dice.choice((1, 4, 16))] = dice.choice(HEADERS) * dice.choice((1, 4, 16))
    return bytes(found)


def _packed(dice: random.Random) -> bytes:
    value, form = dice.choice(NUMBERS), dice.choice("<>") + dice.choice("iIqQdf")
    try:
        return struct.pack(form, value if form[-1] in "df" else int(value))
    except (struct.error, OverflowError):
        return b"\xff" * 8


def binary(dice: random.Random, content: bytes) -> bytes:
    """Put numbers in places of whole words of four bytes, as headers of binary formats have them."""
    if dice.random() < 0.4:
        return bytewise(dice, content)
    found = bytearray(content)
    for _ in range(dice.choice((1, 2))):
        at = 4 * dice.randrange(max(1, min(len(found), 300) // 4))
        raw = _packed(dice)
        found[at : at + len(raw)] = raw
    return bytes(found)


def text(dice: random.Random, content: bytes) -> bytes:
    """Replace words and numbers, drop, double and exchange lines, or damage bytes."""
    if dice.random() < 0.2:
        return bytewise(dice, content)
    lines = content.decode("utf-8", "replace").split("\n")
    for _ in range(dice.choice((1, 1, 2))):
        at, action = dice.randrange(len(lines)), dice.randrange(5)
        if action <= 1:
            words = re.split(r"([^\w.+-]+)", lines[at])
            words[2 * dice.randrange((len(words) + 1) // 2)] = dice.choice((*WORDS, *map(str, NUMBERS)))
            lines[at] = "".join(words)
        elif action == 2:
            lines.insert(at, lines[dice.randrange(len(lines))])
        elif action == 3 and len(lines) > 1:
            del lines[at]
        else:
            lines[at] = dice.choice((lines[at] + dice.choice(WORDS), lines[at][: len(lines[at]) // 2], lines[at] * 3))
    return "\n".join(lines).encode()


def _value(dice: random.Random) -> Any:
    """Return a value of any kind that JSON and YAML can hold."""
    kind = dice.randrange(7)
    if kind == 0:
        nested: Any = 1
        for _ in range(dice.choice((1, 50, 2000))):
            nested = [nested] if dice.random() < 0.9 else {"a": nested}
        return nested
    plain = (None, True, [], {}, dice.choice(WORDS), float("nan"), float("inf"), -float("inf"), [0] * 10, {"a": 1})
    return dice.choice(plain if kind < 3 else NUMBERS if kind < 6 else (10**400, "δ", [float("nan")], -0.0, 3))


def changed(dice: random.Random, content: Any) -> Any:
    """Change one node of plain values, drop it, or add one."""
    if not isinstance(content, dict | list) or not content or dice.random() < 0.1:
        return _value(dice)
    found = dict(content) if isinstance(content, dict) else list(content)
    key = dice.choice(list(found)) if isinstance(found, dict) else dice.randrange(len(found))
    action = dice.random()
    if action < 0.1:
        del found[key]
    elif action < 0.2 and isinstance(found, dict):
        found[dice.choice(("x", "settings", "", "δ", str(key) + "s"))] = found[key] if dice.random() < 0.5 else None
    elif action < 0.2:
        found.insert(key, found[key])
    elif isinstance(found[key], dict | list) and found[key] and action < 0.9:
        found[key] = changed(dice, found[key])
    else:
        found[key] = _value(dice)
    return found


def in_json(dice: random.Random, content: bytes) -> bytes:
    """Change nodes of JSON; NaN, infinities and deep nesting included."""
    if dice.random() < 0.2:
        return text(dice, content)
    if dice.random() < 0.03:
        return b"[" * 200_000
    found = json.loads(content)
    for _ in range(dice.choice((1, 1, 2))):
        found = changed(dice, found)
    return dumped(found).encode()


def dumped(content: Any) -> str:
    """Return JSON, deeply nested where there is no end to it."""
    try:
        return json.dumps(content)
    except RecursionError:
        return '{"a":' * 5000


def in_yaml(dice: random.Random, content: bytes) -> bytes:
    """Change nodes of YAML, or add tags and aliases that ask for code to run or for endless content."""
    action = dice.random()
    if action < 0.3:
        return text(dice, content)
    if action < 0.4:
        levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]" for i in range(9)]
        return content + "\n".join(["", *levels, ""]).encode()
    if action < 0.5:
        lines = content.decode().split("\n")
        lines[dice.randrange(len(lines))] = dice.choice(("", "name: ", "seeds: ", "cosmology: ")) + dice.choice(HOSTILE)
        return "\n".join(lines).encode()
    return dumped(changed(dice, yaml.safe_load(content))).encode()


def table(dice: random.Random, content: bytes) -> bytes:
    """Change an ECSV table: its header, which is YAML, most of all."""
    if dice.random() < 0.4:
        return text(dice, content)
    lines = content.decode().split("\n")
    head = [i for i, line in enumerate(lines) if line.startswith("#")]
    at = dice.choice(head)
    types = ("object", "string", "int8", "float128", "complex64", "bool", "uint64", "datetime64", "x")
    if "datatype: " in lines[at]:
        lines[at] = re.sub(r"datatype: \w+", f"datatype: {dice.choice(types)}", lines[at])
    else:
        lines[at] = dice.choice(("# ", "#", "")) + dice.choice((*HOSTILE, *WORDS, "- {name: x}", "datatype: x"))
    return "\n".join(lines).encode()


def safetensors(dice: random.Random, content: bytes) -> bytes:
    """Change the header, which is JSON, or its length."""
    action = dice.random()
    if action < 0.3:
        return bytewise(dice, content)
    (length,) = struct.unpack("<Q", content[:8])
    if action < 0.4:
        return struct.pack("<Q", dice.choice((0, 1, length + 1, 2**31, 2**40, 2**63))) + content[8:]
    header = changed(dice, json.loads(content[8 : 8 + length]))
    raw = dumped(header).encode()
    return struct.pack("<Q", len(raw)) + raw + content[8 + length :]


def sealed(dice: random.Random, content: bytes) -> bytes:
    """Change the header of a compressed file, which is JSON; what codecs made has a checksum, and is left alone.

    Its layout: 8 bytes of magic, a version of 2, and the length of the header, 4.
    """
    (length,) = struct.unpack("<I", content[10:14])
    header, rest = content[14 : 14 + length], content[14 + length :]
    raw = dumped(changed(dice, json.loads(header))).encode()
    stated = dice.choice((len(raw), len(raw), len(raw), len(raw) - 1, 2**32 - 1))
    return content[:10] + struct.pack("<I", stated) + raw + rest


def npy(dice: random.Random, content: bytes) -> bytes:
    """Change the header of a .npy file: type, order, shape, length; or ask it to unpickle."""
    if dice.random() < 0.3:
        return bytewise(dice, content)
    (length,) = struct.unpack("<H", content[8:10])
    types = ("'|O'", "'<f8'", "'<c16'", "'|S5'", "[('a', '<f4')]", "'<U9'", "'>f4'", "'<M8[s]'", "'|V0'", "x")
    shapes = ("()", "(3,)", "(3, 8, 8, 99999999)", "(-1, 8, 8, 8)", "(3, 0, 0, 0)", "(3, 8.0, 8, 8)", "(" * 500, "x")
    order = dice.choice(("False", "True", "1", "None"))
    header = f"{{'descr': {dice.choice(types)}, 'fortran_order': {order}, 'shape': {dice.choice(shapes)}, }}"
    if dice.random() < 0.5:
        header = content[10 : 10 + length].decode("latin-1").replace("(3, 8, 8, 8)", dice.choice(shapes))
    raw = header.encode()
    stated = dice.choice((len(raw), len(raw), len(raw), 0, 65535))
    pickled = b"cposix\nsystem\n(S'touch executed'\ntR." if dice.random() < 0.2 else content[10 + length :]
    return content[:8] + struct.pack("<H", stated) + raw + pickled


OF_CONTENT: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "bytes": bytewise, "binary": binary, "text": text, "json": in_json, "yaml": in_yaml, "table": table,
    "safetensors": safetensors, "npy": npy, "sealed": sealed,
}  # fmt: skip
