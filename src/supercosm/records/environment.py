"""What a run was made with: versions, processor, and the packages that pip would have to install."""

from __future__ import annotations

import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from supercosm.provenance import machine, provenance


def environment() -> dict[str, str]:
    """Describe the code, the libraries and the processor, which the last bits of results depend on, and the date."""
    code = provenance("run", None)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "version": code["version"],
        "commit": code["commit"],
        **machine(),
        "processor": _processor(),
    }


def packages() -> list[str]:
    """List supercosm and everything that it needs and is installed, as lines of a requirements file, sorted."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement("supercosm[maps]")]
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            installed = distribution(wanted.name)
        except PackageNotFoundError:
            continue
        found[name] = installed.version
        waiting += [need for need in map(Requirement, installed.requires or ()) if _applies(need, extras)]
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _applies(need: Requirement, extras: frozenset[str]) -> bool:
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def _processor() -> str:
    """Name the processor: other ones round sums of many numbers otherwise."""
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()
