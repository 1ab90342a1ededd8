"""Fixtures that several test modules share, and what two processes share out between them."""

from pathlib import Path

import pytest
from learning import boxes, high, low, models  # noqa: F401 - fixtures
from simulations import tiny_config, tiny_simulations  # noqa: F401 - fixtures
from synthetic_results import configuration, make_results

LONG = ("workflow", "reliability", "cluster", "schemes")  # begun first, lest one of two processes waits for them


def pytest_collection_modifyitems(items):
    """Keep the tests of a folder, or of a file that lies in none, in one process: they share what takes long."""
    groups = {}
    for item in items:
        group = item.path.relative_to(Path(__file__).parent).parts[0]
        item.add_marker(pytest.mark.xdist_group(group))
        groups.setdefault(group, []).append(item)
    order = sorted(groups, key=lambda name: LONG.index(name) if name in LONG else len(LONG))
    items[:] = [item for name in order for item in groups[name]]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """Configuration and results folder of a finished small run; copy it before changing it."""
    config = configuration()
    return config, make_results(tmp_path_factory.mktemp("run") / config.name, config)
