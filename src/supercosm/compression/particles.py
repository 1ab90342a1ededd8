"""Error-bounded coding of a snapshot: where its particles are and how fast, less what a prediction says of both.

The prediction is another snapshot of the same lattice, e.g. the super-resolved low run; without one, particles are
predicted to rest at their lattice points. Reading needs the same prediction again: a fingerprint of it is stored.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from supercosm.compression.rivals import CODECS, decode, encode
from supercosm.config import Cosmology
from supercosm.errors import ConfigurationError, DataError
from supercosm.lattice import CENTRES
from supercosm.snapshot import Snapshot, lattice_positions

log = logging.getLogger(__name__)

KIND = "snapshot"
UNITS = {"positions": "Mpc/h", "velocities": "km/s"}
PROBES = 64  # particles of the prediction that are stored, to know it again: 1.5 kB
SPARE = 0.01  # of the bounds: left for a prediction made on another machine, which differs in its last bits
REFUSED = 0.1  # of the bounds: a prediction that differs by more is another one


def compress_snapshot(
    snapshot: Snapshot,
    bound: float,
    velocity_bound: float,
    codec: str = "sz3",
    prediction: Snapshot | None = None,
    lineage: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Code a snapshot into a header and binary parts, with no coordinate off by more than bounds [Mpc/h, km/s].

    The bounds hold for every component of what is decoded, in float32, positions the shorter way round the box; it is
    decoded to see. prediction: a snapshot of the same box and lattice. lineage: what tells a reader how to make the
    prediction again. Raises DataError for particles without a lattice, NaN, bounds that float32 cannot keep and a
    prediction of something else, ConfigurationError for a codec that is unknown or keeps no bound.
    """
    bounds = {"positions": bound, "velocities": velocity_bound}
    _check_request(codec, bounds)
    _check_finite(snapshot, "snapshot")
    header = {
        "kind": KIND,
        "side": snapshot.side,
        "box_size": float(snapshot.box_size),
        "scale_factor": float(snapshot.scale_factor),
        "cosmology": snapshot.cosmology.model_dump(),
        "provenance": snapshot.provenance,
        "codec": codec,
        "bounds": {name: float(value) for name, value in bounds.items()},
        "predicted": prediction is not None,
        "lineage": lineage or {},
        **({} if snapshot.offset == CENTRES else {"offset": snapshot.offset}),
        **({"left_out": snapshot.left_out} if snapshot.left_out else {}),
    }
    blobs = {} if prediction is None else {"prediction": _fingerprint(prediction).tobytes()}
    for name, predicted in _predicted(header, prediction).items():
        residual = _residual(getattr(snapshot, name), predicted, header, name)
        inner = _inner_bound(getattr(snapshot, name), residual, header, name)
        blobs[name] = encode(residual, codec, inner if CODECS[codec].bounded else None)
    _check_promise(decompress_snapshot(header, blobs, prediction), snapshot, header)
    return header, blobs


def decompress_snapshot(
    header: dict[str, Any], blobs: dict[str, bytes], prediction: Snapshot | None = None
) -> Snapshot:
    """Decode what `compress_snapshot` coded; its provenance says under "compression" what was lost.

    The bounds hold for the prediction it was coded with, and for one that differs by less than a hundredth of them.
    Raises DataError for something else, for a prediction that is lacking, not needed, or another one.
    """
    needed = {*UNITS, "prediction"} if header.get("predicted") else set(UNITS)
    if header.get("kind") != KIND or not needed <= set(blobs):
        raise DataError(
            f"this is no compressed snapshot but '{header.get('kind')}' with {', '.join(sorted(blobs)) or 'nothing'}; "
            "check the file"
        )
    predicted = _predicted(header, prediction)
    if prediction is not None:
        _check_fingerprint(blobs["prediction"], prediction, header)
    n, values = header["side"], {}
    for name in UNITS:
        residual = decode(blobs[name])
        if residual.shape != (3, n, n, n):
            raise DataError(f"{name} are coded in the shape {residual.shape}, but the header tells of {n}³ particles")
        values[name] = predicted[name] + residual.reshape(3, -1).T.astype(np.float64)
    positions = (values["positions"] % header["box_size"]).astype(np.float32)
    positions[positions >= header["box_size"]] = 0.0  # float32 may round up to the box side, which is the point 0
    loss = {"codec": header["codec"], "bounds": header["bounds"], "lineage": header["lineage"]}
    return Snapshot(
        positions=positions,
        velocities=values["velocities"].astype(np.float32),
        ids=np.arange(1, n**3 + 1, dtype=np.uint64),
        box_size=header["box_size"],
        scale_factor=header["scale_factor"],
        cosmology=Cosmology.model_validate(header["cosmology"]),
        provenance={**header["provenance"], "compression": loss},
        offset=header.get("offset", CENTRES),
        left_out=dict(header.get("left_out", {})),
    )


def _check_request(codec: str, bounds: dict[str, float]) -> None:
    keeping = [name for name, known in CODECS.items() if known.bounded or not known.lossy]
    if codec not in keeping:
        raise ConfigurationError(f"snapshots cannot be coded by '{codec}'; choose among {', '.join(keeping)}")
    for name, bound in bounds.items():
        if not 0 < bound < np.inf:
            raise ConfigurationError(f"the error bound of {name} is {bound} {UNITS[name]}; it must be above 0")


