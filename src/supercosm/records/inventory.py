"""What a finished run holds, and what of that is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from supercosm.choice.contenders import contenders, iterative
from supercosm.config import Config, entries
from supercosm.stages import parts_of, tables_of
from supercosm.variants import skewed, variants

MODEL = ("model.safetensors", "model.json", "history.csv", "loss.png")
PART = ("scores.ecsv", "predictions.hdf5", "histories.ecsv", "looks.hdf5")


@dataclass(frozen=True)
class Stage:
    """One folder of the results: how much it holds, and which files of a finished run it lacks (None: not known)."""

    folder: str
    files: int
    size: int
    expected: int | None
    missing: list[str] | None


def expected(config: Config) -> list[str]:
    """List the files that a finished run of a configuration holds, relative to its folder, each once.

    Left out is what comes along with one of these: figures with the page, catalogues with tables, costs with boxes.
    """
    return list(dict.fromkeys(_expected(config)))


def stages(results: str | Path, config: Config | None) -> list[Stage]:
    """Describe each folder of a results folder; without a configuration, what is missing is not known."""
    results = Path(results)
    wanted: dict[str, list[str]] = {}
    for name in expected(config) if config else ():
        wanted.setdefault(name.partition("/")[0], []).append(name)
    there = [folder.name for folder in sorted(results.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    found = []
    for name in dict.fromkeys([*wanted, *there]):
        files = [file for file in (results / name).rglob("*") if file.is_file() and not file.name.startswith(".")]
        own = wanted.get(name, [])
        missing = [file for file in own if not (results / file).is_file()]
        known = (None, None) if config is None else (len(own), missing)
        found.append(Stage(name, len(files), sum(file.stat().st_size for file in files), *known))
    return found


def _expected(config: Config) -> Iterator[str]:
    simulation, seeds = config.simulation, config.seeds
    for seed in seeds.all:
        for scale_factor in simulation.scale_factors:
            yield from (f"simulations/{seed}/{run}{simulation.tag(scale_factor)}.hdf5" for run in ("low", "high"))
    coders = config.compression.expanded()
    trained = {a for name in config.models for a in config.trained_at(name)}
    trained |= {simulation.scale_factors[-1]} if coders or skewed(config) else set()
    for scale_factor in sorted(trained):
        yield from (f"pairs/{s}{simulation.tag(scale_factor)}.hdf5" for s in seeds.training + seeds.validation)
    yield from (f"models/{model}/{file}" for model in config.models for file in MODEL)
    for entry in entries(config):
        for seed in seeds.test:
            yield from (f"superresolved/{entry.name}/{seed}/{i + 1}.hdf5" for i in range(entry.samples))
            yield f"comparisons/{entry.name}/{seed}.ecsv"
    for variant in variants(config).values():
        if variant.kind == "steps":
            yield from (f"comparisons/{variant.name}/{seed}.ecsv" for seed in seeds.test)
    tables = tables_of(config, Path())
    yield from (path.as_posix() for paths in tables.values() for path in paths)
    drift = config.audit.shifts and config.audit.seeds and _models_at_the_end(config)
    cost = [] if config.simulation.external else ["cost"]  # what those have cost, nobody told
    judged = [*cost, *(["families"] if contenders(config) else []), *(["drift"] if drift else [])]
    yield from (f"evaluation/{name}.ecsv" for name in ("metrics", "spectra", *tables, *judged))
    yield from (f"evaluations/{entry.name}.ecsv" for entry in iterative(config))
    if coders:
        yield from (
            f"compression/coders/{name}/{file}" for name in coders for file in ("model.safetensors", "model.json")
        )
        yield from (f"compression/{name}.ecsv" for name in ("patches", "box", "particles", "prior"))
        mapped = config.compression.maps.coders
        yield from (f"compression/maps/{name}.ecsv" for name in mapped)
        yield from ("compression/gallery.hdf5", *(["compression/sanity.ecsv"] if mapped else []))
    for name, task in config.classification.tasks.items():
        yield from (f"classification/{name}/{part}/{file}" for part in parts_of(config, task) for file in PART)
    yield "report/index.html"


def _models_at_the_end(config: Config) -> bool:
    last = config.simulation.scale_factors[-1]
    return any(entry.model and entry.scale_factor == last for entry in entries(config))
