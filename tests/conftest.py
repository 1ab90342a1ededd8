"""Fixtures that several test modules share."""

import pytest
from learning import boxes, high, low, models  # noqa: F401 - fixtures
from simulations import tiny_config, tiny_simulations  # noqa: F401 - fixtures
from synthetic_results import configuration, make_results


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """Configuration and results folder of a finished small run; copy it before changing it."""
    config = configuration()
    return config, make_results(tmp_path_factory.mktemp("run") / config.name, config)
