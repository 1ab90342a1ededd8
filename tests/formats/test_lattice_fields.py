"""Displacement and velocity fields in NumPy files: read with their description, never unpickled."""

import pickle

import numpy as np
import pytest
from foreignfiles import write_fields

from supercosm.snapshot import read_snapshot


@pytest.mark.parametrize("length", ["Mpc/h", "kpc/h"])
@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_fields(truth, same, tmp_path, length, suffix):
    folder = write_fields(tmp_path / "fields", truth, length, suffix)
    same(read_snapshot(folder))
    same(read_snapshot(folder / f"snapshot.{suffix}"))


def test_the_cosmology_that_is_told_is_known(truth, tmp_path):
    cosmology = {"Omega_m": 0.3111, "h": 0.6766, "sigma8": 0.7, "n_s": 0.95}
    found = read_snapshot(write_fields(tmp_path / "fields", truth, cosmology=cosmology))
    assert (found.cosmology.sigma8, found.cosmology.n_s) == (0.7, 0.95)


def test_fields_on_corners(truth, same, tmp_path):
    found = read_snapshot(write_fields(tmp_path / "fields", truth, offset=0.0))
    assert found.offset == 0
    same(found, moved=-0.5 * 50 / 16)
    np.testing.assert_allclose(found.displacement(), truth.displacement(), atol=1.5e-5)


def test_displacements_from_the_wrong_points_are_put_right(truth, same, tmp_path):
    """Measured from corners in a run that began at centres, they average to half a cell."""
    folder = write_fields(tmp_path / "fields", truth, offset=0.0)
    np.save(folder / "disp.npy", truth.displacement() + np.float32(0.5 * 50 / 16))
    found = read_snapshot(folder)
    same(found)
    assert found.offset == 0.5


class Trap:
    """Something that would be noticed if it was unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_pickles_are_refused(truth, refuse, tmp_path):
    folder = write_fields(tmp_path / "fields", truth)
    np.save(folder / "disp.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    refuse(folder, r"disp\.npy cannot be read as a field")
    (folder / "disp.npy").write_bytes(pickle.dumps(Trap()))
    refuse(folder, r"disp\.npy cannot be read as a field")


def test_a_file_shorter_than_it_says(truth, refuse, tmp_path):
    folder = write_fields(tmp_path / "fields", truth)
    content = (folder / "vel.npy").read_bytes()
    (folder / "vel.npy").write_bytes(content[:-100])
    refuse(folder, r"vel\.npy cannot be read as a field \(truncated")
    (folder / "vel.npy").write_bytes(content.replace(b"(3, 16, 16, 16)", b"(3, 9999, 9999, 9999)"))
    refuse(folder, r"vel\.npy cannot be read as a field")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"boxsize": 50.0}, "boxsize"),
        ({"scale_factor": 0}, "scale_factor"),
        ({"displacement": "other.npy"}, r"there is no field .*other\.npy"),
        ({"cosmology": {"Omega_m": 0.3}}, "h"),
        ({"length": "m"}, "length"),
        ({"offset": 3}, "offset"),
    ],
    ids=str,
)
def test_descriptions_that_are_none(truth, refuse, tmp_path, changes, match):
    refuse(write_fields(tmp_path / "fields", truth, **changes), match)


@pytest.mark.parametrize("text", ["- 1", "{", "a: &a [*a, *a]", "\x00", "!!python/object/apply:os.getcwd []"])
def test_texts_that_are_no_description(truth, refuse, tmp_path, text):
    folder = write_fields(tmp_path / "fields", truth)
    (folder / "snapshot.yaml").write_text(text)
    refuse(folder, "description of a snapshot")


@pytest.mark.parametrize(
    ("shape", "kind", "match"),
    [
        ((3, 16, 16, 15), "f4", r"has the shape \(3, 16, 16, 15\)"),
        ((6, 16, 16, 16), "f4", r"has the shape \(6,"),
        ((3, 8, 8, 8), "f4", "have the shapes"),
        ((3, 16, 16, 16), "i4", "no floating-point numbers"),
    ],
)
def test_arrays_that_are_no_field(truth, refuse, tmp_path, shape, kind, match):
    folder = write_fields(tmp_path / "fields", truth)
    np.save(folder / "disp.npy", np.zeros(shape, kind))
    refuse(folder, match)
