"""Mixed integer programs as plain rows and columns, solved by HiGHS through PuLP.

The one module that knows a solver. Expressions are dictionaries from column number to coefficient;
column `ONE` is the constant 1, so that an expression may carry a constant.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from time import monotonic
from typing import Any, Literal

import highspy
import numpy as np
import pulp

ONE = 0
Terms = dict[int, float]
RELATIVE_GAP = 1e-7


@dataclass(frozen=True, slots=True)
class MilpResult:
    """What the solver found."""

    status: Literal["optimal", "infeasible", "stopped"]
    """``stopped``: the time ran out; `values` may still hold a solution."""
    values: tuple[float, ...] | None
    objective: float
    bound: float
    """No solution has a smaller objective (infinite when infeasible)."""


@dataclass
class Milp:
    """A minimisation problem under construction."""

    lower: list[float] = field(default_factory=lambda: [1.0])
    upper: list[float] = field(default_factory=lambda: [1.0])
    integer: list[bool] = field(default_factory=lambda: [False])
    rows: list[tuple[Terms, float, float]] = field(default_factory=list)
    objective: Terms = field(default_factory=dict)
    relative_gap: float = RELATIVE_GAP
    """How close to the optimum a solution must be to count as optimal."""
    threads: int = 1
    """Processors that the solver may use; with one, equal problems give equal answers."""

    def column(self, lower: float = 0.0, upper: float = inf, *, integer: bool = False) -> int:
        """A new variable; returns its number."""
        self.lower.append(lower)
        self.upper.append(upper)
        self.integer.append(integer)
        return len(self.lower) - 1

    def at_least(self, left: Terms, right: Terms) -> None:
        """Require ``left >= right``."""
        self.rows.append((combine((left, 1.0), (right, -1.0)), 0.0, inf))

    def equal(self, left: Terms, right: Terms) -> None:
        """Require ``left == right``."""
        self.rows.append((combine((left, 1.0), (right, -1.0)), 0.0, 0.0))

    def solve(
        self,
        time_limit_s: float,
        start: Mapping[int, float] | None = None,
    ) -> MilpResult:
        """Minimise.

        ``start`` gives values of integer columns of a known solution.
        The seed is fixed, so that with one thread the same problem gives the same answer.
        """
        deadline_s = monotonic() + time_limit_s
        problem, columns = self._problem()
        solver = _WarmHiGHS(start or {}, columns, deadline_s, self.relative_gap, self.threads)
        problem.solve(solver)
        return _result(problem.solverModel, columns)

    def _problem(self) -> tuple[Any, list[Any]]:
        problem = pulp.LpProblem("placement", pulp.LpMinimize)
        columns = [
            problem.add_variable(
                f"c{i}",
                low,
                high if isfinite(high) else None,
                cat=pulp.LpInteger if whole else pulp.LpContinuous,
            )
            for i, (low, high, whole) in enumerate(
                zip(self.lower, self.upper, self.integer, strict=True)
            )
        ]
        problem.setObjective(_affine(self.objective, columns))
        for terms, low, high in self.rows:
            sense = pulp.LpConstraintEQ if low == high else pulp.LpConstraintGE
            problem.addConstraint(pulp.LpConstraint(_affine(terms, columns), sense, rhs=low))
        return problem, columns


def combine(*parts: tuple[Terms, float]) -> Terms:
    """The weighted sum of expressions."""
    total: Terms = {}
    for terms, factor in parts:
        for column, coefficient in terms.items():
            total[column] = total.get(column, 0.0) + factor * coefficient
    return {column: value for column, value in total.items() if value != 0.0}


def _affine(terms: Terms, columns: list[Any]) -> Any:
    return pulp.LpAffineExpression({columns[i]: value for i, value in terms.items()})


class _WarmHiGHS(pulp.HiGHS):  # type: ignore[misc]
    """HiGHS with a starting solution, which PuLP's interface does not pass on."""

    def __init__(
        self,
        start: Mapping[int, float],
        columns: list[Any],
        deadline_s: float,
        gap: float,
        threads: int,
    ):
        super().__init__(
            msg=False,
            threads=threads,
            gapRel=gap,
            gapAbs=0.0,
            random_seed=0,
        )
        self._start = start
        self._columns = columns
        self._deadline_s = deadline_s

    def callSolver(self, lp: Any) -> None:  # noqa: N802 (PuLP's name)
        """Hand over the start, then run."""
        if self._start:
            index = np.array([self._columns[i].index for i in self._start], dtype=np.int32)
            values = np.array(list(self._start.values()), dtype=np.float64)
            lp.solverModel.setSolution(len(index), index, values)
        # Handing over many rows takes its time, which counts.
        left_s = max(self._deadline_s - monotonic(), 0.01)
        lp.solverModel.setOptionValue("time_limit", left_s)
        lp.solverModel.run()


def _result(model: Any, columns: list[Any]) -> MilpResult:
    status = model.getModelStatus()
    outcomes = highspy.HighsModelStatus
    if status in (outcomes.kInfeasible, outcomes.kUnboundedOrInfeasible):
        return MilpResult("infeasible", None, inf, inf)
    info = model.getInfo()
    bound = info.mip_dual_bound
    if info.primal_solution_status != 2:  # kSolutionStatusFeasible
        return MilpResult("stopped", None, inf, bound)
    solved = list(model.getSolution().col_value)
    values = tuple(float(solved[column.index]) for column in columns)
    done = status == outcomes.kOptimal
    objective = info.objective_function_value
    return MilpResult("optimal" if done else "stopped", values, objective, min(bound, objective))
