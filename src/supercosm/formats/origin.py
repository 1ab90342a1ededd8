"""What this package writes into its HDF5 files beside particles: provenance, cosmology, lattice, what was left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from supercosm.config import Cosmology
from supercosm.files import hdf5_reader
from supercosm.lattice import CENTRES

GROUP = "Provenance"


def write_origin(file: h5py.File, like: Any) -> None:
    """Write /Provenance; `like` carries cosmology, provenance, offset and, maybe, left_out."""
    origin = file.create_group(GROUP).attrs
    origin["cosmology"] = np.bytes_(like.cosmology.model_dump_json())
    origin["json"] = np.bytes_(json.dumps(like.provenance, sort_keys=True))
    if like.offset != CENTRES:
        origin["lattice_offset"] = float(like.offset)
    if getattr(like, "left_out", None):
        origin["left_out"] = np.bytes_(json.dumps(like.left_out, sort_keys=True))


def read_origin(path: Path) -> dict[str, Any]:
    """Return what `write_origin` wrote, checked: provenance, offset, left_out and cosmology; nothing of other files."""
    with hdf5_reader(path, "snapshot") as file:
        found = dict(file[GROUP].attrs) if GROUP in file else {}
        if "json" not in found:
            return {}
        known = {"cosmology": Cosmology.model_validate_json(bytes(found["cosmology"]))} if "cosmology" in found else {}
        offset = float(found.get("lattice_offset", CENTRES))
        if not np.isfinite(offset):
            raise ValueError(f"lattice_offset = {offset}")
        left_out = {str(name): int(number) for name, number in json.loads(found.get("left_out", "{}")).items()}
        return {"provenance": dict(json.loads(found["json"])), "offset": offset, "left_out": left_out, **known}
