"""Measure one box, simulated, super-resolved or somebody's own: every statistic as a table, and a slab as FITS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from astropy.table import QTable

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

Statistic = Callable[[Any], QTable]
CATALOGUE, SLAB = "haloes.hdf5", "slab.fits"


def measure(
    path: str | Path, output: str | Path, settings: Statistics, only: Sequence[str] = (), image: bool = False
) -> None:
    """Write <statistic>.ecsv of one box into a folder, with the halo catalogue and a slab of the density.

    only: names of statistics; all that the file allows where there are none. image: with the slab even if some are
    chosen. Raises DataError for what cannot be measured, ConfigurationError for a statistic that does not exist.
    """
    check_names(only)
    box, folder = Box(read_sample(path), settings), Path(output)
    particles = not isinstance(box.data, DensityField)
    chosen = {**OF_FIELDS, **(OF_PARTICLES if particles or only else {})}
    chosen = {name: chosen[name] for name in only or chosen}
    with progress(f"measure {Path(path).name}", len(chosen)) as tick:
        write_tables(folder, box, chosen, header(folder, box, box.data), tick)
    if particles and "haloes" in chosen:
        write_haloes(folder / CATALOGUE, box.haloes)
    if image or not only:
        write_slab(folder / SLAB, box.density.numpy(), box.box_size, settings.slab, box.data.scale_factor)


def check_names(only: Sequence[str]) -> None:
    """Raise ConfigurationError for a statistic that does not exist."""
    unknown = set(only) - OF_FIELDS.keys() - OF_PARTICLES.keys()
    if unknown:
        known = ", ".join([*OF_FIELDS, *OF_PARTICLES])
        raise ConfigurationError(f"there is no statistic '{min(unknown)}'; choose among {known}")


def header(folder: Path, box: Any, data: Any) -> dict[str, Any]:
    """Return what the tables of a box, a `Box` or like one, say of it; data: a snapshot, or what is like one."""
    folder = folder.absolute()
    return {
        "entry": folder.parent.name,
        "seed": folder.name,
        "box_size": box.box_size,
        "scale_factor": data.scale_factor,
        "particles": 0 if isinstance(data, DensityField) else box.count,
        "provenance": provenance("measure", box.settings.model_dump(), sample=data.provenance),
    }


def write_tables(
    folder: Path, box: Any, chosen: dict[str, Statistic], meta: dict[str, Any], tick: Callable[[], None]
) -> None:
    """Measure and write one table after the other."""
    for name, statistic in chosen.items():
        table = statistic(box)
        table.meta = {"statistic": name, "what": statistic.__doc__.splitlines()[0]} | table.meta | meta
        write_table(folder / f"{name}.ecsv", table)
        tick()
