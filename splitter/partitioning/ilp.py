"""Optimal placement by integer programming (PuLP and HiGHS).

The rows are a relaxation: no plan that fits is excluded and no plan looks dearer than it is. A
solution that the exact judge accepts at the price the rows gave it is therefore optimal; otherwise
the rows that it evaded are added and the program is solved again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from time import monotonic
from typing import Literal

from splitter.errors import InfeasibleError, PlanError
from splitter.memory import NODE_OVERHEAD_BYTES
from splitter.partitioning.judge import fits, value
from splitter.partitioning.latency.block_bound import block_bound
from splitter.partitioning.learn import learn_limits, learn_value, likely_overlaps, overlaps
from splitter.partitioning.limits import (
    Cuts,
    add_closed,
    add_memory,
    add_refuted,
)
from splitter.partitioning.milp import ONE, MilpResult
from splitter.partitioning.model import PlacementModel
from splitter.partitioning.objectives import add_objective
from splitter.partitioning.problem import BUDGET_TOLERANCE, Assignment, Problem
from splitter.partitioning.quick_bound import quick_bound
from splitter.partitioning.rule_check import broken, keeps_rules
from splitter.partitioning.rule_rows import add_rules
from splitter.partitioning.search import first_plan, improve, repair
from splitter.plan import Objective

OPTIMAL_GAP = 1e-6
"""Relative gap at which a plan counts as proved optimal; the solver itself is no finer."""
_FIRST_PART = 0.3
"""Of the time left, for solving rows that memory may yet prove wrong."""
_SEARCH_S = 3.0
_SEARCH_PART = 0.15
"""Longest time for a first plan, absolute and as a part of the whole."""
_BLOCK_S, _BLOCK_PART, _BLOCK_ROUNDS = 4.0, 0.2, 3
"""Longest time for the bound by blocks and the plans that it suggests, absolute and as a part of
what is left; and how often it is renewed at most."""
_ANY_PART = 0.5
"""Of the time left, for finding any plan at all when the search found none."""
_ROUNDING = 1e-9
_SCALE = 1000.0
"""Objective value that the solver sees for a typical plan; its tolerances are absolute."""


@dataclass(frozen=True, slots=True)
class Solution:
    """The best placement found, and what is proved about all others."""

    assignment: Assignment
    value: float
    bound: float
    status: Literal["optimal", "feasible"]
    solve_s: float
    method: str = "integer program"
    """How it was found and its bound proved, in words."""


def solve(
    problem: Problem,
    objective: Objective,
    time_limit_s: float = 30.0,
    starts: Sequence[Assignment] = (),
) -> Solution:
    """The placement with the smallest ``objective``, no worse than any of ``starts`` that holds.

    Raises:
        InfeasibleError: it is proved that no placement respects all limits.
        PlanError: none was found in the time, and none was excluded.
    """
    began = monotonic()
    search = _Search(problem, objective, began + time_limit_s)
    for start in starts:
        search.offer(start)
    best, bound = search.run()
    if best is None and bound == inf:
        raise InfeasibleError(f"no placement of {problem.graph.name} respects all limits")
    if best is None:
        raise PlanError(
            f"no placement of {problem.graph.name} was found within {time_limit_s:g} s, and none "
            "was excluded; allow more time"
        )
    best = improve(problem, objective, best, max(search.deadline_s, monotonic() + 1.0))
    reached = value(problem, objective, best)
    if reached - bound <= _ROUNDING * abs(reached):
        bound = reached
    status: Literal["optimal", "feasible"] = "optimal" if _closed(reached, bound) else "feasible"
    return Solution(best, reached, bound, status, monotonic() - began)


class _Search:
    """The loop of solving, judging and adding rows."""

    def __init__(self, problem: Problem, objective: Objective, deadline_s: float):
        self.problem = problem
        self.objective = objective
        self.deadline_s = deadline_s
        self.cuts = Cuts()
        self.best: Assignment | None = None
        self.best_value = inf
        self.bound = quick_bound(problem, objective)

    def run(self) -> tuple[Assignment | None, float]:
        """(best placement, bound); the bound is infinite when no placement exists."""
        began = monotonic()
        patience_s = began + min(_SEARCH_S, _SEARCH_PART * (self.deadline_s - began))
        self._offer(first_plan(self.problem, self.objective, patience_s))
        if self.objective == "latency":
            self._bound_by_blocks()
            if self.bound == inf:
                return None, inf
        if needs_timing(self.problem, self.objective):
            pairs = likely_overlaps(self.problem) | overlaps(self.problem, (0,) * self.problem.n)
            self.cuts = replace(self.cuts, exclusive=pairs)
        part = _FIRST_PART if any(self.problem.may_overflow) else 1.0
        while monotonic() < self.deadline_s and not self._proved():
            result = self._solve_rows(part)
            if result.status == "infeasible":
                return self.best, self.best_value
            self.bound = max(self.bound, result.bound * self._unit())
            if result.values is None:
                part = 1.0
                if self._find_any():
                    return None, inf
                continue
            candidate = self._model.assignment(result.values)
            if not self._judge(candidate):
                part = 1.0
        return self.best, self.bound

    def _bound_by_blocks(self) -> None:
        """A bound, and plans from the chains that give it; a better plan sharpens the bound."""
        until_s = monotonic() + min(_BLOCK_S, _BLOCK_PART * (self.deadline_s - monotonic()))
        for _ in range(_BLOCK_ROUNDS):
            before = self.best_value
            known_s = before if before < inf else 1.001 * horizon_s(self.problem)
            found = block_bound(self.problem, known_s, until_s)
            if found.latency_s >= known_s and before == inf:
                self.bound = inf  # Every plan would be faster than the horizon: there is none.
                return
            self.bound = max(self.bound, found.latency_s)
            for start in reversed(found.starts):
                if monotonic() < until_s and keeps_rules(self.problem, start):
                    self._offer(repair(self.problem, self.objective, start, until_s))
            if self._proved() or monotonic() > until_s or self.best_value >= before:
                break
        self.cuts = replace(self.cuts, least_s=self.bound)

    def _find_any(self) -> bool:
        """Forget the objective until there is a plan; whether it is proved that there is none."""
        if self.best is not None:
            return False
        some, impossible = find_any(self.problem, _ANY_PART * (self.deadline_s - monotonic()))
        if some is not None:
            self._offer(improve(self.problem, self.objective, some, self.deadline_s))
        return impossible

    def _proved(self) -> bool:
        return self.best is not None and _closed(self.best_value, self.bound)

    def _unit(self) -> float:
        reference = (
            self.best_value
            if self.best_value < inf
            else typical_value(self.problem, self.objective)
        )
        return reference / _SCALE if reference > 0.0 else 1.0

    def _solve_rows(self, part: float) -> MilpResult:
        """Solve the rows known so far in ``part`` of the time that is left."""
        model = self._model = PlacementModel(self.problem)
        horizon = self.best_value if self.best_value < inf else horizon_s(self.problem)
        add_limits(model, self.cuts)
        model.milp.objective = add_objective(
            model, self.objective, self._unit(), self.cuts, horizon
        )
        start = model.start(self.best) if self.best is not None else None
        return model.milp.solve(part * (self.deadline_s - monotonic()), start)

    def offer(self, assignment: Assignment) -> None:
        """Start from a known assignment if it holds."""
        if fits(self.problem, assignment):
            self._offer(improve(self.problem, self.objective, assignment, self.deadline_s))

    def _offer(self, assignment: Assignment | None) -> None:
        if assignment is None:
            return
        reached = value(self.problem, self.objective, assignment)
        if reached < self.best_value:
            self.best, self.best_value = assignment, reached

    def _judge(self, candidate: Assignment) -> bool:
        """Take the candidate if it holds; otherwise learn. False when there is nothing to learn."""
        problem = self.problem
        assert keeps_rules(problem, candidate), list(broken(problem, candidate))
        before = self.cuts
        self.cuts = learn_limits(problem, candidate, before)
        attempt = improve if self.cuts == before else repair
        self._offer(attempt(problem, self.objective, candidate, self.deadline_s))
        self.cuts = learn_value(problem, self.objective, candidate, self.cuts)
        return self.cuts != before


def find_any(problem: Problem, time_limit_s: float) -> tuple[Assignment | None, bool]:
    """(some placement that respects all limits, whether its absence is proved)."""
    deadline_s = monotonic() + time_limit_s
    cuts = Cuts()
    while monotonic() < deadline_s:
        model = PlacementModel(problem)
        add_limits(model, cuts)
        result = model.milp.solve(deadline_s - monotonic())
        if result.status == "infeasible":
            return None, True
        if result.values is None:
            break
        candidate = model.assignment(result.values)
        learned = learn_limits(problem, candidate, cuts)
        if learned == cuts:
            return candidate, False
        cuts = learned
    return None, False


def add_limits(model: PlacementModel, cuts: Cuts) -> None:
    """Rows for everything that a placement must respect, as far as rows can tell."""
    add_closed(model)
    add_memory(model, cuts)
    add_refuted(model, cuts)
    add_rules(model)
    _add_budgets(model, cuts)


def _add_budgets(model: PlacementModel, cuts: Cuts) -> None:
    """Caps on what else could be an objective; memory's is among the devices' limits."""
    for objective, cap in model.problem.budgets:
        unit = cap / _SCALE if cap > 0.0 else 1.0
        # Above the cap by no more than the judge forgives: it decides, the row only helps.
        room = cap / unit * (1.0 + BUDGET_TOLERANCE)
        model.milp.at_least({ONE: room}, add_objective(model, objective, unit, cuts, cap))


def needs_timing(problem: Problem, objective: Objective) -> bool:
    """Whether the rows that make up the latency are there."""
    return "latency" in (objective, *(name for name, _ in problem.budgets))


def _closed(reached: float, bound: float) -> bool:
    return reached - bound <= OPTIMAL_GAP * abs(reached)


def typical_value(problem: Problem, objective: Objective) -> float:
    """A value of the right order of magnitude."""
    seconds = sum(min(row) for row in problem.compute)
    if objective == "memory":
        return float(NODE_OVERHEAD_BYTES + problem.graph.total_weight_bytes)
    if objective in problem.rates:
        per_second, per_byte = problem.rates[objective]
        size = sum(wire.bytes for wire in problem.wires)
        return seconds * max(per_second) + size * max(per_byte, default=0.0) or 1.0
    return seconds or 1.0


def horizon_s(problem: Problem) -> float:
    """A time by which every plan has ended: everything one after the other at its slowest."""
    compute = sum(max(seconds) for seconds in problem.compute)
    travel = sum(
        max((route.seconds for route in routes.values()), default=0.0)
        * (len(wire.readers) + wire.is_output)
        for wire, routes in zip(problem.wires, problem.routes, strict=True)
    )
    return compute + travel


__all__ = [
    "OPTIMAL_GAP",
    "Solution",
    "add_limits",
    "find_any",
    "horizon_s",
    "solve",
    "typical_value",
]
