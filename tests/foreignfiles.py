"""Snapshots as other codes write them, made by hand from the published layouts, not with this package's writer."""

import json
import struct
from itertools import pairwise

import h5py
import numpy as np
import yaml

from supercosm.units import CRITICAL_DENSITY

PARSEC, SUN = 3.0856775814913673e18, 1.98841e33  # cgs; more digits than this package rounds to


class Run:
    """Particles of a snapshot in the conventions of some other code; mass of one [1e10 Msun/h]."""

    def __init__(self, snapshot, order="C", first=1, corners=False, shuffle=True):
        n, box = snapshot.side, snapshot.box_size
        self.box, self.a, self.cosmology = box, snapshot.scale_factor, snapshot.cosmology
        self.positions = snapshot.positions.astype(np.float64)
        if corners:
            self.positions = (self.positions - 0.5 * box / n) % box
        self.velocities = snapshot.velocities.astype(np.float64)
        index = np.arange(n**3).reshape(n, n, n)
        self.ids = (index if order == "C" else index.transpose(2, 1, 0)).reshape(-1) + first
        self.mass = CRITICAL_DENSITY * self.cosmology.Omega_m * box**3 / n**3
        if shuffle:
            mixed = np.random.default_rng(5).permutation(n**3)
            self.positions, self.velocities, self.ids = self.positions[mixed], self.velocities[mixed], self.ids[mixed]

    def parts(self, files):
        """Split the particles over files, not evenly."""
        edges = [
            0,
            *np.sort(np.random.default_rng(6).choice(np.arange(1, len(self.ids)), files - 1, False)),
            len(self.ids),
        ]
        return [slice(a, b) for a, b in pairwise(edges)]


def names(path, files):
    return [path] if files == 1 else [path.with_name(f"{path.name}.{i}") for i in range(files)]


def write_gadget_hdf5(path, run, files=1, split=False, lengths=1000.0, units=True, masses=False, **changes):
    """Write Gadget's HDF5; split: header as Gadget-4 has it, with /Parameters. lengths: in a Mpc/h."""
    paths = [p.with_name(p.name + ".hdf5") for p in names(path, files)]
    for name, part in zip(paths, run.parts(files), strict=True):
        with h5py.File(name, "w") as file:
            header = file.create_group("Header").attrs
            parameters = file.create_group("Parameters").attrs if split else header
            count = len(run.ids[part])
            header["BoxSize"], header["Time"], header["Redshift"] = run.box * lengths, run.a, 1 / run.a - 1
            header["NumPart_ThisFile"] = np.array([0, count, 0, 0, 0, 0], np.int32)
            header["NumPart_Total"] = np.array([0, len(run.ids), 0, 0, 0, 0], np.uint64 if split else np.uint32)
            if not split:
                header["NumPart_Total_HighWord"] = np.zeros(6, np.uint32)
            header["NumFilesPerSnapshot"] = files
            header["MassTable"] = np.array([0, 0 if masses else run.mass, 0, 0, 0, 0])
            parameters["Omega0"], parameters["OmegaLambda"] = run.cosmology.Omega_m, 1 - run.cosmology.Omega_m
            parameters["OmegaBaryon"], parameters["HubbleParam"] = run.cosmology.Omega_b, run.cosmology.h
            if units:
                parameters["UnitLength_in_cm"] = PARSEC * 1e6 / lengths
                parameters["UnitMass_in_g"], parameters["UnitVelocity_in_cm_per_s"] = 1e10 * SUN, 1e5
            group = file.create_group("PartType1")
            group["Coordinates"] = (run.positions[part] * lengths).astype(np.float64 if split else np.float32)
            group["Velocities"] = (run.velocities[part] / np.sqrt(run.a)).astype(np.float32)
            group["ParticleIDs"] = run.ids[part].astype(np.uint64 if split else np.uint32)
            if masses:
                group["Masses"] = np.full(count, run.mass, np.float32)
            for key, value in changes.items():
                header[key] = value
    return paths


