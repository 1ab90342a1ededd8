"""Eulerian density on grids: boxes and projected slabs, and their files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.files import hdf5_reader, hdf5_writer
from supercosm.mesh import paint
from supercosm.snapshot import Snapshot
from supercosm.stored import positive, whole_number

FLOOR = 0.1  # added to the density before the logarithm: an empty cell is log 0.1, not minus infinity


@dataclass(frozen=True)
class DensityField:
    """Density in units of the mean on a periodic mesh.

    data: 1 + δ, float32, (m, m, m) for dimensions 3; (slabs, m, m) for dimensions 2, slab s being the mean
    over z in [s, s + 1) box_size / slabs. box_size in Mpc/h.
    """

    data: np.ndarray
    box_size: float
    scale_factor: float
    cosmology: Cosmology
    dimensions: int = 3
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        equal = self.data.shape if self.dimensions == 3 else self.data.shape[1:]
        if self.data.ndim != 3 or len(set(equal)) != 1:
            expected = "(m, m, m)" if self.dimensions == 3 else "(slabs, m, m)"
            raise DataError(
                f"a density field of {self.dimensions} dimensions has shape {expected}, not {self.data.shape}"
            )
        if not np.isfinite(self.data).all() or self.data.min() < 0:
            raise DataError("a density field must be finite and nowhere negative; this one is not: make it again")

    @property
    def thickness(self) -> float:
        """Thickness of a projected slab [Mpc/h]; the cell size in three dimensions."""
        return self.box_size / len(self.data)


def density_of(snapshot: Snapshot, cells: int, slabs: int | None = None) -> DensityField:
    """Paint a snapshot onto (cells,)*3 by cloud in cell; with `slabs`, project it along z onto so many."""
    data = paint(snapshot.positions, snapshot.box_size, cells).numpy()
    return DensityField(
        data=data if slabs is None else slabs_of(data, slabs),
        box_size=snapshot.box_size,
        scale_factor=snapshot.scale_factor,
        cosmology=snapshot.cosmology,
        dimensions=3 if slabs is None else 2,
        provenance=snapshot.provenance,
    )


def slabs_of(density: np.ndarray, slabs: int, axis: int = 2) -> np.ndarray:
    """Average a field (m, m, m) through each of `slabs` equal slabs along an axis: (slabs, m, m)."""
    m = density.shape[axis]
    if m % slabs:
        raise DataError(f"{slabs} slabs do not divide {m} cells; choose a divisor")
    moved = np.moveaxis(density, axis, 0)
    return moved.reshape(slabs, m // slabs, *moved.shape[1:]).mean(axis=1)


def log_density(density: np.ndarray) -> np.ndarray:
    """Compress 1 + δ to log(1 + δ + FLOOR), float32."""
    return np.log(density + np.float32(FLOOR))


def from_log_density(value: np.ndarray) -> np.ndarray:
    """Invert `log_density`; values below the floor become empty."""
    return np.maximum(np.exp(value) - np.float32(FLOOR), 0)


def write_density(path: str | Path, density: DensityField) -> None:
    """Write a density field as HDF5, whole or not at all."""
    with hdf5_writer(path) as file:
        file.create_dataset("density", data=density.data, chunks=True, fletcher32=True)
        file.attrs["kind"] = np.bytes_("supercosm density field")
        file.attrs["dimensions"] = density.dimensions
        file.attrs["BoxSize_Mpc_h"] = density.box_size
        file.attrs["Time"] = density.scale_factor
        file.attrs["cosmology"] = np.bytes_(density.cosmology.model_dump_json())
        file.attrs["provenance"] = np.bytes_(json.dumps(density.provenance, sort_keys=True))


def read_density(path: str | Path) -> DensityField:
    """Read a density field; raise DataError when it is missing, damaged or something else."""
    with hdf5_reader(path, "density field") as file:
        if "density" not in file or "dimensions" not in file.attrs:
            raise DataError(f"{path} is no density field: it lacks /density or its attributes")
        return DensityField(
            data=file["density"][:],
            box_size=positive(file.attrs, "BoxSize_Mpc_h"),
            scale_factor=positive(file.attrs, "Time"),
            cosmology=Cosmology.model_validate_json(file.attrs["cosmology"]),
            dimensions=whole_number(file.attrs, "dimensions", 2),
            provenance=json.loads(file.attrs["provenance"]),
        )
