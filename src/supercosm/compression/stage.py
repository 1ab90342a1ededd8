"""The compression stage: files in, tables and arrays out; the science is in the modules beside this one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np
from astropy.table import QTable, vstack
from torch import Tensor

from supercosm.compare import read_sample
from supercosm.compression.coder import Coder, load_coder
from supercosm.compression.ratedistortion import Row, box_rows, evaluation_patches, grid_of, particle_rows, patch_rows
from supercosm.compression.study import gallery, map_latents, prior_spectra, sanity_table, walks
from supercosm.config import Config
from supercosm.errors import DataError
from supercosm.fields import DensityField, density_of, log_density
from supercosm.files import hdf5_writer
from supercosm.patches import log_slabs, slab_cells
from supercosm.progress import progress
from supercosm.provenance import provenance
from supercosm.snapshot import Snapshot, read_snapshot
from supercosm.tables import write_table

TEST = 5  # seed of the test patches
SHAPES = ("s-curve", "swiss-roll")


def rate_distortion_patches(config: Config, folders: Sequence[Path], high: Sequence[Path], output: Path) -> None:
    """Measure coders of projected patches, and other compressors, on patches of true test boxes."""
    coders = [load_coder(folder) for folder in folders]
    boxes = [_density(path) for path in high]
    _check_unseen(coders, boxes)
    x, cell = _test_patches(config, boxes)
    grid = grid_of(len(boxes[0].data), config.compression.patches.side)
    rows = patch_rows(coders, x, config.compression, cell, grid)
    _write(output, rows, "patches", len(coders), config)


def rate_distortion_box(config: Config, folders: Sequence[Path], high: Path, output: Path) -> None:
    """Measure coders of blocks, and other compressors, on the log density of one true test box."""
    coders, box = [load_coder(folder) for folder in folders], _density(high)
    _check_unseen(coders, [box])
    rows = box_rows(coders, log_density(box.data), config.compression, box.box_size)
    _write(output, rows, "box", len(coders), config)


def rate_distortion_particles(config: Config, high: Path, prediction: Path | None, output: Path) -> None:
    """Measure error-bounded codes of the displacements of one test box, with and without a prediction."""
    truth = read_snapshot(high)
    predicted = None if prediction is None else read_snapshot(prediction)
    if predicted is not None and (predicted.side, predicted.box_size) != (truth.side, truth.box_size):
        raise DataError(
            f"{prediction} has {predicted.side}³ particles in {predicted.box_size:g} Mpc/h, {high} {truth.side}³ in "
            f"{truth.box_size:g}: it predicts another box"
        )
    _write(output, particle_rows(truth, predicted, config.compression), "particles", 1, config)


def _write(output: Path, rows: Iterable[Row], arena: str, expected: int, config: Config) -> None:
    found: list[Row] = []
    with progress(f"rate-distortion {arena}", expected) as tick:
        names: set[str] = set()
        for row in rows:
            found.append(row)
            if row["coder"] not in names:
                names.add(row["coder"])
                tick()
    table = QTable(rows=found)
    table.meta = {"arena": arena, **provenance("rate-distortion", config.compression.model_dump(mode="json"))}
    write_table(output, table)


def maps(config: Config, folder: Path, snapshots: Sequence[Path], output: Path) -> None:
    """Map the latents of patches of true runs, of one cosmology or several."""
    boxes = [_density(path) for path in snapshots]
    write_table(output, map_latents(load_coder(folder), boxes, config.compression, config.statistics))


def sanity(config: Config, output: Path) -> None:
    """Map the S-curve and the swiss roll, one table."""
    tables = [sanity_table(shape, config.compression.maps) for shape in SHAPES]
    meta = {"shapes": {shape: table.meta for shape, table in zip(SHAPES, tables, strict=True)}}
    for shape, table in zip(SHAPES, tables, strict=True):
        table["shape"], table.meta = shape, {}
    joined = vstack(tables)
    joined.meta = meta
    write_table(output, joined)


def show(config: Config, folders: Sequence[Path], high: Sequence[Path], output: Path, spectra: Path) -> None:
    """Write reconstructions of test patches by every coder, and what variational ones draw: HDF5, and P(k) as ECSV."""
    coders = [load_coder(folder) for folder in folders]
    x, _ = _test_patches(config, [_density(path) for path in high])
    chosen = x[:: max(1, len(x) // config.compression.gallery)][: config.compression.gallery]
    tables = []
    with hdf5_writer(output) as file:
        for coder in coders:
            group = file.create_group(coder.card.name)
            arrays = gallery(coder, chosen)
            if coder.variational:
                arrays |= walks(coder, chosen, TEST)
                table = prior_spectra(coder, x, TEST)
                table["coder"] = coder.card.name
                tables.append(table)
            _write_arrays(group, arrays)
    joined = vstack(tables) if tables else QTable({"coder": np.array([], dtype="U1")})
    joined.meta = provenance("show-coders", config.compression.model_dump(mode="json"))
    write_table(spectra, joined)


def _write_arrays(group: h5py.Group, arrays: dict[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        group.create_dataset(name, data=array, chunks=array.shape, fletcher32=True)


def _test_patches(config: Config, boxes: Sequence[DensityField]) -> tuple[Tensor, float]:
    """Return test patches of log density, and the cell size [Mpc/h]."""
    patches, first = config.compression.patches, boxes[0]
    cells = len(first.data)
    thick = slab_cells(patches.thickness, first.box_size, cells)
    slabs = [log_slabs(box.data, thick) for box in boxes]
    x, _ = evaluation_patches(slabs, patches.side, patches.test, TEST)
    return x, first.box_size / cells


def _check_unseen(coders: Sequence[Coder], boxes: Sequence[DensityField]) -> None:
    seeds = {box.provenance["seed"] for box in boxes if "seed" in box.provenance}
    for coder in coders:
        seen = {seed for part in coder.card.seeds.values() for seed in part} & seeds
        if seen:
            raise DataError(
                f"coder '{coder.card.name}' was trained or validated on seeds {sorted(seen)}; measure it on others"
            )


def _density(path: Path) -> DensityField:
    sample = read_sample(path)
    return density_of(sample, sample.side) if isinstance(sample, Snapshot) else sample
