"""Runs with gas, stars and black holes, written as other codes write them: dark matter is moved and lighter."""

import struct

import h5py
import numpy as np
from foreignfiles import Run, binary_header, names, record, write_bigfile, write_gadget_hdf5, write_swift

TYPES = {0: 3000, 4: 700, 5: 6}
LEFT_OUT = {"gas": 3000, "stars": 700, "black holes": 6}


class HydroRun(Run):
    """A run whose matter is split as generators of initial conditions do it: dark matter moved by −f/2 of a cell.

    f = Omega_b/Omega_m. Gas is moved the other way, which nobody looks at: baryons here lie anywhere, and weigh f.
    """

    def __init__(self, snapshot, order="C", first=1, stride=1):
        super().__init__(snapshot, order, 0)
        share = snapshot.cosmology.Omega_b / snapshot.cosmology.Omega_m
        self.ids = first + stride * self.ids
        self.moved = -0.5 * share
        self.positions = (self.positions + self.moved * self.box / snapshot.side) % self.box
        random = np.random.default_rng(7)
        self.weights = {kind: random.uniform(0.5, 1.5, number) for kind, number in TYPES.items()}
        self.weights[5] *= 1e-3
        total = sum(weights.sum() for weights in self.weights.values())
        matter = self.mass * len(self.ids)
        self.weights = {kind: share * matter / total * weights for kind, weights in self.weights.items()}
        self.places = {kind: random.uniform(0, self.box, (number, 3)) for kind, number in TYPES.items()}
        self.mass *= 1 - share


def add_baryons(paths, run, per_length, per_mass, black_holes="Masses"):
    """Add the other types to the first and the last of HDF5 files; of several, the last has no dark matter.

    per_length, per_mass: of the file, in Mpc/h and 1e10 Msun/h. One file more is made for the latter.
    """
    if len(paths) > 1:
        paths = [*paths, paths[0].with_name(paths[0].name.replace(".0.", f".{len(paths)}."))]
        with h5py.File(paths[0]) as first, h5py.File(paths[-1], "w") as last:
            for name in set(first) - {"PartType1"}:
                first.copy(name, last)
    halves = 2 if len(paths) > 1 else 1
    for number, path in enumerate(paths):
        with h5py.File(path, "a") as file:
            header = file["Header"].attrs
            here, total, table = (header[name][:] for name in ("NumPart_ThisFile", "NumPart_Total", "MassTable"))
            here[1] = len(file["PartType1/ParticleIDs"]) if "PartType1" in file else 0
            for kind, weights in run.weights.items():
                total[kind] = len(weights)
                half = {0: 0, len(paths) - 1: halves - 1}.get(number)
                if half is None:
                    continue
                part = slice(half, None, halves)
                here[kind] = len(weights[part])
                group = file.create_group(f"PartType{kind}")
                group["Coordinates"] = (run.places[kind][part] / per_length).astype("f4")
                group[black_holes if kind == 5 else "Masses"] = (weights[part] / per_mass).astype("f4")
            header["NumPart_ThisFile"], header["NumPart_Total"], header["MassTable"] = here, total, table
            several = header["NumFilesPerSnapshot"]
            header["NumFilesPerSnapshot"] = np.full_like(several, len(paths))
    return paths


def write_hydro_gadget(path, run, files=1, **options):
    return add_baryons(write_gadget_hdf5(path, run, files, **options), run, 1e-3, 1.0)


def write_hydro_swift(path, run, files=1):
    h = run.cosmology.h
    return add_baryons(write_swift(path, run, files), run, h, h, "DynamicalMasses")


def write_hydro_binary(path, run, files=1, kind=1, masses=False):
    """Write Gadget's binary formats with all types; of several files the first has gas alone, the second nothing."""
    paths = names(path, files)
    parts = run.parts(files - 2) if files > 2 else run.parts(1)
    for number, name in enumerate(paths):
        part = slice(0, 0) if files > 2 and number < 2 else parts[number - 2 if files > 2 else 0]
        baryons = number == 0
        kinds = [baryons * TYPES.get(i, 0) for i in range(6)]
        kinds[1] = len(run.ids[part])
        header = bytearray(binary_header(run, kinds[1], files=files, masses=masses))
        header[:24] = struct.pack("<6I", *kinds)
        header[96:120] = struct.pack("<6I", *(len(run.ids) if i == 1 else TYPES.get(i, 0) for i in range(6)))
        dark = {
            "POS ": run.positions[part] * 1000,
            "VEL ": run.velocities[part] / np.sqrt(run.a),
            "ID  ": run.ids[part],
        }
        order = [(i, kinds[i]) for i in range(6) if kinds[i]]
        filler = {
            "POS ": lambda i, n: run.places[i] * 1000,
            "VEL ": lambda i, n: np.zeros((n, 3)),
            "ID  ": lambda i, n: np.arange(n) + 10**6 * (1 + i),
            "MASS": lambda i, n: run.weights[i],
        }
        dark["MASS"] = np.full(kinds[1], run.mass)
        blocks = {"HEAD": bytes(header)}
        for label, make in filler.items():
            wanted = [(i, n) for i, n in order if label != "MASS" or masses or i != 1]
            if wanted:
                values = np.concatenate([dark[label] if i == 1 else make(i, n) for i, n in wanted])
                blocks[label] = values.astype("<u4" if label == "ID  " else "<f4").tobytes()
        content = b""
        for label, block in blocks.items():
            if kind == 2:
                content += record(label.encode() + struct.pack("<I", len(block) + 8), "<")
            content += record(block, "<")
        name.write_bytes(content)
    return paths


def write_hydro_bigfile(path, run):
    import bigfile

    write_bigfile(path, run)
    with bigfile.File(str(path), create=True) as file:
        with file["Header"] as block:
            block.attrs["TotNumPart"] = np.array([TYPES.get(i, len(run.ids) * (i == 1)) for i in range(6)], np.uint64)
        for kind, weights in run.weights.items():
            with file.create(f"{kind}/Mass", dtype=np.dtype("f4"), size=len(weights), Nfile=1) as block:
                block.write(0, weights.astype("f4"))
    return [path]
