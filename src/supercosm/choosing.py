"""The commands that put families side by side; `cli` puts them beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from supercosm.config import load_config
from supercosm.options import Files, Json, Output
from supercosm.threads import two_threads_at_least


def families(
    results: Annotated[Path, typer.Argument(help="Results folder of a run: results/<name>.")],
    output: Output,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Put all families side by side: quality, calibration, realism, diversity and cost."""
    checked = load_config(config or (), settings)
    from supercosm.choice.table import families as run

    run(checked, results, output)


def evaluations(
    snapshot: Annotated[Path, typer.Argument(help="Low-resolution snapshot.")],
    model: Annotated[Path, typer.Option(help="Folder of a model of family flow_matching or diffusion.")],
    reference: Annotated[Path, typer.Option(help="The true high-resolution snapshot.")],
    output: Output,
    count: Annotated[
        list[int] | None, typer.Option(min=1, help="Evaluations for a sample; repeat for more. Else the configured.")
    ] = None,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Sample with few and with many evaluations of the network: what a sample gains from its cost."""
    checked = load_config(config or (), settings)
    configured = bool(config or settings)
    two_threads_at_least()
    from supercosm.choice.sampling import evaluations as run
    from supercosm.choices import Options

    own = checked.superresolution
    tile = own.tile if configured else None
    options = Options("drawn", own.seed, tile, checked.device, consistency=own.consistency)
    evaluation = checked.evaluation.model_copy(update={"evaluations": count} if count else {})
    run(snapshot, model, reference, output, options, evaluation)
