"""What IDs mean is found out, or refused with numbers; and wherever lattice points lie, two runs stay in phase."""

import numpy as np
import pytest
import torch
from foreignfiles import Run, write_gadget_hdf5

from supercosm import initial
from supercosm.config import Cosmology
from supercosm.errors import DataError
from supercosm.fields import density_of
from supercosm.initial import Phases, linear_displacement
from supercosm.lattice import find_lattice
from supercosm.mesh import upsample
from supercosm.pairs import PairFile, check_lattice, make_pairs
from supercosm.snapshot import Snapshot, from_lattice, read_snapshot, write_snapshot
from supercosm.superresolution import Baseline, superresolve

BOX = 50.0


@pytest.fixture(scope="module", params=["low", "low_a0.5000", "high"])
def truth(request, tiny_simulations):
    return read_snapshot(tiny_simulations[3] / f"{request.param}.hdf5")


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize(("order", "first"), [("C", 1), ("C", 0), ("F", 1), ("F", 0), ("F", 7_000_000_001)])
def test_every_numbering_is_found(truth, order, first, corners):
    run = Run(truth, order, first, corners)
    index = np.argsort(run.ids)
    found = find_lattice(run.positions[index], run.ids[index], BOX)
    assert (found.order, found.first, found.offset) == (order, first, 0.0 if corners else 0.5)
    assert found.rms == pytest.approx(truth.displacement().std(axis=(1, 2, 3)).mean(), rel=0.05)
    assert found.correlation > 0.4
    assert found.drift < 1e-3  # momentum is conserved


@pytest.mark.parametrize("corners", [False, True])
def test_the_snapshot_is_in_our_order_and_its_displacement_the_true_one(truth, tmp_path, corners):
    (path,) = write_gadget_hdf5(tmp_path / "snap", Run(truth, "F", 0, corners))
    found = read_snapshot(path)
    assert found.offset == (0.0 if corners else 0.5)
    np.testing.assert_array_equal(found.ids, truth.ids)
    # float32 at 50 Mpc/h, a few times
    np.testing.assert_allclose(found.displacement(), truth.displacement(), atol=3e-5)
    np.testing.assert_allclose(found.velocity(), truth.velocity(), rtol=1e-6, atol=1e-4)
    check_lattice(found)


def test_an_offset_is_kept_in_our_files(truth, tmp_path):
    (path,) = write_gadget_hdf5(tmp_path / "snap", Run(truth, corners=True))
    found = read_snapshot(path)
    write_snapshot(tmp_path / "ours.hdf5", found)
    back = read_snapshot(tmp_path / "ours.hdf5")
    assert back.offset == 0
    np.testing.assert_allclose(back.displacement(), found.displacement(), atol=1.5e-5)


# What is refused


def refused(positions, ids, match):
    with pytest.raises(DataError, match=match):
        find_lattice(positions, ids, BOX)


def test_random_ids(truth):
    mixed = np.random.default_rng(0).permutation(len(truth.ids))
    refused(
        truth.positions[mixed], truth.ids, r"14\.\d Mpc/h .* in C order, 14\.\d in F order.*random ones lie 14.4 away"
    )


def test_ids_that_name_the_neighbours_point(tiny_simulations):
    truth = read_snapshot(tiny_simulations[3] / "low_a0.5000.hdf5")
    swapped = np.arange(len(truth.ids)) ^ 1
    refused(truth.positions[swapped], truth.ids, "neighbours move alike with a correlation of -0")


def test_a_box_of_another_size(truth):
    with pytest.raises(DataError, match=r"has another size|random ones lie"):
        find_lattice(truth.positions, truth.ids, 1.4 * BOX)


def test_points_that_are_neither_corners_nor_centres(truth):
    moved = (truth.positions + 0.25 * BOX / truth.side) % BOX
    refused(moved, truth.ids, r"have moved by \(0\.750, 0\.750, 0\.750\) cells in the mean")
    moved = truth.positions.copy()
    moved[:, 1] = (moved[:, 1] + 0.5 * BOX / truth.side) % BOX
    refused(moved, truth.ids, r"\(0\.500, 1\.000, 0\.500\) cells")


