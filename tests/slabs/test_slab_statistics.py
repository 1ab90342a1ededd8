"""Statistics by slabs are those of the whole box."""

import numpy as np
import pytest

from supercosm.formats.blocks import open_blocks
from supercosm.measure import measure
from supercosm.slabs import groups
from supercosm.slabs.measuring import SlabBox, Task, measure_by_slabs
from supercosm.slabs.scratch import Scratch
from supercosm.snapshot import read_snapshot
from supercosm.statistics.friends import friends_of_friends
from supercosm.statistics.haloes import COLUMNS, find_haloes
from supercosm.summaries import Box
from supercosm.tables import read_table


def in_slabs(path, settings, folder, **changes):
    return SlabBox(open_blocks(path, 5000), settings.model_copy(update=changes), Scratch(folder))


@pytest.fixture(scope="module")
def whole(cornered):
    return read_snapshot(cornered)


# P(k): what is left is the rounding of float32, in another order


@pytest.mark.parametrize("slabs", [1, 5])
def test_spectra_are_those_of_the_whole_box(cornered, whole, settings, tmp_path, slabs):
    check_spectra(in_slabs(cornered, settings, tmp_path, slabs=slabs), Box(whole, settings))


@pytest.mark.parametrize(("scheme", "interlacing"), [("ngp", True), ("cic", False), ("pcs", True)])  # tsc: above
def test_so_they_are_with_any_assignment(cornered, whole, settings, tmp_path, scheme, interlacing):
    changed = settings.model_copy(update={"scheme": scheme, "interlacing": interlacing})
    check_spectra(in_slabs(cornered, changed, tmp_path, slabs=3), Box(whole, changed))


def check_spectra(found, expected):
    np.testing.assert_array_equal(found.spectra.modes, expected.spectra.modes)
    np.testing.assert_array_equal(found.spectra.k, expected.spectra.k)
    np.testing.assert_allclose(found.spectra.first, expected.spectra.first, rtol=1e-6)


def test_blocks_of_lines_do_not_matter(cornered, settings, tmp_path, monkeypatch):
    once = in_slabs(cornered, settings, tmp_path / "once", slabs=2).spectra.first
    monkeypatch.setattr("supercosm.slabs.meshes.BUDGET", 8 * 64 * 17 * 7)  # seven lines at a time, of 33
    box = in_slabs(cornered, settings, tmp_path / "often", slabs=2)
    assert len(box.meshes[0].blocks) == 5
    np.testing.assert_allclose(box.spectra.first, once, rtol=1e-12)  # float64 sums in another order


# Densities


@pytest.mark.parametrize("slabs", [2, 5])
def test_densities_are_those_of_the_whole_box(cornered, whole, settings, tmp_path, monkeypatch, slabs):
    monkeypatch.setattr("supercosm.slabs.smoothing.BUDGET", 8 * 32 * 17 * 5)  # five planes at a time
    found, expected = in_slabs(cornered, settings, tmp_path, slabs=slabs), Box(whole, settings)
    for name in ("variance", "skewness", "kurtosis"):
        np.testing.assert_allclose(getattr(found.moments, name), getattr(expected.moments, name), rtol=1e-5)
    cells = 32**3  # one cell of each radius may lie within rounding of an edge, and be counted on its other side
    for radius in range(2):
        apart = np.abs(found.distribution.volume[radius] - expected.distribution.volume[radius]) * cells
        assert apart.sum() < 2.5
        heavy = np.abs(found.distribution.mass[radius] - expected.distribution.mass[radius])
        assert heavy.sum() <= 1e-5 + apart.sum() * expected.distribution.mass[radius].max() / 10
    assert found.distribution.volume.sum(1) == pytest.approx([1, 1])


# Haloes


