"""Commands for snapshots of several files: big boxes are made slab by slab, and joined where one file is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from supercosm.errors import ConfigurationError
from supercosm.options import Cost

if TYPE_CHECKING:
    from supercosm.choices import Options


def join(
    snapshots: Annotated[list[Path], typer.Argument(help="What the names of files begin with; one for each sample.")],
    output: Annotated[list[Path], typer.Option(help="Where to write; one for each sample.")],
    part_cost: Annotated[
        list[Path] | None, typer.Option(help="Cost file of a part; repeat for all, those of the first sample first.")
    ] = None,
    cost: Cost = None,
) -> None:
    """Join the files of a snapshot that `superresolve --files` made into one."""
    from supercosm.joining import join_samples

    join_samples(snapshots, output, part_cost or (), cost)


def superresolve(
    snapshot: Path,
    outputs: Sequence[Path],
    sources: Sequence[Path | str],
    options: Options,
    cut: tuple[int | None, int | None],
    more: tuple[int | None, Path | None, Path | None, Path | None],
) -> None:
    """Super-resolve into several files. cut: files and part; more: factor, cost, checkpoints and scratch."""
    from supercosm.bigboxes import Aside, Cut, superresolve_slabs

    files, part = cut
    if files is None and part is None:
        raise ConfigurationError(f"scratch = {more[-1]} is where jobs share the modes of one box: give --files, too")
    if files is None:
        raise ConfigurationError(f"part = {part} is one of how many? Give --files, too")
    if len(outputs) != 1:
        raise ConfigurationError(f"--files makes one sample at a time, and {len(outputs)} outputs are named; name one")
    superresolve_slabs(snapshot, outputs[0], sources, options, Cut(files, part), Aside(*more))
