"""One built node: its size, and the check that it fits its device as built."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import splitter
from runtime.build.node import build_node
from splitter.errors import PlanError
from splitter.memory import REQUEST_SLOTS
from splitter.schedule import node_schedules
from splitter.topology import Device, Topology
from splitter.topology_file import load_card


def test_sizes(
    program: splitter.Program, plan: splitter.Plan, topology: splitter.Topology, tmp_path: Path
) -> None:
    for schedule in node_schedules(program.graph, topology, plan.placement):
        device = topology.by_name[schedule.device]
        folder = tmp_path / device.name
        built = build_node(program, schedule, device, folder, bytes(32), 3)
        assert built.program_bytes == (folder / "node").stat().st_size
        assert built.weights_bytes == (folder / "weights.bin").stat().st_size
        assert built.bare_program_bytes < 100_000
        assert built.bare_program_bytes < built.program_bytes < 1_500_000
        assert {path.name for path in folder.iterdir()} == {"node", "weights.bin"}


def test_node_that_does_not_fit_as_built(
    program: splitter.Program, plan: splitter.Plan, topology: splitter.Topology, tmp_path: Path
) -> None:
    schedule = node_schedules(program.graph, topology, plan.placement)[0]
    small = replace(topology.by_name[schedule.device], memory_bytes=2_850_000)
    with pytest.raises(PlanError, match=r"the node for camera needs 3\.\d+ MB .* may use 2\.85 MB"):
        build_node(program, schedule, small, tmp_path, bytes(32), 3)


def test_a_plan_that_fills_its_device_can_be_built(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 7, 3, padding=1), torch.nn.Conv2d(7, 5, 1))
    program = splitter.trace(net.eval(), (torch.randn(1, 3, 14, 14),))
    card = load_card("armv7_board")
    device = Device("board", card, card.memory_bytes, 1)
    roomy = Topology("one", "", (device,), (), "board", "board")
    need = splitter.partition(program.graph, roomy).estimate.devices[0].memory_bytes
    full = replace(roomy, devices=(replace(device, memory_bytes=need),))
    plan = splitter.partition(program.graph, full)
    schedule = node_schedules(program.graph, full, plan.placement)[0]
    built = build_node(program, schedule, full.devices[0], tmp_path, bytes(32), REQUEST_SLOTS)
    assert built.weights_bytes > program.graph.total_weight_bytes, "blocks are larger"
