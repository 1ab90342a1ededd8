"""Write displacement and velocity on the lattice as NumPy files, as `supercosm.formats.latticefields` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from supercosm.files import whole

NAMES = {"displacement": "displacement.npy", "velocity": "velocity.npy"}


def write(folder: Path, snapshot: Any, cosmology: dict[str, float]) -> None:
    """Write two fields (3, n, n, n) [Mpc/h, peculiar km/s] and, last, their description; cosmology: what is known."""
    for name, array in (("displacement", snapshot.displacement()), ("velocity", snapshot.velocity())):
        with whole(folder / NAMES[name]) as part, open(part, "wb") as file:
            np.save(file, array, allow_pickle=False)
    content = {
        "box_size": float(snapshot.box_size),
        "scale_factor": float(snapshot.scale_factor),
        "cosmology": cosmology,
        **NAMES,
        "length": "Mpc/h",
        "offset": float(snapshot.offset),
        **({"left_out": dict(snapshot.left_out)} if snapshot.left_out else {}),
    }
    with whole(folder / "snapshot.yaml") as part:
        part.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
