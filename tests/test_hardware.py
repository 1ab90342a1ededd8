"""The section `hardware`: batches that can be shared, and nothing of it in what other stages depend on."""

import json

import pytest
from learning import configuration

from supercosm.config import Config, check, load_config
from supercosm.errors import ConfigurationError
from supercosm.stages import SECTIONS, stage_settings


def with_hardware(batch=1, **hardware):
    return check({**configuration(training={"batch": batch}).model_dump(), "hardware": hardware})


@pytest.mark.parametrize("hardware", [{"devices": 2}, {"nodes": 4}, {"accumulate": 8}, {"devices": 2, "accumulate": 4}])
def test_batches_are_shared_evenly(hardware):
    parts = with_hardware(8, **hardware).hardware.world * hardware.get("accumulate", 1)
    assert 8 % parts == 0
    with pytest.raises(ConfigurationError) as error:
        with_hardware(9, **hardware)
    shape = " × ".join(str(hardware.get(key, 1)) for key in ("devices", "nodes", "accumulate"))
    assert "models.model.training.batch = 9 is not a multiple of hardware.devices × nodes × accumulate" in str(
        error.value
    )
    assert f"{shape} = {parts}" in str(error.value)


def test_the_command_is_told_of_hardware_apart_from_what_makes_it_run_again():
    config = with_hardware(4, devices=2, cache=0.5)
    for stage in SECTIONS:
        assert "hardware" not in json.loads(stage_settings(config, stage)), stage
    settings = stage_settings(config, "train", "model")
    assert load_config((), settings).hardware == Config().hardware
    assert load_config((), settings, config.hardware.model_dump_json()).hardware == config.hardware
    with pytest.raises(ConfigurationError, match="--hardware is not valid JSON"):
        load_config((), settings, "four")
