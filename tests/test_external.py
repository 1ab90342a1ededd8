"""Runs of other codes in place of simulations: what the configuration may ask of them, and how they are brought in."""

import numpy as np
import pytest
import typer.testing
from foreignfiles import Run, write_binary, write_gadget_hdf5, write_swift

from supercosm.cli import app
from supercosm.compare import comparison_grid, read_sample
from supercosm.config import check, entries, load_config
from supercosm.errors import ConfigurationError, DataError
from supercosm.importing import import_snapshot
from supercosm.pairs import PairFile, make_pairs
from supercosm.snapshot import read_snapshot
from supercosm.stages import figures_of, stage_settings

PATHS = {"low": "/data/{seed}/low", "high": "/data/{seed}/high"}
UNET = {"family": "unet", "training": {"crop": 16, "margin": 4}, "network": {"channels": 4, "levels": 1, "patch": 2}}
NOTHING = {"few_steps": [], "universes": 0, "shifts": []}


def external(**changes):
    simulation = {"box_size": 50.0, "low": 16, "high": 32, "external": PATHS} | changes
    return {"simulation": simulation, "audit": NOTHING, "superresolution": {"tile": 16}, "pairs": {"slabs": 4}}


def test_paths_of_seeds_and_outputs():
    found = check(external()).simulation.external
    assert str(found.path("high", 7, 0)) == "/data/7/high"
    paths = {"low": "a/{seed}/{output}", "high": "b{output}/{seed}", "outputs": ["003", "005"]}
    found = check(external(scale_factors=[0.5, 1.0], external=paths)).simulation.external
    assert str(found.path("low", 7, 0)) == "a/7/003"
    assert str(found.path("high", 7, 1)) == "b005/7"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"external": {"low": "/data/low", "high": "/data/{seed}"}}, "must hold {seed}"),
        ({"external": {"low": "/data/{sed}/{seed}", "high": "/data/{seed}"}}, "must hold {seed}"),
        ({"external": {"low": "/data/{seed", "high": "/data/{seed}"}}, "is no pattern"),
        ({"external": PATHS | {"outputs": ["5"]}}, "{output} and external.outputs belong together"),
        ({"scale_factors": [0.5, 1.0]}, r"outputs = \[\] has 0 names for 2 scale_factors"),
        ({"external": {"low": "/data/{seed}"}}, "has no 'high': .* true high-resolution run of every box"),
        ({"external": {"low": "/{seed}", "high": None}}, "low runs alone .* `supercosm superresolve SNAPSHOT --model"),
    ],
    ids=str,
)
def test_paths_that_name_no_runs(changes, match):
    with pytest.raises(ConfigurationError, match=match):
        check(external(**changes))


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"audit": NOTHING | {"few_steps": [3]}}, r"audit.few_steps = \[3\] needs simulations of this package.*\[\]"),
        ({"audit": NOTHING | {"universes": 2}}, "audit.universes = 2 needs simulations of this package.*set it to 0"),
        ({"audit": NOTHING | {"shifts": [{"h": 0.01}]}}, "audit.shifts .* needs simulations of this package"),
        ({"models": {"unet": {**UNET, "condition": ["low", "initial"]}}}, "models.unet learns from initial"),
        ({"models": {"unet": {**UNET, "condition": ["low"], "noise": "initial"}}}, "models.unet learns"),
        ({"classification": {"tasks": {"s": {"kind": "cosmology", "box_size": 50.0}}}}, "tasks.s needs simulations"),
    ],
    ids=str,
)
def test_what_needs_our_simulations_is_refused(more, match):
    with pytest.raises(ConfigurationError, match=match):
        check(external() | more)


def test_what_is_left_out():
    config = check(external() | {"models": {"unet": {**UNET, "condition": ["low"], "noise": "none"}}})
    assert [entry.name for entry in entries(config)] == ["low", "unet"]
    assert "Compute for accuracy" not in figures_of(config)
    assert '"external"' in stage_settings(config, "import")


def test_the_shipped_overlay_is_a_configuration():
    config = load_config(["config/config.yaml", "config/own.yaml"])
    assert config.simulation.external.path("low", 3, 0).parts[-3:] == ("run3", "low", "snapdir_005")


# Bringing them in


@pytest.fixture(scope="module")
def runs(tiny_simulations):
    return {name: read_snapshot(tiny_simulations[3] / f"{name}.hdf5") for name in ("low", "high")}


@pytest.fixture
def config():
    return load_config(settings=stage_settings(check(external()), "import"))


def test_an_imported_snapshot_is_ours(runs, config, tmp_path, caplog):
    (source,) = write_swift(tmp_path / "snap", Run(runs["low"], "F", 0))
    with caplog.at_level("INFO", logger="supercosm"):
        import_snapshot(source, tmp_path / "low.hdf5", config, "low", 1.0)
    assert "IDs from 0 on in F order" in caplog.text
    assert "16³ particles in 50 Mpc/h at a = 1.0000" in caplog.text
    found = read_snapshot(tmp_path / "low.hdf5")
    np.testing.assert_allclose(found.displacement(), runs["low"].displacement(), atol=3e-5)
    np.testing.assert_allclose(found.velocities, runs["low"].velocities, rtol=1e-6, atol=1e-4)
    assert found.cosmology == check(external()).cosmology
    assert found.box_size == 50  # exactly, though Mpc without h are not
    assert found.provenance["source"] == source.name  # no path of this machine
    assert len(found.provenance["sha256"]) == 64
    import_snapshot(source, tmp_path / "again.hdf5", config, "low", 1.0)
    assert (tmp_path / "again.hdf5").read_bytes() == (tmp_path / "low.hdf5").read_bytes()


