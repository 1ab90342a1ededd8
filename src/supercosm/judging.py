"""The commands that measure and judge boxes; `cli` puts them beside those that make them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from supercosm.config import load_config
from supercosm.errors import ConfigurationError
from supercosm.options import Files, Json, Output


def measure(
    snapshot: Annotated[Path, typer.Argument(help="Snapshot, or density field, simulated or anybody's.")],
    output: Annotated[Path, typer.Option(help="Folder for the tables, the halo catalogue and a slab as FITS.")],
    only: Annotated[list[str] | None, typer.Option(help="A statistic, to measure it alone; repeat for more.")] = None,
    slabs: Annotated[int | None, typer.Option(min=1, help="Slabs that a box larger than memory is cut into.")] = None,
    slab: Annotated[int | None, typer.Option(help="Do the share of this slab alone, from 0 on; others gather.")] = None,
    sort: Annotated[bool, typer.Option("--sort", help="Sort the particles into slabs on disk, and no more.")] = False,
    scratch: Annotated[
        Path | None, typer.Option(help="With --slabs: folder for sorted particles; else in OUTPUT.")
    ] = None,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Measure spectra, bispectrum, densities, haloes and motions of one box."""
    checked = load_config(config or (), settings).statistics
    chosen = checked if slabs is None else checked.model_validate(checked.model_dump() | {"slabs": slabs})
    if chosen.slabs > 1 or slab is not None or sort or slabs is not None:
        from supercosm.slabs.measuring import Task, measure_by_slabs

        measure_by_slabs(Task(snapshot, output, chosen, tuple(only or ()), scratch), slab, sort)
        return
    if scratch is not None:
        raise ConfigurationError(
            f"--scratch {scratch} is for boxes larger than memory: say with --slabs how many slabs they are cut into"
        )
    from supercosm.measure import measure as run

    run(snapshot, output, chosen, only or ())


def calibrate(
    samples: Annotated[list[Path], typer.Argument(help="Samples of one model from one low-resolution box.")],
    reference: Annotated[Path, typer.Option(help="The true high-resolution snapshot.")],
    output: Annotated[Path, typer.Option(help="Folder for the tables.")],
    universe: Annotated[
        list[Path] | None, typer.Option(help="True run with other small-scale modes; repeat for more.")
    ] = None,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Tell whether the spread of samples is the error they make: scores, ranks, coverage, diversity."""
    checked = load_config(config or (), settings)
    from supercosm.calibrate import calibrate as run

    run(samples, reference, universe or (), output, checked.evaluation)


def audit(
    sample: Annotated[Path, typer.Argument(help="Super-resolved snapshot, or density field.")],
    reference: Annotated[Path, typer.Option(help="The true high-resolution snapshot.")],
    output: Annotated[Path, typer.Option(help="Folder for the tables.")],
    config: Files = None,
    settings: Json = None,
) -> None:
    """Tell where in a box a model errs: by environment and by halo mass."""
    checked = load_config(config or (), settings)
    from supercosm.audit import audit as run

    run(sample, reference, output, checked.statistics)


def drift(
    comparisons: Annotated[list[Path], typer.Argument(help="Tables of `supercosm compare` in several cosmologies.")],
    output: Output,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Tell whether outputs follow the input's cosmology or stay at that of the training."""
    load_config(config or (), settings)
    from supercosm.drift import drift as run

    run(comparisons, output)


def summarise(
    results: Annotated[Path, typer.Argument(help="Results folder of a run: results/<name>.")],
    output: Annotated[Path, typer.Option(help="Folder for the tables, one for each statistic.")],
    config: Files = None,
    settings: Json = None,
) -> None:
    """Put the statistics of all entries side by side: mean over boxes and the scatter between them."""
    checked = load_config(config or (), settings)
    from supercosm.summarise import summarise as run

    run(checked, results, output)


def cost(
    results: Annotated[Path, typer.Argument(help="Results folder of a run: results/<name>.")],
    output: Output,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Put cost beside accuracy: the simulation, few-step runs, baselines and models."""
    checked = load_config(config or (), settings)
    from supercosm.cost import cost as run

    run(checked, results, output)
