"""What the tests of the whole way from a model to running nodes share."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

import splitter

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def roomy() -> splitter.Topology:
    """``loopback3`` with memory for any model on any of its devices."""
    topology = splitter.load_topology("loopback3")
    devices = tuple(replace(device, memory_bytes=4 * 10**9) for device in topology.devices)
    return replace(topology, devices=devices)
