"""The commands of compression; `cli` puts them beside those that make and judge boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from supercosm.config import load_config
from supercosm.errors import ConfigurationError
from supercosm.options import Checkpoints, Files, Json, Output
from supercosm.threads import two_threads_at_least

Coders = Annotated[list[Path] | None, typer.Option("--coder", help="Folder of a trained coder; repeat for more.")]
Boxes = Annotated[list[Path], typer.Option("--high", help="True high-resolution test box; repeat for more.")]
Out = Annotated[Path, typer.Option("--output", "-o", help="Where to write.")]
Low = Annotated[Path | None, typer.Option(help="Low-resolution snapshot that a super-resolution model is given.")]


def compress(
    field: Annotated[Path, typer.Argument(help="Density field, or snapshot.")],
    output: Out,
    model: Annotated[
        Path | None,
        typer.Option(help="Folder of a coder, for a density field; of the model that predicts a snapshot."),
    ] = None,
    low: Low = None,
    step: Annotated[float | None, typer.Option(help="Quantisation step of latents [rms of log density].")] = None,
    bound: Annotated[
        float | None, typer.Option(help="Largest error: of ln(1 + δ + 0.1), or of a snapshot's positions [Mpc/h].")
    ] = None,
    velocity_bound: Annotated[float | None, typer.Option(help="Largest error of velocities [km/s].")] = None,
    override: Annotated[bool, typer.Option(help="Apply a coder to cells of another size.")] = False,
) -> None:
    """Compress a density field by a trained coder, or a snapshot within an error bound, into one .scz file."""
    two_threads_at_least()
    from supercosm.compression.compress import compress_file

    compress_file(field, output, model, low, step, bound, velocity_bound, override)


def decompress(
    compressed: Annotated[Path, typer.Argument(help="File that `supercosm compress` wrote.")],
    output: Out,
    model: Annotated[Path | None, typer.Option(help="The folder it was compressed with.")] = None,
    low: Low = None,
) -> None:
    """Restore a density field or a snapshot from a .scz file."""
    two_threads_at_least()
    from supercosm.compression.compress import decompress_file

    decompress_file(compressed, output, model, low)


def train_coder(
    coders: Annotated[
        list[str], typer.Argument(help="Names of coders of the configuration, each with what its sweep adds.")
    ],
    training: Annotated[list[Path], typer.Option(help="Pair file to learn from; repeat for more.")],
    validation: Annotated[list[Path], typer.Option(help="Pair file to validate on; repeat for more.")],
    output: Annotated[Path, typer.Option(help="Folder for the coders' folders, one of each name.")],
    checkpoints: Checkpoints = None,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Train coders: principal components, autoencoders, variational ones."""
    checked = load_config(config or (), settings)
    found = checked.compression.expanded()
    for name in coders:
        if name not in found:
            known = ", ".join(found) or "none"
            raise ConfigurationError(f"there is no coder '{name}' in the configuration (coders there: {known})")
    from supercosm.compression.fit import train_coders

    train_coders(checked, {name: found[name] for name in coders}, (training, validation), output, checkpoints)


def rate_distortion(
    arena: Annotated[Literal["patches", "box", "particles"], typer.Argument(help="What is compressed.")],
    high: Boxes,
    output: Output,
    coder: Coders = None,
    prediction: Annotated[Path | None, typer.Option(help="Super-resolved snapshot of the same box.")] = None,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Measure bits per cell against what is lost, for coders and for the compressors people use."""
    checked = load_config(config or (), settings)
    two_threads_at_least()
    from supercosm.compression import stage

    if arena == "particles":
        stage.rate_distortion_particles(checked, high[0], prediction, output)
    elif arena == "box":
        stage.rate_distortion_box(checked, coder or (), high[0], output)
    else:
        stage.rate_distortion_patches(checked, coder or (), high, output)


def map_latents(
    coder: Annotated[Path, typer.Argument(help="Folder of a trained coder of projected patches.")],
    snapshots: Annotated[list[Path], typer.Argument(help="True runs, of one cosmology or several.")],
    output: Output,
    config: Files = None,
    settings: Json = None,
) -> None:
    """Map latents onto two numbers: PCA, t-SNE, LLE, Isomap, UMAP, with scores of how far to trust each."""
    checked = load_config(config or (), settings)
    from supercosm.compression import stage

    stage.maps(checked, coder, snapshots, output)


def check_maps(output: Output, config: Files = None, settings: Json = None) -> None:
    """Map the S-curve and the swiss roll by the same methods: a check of the tools."""
    checked = load_config(config or (), settings)
    from supercosm.compression import stage

    stage.sanity(checked, output)


def show_coders(
    coder: Annotated[list[Path], typer.Option(help="Folder of a trained coder; repeat for more.")],
    high: Boxes,
    output: Annotated[Path, typer.Option(help="HDF5 file for the pictures.")],
    spectra: Annotated[Path, typer.Option(help="Table of P(k) of what variational coders draw.")],
    config: Files = None,
    settings: Json = None,
) -> None:
    """Write originals, latents and reconstructions of test patches, and what variational coders draw."""
    checked = load_config(config or (), settings)
    from supercosm.compression import stage

    stage.show(checked, coder, high, output, spectra)
