"""Whether two runs of one configuration gave the same numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from supercosm.errors import DataError
from supercosm.leftovers import read_plain
from supercosm.records import run
from supercosm.records.differences import difference, kind_of
from supercosm.records.folders import run_in
from supercosm.records.found import columns

# what no run repeats, and what is drawn from the rest
NOT_COMPARED = ("benchmarks", "checkpoints", "costs", "figures", "logs", "provenance", "report")
STATUSES = ("identical", "within tolerance", "different", "missing", "new")
TOLERANCE = 0.01  # where processor, device or libraries differ, and with them the order and rounding of sums
SHOWN = 20

Status = Literal["identical", "within tolerance", "different", "missing", "new"]


@dataclass(frozen=True)
class Compared:
    """One file of the first run: how it compares with the second's, by how much it differs, and where most."""

    file: str
    status: Status
    difference: float | None = None
    where: str = ""


@dataclass(frozen=True)
class Comparison:
    """All files, the relative difference that was allowed, and what the runs themselves differ in."""

    files: list[Compared]
    tolerance: float
    notes: list[str]

    @property
    def agrees(self) -> bool:
        """Whether everything of the first run is there again, and within the tolerance."""
        return not self.of("different", "missing")

    def of(self, *statuses: str) -> list[Compared]:
        """List the files of some statuses."""
        return [file for file in self.files if file.status in statuses]

    def summary(self) -> str:
        """Say in one sentence whether the second run repeats the first."""
        counts = [f"{len(self.of(status))} {status}" for status in STATUSES if self.of(status)]
        return f"{'the same' if self.agrees else 'not the same'}: of {len(self.files)} files, {', '.join(counts)}"

    def as_json(self) -> str:
        """Write everything as one JSON object; a difference of what cannot be compared is null."""
        files = [asdict(file) for file in self.files]
        for file in files:
            known = file["difference"] is not None and math.isfinite(file["difference"])
            file["difference"] = file["difference"] if known else None
        return json.dumps(
            {"agrees": self.agrees, "tolerance": self.tolerance, "notes": self.notes, "files": files}, indent=1
        )

    def as_text(self) -> str:
        """Write a table of folders, the files that are not identical, and what the runs differ in."""
        lines = [f"  {line}" for line in columns(list(self._folders()))]
        order = ("different", "missing", "within tolerance")
        changed = sorted(self.of(*order), key=lambda file: (order.index(file.status), -(file.difference or 0.0)))
        if changed:
            rows = [
                {"file": f.file, "": f.status, "difference": f.difference, "where": f.where} for f in changed[:SHOWN]
            ]
            lines += ["", *(f"  {line}" for line in columns(rows))]
            lines += [f"  … and {len(changed) - SHOWN} more; --json has all"] if len(changed) > SHOWN else []
        return "\n".join([*lines, "", *(f"  {note}" for note in self.notes), f"  {self.summary()}"])

    def _folders(self) -> Iterator[dict[str, object]]:
        for folder in dict.fromkeys(file.file.partition("/")[0] for file in self.files):
            own = [file for file in self.files if file.file.partition("/")[0] == folder]
            counts = {status: sum(file.status == status for file in own) for status in STATUSES}
            yield {
                "folder": folder,
                **counts,
                "largest difference": max((f.difference or 0.0 for f in own), default=0.0),
            }


def compare_runs(first: str | Path, second: str | Path, tolerance: float | None = None) -> Comparison:
    """Compare the numbers of two results folders, of which each may be an export or a working folder of one run.

    tolerance: relative difference that counts as the same; None: none is allowed where processor, device and libraries
    are the same, else 1 %. Raises DataError where there is nothing to compare, or a file is damaged.
    """
    first, second = Path(first), Path(second)
    for folder in (first, second):
        if not folder.is_dir():
            raise DataError(f"there is no folder {folder}; give the results folders of two runs")
    first, second = (run_in(folder) or folder for folder in (first, second))
    if first.resolve() == second.resolve():
        raise DataError(f"{first} and {second} are one folder; give those of two runs")
    notes, alike = _circumstances(first, second)
    if tolerance is None:
        tolerance = 0.0 if alike else TOLERANCE
    notes.append(f"Relative differences up to {tolerance:g} count as the same.")
    files = list(_compare(first, second, tolerance))
    if not any(file.status in ("identical", "within tolerance", "different") for file in files):
        raise DataError(f"{first} and {second} have no file in common that could be compared; give two results folders")
    return Comparison(files, tolerance, notes)


def _compare(first: Path, second: Path, tolerance: float) -> Iterator[Compared]:
    there, again = _names(first), _names(second)
    for name in there:
        if name not in again:
            yield Compared(name, "missing")
            continue
        found = difference(first / name, second / name, name)
        status = "identical" if found.size == 0 else "within tolerance" if found.size <= tolerance else "different"
        yield Compared(name, status, found.size, found.where)
    yield from (Compared(name, "new") for name in again if name not in there)


def _names(results: Path) -> list[str]:
    names = (path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file())
    parts = ((name, name.split("/")) for name in names if kind_of(name))
    return sorted(n for n, p in parts if p[0] not in NOT_COMPARED and not any(part.startswith(".") for part in p))


def _circumstances(first: Path, second: Path) -> tuple[list[str], bool]:
    """Say what the two runs differ in; tell whether both round alike."""
    records = [run.read_record(folder) if (folder / run.FOLDER).is_dir() else None for folder in (first, second)]
    if None in records:
        return ["One of them keeps no record of its run, so it is not known what they differ in."], False
    one, other = records
    notes = [f"Configurations differ in {', '.join(names)}." for names in [_sections(one, other)] if names]
    found = run.differences(one.latest, other.latest)
    if devices_of(first) != devices_of(second):
        found["device"] = (", ".join(devices_of(first)), ", ".join(devices_of(second)))
    notes += [f"{name}: {_told(a, b)}" for name, (a, b) in found.items()]
    notes += [
        f"{r.results} was made in {len(r.environments)} environments." for r in records if len(r.environments) > 1
    ]
    return notes or ["Version, commit, libraries, processor and device are the same."], not set(found) - {
        "version",
        "commit",
    }


def _told(a: str, b: str) -> str:
    return f"{a} in the first run, {b} in the second" if a != b else f"{a} in both, so they need not be the same"


def _sections(one: run.Record, other: run.Record) -> list[str]:
    a, b = (record.config.model_dump(mode="json") for record in (one, other))
    for found in (a, b):  # where external snapshots lie is no difference between runs
        found["simulation"]["external"] = (found["simulation"]["external"] or {}) | {"low": "", "high": ""}
    return [name for name in a if a[name] != b[name] and name != "name"]


def devices_of(results: Path) -> list[str]:
    """List the kinds of device that the models of a run were trained on, by their cards."""
    cards = (read_plain(path) for path in sorted(results.glob("models/*/model.json")))
    found = (card.get("provenance", {}).get("device") for card in cards if isinstance(card, dict))
    return sorted({device for device in found if device})
