"""The report's section: every figure that the workflow expects is drawn, and the words follow from the numbers."""

import numpy as np
import pytest
from astropy.table import QTable
from learning import TEST_SEED

from supercosm.compression import stage
from supercosm.compression.findings import ratios, sentences
from supercosm.compression.section import section
from supercosm.config import check
from supercosm.errors import ConfigurationError, DataError
from supercosm.stages import compression_figures
from supercosm.tables import read_table


@pytest.fixture(scope="module")
def finished(settings, folders, boxes, tmp_path_factory):
    """Configuration and results folder of a finished stage."""
    results = tmp_path_factory.mktemp("results")
    compression = {
        **settings.model_dump()["compression"],
        "steps": [0.5, 2.0],
        "bounds": [0.3, 1.0],
        "lengths": [0.1, 0.3],
        "gallery": 3,
        "maps": {"methods": ["isomap", "pca"], "coders": ["pca"], "points": 100},
    }
    config = check({"compression": compression, "simulation": {"high": 32, "low": 16, "box_size": 50.0}})
    made, high = results / "compression", boxes.snapshot(TEST_SEED, "high")
    made.mkdir()
    (made / "coders").symlink_to(folders["pca"].parent)
    flat, solid = ([folders[n] for n, c in config.compression.expanded().items() if c.dimensions == d] for d in (2, 3))
    stage.rate_distortion_patches(config, flat, [high], made / "patches.ecsv")
    stage.rate_distortion_box(config, solid, high, made / "box.ecsv")
    stage.rate_distortion_particles(config, high, boxes.snapshot(TEST_SEED, "high"), made / "particles.ecsv")
    stage.maps(config, folders["pca"], [high], made / "maps" / "pca.ecsv")
    stage.sanity(config, made / "sanity.ecsv")
    stage.show(config, flat, [high], made / "gallery.hdf5", made / "prior.ecsv")
    return config, results


def test_the_section_draws_the_figures_that_the_workflow_expects(finished):
    config, results = finished
    found = section(config, results)
    files = {path.stem.removeprefix("compression_") for path in (results / "figures").glob("*.png")}
    assert files == set(compression_figures(config))
    assert len(found["figures"]) == len(files)
    assert all(shown["image"].startswith("data:image/png") for shown in found["figures"])
    assert {row["name"] for row in found["coders"]} == {
        "pca",
        "mean",
        "dense",
        "conv",
        "vae",
        "rates-0.001",
        "rates-0.01",
    }
    assert [row["best"] for row in found["coders"] if row["name"] == "pca"] == [False]
    assert sum(row["best"] for row in found["coders"]) == 1


def test_no_coders_no_section(finished):
    _, results = finished
    assert section(check({"compression": {"coders": None}}), results) is None
    assert compression_figures(check({})) == ()


def test_coders_of_blocks_alone_are_refused():
    with pytest.raises(ConfigurationError, match="none of projected patches"):
        compression_figures(
            check({"compression": {"coders": {"cube": {"kind": "pca", "dimensions": 3, "latents": 8}}}})
        )


def test_a_missing_table_is_named(finished, tmp_path):
    config, results = finished
    (tmp_path / "compression").mkdir()
    (tmp_path / "compression" / "coders").symlink_to(results / "compression" / "coders")
    with pytest.raises(DataError, match=r"patches\.ecsv"):
        section(config, tmp_path)


def test_words_follow_the_numbers(finished, coders):
    _, results = finished
    tables = {name: read_table(results / "compression" / f"{name}.ecsv") for name in ("patches", "box", "particles")}
    cards = {name: coder.card for name, coder in coders.items()}
    drawn = read_table(results / "compression" / "prior.ecsv")
    said = " ".join(sentences(cards, tables, drawn))
    rows = {row["coder"]: row["unexplained"] for row in tables["patches"] if not np.isfinite(row["bits"])}
    assert f"At 8 numbers PCA leaves {100 * rows['pca']:.1f} % of the variance unexplained and wins" in said
    assert "built on PCA, leaves" in said
    assert f"dense {cards['dense'].dead_latents} of 8" in said
    assert all(f"{value:.2g}" in said for value in cards["vae"].information)
    worse = tables["patches"].copy()
    worse["unexplained"][worse["coder"] == "pca"] = 0.99
    otherwise = " ".join(sentences(cards, {**tables, "patches": worse}, drawn))
    assert "Why PCA is hard to beat" in said
    assert "loses against the best dense autoencoder" in otherwise
    assert "Why PCA is hard to beat" not in otherwise
    better = tables["patches"].copy()
    better["unexplained"][better["coder"] == "pca"] = 0.01
    assert "% more than PCA's 1.0 %" in " ".join(sentences(cards, {**tables, "patches": better}, drawn))
    open_bottleneck = cards["dense"].settings.model_copy(update={"bottleneck": "linear"})
    opened = {**cards, "dense": cards["dense"].model_copy(update={"settings": open_bottleneck, "dead_latents": 0})}
    assert "behind a linear bottleneck: dense 0 of 8" in " ".join(sentences(opened, tables, drawn))
    assert "linear bottleneck" not in said


def test_files_are_compared_at_one_error_of_the_power_spectrum():
    rows = [("sz3", 4.0, 0.01), ("sz3", 1.0, 0.1), ("mine", 2.0, 0.01), ("mine", 0.5, 0.1), ("zfp", 8.0, 0.001)]
    table = QTable(rows=rows, names=("coder", "bits", "power_error"))
    found = list(ratios(table))
    assert [row["id"] for row in found] == ["mine", "sz3"]  # ZFP was not measured at so large an error
    assert found[1]["bits"] / found[0]["bits"] == pytest.approx(2)
    assert found[0]["ratio"] == pytest.approx(32 / found[0]["bits"])
