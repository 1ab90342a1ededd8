"""What there is to know about one folder: models, coders, checkpoints, and the results of a run."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from supercosm.errors import DataError
from supercosm.files import LONGEST, UNREADABLE, sha256
from supercosm.leftovers import NOTE, read_plain
from supercosm.records.found import Found
from supercosm.records.inventory import stages
from supercosm.records.run import CONFIG, FOLDER, read_record

CARD = "model.json"
SHOWN = 8  # missing files that are named


def model(folder: Path) -> Found:
    """Describe the folder of a trained model or coder; raise DataError where the weights are not those of the card."""
    found = read_plain(folder / CARD)
    settings = found.get("settings") if isinstance(found, dict) else None
    return _coder(folder) if isinstance(settings, dict) and "kind" in settings else _model(folder)


def _model(folder: Path) -> Found:
    from supercosm.model import WEIGHTS, read_card

    card = read_card(folder)
    _check_weights(folder / WEIGHTS, card.weights_sha256)
    settings = card.settings
    facts = {
        "name": card.name,
        "family": settings.family,
        "is_told": [
            "the low run",
            *(["small-scale phases"] if "initial" in settings.condition else []),
            *settings.told,
        ],
        "noise": settings.noise,
        "makes": f"{settings.fields} in {settings.dimensions} dimensions",
        "starts_from": getattr(settings, "start", None),
        "up_sampling_per_side": card.factor,
        "low_cell": card.low_spacing,
        "high_cell": card.low_spacing / card.factor,
        "scale_factors": card.scale_factors,
        "cosmologies": [cosmology.model_dump() for cosmology in card.cosmologies],
        # those of other codes' runs, which nobody knows, are -1
        **{f"{role}_seeds": [s for s in seeds if s >= 0] or None for role, seeds in card.seeds.items()},
        "training_steps": settings.training.steps,
        "training_time": card.training_seconds,
        "training_cores": card.training_cores,
        **card.scores,
        "parameters": card.parameters,
        "sha256_agrees": True,
    }
    units = {"low_cell": "Mpc/h", "high_cell": "Mpc/h", "training_time": "s"}
    return Found("model", facts, units, origin=card.provenance, notes=[card.diagnosis] if card.diagnosis else [])


def _coder(folder: Path) -> Found:
    from supercosm.compression.coder import WEIGHTS, read_card

    card = read_card(folder)
    _check_weights(folder / WEIGHTS, card.weights_sha256)
    facts = {
        "name": card.name,
        "coder": card.settings.kind,
        "dimensions": card.settings.dimensions,
        "latents": card.settings.latents,
        "dead_latents": card.dead_latents,
        "patch": card.patch,
        "cell": card.cell,
        "thickness": card.thickness,
        **{f"{role}_seeds": seeds for role, seeds in card.seeds.items()},
        "training_time": card.training_seconds,
        "parameters": card.parameters,
        "sha256_agrees": True,
    }
    units = {"patch": "cells per side", "cell": "Mpc/h", "thickness": "Mpc/h", "training_time": "s"}
    notes = [card.diagnosis] if card.diagnosis else []
    return Found("coder of density patches", facts, units, origin=card.provenance, notes=notes)


def _check_weights(path: Path, expected: str) -> None:
    if not path.is_file():
        raise DataError(f"{path.parent} lacks {path.name}, which its card belongs to; copy it, or train again")
    if sha256(path) != expected:
        raise DataError(f"{path} does not match the checksum in its card; it is damaged: train it again")


def checkpoints(folder: Path) -> Found:
    """Describe a folder that a killed training or sampling goes on from."""
    note, last = read_plain(folder / NOTE), folder / "last.ckpt"
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name not in (".lock", NOTE))
    rows = [{"file": file.relative_to(folder).as_posix(), "bytes": file.stat().st_size} for file in files]
    if not isinstance(note, dict):
        said = "Empty, as a run that has finished leaves it." if not rows else "Made by an unknown run."
        return Found("checkpoints", {"files": len(rows)}, tables={"files": rows}, notes=[said])
    settings = note.get("settings") if isinstance(note.get("settings"), dict) else {}
    facts: dict[str, Any] = {"of": settings.get("family") or note.get("stage"), "files": len(rows)}
    if last.is_file():
        training = settings.get("training", {})
        facts |= {"step": _step(last, training.get("validate_every")), "of_steps": training.get("steps")}
    return Found("checkpoints", facts, tables={"files": rows}, notes=["The same command again goes on from here."])


def _step(path: Path, validate_every: int) -> int:
    """Return how many steps a checkpoint holds, as a training counts them that goes on from it."""
    import torch

    from supercosm.history import steps_done

    try:
        loops = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["loops"]["fit_loop"]
        return steps_done(loops, validate_every)
    except (OSError, EOFError, UnpicklingError, *UNREADABLE) as error:
        why = " ".join(str(error).split())[:LONGEST]
        raise DataError(f"{path} is no whole checkpoint ({why}); delete the folder and train again") from None


def is_results(folder: Path) -> bool:
    """Tell whether a folder looks like the results of a run."""
    parts = ("simulations", "models", "evaluation", "comparisons", "statistics")
    return (folder / FOLDER / CONFIG).is_file() or sum((folder / part).is_dir() for part in parts) > 1


def run_in(folder: Path) -> Path | None:
    """Return the results folder that is meant: the folder itself, or the one run in the results/ of a working folder.

    None where it is neither. Raises DataError where a working folder holds several.
    """
    if is_results(folder):
        return folder
    runs = [run for run in sorted((folder / "results").glob("*")) if run.is_dir() and is_results(run)]
    if len(runs) > 1:
        raise DataError(f"{folder} holds several runs: {', '.join(run.name for run in runs)}; give one, {runs[0]}")
    return runs[0] if runs else None


def results(folder: Path) -> Found:
    """Describe the results of a run: which one, what is there and what is missing, and how long its jobs took."""
    from supercosm.jobs import benchmarks

    record = read_record(folder) if (folder / FOLDER / CONFIG).is_file() else None
    found = stages(folder, record.config if record else None)
    jobs = benchmarks(folder / "benchmarks")
    missing = [name for stage in found for name in stage.missing or ()]
    facts: dict[str, Any] = {"name": record.config.name if record else folder.resolve().name}
    if record:
        first = {name: record.latest.get(name) for name in ("date", "version", "commit")}
        facts |= {"configuration_sha256": record.digest, **first, **record.latest, "missing": missing}
        facts["environments"] = len(record.environments)
    facts |= {"files": sum(stage.files for stage in found), "size": sum(stage.size for stage in found) / 1e6}
    facts |= {"jobs": sum(job["jobs"] for job in jobs), "time_of_jobs": sum(job["total"] for job in jobs)}
    units = {"size": "MB", "time_of_jobs": "s"}
    rows = [
        {
            "folder": stage.folder,
            "files": stage.files,
            "MB": round(stage.size / 1e6, 3),
            "expected": stage.expected,
            "missing": None if stage.missing is None else len(stage.missing),
        }
        for stage in found
    ]
    longest = [{"rule": job["rule"], "jobs": job["jobs"], "seconds": job["total"]} for job in jobs[:SHOWN]]
    notes = [] if record else ["It keeps no record of its configuration, so what is missing is not known."]
    notes += [f"Missing: {name}" for name in missing[:SHOWN]]
    notes += [f"… and {len(missing) - SHOWN} more"] if len(missing) > SHOWN else []
    return Found("results of a run", facts, units, {"folders": rows, "longest rules": longest}, notes=notes)
