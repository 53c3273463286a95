"""The integer program against enumeration of every placement."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_cases import Case, random_case
from rule_cases import best_by_enumeration, ruled_case

from splitter.errors import InfeasibleError
from splitter.objective import OBJECTIVES, Objective
from splitter.partitioning import partition
from splitter.plan import Plan
from splitter.verify import verify

TIMES: tuple[Objective, ...] = ("latency", "throughput", "energy")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9))
def test_agrees_with_enumeration(seed: int) -> None:
    agree(random_case(seed), TIMES)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**9))
def test_agrees_with_enumeration_under_rules(seed: int) -> None:
    """Every kind of rule, two objectives of the six each time."""
    first = OBJECTIVES[seed % 6]
    agree(ruled_case(seed), (first, OBJECTIVES[seed // 6 % 6]))


def agree(case: Case, objectives: tuple[Objective, ...]) -> None:
    best = best_by_enumeration(case)
    for objective in objectives:
        if objective not in best:
            with pytest.raises(InfeasibleError):
                solve(case, objective)
            continue
        plan = solve(case, objective)
        assert plan.proof.status == "optimal"
        assert plan.estimate.value(objective) == pytest.approx(best[objective], rel=1e-6)
        assert verify(plan, case.graph, case.topology, case.costs, case.constraints) == []


def solve(case: Case, objective: Objective) -> Plan:
    return partition(
        case.graph,
        case.topology,
        case.costs,
        objective=objective,
        constraints=case.constraints,
        slots=case.slots,
    )
