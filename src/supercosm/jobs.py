"""What Snakemake measured of its jobs: time and memory, summed by rule."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any


def benchmarks(folder: Path) -> list[dict[str, Any]]:
    """Sum up Snakemake's <rule>/….tsv: jobs, seconds in all and of the longest, peak memory [MB]."""
    found: dict[str, list[dict[str, str]]] = {}
    for path in sorted(folder.rglob("*.tsv")):
        with open(path, newline="", encoding="utf-8") as file:
            found.setdefault(path.relative_to(folder).parts[0], []).extend(csv.DictReader(file, delimiter="\t"))
    rules = []
    for rule, jobs in found.items():
        seconds = [_value(job.get("s")) for job in jobs]
        memory = [_value(job.get("max_rss")) for job in jobs]
        rules.append(
            {
                "rule": rule,
                "jobs": len(jobs),
                "total": sum(seconds),
                "longest": max(seconds),
                "memory": max(memory),
            }
        )
    return sorted(rules, key=lambda rule: -rule["total"])


def _value(text: str | None) -> float:
    """Read a benchmark number; Snakemake writes "-" or "NA" for jobs too short to be sampled."""
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
