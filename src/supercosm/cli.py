"""The `supercosm` command: parse, call, print; every stage imports what it needs when it runs."""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

from supercosm import choosing, classifying, compressing, converting, judging, recording, splitting
from supercosm.config import BASELINES, Config, load_config
from supercosm.endings import explain, fail
from supercosm.errors import ConfigurationError, LostError, StoppedError, SupercosmError
from supercosm.launching import LOST, guard, launch
from supercosm.options import Cost, Files, Json, Output, Scratch, SlabFiles, SlabNumber
from supercosm.stopping import EXIT_CODE
from supercosm.threads import two_threads_at_least

app = typer.Typer(
    help="Super-resolution for cosmological simulations; `snakemake` runs all of these in order.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback(invoke_without_command=True)
def _program(
    show: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if show:
        print(version("supercosm"))
        raise typer.Exit


@app.command()
def simulate(
    seed: Annotated[int, typer.Option(min=0, help="Seed of the initial conditions.")],
    output: Annotated[Path, typer.Option(help="Folder for the low and the high snapshots.")],
    only: Annotated[Literal["low", "high"] | None, typer.Option(help="Run one resolution alone.")] = None,
    small_scales: Annotated[
        int | None, typer.Option(min=0, help="Another seed for the modes that the low resolution does not hold.")
    ] = None,
    cost: Cost = None,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Run the low- and the high-resolution simulation of one seed."""
    checked = load_config(config or (), settings)
    two_threads_at_least()
    from supercosm.simulate import simulate_pair

    simulate_pair(checked, seed, output, [only] if only else ("low", "high"), small_scales, cost)


@app.command("import")
def import_run(
    snapshot: Annotated[Path, typer.Argument(help="File, folder, or what the names of several files begin with.")],
    output: Output,
    resolution: Annotated[Literal["low", "high"] | None, typer.Option(help="Whose particles it must have.")] = None,
    scale_factor: Annotated[float | None, typer.Option(min=0, help="That it must have.")] = None,
    length_unit: Annotated[Literal["kpc/h", "Mpc/h"] | None, typer.Option(help="Of files that do not say it.")] = None,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Bring a snapshot of another code into this package's format."""
    checked = load_config(config or (), settings) if config or settings else None
    from supercosm.importing import import_snapshot

    import_snapshot(snapshot, output, checked, resolution, scale_factor, length_unit)


@app.command()
def pair(
    low: Annotated[Path, typer.Option(help="Low-resolution snapshot.")],
    high: Annotated[Path, typer.Option(help="High-resolution snapshot of the same seed.")],
    output: Output,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Put a low- and a high-resolution snapshot on grids, side by side in one file."""
    checked = load_config(config or (), settings)
    from supercosm.pairs import make_pairs

    make_pairs(low, high, output, checked.pairs.slabs, checked.pairs.bound)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="Name of a model of the configuration.")],
    training: Annotated[list[Path], typer.Option(help="Pair file to learn from; repeat for more.")],
    validation: Annotated[list[Path], typer.Option(help="Pair file to validate on; repeat for more.")],
    output: Annotated[Path, typer.Option(help="Model folder to write.")],
    checkpoints: Annotated[Path, typer.Option(help="Folder that a killed run resumes from.")],
    start: Annotated[Path | None, typer.Option(help="Folder of the trained model to start from.")] = None,
    config: Files = None,
    settings: Json = None,
    hardware: Annotated[str | None, typer.Option(help="JSON of the section `hardware`, in place of its keys.")] = None,
) -> None:
    """Train one model; the same command again resumes a run that was killed."""
    checked = load_config(config or (), settings, hardware)
    _check_model(checked, model, start)
    launch(checked.hardware, sys.argv[1:])
    two_threads_at_least()
    from supercosm.training import train as run

    run(checked, model, (training, validation), output, checkpoints, start)


@app.command()
def superresolve(
    snapshot: Annotated[Path, typer.Argument(help="Low-resolution snapshot.")],
    model: Annotated[
        list[str], typer.Option(help="Model folder, or a baseline: low or linear; repeat for a chain of models.")
    ],
    output: Annotated[list[Path], typer.Option(help="Where to write; repeat for more samples.")],
    phases: Annotated[
        Literal["none", "known", "drawn"] | None,
        typer.Option(help="Small-scale modes: none, those of the snapshot's own seed, or drawn from their prior."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the first sample.")] = None,
    tile: Annotated[int | None, typer.Option(min=1, help="Tile side [low-resolution cells].")] = None,
    factor: Annotated[int | None, typer.Option(min=2, help="Up-sampling per side, for baselines.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Where to compute.")] = None,
    override: Annotated[bool, typer.Option(help="Apply a model outside of what its card covers.")] = False,
    consistency: Annotated[
        float | None, typer.Option(help="Keep the low run's modes below this fraction of its Nyquist frequency.")
    ] = None,
    checkpoints: Annotated[Path | None, typer.Option(help="Folder that a killed run resumes from.")] = None,
    files: SlabFiles = None,
    part: SlabNumber = None,
    scratch: Scratch = None,
    cost: Cost = None,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Turn a low-resolution snapshot into high-resolution ones, one for each output."""
    checked = load_config(config or (), settings)
    configured = bool(config or settings)
    two_threads_at_least()
    from supercosm.superresolution import Options, superresolve_file

    options = Options(
        phases=phases,
        seed=checked.superresolution.seed if seed is None else seed,
        tile=checked.superresolution.tile if tile is None and configured else tile,
        device=device or checked.device,
        override=override,
        consistency=checked.superresolution.consistency if consistency is None else consistency,
    )
    factor = factor or (checked.simulation.factor if configured else None)
    sources = [name if name in BASELINES else Path(name) for name in model]
    if files is None and part is None and scratch is None:
        superresolve_file(snapshot, output, sources, options, factor, cost, checkpoints)
    else:
        splitting.superresolve(snapshot, output, sources, options, (files, part), (factor, cost, checkpoints, scratch))


@app.command()
def compare(
    samples: Annotated[list[Path], typer.Argument(help="Super-resolved samples of one box.")],
    reference: Annotated[Path, typer.Option(help="The true high-resolution snapshot.")],
    output: Output,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Compare samples with the true high-resolution snapshot: P(k), T(k) and r(k)."""
    checked = load_config(config or (), settings)
    from supercosm.compare import compare_files as run

    run(samples, reference, output, checked.evaluation)


@app.command()
def evaluate(
    comparisons: Annotated[list[Path], typer.Argument(help="Tables that `supercosm compare` wrote.")],
    output_spectra: Annotated[Path, typer.Option(help="Table of spectra: mean and scatter between seeds.")],
    output_metrics: Annotated[Path, typer.Option(help="Table model × metric.")],
    config: Files = None,
    settings: Json = None,
) -> None:
    """Combine the comparisons of all entries and seeds into two tables."""
    load_config(config or (), settings)
    from supercosm.evaluate import evaluate as run

    run(comparisons, output_spectra, output_metrics)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="Results folder of a run: results/<name>.")],
    output: Annotated[Path, typer.Option(help="HTML page to write.")],
    config: Files = None,
    settings: Json = None,
) -> None:
    """Draw the figures and write the report, one self-contained HTML page."""
    checked = load_config(config or (), settings)
    from supercosm.report import report as run

    run(checked, results, output)


for command in (judging.measure, judging.calibrate, judging.audit, judging.drift, judging.summarise, judging.cost):
    app.command()(command)


for command in (compressing.train_coder, compressing.rate_distortion, compressing.map_latents, compressing.check_maps):
    app.command()(command)
for command in (compressing.show_coders, compressing.compress, compressing.decompress):
    app.command()(command)

for command in (classifying.classify, classifying.simulate_densities, classifying.superresolve_densities):
    app.command()(command)

for command in (choosing.families, choosing.evaluations):
    app.command()(command)

app.command()(converting.convert)
app.command()(splitting.join)

for command in (recording.inspect, recording.reproduce, recording.compare_runs, recording.export):
    app.command()(command)


@app.command("config")
def show_config(config: Files = None, settings: Json = None) -> None:
    """Print the whole checked configuration as YAML, defaults included."""
    from supercosm.records.run import as_yaml

    print(as_yaml(load_config(config or (), settings)), end="")


@app.command()
def schema(
    table: Annotated[bool, typer.Option(help="Print a Markdown table of the keys instead.")] = False,
) -> None:
    """Print the JSON schema of the configuration, written as YAML."""
    from supercosm.schema import json_schema, markdown_table

    print(markdown_table() if table else json_schema(), end="")


def _check_model(config: Config, model: str, start: Path | None) -> None:
    if model not in config.models:
        known = ", ".join(config.models) or "none"
        raise ConfigurationError(f"there is no model '{model}' in the configuration (models there: {known})")
    wanted = getattr(config.models[model], "start", None)
    if wanted and start is None:
        raise ConfigurationError(f"models.{model}.start = '{wanted}': give its folder with --start")


def main() -> None:
    """Run the command; a mistake of the user ends it with one sentence on standard error and exit code 1.

    What was asked to stop and can go on later ends with a sentence, too, and exit code 75.
    """
    if "OMP_NUM_THREADS" in os.environ:  # Snakemake says there how many threads a job may take; numba looks elsewhere
        os.environ.setdefault("NUMBA_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
    guard()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("supercosm").setLevel(logging.INFO)
    try:
        app()
    except StoppedError as error:
        fail(error, EXIT_CODE)
    except LostError as error:
        fail(error, LOST)
    except SupercosmError as error:
        fail(error)
    except OSError as error:
        fail(explain(error))
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and type(error).__name__ != "OutOfMemoryError":
            raise
        fail(
            "the memory is full: lower training.crop, training.batch or superresolution.tile, or the mesh of the "
            f"simulation or evaluation, or take a larger machine ({error})"
        )


if __name__ == "__main__":
    main()