@pytest.mark.parametrize("slabs", [1, 2, 46])
def test_haloes_are_those_of_the_whole_box_to_the_bit(cornered, whole, settings, tmp_path, slabs):
    found = in_slabs(cornered, settings, tmp_path, slabs=slabs).haloes
    expected = find_haloes(whole, settings.linking_length, settings.halo_particles)
    assert len(expected) > 50
    for name in COLUMNS:
        assert getattr(found, name).dtype == getattr(expected, name).dtype, name
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert vars(found).keys() == vars(expected).keys()
    for name in vars(expected).keys() - COLUMNS.keys():
        assert getattr(found, name) == getattr(expected, name), name


def test_some_of_them_span_three_slabs_and_the_boundary(cornered, whole, settings, tmp_path):
    """What the test before is worth: the haloes that it compares are cut in every way."""
    layout = in_slabs(cornered, settings, tmp_path, slabs=46).layout
    labels = friends_of_friends(whole.positions, whole.box_size, layout.length)
    slabs = layout.places(whole.positions) // 2
    largest = np.flatnonzero(np.bincount(labels) >= settings.halo_particles)
    spans = [set(slabs[labels == label]) for label in largest]
    assert sum(len(span) == 2 for span in spans) > 3
    assert sum(len(span) >= 3 for span in spans) > 3
    assert any({0, 45} <= span for span in spans)


def test_without_a_halo_there_is_an_empty_catalogue(cornered, settings, tmp_path):
    box = in_slabs(cornered, settings, tmp_path, slabs=3, halo_particles=30_000)
    assert len(box.haloes) == 0


# Tables


def test_tables_and_slab_image_are_those_of_the_whole_box(cornered, settings, tmp_path):
    names = ("spectrum", "moments", "distribution", "haloes")
    measure(cornered, tmp_path / "high" / "1", settings, names, image=True)
    measure_by_slabs(Task(cornered, tmp_path / "slabs" / "1", settings.model_copy(update={"slabs": 4})))
    written = {path.name for path in (tmp_path / "slabs" / "1").iterdir()}
    assert written == {f"{name}.ecsv" for name in names} | {"haloes.hdf5", "slab.fits"}
    for name in names:
        found, expected = (read_table(tmp_path / run / "1" / f"{name}.ecsv") for run in ("slabs", "high"))
        assert found.colnames == expected.colnames
        assert found.meta.keys() == expected.meta.keys()
        assert [found.meta[key] for key in ("axis", "what", "particles")] == [
            expected.meta[key] for key in ("axis", "what", "particles")
        ]
        assert found.meta["provenance"]["sample"] == expected.meta["provenance"]["sample"]
        assert [str(found[column].unit) for column in found.colnames] == [
            str(expected[column].unit) for column in found.colnames
        ]
    images = [
        np.frombuffer((tmp_path / run / "1" / "slab.fits").read_bytes()[2880:], ">f4") for run in ("slabs", "high")
    ]
    np.testing.assert_allclose(*images, rtol=1e-5, atol=1e-6)
    counts = [read_table(tmp_path / run / "1" / "haloes.ecsv") for run in ("slabs", "high")]
    for column in counts[0].colnames:
        np.testing.assert_array_equal(*(np.asarray(table[column]) for table in counts))


# What gathering takes


@pytest.mark.parametrize("slabs", [3, 46])
def test_few_groups_are_gathered_and_the_room_for_members_suffices(cornered, settings, tmp_path, slabs):
    box = in_slabs(cornered, settings, tmp_path, slabs=slabs)
    box.sort_particles(range(slabs))
    members = opened = 0
    for slab in range(slabs):
        groups.find_share(box.scratch, box.layout, slab, settings.halo_particles, lambda: None)
        opened += len(box.scratch.load(f"halo-counts-{slab}"))
        files = [box.scratch.path(f"halo-{name}-{slab}") for name in groups.FIELDS]
        members += sum(file.stat().st_size - 128 for file in files)  # but for the headers
    _, found = groups._joined(box.scratch, box.layout, settings.halo_particles)
    assert 0 < len(found) < opened / 3  # 1/7 of those of 64³ particles
    assert 0 < members < groups.members_room(box.layout) * box.count
