"""Variants for a given placement, against enumeration; layers that the placement parts."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from math import inf
from random import Random

import pytest
from planner_cases import Net, chain, costs_of, phone_edge_cloud

from splitter.costs import CostTable, LayerCost
from splitter.graph import Graph
from splitter.partitioning import partition
from splitter.partitioning.joint.forms import Made, variants_for
from splitter.partitioning.judge import value
from splitter.partitioning.posing import problem_of, question_of
from splitter.plan import Objective
from splitter.topology import Topology
from splitter.variants import AS_IS, Variant, VariantTable, accuracy_drop, chosen

SPREAD = {"l0": "phone", "l1": "phone", "l2": "edge", "l3": "cloud"}


def made_of(
    graph: Graph,
    costs: CostTable,
    topology: Topology,
    placement: Mapping[str, str],
    weights: Mapping[str, tuple[str, ...]],
) -> Made:
    plan = partition(graph, topology, costs, placement=placement, slots=1)
    return Made(question_of(graph, topology, costs, None, 1), plan, weights)


def random_table(random: Random, graph: Graph, costs: CostTable) -> VariantTable:
    variants, entries = {}, {}
    for layer in graph.layers:
        size = graph.weight_bytes[f"{layer.name}.weight"]
        others = (
            Variant(f"v{k}", random.randint(1, size), 0, random.random(), random.choice((0, 64)))
            for k in range(3)
        )
        variants[layer.name] = (Variant(AS_IS, size, 0, 0.0), *others)
        for (name, device), cost in costs.entries.items():
            for one in variants[layer.name] if name == layer.name else ():
                factor = 1.0 if one.name == AS_IS else random.uniform(0.2, 1.2)
                entries[name, one.name, device] = LayerCost(cost.seconds * factor, "roofline")
    return VariantTable(variants, {name: f"{name}.weight" for name in variants}, entries)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("objective", ["latency", "energy"])
@pytest.mark.parametrize("tight", [False, True])
def test_best_for_a_placement_is_that_of_enumeration(
    seed: int, objective: Objective, tight: bool
) -> None:
    random, graph = Random(seed), chain(4)
    topology = phone_edge_cloud()
    costs = costs_of(graph, topology)
    table = random_table(random, graph, costs)
    weights = {name: (weight,) for name, weight in table.weight.items()}
    made = made_of(graph, costs, topology, SPREAD, weights)
    if tight:  # the phone's two layers must shrink to a share of their bytes
        used = made.plan.estimate.devices[0]
        less = used.memory_bytes - used.weight_bytes // 2
        phone = replace(topology.devices[0], memory_bytes=less)
        topology = replace(topology, devices=(phone, *topology.devices[1:]))
        loads = (replace(used, memory_limit_bytes=less), *made.plan.estimate.devices[1:])
        estimate = replace(made.plan.estimate, devices=loads)
        made = replace(made, plan=replace(made.plan, estimate=estimate))

    def reached(choice: dict[str, str]) -> float:
        problem = problem_of(question_of(*at(choice), None, 1))
        return value(problem, objective, problem.assignment(SPREAD))

    def at(choice: dict[str, str]) -> tuple[Graph, Topology, CostTable]:
        smaller, own = chosen(graph, costs, table, choice)
        return smaller, topology, own

    def phone_bytes(choice: dict[str, str]) -> int:
        return sum(table.variant(layer, choice[layer]).weight_bytes for layer in ("l0", "l1"))

    room = 100_000 if tight else inf
    names = [[one.name for one in own] for own in table.variants.values()]
    choices = [dict(zip(table.variants, picked, strict=True)) for picked in product(*names)]
    within = [c for c in choices if accuracy_drop(table, c) <= 1.0 and phone_bytes(c) <= room]
    found = variants_for(made, table, objective, 1.0)
    if not within:
        assert found is None
        return
    assert found in within
    assert reached(found) == pytest.approx(min(map(reached, within)), rel=1e-5)


def parted(bandwidth_factor: float) -> tuple[Made, VariantTable]:
    """A layer that is two on two devices now, and could be as it is or two of a smaller rank."""
    net = Net("parted")
    at = net.input("x", 1000)
    at = net.layer("a", [at], 1000, macs=10**6, weight=4000)
    at = net.layer("b.0", [at], 100, macs=10**5, weight=400)
    at = net.layer("b.1", [at], 1000, macs=10**5, weight=400)
    graph = net.graph(at)
    topology = phone_edge_cloud()
    links = tuple(
        replace(one, bandwidth_bytes_per_s=one.bandwidth_bytes_per_s * bandwidth_factor)
        for one in topology.links
    )
    topology = replace(topology, links=links)
    costs = costs_of(graph, topology)
    own = (
        Variant(AS_IS, 4000, 0, 0.0),
        Variant("rank=100", 800, 400, 0.2, 400),
        Variant("rank=10", 80, 40, 0.9, 40),
    )
    entries = {
        ("b", one.name, device.name): LayerCost(seconds, "roofline")
        for one, seconds in zip(own, (1e-5, 2e-5, 3e-5), strict=True)
        for device in topology.devices
    }
    table = VariantTable({"b": own}, {"b": "b.weight"}, entries)
    placement = {"a": "phone", "b.0": "phone", "b.1": "edge"}
    weights = {"b": ("b.0.weight", "b.1.weight")}
    return made_of(graph, costs, topology, placement, weights), table


def test_a_parted_layer_stays_two_and_sends_little_where_that_counts() -> None:
    made, table = parted(1e-3)
    assert made.spots == {"b": ("phone", "edge")}
    assert variants_for(made, table, "latency", 1.0) == {"b": "rank=10"}
    assert variants_for(made, table, "latency", 0.5) == {"b": "rank=100"}
    assert variants_for(made, table, "latency", 0.1) is None, "as it is, it is one layer"
    fast, table = parted(1e9)
    assert variants_for(fast, table, "latency", 1.0) == {"b": "rank=100"}


def test_nothing_to_choose() -> None:
    graph, topology = chain(2), phone_edge_cloud()
    placement = {"l0": "phone", "l1": "phone"}
    made = made_of(graph, costs_of(graph, topology), topology, placement, {})
    assert variants_for(made, VariantTable({}, {}, {}), "latency", 1.0) == {}
