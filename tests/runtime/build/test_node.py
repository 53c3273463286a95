"""One built node: its size, and the check that it fits its device as built."""

from dataclasses import replace
from pathlib import Path

import pytest

import splitter
from runtime.build.node import build_node
from splitter.errors import PlanError
from splitter.schedule import node_schedules


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
    small = replace(topology.by_name[schedule.device], memory_bytes=3_150_000)
    with pytest.raises(PlanError, match=r"the node for camera needs 3\.\d+ MB .* may use 3\.15 MB"):
        build_node(program, schedule, small, tmp_path, bytes(32), 3)
