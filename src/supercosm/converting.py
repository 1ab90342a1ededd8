"""Write a snapshot of any known format in the one that another program wants."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from supercosm.options import Output

log = logging.getLogger(__name__)

Format = Literal["gadget", "swift", "npy"]


def convert(
    snapshot: Annotated[Path, typer.Argument(help="File, folder, or what the names of several files begin with.")],
    to: Annotated[Format, typer.Option(help="HDF5 of Gadget-4 or SWIFT, or displacement and velocity as .npy.")],
    output: Output,
    files: Annotated[int, typer.Option(min=1, help="Number of files to write; not for npy.")] = 1,
    length_unit: Annotated[Literal["kpc/h", "Mpc/h"] | None, typer.Option(help="Of files that do not say it.")] = None,
) -> None:
    """Write a snapshot, ours or anybody's, in another format, on its lattice."""
    convert_file(snapshot, to, output, files, length_unit)


def convert_file(
    snapshot: Path, to: Format, output: Path, files: int = 1, length_unit: Literal["kpc/h", "Mpc/h"] | None = None
) -> None:
    """Read a snapshot and write it as one file, as several, or (npy) as a folder; see docs/own.md.

    What came from this package keeps its provenance. Raises DataError for a snapshot that cannot be read, or has no
    lattice, and ConfigurationError for fields that are to be spread over files.
    """
    from supercosm.errors import ConfigurationError
    from supercosm.formats import checksum, latticewriter, swiftwriter
    from supercosm.formats.parts import names_of, shares
    from supercosm.provenance import provenance
    from supercosm.snapshot import is_foreign, read_snapshot, write_snapshot

    if to == "npy" and files != 1:
        raise ConfigurationError(f"--files {files}: fields in .npy are written into one folder; leave --files out")
    found = read_snapshot(snapshot, length_unit)
    side, foreign = found.side, is_foreign(found.provenance)
    if foreign:
        settings = {"to": to, "length_unit": length_unit}
        more = {"source": snapshot.resolve().name, "sha256": checksum(snapshot), "cosmology": "header"}
        more |= {"left_out": dict(found.left_out)} if found.left_out else {}
        more |= {"parents": [found.provenance]} if found.provenance else {}
        found = replace(found, provenance=provenance("convert", settings, **more))
    if to == "npy":
        known = ("Omega_m", "h") if foreign else tuple(type(found.cosmology).model_fields)
        latticewriter.write(output, found, {name: getattr(found.cosmology, name) for name in known})
    elif to == "swift":
        for number, (name, part) in enumerate(zip(names_of(output, files), shares(len(found.ids), files), strict=True)):
            swiftwriter.write(name, found, part, number, files)
    else:
        write_snapshot(output, found, files)
    log.info("%s: %d³ particles, lattice points at (i + %g) L/n, written as %s", output, side, found.offset, to)
