"""Compare super-resolved snapshots, or density fields, with the true high-resolution run: P(k), T(k), r(k)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.table import QTable, vstack

from supercosm.config import Evaluation
from supercosm.errors import DataError
from supercosm.fields import DensityField, read_density, slabs_of
from supercosm.files import hdf5_reader
from supercosm.formats import is_hdf5
from supercosm.lattice import SAME_OFFSET
from supercosm.mesh import paint
from supercosm.provenance import provenance
from supercosm.snapshot import Snapshot, read_snapshot
from supercosm.statistics import power
from supercosm.tables import DENSITY_POWER, DISPLACEMENT_POWER, WAVE_NUMBER, write_table


@dataclass(frozen=True)
class Grid:
    """Where a comparison takes place: the density mesh, its bins, and the lattice if both sides have one.

    edges in units of the fundamental mode. Projected fields have slabs and their thickness [Mpc/h], by which
    their spectra are multiplied: the result, in (Mpc/h)³, tends to P(k) where k × thickness ≫ 1.
    """

    box_size: float
    cells: int
    edges: np.ndarray
    side: int | None
    dimensions: int = 3
    slabs: int = 1
    thickness: float = 1.0

    @property
    def keep(self) -> int:
        """Highest mode number used."""
        return min(math.ceil(self.edges[-1]), self.cells // 2)


@dataclass(frozen=True)
class Modes:
    """Fourier modes of one box: density (1 or slabs, …) and, on a lattice, displacement (3, …)."""

    density: torch.Tensor
    displacement: torch.Tensor | None


def compare_files(samples: Sequence[Path], reference: Path, output: Path, settings: Evaluation) -> None:
    """Compare samples with a reference and write the table; `output` names them: <entry>/<seed>.ecsv."""
    output = Path(output).absolute()
    write_table(output, compare(samples, reference, settings, output.parent.name, output.stem))


def compare(
    samples: Sequence[Path],
    reference: Path,
    settings: Evaluation,
    entry: str | None = None,
    seed: str | int | None = None,
) -> QTable:
    """Measure P(k) of every sample, of the reference, and their cross spectrum, in density and displacement.

    One row per sample and bin: density_P, density_P_reference, density_P_cross [(Mpc/h)³] and the same for
    displacement [(Mpc/h)⁵] where both are snapshots of one lattice; with two or more samples also …_P_twin,
    the cross spectrum with the next sample (the last one's next is the first). Entry and seed default to the
    folders the samples lie in, <entry>/<seed>/<sample>.hdf5. Raises DataError when boxes or times differ.
    """
    if not samples:
        raise DataError("there is nothing to compare: give at least one snapshot")
    paths = [Path(path).absolute() for path in samples]
    entry, seed = entry or paths[0].parent.parent.name, str(seed or paths[0].parent.name)
    truth, sample = read_snapshot(reference), read_sample(paths[0])
    grid = comparison_grid(sample, truth, settings)
    expected = modes_on(truth, grid)
    first = current = modes_on(sample, grid)
    meta = _meta(sample, truth, grid, settings) | {"entry": entry, "seed": seed}
    del sample
    rows = []
    for number in range(1, len(paths) + 1):
        following = None
        if len(paths) > 1:
            following = first if number == len(paths) else modes_of(paths[number], truth, grid, settings)
        rows.append(_rows(number, current, expected, following, grid))
        current = following
    table = vstack(rows, metadata_conflicts="silent")
    table.meta = meta
    return table


def read_sample(path: Path) -> Snapshot | DensityField:
    """Read a density field or a snapshot, whichever the file holds."""
    if is_hdf5(path):
        with hdf5_reader(path, "snapshot") as file:
            is_density = "density" in file
        if is_density:
            return read_density(path)
    return read_snapshot(path)


def modes_of(path: Path, truth: Snapshot, grid: Grid, settings: Evaluation) -> Modes:
    """Read, paint and transform one more sample; raise DataError when it is not on the grid of the others."""
    sample = read_sample(path)
    own = comparison_grid(sample, truth, settings)
    if (own.cells, own.side, own.dimensions, own.slabs) != (
        grid.cells,
        grid.side,
        grid.dimensions,
        grid.slabs,
    ):
        raise DataError(f"{path} is not on the same grid as the sample before it; compare each model by itself")
    return modes_on(sample, grid)


def comparison_grid(sample: Snapshot | DensityField, truth: Snapshot, settings: Evaluation) -> Grid:
    """Choose mesh and bins up to the reference's Nyquist frequency; raise DataError on a mismatch."""
    for name, unit in (("box_size", "Mpc/h"), ("scale_factor", "")):
        value, expected = getattr(sample, name), getattr(truth, name)
        if abs(value - expected) > 1e-4 * expected:
            raise DataError(
                f"the sample has {name} = {value:g} {unit}".rstrip()
                + f", the reference {expected:g}; compare with the high run of the same box and time"
            )
    side = round(len(truth.ids) ** (1 / 3))
    if isinstance(sample, DensityField):
        cells = sample.data.shape[-1]
        edges = power.bin_edges(min(side, cells), settings.bins)
        slabs = len(sample.data) if sample.dimensions == 2 else 1
        thickness = truth.box_size / slabs if sample.dimensions == 2 else 1.0
        return Grid(truth.box_size, cells, edges, None, sample.dimensions, slabs, thickness)
    alike = abs(sample.offset - truth.offset) <= SAME_OFFSET
    both = alike and _on_lattice(sample, side) and _on_lattice(truth, side)
    common = side if both else None
    return Grid(truth.box_size, settings.mesh * side, power.bin_edges(side, settings.bins), common)


def _on_lattice(snapshot: Snapshot, side: int) -> bool:
    return not snapshot.fault and len(snapshot.ids) == side**3 and snapshot.ids[0] == 1 and snapshot.ids[-1] == side**3


def modes_on(data: Snapshot | DensityField, grid: Grid) -> Modes:
    """Paint, project and transform one box."""
    if isinstance(data, DensityField):
        density, displacement = torch.from_numpy(data.data), None
    else:
        density = paint(data.positions, grid.box_size, grid.cells)
        if grid.dimensions == 2:
            density = torch.from_numpy(slabs_of(density.numpy(), grid.slabs))
        displacement = torch.from_numpy(data.displacement()) if grid.side else None
    channels = density if grid.dimensions == 2 else density[None]
    density = power.transform(channels, grid.dimensions, grid.keep)
    if displacement is not None:
        displacement = power.transform(displacement, 3, min(grid.keep, grid.side // 2))
    return Modes(density, displacement)


def _rows(number: int, sample: Modes, truth: Modes, following: Modes | None, grid: Grid) -> QTable:
    """Tabulate the spectra of one sample."""
    table = QTable()
    columns = [("density", grid.cells, power.CLOUD_IN_CELL, DENSITY_POWER)]
    if sample.displacement is not None:
        columns.append(("displacement", grid.side, 0, DISPLACEMENT_POWER))
    for field, cells, window, unit in columns:
        first, second = getattr(sample, field), getattr(truth, field)
        found = power.power(first, second, grid.box_size, grid.edges, cells, window)
        if field == "density":
            table["sample"] = np.full(len(found.k), number)
            table["k"], table["modes"] = found.k * WAVE_NUMBER, found.modes
        values = {"P": found.first, "P_reference": found.second, "P_cross": found.cross}
        if following is not None:
            other = getattr(following, field)
            values["P_twin"] = power.power(first, other, grid.box_size, grid.edges, cells, window).cross
        for name, value in values.items():
            table[f"{field}_{name}"] = value * grid.thickness * unit
    return table


def _meta(sample: Snapshot | DensityField, truth: Snapshot, grid: Grid, settings: Evaluation) -> dict[str, Any]:
    """Collect what evaluation and readers need to know; wave numbers in h/Mpc, lengths in Mpc/h."""
    side = round(len(truth.ids) ** (1 / 3))
    low = _low_side(sample.provenance, side)
    return {
        "box_size": truth.box_size,
        "scale_factor": truth.scale_factor,
        "dimensions": grid.dimensions,
        "cells": grid.cells,
        "k_Nyquist_low": math.pi * low / truth.box_size if low else None,
        "k_Nyquist_high": math.pi * side / truth.box_size,
        "shot_noise": truth.box_size**3 / len(truth.ids),
        "units": "box_size Mpc/h, k_Nyquist h/Mpc, shot_noise (Mpc/h)^3 (not subtracted)",
        "provenance": provenance(
            "compare", settings.model_dump(), sample=sample.provenance, reference=truth.provenance
        ),
    }


def _low_side(origin: dict[str, Any], side: int) -> int | None:
    """Particles per side of the low-resolution run a sample was made from, if its provenance tells."""
    if origin.get("low_side"):
        return int(origin["low_side"])
    if origin.get("stage") == "simulate":
        return int(origin["settings"]["simulation"]["low"])
    return side // int(origin["factor"]) if origin.get("factor") else None