def write_swift(path, run, files=1, one=lambda value: np.array([value])):
    """Write SWIFT's HDF5: comoving Mpc and 1e10 Msun without h, peculiar velocities, attributes in arrays of one.

    one: makes an attribute of a number; yt can read the latter alone, with recent versions of NumPy.
    """
    h = run.cosmology.h
    paths = [p.with_name(p.name + ".hdf5") for p in names(path, files)]
    for name, part in zip(paths, run.parts(files), strict=True):
        count = len(run.ids[part])
        with h5py.File(name, "w") as file:
            file.create_group("Code").attrs["Code"] = np.bytes_("SWIFT")
            header = file.create_group("Header").attrs
            header["Code"] = np.bytes_("SWIFT")
            header["BoxSize"], header["Dimension"] = np.full(3, run.box / h), one(3)
            header["NumPart_ThisFile"] = np.array([0, count, 0, 0, 0, 0, 0], np.int64)
            header["NumPart_Total"] = np.array([0, len(run.ids), 0, 0, 0, 0, 0], np.uint32)
            header["NumPart_Total_HighWord"] = np.zeros(7, np.uint32)
            header["NumFilesPerSnapshot"], header["MassTable"] = one(files), np.zeros(7)
            header["Time"], header["Redshift"] = one(0.5), one(1 / run.a - 1)
            header["Scale-factor"] = one(run.a)
            units = file.create_group("Units").attrs
            units["Unit length in cgs (U_L)"], units["Unit mass in cgs (U_M)"] = (
                one(3.08567758e24),
                one(1.98848e43),
            )
            units["Unit time in cgs (U_t)"] = one(3.08567758e19)
            units["Unit current in cgs (U_I)"] = units["Unit temperature in cgs (U_T)"] = one(1.0)
            cosmology = file.create_group("Cosmology").attrs
            for key, value in (
                ("Cosmological run", 1), ("Scale-factor", run.a), ("Redshift", 1 / run.a - 1), ("h", h),
                ("Omega_m", run.cosmology.Omega_m), ("Omega_lambda", 1 - run.cosmology.Omega_m),
                ("Omega_b", run.cosmology.Omega_b), ("Omega_r", 0.0), ("Omega_k", 0.0),
            ):  # fmt: skip
                cosmology[key] = one(value)
            file.create_group("Policy").attrs["cosmological integration"] = one(1)
            file.create_group("Parameters").attrs["InitialConditions:periodic"] = np.bytes_("1")
            file.create_group("HydroScheme")
            file.create_group("SubgridScheme")
            group = file.create_group("PartType1")
            group["Coordinates"] = run.positions[part] / h
            group["Velocities"] = run.velocities[part].astype(np.float32)
            group["ParticleIDs"] = run.ids[part].astype(np.uint64)
            group["Masses"] = np.full(count, run.mass / h, np.float32)
            for data, exponent in (("Coordinates", 1.0), ("Velocities", 0.0), ("Masses", 0.0), ("ParticleIDs", 0.0)):
                group[data].attrs["a-scale exponent"] = one(exponent)
                group[data].attrs["h-scale exponent"] = one(0.0)
    return paths


def record(content, order):
    mark = struct.pack(f"{order}I", len(content))
    return mark + content + mark


def binary_header(run, count, order="<", files=1, masses=False, total=None):
    """Pack Gadget's header of 256 bytes."""
    none = [0] * 4
    total = len(run.ids) if total is None else total
    content = struct.pack(f"{order}6I", 0, count, *none)
    content += struct.pack(f"{order}6d", 0, 0 if masses else run.mass, *none)
    content += struct.pack(f"{order}2d2i", run.a, 1 / run.a - 1, 0, 0)
    content += struct.pack(f"{order}6I", 0, total, *none) + struct.pack(f"{order}2i", 0, files)
    content += struct.pack(
        f"{order}4d", run.box * 1000, run.cosmology.Omega_m, 1 - run.cosmology.Omega_m, run.cosmology.h
    )
    return content.ljust(256, b"\0")


