"""Which solver plans: the integer program, the searches for large problems, or both in turn.

The program proves small problems optimal. Beyond a few thousand transport variables it may run out
of time with a poor plan, where searches are good and their bounds are sometimes better; what both
found is put together. Above `LARGEST_EXACT` the program is not built at all.
"""

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import Literal

from splitter.errors import InfeasibleError, PlanError
from splitter.partitioning.ilp import OPTIMAL_GAP, Solution, solve
from splitter.partitioning.large import is_large, solve_large
from splitter.partitioning.problem import Assignment, Problem
from splitter.plan import Objective

_EXACT_PART = 0.6
"""Of the time, for the integer program where searches may follow."""
_QUICK_PART = 0.1
"""Of the time, for searches where they end early by themselves (latency)."""
_SMALL_GAP = 1e-3
_ROUNDING = 1e-9


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
    if objective == "latency":
        searched = _searched(problem, objective, _QUICK_PART * time_limit_s, starts)
        known = [*starts, searched.assignment] if searched else starts
        left_s = max(time_limit_s - (monotonic() - began), 0.5 * time_limit_s)
        exact = solve(problem, objective, left_s, known)
    else:
        exact_or_none = _exact(problem, objective, _EXACT_PART * time_limit_s, starts)
        if exact_or_none is not None and _gap(exact_or_none) <= _SMALL_GAP:
            return exact_or_none
        known = [*starts, exact_or_none.assignment] if exact_or_none else starts
        left_s = max(time_limit_s - (monotonic() - began), 0.1 * time_limit_s)
        if exact_or_none is None:
            return solve_large(problem, objective, left_s, known)
        exact = exact_or_none
        searched = _searched(problem, objective, left_s, known)
    return exact if searched is None else _together(exact, searched, monotonic() - began)


def _exact(
    problem: Problem, objective: Objective, time_limit_s: float, starts: Sequence[Assignment]
) -> Solution | None:
    """What the integer program finds; None when it runs out of time."""
    try:
        return solve(problem, objective, time_limit_s, starts)
    except InfeasibleError:
        raise
    except PlanError:
        return None


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


def _together(exact: Solution, searched: Solution, solve_s: float) -> Solution:
    """The better placement with the better bound."""
    best = searched if searched.value < exact.value * (1 - _ROUNDING) else exact
    bound = min(max(exact.bound, searched.bound), best.value)
    if best.value - bound <= _ROUNDING * abs(best.value):
        bound = best.value
    closed = best.value - bound <= OPTIMAL_GAP * abs(best.value)
    status: Literal["optimal", "feasible"] = "optimal" if closed else "feasible"
    alone = best is exact and exact.bound >= bound * (1 - _ROUNDING)
    method = exact.method if alone else f"{exact.method} and search"
    return replace(best, bound=bound, status=status, solve_s=solve_s, method=method)
