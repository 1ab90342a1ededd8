"""Combine the comparisons of all entries and seeds into mean curves with scatter, and rows of metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import QTable, vstack

from supercosm.errors import DataError
from supercosm.provenance import provenance
from supercosm.statistics.power import correlation
from supercosm.tables import DENSITY_POWER, DISPLACEMENT_POWER, WAVE_NUMBER, read_table, write_table

FIELDS = {"density": DENSITY_POWER, "displacement": DISPLACEMENT_POWER}
NUMBERS = ("scale_factor", "box_size", "k_Nyquist_low", "k_Nyquist_high")  # of a header, positive


@dataclass(frozen=True)
class Curves:
    """Spectra of one entry and one field: k (bins,), the rest (seeds, bins), averaged over samples.

    T² = P/P_reference; r and twin are correlations with the reference and with the next sample; `nyquist` is
    the low run's Nyquist frequency [h/Mpc].
    """

    k: np.ndarray
    P: np.ndarray
    P_reference: np.ndarray
    r: np.ndarray
    twin: np.ndarray
    nyquist: float

    @property
    def ratio(self) -> np.ndarray:
        """P/P_reference (seeds, bins)."""
        return self.P / self.P_reference

    @property
    def transfer(self) -> np.ndarray:
        """Transfer function √(P/P_reference) (seeds, bins)."""
        return np.sqrt(self.ratio)

    def below(self, times: float) -> np.ndarray:
        """Whether a bin lies below `times` the low run's Nyquist frequency; the first bin always does."""
        return (self.k <= times * self.nyquist) | (np.arange(len(self.k)) == 0)

    def at(self, curve: np.ndarray, times: float) -> np.ndarray:
        """Interpolate a curve at so many low Nyquist frequencies (seeds,); constant past the last bin."""
        return np.array([np.interp(times * self.nyquist, self.k, one) for one in curve])


# Each metric is computed for every seed. Nyquist frequencies are those of the low-resolution run.
METRICS: dict[str, Callable[[Curves], np.ndarray]] = {
    "T_error_nyquist": lambda c: np.abs(c.transfer - 1)[:, c.below(1)].mean(1),
    "T_error_double": lambda c: np.abs(c.transfer - 1)[:, c.below(2)].mean(1),
    "T_error_all": lambda c: np.abs(c.transfer - 1).mean(1),
    "T_worst_nyquist": lambda c: np.abs(c.transfer - 1)[:, c.below(1)].max(1),
    "P_worst_nyquist": lambda c: np.abs(c.ratio - 1)[:, c.below(1)].max(1),
    "P_worst_double": lambda c: np.abs(c.ratio - 1)[:, c.below(2)].max(1),
    "r_worst_quarter": lambda c: c.r[:, c.below(0.25)].min(1),
    "r_worst_nyquist": lambda c: c.r[:, c.below(1)].min(1),
    "r_nyquist": lambda c: c.at(c.r, 1),
    "r_double": lambda c: c.at(c.r, 2),
    "twin_double": lambda c: c.at(c.twin, 2),
}


def evaluate(comparisons: Sequence[Path], output_spectra: Path, output_metrics: Path) -> None:
    """Combine the tables that the compare stage wrote and write the spectra and the metrics."""
    spectra, metrics = combine([_read(path) for path in comparisons])
    write_table(output_spectra, spectra)
    write_table(output_metrics, metrics)


def _read(path: Path) -> QTable:
    """Read a comparison; raise DataError where a column is missing."""
    table = read_table(path)
    measured = [field for field in FIELDS if f"{field}_P" in table.colnames]
    wanted = {"k", "sample", "modes", *(f"{field}_{name}" for field in measured for name in ("P_reference", "P_cross"))}
    if lacking := wanted - set(table.colnames):
        raise DataError(f"{path} lacks the columns {', '.join(sorted(lacking))}; it is damaged: compare again")
    return table


def combine(tables: Sequence[QTable]) -> tuple[QTable, QTable]:
    """Return (spectra, metrics) of compared samples, entries in the order of their first appearance.

    spectra, one row per entry and bin: for each field f the means over seeds f_P, f_P_reference, f_T, f_r,
    f_twin and for the last three the scatter between seeds: f_…_std, f_…_min, f_…_max. metrics, one row per
    entry: f_<metric> (mean over seeds) and f_<metric>_std. A quantity that an entry lacks, or a scatter of
    one seed, is NaN. Raises DataError when tables do not belong together.
    """
    groups = _by_entry(tables)
    spectra, metrics = [], []
    for entry, group in groups.items():
        curves = {field: _curves(entry, group, field) for field in FIELDS}
        spectra.append(_spectra(entry, group, curves))
        metrics.append(_metrics(entry, group, curves))
    both = vstack(spectra, metadata_conflicts="silent"), vstack(metrics, metadata_conflicts="silent")
    for table in both:
        table.meta = _meta(tables)
    return both


def _by_entry(tables: Sequence[QTable]) -> dict[str, list[QTable]]:
    if not tables:
        raise DataError("there is nothing to evaluate: give the tables that the compare stage wrote")
    groups: dict[str, list[QTable]] = {}
    for table in tables:
        _check_header(table.meta)
        group = groups.setdefault(table.meta["entry"], [])
        if any(other.meta["seed"] == table.meta["seed"] for other in group):
            raise DataError(f"entry '{table.meta['entry']}' comes twice with seed {table.meta['seed']}; give each once")
        group.append(table)
    for key in ("box_size", "k_Nyquist_low", "k_Nyquist_high"):
        values = sorted({table.meta[key] for table in tables})
        if len(values) > 1:
            raise DataError(f"the tables differ in {key}: {values}; evaluate runs of one configuration together")
    return groups


