"""Calls on accelerators against every plan of hundreds of random small problems."""

from itertools import count, product
from math import inf
from random import Random
from time import monotonic

import networkx as nx
import pytest

from splitter.errors import InfeasibleError
from splitter.partitioning.latency import path_bound as bounds
from splitter.partitioning.latency.calls import CallProblem, bits
from splitter.partitioning.latency.exact import search_all
from splitter.partitioning.latency.load_bound import Held, LoadBound
from splitter.partitioning.latency.merge import merge
from splitter.partitioning.latency.path_bound import path_bound, trunks
from splitter.partitioning.latency.solve import solve_calls
from splitter.partitioning.latency.timing import Clock


def random_problem(seed: int) -> CallProblem:
    """Few groups, so that every plan can be tried; often hardly any memory."""
    random = Random(seed)
    n = random.randint(2, 9)
    degrees = [min(v, random.choice((0, 1, 1, 2, 3))) for v in range(n)]
    before = tuple(
        tuple(sorted(random.sample(range(max(0, v - 4), v), k=degree)))
        for v, degree in enumerate(degrees)
    )
    groups = random.randint(2, 5) if n > 5 else n
    group = tuple(random.randrange(groups) for _ in range(n)) if n > 5 else tuple(range(n))
    read = {u for sources in before for u in sources}
    no_cpu = random.random() < 0.1
    times = [random.choice((0.0, 0.0, 1.0, float(random.randint(1, 40)))) for _ in range(n)]
    return CallProblem(
        cpu_s=tuple(inf if no_cpu else t for t in times),
        call_s=tuple(t / random.choice((1, 4, 10, 10, 10)) + _banned(random) for t in times),
        size_bytes=tuple(float(random.choice((0, 1, 5, random.randint(1, 20)))) for _ in range(n)),
        tensor_s=tuple(
            float(random.choice((0, 1, 2, random.randint(0, 10)))) if v in read else 0.0
            for v in range(n)
        ),
        before=before,
        group=group,
        calls=random.choice((1, 2, 2, 3)),
        limit_bytes=float(random.choice((5, 20, 40, 1000))),
    )


def _banned(random: Random) -> float:
    return inf if random.random() < 0.05 else 0.0


def by_definition(problem: CallProblem, device: tuple[int, ...]) -> float:
    """Latency when node v is on ``device[v]`` (0: processors); infinite when that is no plan."""
    dag = nx.DiGraph((u, v) for v, sources in enumerate(problem.before) for u in sources)
    dag.add_nodes_from(range(problem.n))
    held = {d: {v for v in dag if device[v] == d} for d in set(device) - {0}}
    if any(len({device[v] for v in dag if problem.group[v] == g}) > 1 for g in problem.group):
        return inf
    for nodes in held.values():
        if sum(problem.size_bytes[v] for v in nodes) > problem.limit_bytes:
            return inf
        outside = set(dag) - nodes
        for v in outside:
            if nx.ancestors(dag, v) & nodes and nx.descendants(dag, v) & nodes:
                return inf
    name = {v: ("call", device[v]) if device[v] else ("node", v) for v in dag}
    plan = nx.DiGraph((name[u], name[v]) for u, v in dag.edges if name[u] != name[v])
    plan.add_nodes_from(name.values())
    if not nx.is_directed_acyclic_graph(plan):
        return inf
    end: dict[tuple[str, int], float] = {}
    for unit in nx.topological_sort(plan):
        start = max((end[other] for other in plan.predecessors(unit)), default=0.0)
        kind, number = unit
        if kind == "node":
            end[unit] = start + problem.cpu_s[number]
            continue
        nodes = held[number]
        arriving = {u for v in nodes for u in dag.predecessors(v)} - nodes
        leaving = {v for v in nodes if set(dag.successors(v)) - nodes}
        moved = sum(problem.tensor_s[v] for v in arriving | leaving)
        end[unit] = start + moved + sum(problem.call_s[v] for v in nodes)
    return max(end.values())


def best_of_all(problem: CallProblem) -> float:
    groups = sorted(set(problem.group))
    best = inf
    for choice in product(range(problem.calls + 1), repeat=len(groups)):
        where = dict(zip(groups, choice, strict=True))
        best = min(best, by_definition(problem, tuple(where[g] for g in problem.group)))
    return best


@pytest.mark.parametrize("seed", range(200))
def test_equal_to_brute_force(seed: int) -> None:
    problem = random_problem(seed)
    best = best_of_all(problem)
    if best == inf:
        with pytest.raises(InfeasibleError):
            solve_calls(problem, 5.0)
        return
    plan = solve_calls(problem, 5.0)
    device = [0] * problem.n
    for number, nodes in enumerate(plan.calls, 1):
        for node in nodes:
            device[node] = number
    assert by_definition(problem, tuple(device)) == pytest.approx(plan.latency_s, rel=1e-12)
    assert plan.latency_s == pytest.approx(best, rel=1e-6)
    assert plan.bound_s == pytest.approx(best, rel=1e-6)
    assert plan.status == "optimal"


@pytest.mark.parametrize("seed", range(700, 730))
def test_stopped_early_the_bound_still_holds(seed: int) -> None:
    problem = random_problem(seed)
    nothing = (0,) * problem.calls
    found = search_all(Clock(problem), nothing, monotonic() + 0.002)
    assert found.bound_s <= best_of_all(problem) * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(300, 420))
def test_any_trunk_gives_a_bound(seed: int) -> None:
    problem = random_problem(seed)
    random = Random(seed)
    best = best_of_all(problem)
    choices = [
        None,
        *trunks(problem),
        tuple(random.choice(sources) if sources else -1 for sources in problem.before),
    ]
    for trunk in choices:
        found = path_bound(problem, trunk, LoadBound(problem))
        assert found.latency_s <= best * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(300, 360))
def test_a_bound_that_ran_out_of_time_holds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = random_problem(seed)
    best = best_of_all(problem)
    for in_time in range(problem.n):
        monkeypatch.setattr(bounds, "monotonic", count().__next__)
        found = path_bound(problem, None, LoadBound(problem), in_time)
        assert found.latency_s <= best * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(500, 560))
def test_merging_changes_no_plan(seed: int) -> None:
    problem = random_problem(seed)
    merged = merge(problem)
    assert sorted(v for nodes in merged.members for v in nodes) == list(range(problem.n))
    groups = sorted(set(problem.group))
    for choice in product(range(problem.calls + 1), repeat=len(groups)):
        where = dict(zip(groups, choice, strict=True))
        whole = by_definition(problem, tuple(where[g] for g in problem.group))
        less = by_definition(merged.problem, tuple(where[g] for g in merged.problem.group))
        assert less == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("seed", range(600, 660))
def test_load_bound_is_below_every_call(seed: int) -> None:
    problem = random_problem(seed)
    bound = LoadBound(problem)
    for mask in range(1, 1 << problem.n):
        if mask & problem.stuck or problem.closure(mask) != mask:
            continue
        if problem.bytes_of(mask) > problem.limit_bytes:
            continue
        for node in bits(mask):
            held = Held().wider(problem, node)
            for entry in [-1, *(u for u in problem.before[node] if not mask >> u & 1)]:
                for leave in [-1, *(t for t in problem.after[node] if not mask >> t & 1)]:
                    assert bound.least_s(held, entry, leave) <= problem.load_s(mask) + 1e-9
