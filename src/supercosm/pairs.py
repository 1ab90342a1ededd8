"""Paired low- and high-resolution fields of one seed: made from two snapshots, read in periodic blocks."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from supercosm.config import Cosmology
from supercosm.cosmology import growth
from supercosm.errors import DataError
from supercosm.fields import slabs_of
from supercosm.files import UNREADABLE, hdf5_reader, hdf5_writer
from supercosm.initial import Phases, linear_displacement, linear_overdensity
from supercosm.lattice import SAME_OFFSET
from supercosm.mesh import paint, recentred
from supercosm.provenance import provenance
from supercosm.sameboxes import fingerprint
from supercosm.snapshot import Snapshot, read_snapshot
from supercosm.stored import positive, whole_number

KIND = "supercosm pairs"
SAFE = 0.99  # of the bound is what the compressor is asked for: it breaks its promise by the rounding of float32
HUBBLE = 100  # km/s per Mpc/h: what an error of the displacement is worth in velocity
ALIKE = 0.5  # least correlation of displacements of a low and a high run of the same phases; others have about 0
CHUNK = 32  # cells per side of an HDF5 chunk: crops touch few, and each holds a useful amount


def make_pairs(low: str | Path, high: str | Path, output: str | Path, slabs: int, bound: float | None = None) -> None:
    """Turn two snapshots of one seed into paired fields and write them.

    /low and /high hold displacement (3, n, n, n) [Mpc/h], velocity (3, n, n, n) [km/s], density 1 + δ (1, n,
    n, n) and its projections slabs (3, slabs, n, n) along x, y and z. /initial holds, where the seed is
    known, the linear displacement (3, n, n, n) [Mpc/h] of the high-resolution initial conditions at the
    snapshot's time, and of its modes beyond the low run's lattice small_scales (3, n, n, n) [Mpc/h],
    overdensity (1, n, n, n) and slabs. Where lattice points are no cell centres, /low is moved to points that lie
    to those of /high as centres do (see `supercosm.mesh.recentred`). With a bound, displacements are off by that much
    at most [Mpc/h], velocities by 100 times as many km/s, and everything is compressed.
    """
    first, second = read_snapshot(low), read_snapshot(high)
    check_pair(first, second)
    with hdf5_writer(output) as file:
        for name, snapshot, factor in (("low", first, second.side // first.side), ("high", second, 1)):
            _write_group(file.create_group(name), _evolved(snapshot, slabs, factor), bound)
        if "seed" in second.provenance:
            _write_group(file.create_group("initial"), _initial(first, second, slabs), bound)
        _write_attributes(file, first, second, slabs, bound)


def check_pair(low: Snapshot, high: Snapshot) -> None:
    """Raise DataError unless two snapshots are the same universe at the same time at two resolutions."""
    for what, a, b in (
        ("box size [Mpc/h]", low.box_size, high.box_size),
        ("scale factor", low.scale_factor, high.scale_factor),
        *((name, getattr(low.cosmology, name), getattr(high.cosmology, name)) for name in Cosmology.model_fields),
        ("seed", low.provenance.get("seed"), high.provenance.get("seed")),
    ):
        if a != b and not (isinstance(a, float) and np.isclose(a, b, rtol=1e-5)):
            raise DataError(
                f"the two snapshots are no pair: {what} is {a} in the low and {b} in the high run; "
                "give two runs of one seed, cosmology and time"
            )
    if abs(low.offset - high.offset) > SAME_OFFSET:
        raise DataError(
            f"the two snapshots are no pair: offset of the lattice points [cells] is {low.offset} in the low and "
            f"{high.offset} in the high run; give two runs of one code, both with gas or both without"
        )
    if high.side % low.side or high.side == low.side:
        raise DataError(
            f"the two snapshots are no pair: {high.side} particles per side of the high run are no "
            f"multiple (2, 4, …) of the low run's {low.side}"
        )
    for snapshot in (low, high):
        check_lattice(snapshot)
    if "seed" not in high.provenance:  # else the seeds have been compared
        _check_phases(low, high)


def _check_phases(low: Snapshot, high: Snapshot) -> None:
    """Raise DataError unless the high run moves, in the mean over each cell of the low one, about as the latter."""
    n, factor = low.side, high.side // low.side
    blocks = high.displacement().reshape(3, n, factor, n, factor, n, factor).mean(axis=(2, 4, 6), dtype=np.float64)
    r = float(np.corrcoef(low.displacement().ravel(), blocks.ravel())[0, 1])
    if r < ALIKE:
        raise DataError(
            f"the two snapshots are no pair: their displacements are correlated by {r:.2f}, and runs from the same "
            f"initial phases by {ALIKE:g} at least; give two runs of one realisation"
        )


def check_lattice(snapshot: Snapshot) -> None:
    """Raise DataError unless the particles have an even lattice that their IDs name.

    Displacements from the wrong lattice points look like those of random pairs, whose rms per axis is L/√12.
    """
    if snapshot.side % 2:
        raise DataError(f"the snapshot has {snapshot.side} particles per side; lattices here have an even number")
    rms, box_size = float(snapshot.displacement().std()), snapshot.box_size
    if rms > 0.2 * box_size:
        raise DataError(
            f"particles lie {rms:.3g} Mpc/h (rms per axis) from the lattice points their IDs name, in a box of "
            f"{box_size:g} Mpc/h: ID − 1 is not the Lagrangian index in C order, so displacements cannot be formed"
        )


def _evolved(snapshot: Snapshot, slabs: int, factor: int) -> dict[str, np.ndarray]:
    """Return the fields of a run that is to be up-sampled by a factor."""
    density = paint(snapshot.positions, snapshot.box_size, snapshot.side).numpy()
    return {
        "displacement": recentred(torch.from_numpy(snapshot.displacement()), factor, snapshot.offset).numpy(),
        "velocity": recentred(torch.from_numpy(snapshot.velocity()), factor, snapshot.offset).numpy(),
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
    """Return the random phases a simulated snapshot started from; raise DataError when it names no seed."""
    if "seed" not in snapshot.provenance:
        raise DataError(
            "the snapshot does not record the seed of its initial conditions, so its small-scale "
            "modes are not known; draw them instead (phases: drawn)"
        )
    origin = snapshot.provenance
    shared = origin["settings"]["simulation"]["low"] if "small_scales" in origin else 0
    fixed = origin.get("amplitude") == "fixed"
    return Phases(int(origin["seed"]), fixed=fixed, other=origin.get("small_scales"), shared=shared)


def _projections(density: np.ndarray, slabs: int) -> np.ndarray:
    return np.stack([slabs_of(density, slabs, axis) for axis in range(3)])


def _write_group(group: h5py.Group, arrays: dict[str, np.ndarray], bound: float | None) -> None:
    for name, array in arrays.items():
        chunks = (1, *(min(CHUNK, size) for size in array.shape[1:]))
        compression = {} if bound is None else _compression(name, bound)
        group.create_dataset(
            name, data=array.astype(np.float32, copy=False), chunks=chunks, fletcher32=True, **compression
        )


def _compression(name: str, bound: float) -> Mapping[str, Any]:
    """Return the HDF5 filter of a field: vectors within the bound, densities as they are."""
    import hdf5plugin

    if name in ("displacement", "small_scales"):
        return hdf5plugin.SZ3(absolute=SAFE * bound)
    if name == "velocity":
        return hdf5plugin.SZ3(absolute=SAFE * HUBBLE * bound)
    return hdf5plugin.Blosc2(cname="zstd", filters=hdf5plugin.Blosc2.SHUFFLE)


def _write_attributes(file: h5py.File, low: Snapshot, high: Snapshot, slabs: int, bound: float | None) -> None:
    file.attrs["kind"] = np.bytes_(KIND)
    file.attrs["box_size"] = high.box_size
    file.attrs["scale_factor"] = high.scale_factor
    file.attrs["low"], file.attrs["high"] = low.side, high.side
    file.attrs["slabs"] = slabs
    file.attrs["bound"] = bound or 0.0
    file.attrs["cosmology"] = np.bytes_(high.cosmology.model_dump_json())
    known = {} if "seed" in high.provenance else {"fingerprint": fingerprint(low.displacement())}
    parents = [low.provenance, high.provenance]
    origin = provenance("pair", {"slabs": slabs, "bound": bound}, parents=parents, **known)
    file.attrs["provenance"] = np.bytes_(json.dumps(origin, sort_keys=True))
    file.attrs["seed"] = high.provenance.get("seed", -1)


class PairFile:
    """Read access to one pair file: attributes at once, fields in periodic blocks when asked for.

    Raises DataError when the file is missing, damaged or no pair file. The file is opened again in every
    process that reads it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        with hdf5_reader(path, "pair file") as file:
            attributes, self.has_initial = dict(file.attrs), "initial" in file
            if str(np.asarray(attributes.get("kind", "")).astype(str)) != KIND:
                raise DataError(f"{path} is no pair file; make one with `supercosm pair`")
            self.box_size, self.scale_factor = (positive(attributes, name) for name in ("box_size", "scale_factor"))
            self.low, self.high, self.slabs = (whole_number(attributes, name) for name in ("low", "high", "slabs"))
            if self.high % self.low:
                raise ValueError(f"high = {self.high} is no multiple of low = {self.low}")
            if float(attributes.get("bound", 0.0)) > 0:
                import hdf5plugin  # noqa: F401 - which tells HDF5 how to read compressed fields
            self.seed = whole_number(attributes, "seed", -1)
            self.cosmology = Cosmology.model_validate_json(attributes["cosmology"])
            self.provenance = dict(json.loads(attributes["provenance"]))

    def _open(self) -> h5py.File:
        if self._file is None or self._process != os.getpid():  # HDF5 handles do not survive a fork
            self._file, self._process = h5py.File(self.path, "r"), os.getpid()
        return self._file

    def _stored(self, name: str) -> h5py.Dataset:
        """Return a data set whose last two axes are those of its lattice."""
        data, side = self._open()[name], self.low if name.startswith("low/") else self.high
        if not isinstance(data, h5py.Dataset) or data.ndim != 4 or data.shape[2:] != (side, side):
            raise ValueError(f"it is no field of {side} cells per side, but {data}")
        return data

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
        return self.block(name, (), 0)

    def block(self, name: str, start: tuple[int, ...], count: int, lead: tuple[int, ...] = ()) -> np.ndarray:
        """Read `count` cells along each of the last len(start) axes from `start` on, periodic: (…, count, …).

        `lead`: indices of the first axes, which then fall away.
        """
        try:
            array = _periodic(self._stored(name), start, count, lead)
        except UNREADABLE as error:  # as a flipped bit may have it
            raise DataError(f"{self.path}:/{name} is missing or damaged ({error}); make the file again") from error
        if not np.isfinite(array).all():
            raise DataError(f"{self.path}:/{name} holds NaN or infinite values; make the file again")
        return array


