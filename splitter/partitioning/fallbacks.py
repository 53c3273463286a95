"""What would run where if a device left: for every device that is optional."""

from collections.abc import Callable
from dataclasses import replace

from splitter.constraints import Constraints
from splitter.partitioning.ilp import Solution
from splitter.partitioning.infeasible import Question
from splitter.partitioning.problem import Problem
from splitter.plan import Fallback

Solve = Callable[[Question], tuple[Problem, Solution]]


def fallbacks(question: Question, solve: Solve) -> tuple[Fallback, ...]:
    """A placement without each optional device.

    Raises:
        InfeasibleError: there is none without one of them; the message says what conflicts.
        PlanError: none was found in time.
    """
    return tuple(_fallback(question, name, solve) for name in question.constraints.optional)


def _fallback(question: Question, name: str, solve: Solve) -> Fallback:
    problem, solution = solve(without(question, name))
    return Fallback(name, solution.value, problem.placement(solution.assignment))


def without(question: Question, name: str) -> Question:
    """The same question when the device has left."""
    rules = question.constraints
    key = ("without", name)
    origin = rules.origins.get(("optional", name), "")
    gone = Constraints(without=(name,), origins={key: origin or f"{name} is optional"})
    return replace(question, constraints=replace(rules, optional=()) + gone)