def test_gaps_and_parts(truth):
    ids = truth.ids.copy()
    ids[-1] += np.uint64(1)
    refused(truth.positions, ids, "with gaps")
    refused(truth.positions[:-1], truth.ids[:-1], "no cube of a whole number")


def test_what_has_no_lattice_can_be_read_but_not_put_on_one(truth, tmp_path):
    run = Run(truth)
    run.ids = np.random.default_rng(0).permutation(run.ids)
    (path,) = write_gadget_hdf5(tmp_path / "snap", run)
    found = read_snapshot(path)
    assert density_of(found, 8).data.mean() == pytest.approx(1, abs=1e-5)
    for action in (lambda: found.side, found.displacement, lambda: check_lattice(found)):
        with pytest.raises(DataError, match="the IDs do not name a lattice"):
            action()


# Two runs of one universe on lattices of corners: what lies at i L/n, in phase


@pytest.fixture
def corner_runs(monkeypatch, tmp_path):
    """Write the linear displacement of one universe on lattices of 16³ and 32³ corners; return it, too."""
    ones = lambda wave, cells: torch.ones_like(sum(wave).double()).to(torch.complex64)  # noqa: E731
    monkeypatch.setattr(initial, "_to_cell_centres", ones)
    fields, cosmology = {}, Cosmology()
    for name, side in (("low", 16), ("high", 32)):
        field = linear_displacement(Phases(1), cosmology, BOX, side)
        attributes = {"scale_factor": 1.0, "cosmology": cosmology, "offset": 0.0}
        snapshot = from_lattice(field.numpy(), 70 * field.numpy(), BOX, **attributes)
        write_snapshot(tmp_path / f"{name}.hdf5", snapshot)
        fields[name] = field
    return tmp_path, fields


def low_passed(field, cells):
    """Return the modes of a field that a lattice of `cells` points per side holds."""
    modes = torch.fft.rfftn(field, dim=(1, 2, 3))
    n = field.shape[-1]
    for axis in (1, 2, 3):
        wave = torch.fft.fftfreq(n, 1 / n) if axis < 3 else torch.arange(n // 2 + 1)
        modes *= (wave.abs() < cells // 2).view([-1 if a == axis else 1 for a in range(4)])
    return torch.fft.irfftn(modes, s=(n, n, n), dim=(1, 2, 3))


def test_pairs_of_corner_lattices_are_in_phase(corner_runs):
    folder, fields = corner_runs
    make_pairs(folder / "low.hdf5", folder / "high.hdf5", folder / "pairs.hdf5", slabs=4)
    pairs, expected = PairFile(folder / "pairs.hdf5"), low_passed(fields["high"], 16)
    for name, scale in (("displacement", 1), ("velocity", 70)):
        found = upsample(torch.from_numpy(pairs.read(f"low/{name}")), 32)
        # positions in float32 at 50 Mpc/h
        np.testing.assert_allclose(found, scale * expected, atol=1e-4 * scale)
    np.testing.assert_allclose(pairs.read("high/displacement"), fields["high"], atol=1e-5)
    as_if_centres = upsample(fields["low"], 32)
    assert (as_if_centres - expected).std() > 0.1 * expected.std()


def test_super_resolved_runs_have_the_lattice_of_the_low_one(corner_runs):
    folder, fields = corner_runs
    low = read_snapshot(folder / "low.hdf5")
    found = superresolve(low, Baseline("low", 2))
    assert found.offset == 0
    np.testing.assert_allclose(found.displacement(), low_passed(fields["high"], 16), atol=1e-4)


def test_pairs_of_corners_and_centres_are_refused(corner_runs, tmp_path):
    folder, _ = corner_runs
    low = read_snapshot(folder / "low.hdf5")
    write_snapshot(tmp_path / "centres.hdf5", Snapshot(**vars(low) | {"offset": 0.5}))
    with pytest.raises(DataError, match=r"no pair: offset of the lattice points \[cells\] is 0.5 in the low and 0.0"):
        make_pairs(tmp_path / "centres.hdf5", folder / "high.hdf5", tmp_path / "pairs.hdf5", slabs=4)
