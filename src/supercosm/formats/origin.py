"""What this package writes into its HDF5 files beside particles: provenance, cosmology, lattice, what was left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.files import hdf5_reader
from supercosm.lattice import CENTRES

GROUP = "Provenance"
MADE_FOR = "made_for"  # attribute in files of a snapshot of several: what they all are made of


def write_origin(file: h5py.File, like: Any) -> None:
    """Write /Provenance; `like` carries cosmology, provenance, offset and, maybe, left_out."""
    origin = file.create_group(GROUP).attrs
    origin["cosmology"] = np.bytes_(like.cosmology.model_dump_json())
    origin["json"] = np.bytes_(json.dumps(like.provenance, sort_keys=True))
    if like.offset != CENTRES:
        origin["lattice_offset"] = float(like.offset)
    if getattr(like, "left_out", None):
        origin["left_out"] = np.bytes_(json.dumps(like.left_out, sort_keys=True))


def write_made_for(file: h5py.File, made: dict[str, Any]) -> None:
    """Write into one file of several, after its origin, what they all are made of: plain JSON values."""
    file[GROUP].attrs[MADE_FOR] = np.bytes_(json.dumps(made, sort_keys=True))


def made_for(path: Path) -> dict[str, Any] | None:
    """Return what a file of a snapshot of several, written by this package, was made of; None for any other file."""
    with hdf5_reader(path, "snapshot") as file:
        found = file[GROUP].attrs.get(MADE_FOR) if GROUP in file else None
        return None if found is None else dict(json.loads(bytes(found)))


def check_same_origin(paths: Sequence[Path]) -> None:
    """Raise DataError unless all files of a snapshot were made of the same, by this package."""
    first = made_for(paths[0])
    for path in paths[1:]:
        found = made_for(path)
        if found != first:
            raise DataError(
                f"{path} was made of another snapshot, model or set of options than {paths[0]} "
                f"({difference(found, first)}); remove the files that do not belong there, and make them again"
            )


def difference(found: dict[str, Any] | None, expected: dict[str, Any] | None) -> str:
    """Say in a few words in what a file was made of something else than expected."""
    if found is None or expected is None:
        return "it does not say of what" if found is None else "the latter does not say of what"
    ours, theirs = ({**content, **content.get("settings", {})} for content in (expected, found))
    names = [name for name in {**ours, **theirs} if name != "settings" and ours.get(name) != theirs.get(name)]
    return "; ".join(f"{name}: {theirs.get(name)}, not {ours.get(name)}" for name in names[:3])


def read_origin(paths: Sequence[Path]) -> dict[str, Any]:
    """Return what `write_origin` wrote, checked: provenance, offset, left_out and cosmology; nothing of other files.

    Raises DataError unless all files of the snapshot are of one origin.
    """
    check_same_origin(paths)
    with hdf5_reader(paths[0], "snapshot") as file:
        found = dict(file[GROUP].attrs) if GROUP in file else {}
        if "json" not in found:
            return {}
        known = {"cosmology": Cosmology.model_validate_json(bytes(found["cosmology"]))} if "cosmology" in found else {}
        offset = float(found.get("lattice_offset", CENTRES))
        if not np.isfinite(offset):
            raise ValueError(f"lattice_offset = {offset}")
        left_out = {str(name): int(number) for name, number in json.loads(found.get("left_out", "{}")).items()}
        return {"provenance": dict(json.loads(found["json"])), "offset": offset, "left_out": left_out, **known}
