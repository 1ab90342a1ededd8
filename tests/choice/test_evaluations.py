"""How many evaluations a sample needs: real samples of small models, compared with the truth."""

import pytest
from learning import TEST_SEED, random_model

from supercosm.choice.sampling import evaluations, suitable, told
from supercosm.compare import compare
from supercosm.config import Evaluation
from supercosm.errors import ConfigurationError
from supercosm.evaluate import combine
from supercosm.family_settings import Diffusion, FlowMatching, Gan
from supercosm.sampler import Options
from supercosm.superresolution import superresolve_file
from supercosm.tables import read_table

SETTINGS = Evaluation(bins=6, mesh=1, evaluations=[1, 2])
OPTIONS = Options("drawn", seed=50, tile=16, device="cpu")


def test_numbers_suit_the_solver_and_hold_the_models_own():
    assert suitable(FlowMatching(evaluations=10), [1, 2, 4, 8, 16]) == [1, 2, 4, 8, 10, 16]
    assert suitable(Diffusion(solver="heun", evaluations=9), [1, 2, 4, 8, 16]) == [1, 3, 5, 9, 17]
    assert suitable(Diffusion(solver="euler", evaluations=9), [2, 1]) == [1, 2, 9]
    with pytest.raises(ConfigurationError, match="family gan makes a sample in one evaluation"):
        suitable(Gan(), [1])


@pytest.mark.parametrize("family", ["flow_matching", "diffusion"])
def test_a_table_has_what_samples_of_each_number_are_like(boxes, tmp_path, family):
    model = random_model(boxes, tmp_path / "model", family=family, noise="initial", evaluations=3)
    low, high = boxes.snapshot(TEST_SEED, "low"), boxes.snapshot(TEST_SEED, "high")
    evaluations(low, tmp_path / "model", high, tmp_path / "drawn.ecsv", OPTIONS, SETTINGS)
    table = read_table(tmp_path / "drawn.ecsv")
    assert list(table["evaluations"]) == ([1, 3] if family == "diffusion" else [1, 2, 3])
    assert (table.meta["entry"], table.meta["model"], table.meta["own"]) == ("drawn", "random", 3)
    assert (table["sampling"].value > 0).all()
    assert (table["crps"] > 0).all()
    paths = [tmp_path / f"{i}.hdf5" for i in (1, 2)]
    superresolve_file(low, paths, tmp_path / "model", OPTIONS)
    metrics = combine([compare(paths, high, SETTINGS, "a", 1)])[1]
    last = table[-1]  # the model as it is
    assert last["P_error"] == pytest.approx(metrics["density_P_worst_double"][0], rel=1e-6)
    assert last["twin"] == pytest.approx(metrics["density_twin_double"][0], rel=1e-6)
    assert table["P_error"][0] != last["P_error"]
    assert told(model, 1).card.settings.evaluations == 1
    assert model.card.settings.evaluations == 3  # the model itself is left as it was


def test_a_model_of_one_evaluation_is_refused_before_any_work(boxes, tmp_path):
    random_model(boxes, tmp_path / "model", family="ensemble", noise="initial")
    low, high = boxes.snapshot(TEST_SEED, "low"), boxes.snapshot(TEST_SEED, "high")
    with pytest.raises(ConfigurationError, match="flow_matching or diffusion"):
        evaluations(low, tmp_path / "model", high, tmp_path / "table.ecsv", OPTIONS, SETTINGS)
    assert not (tmp_path / "table.ecsv").exists()