def _check_finite(snapshot: Snapshot, what: str) -> None:
    for name in UNITS:
        bad = np.count_nonzero(~np.isfinite(getattr(snapshot, name)))
        if bad:
            raise DataError(f"{bad} of the {name} of the {what} are NaN or infinite; it cannot be used")


def _predicted(header: dict[str, Any], prediction: Snapshot | None) -> dict[str, np.ndarray]:
    """Return what is predicted of positions and velocities, (N, 3) float32; check that it is there if it has to be."""
    if header["predicted"] != (prediction is not None):
        raise DataError(
            "the snapshot was coded as what a prediction lacks, but none is given: make the prediction again "
            f"({header['lineage'] or 'of unknown origin'}) and give it"
            if header["predicted"]
            else "the snapshot was coded without a prediction, but one is given: leave it out"
        )
    n = header["side"]
    if prediction is None:
        resting = np.zeros((3, n, n, n), np.float32)
        return {
            "positions": lattice_positions(resting, header["box_size"], 0, header.get("offset", CENTRES)),
            "velocities": np.zeros((n**3, 3), np.float32),
        }
    if prediction.side != n or not np.isclose(prediction.box_size, header["box_size"], rtol=1e-6):
        raise DataError(
            f"the prediction has {prediction.side}³ particles in {prediction.box_size:g} Mpc/h, the snapshot {n}³ in "
            f"{header['box_size']:g}: give one of the same box and lattice"
        )
    _check_finite(prediction, "prediction")
    return {name: getattr(prediction, name) for name in UNITS}


def _residual(values: np.ndarray, predicted: np.ndarray, header: dict[str, Any], name: str) -> np.ndarray:
    """Return values − prediction, positions wrapped to (−L/2, L/2]: (3, n, n, n) float32."""
    n, difference = header["side"], values.astype(np.float64) - predicted
    if name == "positions":
        box = header["box_size"]
        difference -= box * np.ceil(difference / box - 0.5)
    return np.ascontiguousarray(difference.T.reshape(3, n, n, n), np.float32)


def _inner_bound(values: np.ndarray, residual: np.ndarray, header: dict[str, Any], name: str) -> float:
    """Return what of a bound is left to the codec after the rounding of residual and result to float32."""
    bound = header["bounds"][name]
    largest = header["box_size"] if name == "positions" else float(np.abs(values).max()) + bound
    rounding = float(np.spacing(np.float32(largest)) + np.spacing(np.abs(residual).max()))
    inner = bound * (1 - SPARE * header["predicted"]) - rounding
    if inner < bound / 2:
        raise DataError(
            f"an error bound of {bound:g} {UNITS[name]} is finer than float32 holds {name} up to {largest:g}; "
            f"give at least {3 * rounding:.2g}"
        )
    return inner


def _check_promise(found: Snapshot, snapshot: Snapshot, header: dict[str, Any]) -> None:
    for name, error in _differences(found.positions, found.velocities, snapshot, header).items():
        bound = header["bounds"][name]
        if not error <= bound:
            raise DataError(
                f"decoded {name} are off by up to {error:g}, more than the {bound:g} {UNITS[name]} asked for; "
                "nothing was kept: choose another codec, and please report this"
            )


def _differences(
    positions: np.ndarray, velocities: np.ndarray, snapshot: Snapshot, header: dict[str, Any], which: Any = slice(None)
) -> dict[str, float]:
    """Return the largest difference of any component of positions (the shorter way round the box) and of velocities."""
    box = header["box_size"]
    moved = positions.astype(np.float64) - snapshot.positions[which]
    moved -= box * np.round(moved / box)
    changed = velocities.astype(np.float64) - snapshot.velocities[which]
    return {"positions": float(np.abs(moved).max()), "velocities": float(np.abs(changed).max())}


def _probes(count: int) -> np.ndarray:
    """Return which particles tell one prediction from another: scattered over the lattice by the golden ratio."""
    return (np.arange(PROBES, dtype=np.uint64) * np.uint64(2654435769)) % np.uint64(count)


def _fingerprint(prediction: Snapshot) -> np.ndarray:
    """Return positions and velocities of a few particles, (PROBES, 6) float32."""
    which = _probes(len(prediction.ids))
    return np.hstack([prediction.positions[which], prediction.velocities[which]]).astype("<f4")


def _check_fingerprint(stored: bytes, prediction: Snapshot, header: dict[str, Any]) -> None:
    """Raise DataError for another prediction than the coded one; warn when it may cost more than is left for it."""
    probes = np.frombuffer(stored, "<f4").reshape(PROBES, 6)
    which = _probes(len(prediction.ids))
    found = _differences(probes[:, :3], probes[:, 3:], prediction, header, which)
    share = max(found[name] / header["bounds"][name] for name in UNITS)
    told = f"{found['positions']:.2g} Mpc/h and {found['velocities']:.2g} km/s"
    if not share <= REFUSED:
        raise DataError(
            f"the prediction is not the one that the snapshot was coded with: they differ by up to {told}, where "
            f"{REFUSED:.0%} of the error bounds are allowed; it comes from another model, seed or low run, or from a "
            f"machine that computes differently ({header['lineage'] or 'its origin was not recorded'})"
        )
    if share > SPARE:
        log.warning(
            "warning: the prediction differs by up to %s from the one at coding: so much is added to errors", told
        )
