"""What the bounds for large problems claim, against every placement of small ones."""

from itertools import product
from math import isinf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_cases import Case, costs_of, mobilenet_like, phone_edge_cloud, random_case

from splitter.errors import SplitterError
from splitter.partitioning.judge import fits, value
from splitter.partitioning.large import region_bound
from splitter.partitioning.large.load_bound import least_cost, least_period_s
from splitter.partitioning.large.path_bound import earliest, remaining
from splitter.partitioning.large.region_bound import Region, chained_regions, region_s
from splitter.partitioning.large.solve import solve_large
from splitter.partitioning.large.tables import Tables
from splitter.partitioning.problem import Problem, build_problem
from splitter.partitioning.simulate import timing
from splitter.plan import Objective
from splitter.topology import Constraints

SEEDS = st.integers(0, 10**9)
OBJECTIVES: tuple[Objective, ...] = ("latency", "throughput", "energy", "sent", "memory")


def posed(case: Case) -> Problem | None:
    """The problem, unless rules contradict one another."""
    try:
        return build_problem(case.graph, case.topology, case.costs, case.constraints, case.slots)
    except SplitterError:
        return None


def every_value(problem: Problem, objective: Objective) -> dict[tuple[int, ...], float]:
    """The objective of each placement that holds."""
    choices = product(range(problem.m), repeat=problem.n)
    return {c: value(problem, objective, c) for c in choices if fits(problem, c)}


@settings(max_examples=80, deadline=None)
@given(SEEDS)
def test_no_placement_is_below_a_bound(seed: int) -> None:
    problem = posed(random_case(seed))
    if problem is None:
        return
    tables = Tables(problem)
    ends, latency_s = earliest(tables, chained_regions(tables))
    meeting_s = float((ends + remaining(tables)).min(axis=1).max())
    bounds: dict[Objective, float] = {
        "latency": max(latency_s, meeting_s),
        "energy": least_cost(tables, problem.rates["energy"][0]),
    }
    for objective in ("latency", "energy", "throughput"):
        values = every_value(problem, objective).values()
        if not values:
            return
        if objective == "throughput":
            bounds[objective] = least_period_s(tables, max(values))
        assert bounds[objective] <= min(values) * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_a_region_takes_at_least_its_bound(seed: int) -> None:
    """From the end of its first layer to the start of its last, on whatever devices."""
    random = Random(seed)
    problem = posed(random_case(seed))
    if problem is None or problem.n < 3 or problem.closed:
        return
    tables = Tables(problem)
    order = region_bound._Order(tables)
    first, last = 0, problem.n - 1
    layers = order.between(first, order.ancestors(last, 0))
    if not layers:
        return
    size = region_bound._smallest(tables, layers, first)
    least = region_s(tables, Region(first, last, tuple(sorted(layers)), size))
    for _ in range(40):
        placed = [random.choice(allowed) for allowed in problem.allowed]
        run = timing(problem, placed).run
        if isinf(run.start_s[last]):  # Devices that must talk are not connected.
            continue
        taken = run.start_s[last] - run.finish_s[first]
        assert least[placed[first], placed[last]] <= taken * (1 + 1e-9) + 1e-15


@settings(max_examples=8, deadline=None)
@given(SEEDS)
def test_between_its_bound_and_the_best_single_device(seed: int) -> None:
    problem = posed(random_case(seed))
    if problem is None:
        return
    for objective in OBJECTIVES:
        values = every_value(problem, objective)
        singles = [v for placed, v in values.items() if len(set(placed)) == 1]
        try:
            found = solve_large(problem, objective, 0.1)
        except SplitterError:
            assert not singles
            continue
        best = min(values.values())
        assert values[found.assignment] == pytest.approx(found.value)
        assert found.bound <= best * (1 + 1e-9)
        assert found.value <= min(singles, default=found.value) * (1 + 1e-9)


def test_rules_of_the_problem_hold_when_it_is_large() -> None:
    graph, topology = mobilenet_like(), phone_edge_cloud()
    rules = Constraints(pins=(("head", "phone"),), bans=(("b3.*", "cloud"),), private_input=True)
    problem = build_problem(graph, topology, costs_of(graph, topology), rules, 1)
    for objective in OBJECTIVES:
        placed = problem.placement(solve_large(problem, objective, 0.3).assignment)
        assert placed["head"] == placed["stem"] == "phone"
        assert "cloud" not in {placed[name] for name in placed if name.startswith("b3.")}
