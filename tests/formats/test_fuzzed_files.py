"""Whatever bytes a file holds: a snapshot, or one sentence; and no more memory than a few times the file."""

import tracemalloc

import pytest
from foreignfiles import Run, write_bigfile, write_binary, write_fields, write_gadget_hdf5, write_swift
from hydroruns import HydroRun, write_hydro_binary, write_hydro_swift

from supercosm.errors import SupercosmError
from supercosm.formats import swiftwriter
from supercosm.snapshot import from_lattice, read_snapshot, write_snapshot

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies
SHORT = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
LARGEST = 64 << 20  # bytes; the files have 0.05 MB, and libraries take a few MB


@pytest.fixture(scope="module")
def small(tiny_simulations):
    """Every fourth particle of a real run: 8³, so that headers are much of the files."""
    run = read_snapshot(tiny_simulations[3] / "low_a0.5000.hdf5")
    fields = (run.displacement()[:, ::2, ::2, ::2], run.velocity()[:, ::2, ::2, ::2])
    return from_lattice(*fields, run.box_size, scale_factor=run.scale_factor, cosmology=run.cosmology)


def ours(folder, small):
    write_snapshot(folder / "snap", small)
    return folder / "snap"


def our_swift(folder, small):
    swiftwriter.write(folder / "snap", small, slice(0, len(small.ids)), 0, 1)
    return folder / "snap"


WRITERS = {
    "ours": ours,
    "gadget": lambda folder, small: write_gadget_hdf5(folder / "snap", Run(small))[0],
    "gadget4": lambda folder, small: write_gadget_hdf5(folder / "snap", Run(small), split=True)[0],
    "swift": lambda folder, small: write_swift(folder / "snap", Run(small))[0],
    "binary1": lambda folder, small: write_binary(folder / "snap", Run(small))[0],
    "binary2": lambda folder, small: write_binary(folder / "snap", Run(small), kind=2, masses=True)[0],
    "bigfile": lambda folder, small: write_bigfile(folder / "snap", Run(small)) / "Header" / "attr-v2",
    "bigfile-block": lambda folder, small: write_bigfile(folder / "snap", Run(small)) / "1" / "Position" / "header",
    "binary-gas": lambda folder, small: write_hydro_binary(folder / "snap", HydroRun(small), masses=True)[0],
    "swift-gas": lambda folder, small: write_hydro_swift(folder / "snap", HydroRun(small))[0],
    "our-swift": our_swift,
    "npy": lambda folder, small: write_fields(folder / "snap", small) / "disp.npy",
    "description": lambda folder, small: write_fields(folder / "snap", small) / "snapshot.yaml",
}
damages = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=9), st.booleans()),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_files_never_crash(small, tmp_path, name):
    if "bigfile" in name:
        pytest.importorskip("bigfile")
    damaged = WRITERS[name](tmp_path, small)
    path = damaged if damaged.parent == tmp_path else tmp_path / "snap"
    original = damaged.read_bytes()

    @SHORT
    @given(damages, st.floats(0.2, 1))
    def check(changes, kept):
        content = bytearray(original)
        for place, piece, early in changes:  # headers are at the beginning
            at = int(place * min(len(content), 2000 if early else len(content)))
            content[at : at + len(piece)] = piece
        damaged.write_bytes(content[: max(1, round(kept * len(content))) if kept < 0.4 else None])
        message = ""
        tracemalloc.start()
        try:
            found = read_snapshot(path)
            assert found.positions.shape == (len(found.ids), 3)
        except SupercosmError as error:
            message = str(error)
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < LARGEST
        assert "\n" not in message

    check()


@SHORT
@given(st.binary(max_size=600))
def test_any_bytes_are_refused_with_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "snap"
    path.write_bytes(content)
    with pytest.raises(SupercosmError):
        read_snapshot(path)
