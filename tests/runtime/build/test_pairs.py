"""An expansion and a depthwise convolution as one kernel, against torch and against two kernels."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import tvm
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from runtime.build.generate import generate
from runtime.build.lower import lower_layer
from runtime.build.lower.layer import EXPANDED_DEPTHWISE, NO_ENCODINGS
from runtime.build.machine import Machine
from runtime.build.node import build_node
from runtime.build.pairs import paired
from runtime.build.schedule import schedule
from runtime.build.tune.reach import bench
from splitter.memory import plan_memory
from splitter.program import JOIN, Program
from splitter.schedule import NodeSchedule, node_schedules
from splitter.topology import Device, Topology
from splitter.topology_file import load_topology
from tests.runtime.build.run_kernel import MACHINES, relative_error, traced, values

VECTORS = sorted(name for name, machine in MACHINES.items() if machine.lanes > 1)
LARGE = (1, 8, 128, 160)
"""With 48 channels a map of this size leaves the cache."""


def inverted(
    shape: tuple[int, int, int, int],
    channels: int,
    kernel: int = 3,
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
) -> Program:
    torch.manual_seed(0)
    constants = (
        torch.randn(channels, shape[1], 1, 1),
        torch.randn(channels),
        torch.randn(channels, 1, kernel, kernel),
    )

    def function(
        x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, v: torch.Tensor
    ) -> torch.Tensor:
        wide = functional.relu6(functional.conv2d(x, w, b))
        rows = functional.conv2d(wide, v, None, stride, padding, dilation, channels)
        return torch.relu(rows)

    return traced(function, (torch.randn(*shape),), constants)


def joined(program: Program) -> Program:
    first, second = program.graph.layers
    return program.joined([(first, second)], EXPANDED_DEPTHWISE)


@given(
    machine=st.sampled_from(VECTORS),
    vectors=st.integers(1, 5),
    rows=st.integers(5, 30),
    inner=st.integers(1, 5),
    half=st.integers(1, 7),
    batch=st.integers(1, 2),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    few=st.sampled_from([1 << 10, 8 << 10, 160 << 10]),
)
@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example takes a second
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_against_torch(
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    vectors: int,
    rows: int,
    inner: int,
    half: int,
    batch: int,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    few: int,
) -> None:
    columns = vectors * MACHINES[machine].lanes
    if dilation * (kernel - 1) + 1 > min(rows, columns) + 2 * padding:
        return
    monkeypatch.setattr("runtime.build.schedule.expanded._STRIP_BYTES", few)
    monkeypatch.setattr("runtime.build.pairs._LEAVES_CACHE", 0)
    shape = (batch, inner, rows, columns)
    apart = inverted(shape, 2 * half, kernel, stride, padding, dilation)
    program, _ = paired(apart, alone(apart, here()), MACHINES[machine], NO_ENCODINGS)
    assert kernel < stride or dilation > 1 or len(program.graph.layers) == 1
    layer = program.graph.layers[-1]
    assert relative_error(program, layer, MACHINES[machine]) < 5e-6


@pytest.mark.parametrize("machine", VECTORS)
@pytest.mark.parametrize("stride", [1, 2])
def test_bits_are_those_of_two_kernels(machine: str, stride: int) -> None:
    program = inverted((1, 8, 64, 64), 12, stride=stride)
    first, second = program.graph.layers
    (x,) = program.example_inputs
    apart = run(program, second.name, run(program, first.name, x, machine), machine)
    (layer,) = joined(program).graph.layers
    together = run(joined(program), layer.name, x, machine)
    assert torch.equal(apart, together)


def run(program: Program, name: str, x: torch.Tensor, machine: str) -> torch.Tensor:
    """The output of a layer with one input."""
    layer = program.graph.by_name[name]
    lowered = lower_layer(program, layer, MACHINES[machine])
    kernel = generate(schedule(lowered, MACHINES[machine]), "kernel", MACHINES[machine])
    operands = values(program, lowered, {layer.inputs[0]: x})
    arguments = [tvm.runtime.tensor(value) for value in operands]
    kernel["kernel"](*arguments)
    return torch.from_numpy(arguments[-1].numpy())


def alone(program: Program, device: Device) -> NodeSchedule:
    """Everything on one device."""
    topology = Topology("one", "", (device,), (), device.name, device.name)
    placement = {layer.name: device.name for layer in program.graph.layers}
    (only,) = node_schedules(program.graph, topology, placement)
    return only


def here() -> Device:
    return load_topology("loopback3").by_name["server"]


def names(program: Program, machine: Machine) -> tuple[str, ...]:
    """Kernels of the node that has the whole program."""
    return paired(program, alone(program, here()), machine, NO_ENCODINGS)[1].layers


def test_only_maps_that_leave_the_cache_are_joined() -> None:
    machine = MACHINES["avx2"]
    assert len(names(inverted(LARGE, 48), machine)) == 1
    assert len(names(inverted((1, 8, 32, 32), 48), machine)) == 2
    assert len(names(inverted((1, 8, 128, 162), 48), machine)) == 2  # no rows of whole vectors
    assert len(names(inverted(LARGE, 49), machine)) == 2  # no two channels at a time
    assert len(names(inverted(LARGE, 48), MACHINES["scalar"])) == 2


def test_what_others_read_is_not_joined() -> None:
    weights = torch.randn(48, 8, 1, 1), torch.randn(48, 1, 3, 3)

    def twice(x: torch.Tensor, w: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
        wide = functional.conv2d(x, w)
        return functional.conv2d(wide, v, padding=1, groups=48), functional.max_pool2d(wide, 2)

    assert len(names(traced(twice, (torch.randn(*LARGE),), weights), MACHINES["avx2"])) == 3

    def given_out(x: torch.Tensor, w: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
        wide = functional.conv2d(x, w)
        return wide, functional.conv2d(wide, v, padding=1, groups=48)

    assert len(names(traced(given_out, (torch.randn(*LARGE),), weights), MACHINES["avx2"])) == 2


def test_a_cut_between_them_leaves_two_kernels() -> None:
    program, topology = inverted(LARGE, 48), load_topology("loopback3")
    first, second = (layer.name for layer in program.graph.layers)
    for placement in ({first: "camera", second: "server"}, {first: "server", second: "camera"}):
        for one in node_schedules(program.graph, topology, placement):
            assert paired(program, one, MACHINES["avx2"], NO_ENCODINGS) == (program, one)


def test_the_map_between_them_needs_no_memory() -> None:
    program = inverted(LARGE, 48)
    before = alone(program, here())
    smaller, after = paired(program, before, MACHINES["avx2"], NO_ENCODINGS)
    (name,) = after.layers
    assert name == JOIN.join(before.layers)
    assert list(smaller.graph.tensors) == list(program.graph.tensors)  # numbers on the wire
    saved = plan_memory(program.graph, before).arena_bytes
    saved -= plan_memory(smaller.graph, after).arena_bytes
    assert saved >= 4 * 48 * 128 * 160


def test_the_node_says_how_long_both_took(tmp_path: Path) -> None:
    program, device = inverted(LARGE, 48), replace(here(), memory_bytes=1 << 30)
    build_node(program, alone(program, device), device, tmp_path, bytes(32), 1)
    times = bench([str(tmp_path / "node")], 2)
    first, second = (layer.name for layer in program.graph.layers)
    assert times[first] == times[second]
