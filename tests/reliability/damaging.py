"""How a file is damaged in place: entries of HDF5 as another program might have written them, content of all others."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from mutations import NUMBERS, OF_CONTENT, bytewise, changed, dumped


def damage(dice: random.Random, path: Path, form: str) -> None:
    """Damage a file in place."""
    if form == "hdf5":
        hdf5(dice, path)
    else:
        path.write_bytes(OF_CONTENT[form](dice, path.read_bytes()))


def hdf5(dice: random.Random, path: Path) -> None:
    """Change attributes and data sets of a file, as another program might have written them; or its bytes."""
    if dice.random() < 0.25:
        path.write_bytes(bytewise(dice, path.read_bytes()))
        return
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        entries: list[str] = ["/"]
        file.visit(entries.append)
        for _ in range(dice.choice((1, 1, 2))):
            entry = file.get(dice.choice(entries))
            if entry is None:
                continue
            if len(entry.attrs) and dice.random() < 0.6:
                _attribute(dice, entry.attrs)
            elif entry.name != "/":
                _replace(dice, file, entry.name.strip("/"))


def _attribute(dice: random.Random, attributes: h5py.AttributeManager) -> None:
    name = dice.choice(list(attributes))
    value = attributes[name]
    if isinstance(value, bytes | np.bytes_) and value[:1] == b"{" and dice.random() < 0.7:
        attributes[name] = np.bytes_(dumped(changed(dice, json.loads(value)))[:60_000])
        return
    del attributes[name]
    shape = np.shape(value)
    number = dice.choice([v for v in NUMBERS if abs(v) < 2**63])
    made: tuple[Callable[[], Any], ...] = (
        lambda: None,
        lambda: np.float64(number), lambda: np.full(shape or 1, number), lambda: np.int64(number),
        lambda: np.float64("nan"), lambda: np.float64("inf"), lambda: np.full(shape or 3, np.nan),
        lambda: h5py.Empty("f4"), lambda: h5py.Empty("S1"), lambda: np.zeros((0,)), lambda: np.zeros((2, 0, 3)),
        lambda: np.bytes_("word"), lambda: "text \u03b4", lambda: np.bytes_(b"\xff\xfe"), lambda: [b"a", b"b"],
        lambda: np.zeros(3, [("a", "i4"), ("b", "f8")]), lambda: np.zeros(500), lambda: np.complex128(1j),
        lambda: True, lambda: np.array([number]), lambda: np.bytes_(b"[" * 50_000),
    )  # fmt: skip
    new = dice.choice(made)()
    if new is not None:
        attributes[name] = new


def _replace(dice: random.Random, file: h5py.File, name: str) -> None:
    old = file[name]
    shape = old.shape if isinstance(old, h5py.Dataset) else (8, 3)
    data = old[()] if isinstance(old, h5py.Dataset) else np.zeros(shape)
    attributes = dict(old.attrs)
    del file[name]
    huge = (2**40, *shape[1:])
    made: tuple[Callable[[], Any], ...] = (
        lambda: None,
        lambda: file.create_group(name),
        lambda: file.create_dataset(name, huge, "f4", chunks=(1024, *shape[1:])),
        lambda: file.create_dataset(name, huge, "f8", chunks=(1024, *shape[1:]), compression="gzip"),
        lambda: file.create_dataset(name, tuple(reversed(shape)), "f4"),
        lambda: file.create_dataset(name, shape[:-1], "f4"),
        lambda: file.create_dataset(name, (*shape, 2), "f4"),
        lambda: file.create_dataset(name, (0, *shape[1:]), "f4"),
        lambda: file.create_dataset(name, data=h5py.Empty("f4")),
        lambda: file.create_dataset(name, shape, h5py.string_dtype()),
        lambda: file.create_dataset(name, shape, h5py.vlen_dtype(np.float32)),
        lambda: file.create_dataset(name, shape, h5py.ref_dtype),
        lambda: file.create_dataset(name, shape, [("a", "f4"), ("b", "i8")]),
        lambda: file.create_dataset(name, shape, "S8"),
        lambda: file.create_dataset(name, shape, np.complex64),
        lambda: file.create_dataset(name, shape, "i1"),
        lambda: file.create_dataset(name, data=np.full(shape, np.nan, np.float32)),
        lambda: file.create_dataset(name, data=np.full(shape, dice.choice((-1e30, 1e30, 0, -1)), np.float64)),
        lambda: file.create_dataset(name, data=np.asarray(data)[: max(1, shape[0] // 2)]),
        lambda: file.create_dataset(name, data=np.asarray(data, np.float64)),
        lambda: file.create_dataset(name, data=np.asarray(data)[::-1]),
        lambda: file.create_dataset(name, shape, "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)]),
        lambda: file.create_virtual_dataset(name, _virtual(shape)),
        lambda: file.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/x")),
        lambda: file.__setitem__(name, h5py.SoftLink(f"/{name}")),
        lambda: file.__setitem__(name, h5py.SoftLink("/")),
        lambda: file.__setitem__(name, np.dtype("f4")),
    )  # fmt: skip
    dice.choice(made)()
    with_attributes = file.get(name)
    for key, value in attributes.items() if isinstance(with_attributes, h5py.Dataset) else ():
        with_attributes.attrs[key] = value


def _virtual(shape: tuple[int, ...]) -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout(shape, "f4")
    layout[...] = h5py.VirtualSource("other.hdf5", "x", shape)
    return layout
