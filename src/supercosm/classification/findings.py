"""What the numbers of classification say in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from supercosm.classification.classfigures import CLASSIFIERS, class_name, part_name
from supercosm.classification.results import Part
from supercosm.classification.study import MAIN
from supercosm.stages import OTHER_SEEDS, TRUTH

CHANCE = 0.05  # accuracy above chance from which a control has failed, and from which there is something to look at
MARGIN = 0.02  # probability by which salient cells must cost more than random ones
DELETED = 0.1  # share of cells of the test of saliency


def sentences(kind: str, parts: Mapping[str, Part]) -> list[str]:
    """Say what one task found: a sentence or two for each thing that a reader would ask."""
    tellers = {"realism": _realism, "cosmology": _cosmology, "environment": _environment}
    return [*tellers[kind](parts), *_saliency(parts)]


def score(part: Part, run: str, classifier: str) -> Any | None:
    """Return the row of scores of one run and classifier; None where there is none."""
    rows = part.scores[(part.scores["run"] == run) & (part.scores["classifier"] == classifier)]
    return rows[0] if len(rows) else None


def best_of(part: Part) -> Any:
    """Return the row of the classifier that tells most of the main run: what it cannot tell, no other here can."""
    return max((row for row in part.scores if row["run"] == MAIN), key=lambda row: float(row["accuracy"]))


def network_of(part: Part) -> str:
    """Return the name of the first network."""
    return str(part.scores["classifier"][0])


def _realism(parts: Mapping[str, Part]) -> Iterator[str]:
    told = {name: score(part, MAIN, network_of(part)) for name, part in parts.items()}
    shown = ", ".join(f"{part_name(name)} {_percent(row)}" for name, row in told.items() if name != OTHER_SEEDS)
    network = CLASSIFIERS[network_of(next(iter(parts.values())))]
    yield f"A patch is told from the true run by the {network} in so many of 100 cases (50: not at all): {shown}."
    for name, part in parts.items():
        best = _best_opponent(part)
        if name != OTHER_SEEDS and best is not None and told[name]["accuracy"] < best["accuracy"]:
            yield (
                f"{part_name(name)}: {CLASSIFIERS[str(best['classifier'])]}, without a network, tells it better "
                f"({_percent(best)}), so the network's number is a lower bound."
            )
    if OTHER_SEEDS in parts:
        row = told[OTHER_SEEDS]
        failed = row["accuracy"] > 0.5 + CHANCE
        yield (
            f"True runs are told from true runs of other seeds in {_percent(row)} of 100 cases (p = {row['p']:.2g}): "
            + (
                "MORE THAN CHANCE, so the other numbers are not to be trusted."
                if failed
                else "chance, as it must be; no class is found where there is none."
            )
        )


def _cosmology(parts: Mapping[str, Part]) -> Iterator[str]:
    for part in parts.values():
        names = " | ".join(class_name(name) for name in part.classes)
        chance = 100 / len(part.classes)
        own = [str(name) for name in part.scores["classifier"][part.scores["run"] == MAIN]]
        shown = ", ".join(f"{CLASSIFIERS[name]} {_percent(score(part, MAIN, name))}" for name in own)
        yield f"{names}, from single slabs (chance {chance:.0f}): {shown}."
        yield from _control(part, "randomised", "with random phases, which leaves P(k) alone")
        yield from _control(part, "matched", "with equal P(k), which leaves what lies beyond it")
        yield from _skew(part)
        row = score(part, "shuffled", network_of(part))
        if row is not None:
            failed = abs(row["accuracy"] - 1 / len(part.classes)) > 2 * CHANCE
            yield f"Trained on shuffled labels: {_percent(row)}, " + ("WHICH IS NOT CHANCE." if failed else "chance.")


def _control(part: Part, run: str, what: str) -> Iterator[str]:
    own = [str(name) for name in part.scores["classifier"][part.scores["run"] == run]]
    if own:
        shown = ", ".join(f"{CLASSIFIERS[name]} {_percent(score(part, run, name))}" for name in own)
        yield f"The same {what}: {shown}."


def _skew(part: Part) -> Iterator[str]:
    plain, weighed = (score(part, run, network_of(part)) for run in ("skewed", "skewed-balanced"))
    if plain is not None and weighed is not None:
        recalls = [_recall(part, run, 0) for run in ("skewed", "skewed-balanced")]
        yield (
            f"Trained on a set that lacks most of {class_name(part.classes[0])}, and judged on an even one: "
            f"{_percent(plain)}, with {100 * recalls[0]:.0f} % of that class found; with classes weighed "
            f"{_percent(weighed)}, and {100 * recalls[1]:.0f} %."
        )


def _recall(part: Part, run: str, label: int) -> float:
    predictions, _ = part.predictions[run, network_of(part)]
    own = predictions.labels == label
    return float(np.mean(predictions.correct[own])) if own.any() else np.nan


def _environment(parts: Mapping[str, Part]) -> Iterator[str]:
    for classifier in ("tidal", network_of(next(iter(parts.values())))):
        rows = {name: score(part, MAIN, classifier) for name, part in parts.items()}
        shown = ", ".join(f"{part_name(name)} {_percent(row)}" for name, row in rows.items())
        yield f"Right class by {CLASSIFIERS[classifier]}, of 100: {shown}."
    own = {name: score(part, MAIN, "tidal") for name, part in parts.items() if name != TRUTH}
    base = own.pop("low", None)
    if base is not None and own:
        helped = [part_name(name) for name, row in own.items() if _exceeds(row, base)]
        others = [part_name(name) for name in own if part_name(name) not in helped]
        yield (
            (
                f"By the field's own tidal tensor, super-resolution helps this task: {', '.join(helped)}. "
                if helped
                else ""
            )
            + (f"It does not with {', '.join(others)}." if others else "")
        ).strip()


def _exceeds(row: Any, other: Any) -> bool:
    """Tell whether an accuracy exceeds another by more than the error of their difference."""
    errors = [(float(r["accuracy_high"]) - float(r["accuracy_low"])) / 2 for r in (row, other)]
    return float(row["accuracy"]) - float(other["accuracy"]) > float(np.hypot(*errors))


def _saliency(parts: Mapping[str, Part]) -> Iterator[str]:
    found = {}
    for name, part in parts.items():
        shares = part.looks.get("shares", np.array([]))
        above = float(part.scores["accuracy"][0]) - 1 / len(part.classes)
        if name != OTHER_SEEDS and above > CHANCE and np.isclose(shares, DELETED).any():
            place = int(np.argmin(np.abs(shares - DELETED)))
            orders = ("salient", "random")
            found[name] = (part.looks["occlusion_salient"][0], *(part.looks[f"occlusion_{o}"][place] for o in orders))
    if not found:
        return
    real = [name for name, (_, salient, random) in found.items() if salient < random - MARGIN]
    shown = "; ".join(
        (f"{part_name(name)}: " if len(parts) > 1 else "") + f"{whole:.2f} → {salient:.2f}, {random:.2f}"
        for name, (whole, salient, random) in found.items()
    )
    verdict = "everywhere" if len(real) == len(found) else f"in {len(real)} of {len(found)} cases"
    yield (
        f"Saliency is real {verdict}: probability of the true class as it is → with the {100 * DELETED:.0f} % most "
        f"salient cells smoothed away, with as many random ones: {shown}."
    )


def _best_opponent(part: Part) -> Any | None:
    rows = [row for row in part.scores if row["run"] == MAIN and not row["parameters"]]
    return max(rows, key=lambda row: row["accuracy"], default=None)


def _percent(row: Any) -> str:
    half = 50 * (float(row["accuracy_high"]) - float(row["accuracy_low"]))
    error = f" ± {half:.1f}" if np.isfinite(half) else ""
    return f"{100 * float(row['accuracy']):.1f}{error}"
