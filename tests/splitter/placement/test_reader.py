"""Placement files: what they say arrives exactly, and what is wrong in them is told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitter.errors import ModelError
from splitter.graph import BACKWARD
from splitter.placement import read_placement
from splitter.schedule import transfers_of

Write = Callable[[object], Path]


def node(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "supportedOnFpga": 1,
        "cpuLatency": 2.5,
        "fpgaLatency": 0.25,
        "isBackwardNode": False,
        "size": 10,
        **changes,
    }


def edge(source: int, target: int, cost: float = 0.125) -> dict[str, Any]:
    return {"sourceId": source, "destId": target, "cost": cost}


def problem(nodes: list[Any], edges: list[Any], **changes: Any) -> dict[str, Any]:
    return {
        "maxSizePerFPGA": 25.0,
        "maxFPGAs": 2,
        "maxCPUs": 1,
        "nodes": nodes,
        "edges": edges,
        **changes,
    }


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def file(data: object) -> Path:
        path = tmp_path / "problem.json"
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return path

    return file


def test_layers_tensors_and_devices(write: Write) -> None:
    nodes = [node(7, colorClass=3), node(5, isBackwardNode=1, colorClass=3), node(6, size=0)]
    read = read_placement(write(problem(nodes, [edge(7, 6), edge(7, 5), edge(6, 5, 0.5)])))
    assert [layer.name for layer in read.graph.layers] == ["n7", "n6", "n5"]
    assert [layer.kind == BACKWARD for layer in read.graph.layers] == [False, False, True]
    assert read.graph.by_name["n5"].inputs == ("t7", "t6")
    assert read.graph.by_name["n5"].outputs == ()
    assert read.graph.faults() == []
    assert read.graph.weight_bytes == {"n7": 10, "n6": 0, "n5": 10}
    roles = {device.name: device.role for device in read.topology.devices}
    assert roles == {
        "memory": "memory",
        "cpu0": "processor",
        "acc0": "accelerator",
        "acc1": "accelerator",
    }
    assert read.topology.by_name["acc1"].memory_bytes == 25
    assert read.topology.constraints.together == (("n7", "n5"),)
    assert read.topology.constraints.contiguous
    assert read.costs.seconds("n7", "cpu0") == 2.5e-3
    assert read.costs.seconds("n7", "acc0") == 0.25e-3


def test_free_placement_is_asked_for(write: Write) -> None:
    read = read_placement(write(problem([node(1)], [])), contiguous=False)
    assert not read.topology.constraints.contiguous


def test_unsupported_nodes_are_banned_from_accelerators(write: Write) -> None:
    read = read_placement(write(problem([node(1, supportedOnFpga=False), node(2)], [])))
    assert set(read.topology.constraints.bans) == {("*", "memory"), ("n1", "acc0"), ("n1", "acc1")}


def test_sizes_that_are_no_whole_bytes_keep_their_sum(write: Write) -> None:
    nodes = [node(1, size=0.1), node(2, size=0.2), node(3, size=1)]
    read = read_placement(write(problem(nodes, [], maxSizePerFPGA=0.3)))
    sizes = read.graph.weight_bytes
    assert sizes["n1"] + sizes["n2"] == read.topology.by_name["acc0"].memory_bytes
    assert sizes["n3"] == 10 * sizes["n1"]
    assert "1/10 bytes" in read.topology.description


def test_processors_hold_sizes_of_any_scale(write: Write) -> None:
    nodes = [node(1, size=3.3333333333333333e7), node(2, size=1e-15), node(3, size=1e15)]
    read = read_placement(write(problem(nodes, [])))
    assert read.topology.by_name["cpu0"].memory_bytes > sum(read.graph.weight_bytes.values())


@given(
    st.lists(
        st.floats(1e-12, 1e12, allow_nan=False) | st.just(0.0), min_size=1, max_size=8, unique=True
    )
)
def test_costs_arrive_to_nine_digits(tmp_path_factory: Any, costs: list[float]) -> None:
    count = len(costs)
    path = tmp_path_factory.mktemp("costs") / "problem.json"
    edges = [edge(i, count, cost) for i, cost in enumerate(costs)]
    path.write_text(json.dumps(problem([node(i) for i in range(count + 1)], edges)))
    read = read_placement(path)
    placement = {layer.name: "acc0" for layer in read.graph.layers} | {f"n{count}": "acc1"}
    seconds = dict.fromkeys(range(count), 0.0)
    for hop in transfers_of(read.graph, read.topology, placement):
        if hop.source == "acc0":
            link = read.topology.link_between[hop.source, hop.target]
            seconds[int(hop.tensor[1:])] += link.seconds(hop.bytes)
    assert [seconds[i] * 1e3 for i in range(count)] == pytest.approx(costs, rel=1e-9, abs=0)


WRONG: dict[str, tuple[object, str]] = {
    "text": ("{nodes", "is not valid JSON"),
    "list": ([], "the file must be an object"),
    "no field": (problem([{"id": 1}], []), r"nodes\[0\]\.supportedOnFpga is missing"),
    "no limit": (
        {k: v for k, v in problem([node(1)], []).items() if k != "maxSizePerFPGA"},
        "maxSizePerFPGA is missing",
    ),
    "no nodes": (problem([], []), "nodes is empty"),
    "nodes": (problem({"1": 2}, []), "nodes must be a list"),  # type: ignore[arg-type]
    "text as number": (problem([node(1, cpuLatency="3")], []), "cpuLatency must be a number"),
    "nan": (problem([node(1, cpuLatency=float("nan"))], []), "must be a finite number, not NaN"),
    "negative": (problem([node(1, size=-1)], []), r"nodes\[0\]\.size must not be negative, not -1"),
    "negative cost": (problem([node(1), node(2)], [edge(1, 2, -0.5)]), "must not be negative"),
    "flag": (problem([node(1, supportedOnFpga=2)], []), "must be true, false, 0 or 1, not 2"),
    "half an id": (problem([node(1, id=1.5)], []), "must be a whole number, not 1.5"),
    "same id": (problem([node(1), node(1)], []), "two nodes have the id 1"),
    "stranger": (problem([node(1)], [edge(1, 9)]), r"edges\[0\] names node 9"),
    "itself": (problem([node(1)], [edge(1, 1)]), "to itself"),
    "cycle": (
        problem([node(1), node(2)], [edge(1, 2), edge(2, 1)]),
        r"cycle: (1 -> 2 -> 1|2 -> 1 -> 2)",
    ),
    "costs": (
        problem([node(1), node(2), node(3)], [edge(1, 2, 0.5), edge(1, 3, 0.6)]),
        "out of node 1 cost 0.5 and 0.6 ms",
    ),
    "no devices": (problem([node(1)], [], maxFPGAs=0, maxCPUs=0), "there must be a device"),
    "devices": (problem([node(1)], [], maxFPGAs=-1), "maxFPGAs must be between 0 and 1000"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_in_one_line(write: Write, case: str) -> None:
    data, message = WRONG[case]
    with pytest.raises(ModelError, match=message) as caught:
        read_placement(write(data))
    assert "problem.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_placement(tmp_path / "none.json")
    with pytest.raises(ModelError, match="cannot be read"):
        read_placement(tmp_path)


def test_costs_that_differ_by_rounding_are_one(write: Write) -> None:
    nodes = [node(1), node(2), node(3)]
    read = read_placement(write(problem(nodes, [edge(1, 2, 0.5), edge(1, 3, 0.5 + 1e-9)])))
    assert len(read.graph.tensors) == 1
