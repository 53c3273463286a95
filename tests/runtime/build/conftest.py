"""A small network over three devices, for tests of what is built from it."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

import splitter

sys.path.insert(0, str(Path(__file__).parent))

from small_net import PLACEMENT, small_program


@pytest.fixture(scope="session")
def program() -> splitter.Program:
    """`small_net.SmallNet`, traced."""
    return small_program()


@pytest.fixture(scope="session")
def topology() -> splitter.Topology:
    """``loopback3`` with memory to spare."""
    shipped = splitter.load_topology("loopback3")
    devices = tuple(replace(device, memory_bytes=10**9) for device in shipped.devices)
    return replace(shipped, devices=devices)


@pytest.fixture(scope="session")
def plan(program: splitter.Program, topology: splitter.Topology) -> splitter.Plan:
    """The middle of the network on the middle device."""
    return splitter.partition(program, topology, placement=PLACEMENT)
