"""What it does to a sample when the low run's large scales are kept exactly: r and T against the true run, on and off.

    python benchmarks/consistency.py --model FOLDER … --simulation FOLDER … [--fraction 0.5] [--output FILE.ecsv]

A model folder as `supercosm train` writes it; a simulation folder with low.hdf5 and high.hdf5, which no model has seen.
Beside the models stands the up-sampled low run itself, whose modes are what is kept. r and T = √(P/P_true) are means
over bins one fundamental mode wide, up to half the low run's Nyquist frequency and from there to all of it.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from astropy.table import Table

from supercosm.baselines import Baseline
from supercosm.fields import density_of
from supercosm.model import load_model
from supercosm.provenance import machine
from supercosm.snapshot import Snapshot, read_snapshot
from supercosm.statistics.power import CLOUD_IN_CELL, compare
from supercosm.superresolution import superresolve

FIELDS = ("density", "displacement", "velocity")
BANDS = ("half", "rest")


def measure(sample: Snapshot, truth: Snapshot, low: int) -> dict[str, float]:
    """Return r and T of each field in both bands of the low run's wave numbers."""
    edges, found = np.arange(0.5, low // 2 + 1), {}
    for field in FIELDS:
        if field == "density":
            one, other = (density_of(snapshot, truth.side).data[None] for snapshot in (sample, truth))
        else:
            one, other = (getattr(snapshot, field)() for snapshot in (sample, truth))
        window = CLOUD_IN_CELL if field == "density" else 0
        spectra = compare(one, other, truth.box_size, edges, window=window)
        half = spectra.k < np.pi * low / truth.box_size / 2
        for band, chosen in zip(BANDS, (half, ~half), strict=True):
            found[f"r_{field}_{band}"] = float(spectra.correlation[chosen].mean())
            found[f"T_{field}_{band}"] = float(spectra.transfer[chosen].mean())
    return found


def rows_of(options: argparse.Namespace) -> list[dict]:
    rows = []
    for folder in options.simulation:
        low, truth = (read_snapshot(folder / f"{resolution}.hdf5") for resolution in ("low", "high"))
        models = {"low": Baseline("low", truth.side // low.side)}
        models |= {path.name: load_model(path) for path in options.model}
        for name, model in models.items():
            for fraction in (None,) if name == "low" else (None, options.fraction):
                sample = superresolve(low, model, options.seed, consistency=fraction)
                rows.append({"model": name, "box": folder.name, "consistency": fraction or 0.0})
                rows[-1] |= measure(sample, truth, low.side)
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, action="append", required=True)
    parser.add_argument("--simulation", type=Path, action="append", required=True)
    parser.add_argument("--fraction", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    table = Table(rows=rows_of(options))
    for name in table.colnames[3:]:
        table[name] = np.round(table[name], 4)
    table.meta = {
        "what": "a sample against the true run, without and with the low run's modes kept below a fraction of k_Ny",
        "half": "means over bins up to k_Ny/2; rest: from there to k_Ny",
        "seed": options.seed,
        "load": round(os.getloadavg()[0], 1),
        **machine(),
    }
    table.pprint_all()
    if options.output:
        table.write(options.output, format="ascii.ecsv", overwrite=True)


if __name__ == "__main__":
    main()
