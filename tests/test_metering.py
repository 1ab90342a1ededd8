"""What work costs."""

import time

import pytest
import torch

from supercosm.errors import DataError
from supercosm.metering import Meter, read_costs


def test_time_and_memory_of_the_enclosed_work_alone(tmp_path):
    """Sleeping takes time and no core, computing takes both; a quarter of a second is far above the clocks' ticks."""
    meter = Meter(torch.device("cpu"))
    time.sleep(0.1)
    with meter.measure("sleep"):
        time.sleep(0.25)
    with meter.measure("work"):
        until = time.process_time() + 0.25
        held = torch.ones(10_000_000)
        while time.process_time() < until:
            held += 1
    meter.write(tmp_path / "cost.json")
    sleep, work = read_costs(tmp_path / "cost.json")
    assert [sleep.what, work.what] == ["sleep", "work"]
    assert sleep.seconds >= 0.25
    assert sleep.busy < 0.1
    assert work.busy >= 0.25
    assert work.memory > 40  # the tensor alone [MB]
    assert work.device == "cpu"


def test_nothing_is_written_unasked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Meter(torch.device("cpu")).write(None)
    assert list(tmp_path.iterdir()) == []


def test_work_that_fails_is_not_counted():
    meter = Meter(torch.device("cpu"))
    with pytest.raises(RuntimeError), meter.measure("work"):
        raise RuntimeError
    assert meter.costs == []


@pytest.mark.parametrize("content", [None, "no JSON", '[{"what": "low"}]'])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "cost.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"cost\.json.*run that stage again with --cost"):
        read_costs(path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_memory_and_time():
    meter = Meter(torch.device("cuda"))
    with meter.measure("work"):
        torch.ones(25_000_000, device="cuda").sum()
    assert meter.costs[0].memory >= 100
    assert meter.costs[0].busy == meter.costs[0].seconds
