"""What the report says of classifiers follows from the numbers, whichever way they turn out."""

import numpy as np
import pytest
from astropy.table import QTable

from supercosm.classification.findings import sentences
from supercosm.classification.predictions import Predictions
from supercosm.classification.results import Part


def part(rows, classes=("gan", "high"), salient=0.5, random=0.9, right=1.0):
    """Return a part of so many (run, classifier, accuracy); right: share of class 0 that networks find."""
    columns = [
        {
            "run": run,
            "classifier": classifier,
            "accuracy": accuracy,
            "accuracy_low": accuracy - 0.01,
            "accuracy_high": accuracy + 0.01,
            "auc": accuracy,
            "p": 0.25,
            "parameters": 100 if classifier == "residual" else 0,
        }
        for run, classifier, accuracy in rows
    ]
    scores = QTable(rows=columns)
    scores.meta = {"classes": list(classes)}
    labels = np.repeat(np.arange(len(classes)), 20)
    decided = labels.copy()
    decided[: round(20 * (1 - right))] = 1
    found = Predictions(np.eye(len(classes))[decided], labels, labels * 0, np.arange(len(labels)))
    looks = {
        "shares": np.array([0, 0.1]),
        "occlusion_salient": np.array([0.95, salient]),
        "occlusion_random": np.array([0.95, random]),
    }
    return Part(scores, {(run, c): (found, None) for run, c, _ in rows}, QTable(), looks)


def told(kind, **parts):
    return " ".join(sentences(kind, {name.replace("_", "-"): value for name, value in parts.items()}))


def test_realism_names_every_model_and_its_number():
    text = told("realism", low=part([("all", "residual", 0.99)]), gan=part([("all", "residual", 0.71)]))
    assert "up-sampled low run 99.0 ± 1.0, gan 71.0 ± 1.0" in text
    assert "other seeds" not in text


@pytest.mark.parametrize(("accuracy", "verdict"), [(0.51, "chance, as it must be"), (0.62, "MORE THAN CHANCE")])
def test_a_leak_is_told(accuracy, verdict):
    control = part([("all", "residual", accuracy)], ("other-seeds", "high"))
    text = told("realism", gan=part([("all", "residual", 0.71)]), other_seeds=control)
    assert verdict in text
    assert f"{100 * accuracy:.1f}" in text


@pytest.mark.parametrize(("opponent", "better"), [(0.8, True), (0.6, False)])
def test_an_opponent_that_beats_the_network_is_named(opponent, better):
    rows = [("all", "residual", 0.71), ("all", "log_power", 0.5), ("all", "logistic", opponent)]
    text = told("realism", gan=part(rows))
    assert ("all summaries, logistic, without a network, tells it better (80.0" in text) is better


def test_cosmology_tells_of_every_control():
    rows = [("all", "residual", 0.99), ("all", "log_power", 0.96), ("randomised", "residual", 0.97)]
    rows += [("matched", "residual", 0.7), ("matched", "log_power", 0.5), ("shuffled", "residual", 0.52)]
    rows += [("skewed", "residual", 0.8), ("skewed-balanced", "residual", 0.98)]
    text = told("cosmology", universes=part(rows, ("sigma8_0.7", "sigma8_0.9"), right=0.6))
    assert "σ8 = 0.7 | σ8 = 0.9, from single slabs (chance 50): residual network 99.0" in text
    assert "equal P(k), which leaves what lies beyond it: residual network 70.0 ± 1.0, P(k) of ln(1+δ+0.1) 50.0" in text
    assert "lacks most of σ8 = 0.7, and judged on an even one: 80.0 ± 1.0, with 60 % of that class found" in text
    assert "Trained on shuffled labels: 52.0 ± 1.0, chance." in text


def test_shuffled_labels_that_are_learnt_are_told():
    rows = [("all", "residual", 0.99), ("shuffled", "residual", 0.8)]
    assert "WHICH IS NOT CHANCE" in told("cosmology", universes=part(rows, ("sigma8_0.7", "sigma8_0.9")))


@pytest.mark.parametrize(("unet", "drawn"), [(0.97, 0.9), (0.97, 0.96), (0.93, 0.9)])
def test_environment_says_whether_super_resolution_helps(unet, drawn):
    values = {"low": 0.92, "unet": unet, "unet_drawn": drawn, "high": 1.0}
    parts = {name: part([("all", "residual", 0.7), ("all", "tidal", value)]) for name, value in values.items()}
    text = told("environment", **parts)
    helps = [name for name, value in (("unet", unet), ("unet-drawn", drawn)) if value > 0.935]
    assert (f"super-resolution helps this task: {', '.join(helps)}. " in text) is bool(helps)
    others = [name for name in ("unet", "unet-drawn") if name not in helps]
    assert (f"It does not with {', '.join(others)}." in text) is bool(others)


@pytest.mark.parametrize(("salient", "verdict"), [(0.5, "everywhere"), (0.89, "in 1 of 2 cases")])
def test_saliency_is_real_only_where_salient_cells_cost_more(salient, verdict):
    parts = {"low": part([("all", "residual", 0.9)]), "gan": part([("all", "residual", 0.9)], salient=salient)}
    text = told("realism", **{name: value for name, value in parts.items()})
    assert f"Saliency is real {verdict}" in text
    blind = part([("all", "residual", 0.52)], salient=0.4)
    assert "Saliency" not in told("realism", gan=blind)
    harder = part([("all", "residual", 0.9)], salient=0.95, random=0.9)
    assert "Saliency is real in 0 of 1 cases" in told("realism", gan=harder)
