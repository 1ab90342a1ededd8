"""Pack a run for a paper's repository: one zip file, or a folder, that is whole or not there.

The layout is that of the results folder, so `inspect`, `compare-runs` and `reproduce` take an export, too.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from supercosm.errors import DataError
from supercosm.files import whole
from supercosm.records.crate import METADATA, crate
from supercosm.records.inventory import expected
from supercosm.records.places import hide, published, working_folder
from supercosm.records.run import CONFIG, FOLDER, Record, as_yaml, read_record

log = logging.getLogger(__name__)

PACKED = (
    f"{FOLDER}/**/*",
    "**/*.ecsv",
    "figures/*.png",
    "figures/*.pdf",
    "**/model.json",
    "**/history.csv",
    "**/loss.png",
    "report/index.html",
)
WEIGHTS = "**/model.safetensors"
LEFT_OUT = ("checkpoints", "logs", "benchmarks")
SUMS, README = "SHA256SUMS", "README.md"
PICTURE = re.compile(rb"base64,[A-Za-z0-9+/=]+")  # any letters in any order
TEXT = (".csv", ".ecsv", ".html", ".json", ".md", ".smk", ".rst", ".txt", ".yaml")
LEVEL = 9  # of compression: the same everywhere, so that equal runs give equal bytes
BEGINNING = (1980, 1, 1, 0, 0, 0)  # the date of every file in a zip file: the first there is


def export(results: str | Path, output: str | Path, weights: bool = False) -> None:
    """Write what a reader of the paper needs of a run: into a zip file if `output` ends so, else into a new folder.

    Raises DataError where the folder keeps no record, has no table to show, or a text names a place on this machine.
    """
    results, output = Path(results), Path(output)
    record = read_record(results)
    if output.suffix != ".zip" and output.exists():
        raise DataError(f"{output} is there already; name a new folder, or a .zip file")
    content = {name: (results / name).read_bytes() for name in _names(results, weights)}
    if not any(name.endswith(".ecsv") for name in content):
        raise DataError(f"{results} holds no table yet; let `snakemake` finish first")
    missing = [name for name in expected(record.config) if _is_packed(name, weights) and name not in content]
    if missing:
        log.warning(
            "the run is not finished: %d files are missing, %s first; they are left out", len(missing), missing[0]
        )
    content = {name: hide(data, record.config) if name.endswith(TEXT) else data for name, data in content.items()}
    record = replace(record, config=published(record.config))
    content[f"{FOLDER}/{CONFIG}"] = as_yaml(record.config).encode()
    _check_private(content, results)
    content[SUMS] = _sums(content).encode()  # of all but the two that authors complete
    content[README] = _readme(record, weights).encode()
    content[METADATA] = crate(record, content).encode()
    (_write_zip if output.suffix == ".zip" else _write_folder)(output, dict(sorted(content.items())))
    size = sum(map(len, content.values())) / 1e6
    log.info("%s: %d files, %.1f MB before compression", output, len(content), size)


def _names(results: Path, weights: bool) -> Iterator[str]:
    found = {path for pattern in (*PACKED, *([WEIGHTS] if weights else [])) for path in results.glob(pattern)}
    for path in sorted(found):
        name = path.relative_to(results)
        if path.is_file() and name.parts[0] not in LEFT_OUT and not any(part.startswith(".") for part in name.parts):
            yield name.as_posix()


def _is_packed(name: str, weights: bool) -> bool:
    kinds = (".ecsv", "model.json", "history.csv", "index.html", *([".safetensors"] if weights else []))
    return name.endswith(kinds)


def _check_private(content: Mapping[str, bytes], results: Path) -> None:
    """Raise DataError where a text names the home folder, or the place of the results on this machine."""
    here = results.resolve()
    places = {Path.home(), here, working_folder(here)}
    named = b"|".join(re.escape(str(place).encode()) for place in sorted(places) if len(place.parts) > 1)
    pattern = re.compile(rb"(?<![\w.])(" + named + rb")(?![\w.-])")
    for name, data in content.items():
        found = pattern.search(PICTURE.sub(b"", data)) if named and name.endswith(TEXT) else None
        if found:
            raise DataError(
                f"{results / name} names {found[0].decode()}, a place on this machine; make that file again"
            )


def _sums(content: Mapping[str, bytes]) -> str:
    """List SHA-256 sums as `sha256sum -c` reads them."""
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(content.items()))


def _readme(record: Record, weights: bool) -> str:
    made = record.latest
    cards = ", with their weights beside them" if weights else "; the weights are not part of this"
    return f"""# {record.config.name}: a run of Supercosm

Super-resolution of cosmological simulations, from initial conditions to `report/index.html`.
Supercosm {made["version"]}, commit {made["commit"]}, {made["date"]}.

| where | what |
|---|---|
| `{FOLDER}/config.yaml` | the whole configuration |
| `{FOLDER}/environment.txt`, `environment.json` | packages, versions, processor |
| `{FOLDER}/workflow/` | the rules of the workflow |
| `evaluation/`, `comparisons/`, `statistics/` … | tables with units and provenance: `astropy.table.QTable.read` |
| `figures/`, `report/index.html` | what they look like |
| `models/*/model.json` | model cards{cards} |
| `{METADATA}` | what all of this is, for programs (RO-Crate 1.1) |

    sha256sum -c {SUMS}      # is it whole? (this page and {METADATA} aside, which authors complete)
    supercosm inspect .             # what is it?
    supercosm reproduce .           # run it again, and compare
"""


def _write_zip(output: Path, content: Mapping[str, bytes]) -> None:
    """Write a zip file whose bytes depend on names and content alone."""
    with whole(output) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as file:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name, BEGINNING)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            file.writestr(entry, data, compresslevel=LEVEL)


def _write_folder(output: Path, content: Mapping[str, bytes]) -> None:
    """Write a folder under another name, and rename it once it is whole."""
    output.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=".part", dir=output.parent))
    try:
        for name, data in content.items():
            with whole(part / name) as file:
                file.write_bytes(data)
        part.chmod(0o777 & ~_umask())
        os.rename(part, output)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now
