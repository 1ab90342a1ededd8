"""`supercosm compress` and `decompress`: fields and snapshots as .scz files, and back."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from supercosm.compare import read_sample
from supercosm.compression import bitstream, boxes, particles
from supercosm.compression.coder import CARD, Coder, load_coder
from supercosm.config import Cosmology
from supercosm.errors import CoverageError, DataError
from supercosm.fields import DensityField, density_of, from_log_density, log_density, write_density
from supercosm.files import LONGEST
from supercosm.provenance import provenance
from supercosm.snapshot import Snapshot, read_snapshot, write_snapshot
from supercosm.superresolution import load_model, superresolve

log = logging.getLogger(__name__)

STEP = 0.5  # of quantisation, in rms of log density, where nothing else is asked for
HUBBLE = 100  # km/s per Mpc/h: what an error of the position is worth in velocity
TOLERANCE = 0.01  # relative difference of cell sizes that a coder is used across without a word
PROBES = 256  # decoded values that the file holds, to notice a decoder that gives others


def compress_file(
    source: Path,
    output: Path,
    model: Path | None,
    low: Path | None = None,
    step: float | None = None,
    bound: float | None = None,
    velocity_bound: float | None = None,
    override: bool = False,
) -> None:
    """Compress a density field with a coder, or a snapshot within error bounds; print what was reached.

    model: folder of a coder, for a density field or the density of a snapshot; of a super-resolution model, with the
    low run it is given, for a snapshot that is to be coded as its difference to the prediction. Raises DataError when
    they do not fit.
    """
    sample = read_sample(source)
    if isinstance(sample, DensityField) and (model is None or low is not None):
        raise DataError(f"{source} is a density field: give the folder of a coder with --model, and no --low")
    wanted = isinstance(sample, DensityField) or (low is None and _is_coder(model))
    coder = load_coder(model) if wanted else None
    if coder is not None and velocity_bound is not None:
        raise DataError("a density has no velocities: leave out --velocity-bound")
    if coder is None and step is not None:
        raise DataError(
            "a snapshot is coded within --bound; --step is for densities, coded with the --model of a coder"
        )
    if coder is not None:
        density = sample if isinstance(sample, DensityField) else _painted(sample, coder)
        header, blobs, error = _compress_density(density, coder, STEP if step is None else step, bound, override)
        raw = 4 * density.data.size
    else:
        if bound is None:
            raise DataError(f"{source} is a snapshot: give the largest error of positions with --bound [Mpc/h]")
        prediction = _predict(model, low, sample)
        velocity = HUBBLE * bound if velocity_bound is None else velocity_bound
        lineage = {"model": load_model(model).card.weights_sha256} if prediction else None
        header, blobs = particles.compress_snapshot(sample, bound, velocity, prediction=prediction, lineage=lineage)
        error, raw = f"positions within {bound:g} Mpc/h, velocities within {velocity:g} km/s", 24 * len(sample.ids)
    header["provenance_of_file"] = provenance("compress", {"step": step, "bound": bound})
    bitstream.write(output, header, blobs)
    size = Path(output).stat().st_size
    log.info("%s: %d bytes, %.1f times smaller than %d bytes of float32; %s", output, size, raw / size, raw, error)


def decompress_file(source: Path, output: Path, model: Path | None = None, low: Path | None = None) -> None:
    """Restore what `compress_file` wrote; raise DataError when the file is damaged or the model is another one."""
    header, blobs = bitstream.read(source)
    kind = header.get("kind")
    if kind == "density field" and model is None:
        raise DataError(f"{source} was compressed by coder '{header.get('coder')}': give its folder with --model")
    if kind not in ("density field", "snapshot"):
        raise DataError(f"{source} holds '{kind}', which this version does not know; update supercosm")
    try:
        if kind == "density field":
            write_density(output, _decompress_density(header, blobs, load_coder(model)))
        else:
            prediction = _predict(model, low, None)
            write_snapshot(output, particles.decompress_snapshot(header, blobs, prediction))
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:  # of a header made by others
        why = " ".join(str(error).split())[:LONGEST]
        raise DataError(f"the header of {source} is no compressed {kind}'s ({why}); make it again") from error
    log.info("%s: restored from %s", output, source)


def _compress_density(
    density: DensityField, coder: Coder, step: float, bound: float | None, override: bool
) -> tuple[dict[str, Any], dict[str, bytes], str]:
    _check_covers(density, coder, override)
    field = log_density(density.data)
    encoded, decoded = boxes.encode(field, coder, step, bound)
    error = np.abs(field - log_density(from_log_density(decoded)))  # of what a reader gets: nothing below empty
    worst = float(error.max())
    header = {
        "kind": "density field",
        "coder": coder.card.name,
        "weights_sha256": coder.card.weights_sha256,
        "step": step,
        "bound": bound,
        "shape": list(field.shape),
        "dimensions": density.dimensions,
        "box_size": density.box_size,
        "scale_factor": density.scale_factor,
        "cosmology": density.cosmology.model_dump(mode="json"),
        "provenance": density.provenance,
        "error": worst,
        "probes": [round(float(v), 7) for v in _probes(decoded)],
    }
    rms = float(np.sqrt(np.mean(np.square(error))))
    said = f"errors of ln(1 + δ + 0.1): rms {rms:.3g}, at most {worst:.3g}" + (
        f" (bound {bound:g})" if bound is not None else ""
    )
    return header, boxes.pack(encoded), said


def _decompress_density(header: dict[str, Any], blobs: dict[str, bytes], coder: Coder) -> DensityField:
    if header["weights_sha256"] != coder.card.weights_sha256:
        raise DataError(
            f"the file was compressed by coder '{header['coder']}' with weights {header['weights_sha256'][:12]}…, but "
            f"the folder holds '{coder.card.name}' with {coder.card.weights_sha256[:12]}…; give the folder that it was "
            "made with"
        )
    shape = tuple(header["shape"])
    decoded = boxes.decode(boxes.unpack(blobs, coder, shape), coder, header["step"], shape, header["bound"])
    difference = float(np.abs(_probes(decoded) - np.array(header["probes"])).max())
    allowed = boxes.ROUNDING if header["bound"] is None else header["bound"] * (1 - boxes.SAFE)
    if difference > max(allowed, 2e-5):
        raise DataError(
            f"the decoded field differs by {difference:.3g} in ln(1 + δ + 0.1) from what the encoder saw: this machine "
            "computes the network differently; decode with the version that compressed it"
        )
    return DensityField(
        data=from_log_density(decoded),
        box_size=header["box_size"],
        scale_factor=header["scale_factor"],
        cosmology=Cosmology(**header["cosmology"]),
        dimensions=header["dimensions"],
        provenance=header["provenance"],
    )


def _probes(decoded: np.ndarray) -> np.ndarray:
    flat = decoded.ravel()
    return flat[:: max(1, len(flat) // PROBES)][:PROBES].astype(np.float64)


def _check_covers(density: DensityField, coder: Coder, override: bool) -> None:
    card = coder.card
    if density.dimensions != card.settings.dimensions:
        raise DataError(
            f"coder '{card.name}' is of {card.settings.dimensions} dimensions, the field of {density.dimensions}; "
            "give a coder of the field's"
        )
    found = [("cell size [Mpc/h]", density.box_size / density.data.shape[-1], card.cell)]
    if density.dimensions == 2:
        found.append(("thickness of slabs [Mpc/h]", density.thickness, card.thickness))
    for what, value, known in found:
        if abs(value / known - 1) > TOLERANCE and not override:
            raise CoverageError(
                f"coder '{card.name}' was trained for {what} = {known:g}, but the field has {value:g}; train one for "
                "such fields, or apply it all the same with --override (an error bound is kept in any case)"
            )


def _is_coder(folder: Path | None) -> bool:
    """Tell whether a folder holds a coder rather than a super-resolution model, or nothing."""
    card = None if folder is None else folder / CARD
    return card is not None and card.is_file() and '"latents"' in card.read_text(encoding="utf-8")


def _painted(snapshot: Snapshot, coder: Coder) -> DensityField:
    """Paint a snapshot onto cells, and slabs, of about the size that a coder was trained for."""
    card = coder.card
    slabs = None if card.settings.dimensions == 3 else max(1, round(snapshot.box_size / card.thickness))
    return density_of(snapshot, max(1, round(snapshot.box_size / card.cell)), slabs)


def _predict(model: Path | None, low: Path | None, sample: Snapshot | None) -> Snapshot | None:
    """Super-resolve the low run that predicts a snapshot; None where none is given."""
    if model is None and low is None:
        return None
    if model is None or low is None:
        raise DataError("a prediction needs both the super-resolution model (--model) and the low run (--low)")
    if _is_coder(model):
        raise DataError(f"{model} is a coder of density fields; give a super-resolution model to predict snapshots")
    predicted = superresolve(read_snapshot(low), load_model(model), override=True)
    if not isinstance(predicted, Snapshot):
        raise DataError(f"{model} predicts densities, but snapshots are predicted by a model of displacements")
    return predicted
