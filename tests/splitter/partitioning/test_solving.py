"""Both planners together: never worse than either, and honest about which it was."""

from dataclasses import replace

import pytest

from benchmarks.generated import generated_graph, generated_topology
from splitter.cost.roofline import roofline
from splitter.errors import InfeasibleError, PlanError
from splitter.partitioning import solving
from splitter.partitioning.ilp import Solution
from splitter.partitioning.large import transport_variables
from splitter.partitioning.large.solve import LARGEST_EXACT
from splitter.partitioning.problem import Problem, build_problem
from splitter.partitioning.solving import SMALLEST_SEARCHED, solve_any
from splitter.plan import Objective
from splitter.topology import Constraints


def problem(family: str, layers: int, devices: int) -> Problem:
    graph, topology = generated_graph(family, layers), generated_topology(devices)
    return build_problem(graph, topology, roofline(graph, topology), Constraints(), 2)


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_at_least_as_good_as_either(objective: Objective) -> None:
    small = problem("nas", 32, 5)
    assert SMALLEST_SEARCHED < transport_variables(small) <= LARGEST_EXACT
    both = solve_any(small, objective, 3.0)
    searched = solving._searched(small, objective, 0.4, ())
    assert searched is not None
    assert both.bound <= both.value <= searched.value * (1 + 1e-6)
    assert both.bound >= searched.bound * (1 - 1e-2)


EXACT = Solution((0, 0), 10.0, 6.0, "feasible", 1.0)


@pytest.mark.parametrize(
    ("value", "bound", "expected"),
    [
        (9.0, 5.0, ((1, 1), 9.0, 6.0, "feasible", "integer program and search")),
        (9.0, 8.0, ((1, 1), 9.0, 8.0, "feasible", "integer program and search")),
        (11.0, 8.0, ((0, 0), 10.0, 8.0, "feasible", "integer program and search")),
        (11.0, 5.0, ((0, 0), 10.0, 6.0, "feasible", "integer program")),
        (6.0, 5.0, ((1, 1), 6.0, 6.0, "optimal", "integer program and search")),
        (12.0, 10.0, ((0, 0), 10.0, 10.0, "optimal", "integer program and search")),
    ],
)
def test_the_better_plan_with_the_better_bound(
    value: float, bound: float, expected: tuple[object, ...]
) -> None:
    searched = replace(EXACT, assignment=(1, 1), value=value, bound=bound, method="search")
    found = solving._together(EXACT, searched)
    told = (found.assignment, found.value, found.bound, found.status, found.method)
    assert told == expected


def test_what_is_small_is_left_to_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solving, "solve", lambda *_: EXACT)
    monkeypatch.setattr(solving, "solve_large", None)
    assert solve_any(problem("chain", 20, 3), "throughput", 1.0) is EXACT


def test_the_program_has_the_rest_of_the_time_when_no_search_finds_a_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[float] = []

    def program(_: Problem, __: Objective, time_limit_s: float, ___: object) -> Solution:
        given.append(time_limit_s)
        return EXACT

    def nothing(*_: object) -> Solution:
        raise PlanError("none")

    monkeypatch.setattr(solving, "solve", program)
    monkeypatch.setattr(solving, "solve_large", nothing)
    assert solve_any(problem("chain", 60, 5), "throughput", 10.0) is EXACT
    assert given[0] > 9.0


def test_what_is_proved_impossible_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def impossible(*_: object) -> Solution:
        raise InfeasibleError("no placement")

    monkeypatch.setattr(solving, "solve", impossible)
    with pytest.raises(InfeasibleError, match="no placement"):
        solve_any(problem("chain", 60, 5), "throughput", 1.0)
