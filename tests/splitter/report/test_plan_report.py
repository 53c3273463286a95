"""The report's text against golden files."""

from collections.abc import Callable
from dataclasses import replace
from io import StringIO

import pytest
from planner_cases import MIB, chain, costs_of, mobilenet_like, phone_edge_cloud, three_equal
from rich.console import Console

from splitter.graph import Graph
from splitter.partitioning import partition
from splitter.plan import Objective, Plan
from splitter.report import plan_report, plan_text
from splitter.topology import Topology


def solved(graph: Graph, topology: Topology, objective: Objective) -> Plan:
    return partition(graph, topology, costs_of(graph, topology), objective=objective)


CASES: dict[str, tuple[Graph, Topology, Objective]] = {
    "split": (mobilenet_like(), phone_edge_cloud(), "latency"),
    "pipeline": (mobilenet_like(), phone_edge_cloud(), "throughput"),
    "forced": (chain(4), three_equal(3 * MIB + 300_000), "latency"),
    "alone": (chain(6), phone_edge_cloud(5), "energy"),
}


@pytest.mark.parametrize("name", CASES)
def test_text_is_the_golden_one(name: str, golden: Callable[[str, str], None]) -> None:
    graph, topology, objective = CASES[name]
    text = plan_text(solved(graph, topology, objective), graph, topology)
    golden(f"{name}.txt", text)
    assert max(map(len, text.splitlines())) <= 100


def test_time_taken_and_colours_are_not_in_the_text() -> None:
    graph, topology, objective = CASES["forced"]
    plan = solved(graph, topology, objective)
    slower = replace(plan, proof=replace(plan.proof, solve_s=99.0))
    assert plan_text(plan, graph, topology) == plan_text(slower, graph, topology)
    assert "\x1b" not in plan_text(plan, graph, topology)


def test_unproved_and_given_plans_say_so() -> None:
    graph, topology, _ = CASES["forced"]
    plan = solved(graph, topology, "latency")
    open_gap = replace(plan.proof, status="feasible", bound=plan.proof.bound * 0.97, gap=0.03)
    assert "at most 3 % from optimal" in plan_text(replace(plan, proof=open_gap), graph, topology)
    placement = {"l0": "camera", "l1": "hub", "l2": "server", "l3": "camera"}
    given = partition(graph, topology, costs_of(graph, topology), placement=placement)
    assert "nothing proved" in plan_text(given, graph, topology)


def test_scattered_layers_are_summed_up() -> None:
    graph, topology = chain(9), phone_edge_cloud()
    placement = {f"l{i}": ("phone", "edge")[i % 2] for i in range(9)}
    plan = partition(graph, topology, costs_of(graph, topology), placement=placement)
    assert "l0, l2 and 3 more runs" in plan_text(plan, graph, topology).replace(" ,", ",")


def test_terminal_report_renders_in_colour() -> None:
    graph, topology, objective = CASES["forced"]
    out = StringIO()
    console = Console(file=out, width=100, force_terminal=True)
    console.print(plan_report(solved(graph, topology, objective), graph, topology))
    assert "chain4 on three_equal" in out.getvalue()
