"""Plain configuration files: YAML and JSON read safely, overlays merged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from supercosm.errors import ConfigurationError


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Merge an overlay onto a configuration: sections merge key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read one YAML file as a mapping; raise ConfigurationError when it is missing or not a mapping."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # also dates that are none, and bytes that are no text
        raise ConfigurationError(f"{path} is not valid YAML: {' '.join(str(error).split())[:500]}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} must hold a mapping of sections, not {type(content).__name__}")
    return content


def read_json(text: str, option: str = "--settings") -> dict[str, Any]:
    """Read a JSON mapping; raise ConfigurationError for anything else."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f'{option} is not valid JSON ({error}); give, for example, \'{{"simulation": {{"low": 16}}}}\''
        ) from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{option} must be a JSON mapping, not {type(content).__name__}")
    return content


def without_nulls(content: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out models, terms of losses, coders and tasks that an overlay set to null."""
    found = dict(content)
    if isinstance(found.get("models"), Mapping):
        found["models"] = models = _present(found["models"])
        for name, model in models.items():
            if isinstance(model, Mapping) and isinstance(model.get("loss"), Mapping):
                models[name] = {**model, "loss": _present(model["loss"])}
    for section, key in (("compression", "coders"), ("classification", "tasks")):
        own = found.get(section)
        if isinstance(own, Mapping) and isinstance(named := own.get(key, {}), Mapping | None):
            found[section] = {**own, key: _present(named or {})}
    return found


def _present(section: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in section.items() if value is not None}
