"""What the tests of records share: a small finished run that keeps its record, and the command."""

import logging
import shutil
import sys
from pathlib import Path

import pytest

from supercosm import cli
from supercosm.records.run import record_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def kept_run(finished_run, tmp_path_factory):
    """Results folder of a small run with its record, in a working folder of its own: copy it before changing it."""
    config, folder = finished_run
    results = tmp_path_factory.mktemp("work") / "results" / config.name
    shutil.copytree(folder, results)
    record_run(config, results, ROOT)
    return results


@pytest.fixture
def results(kept_run, tmp_path):
    """A copy of it that a test may change."""
    return shutil.copytree(kept_run, tmp_path / "results" / kept_run.name)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command in this process; return (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["supercosm", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, *capsys.readouterr()

    yield call
    logging.getLogger("supercosm").setLevel(logging.NOTSET)
