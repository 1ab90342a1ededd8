"""The commands that look at what was made, make it again, and hand it on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from supercosm.errors import DataError
from supercosm.options import Machine

Results = Annotated[Path, typer.Argument(help="Results folder of a run: results/<name>.")]
Tolerance = Annotated[
    float | None,
    typer.Option(
        min=0, help="Relative difference that counts as the same. Else 0 where all was equal, 0.01 where not."
    ),
]


def inspect(
    path: Annotated[Path, typer.Argument(help="A file or a folder that Supercosm wrote, or anybody's snapshot.")],
    json: Machine = False,
) -> None:
    """Say what a file or folder is, what it holds, where it comes from, and whether it is whole."""
    from supercosm.records.found import as_json, as_text
    from supercosm.records.inspect import describe

    found = describe(path)
    print(as_json(str(path), found) if json else as_text(str(path), found))


def reproduce(
    results: Results,
    snakemake: Annotated[list[str] | None, typer.Argument(help="Options for snakemake, after --.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder to run in; the results go to results/<name> there. Else <RESULTS>-again."),
    ] = None,
    tolerance: Tolerance = None,
    json: Machine = False,
) -> None:
    """Run a recorded configuration again in a new folder, and compare what comes out."""
    from supercosm.records.reproduce import reproduce as run

    _conclude(results, run(results, output, snakemake or ()), tolerance, json)


def compare_runs(
    first: Annotated[Path, typer.Argument(help="Results folder of a run.")],
    second: Annotated[Path, typer.Argument(help="Results folder of another run of the same configuration.")],
    tolerance: Tolerance = None,
    json: Machine = False,
) -> None:
    """Compare the numbers of two runs of one configuration, file by file; exit code 1 where they differ."""
    _conclude(first, second, tolerance, json)


def export(
    results: Results,
    output: Annotated[Path, typer.Option(help="Zip file, or folder, to write.")],
    weights: Annotated[bool, typer.Option(help="Put the weights of the models in, too.")] = False,
) -> None:
    """Pack a run for a paper's repository: settings, tables, figures, model cards, report, checksums, metadata."""
    from supercosm.records.export import export as run

    run(results, output, weights)


def _conclude(first: Path, second: Path, tolerance: float | None, json: bool) -> None:
    """Print how two runs compare; raise DataError where they do not agree."""
    from supercosm.records.verdict import compare_runs as run

    comparison = run(first, second, tolerance)
    print(comparison.as_json() if json else comparison.as_text())
    if not comparison.agrees:
        raise DataError(comparison.summary())
