"""Where a result comes from: version, commit, settings, seed and parents."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def provenance(stage: str, settings: Any, **more: Any) -> dict[str, Any]:
    """Describe how a file was made, as plain JSON values: no dates, so equal inputs give equal files."""
    return {"stage": stage, "version": _version(), "commit": _commit(), "settings": settings, **more}


def machine() -> dict[str, str]:
    """Describe the machine and the libraries a run used."""
    libraries = ("torch", "numpy", "scipy", "h5py", "astropy", "snakemake", "lightning", "camb", "numba")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: _version(name) for name in libraries},
    }


def _version(package: str = "supercosm") -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@cache
def _commit() -> str:
    """Return the git commit of the source tree, or "unknown" outside one."""
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    changed = subprocess.run(
        ["git", "-C", str(here), "status", "--porcelain", "--untracked-files=no", "."], capture_output=True, text=True
    )
    return found.stdout.strip() + ("+changes" if changed.stdout.strip() else "")
