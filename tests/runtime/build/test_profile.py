"""Measuring layers with the node program itself."""

from pathlib import Path

import pytest

import splitter
from runtime.build.profile import profile_layers
from splitter.errors import ToolchainError
from splitter.topology_file import load_card


def test_every_distinct_layer_has_a_time(
    program: splitter.Program, topology: splitter.Topology
) -> None:
    found = profile_layers(program, topology.devices[0].card, 1, runs=3)
    assert set(found) == {layer.signature for layer in program.graph.layers}
    assert len(found) < len(program.graph.layers)
    assert all(0 < seconds < 1 for seconds in found.values())


def test_foreign_processor(program: splitter.Program) -> None:
    with pytest.raises(ToolchainError, match="card riscv_board is for riscv64, which this machine"):
        profile_layers(program, load_card("riscv_board"), 1)


def test_plans_use_what_was_measured(
    program: splitter.Program,
    topology: splitter.Topology,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPLITTER_CACHE", str(tmp_path))
    before = splitter.partition(program, topology)
    assert set(before.cost_sources.values()) == {"roofline"}
    found = splitter.profile(program, topology, runs=3)
    assert list(found) == [("x86_64_v3", 1)]
    after = splitter.partition(program, topology)
    assert set(after.cost_sources.values()) == {"measured"}
    for layer in program.graph.layers:
        assert after.layer_seconds[layer.name] == found["x86_64_v3", 1][layer.signature]
    assert set(splitter.partition(program, "home").cost_sources.values()) <= {"roofline"}
