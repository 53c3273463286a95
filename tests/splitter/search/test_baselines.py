"""The joint choice is never worse than what chooses less freely, and equal where that suffices."""

from dataclasses import replace
from random import Random

import pytest

from splitter.errors import InfeasibleError
from splitter.search.strategy.baselines import baselines
from splitter.search.strategy.judge import cuts, judge
from splitter.search.strategy.problem import Goal, JointProblem
from splitter.search.strategy.program import solve_program
from splitter.search.strategy.random_problems import random_problem


def problem_of(seed: int) -> JointProblem:
    """A chain with MACs, in which larger choices are slower and better."""
    problem = random_problem(Random(seed), 5, 3, 3)
    counted = tuple(
        replace(v, options=tuple(replace(o, macs=round(1e6 * min(o.seconds))) for o in v.options))
        for v in problem.vertices
    )
    return replace(problem, vertices=counted)


@pytest.mark.parametrize(("seed", "factor"), [(0, 1.2), (1, 1.3), (2, 100.0)])
def test_the_joint_choice_is_never_worse(seed: int, factor: float) -> None:
    problem = problem_of(seed)
    methods = baselines(problem)
    assert {f"all on {name}" for name in problem.devices} < set(methods)
    try:
        fastest = solve_program(problem, Goal(weight=0.0, price_per_s=1.0)).time_s
    except InfeasibleError:
        for method in methods.values():
            with pytest.raises(InfeasibleError):
                method(problem, Goal())
        return
    goal = Goal(budget_s=factor * fastest)
    joint = methods["joint"](problem, goal)
    for name, method in methods.items():
        try:
            other = method(problem, goal)
        except InfeasibleError:
            continue
        assert judge(problem, goal, other.joint) is not None, name
        assert other.accuracy <= joint.accuracy + 1e-6, name
        if name == "single cut":
            assert cuts(problem, other.joint) <= 1
        if name.startswith("all on"):
            assert len(set(other.joint.devices)) == 1
