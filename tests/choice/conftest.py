"""Fixtures of the tests of families side by side."""

import pytest
from comparedfamilies import configured, fill

from supercosm.choice.table import gather


@pytest.fixture
def results(tmp_path):
    """Results folder of small tables; a test may damage it."""
    return fill(tmp_path / "run")


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """The table of families of these results; do not change it."""
    return gather(configured(), fill(tmp_path_factory.mktemp("families")))