def digest_of(files: Sequence[PairFile]) -> str:
    """Tell pair files apart by their origin and a piece of each, in hexadecimal digits."""
    found = hashlib.sha256()
    for file in files:
        found.update(json.dumps(file.provenance, sort_keys=True).encode())
        found.update(file.block("high/density", (0, 0, 0), min(CHUNK, file.high)).tobytes())
    return found.hexdigest()


def _periodic(dataset: h5py.Dataset, start: tuple[int, ...], count: int, lead: tuple[int, ...]) -> np.ndarray:
    sizes = dataset.shape[dataset.ndim - len(start) :]
    between = dataset.shape[len(lead) : dataset.ndim - len(start)]
    out = np.empty((*between, *(count for _ in start)), np.float32)
    for pieces in itertools.product(*(_pieces(*axis, count) for axis in zip(start, sizes, strict=True))):
        source, target = [piece[0] for piece in pieces], [piece[1] for piece in pieces]
        out[(..., *target)] = dataset[(*lead, ..., *source)]
    return out


def _pieces(start: int, size: int, count: int) -> list[tuple[slice, slice]]:
    """Split a periodic range into slices that do not wrap, with their places in the result."""
    pieces, done = [], 0
    while done < count:
        here = (start + done) % size
        length = min(count - done, size - here)
        pieces.append((slice(here, here + length), slice(done, done + length)))
        done += length
    return pieces
