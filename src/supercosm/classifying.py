"""The commands of classification; `cli` puts them beside those that make and judge boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from supercosm.config import load_config
from supercosm.options import Checkpoints, Files, Json
from supercosm.threads import two_threads_at_least

Boxes = Annotated[
    list[str] | None, typer.Option(metavar="CLASS=FILE", help="Class and snapshot or density field; repeat.")
]


def classify(
    task: Annotated[str, typer.Argument(help="Name of a task of the configuration.")],
    output: Annotated[Path, typer.Option(help="Folder for scores, predictions, histories and looks.")],
    training: Boxes = None,
    validation: Boxes = None,
    test: Boxes = None,
    other_seeds: Annotated[bool, typer.Option("--other-seeds", help="Let classes have different seeds.")] = False,
    checkpoints: Checkpoints = None,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Train networks and classical opponents to tell classes of boxes apart, and judge them on test boxes."""
    checked = load_config(config or (), settings)
    from supercosm.classification.stage import classify as run

    boxes = {"training": training or (), "validation": validation or (), "test": test or ()}
    run(checked, task, boxes, output, other_seeds, checkpoints)


def simulate_densities(
    seeds: Annotated[list[int], typer.Argument(min=0, help="Seeds of the initial conditions.")],
    output: Annotated[Path, typer.Option(help="Folder for the density fields, <seed>.hdf5.")],
    config: Files = None,
    settings: Json = None,
) -> None:
    """Simulate the high resolution of many seeds and keep the densities alone."""
    checked = load_config(config or (), settings)
    two_threads_at_least()
    from supercosm.densities import simulate_densities as run

    run(checked, seeds, output)


def superresolve_densities(
    snapshots: Annotated[list[Path], typer.Argument(help="Low-resolution snapshots.")],
    model: Annotated[str, typer.Option(help="Model folder, or a baseline: low or linear.")],
    output: Annotated[list[Path], typer.Option(help="Where to write; one for each snapshot.")],
    phases: Annotated[
        Literal["none", "known", "drawn"] | None,
        typer.Option(help="Small-scale modes: none, those of the snapshot's own seed, or drawn from their prior."),
    ] = None,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Super-resolve many low runs and keep the densities alone."""
    checked = load_config(config or (), settings)
    two_threads_at_least()
    from supercosm.choices import Options
    from supercosm.densities import superresolve_densities as run

    own = checked.superresolution
    options = Options(phases=phases, seed=own.seed, tile=own.tile, device=checked.device, consistency=own.consistency)
    run(snapshots, output, model, options, checked.simulation.factor)
