"""Run a recorded configuration again, in a working folder of its own."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from supercosm.config import Config
from supercosm.errors import DataError
from supercosm.files import whole
from supercosm.records import run
from supercosm.records.environment import environment
from supercosm.records.places import anchored, working_folder

log = logging.getLogger(__name__)

STANDARD_ERROR = 2


def reproduce(results: str | Path, output: str | Path | None = None, options: Sequence[str] = ()) -> Path:
    """Run the workflow on the configuration that a results folder, or an export, records; return the new results.

    output: folder to run in, by default <results>-again; it gets config/config.yaml, and the results are in
    results/<name> there. A killed run goes on when called again. options: of snakemake. Relative paths of external
    snapshots are taken from the working folder that holds the results. Raises DataError where there is no record, the
    folder holds something else, or the workflow fails.
    """
    results = Path(results)
    record = run.read_record(results)
    place = results.resolve().with_name(f"{results.resolve().name}-again") if output is None else Path(output)
    for name, (then, now) in run.differences(record.latest, environment()).items():
        log.warning("%s: %s was recorded, here it is %s; results may differ", name, then, now)
    _settle(place, anchored(record.config, working_folder(results)))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(run.workflow_source(record) / "Snakefile")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # where rules find `supercosm`
    command += ["--directory", str(place), *options]
    # what jobs print goes to standard error, so that the comparison has standard output for itself
    code = subprocess.run(command, env={**os.environ, "PATH": path}, stdout=STANDARD_ERROR, check=False).returncode
    if code:
        raise DataError(
            f"the workflow stopped with exit code {code}, and said why above; mend that, and the same command goes on "
            f"in {place}"
        )
    return place / "results" / record.config.name


def _settle(place: Path, config: Config) -> None:
    """Put the configuration where the workflow looks for it; refuse a folder that holds anything else."""
    target, text = place / "config" / "config.yaml", run.as_yaml(config)
    if target.is_file():
        if target.read_text(encoding="utf-8") != text:
            raise DataError(f"{target} is another configuration than the recorded one; name a new folder with --output")
        return
    if place.exists() and any(place.iterdir()):
        raise DataError(f"{place} holds something already; name an empty or a new folder with --output")
    with whole(target) as part:
        part.write_text(text, encoding="utf-8")
