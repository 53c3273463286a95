"""The integer program and the shortest path against every choice tried."""

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from splitter.errors import InfeasibleError, UsageError
from splitter.search.strategy.brute import brute_force
from splitter.search.strategy.chain import shortest_path
from splitter.search.strategy.judge import judge
from splitter.search.strategy.problem import Answer, Goal, JointProblem
from splitter.search.strategy.program import front, solve_program
from splitter.search.strategy.random_problems import random_goal, random_problem


def solved(method: object, problem: JointProblem, goal: Goal) -> Answer | None:
    try:
        return method(problem, goal)  # type: ignore[operator, no-any-return]
    except InfeasibleError:
        return None


@pytest.mark.parametrize("block", range(5))
def test_the_program_equals_brute_force(block: int) -> None:
    """Chains, diamonds, skips; widths, depths, pairs, pins, memory, links; every goal."""
    feasible = 0
    for seed in range(20 * block, 20 * block + 20):
        rng = Random(seed)
        problem, goal = random_problem(rng), random_goal(rng)
        tried, found = solved(brute_force, problem, goal), solved(solve_program, problem, goal)
        assert (tried is None) == (found is None), seed
        if tried is not None and found is not None:
            feasible += 1
            assert found.value == pytest.approx(tried.value, abs=1e-6), seed
            assert found.proved
            assert judge(problem, goal, found.joint) is not None
    assert feasible > 10


def chain_problem(rng: Random) -> JointProblem:
    problem = random_problem(rng, vertices=6)
    pairs = {k: t for k, t in problem.accuracy.pairs.items() if k == (0, 1)}
    return replace(
        problem,
        limits=(),
        shared=(False,) * len(problem.stages),
        accuracy=replace(problem.accuracy, pairs=pairs),
    )


def test_the_shortest_path_equals_the_program() -> None:
    feasible = 0
    for seed in range(30):
        rng = Random(seed)
        problem = chain_problem(rng)
        goal = (
            Goal(budget_s=rng.uniform(3, 12)) if seed % 2 else Goal(price_per_s=rng.uniform(0, 1))
        )
        path, program = solved(shortest_path, problem, goal), solved(solve_program, problem, goal)
        assert (path is None) == (program is None), seed
        if path is not None and program is not None:
            feasible += 1
            assert path.value == pytest.approx(program.value, abs=1e-6), seed
    assert feasible > 20


def test_what_paths_do_not_see_is_refused() -> None:
    problem = chain_problem(Random(0))
    with pytest.raises(UsageError, match="use the integer program"):
        shortest_path(problem, Goal(time="period"))
    with pytest.raises(UsageError, match="memory"):
        shortest_path(replace(problem, limits=(1.0, 1.0, 1.0)), Goal())


def test_thirty_slots_are_solved_to_proof() -> None:
    problem = replace(random_problem(Random(0), 30, 8, 3), limits=())
    fastest = solve_program(problem, Goal(weight=0.0, price_per_s=1.0))
    answer = solve_program(problem, Goal(budget_s=1.3 * fastest.time_s))
    assert answer.proved
    assert answer.time_s <= 1.3 * fastest.time_s
    assert answer.accuracy > fastest.accuracy


def test_the_front_has_every_point_better_than_the_last() -> None:
    problem = chain_problem(Random(3))
    points = front(problem, points=6)
    assert len(points) > 1
    for before, after in pairwise(points):
        assert after.accuracy > before.accuracy
        assert after.time_s > before.time_s
    for point in points:
        budget = Goal(budget_s=point.time_s * (1 + 1e-9))
        assert solve_program(problem, budget).accuracy == pytest.approx(point.accuracy, abs=1e-6)