def _check_header(header: dict[str, Any]) -> None:
    """Raise DataError where something that tables are grouped and scaled by is missing, or is no number."""
    entry = str(header.get("entry", "?"))[:40]
    if lacking := [key for key in ("entry", "seed", "dimensions", *NUMBERS) if header.get(key) is None]:
        raise DataError(
            f"a table of entry '{entry}' lacks {', '.join(lacking)} in its header: compare snapshots written by the "
            "superresolve stage, whose provenance holds them"
        )
    wrong = {key: header[key] for key in NUMBERS if not _positive(header[key])}
    wrong |= {key: header[key] for key, kind in (("entry", str), ("dimensions", int)) if type(header[key]) is not kind}
    if wrong:
        told = ", ".join(f"{key} = {str(value)[:40]!r}" for key, value in wrong.items())
        raise DataError(f"the header of a compared table is damaged: {told} is impossible; compare again")


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value < math.inf


def _curves(entry: str, group: Sequence[QTable], field: str) -> Curves | None:
    """Gather one field of one entry; None where any seed lacks it."""
    if any(f"{field}_P" not in table.colnames for table in group):
        return None
    k = _bins(group[0])
    if not all(len(_bins(table)) == len(k) and np.allclose(_bins(table), k) for table in group):
        raise DataError(f"the seeds of entry '{entry}' were measured in different bins; compare them again")
    found = [_seed_curves(table, field, len(k)) for table in group]
    return Curves(k, *(np.array(lines) for lines in zip(*found, strict=True)), group[0].meta["k_Nyquist_low"])


def _bins(table: QTable) -> np.ndarray:
    """Mean wave numbers [h/Mpc] of the bins, which every sample repeats."""
    return table["k"].value[: len(table) // len(set(table["sample"]))]


def _seed_curves(table: QTable, field: str, bins: int) -> tuple[np.ndarray, ...]:
    """Average one seed over its samples: P, P_reference, r and twin, each (bins,)."""

    def read(name: str) -> np.ndarray:
        return table[f"{field}_{name}"].value.reshape(-1, bins)

    P, reference = read("P"), read("P_reference")
    twin = np.full_like(P, np.nan)
    if f"{field}_P_twin" in table.colnames:
        twin = correlation(P, np.roll(P, -1, axis=0), read("P_twin"))
    return P.mean(0), reference[0], correlation(P, reference, read("P_cross")).mean(0), twin.mean(0)


def _spectra(entry: str, group: Sequence[QTable], curves: dict[str, Curves | None]) -> QTable:
    first = group[0]
    bins = len(_bins(first))
    table = QTable()
    table["entry"] = np.full(bins, entry)
    table["scale_factor"] = np.full(bins, first.meta["scale_factor"])
    table["dimensions"] = np.full(bins, first.meta["dimensions"])
    table["k"] = _bins(first) * WAVE_NUMBER
    table["modes"] = first["modes"][:bins]
    empty = np.full((1, bins), np.nan)
    for field, unit in FIELDS.items():
        found = curves[field]
        for name in ("P", "P_reference"):
            table[f"{field}_{name}"] = (empty if found is None else getattr(found, name)).mean(0) * unit
        for name, attribute in (("T", "transfer"), ("r", "r"), ("twin", "twin")):
            values = empty if found is None else getattr(found, attribute)
            table[f"{field}_{name}"] = values.mean(0)
            table[f"{field}_{name}_std"] = _scatter(values)
            table[f"{field}_{name}_min"], table[f"{field}_{name}_max"] = values.min(0), values.max(0)
    return table


def _metrics(entry: str, group: Sequence[QTable], curves: dict[str, Curves | None]) -> QTable:
    first = group[0]
    row: dict[str, Any] = {
        "entry": entry,
        "scale_factor": first.meta["scale_factor"],
        "dimensions": first.meta["dimensions"],
        "seeds": len(group),
        "samples": len(set(first["sample"])),
    }
    for field in FIELDS:
        found = curves[field]
        for name, metric in METRICS.items():
            values = np.full(1, np.nan) if found is None else metric(found)
            row[f"{field}_{name}"] = float(values.mean())
            row[f"{field}_{name}_std"] = float(_scatter(values))
    return QTable(rows=[row])


def _scatter(values: np.ndarray) -> np.ndarray:
    """Sample standard deviation over seeds (first axis); NaN for a single seed, which shows no scatter."""
    return values.std(0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)


def _meta(tables: Sequence[QTable]) -> dict[str, Any]:
    first = tables[0].meta
    kept = ("box_size", "k_Nyquist_low", "k_Nyquist_high", "shot_noise", "units")
    seeds = sorted({str(table.meta["seed"]) for table in tables})
    origin = first.get("provenance", {})
    parents = [f"{table.meta['entry']}/{table.meta['seed']}" for table in tables]
    return {key: first[key] for key in kept if key in first} | {
        "seeds": seeds,
        "provenance": provenance("evaluate", origin.get("settings", {}), parents=parents),
    }
