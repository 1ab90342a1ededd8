"""The configuration's JSON schema and its table of keys, both made from the typed settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from supercosm.config import Config

UNIONS = {
    "models": ("family", "what is learnt"),
    "coders": ("kind", "how patches are described"),
    "tasks": ("kind", "what is told apart"),
}
STAGES = {"coders": "Compression", "tasks": "Classification"}  # sections of named things that may all be left out
HEADER = "# Written by `supercosm schema`; edit src/supercosm/settings.py and the …_settings.py beside it instead.\n"


def json_schema() -> str:
    """Return the JSON schema (draft 2020-12) of a configuration, written as YAML."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    optional = {key: schema["$defs"][section]["properties"] for key, section in STAGES.items()}
    for section in (schema["properties"]["models"], *(properties[key] for key, properties in optional.items())):
        section["additionalProperties"] = False  # names that fit no pattern are errors
        for pattern, union in section["patternProperties"].items():
            section["patternProperties"][pattern] = {"anyOf": [union, {"type": "null"}]}  # null takes one away
    for key, properties in optional.items():
        properties[key] = {"anyOf": [properties[key], {"type": "null"}], "default": {}}  # null: no such stage
    return HEADER + yaml.safe_dump(schema, sort_keys=False, allow_unicode=True, width=110)


def markdown_table() -> str:
    """Return one Markdown table of every key, its default, its values and its meaning."""
    lines = ["| key | default | values | meaning |", "|---|---|---|---|"]
    schema = Config.model_json_schema()
    for key, field in _keys(schema, schema, ""):
        default = json.dumps(field["default"]) if "default" in field else ""
        cells = (f"`{key}`", f"`{default}`" if default else "", _values(field), field.get("description", ""))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _keys(schema: dict[str, Any], node: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in node["properties"].items():
        if "$ref" in field:
            yield from _keys(schema, _resolve(schema, field), f"{prefix}{name}.")
        elif name in UNIONS and "patternProperties" in field:
            yield from _union_keys(schema, field, f"{prefix}{name}.<name>.", *UNIONS[name])
        else:
            yield prefix + name, field
            for option in field.get("anyOf", ()):  # a section that may be left out
                if "$ref" in option:
                    yield from _keys(schema, _resolve(schema, option), f"{prefix}{name}.")


def _union_keys(
    schema: dict[str, Any], field: dict[str, Any], prefix: str, key: str, meaning: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the keys of every member of a union once: those that several share, then each one's own."""
    (union,) = field["patternProperties"].values()
    members = union["discriminator"]["mapping"]
    found = {
        member: dict(_keys(schema, _resolve(schema, {"$ref": reference}), prefix))
        for member, reference in members.items()
    }
    yield f"{prefix}{key}", {"description": meaning, "enum": list(members)}
    first, *others = found.values()
    shared = {name for name in first if all(first[name] == other.get(name) for other in others)}
    yield from ((name, first[name]) for name in first if name in shared)
    seen: dict[str, dict[str, Any]] = {}
    for member, keys in found.items():
        for name, entry in keys.items():
            if name not in shared and name != f"{prefix}{key}" and seen.get(name) != entry:
                seen[name] = entry
                yield name, {**entry, "description": f"({member}) {entry.get('description', '')}"}


def _resolve(schema: dict[str, Any], field: dict[str, Any]) -> dict[str, Any]:
    return schema["$defs"][field["$ref"].rpartition("/")[2]]


def _values(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return "section"
    if "enum" in field or "const" in field:
        return " · ".join(str(value) for value in field.get("enum", [field.get("const")]))
    if "anyOf" in field:
        return " or ".join(_values(option) for option in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_values(field['items'])}"
    if field.get("type") == "object":
        if "items" in field.get("additionalProperties", {}):
            return "key: list of values"
        return "parameter: value" if "sigma8" in field.get("propertyNames", {}).get("enum", ()) else "loss: weight"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {field[key]:g}" for key, sign in signs.items() if key in field]
    return " ".join([{"null": "none"}.get(field.get("type", ""), field.get("type", "")), *limits])
