"""The configuration's JSON schema and its table of keys, both made from the typed settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from supercosm.config import Config

HEADER = "# Written by `supercosm schema`; edit src/supercosm/settings.py or model_settings.py instead.\n"


def json_schema() -> str:
    """Return the JSON schema (draft 2020-12) of a configuration, written as YAML."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    schema["properties"]["models"]["additionalProperties"] = False  # names that fit no pattern are errors
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
        elif name == "models":
            yield from _model_keys(schema, field)
        else:
            yield prefix + name, field


def _model_keys(schema: dict[str, Any], field: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the keys of every family once: those that several share, then each family's own."""
    (union,) = field["patternProperties"].values()
    families = union["discriminator"]["mapping"]
    found = {
        family: dict(_keys(schema, _resolve(schema, {"$ref": reference}), "models.<name>."))
        for family, reference in families.items()
    }
    yield "models.<name>.family", {"description": "what is learnt", "enum": list(families)}
    first, *others = found.values()
    shared = {key for key in first if all(first[key] == other.get(key) for other in others)}
    yield from ((key, first[key]) for key in first if key in shared)
    for family, keys in found.items():
        for key, entry in keys.items():
            if key not in shared and not key.endswith(".family"):
                yield key, {**entry, "description": f"({family}) {entry.get('description', '')}"}


def _resolve(schema: dict[str, Any], field: dict[str, Any]) -> dict[str, Any]:
    return schema["$defs"][field["$ref"].rpartition("/")[2]]


def _values(field: dict[str, Any]) -> str:
    if "enum" in field or "const" in field:
        return " · ".join(str(value) for value in field.get("enum", [field.get("const")]))
    if "anyOf" in field:
        return " or ".join(_values(option) for option in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_values(field['items'])}"
    if field.get("type") == "object":
        return "loss: weight"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {field[key]:g}" for key, sign in signs.items() if key in field]
    return " ".join([{"null": "none"}.get(field.get("type", ""), field.get("type", "")), *limits])
