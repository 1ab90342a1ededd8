"""The record that a run keeps in its results folder: what it was asked for, with what, and by which rules.

    provenance/config.yaml        the whole configuration, defaults included
    provenance/environment.json   every environment that worked on the folder, the latest last
    provenance/environment.txt    the packages of the latest, a requirements file
    provenance/workflow/          Snakefile, rules, captions and the default profile

No path in it is absolute, but for those that simulation.external was given, so a folder that moves takes all it needs
along.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import yaml

from supercosm.config import Config, load_config
from supercosm.errors import DataError
from supercosm.files import whole, write_json
from supercosm.leftovers import read_plain
from supercosm.records.environment import environment, packages

FOLDER = "provenance"
CONFIG, ENVIRONMENTS, PACKAGES, WORKFLOW = "config.yaml", "environment.json", "environment.txt", "workflow"
SOURCES = ("Snakefile", "workflow/Snakefile", "workflow/rules/*.smk", "workflow/report/*.rst", "profiles/default/*")


@dataclass(frozen=True)
class Record:
    """What a results folder says of its run; environments: oldest first, at least one."""

    results: Path
    config: Config
    environments: list[dict[str, str]]

    @property
    def folder(self) -> Path:
        """Where the record lies."""
        return self.results / FOLDER

    @property
    def latest(self) -> dict[str, str]:
        """The environment that worked on the results last."""
        return self.environments[-1]

    @property
    def digest(self) -> str:
        """SHA-256 of the configuration, with its defaults."""
        return hashlib.sha256(as_yaml(self.config).encode()).hexdigest()


def as_yaml(config: Config) -> str:
    """Write a whole configuration, defaults included, as the text of a configuration file."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def record_run(config: Config, results: str | Path, source: str | Path | None = None) -> None:
    """Write the record of a run that starts; source: the folder of the Snakefile, where it lies on this machine.

    What is there and the same is left alone. An environment is added where it differs from the latest in more than
    the date: files that an earlier one made may still be there.
    """
    folder = Path(results) / FOLDER
    here, known = environment(), _environments(folder)
    if not known or _undated(known[-1]) != _undated(here):
        write_json(folder / ENVIRONMENTS, [*known, here])
    _write_new(folder / PACKAGES, "".join(f"{line}\n" for line in packages()).encode())
    _write_new(folder / CONFIG, as_yaml(config).encode())
    if source is not None and (Path(source) / "Snakefile").is_file():
        _keep_workflow(Path(source), folder / WORKFLOW)


def read_record(results: str | Path) -> Record:
    """Read the record of a results folder; raise DataError when it has none or a damaged one."""
    folder = Path(results) / FOLDER
    if not (folder / CONFIG).is_file():
        raise DataError(
            f"{results} holds no record of a run ({FOLDER}/{CONFIG}): it is no results folder, or of a version that "
            "kept none; give results/<name> of a run of `snakemake`"
        )
    known = _environments(folder)
    if not known:
        raise DataError(
            f"{folder / ENVIRONMENTS} is missing or damaged; copy the results again from where they are whole"
        )
    return Record(Path(results), load_config([folder / CONFIG]), known)


def workflow_source(record: Record) -> Path:
    """Return the folder of the workflow: of the source tree that this package runs from, else that in the record.

    Raises DataError where there is neither.
    """
    for folder in (Path(__file__).resolve().parents[3], record.folder / WORKFLOW):
        if (folder / "Snakefile").is_file() and (folder / "workflow" / "rules").is_dir():
            return folder
    raise DataError(
        f"{record.folder} keeps no workflow; run this from a clone of Supercosm, installed by `pip install -e .`"
    )


def differences(first: dict[str, str], second: dict[str, str]) -> dict[str, tuple[str, str]]:
    """List what two environments differ in, date aside; what is unknown or not committed differs from itself, too."""
    names = [name for name in dict.fromkeys([*first, *second]) if name != "date"]
    pairs = {name: (first.get(name, "unknown"), second.get(name, "unknown")) for name in names}
    return {name: (a, b) for name, (a, b) in pairs.items() if a != b or a == "unknown" or a.endswith("+changes")}


def _environments(folder: Path) -> list[dict[str, str]]:
    found = read_plain(folder / ENVIRONMENTS)
    return found if isinstance(found, list) and all(isinstance(entry, dict) for entry in found) else []


def _undated(entry: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in entry.items() if name != "date"}


def _keep_workflow(source: Path, target: Path) -> None:
    """Copy the workflow, and remove what an earlier one had more."""
    files = [file.relative_to(source) for pattern in SOURCES for file in sorted(source.glob(pattern)) if file.is_file()]
    for file in files:
        _write_new(target / file, (source / file).read_bytes())
    for left in set(target.rglob("*")) - {target / file for file in files}:
        if left.is_file():
            left.unlink()


def _write_new(path: Path, content: bytes) -> None:
    """Write a file unless it is there with the same content."""
    if path.is_file() and path.read_bytes() == content:
        return
    with whole(path) as part:
        part.write_bytes(content)
