"""JMSNAS: network and split by one integer program.

Wang, Chen and Zhang, "Joint Model Split and Neural Architecture Search", ICC workshops 2022, pose
the joint search for a model and several split points under compute and communication limits; the
text does not fix a solver. The program (rows in `rows`) is this project's own form of it.
"""

from math import inf, isfinite
from time import monotonic

from splitter.errors import InfeasibleError, PlanError
from splitter.partitioning.milp import ONE, MilpResult, combine
from splitter.search.strategy.judge import judge
from splitter.search.strategy.problem import Answer, Goal, Joint, JointProblem
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
    model = JointModel(problem, goal)
    unit = _pose(model)
    known = start if start is not None and judge(problem, goal, start) is not None else None
    result = model.milp.solve(time_limit_s, model.start(known) if known is not None else None)
    if result.status == "infeasible":
        raise InfeasibleError("no choice of network and split respects all limits")
    if result.values is None:
        raise PlanError(f"no joint choice was found within {time_limit_s:g} s; allow more time")
    return _answer(model, result, unit, monotonic() - began)


def _pose(model: JointModel) -> float:
    """Add all rows and the objective; returns the objective's unit."""
    goal, milp = model.goal, model.milp
    model.forbid_missing_links()
    model.add_stages()
    model.add_memory()
    model.add_cuts()
    model.add_excluded()
    time_s = model.period() if goal.period else model.latency()
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


def _answer(model: JointModel, result: MilpResult, unit: float, seconds: float) -> Answer:
    assert result.values is not None
    joint = model.joint(result.values)
    judged = judge(model.problem, model.goal, joint)
    if judged is None:
        # The solver's row tolerance let through what rounding decides.
        raise PlanError(
            "the integer program's choice breaks a limit by rounding alone; change the budget a bit"
        )
    bound = max(judged.value, -result.bound * unit)
    if result.status == "optimal":
        bound = judged.value
    return Answer(
        joint,
        judged.value,
        judged.accuracy,
        judged.time_s,
        bound=bound,
        solve_s=seconds,
        method="integer program",
    )


def front(
    problem: JointProblem, *, points: int = 10, period: bool = False, time_limit_s: float = 60.0
) -> list[Answer]:
    """Answers between which only the user can choose, from fastest to most accurate.

    Each point is the most accurate within a budget; then the fastest of that accuracy.
    """
    fastest = solve_program(problem, Goal(weight=0.0, price_per_s=1.0, period=period))
    best = solve_program(problem, Goal(period=period))
    quickest_best = _fastest_of(problem, best, inf, period)
    found: list[Answer] = []
    low, high = fastest.time_s, quickest_best.time_s
    share_s = time_limit_s / (points + 1)
    for k in range(points):
        budget = low + (high - low) * k / max(points - 1, 1)
        goal = Goal(budget_s=budget * (1 + 1e-9), period=period)
        start = found[-1].joint if found else fastest.joint
        answer = solve_program(problem, goal, time_limit_s=share_s, start=start)
        answer = _fastest_of(problem, answer, goal.budget_s, period)
        if not found or answer.accuracy > found[-1].accuracy + 1e-12:
            found.append(answer)
    return found


def _fastest_of(problem: JointProblem, best: Answer, budget_s: float, period: bool) -> Answer:
    """The fastest choice that is as accurate as ``best``."""
    goal = Goal(
        budget_s=budget_s,
        price_per_s=1.0,
        weight=0.0,
        least_accuracy=best.accuracy - 1e-9,
        period=period,
    )
    return solve_program(problem, goal, start=best.joint)
