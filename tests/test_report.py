"""The report: one page that needs nothing but itself, and the pictures in it."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from synthetic_results import configuration, make_results

from supercosm.config import check, load_config
from supercosm.errors import DataError
from supercosm.evaluate import evaluate
from supercosm.fields import density_of
from supercosm.pictures import View, choose_view, panel, project, sheet
from supercosm.report import benchmarks, report
from supercosm.snapshot import read_snapshot
from supercosm.stages import BY_SLABS, figures_of, stage_settings, tables_of
from supercosm.summarise import summarise
from supercosm.tables import read_table


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of the finished run that a test may damage."""
    config, folder = finished_run
    return config, shutil.copytree(folder, tmp_path / "run")


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.links = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        if tag == "img":
            self.images.append(attributes)
        self.links += [v for k, v in attributes.items() if k in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(finished_run, tmp_path_factory):
    config, folder = finished_run
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("report") / "run")
    times = copy / "benchmarks" / "train"
    times.mkdir(parents=True)
    (times / "unet.tsv").write_text("s\th:m:s\tmax_rss\n221.5\t0:03:41\t1830.2\n")
    report(config, copy, copy / "report" / "index.html")
    return copy, (copy / "report" / "index.html").read_text(encoding="utf-8")


def test_page_is_whole_and_needs_nothing_else(page):
    parsed = Page(page[1])
    assert parsed.open == []
    judged = sum(len(names) for names in figures_of(configuration()).values())
    assert len(parsed.images) == 1 + 4 + 4 + judged + 2  # picture; P, r, T, twins of two fields; loss curves
    assert all(image["alt"] for image in parsed.images)
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in parsed.links)
    assert "http://" not in page[1]
    assert "https://" not in page[1]
    assert "<script" not in page[1]


def test_page_says_what_was_run_and_where_it_comes_from(page):
    _, text = page
    for expected in ("16³ → 32³", "50 Mpc/h", "8, 9", "up-sampled low run", "low run + linear small scales"):
        assert expected in text
    for expected in (
        "Model card: unet",
        "12345",
        "3.7 min",
        "1.83 GB",
        "Still falling",
        "in balance",
    ):
        assert expected in text
    assert "astropy" in text


def test_figures_lie_beside_the_page(page):
    folder, _ = page
    kinds = {
        f"{kind}_{field}"
        for kind in ("power", "transfer", "correlation", "twins")
        for field in ("density", "displacement")
    }
    judged = {name for names in figures_of(configuration()).values() for name in names}
    for kind, start in ((".png", b"\x89PNG"), (".pdf", b"%PDF")):
        paths = list((folder / "figures").glob(f"*{kind}"))
        assert {path.stem for path in paths} == kinds | judged | {"density", "loss_unet", "loss_gan"}
        assert all(path.read_bytes().startswith(start) for path in paths)


def test_best_values_are_marked_among_those_told_the_same(page):
    rows = re.findall(r"<tr><td>([^<]*)</td>(.*?)</tr>", page[1], re.DOTALL)
    density = {name: cells for name, cells in rows if "scatter" in cells}
    assert 'class="best"' in density["unet"]
    assert 'class="best"' not in density["low run + linear small scales"]  # the only one told the phases


