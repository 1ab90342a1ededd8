"""How the processes of one training come together."""

import socket

import pytest
import torch

from supercosm.errors import ConfigurationError
from supercosm.gathering import gathered
from supercosm.hardware_settings import Hardware


def test_a_port_that_is_taken_is_named(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        variables = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        for name, value in (variables | {"MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}).items():
            monkeypatch.setenv(name, value)
        words = f"port {port} of 127.0.0.1 is taken by another program; set MASTER_PORT to a free one"
        with pytest.raises(ConfigurationError, match=words), gathered(Hardware(devices=2), torch.device("cpu")):
            pass