def test_foreign_snapshots_are_compared_like_ours(runs, tmp_path):
    path = write_binary(tmp_path / "h", Run(runs["high"], "F", 0), 2)[0]
    sample = read_sample(path)
    grid = comparison_grid(sample, runs["high"], check(external()).evaluation)
    assert grid.side == 32
    np.testing.assert_allclose(sample.displacement(), runs["high"].displacement(), atol=3e-5)


def test_imported_runs_make_pairs_without_initial_phases(runs, config, tmp_path):
    (low,) = write_gadget_hdf5(tmp_path / "l", Run(runs["low"]))
    high = write_binary(tmp_path / "h", Run(runs["high"], "F"), 3)[0]
    for source, name in ((low, "low"), (high, "high")):
        import_snapshot(source, tmp_path / f"{name}.hdf5", config, name, 1.0)
    make_pairs(tmp_path / "low.hdf5", tmp_path / "high.hdf5", tmp_path / "pairs.hdf5", slabs=4)
    pairs = PairFile(tmp_path / "pairs.hdf5")
    assert not pairs.has_initial
    for name in ("low", "high"):
        np.testing.assert_allclose(pairs.read(f"{name}/displacement"), runs[name].displacement(), atol=3e-5)


@pytest.mark.parametrize(
    ("changes", "options", "match"),
    [
        ({"box_size": 51.0}, {}, r"has box size \[Mpc/h\] = 50, and the configuration 51"),
        ({"box_size": 49.9}, {}, "has box size"),
        ({}, {"resolution": "high"}, "has 16 particles per side, and simulation.high is 32"),
        ({}, {"scale_factor": 0.9}, "has scale factor = 1, and the configuration 0.9"),
    ],
)
def test_a_header_that_says_something_else_is_refused(runs, tmp_path, changes, options, match):
    (source,) = write_gadget_hdf5(tmp_path / "snap", Run(runs["low"]))
    arguments = {"resolution": "low", "scale_factor": 1.0} | options
    with pytest.raises(DataError, match=match):
        import_snapshot(source, tmp_path / "low.hdf5", check(external(**changes)), **arguments)
    assert not (tmp_path / "low.hdf5").exists()


@pytest.mark.parametrize(("name", "value"), [("Omega_m", 0.3), ("Omega_b", 0.04), ("h", 0.7)])
def test_another_cosmology_is_refused(runs, tmp_path, name, value):
    (source,) = write_gadget_hdf5(tmp_path / "snap", Run(runs["low"]))
    config = check(external() | {"cosmology": {name: value}})
    with pytest.raises(DataError, match=rf"has cosmology\.{name} = .*, and the configuration {value}"):
        import_snapshot(source, tmp_path / "low.hdf5", config, "low", 1.0)


@pytest.mark.parametrize("factor", [0.1, 10.0, -1.0])
def test_velocities_must_be_those_of_the_structure(runs, tmp_path, factor):
    run = Run(runs["low"])
    run.velocities = run.velocities * factor
    (source,) = write_gadget_hdf5(tmp_path / "snap", run)
    with pytest.raises(DataError, match=r"velocities along the displacement are .* times those of linear theory"):
        import_snapshot(source, tmp_path / "low.hdf5")


def test_what_is_no_lattice_or_ours_is_not_imported(runs, tiny_simulations, tmp_path):
    run = Run(runs["low"])
    run.ids = np.random.default_rng(0).permutation(run.ids)
    (source,) = write_gadget_hdf5(tmp_path / "snap", run)
    with pytest.raises(DataError, match="the IDs do not name a lattice"):
        import_snapshot(source, tmp_path / "low.hdf5")
    with pytest.raises(DataError, match="a snapshot of this package already"):
        import_snapshot(tiny_simulations[3] / "low.hdf5", tmp_path / "low.hdf5")


def test_the_command(runs, tmp_path):
    (source,) = write_gadget_hdf5(tmp_path / "snap", Run(runs["low"]), units=False, lengths=1.0)
    arguments = ["import", str(source), "--output", str(tmp_path / "low.hdf5"), "--length-unit", "Mpc/h"]
    result = typer.testing.CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert read_snapshot(tmp_path / "low.hdf5").provenance["cosmology"] == "header"


def test_of_what_was_imported_without_a_configuration_only_the_header_is_known(runs, tmp_path):
    """A model told σ8 refuses it, as it refuses the foreign file itself."""
    from supercosm.snapshot import is_foreign

    (source,) = write_gadget_hdf5(tmp_path / "snap", Run(runs["low"]))
    import_snapshot(source, tmp_path / "low.hdf5")
    assert is_foreign(read_snapshot(tmp_path / "low.hdf5").provenance)
    assert is_foreign(read_snapshot(source).provenance)
    assert not is_foreign(runs["low"].provenance)
