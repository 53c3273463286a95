"""How devices and links wait: by hand, and against the verifier's own simulation."""

from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import cast

import networkx as nx
import pytest
from planner_cases import MIB, Net, costs_of, device, link, random_graph, random_topology

from splitter.costs import CostTable, LayerCost
from splitter.estimate import estimate, latency_s, request_run
from splitter.graph import Graph
from splitter.partitioning import partition
from splitter.partitioning.problem import build_problem
from splitter.partitioning.simulate import timing
from splitter.plan import Plan
from splitter.schedule import transfers_of
from splitter.topology import Constraints, Topology
from splitter.verify_timing import request_seconds


def two_branches() -> Graph:
    """One input, read by two layers, whose results are joined."""
    net = Net("branches")
    x = net.input("x", 250)
    left = net.layer("left", [x], 250_000)
    right = net.layer("right", [x], 500_000)
    return net.graph(net.layer("join", [left, right], 1))


def pair(*, shared: bool = False, latency_ms: float = 0.0) -> Topology:
    """Two devices; 1 MB takes 1 s."""
    links = (link("a", "b", 8, latency_ms), link("b", "a", 8, latency_ms))
    if shared:
        links = tuple(replace(one, shared="air") for one in links)
    return Topology("pair", "", (device("a", 1), device("b", 1)), links, "a", "a", Constraints())


def costs(graph: Graph, topology: Topology, **seconds: float) -> CostTable:
    return CostTable(
        {
            (layer.name, d.name): LayerCost(seconds.get(layer.name, 0.0), "measured")
            for layer in graph.layers
            for d in topology.devices
        }
    )


def test_a_tensor_waits_for_the_one_before_it() -> None:
    graph, topology = two_branches(), pair()
    table = costs(graph, topology, left=0.5, right=0.1, join=1.0)
    placement = {"left": "a", "right": "a", "join": "b"}
    # left is there at 0.5 and takes 1 s; right, ready at 0.6, waits until 1.5 and takes 2 s; then
    # join 1 s, and its 4 bytes go back.
    expected = 0.5 + 1.0 + 2.0 + 1.0 + 4e-6
    assert latency_s(graph, topology, table, placement) == pytest.approx(expected, rel=1e-12)
    assert request_run(graph, topology, table, placement).waits


def test_the_next_tensor_leaves_while_the_last_is_on_its_way() -> None:
    graph, topology = two_branches(), pair(latency_ms=300)
    table = costs(graph, topology)
    placement = {"left": "a", "right": "a", "join": "b"}
    expected = 1.0 + 2.0 + 0.3 + 4e-6 + 0.3
    assert latency_s(graph, topology, table, placement) == pytest.approx(expected, rel=1e-12)


def test_two_directions_wait_only_on_a_shared_medium() -> None:
    net = Net("exchange")
    x, y = net.input("x", 1), net.input("y", 250_000)
    left = net.layer("left", [x], 250_000)
    graph = net.graph(net.layer("here", [y], 1), net.layer("there", [left], 1))
    placement = {"left": "a", "here": "a", "there": "b"}
    for shared, expected in ((False, 1.0), (True, 2.0)):
        topology = replace(pair(shared=shared), sources=(("y", "b"),), sinks=(("there.out", "b"),))
        table = costs(graph, topology)
        found = latency_s(graph, topology, table, placement)
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(300))
def test_agrees_with_the_verifier_and_the_search(seed: int) -> None:
    random = Random(seed)
    graph = random_graph(random, random.randint(2, 12))
    topology = random_topology(random, random.randint(2, 4), tight=False)
    if random.random() < 0.4:
        air = tuple(
            replace(k, shared="air") if random.random() < 0.6 else k for k in topology.links
        )
        topology = replace(topology, links=air)
    table = costs_of(graph, topology)
    names = list(topology.by_name)
    placement = {layer.name: random.choice(names) for layer in graph.layers}
    problem = build_problem(graph, topology, table, Constraints(), 2)
    searched = timing(problem, problem.assignment(placement)).latency_s
    try:
        found = estimate(graph, topology, table, placement, 2)
    except nx.NetworkXNoPath:
        assert searched == float("inf")
        return
    assert searched == found.latency_s
    plan = SimpleNamespace(placement=placement, transfers=transfers_of(graph, topology, placement))
    assert request_seconds(cast(Plan, plan), graph, topology, table) == searched


@pytest.mark.parametrize("seed", range(25))
def test_optimum_where_links_are_the_bottleneck(seed: int) -> None:
    """Wide graphs on slow shared links, against every placement."""
    random = Random(seed)
    n = random.randint(3, 6)
    net = Net("wide")
    x = net.input("x", random.randint(1, 50_000))
    branches = [
        net.layer(f"l{i}", [x], random.randint(1, 50_000), macs=random.randint(0, 90_000_000))
        for i in range(n)
    ]
    graph = net.graph(net.layer("join", branches, 10))
    links = tuple(
        replace(link(a, b, random.choice((2, 20, 200)), random.choice((0.0, 1.0))), shared=air)
        for a in "ab"
        for b in "ab"
        if a != b
        for air in [random.choice(("", "air"))]
    )
    devices = (device("a", 1, 64 * MIB), device("b", random.choice((1, 3, 10)), 64 * MIB))
    topology = Topology("wide", "", devices, links, "a", random.choice("ab"), Constraints())
    table = costs_of(graph, topology)
    plan = partition(graph, topology, table)
    names = [layer.name for layer in graph.layers]
    best = min(
        latency_s(graph, topology, table, {k: "ab"[code >> i & 1] for i, k in enumerate(names)})
        for code in range(2 ** len(names))
    )
    assert plan.estimate.latency_s == pytest.approx(best, rel=1e-6)
    assert plan.proof.status == "optimal"
