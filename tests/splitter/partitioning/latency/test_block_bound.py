"""The bound by blocks against every placement of hundreds of random small graphs."""

from dataclasses import replace
from itertools import product
from math import inf
from random import Random
from time import monotonic

import pytest
from planner_cases import Case, Net, costs_of, random_case, random_topology

from splitter.errors import InfeasibleError
from splitter.partitioning.judge import fits, value
from splitter.partitioning.latency import block_bound as module
from splitter.partitioning.latency import block_table, blocks
from splitter.partitioning.latency.block_bound import block_bound
from splitter.partitioning.problem import Problem, build_problem
from splitter.topology import Constraints, Topology


def posed(case: Case) -> Problem | None:
    try:
        return build_problem(case.graph, case.topology, case.costs, case.constraints, case.slots)
    except InfeasibleError:
        return None


def on_shared_air(topology: Topology, random: Random) -> Topology:
    air = tuple(replace(k, shared="air") if random.random() < 0.5 else k for k in topology.links)
    return replace(topology, links=air)


def branching_case(seed: int, *, roomy: bool = False) -> Case:
    """Chains of forks and joins, as in convolutional networks."""
    random = Random(seed)
    net = Net("forks")
    at = net.input("x", random.randint(1, 40_000))
    for b in range(random.randint(1, 2)):
        arms = [
            net.layer(
                f"b{b}.{arm}", [at], random.randint(1, 40_000),
                macs=random.randint(0, 20_000_000), weight=random.randint(1, 400_000),
            )
            for arm in range(2)
        ]  # fmt: skip
        at = net.layer(f"b{b}.join", arms, random.randint(1, 40_000), macs=1_000_000)
    graph = net.graph(at)
    tight = not roomy and random.random() < 0.7
    topology = on_shared_air(random_topology(random, random.choice((2, 3)), tight=tight), random)
    return Case(graph, topology, costs_of(graph, topology), Constraints(), 2)


def best_of_all(problem: Problem) -> float:
    found = (value(problem, "latency", a) for a in product(*problem.allowed) if fits(problem, a))
    return min(found, default=inf)


@pytest.mark.parametrize("make", [random_case, branching_case])
@pytest.mark.parametrize("seed", range(60))
def test_no_plan_is_below(make, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    problem = posed(make(seed))
    if problem is None:
        return
    best = best_of_all(problem)
    random = Random(seed)
    monkeypatch.setattr(blocks, "_SPAN", random.choice((1, 2, 3, 16)))
    monkeypatch.setattr(block_table, "_MOST_WAYS", random.choice((1, 20, 40_000)))
    monkeypatch.setattr(module, "_STEPS", 60)
    for known_s in (1e3, best, best * 1.3):
        if known_s == inf:
            continue
        found = block_bound(problem, known_s, monotonic() + 10.0)
        assert found.latency_s <= min(best, known_s) * (1 + 1e-9)
        assert all(len(start) == problem.n for start in found.starts)


@pytest.mark.parametrize("seed", range(40))
def test_exact_on_chains_with_room(seed: int) -> None:
    random = Random(seed)
    net = Net("chain")
    at = net.input("x", random.randint(1, 40_000))
    for i in range(random.randint(1, 6)):
        at = net.layer(f"l{i}", [at], random.randint(1, 40_000), macs=random.randint(0, 20_000_000))
    graph = net.graph(at)
    topology = random_topology(random, 3, tight=False)
    problem = build_problem(graph, topology, costs_of(graph, topology), Constraints(), 2)
    best = best_of_all(problem)
    found = block_bound(problem, 1e3, monotonic() + 10.0)
    if best < inf:
        assert found.latency_s == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("seed", range(60))
def test_exact_on_forks_with_room(seed: int) -> None:
    """Queues on links included."""
    problem = posed(branching_case(seed, roomy=True))
    assert problem is not None
    best = best_of_all(problem)
    found = block_bound(problem, 1e3, monotonic() + 10.0)
    assert found.latency_s == pytest.approx(min(best, 1e3), rel=1e-9)
