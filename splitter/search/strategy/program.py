"""JMSNAS: network and split by one integer program.

Wang, Chen and Zhang, "Joint Model Split and Neural Architecture Search", ICC workshops 2022, pose
the joint search for a model and several split points under compute and communication limits; the
text does not fix a solver. The program (rows in `rows`) is this project's own form of it.
"""

from dataclasses import dataclass, replace
from math import inf, isfinite
from time import monotonic

from splitter.errors import InfeasibleError, PlanError
from splitter.partitioning.milp import ONE, MilpResult, Terms, combine
from splitter.search.strategy.judge import Simulated, judge, simulated
from splitter.search.strategy.parallel import ParallelRows
from splitter.search.strategy.problem import Answer, Goal, Joint, JointProblem, Time
from splitter.search.strategy.rows import JointModel

_SCALE = 1000.0
"""Largest value that the solver sees; its tolerances are absolute."""


def solve_program(
    problem: JointProblem,
    goal: Goal,
    *,
    time_limit_s: float = 60.0,
    start: Joint | None = None,
) -> Answer:
    """The best joint choice with its proof, from ``start`` if that holds.

    Raises:
        InfeasibleError: it is proved that no choice respects all limits.
        PlanError: none was found in the time.
    """
    began = monotonic()
    posed = _Posed.of(problem, goal, time_limit_s)
    known = None if start is None else judge(problem, goal, start)
    while True:
        left_s = time_limit_s - (monotonic() - began)
        first = posed.model.start(known.joint) if known is not None else None
        result = posed.model.milp.solve(max(left_s, 0.1), first)
        if result.status == "infeasible":
            raise InfeasibleError("no choice of network and split respects all limits")
        found = posed.answer(result)
        late = posed.is_late(result, found)
        known = max((a for a in (known, found) if a is not None), key=_value, default=None)
        if late is None or result.status == "stopped" or monotonic() - began > time_limit_s:
            break
        posed.learn(*late)
    if known is None:
        raise PlanError(f"no joint choice was found within {time_limit_s:g} s; allow more time")
    proved = result.status == "optimal" and late is None
    return replace(
        known,
        bound=known.value if proved else max(known.value, -result.bound * posed.unit),
        solve_s=monotonic() - began,
        method="integer program",
    )


def _value(answer: Answer) -> float:
    return answer.value


@dataclass(frozen=True)
class _Posed:
    """A program, and what its solutions mean."""

    problem: JointProblem
    goal: Goal
    model: JointModel
    unit: float
    """Of the objective."""
    time_s: Terms
    rows: ParallelRows | None
    """Rows that do not see how tensors queue; None when all rows are exact."""

    @classmethod
    def of(cls, problem: JointProblem, goal: Goal, time_limit_s: float) -> "_Posed":
        """All rows and the objective."""
        model, rows = JointModel(problem, goal), None
        model.add_limits()
        if goal.time == "period":
            time_s = model.period()
        elif goal.time == "sequential" or problem.is_chain:
            time_s = model.latency()
        else:
            rows = ParallelRows(model, _horizon_s(problem, goal, time_limit_s))
            time_s = rows.latency()
        return cls(problem, goal, model, _pose(model, time_s), time_s, rows)

    def answer(self, result: MilpResult) -> Answer | None:
        """The solution as judged; None when there is none, or when its tensors queue too long.

        Raises:
            PlanError: it breaks a limit by rounding.
        """
        if result.values is None:
            return None
        joint = self.model.joint(result.values)
        judged = judge(self.problem, self.goal, joint)
        if judged is None and self.is_late(result, None) is None:
            # The solver's row tolerance let through what rounding decides.
            raise PlanError(
                "the integer program's choice breaks a limit by rounding alone; change the budget "
                "a bit"
            )
        return judged

    def is_late(self, result: MilpResult, judged: Answer | None) -> tuple[Joint, Simulated] | None:
        """The choice and its run, if it takes longer than the rows believe and that matters."""
        if self.rows is None or result.values is None:
            return None
        if judged is not None and self.goal.price_per_s == 0:
            return None
        joint = self.model.joint(result.values)
        run = simulated(self.problem, joint)
        believed_s = sum(c * result.values[column] for column, c in self.time_s.items())
        return (joint, run) if run.seconds > believed_s + 1e-5 * self.rows.unit_s else None

    def learn(self, joint: Joint, run: Simulated) -> None:
        """Rows that a late choice evaded."""
        assert self.rows is not None
        self.rows.learn(joint, run)


def _horizon_s(problem: JointProblem, goal: Goal, time_limit_s: float) -> float:
    """No solution that matters takes longer."""
    if goal.weight > 0:
        return goal.budget_s
    one_by_one = replace(goal, time="sequential", budget_s=inf)
    try:
        fastest = solve_program(problem, one_by_one, time_limit_s=time_limit_s)
    except PlanError:
        return goal.budget_s
    return min(goal.budget_s, fastest.time_s)


def _pose(model: JointModel, time_s: Terms) -> float:
    """Add the goal; returns the objective's unit."""
    goal, milp = model.goal, model.milp
    accuracy = model.accuracy()
    if isfinite(goal.budget_s):
        unit_s = goal.budget_s / _SCALE if goal.budget_s > 0 else 1.0
        milp.at_least({ONE: goal.budget_s / unit_s}, combine((time_s, 1 / unit_s)))
    if goal.least_accuracy > -inf:
        floor = {ONE: goal.least_accuracy * _SCALE}
        milp.at_least(combine((accuracy, _SCALE)), floor)
    value = combine((accuracy, goal.weight), (time_s, -goal.price_per_s))
    unit = max((abs(c) for column, c in value.items() if column != ONE), default=1.0) / _SCALE
    milp.objective = combine((value, -1 / unit))
    return unit


def front(
    problem: JointProblem,
    *,
    points: int = 10,
    time: Time = "sequential",
    time_limit_s: float = 60.0,
) -> list[Answer]:
    """Answers between which only the user can choose, from fastest to most accurate.

    Each point is the most accurate within a budget; then the fastest of that accuracy.
    """
    fastest = solve_program(problem, Goal(weight=0.0, price_per_s=1.0, time=time))
    best = solve_program(problem, Goal(time=time))
    quickest_best = _fastest_of(problem, best, inf, time)
    found: list[Answer] = []
    low, high = fastest.time_s, quickest_best.time_s
    share_s = time_limit_s / (points + 1)
    for k in range(points):
        budget = low + (high - low) * k / max(points - 1, 1)
        goal = Goal(budget_s=budget * (1 + 1e-9), time=time)
        start = found[-1].joint if found else fastest.joint
        answer = solve_program(problem, goal, time_limit_s=share_s, start=start)
        answer = _fastest_of(problem, answer, goal.budget_s, time)
        if not found or answer.accuracy > found[-1].accuracy + 1e-12:
            found.append(answer)
    return found


def _fastest_of(problem: JointProblem, best: Answer, budget_s: float, time: Time) -> Answer:
    """The fastest choice that is as accurate as ``best``."""
    goal = Goal(
        budget_s=budget_s,
        price_per_s=1.0,
        weight=0.0,
        least_accuracy=best.accuracy - 1e-9,
        time=time,
    )
    return solve_program(problem, goal, start=best.joint)
