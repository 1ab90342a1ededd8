"""Measure one box, simulated, super-resolved or somebody's own: every statistic as a table, and a slab as FITS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from supercosm.compare import read_sample
from supercosm.config import Statistics
from supercosm.errors import ConfigurationError
from supercosm.fields import DensityField
from supercosm.fitsfile import write_slab
from supercosm.halofile import write_haloes
from supercosm.particlesummaries import OF_PARTICLES
from supercosm.progress import progress
from supercosm.provenance import provenance
from supercosm.summaries import OF_FIELDS, Box
from supercosm.tables import write_table

CATALOGUE, SLAB = "haloes.hdf5", "slab.fits"


def measure(path: str | Path, output: str | Path, settings: Statistics, only: Sequence[str] = ()) -> None:
    """Write <statistic>.ecsv of one box into a folder, with the halo catalogue and a slab of the density.

    only: names of statistics; all that the file allows where there are none. Raises DataError for what cannot be
    measured, ConfigurationError for a statistic that does not exist.
    """
    unknown = set(only) - OF_FIELDS.keys() - OF_PARTICLES.keys()
    if unknown:
        known = ", ".join([*OF_FIELDS, *OF_PARTICLES])
        raise ConfigurationError(f"there is no statistic '{min(unknown)}'; choose among {known}")
    box, folder = Box(read_sample(path), settings), Path(output)
    particles = not isinstance(box.data, DensityField)
    chosen = {**OF_FIELDS, **(OF_PARTICLES if particles or only else {})}
    chosen = {name: chosen[name] for name in only or chosen}
    folder = folder.absolute()
    meta = {
        "entry": folder.parent.name,
        "seed": folder.name,
        "box_size": box.box_size,
        "scale_factor": box.data.scale_factor,
        "particles": box.count if particles else 0,
        "provenance": provenance("measure", settings.model_dump(), sample=box.data.provenance),
    }
    with progress(f"measure {Path(path).name}", len(chosen)) as tick:
        for name, statistic in chosen.items():
            table = statistic(box)
            table.meta = {"statistic": name, "what": statistic.__doc__.splitlines()[0]} | table.meta | meta
            write_table(folder / f"{name}.ecsv", table)
            tick()
    if particles and "haloes" in chosen:
        write_haloes(folder / CATALOGUE, box.haloes)
    if not only:
        write_slab(folder / SLAB, box.density.numpy(), box.box_size, settings.slab, box.data.scale_factor)
