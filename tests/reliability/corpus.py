"""A small whole file of every kind that Supercosm reads, and what reads it."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

import foreignfiles
from learning import SIMULATION, TRAINING_SEED, VALIDATION_SEED, Boxes, configuration, random_model
from synthetic_results import write_history

from supercosm import training
from supercosm.compare import compare_files
from supercosm.compression import bitstream
from supercosm.compression.coder import load_coder
from supercosm.compression.compress import compress_file, decompress_file
from supercosm.compression.fit import train_coders
from supercosm.config import Config, Evaluation, check, load_config
from supercosm.evaluate import evaluate
from supercosm.fields import density_of, read_density, write_density
from supercosm.files import sha256, write_json
from supercosm.fitsfile import write_slab
from supercosm.halofile import read_haloes, write_haloes
from supercosm.history import read_history
from supercosm.journal import Journal
from supercosm.metering import Cost, read_costs
from supercosm.model import CARD, WEIGHTS, load_model
from supercosm.pairs import PairFile, make_pairs
from supercosm.records.inspect import describe
from supercosm.records.run import read_record, record_run
from supercosm.simulate import simulate_pair
from supercosm.snapshot import Snapshot, from_lattice, read_snapshot, write_snapshot
from supercosm.statistics.haloes import find_haloes
from supercosm.tables import read_table

Reader = Callable[[Path], object]
CODERS = {"pca": {"kind": "pca", "latents": 8}}
PATCHES = {"side": 12, "thickness": 3.125, "block": 4, "training": 300, "test": 60}
FIELDS = ("low/displacement", "high/density", "high/slabs", "initial/small_scales")


@dataclass(frozen=True)
class Kind:
    """One kind of file: the folder with a whole one, the file of it that is damaged, and who reads it.

    form: of its content, for mutations. repair: called with the file afterwards, e.g. to make checksums right again.
    reads: what the readers are given, relative to the folder; the file if None.
    """

    name: str
    folder: Path
    file: str
    readers: tuple[Reader, ...]
    form: str = "bytes"
    reads: str | None = None
    repair: Callable[[Path], None] | None = None


def make(root: Path) -> list[Kind]:
    """Write the whole files into a new folder, and return all kinds. Takes about half a minute."""
    config = Config(simulation=SIMULATION, device="cpu")
    for seed in (TRAINING_SEED, VALIDATION_SEED):
        simulate_pair(config, seed, root / "runs" / str(seed))
    boxes = Boxes({seed: root / "runs" / str(seed) for seed in (TRAINING_SEED, VALIDATION_SEED)}, root / "pairs")
    low, high = (boxes.snapshot(TRAINING_SEED, name, "_a0.5000") for name in ("low", "high"))
    for seed in (TRAINING_SEED, VALIDATION_SEED):
        make_pairs(boxes.snapshot(seed, "low"), boxes.snapshot(seed, "high"), boxes.pairs(seed), 4)
    return [
        *_own(root / "own", read_snapshot(low), read_snapshot(high)),
        *_foreign(root / "foreign", _eighth(read_snapshot(low))),
        *_models(root / "models", boxes),
        *_texts(root / "texts", boxes, config),
    ]


def _eighth(run: Snapshot) -> Snapshot:
    """Return every eighth particle: headers are then much of the files."""
    fields = (field[:, ::2, ::2, ::2] for field in (run.displacement(), run.velocity()))
    return from_lattice(*fields, run.box_size, scale_factor=run.scale_factor, cosmology=run.cosmology)


def _own(root: Path, low: Snapshot, high: Snapshot) -> list[Kind]:
    small = _eighth(low)
    write_snapshot(root / "snapshot" / "x.hdf5", small)
    for name, run in (("low", small), ("high", low)):
        write_snapshot(root / "small" / f"{name}.hdf5", replace(run, provenance={**low.provenance, "seed": 1}))
    for name, bound in (("pairs", None), ("compressed pairs", 0.05)):
        make_pairs(root / "small" / "low.hdf5", root / "small" / "high.hdf5", root / name / "x.hdf5", 2, bound)
    density = density_of(small, 8)
    write_density(root / "density" / "x.hdf5", density)
    write_haloes(root / "haloes" / "x.hdf5", find_haloes(high, minimum=8))
    write_slab(root / "image" / "x.fits", density.data, density.box_size, 10.0, 0.5)
    compress_file(root / "snapshot" / "x.hdf5", root / "box" / "x.scz", None, bound=0.05)
    readers = {
        "snapshot": _snapshot, "pairs": _pairs, "compressed pairs": _pairs, "density": read_density,
        "haloes": read_haloes,
    }  # fmt: skip
    found = [Kind(name, root / name, "x.hdf5", (reader, describe), "hdf5") for name, reader in readers.items()]
    found += [Kind("image", root / "image", "x.fits", (describe,))]
    readers = (_decompress, describe)
    found += [Kind("compressed box", root / "box", "x.scz", readers)]
    return [*found, Kind("compressed box, header", root / "box", "x.scz", readers, "sealed", repair=_seal)]


def _snapshot(path: Path) -> None:
    run = read_snapshot(path)
    assert run.positions.shape == run.velocities.shape == (len(run.ids), 3)
    if not run.fault:
        run.displacement()


def _pairs(path: Path) -> None:
    file = PairFile(path)
    try:
        for name in FIELDS:
            file.read(name)
        file.block("high/velocity", (-2, 3, 5), 4, (1,))
    finally:
        file.close()


def _decompress(path: Path) -> None:
    decompress_file(path, path.with_name("again.hdf5"))


def _seal(path: Path) -> None:
    """Give a compressed file the checksum that it would have if it had been written so."""
    content = path.read_bytes()[: -bitstream.DIGEST]
    path.write_bytes(content + hashlib.sha256(content).digest())


def _foreign(root: Path, run: Snapshot) -> list[Kind]:
    other = foreignfiles.Run(run)
    for name in ("gadget", "gadget4", "swift", "binary1", "binary2", "fields"):
        (root / name).mkdir(parents=True)
    foreignfiles.write_gadget_hdf5(root / "gadget" / "x", other, masses=True)
    foreignfiles.write_gadget_hdf5(root / "gadget4" / "x", other, split=True)
    foreignfiles.write_swift(root / "swift" / "x", other)
    foreignfiles.write_binary(root / "binary1" / "x", other)
    foreignfiles.write_binary(root / "binary2" / "x", other, kind=2, masses=True)
    foreignfiles.write_fields(root / "fields" / "x", run)
    found = [Kind(n, root / n, "x.hdf5", (_snapshot, describe), "hdf5") for n in ("gadget", "gadget4", "swift")]
    found += [Kind(name, root / name, "x", (_snapshot, describe), "binary") for name in ("binary1", "binary2")]
    fields = root / "fields"
    found += [Kind("npy", fields, "x/disp.npy", (_snapshot, describe), "npy", "x")]
    found += [Kind("description", fields, "x/snapshot.yaml", (_snapshot, describe), "yaml", "x")]
    try:
        foreignfiles.write_bigfile(root / "bigfile" / "x", other)
    except ImportError:
        return found
    for name in ("Header/attr-v2", "1/Position/header", "1/ID/000000"):
        form = "binary" if name.endswith("0") else "text"
        found.append(Kind(f"bigfile {name}", root / "bigfile", f"x/{name}", (_snapshot, describe), form, "x"))
    return found


def _models(root: Path, boxes: Boxes) -> list[Kind]:
    random_model(boxes, root / "card" / "x")
    settings = check({"compression": {"coders": CODERS, "patches": PATCHES}})
    coders = settings.compression.expanded()
    data = ([boxes.pairs(TRAINING_SEED)], [boxes.pairs(VALIDATION_SEED)])
    train_coders(settings, coders, data, root / "coders")
    found = []
    for name, source, load in (("model", "card/x", load_model), ("coder", "coders/pca", load_coder)):
        for file, form in ((CARD, "json"), (WEIGHTS, "safetensors")):
            folder = root / f"{name} {form}"
            shutil.copytree(root / source, folder / "x")
            repair = _reseal if file == WEIGHTS else None
            found.append(Kind(f"{name}, {file}", folder, f"x/{file}", (load, describe), form, "x", repair))
    return [*found, _checkpoint(root / "checkpoint", boxes)]


def _reseal(path: Path) -> None:
    """Write the checksum of damaged weights on the card, as somebody would who made them so on purpose."""
    card = json.loads((path.parent / CARD).read_text())
    (path.parent / CARD).write_text(json.dumps(card | {"weights_sha256": sha256(path)}))


def _checkpoint(root: Path, boxes: Boxes) -> Kind:
    """Train until the model is to be written, and not further."""

    def stop(*_: object) -> None:
        raise InterruptedError

    honest, training.publish = training.publish, stop
    data = ([boxes.pairs(TRAINING_SEED)], [boxes.pairs(VALIDATION_SEED)])
    config = configuration()
    try:
        with suppress(InterruptedError):
            training.train(config, "model", data, root / "model", root / "x")
    finally:
        training.publish = honest
    return Kind("checkpoint", root, "x/last.ckpt", (_resume, describe), "bytes", "x")


def _resume(folder: Path) -> None:
    training._steps_done(folder / "last.ckpt", configuration().models["model"].training)


def _texts(root: Path, boxes: Boxes, config: Config) -> list[Kind]:
    low, high = (boxes.snapshot(TRAINING_SEED, name) for name in ("low", "high"))
    place = root / "table" / "x" / "low" / "3"
    compare_files([high], high, place / "x.ecsv", Evaluation(bins=8, mesh=1))
    cost = Cost("sample", 1.0, 2.0, 100.0, "cpu")
    write_json(root / "costs" / "x.json", [asdict(cost)])
    (root / "history").mkdir()
    write_history(root / "history" / "history.csv", np.exp(-np.arange(20) / 5), adversarial=True)
    record_run(config, root / "record" / "x")
    (root / "config").mkdir()
    whole = yaml.safe_dump(config.model_dump(mode="json", include={"simulation", "seeds", "cosmology"}))
    (root / "config" / "x.yaml").write_text(whole)
    Journal(root / "journal" / "x", lambda: cost).note(1, 0, np.zeros((3, 2, 4, 4), np.float32))
    del low
    return [
        Kind("table", root / "table", "x/low/3/x.ecsv", (read_table, _evaluate, describe), "table"),
        Kind("costs", root / "costs", "x.json", (read_costs,), "json"),
        Kind("history", root / "history", "history.csv", (read_history, describe), "text"),
        Kind(
            "record, configuration", root / "record", "x/provenance/config.yaml", (read_record, describe), "yaml", "x"
        ),
        Kind("record, machine", root / "record", "x/provenance/environment.json", (read_record, describe), "json", "x"),
        Kind("configuration", root / "config", "x.yaml", (_configuration, describe), "yaml"),
        Kind("journal", root / "journal", "x/finished.json", (_journal,), "json", "x"),
    ]


def _evaluate(path: Path) -> None:
    evaluate([path], path.with_name("spectra.ecsv"), path.with_name("metrics.ecsv"))


def _configuration(path: Path) -> None:
    load_config([path])


def _journal(folder: Path) -> None:
    Journal(folder, lambda: Cost("sample", 1.0, 2.0, 100.0, "cpu"))
