"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Files = Annotated[
    list[Path] | None,
    typer.Option("--config", help="Configuration file; given more than once, later ones are merged on top."),
]
Json = Annotated[str | None, typer.Option("--settings", help="JSON merged on top of the configuration files.")]
Output = Annotated[Path, typer.Option("--output", help="Where to write.")]
Cost = Annotated[Path | None, typer.Option("--cost", help="JSON file for the time and memory that it took.")]
Machine = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Checkpoints = Annotated[
    Path | None, typer.Option("--checkpoints", help="Folder that the same command goes on from once it was stopped.")
]
