"""Supercosm: super-resolution for cosmological simulations, from initial conditions to the report."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Config": "config",
    "Snapshot": "snapshot",
    "load_config": "config",
    "load_model": "superresolution",
    "read_snapshot": "snapshot",
    "superresolve": "superresolution",
    "write_snapshot": "snapshot",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import supercosm` stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'supercosm' has no attribute '{name}'")
    return getattr(import_module(f"supercosm.{_HOMES[name]}"), name)
