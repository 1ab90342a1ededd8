"""RO-Crate 1.1 metadata: what the files of an export are, for programs (Soiland-Reyes et al. 2022).

Specification: https://w3id.org/ro/crate/1.1. The author is left to the authors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from supercosm.records.run import CONFIG, FOLDER, WORKFLOW, Record

METADATA = "ro-crate-metadata.json"
SPECIFICATION = "https://w3id.org/ro/crate/1.1"
MIT = "https://spdx.org/licenses/MIT"
ECSV = "https://github.com/astropy/astropy-APEs/blob/main/APE6.rst"
FORMATS: dict[str, Any] = {
    ".csv": "text/csv",
    ".ecsv": ["text/plain", {"@id": ECSV}],
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".rst": "text/x-rst",
    ".safetensors": "application/octet-stream",
    ".smk": "text/x-python",
    ".txt": "text/plain",
    ".yaml": "application/yaml",
    "": "text/plain",
}
WHAT = {
    CONFIG: "Configuration of the run, defaults included",
    "environment.json": "Versions, commit and processor of the run",
    "environment.txt": "Python packages of the run",
    "index.html": "Report",
    "model.json": "Model card",
    "model.safetensors": "Weights of a model",
    "history.csv": "History of a training",
    "loss.png": "Loss curve of a training",
    "SHA256SUMS": "SHA-256 of every file that authors do not edit",
    "README.md": "Read me",
}


def crate(record: Record, content: Mapping[str, bytes]) -> str:
    """Describe the files of an export as JSON-LD; equal content gives equal text."""
    entry = f"{FOLDER}/{WORKFLOW}/Snakefile"
    run, made = f"#run-{record.digest[:12]}", record.latest
    graph: list[dict[str, Any]] = [
        {
            "@id": METADATA,
            "@type": "CreativeWork",
            "conformsTo": _link(SPECIFICATION),
            "about": _link("./"),
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": f"{record.config.name}: super-resolution of cosmological simulations",
            "description": "Configuration, tables, figures, model cards and report of one run of Supercosm: N-body "
            "simulations, generative models that add small scales to them, and how good the result is.",
            "datePublished": made["date"],
            "license": "To be chosen by the authors; until then, all rights are reserved.",
            "hasPart": [_link(name) for name in sorted(content)],
            **({"mainEntity": _link(entry)} if entry in content else {}),
            "mentions": _link(run),
        },
        *(_file(name, data) for name, data in sorted(content.items())),
    ]
    if entry in content:
        workflow = next(entity for entity in graph if entity["@id"] == quote(entry))
        workflow |= {
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
            "name": "Supercosm",
            "version": made["version"],
            "license": _link(MIT),
            "programmingLanguage": _link("#snakemake"),
        }
    graph += [_run(run, record, content, entry), *_context(made)]
    return json.dumps({"@context": f"{SPECIFICATION}/context", "@graph": graph}, indent=1) + "\n"


def _link(name: str) -> dict[str, str]:
    """Refer to an entity; the names of files become relative URIs."""
    return {"@id": name if "://" in name or name.startswith("#") else quote(name)}


def _file(name: str, data: bytes) -> dict[str, Any]:
    path = PurePosixPath(name)
    return {
        **_link(name),
        "@type": "File",
        "name": WHAT.get(path.name, str(path.with_suffix("")).replace("/", " ")),
        "encodingFormat": FORMATS[path.suffix if path.suffix in FORMATS else ""],
        "contentSize": str(len(data)),
    }


def _run(name: str, record: Record, content: Mapping[str, bytes], entry: str) -> dict[str, Any]:
    """Describe what happened: the workflow turned the configuration into tables, figures and the report."""
    made = record.latest
    results = [file for file in sorted(content) if file.startswith(("evaluation/", "figures/", "report/"))]
    return {
        "@id": name,
        "@type": "CreateAction",
        "name": f"Supercosm {made['version']} at commit {made['commit']}",
        **({"instrument": _link(entry)} if entry in content else {}),
        "object": _link(f"{FOLDER}/{CONFIG}"),
        "result": [_link(file) for file in results],
        "startTime": made["date"],
    }


def _context(made: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "@id": "#snakemake",
            "@type": ["ComputerLanguage", "SoftwareApplication"],
            "name": "Snakemake",
            "url": "https://snakemake.github.io",
            "version": made.get("snakemake", "unknown"),
        },
        {"@id": MIT, "@type": "CreativeWork", "name": "MIT License", "description": "A short permissive licence."},
        {"@id": ECSV, "@type": "WebSite", "name": "Enhanced character-separated values (APE 6)"},
    ]