def test_the_same_results_give_the_same_page(page, tmp_path):
    folder, text = page
    config = configuration()
    figure = (folder / "figures" / "cost.pdf").read_bytes()
    report(config, folder, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == text
    assert (folder / "figures" / "cost.pdf").read_bytes() == figure


def test_baselines_alone_make_a_report(run):
    config, folder = run
    alone = check(config.model_dump() | {"models": {}, "report": {"pdf": False}})
    comparisons = [folder / "comparisons" / entry / f"{seed}.ecsv" for entry in ("low", "linear") for seed in (8, 9)]
    evaluate(comparisons, folder / "evaluation" / "spectra.ecsv", folder / "evaluation" / "metrics.ecsv")
    report(alone, folder, folder / "index.html")
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert "No models are configured" in text
    assert "There are no benchmark files" in text


def test_of_own_snapshots_no_simulator_is_named(run):
    """Steps and force mesh of the configuration are those of simulations that were never run."""
    config, folder = run
    content = config.model_dump() | {"models": {}, "report": {"pdf": False}}
    content["simulation"] |= {"external": {"low": "{seed}/low", "high": "{seed}/high"}}
    content["audit"] |= {"few_steps": [], "universes": 0, "shifts": []}
    content["classification"] |= {"tasks": {}}
    comparisons = [folder / f"comparisons/low/{seed}.ecsv" for seed in (8, 9)]
    evaluate(comparisons, folder / "evaluation" / "spectra.ecsv", folder / "evaluation" / "metrics.ecsv")
    report(check(content), folder, folder / "index.html")
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert "snapshots of other codes" in text
    assert "The dotted fits are of other simulations;" in text
    for words in ("steps from a =", "finer forces", "force mesh"):
        assert words not in text


def test_outputs_and_projected_models_have_sections_of_their_own(tmp_path):
    training = {"crop": 16, "margin": 2}
    config = configuration(
        simulation={"low": 8, "high": 16, "box_size": 50.0, "steps": 4, "scale_factors": [0.5, 1.0]},
        seeds={"training": [1], "validation": [2], "test": [8]},
        models={
            "early": {"family": "unet", "scale_factor": 0.5, "training": training},
            "both": {"family": "unet", "told": ["scale_factor"], "scale_factor": [0.5, 1.0], "training": training},
            "box": {"family": "unet", "fields": "density", "training": training},
            "flat": {"family": "unet", "fields": "density", "dimensions": 2, "training": training},
        },
        pairs={"slabs": 4},
        superresolution={"tile": 8},
        report={"pdf": False},
    )
    folder = make_results(tmp_path / "run", config)
    report(config, folder, folder / "report" / "index.html")
    text = (folder / "report" / "index.html").read_text(encoding="utf-8")
    titles = re.findall(r"<h2>(Results[^<]*)</h2>", text)
    assert titles == ["Results at z = 0", "Results at z = 0, projected slabs", "Results at z = 1"]
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {"density.png", "density_slabs.png", "density_a0.5000.png", "power_density_slabs.png"} <= names
    assert "power_displacement_slabs.png" not in names
    assert "slab 12.5 Mpc/h thick" in text
    assert "both, a = 0.5" in text


def test_families_stand_side_by_side_where_there_are_two(tmp_path):
    training = {"crop": 16, "margin": 2}
    config = configuration(
        simulation={"low": 8, "high": 16, "box_size": 50.0, "steps": 4},
        seeds={"training": [1], "validation": [2], "test": [8]},
        models={
            "unet": {"family": "unet", "condition": ["low", "initial"], "noise": "initial", "training": training},
            "gan": {"family": "gan", "training": training},
        },
        superresolution={"tile": 8, "samples": 2},
        audit={"universes": 0, "few_steps": [], "shifts": []},
        report={"pdf": False},
    )
    folder = make_results(tmp_path / "run", config)
    report(config, folder, folder / "index.html")
    text = (folder / "index.html").read_text(encoding="utf-8")
    parsed = Page(text)
    assert parsed.open == []
    assert "Which generative model is right for you?" in text
    assert "unet-drawn (reference)" in text
    assert "There is one test box" in text
    assert "unet (regression, told the true modes)" in text
    names = {path.stem for path in (folder / "figures").glob("families_*.png")}
    assert names == {"families_radar", "families_cost", "families_calibration"}
    row = read_table(folder / "evaluation" / "families.ecsv")[2]
    assert row["kind"] == "regression"
    assert row["crps_1"] > row["crps_4"] > 0  # its mean absolute error, smaller in larger cells


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("evaluation/spectra.ecsv", "no table"),
        ("simulations/8/high.hdf5", "no snapshot"),
        ("superresolved/unet/8/1.hdf5", "no snapshot"),
        ("models/unet/model.json", "no model card"),
        ("models/gan/history.csv", "no training history"),
    ],
)
def test_a_missing_file_is_named(run, missing, message):
    config, folder = run
    (folder / missing).unlink()
    with pytest.raises(DataError, match=message) as caught:
        report(config, folder, folder / "index.html")
    assert missing in str(caught.value)
    assert not (folder / "index.html").exists()


def test_an_entry_that_was_not_evaluated_is_named(run):
    config, folder = run
    more = check(json.loads(config.model_dump_json()) | {"models": {"other": config.models["unet"].model_dump()}})
    with pytest.raises(DataError, match="lacks other"):
        report(more, folder, folder / "index.html")


