"""The processes of one training come together: each with its device, all with a way to speak to each other."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

from supercosm.errors import ConfigurationError, StoppedError
from supercosm.hardware_settings import Hardware
from supercosm.launching import Node, Place, found_place, rendezvous
from supercosm.sharing import Share

TIMEOUT = timedelta(minutes=30)  # that one process waits for another which says nothing; a death is noticed at once


@contextmanager
def gathered(hardware: Hardware, device: torch.device) -> Iterator[tuple[Share, torch.device]]:
    """Yield the share of this process and its own device, once all processes of the settings are there.

    Raises ConfigurationError where they were not started, have not a device each, or find their port taken.
    """
    if hardware.world == 1:
        yield Share(parts=hardware.accumulate), device
        return
    place = found_place(hardware, os.environ)
    if isinstance(place, Node):
        raise ConfigurationError(
            f"hardware.devices × nodes = {hardware.devices} × {hardware.nodes} processes are to train together, but "
            "this is one; start it by the command `supercosm train`, by torchrun or by srun"
        )
    own = own_device(device, place, hardware)
    if hardware.nodes == 1:  # else the address that the host's name stands for, which need not be one
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _loopback())
    if place.rank != 0:
        logging.getLogger("supercosm").setLevel(logging.WARNING)
    address, port = rendezvous(hardware, os.environ)
    os.environ.update(MASTER_ADDR=address, MASTER_PORT=str(port))
    backend = "cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend, rank=place.rank, world_size=hardware.world, timeout=TIMEOUT)
    except distributed.DistNetworkError as error:
        if "EADDRINUSE" not in str(error):
            raise
        raise ConfigurationError(
            f"port {port} of {address} is taken by another program; set MASTER_PORT to a free one or, where you named "
            "none, give the same command again"
        ) from None
    try:
        yield Share(place.rank, hardware.world, hardware.accumulate), own
    except StoppedError:  # all stop together
        distributed.destroy_process_group()
        raise
    distributed.destroy_process_group()  # not after another error: the others may no longer answer


def own_device(device: torch.device, place: Place, hardware: Hardware) -> torch.device:
    """Return the device of one process of several: the CPU, or a GPU that no other one takes."""
    if device.type != "cuda":
        return device
    count = torch.cuda.device_count()
    if count < hardware.devices and not (place.bound and count == 1):
        raise ConfigurationError(
            f"hardware.devices = {hardware.devices}, but {count} GPUs are to be seen here; lower it, or ask for more"
        )
    own = torch.device("cuda", place.local if count > 1 else 0)
    torch.cuda.set_device(own)
    return own


def _loopback() -> str:
    """Return the name of the interface that leaves no machine: lo, or lo0."""
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
