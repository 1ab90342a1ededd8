"""Notice one universe in two roles among boxes whose seed nobody knows: those of other codes.

A fingerprint is the displacement of the low run at a few lattice points, in units of its rms. Boxes of different phases
have fingerprints that are as good as uncorrelated; those of one box are alike at any time, in any format, and to any
rounding. A box that was turned, mirrored or moved is another one here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from supercosm.errors import CoverageError

Named = tuple[str, list[float]]
POINTS = 4  # per side, at which displacements are compared
# correlation of 192 numbers from which on two boxes are one: of different seeds it is 0.54 at most (for linear
# displacements of 1770 pairs of boxes of 25, 50 and 100 Mpc/h each)
SAME = 0.9


def fingerprint(displacement: np.ndarray) -> list[float]:
    """Return the fingerprint of a displacement (3, n, n, n) in any unit."""
    places = np.arange(POINTS) * displacement.shape[-1] // POINTS
    values = displacement[np.ix_(range(3), places, places, places)].astype(np.float64).ravel()
    rms = np.sqrt(np.mean(values**2))
    return [round(float(value), 4) for value in values / (rms or 1.0)]


def same(first: list[float], second: list[float]) -> bool:
    """Tell whether two fingerprints are of one universe."""
    a, b = np.asarray(first), np.asarray(second)
    if a.shape != b.shape or not a.any() or not b.any():
        return False
    return float(a @ b / np.sqrt((a @ a) * (b @ b))) >= SAME


def shared_box(
    first: Iterable[tuple[str, list[float]]], second: Iterable[tuple[str, list[float]]]
) -> tuple[str, str] | None:
    """Return the names of a box of the first and one of the second that are the same universe; None where none are."""
    others = list(second)
    for name, print_ in first:
        for other, theirs in others:
            if same(print_, theirs):
                return name, other
    return None


def check_unseen(snapshot: Any, card: Any) -> None:
    """Raise CoverageError for a snapshot of unknown seed that is a training box of a model, as its card tells.

    snapshot: with provenance and displacement(). card: of the model, with name and provenance.
    """
    known = _training_boxes(card.provenance)
    if not known or "seed" in snapshot.provenance:
        return
    found = shared_box([(_named(snapshot.provenance), fingerprint(snapshot.displacement()))], known)
    if found:
        raise CoverageError(
            f"model '{card.name}' was trained on this box: the snapshot ({found[0]}) moves as the low run of a "
            f"training pair ({found[1]}); keep other boxes for tests, or apply it all the same with --override "
            "(override=True)"
        )


def _training_boxes(origin: dict[str, Any]) -> list[Named]:
    """List the training pairs of unknown seed in the provenance of a model, with their fingerprints."""
    pairs = [parent for parent in origin.get("parents", []) if "fingerprint" in parent]
    return [(_named((pair.get("parents") or [{}])[0]), pair["fingerprint"]) for pair in pairs]


def _named(origin: dict[str, Any]) -> str:
    """Name a snapshot by what it was imported from."""
    if "source" not in origin:
        return "a file of another code"
    return f"from {origin['source']}, SHA-256 {str(origin.get('sha256', ''))[:12]}"
