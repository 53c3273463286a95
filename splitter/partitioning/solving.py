"""Which solver plans: the integer program, the searches for large problems, or both in turn.

The program proves small problems optimal. Beyond a few thousand transport variables it may run out
of time with a poor plan, where searches are good and their bounds are sometimes better: a short
search gives the program its start, and where time is left it goes on from the program's plan; what
both found is put together. Above `LARGEST_EXACT` the program is not built at all.
"""

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import Literal

from splitter.errors import PlanError
from splitter.partitioning.ilp import OPTIMAL_GAP, Solution, solve
from splitter.partitioning.large import is_large, solve_large, transport_variables
from splitter.partitioning.problem import Assignment, Problem
from splitter.plan import Objective

SMALLEST_SEARCHED = 2_000
"""Transport variables up to which the integer program is left to itself."""
_FIRST_PART, _EXACT_PART = 0.1, 0.5
"""Of the time, for the first search and for the integer program after it."""
_SMALL_GAP = 1e-3
_ROUNDING = 1e-9
_BOTH = "integer program and search"


def solve_any(
    problem: Problem,
    objective: Objective,
    time_limit_s: float,
    starts: Sequence[Assignment] = (),
) -> Solution:
    """The best placement that is found, with the best bound.

    Raises:
        InfeasibleError: it is proved that no placement respects all limits.
        PlanError: none was found in the time, and none was excluded.
    """
    began = monotonic()
    if is_large(problem):
        return solve_large(problem, objective, time_limit_s, starts)
    if transport_variables(problem) <= SMALLEST_SEARCHED:
        return solve(problem, objective, time_limit_s, starts)
    first = _searched(problem, objective, _FIRST_PART * time_limit_s, starts)
    if first is None:  # Limits are tight, so finding any plan is the program's task.
        return solve(problem, objective, time_limit_s - (monotonic() - began), starts)
    # For latency searches end early by themselves, and a second one would find nothing new.
    more = objective != "latency"
    left_s = time_limit_s * _EXACT_PART if more else time_limit_s - (monotonic() - began)
    found = _together(solve(problem, objective, left_s, [*starts, first.assignment]), first)
    if more and _gap(found) > _SMALL_GAP:
        left_s = max(time_limit_s - (monotonic() - began), 0.1 * time_limit_s)
        again = _searched(problem, objective, left_s, [found.assignment])
        found = _together(found, again) if again else found
    return replace(found, solve_s=monotonic() - began)


def _searched(
    problem: Problem, objective: Objective, time_limit_s: float, starts: Sequence[Assignment]
) -> Solution | None:
    """What the searches find; None when they find nothing."""
    try:
        return solve_large(problem, objective, time_limit_s, starts)
    except PlanError:
        return None


def _gap(solution: Solution) -> float:
    if solution.value <= 0.0:
        return 0.0
    return (solution.value - solution.bound) / solution.value


def _together(exact: Solution, searched: Solution) -> Solution:
    """The better placement with the better bound."""
    best = searched if searched.value < exact.value * (1 - _ROUNDING) else exact
    bound = min(max(exact.bound, searched.bound), best.value)
    if best.value - bound <= _ROUNDING * abs(best.value):
        bound = best.value
    closed = best.value - bound <= OPTIMAL_GAP * abs(best.value)
    status: Literal["optimal", "feasible"] = "optimal" if closed else "feasible"
    alone = best is exact and exact.bound >= bound * (1 - _ROUNDING)
    method = exact.method if alone else _BOTH
    return replace(best, bound=bound, status=status, method=method)