def write_binary(path, run, files=1, kind=1, order="<", floats="f4", ids="u4", masses=False):
    """Write Gadget's binary format 1 or 2."""
    paths = names(path, files)
    for name, part in zip(paths, run.parts(files), strict=True):
        count = len(run.ids[part])
        blocks = {
            "HEAD": binary_header(run, count, order, files, masses),
            "POS ": (run.positions[part] * 1000).astype(order + floats).tobytes(),
            "VEL ": (run.velocities[part] / np.sqrt(run.a)).astype(order + floats).tobytes(),
            "ID  ": run.ids[part].astype(order + ids).tobytes(),
        }
        if kind == 2:
            blocks["POT "] = bytes(4 * count)  # something that nobody asked for
        if masses:
            blocks["MASS"] = np.full(count, run.mass).astype(order + floats).tobytes()
        content = b""
        for label, block in blocks.items():
            if kind == 2:
                content += record(label.encode() + struct.pack(f"{order}I", len(block) + 8), order)
            content += record(block, order)
        name.write_bytes(content)
    return paths


def write_bigfile(path, run, peculiar=True, files=2, masses=False):
    """Write an MP-Gadget folder with the library bigfile; snapshots hold masses, initial conditions do not.

    Velocities that are not peculiar are a² dx/dt in snapshots, as in its memory (its petaio.c writes them as they are),
    and v/√a in the initial conditions of its generator.
    """
    import bigfile

    with bigfile.File(str(path), create=True) as file:
        with file.create("Header") as block:
            for key, value in (
                ("BoxSize", run.box * 1000), ("Time", run.a), ("Omega0", run.cosmology.Omega_m),
                ("OmegaLambda", 1 - run.cosmology.Omega_m), ("OmegaBaryon", run.cosmology.Omega_b),
                ("HubbleParam", run.cosmology.h), ("UnitLength_in_cm", PARSEC * 1e3), ("UnitMass_in_g", 1e10 * SUN),
                ("UnitVelocity_in_cm_per_s", 1e5),
            ):  # fmt: skip
                block.attrs[key] = np.array([value])
            block.attrs["MassTable"] = np.array([0, run.mass, 0, 0, 0, 0])
            block.attrs["TotNumPart"] = np.array([0, len(run.ids), 0, 0, 0, 0], np.uint64)
            block.attrs["UsePeculiarVelocity"] = np.array([int(peculiar)], np.int32)
            block.attrs["CodeVersion"] = "5.0.1"
        velocities = run.velocities * (1 if peculiar else run.a if masses else 1 / np.sqrt(run.a))
        blocks = {
            "1/Position": run.positions * 1000,
            "1/Velocity": velocities.astype(np.float32),
            "1/ID": run.ids.astype(np.uint64),
        }
        if masses:
            blocks["1/Mass"] = np.full(len(run.ids), run.mass, np.float32)
        for name, data in blocks.items():
            shape = (data.dtype, data.shape[1]) if data.ndim == 2 else data.dtype
            with file.create(name, dtype=shape, size=len(data), Nfile=files) as block:
                block.write(0, data)
    return path


def write_fields(folder, snapshot, length="Mpc/h", suffix="yaml", **changes):
    """Write displacement and velocity as map2map has them, with their description."""
    folder.mkdir(exist_ok=True)
    scale = 1000 if length == "kpc/h" else 1
    np.save(folder / "disp.npy", snapshot.displacement() * np.float32(scale))
    np.save(folder / "vel.npy", snapshot.velocity())
    content = {
        "box_size": snapshot.box_size * scale, "scale_factor": snapshot.scale_factor,
        "cosmology": {"Omega_m": snapshot.cosmology.Omega_m, "h": snapshot.cosmology.h},
        "displacement": "disp.npy", "velocity": "vel.npy", "length": length,
    }  # fmt: skip
    text = json.dumps(content | changes) if suffix == "json" else yaml.safe_dump(content | changes)
    (folder / f"snapshot.{suffix}").write_text(text)
    return folder
