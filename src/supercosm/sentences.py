"""Mistakes in a configuration, each as one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from reprlib import Repr
from typing import Any

# sections of named things of several kinds, and a kind of each
KINDS = {("compression", "coders"): "pca", ("classification", "tasks"): "realism"}

SHOWN = Repr()  # of values that are long, or that aliases of YAML make endless
SHOWN.maxlevel, SHOWN.maxlist, SHOWN.maxdict, SHOWN.maxstring, SHOWN.maxlong, SHOWN.maxother = 2, 20, 20, 200, 80, 200


def sentence(error: Mapping[str, Any], schema: Callable[[], Mapping[str, Any]], keys: str = "configuration key") -> str:
    """Say what is wrong with a configuration; schema() is asked for the keys there are, to suggest one."""
    location = _without_tags(error["loc"])
    where = ".".join(str(part) for part in location if part != "[key]")
    named = bool(location) and (location[0] == "models" or tuple(location[:2]) in KINDS)
    if error["type"] == "extra_forbidden":
        return f"unknown {keys} '{where}'{_suggestion(error['loc'], schema())}"
    if error["type"] == "missing":
        return f"{where} is missing"
    if error["type"] == "union_tag_not_found":
        if location[0] == "models":
            return f"{where} lacks its family; add one, like family: unet, or name what this overlays before it"
        return f"{where} lacks its kind; add one, like kind: {KINDS[tuple(location[:2])]}"
    if error["type"] == "union_tag_invalid":
        key, tag, tags = (str(error["ctx"][name]) for name in ("discriminator", "tag", "expected_tags"))
        return f"{where}.{key.strip(chr(39))} = {SHOWN.repr(tag)} is unknown; there are {tags}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{where}: {message}" if named else message
    given = error.get("ctx", {}).get("tag", error["input"])
    said = f"{message} (given: {SHOWN.repr(given)})"
    return f"{where}: {said}" if where else said


def _without_tags(location: tuple) -> list:
    """Leave out what pydantic puts after the name of a model, a coder or a task: its family or kind, not in files."""
    places = {("models",): 2, **dict.fromkeys(KINDS, 3)}
    for start, place in places.items():
        if location[: len(start)] == start:
            return [part for i, part in enumerate(location) if i != place]
    return list(location)


def _suggestion(location: tuple, schema: Mapping[str, Any]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(str(location[-1]), sorted(_all_keys(schema)), n=1)
    return f"; did you mean '{close[0]}'?" if close else "; see config/README.md for the keys there are"


def _all_keys(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = set(schema.get("properties", {}))
        return own.union(*(_all_keys(value) for value in schema.values()))
    if isinstance(schema, list):
        return set().union(*(_all_keys(value) for value in schema))
    return set()
