"""Bounds known before anything is solved: below every placement, and what they say of chains."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_cases import chain, costs_of, three_equal
from rule_cases import best_by_enumeration, ruled_case

from splitter.errors import InfeasibleError
from splitter.objective import OBJECTIVES
from splitter.partitioning.problem import build_problem
from splitter.partitioning.quick_bound import quick_bound
from splitter.topology import Constraints


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9))
def test_no_placement_is_below(seed: int) -> None:
    case = ruled_case(seed)
    try:
        problem = build_problem(case.graph, case.topology, case.costs, case.constraints, case.slots)
    except InfeasibleError:
        return
    for objective, value in best_by_enumeration(case).items():
        assert quick_bound(problem, objective) <= value * (1 + 1e-12)


def test_of_equal_layers_on_equal_devices() -> None:
    graph, topology = chain(6), three_equal()
    problem = build_problem(graph, topology, costs_of(graph, topology), Constraints(), 3)
    layer_s = problem.compute[0][0]
    expected = {
        "latency": 0.0,
        "throughput": 2 * layer_s,
        "energy": 6 * layer_s * 5.0,
        "memory": 3 * 2**20 + 200_000,
        "sent": 0.0,
        "dollars": 0.0,
    }
    for objective in OBJECTIVES:
        assert quick_bound(problem, objective) == pytest.approx(expected[objective])
