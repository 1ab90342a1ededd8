"""Where a run finds the snapshots of other codes that it started from: places on one machine, which a reader has not.

Tables and cards name the files, as parents of what they hold; so do the patterns `simulation.external` of the record.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePath

from supercosm.config import Config
from supercosm.external_settings import External


def working_folder(results: str | Path) -> Path:
    """Return the folder that holds results/<name>; that of the record itself where it lies elsewhere, as an export."""
    here = Path(results).resolve()
    return here.parent.parent if here.parent.name == "results" else here


def anchored(config: Config, folder: Path) -> Config:
    """Return a configuration that finds its external snapshots from any folder: relative paths are taken from one."""
    start = str(folder).replace("{", "{{").replace("}", "}}")
    return _with_paths(config, lambda path: path if _is_place(path) else str(PurePath(start, path)))


def published(config: Config) -> Config:
    """Return a configuration without the place of its external snapshots: /data/run{seed}/low becomes run{seed}/low."""
    return _with_paths(config, _short)


def hide(text: bytes, config: Config) -> bytes:
    """Take the place of external snapshots out of a text that names them."""
    if config.simulation.external is None:
        return text
    full, short = config.simulation.external, published(config).simulation.external
    for resolution in ("low", "high"):
        for number in range(len(config.simulation.scale_factors)):
            for seed in config.seeds.all:
                long, brief = (str(paths.path(resolution, seed, number)).encode() for paths in (full, short))
                text = text.replace(long, brief) if _is_place(getattr(full, resolution)) else text
    return text


def _with_paths(config: Config, change: Callable[[str], str]) -> Config:
    external = config.simulation.external
    if external is None:
        return config
    other: External = external.model_copy(update={"low": change(external.low), "high": change(external.high)})
    return config.model_copy(update={"simulation": config.simulation.model_copy(update={"external": other})})


def _is_place(path: str) -> bool:
    return path.startswith(("/", "~"))


def _short(path: str) -> str:
    parts = path.split("/")
    first = next(i for i, part in enumerate(parts) if "{seed" in part or "{output" in part)
    return "/".join(parts[first:]) if _is_place(path) else path
