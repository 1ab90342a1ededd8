"""Write a file of every kind in a child process that may not, or that dies on the way; print what came of it as JSON.

    python writing.py FOLDER limit|killed|renaming

limit: files may have a few bytes alone, as on a full disk. killed: the kernel kills the writer when it writes more.
renaming: the writer is killed when the file is written, and not yet there under its name.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["NUMBA_THREADING_LAYER"] = "workqueue"  # GNU's OpenMP ends processes that were forked

import numpy as np
import torch
from astropy.table import QTable
from matplotlib.figure import Figure

from supercosm.callbacks import WholeCheckpoints
from supercosm.compression import bitstream
from supercosm.config import Config, Cosmology
from supercosm.errors import SupercosmError
from supercosm.features import Features, Scales
from supercosm.fields import density_of, write_density
from supercosm.files import whole, write_json
from supercosm.fitsfile import write_slab
from supercosm.halofile import write_haloes
from supercosm.history import write_history
from supercosm.metering import Cost, Meter
from supercosm.model import ModelCard, build_network, save_model
from supercosm.pairs import make_pairs
from supercosm.records.run import record_run
from supercosm.snapshot import Snapshot, from_lattice, write_snapshot
from supercosm.statistics.haloes import find_haloes
from supercosm.tables import write_table

FEW = 600  # bytes, less than any of these files has
SIDE, BOX = 8, 20.0
Writer = Callable[[Path], None]


def fields() -> dict[int, Snapshot]:
    """Return a snapshot of 8³ particles, and a wave of them on 16³."""
    runs = {}
    for n in (SIDE, 2 * SIDE):
        wave = np.sin(2 * np.pi * (np.arange(n) + 0.5) / n, dtype=np.float32)
        moved = np.broadcast_to(wave[None, :, None, None], (3, n, n, n)).copy()
        runs[n] = from_lattice(moved, moved, BOX, scale_factor=1.0, cosmology=Cosmology())
    return runs


def writers(folder: Path) -> dict[str, Writer]:
    """Return what writes each kind of file at a path; what they start from is written into a folder."""
    low, high = fields().values()
    sources = [folder / "sources" / f"{name}.hdf5" for name in ("low", "high")]
    for path, run in zip(sources, (low, high), strict=True):
        write_snapshot(path, run)
    density = density_of(high, 2 * SIDE)
    haloes = find_haloes(high, minimum=2)
    numbers = QTable({"k": np.linspace(0, 1, 200), "P": np.linspace(1, 2, 200)})
    picture = Figure()
    picture.subplots().plot([0, 1], [1, 0])
    cost = Meter(torch.device("cpu"))
    cost.costs += [Cost("sample", 1.0, 2.0, 100.0, "cpu")] * 20
    rows = [{"step": step, "train_loss": 1.0, "validation_loss": 1.0} for step in range(100)]
    return {
        "x.hdf5": lambda path: write_snapshot(path, high),
        "pairs.hdf5": lambda path: make_pairs(*sources, path, 2),
        "density.hdf5": lambda path: write_density(path, density),
        "haloes.hdf5": lambda path: write_haloes(path, haloes),
        "x.fits": lambda path: write_slab(path, density.data, BOX, 5.0, 1.0),
        "x.ecsv": lambda path: write_table(path, numbers),
        "x.png": lambda path: _figure(path, picture),
        "model.safetensors": lambda path: _model(path.parent),
        "last.ckpt": lambda path: WholeCheckpoints().save_checkpoint({"x": torch.zeros(10_000)}, path),
        "history.csv": lambda path: write_history(path, rows),
        "cost.json": lambda path: cost.write(path),
        "x.scz": lambda path: bitstream.write(path, {"kind": "x"}, {"latents": bytes(5000)}),
        "index.html": lambda path: _page(path),
        "config.yaml": lambda path: record_run(Config(), path.parent.parent),
        "x.json": lambda path: write_json(path, "0" * 5000),
    }


def _figure(path: Path, picture: Figure) -> None:
    with whole(path) as part:
        picture.savefig(part, format="png")


def _page(path: Path) -> None:
    with whole(path) as part:  # as report.py does
        part.write_text("x" * 5000, encoding="utf-8")


def _model(folder: Path) -> None:
    config = Config(models={"x": {"family": "unet", "network": {"channels": 4}}})
    settings = config.models["x"]
    card = ModelCard.model_construct(name="x", settings=settings)
    save_model(folder, build_network(settings, Features(settings, 1.0, Scales())), card)


def attempt(how: str, write: Writer, path: Path) -> str:
    """Write a file in a child; return its sentence, the name of its error or of the signal that killed it."""
    read, told = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.write(told, _write(how, write, path).encode())
        os._exit(0)
    os.close(told)
    with open(read, encoding="utf-8") as pipe:
        said = pipe.read()
    status = os.waitpid(child, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else said


def _write(how: str, write: Writer, path: Path) -> str:
    if how == "renaming":
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    else:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN if how == "limit" else signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (FEW, FEW))
    try:
        write(path)
    except SupercosmError as error:
        return str(error)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "written"


def main(folder: Path, how: str) -> None:
    """Try every writer, then again without a hindrance; print what was said and what lay there after each."""
    found = {}
    for name, write in writers(folder).items():
        path = folder / name.replace(".", "-") / "provenance" / name
        said = attempt(how, write, path)
        left = sorted(file.name for file in path.parent.glob("*"))
        write(path)
        found[name] = {"said": said, "left": left, "again": sorted(file.name for file in path.parent.glob("*"))}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