def test_benchmarks_are_summed_by_rule(tmp_path):
    for name, line in (("train/a/1", "10.0\t500.5"), ("train/b", "30.5\t1500"), ("measure/1", "1.0\t-")):
        path = tmp_path / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tmax_rss\n{line}\n")
    train, measure = benchmarks(tmp_path)
    assert train == {"rule": "train", "jobs": 2, "total": 40.5, "longest": 30.5, "memory": 1500.0}
    assert measure["memory"] == 0
    assert benchmarks(tmp_path / "none") == []


def test_projection_conserves_mass_and_is_periodic():
    points = np.random.default_rng(0).uniform(0, 50, (500, 2))
    image = project(points, 50.0, (0.0, 0.0, 50.0), 16)
    assert image.sum() == pytest.approx(500)
    corner = project(np.array([[49.99, 0.01]]), 50.0, (0.0, 0.0, 50.0), 10)
    assert corner[[0, 0, 9, 9], [0, 9, 0, 9]].sum() == pytest.approx(1)


def test_a_zoom_is_that_part_of_the_whole():
    points = np.random.default_rng(0).uniform(0, 50, (500, 2))
    whole = project(points, 50.0, (0.0, 0.0, 50.0), 20)
    part = project(points, 50.0, (10.0, 30.0, 20.0), 8)
    assert np.allclose(part, whole[4:12, 12:20])


def test_sheet_of_one_point_per_particle_is_the_particles(finished_run):
    snapshot = read_snapshot(finished_run[1] / "simulations" / "8" / "high.hdf5")
    points = np.concatenate(list(sheet(snapshot, 1, 10.0)))
    inside = snapshot.positions[snapshot.positions[:, 2] < 10.0, :2]
    assert len(points) == pytest.approx(len(inside), abs=3)  # a particle at the very edge may round to either side
    assert len(np.concatenate(list(sheet(snapshot, 2, 50.0)))) == 8 * len(snapshot.ids)


def test_panels_of_particles_and_of_density_show_the_same_place(finished_run):
    """Both are 1 + δ of one slab, by sheet and by mesh: equal where smoothed to the low run's cells."""
    truth = read_snapshot(finished_run[1] / "simulations" / "8" / "high.hdf5")
    view = choose_view(truth, 50.0, 12.5, 16)
    assert view.zoom[2] == 12.5
    assert isinstance(view, View)
    particles, mesh = panel("a", truth, view), panel("b", density_of(truth, 64), view)
    assert particles.slab.mean() == pytest.approx(1, rel=1e-6)

    def coarse(image, cells):
        return image.reshape(cells, len(image) // cells, cells, -1).mean((1, 3))

    assert np.corrcoef(coarse(particles.slab, 16).ravel(), coarse(mesh.slab, 16).ravel())[0, 1] > 0.98
    assert np.corrcoef(coarse(particles.zoom, 4).ravel(), coarse(mesh.zoom, 4).ravel())[0, 1] > 0.95
    assert particles.zoom.mean() == pytest.approx(mesh.zoom.mean(), rel=0.1)
    assert particles.zoom.mean() > 1.2  # the densest place was chosen


def test_of_boxes_measured_by_slabs_there_is_what_can_be(finished_run, tmp_path):
    config, folder = finished_run
    config = config.model_copy(update={"statistics": config.statistics.model_copy(update={"slabs": 2})})
    copy = shutil.copytree(folder, tmp_path / "run")
    for name in tables_of(configuration(), copy).keys() - tables_of(config, copy).keys():
        (copy / "evaluation" / f"{name}.ecsv").unlink()
    for entry in (copy / "statistics").iterdir():
        for path in entry.rglob("*.ecsv"):
            if path.stem not in BY_SLABS:
                path.unlink()
    settings = stage_settings(config, "summarise")
    summarise(load_config((), settings), copy, copy / "evaluation")  # told no more than the workflow tells it
    report(config, copy, copy / "report" / "index.html")
    text = (copy / "report" / "index.html").read_text(encoding="utf-8")
    for title, shown in (("Mass function", True), ("Moments", True), ("Minkowski functionals", False), ("Bias", False)):
        assert (f"<b>{title}:</b>" in text) is shown, title
