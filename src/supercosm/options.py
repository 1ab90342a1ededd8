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
SlabFiles = Annotated[
    int | None, typer.Option("--files", min=1, help="Write as many files, slabs of the box; those there are skipped.")
]
SlabNumber = Annotated[int | None, typer.Option("--part", min=0, help="Make only this one of the files, from 0 on.")]
Scratch = Annotated[
    Path | None, typer.Option("--scratch", help="With --files: folder where small-scale modes stay for other jobs.")
]
Machine = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Checkpoints = Annotated[
    Path | None, typer.Option("--checkpoints", help="Folder that the same command goes on from once it was stopped.")
]
