"""The parts of the search for large problems: loads, levels, pipelines, and plans as a whole."""

from random import Random

import pytest

from benchmarks.generated import FAMILIES, generated_graph, generated_topology
from splitter.cost.roofline import roofline
from splitter.errors import InfeasibleError
from splitter.graph import Graph
from splitter.partitioning import partition
from splitter.partitioning.judge import value
from splitter.partitioning.large.levels import finest, grouped
from splitter.partitioning.large.loads import Loads, Network
from splitter.partitioning.large.period_search import PeriodSearch
from splitter.partitioning.large.pipelines import Pipelines, walks
from splitter.partitioning.large.segments import nested_pieces
from splitter.partitioning.large.solve import is_large
from splitter.partitioning.large.tables import Tables
from splitter.partitioning.problem import build_problem
from splitter.plan import Objective
from splitter.topology import Constraints


def tables_of(family: str, layers: int, devices: int, seed: int = 0) -> Tables:
    graph, topology = generated_graph(family, layers, seed), generated_topology(devices, seed)
    costs = roofline(graph, topology)
    return Tables(build_problem(graph, topology, costs, Constraints(), 2))


@pytest.mark.parametrize("family", FAMILIES)
def test_generated_graphs_are_sound_and_repeatable(family: str) -> None:
    graph = generated_graph(family, 200, seed=5)
    assert graph.faults() == []
    assert 150 <= len(graph.layers) <= 260
    assert graph == generated_graph(family, 200, seed=5)
    assert graph != generated_graph(family, 200, seed=6)


@pytest.mark.parametrize("family", FAMILIES)
def test_moved_loads_equal_fresh_ones(family: str) -> None:
    """Whatever moved, the loads are those of the placement, and the busiest is its period."""
    tables, random = tables_of(family, 60, 6), Random(1)
    level = grouped(tables, [layer // 3 for layer in range(tables.n)])
    network = Network(tables)
    loads = Loads(tables, level, network, [0] * level.size)
    for _ in range(200):
        group, device = random.randrange(level.size), random.randrange(tables.m)
        change = loads.change(group, device)
        if change is not None and device != loads.placed[group]:
            loads.move(group, device, change)
    fresh = Loads(tables, level, network, loads.placed)
    assert loads.seconds == pytest.approx(fresh.seconds, abs=1e-12)
    assert loads.memory == fresh.memory
    period_s = value(tables.problem, "throughput", level.assignment(loads.placed))
    assert max(loads.seconds) == pytest.approx(period_s, rel=1e-9)


def test_coarse_pieces_are_made_of_finer_ones() -> None:
    tables = tables_of("chain", 300, 4)
    coarse, fine = nested_pieces(tables, [10, 60])
    assert len(set(coarse)) < len(set(fine))
    assert coarse == sorted(coarse)
    inside = {piece: coarse[fine.index(piece)] for piece in fine}
    assert [inside[piece] for piece in fine] == coarse


def test_a_pipeline_crosses_no_device_twice() -> None:
    tables = tables_of("chain", 300, 8)
    room = list(tables.problem.limits)
    for walk in walks(tables, 0.01):
        split = Pipelines(tables).best(walk, 10.0, room)
        assert split is not None
        order = list(dict.fromkeys(split))
        assert split == sorted(split, key=order.index)


def test_improving_never_makes_a_plan_worse() -> None:
    from time import monotonic

    tables = tables_of("experts", 200, 6)
    level = finest(tables)
    search = PeriodSearch(tables, level, tables.problem.limits)
    start = [tables.m - 1] * level.size
    before = value(tables.problem, "throughput", level.assignment(start))
    found = search.improved(start, monotonic() + 0.5)
    assert value(tables.problem, "throughput", level.assignment(found)) <= before * (1 + 1e-9)


@pytest.mark.parametrize("objective", ["latency", "throughput", "energy"])
@pytest.mark.parametrize("family", ["unet", "nas"])
def test_large_plans_hold_and_say_how_they_were_made(family: str, objective: Objective) -> None:
    graph, topology = generated_graph(family, 400), generated_topology(14)
    costs = roofline(graph, topology)
    assert is_large(build_problem(graph, topology, costs, Constraints(), 3))
    plan = partition(graph, topology, costs, objective=objective, time_limit_s=0.6)
    reached = plan.estimate.value(objective)
    assert 0.0 < plan.proof.bound <= reached
    assert plan.proof.method != "integer program"
    for single in plan.alternatives:
        assert single.value is None or reached <= single.value * (1 + 1e-9)


def test_a_chain_on_one_fast_device_is_proved_optimal() -> None:
    """Where nothing runs side by side the critical path is the latency itself."""
    graph, topology = generated_graph("chain", 500), generated_topology(10)
    plan = partition(graph, topology, roofline(graph, topology), time_limit_s=2.0)
    assert plan.proof.gap <= 1e-3


def test_weights_that_fit_nowhere_are_told() -> None:
    graph = generated_graph("nas", 400)
    topology = generated_topology(14, memory_bytes=2**24)
    with pytest.raises(InfeasibleError, match=r"MB of weights, the devices of generated14 have"):
        partition(graph, topology, roofline(graph, topology), time_limit_s=1.0)


def test_small_problems_keep_the_integer_program() -> None:
    graph, topology = generated_graph("chain", 12), generated_topology(3)
    plan = partition(graph, topology, roofline(graph, topology))
    assert plan.proof.method == "integer program"
    assert isinstance(graph, Graph)
