"""Paired low- and high-resolution fields of one seed: made from two snapshots, read back in periodic crops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from supercosm.config import Cosmology
from supercosm.cosmology import growth
from supercosm.errors import DataError
from supercosm.fields import slabs_of
from supercosm.files import whole
from supercosm.initial import Phases, linear_displacement, linear_overdensity
from supercosm.mesh import paint
from supercosm.provenance import provenance
from supercosm.snapshot import Snapshot, read_snapshot

CHUNK = 32  # cells per side of an HDF5 chunk: crops touch few, and each holds a useful amount


def make_pairs(low: str | Path, high: str | Path, output: str | Path, slabs: int) -> None:
    """Turn two snapshots of one seed into paired fields and write them.

    /low and /high hold displacement (3, n, n, n) [Mpc/h], velocity (3, n, n, n) [km/s], density 1 + δ (1, n, n, n) and
    its projections slabs (3, slabs, n, n) along x, y and z. /initial holds, where the seed is known, the linear
    displacement (3, n, n, n) [Mpc/h] of the high-resolution initial conditions at the snapshot's time, and of its modes
    beyond the low run's lattice small_scales (3, n, n, n) [Mpc/h], overdensity (1, n, n, n) and slabs.
    """
    first, second = read_snapshot(low), read_snapshot(high)
    check_pair(first, second)
    with whole(output) as part, h5py.File(part, "w") as file:
        for name, snapshot in (("low", first), ("high", second)):
            _write_group(file.create_group(name), _evolved(snapshot, slabs))
        if "seed" in second.provenance:
            _write_group(file.create_group("initial"), _initial(first, second, slabs))
        _write_attributes(file, first, second, slabs)


def check_pair(low: Snapshot, high: Snapshot) -> None:
    """Raise DataError unless two snapshots are the same universe at the same time at two resolutions."""
    for what, a, b in (
        ("box size [Mpc/h]", low.box_size, high.box_size),
        ("scale factor", low.scale_factor, high.scale_factor),
        ("Omega_m", low.cosmology.Omega_m, high.cosmology.Omega_m),
        ("seed", low.provenance.get("seed"), high.provenance.get("seed")),
    ):
        if a != b and not (isinstance(a, float) and np.isclose(a, b, rtol=1e-5)):
            raise DataError(f"the two snapshots are no pair: {what} is {a} in the low and {b} in the high run")
    if high.side % low.side or high.side == low.side:
        raise DataError(f"{high.side} particles per side are no multiple of the low run's {low.side}")


def _evolved(snapshot: Snapshot, slabs: int) -> dict[str, np.ndarray]:
    density = paint(snapshot.positions, snapshot.box_size, snapshot.side).numpy()
    return {
        "displacement": snapshot.displacement(),
        "velocity": snapshot.velocity(),
        "density": density[None],
        "slabs": _projections(density, slabs),
    }


def _initial(low: Snapshot, high: Snapshot, slabs: int) -> dict[str, np.ndarray]:
    phases = phases_of(high)
    arguments = (phases, high.cosmology, high.box_size, high.side)
    D = growth(high.cosmology, high.scale_factor).D
    overdensity = D * linear_overdensity(*arguments, beyond=low.side).numpy()
    return {
        "displacement": D * linear_displacement(*arguments).numpy(),
        "small_scales": D * linear_displacement(*arguments, beyond=low.side).numpy(),
        "overdensity": overdensity[None],
        "slabs": _projections(overdensity, slabs),
    }


def phases_of(snapshot: Snapshot) -> Phases:
    """Return the random phases a simulated snapshot started from; raise DataError when its seed is not recorded."""
    if "seed" not in snapshot.provenance:
        raise DataError(
            "the snapshot does not record the seed of its initial conditions, so its small-scale modes are not known; "
            "draw them instead (phases: drawn)"
        )
    return Phases(int(snapshot.provenance["seed"]), fixed=snapshot.provenance.get("amplitude") == "fixed")


def _projections(density: np.ndarray, slabs: int) -> np.ndarray:
    return np.stack([slabs_of(density, slabs, axis) for axis in range(3)])


def _write_group(group: h5py.Group, arrays: dict[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        chunks = (1, *(min(CHUNK, size) for size in array.shape[1:]))
        group.create_dataset(name, data=array.astype(np.float32, copy=False), chunks=chunks, fletcher32=True)


def _write_attributes(file: h5py.File, low: Snapshot, high: Snapshot, slabs: int) -> None:
    file.attrs["kind"] = "supercosm pairs"
    file.attrs["box_size"] = high.box_size
    file.attrs["scale_factor"] = high.scale_factor
    file.attrs["low"], file.attrs["high"] = low.side, high.side
    file.attrs["slabs"] = slabs
    file.attrs["cosmology"] = high.cosmology.model_dump_json()
    origin = provenance("pair", {"slabs": slabs}, parents=[low.provenance, high.provenance])
    file.attrs["provenance"] = json.dumps(origin, sort_keys=True)
    file.attrs["seed"] = high.provenance.get("seed", -1)


class PairFile:
    """Read access to one pair file: attributes at once, fields in periodic blocks when asked for.

    Raises DataError when the file is missing, damaged or no pair file. The file is opened again in every process
    that reads it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        attributes = dict(self._open().attrs)
        if attributes.get("kind") != "supercosm pairs":
            raise DataError(f"{path} is no pair file; make one with `supercosm pair`")
        self.box_size, self.scale_factor = float(attributes["box_size"]), float(attributes["scale_factor"])
        self.low, self.high = int(attributes["low"]), int(attributes["high"])
        self.slabs, self.seed = int(attributes["slabs"]), int(attributes["seed"])
        self.cosmology = Cosmology.model_validate_json(attributes["cosmology"])
        self.provenance = json.loads(attributes["provenance"])
        self.has_initial = "initial" in self._open()
        self.close()

    def _open(self) -> h5py.File:
        if self._file is None:
            try:
                self._file = h5py.File(self.path, "r")
            except OSError as error:
                raise DataError(f"{self.path} cannot be read as HDF5 ({error}); make it again") from error
        return self._file

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind when a data-loading process receives a copy."""
        return {**self.__dict__, "_file": None}

    def read(self, name: str) -> np.ndarray:
        """Read a whole field, e.g. "low/displacement"."""
        return self.block(name, (), None)

    def block(self, name: str, start: tuple[int, ...], count: int | None) -> np.ndarray:
        """Read `count` cells along each of the last len(start) axes from `start` on, periodic: (…, count, …)."""
        dataset = self._open()[name]
        try:
            array = dataset[()] if count is None else _periodic(dataset, start, count)
        except OSError as error:
            raise DataError(f"{self.path}:/{name} is damaged ({error}); make the file again") from error
        if not np.isfinite(array).all():
            raise DataError(f"{self.path}:/{name} holds NaN or infinite values; make the file again")
        return array


def _periodic(dataset: h5py.Dataset, start: tuple[int, ...], count: int) -> np.ndarray:
    lead = dataset.ndim - len(start)
    out = np.empty((*dataset.shape[:lead], *(count for _ in start)), np.float32)

    def fill(axis: int, source: tuple, target: tuple) -> None:
        if axis == len(start):
            out[(slice(None),) * lead + target] = dataset[(slice(None),) * lead + source]
            return
        size = dataset.shape[lead + axis]
        done = 0
        while done < count:
            here = (start[axis] + done) % size
            length = min(count - done, size - here)
            fill(axis + 1, (*source, slice(here, here + length)), (*target, slice(done, done + length)))
            done += length

    fill(0, (), ())
    return out
