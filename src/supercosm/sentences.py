"""Mistakes in a configuration, each as one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def sentence(error: Mapping[str, Any], schema: Callable[[], Mapping[str, Any]]) -> str:
    """Say what is wrong with a configuration; schema() is asked for the keys there are, to suggest one."""
    # After "models" and its name, pydantic puts the family that it chose: no key of the file.
    location = [part for i, part in enumerate(error["loc"]) if not (error["loc"][0] == "models" and i == 2)]
    where = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        return f"unknown configuration key '{where}'{_suggestion(error['loc'], schema())}"
    if error["type"] == "union_tag_not_found":
        return f"{where} lacks its family; add family: unet or family: gan"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{where}: {message}" if location and location[0] == "models" else message
    given = error.get("ctx", {}).get("tag", error["input"])
    return f"{where}: {message} (given: {given!r})" if where else f"{message} (given: {given!r})"


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
