"""What was found out about a file or folder, as text for people and as JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

MANY = 12  # entries of a list above which its middle is left out
ALIKE = 4  # parents of one file that are shown


@dataclass(frozen=True)
class Found:
    """What a file or folder is, and the facts of it, all plain JSON values.

    units: of facts that have one. tables: rows by the name of the table. origin: its provenance. notes: sentences.
    """

    kind: str
    facts: dict[str, Any]
    units: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def as_json(path: str, found: Found) -> str:
    """Write everything as one JSON object; numbers that are none (NaN, infinity) as null."""
    return json.dumps(_finite({"path": path, **asdict(found)}), indent=1, ensure_ascii=False)


def as_text(path: str, found: Found) -> str:
    """Write a heading, a line for each fact, the tables, where it comes from, and the notes."""
    lines = [f"{path}: {found.kind}"]
    width = max((len(name) for name in found.facts), default=0)
    for name, value in found.facts.items():
        unit = found.units.get(name, "") if value is not None else ""
        lines.append(f"  {name.replace('_', ' '):<{width}}  {text(value)} {unit}".rstrip())
    for name, rows in found.tables.items():
        lines += ["", f"  {name.replace('_', ' ')}", *(f"    {line}" for line in columns(rows))]
    if found.origin:
        lines += ["", "  made by", *(f"    {line}" for line in lineage(found.origin))]
    if found.notes:
        lines += ["", *(f"  {note}" for note in found.notes)]
    return "\n".join(lines)


def text(value: Any) -> str:
    """Write one value as a person would: six digits, lists with commas, a dash for nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text(entry)}" for key, entry in value.items()) or "–"
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) > MANY:
            return f"{text(value[:3])}, … {text(value[-1])} ({len(value)})"
        return ", ".join(text(entry) for entry in value) or "–"
    return " ".join(str(value).split())


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write rows with the same keys as aligned columns below their names; numbers to the right."""
    if not rows:
        return ["(none)"]
    names = list(rows[0])
    cells = [[name.replace("_", " ") for name in names], *([text(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    right = [any(isinstance(row[name], int | float) for row in rows) for name in names]
    return [
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    ]


def lineage(origin: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """Yield a line for a provenance and, indented, for each of what it was made of; equal ones once, with a count."""
    words = [str(origin.get("stage", "an unnamed stage"))]
    words += [
        f"{key.replace('_', ' ')} {text(origin[key])}" for key in ("model", "seed", "resolution") if key in origin
    ]
    sampled = (origin.get("settings") or {}).get("sample_seed")
    words += [] if sampled is None else [f"sample seed {sampled}"]
    code = ", ".join(str(origin[key])[:12] for key in ("version", "commit") if key in origin)
    yield "  " * depth + ", ".join(words) + (f"  ({code})" if code else "")
    lines: dict[str, int] = {}
    for parent in _parents(origin):
        block = "\n".join(lineage(parent, depth + 1))
        lines[block] = lines.get(block, 0) + 1
    for block, count in list(lines.items())[:ALIKE]:
        first, *rest = block.split("\n")
        yield from (first + (f"  × {count}" if count > 1 else ""), *rest)
    if len(lines) > ALIKE:
        yield "  " * (depth + 1) + f"… and {len(lines) - ALIKE} more"


def _parents(origin: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the provenances inside a provenance, under whatever name."""
    for value in origin.values():
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, Mapping) and "stage" in entry:
                yield entry


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
