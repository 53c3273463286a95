"""Latency of branches that run at once: by hand, against every choice, and on chains."""

from dataclasses import replace
from random import Random

import pytest

from splitter.errors import InfeasibleError, UsageError
from splitter.search.estimate.bilinear import Bilinear
from splitter.search.space.space import Slot, Space, Stage
from splitter.search.strategy.brute import brute_force
from splitter.search.strategy.judge import judge, latency_s, parallel_s
from splitter.search.strategy.problem import (
    INPUT,
    Goal,
    Joint,
    JointProblem,
    Move,
    Option,
    Vertex,
)
from splitter.search.strategy.program import front, solve_program
from splitter.search.strategy.random_problems import random_goal, random_problem
from splitter.search.strategy.task import Task, strategy
from splitter.timing import Hop

QUICKEST = Goal(weight=0.0, price_per_s=1.0, time="parallel")


def diamond(busy_s: float = 1.0, delay_s: float = 0.5) -> JointProblem:
    """Two branches of 4 seconds between two layers of 1 second; two equal devices, one bus."""
    inputs = ((INPUT,), (0,), (0,), (1, 2))
    seconds = (1.0, 4.0, 4.0, 1.0)
    vertices = tuple(
        Vertex(f"v{v}", (Option(0, (s, s), 100),), ins, slot=v)
        for v, (ins, s) in enumerate(zip(inputs, seconds, strict=True))
    )
    moves = {(d, 1 - d): Move((Hop(1 - d, 0, busy_s, delay_s),)) for d in (0, 1)}
    nothing = Bilinear(((0.0,),) * 4)
    return JointProblem(vertices, ("here", "there"), {100: moves}, nothing, 100)


def test_branches_run_at_once() -> None:
    problem, joint = diamond(), Joint((0, 0, 0, 0), (0, 0, 1, 0))
    assert latency_s(problem, joint) == pytest.approx(1 + 4 + 4 + 1 + 2 * 1.5)
    assert parallel_s(problem, joint) == pytest.approx(1 + 1.5 + 4 + 1.5 + 1)
    found = solve_program(problem, QUICKEST)
    assert found.proved
    assert found.time_s == pytest.approx(9.0)
    assert solve_program(problem, replace(QUICKEST, time="sequential")).time_s == 10.0
    with pytest.raises(InfeasibleError):
        solve_program(problem, Goal(budget_s=8.9, time="parallel"))


def test_one_device_does_one_thing_at_a_time() -> None:
    problem, joint = diamond(), Joint((0, 0, 0, 0), (0, 0, 0, 0))
    assert parallel_s(problem, joint) == latency_s(problem, joint) == 10.0


def test_tensors_queue_for_a_medium() -> None:
    """Both branches get their inputs over one bus; the second tensor waits for the first."""
    problem = diamond(busy_s=1.0, delay_s=0.5)
    pinned = (0, 1, 1, 0)
    vertices = (
        replace(problem.vertices[0], allowed=(0,)),
        Vertex("v1", problem.vertices[1].options, (INPUT,), slot=1, allowed=(1,)),
        Vertex("v2", problem.vertices[2].options, (0,), slot=2, allowed=(1,)),
        replace(problem.vertices[3], allowed=(0,)),
    )
    problem = replace(problem, vertices=vertices, input_bytes=100)
    joint = Joint((0, 0, 0, 0), pinned)
    # v1: 1.5 to 5.5, on its way until 7; v2: 5.5 to 9.5, on its way until 11; v3 until 12.
    assert parallel_s(problem, joint) == pytest.approx(12.0)
    assert solve_program(problem, QUICKEST).time_s == pytest.approx(12.0)
    slow = {(d, 1 - d): Move((Hop(1 - d, 0, 6.0, 0.0),)) for d in (0, 1)}
    queued = replace(problem, moves={100: slow})
    # The bus: input until 6, v0's output until 12, v1's (there since 10) until 18, v2's until 24.
    assert parallel_s(queued, joint) == pytest.approx(25.0)
    answer = solve_program(queued, QUICKEST)
    assert answer.proved
    assert answer.time_s == pytest.approx(brute_force(queued, QUICKEST).time_s)


def test_the_program_equals_brute_force() -> None:
    branched = better = 0
    for seed in range(1000, 1050):
        rng = Random(seed)
        problem, goal = random_problem(rng), replace(random_goal(rng), time="parallel")
        if problem.is_chain:
            continue
        try:
            tried = brute_force(problem, goal)
        except InfeasibleError:
            with pytest.raises(InfeasibleError):
                solve_program(problem, goal)
            continue
        branched += 1
        found = solve_program(problem, goal)
        assert found.value == pytest.approx(tried.value, abs=1e-6), seed
        assert found.proved, seed
        assert judge(problem, goal, found.joint) is not None
        try:
            one_by_one = solve_program(problem, replace(goal, time="sequential")).value
        except InfeasibleError:
            one_by_one = float("-inf")
        assert one_by_one <= found.value + 1e-6
        better += one_by_one < found.value - 1e-6
    assert branched > 10
    assert better > 2


def test_chains_are_sequential() -> None:
    for seed in range(5):
        problem = replace(random_problem(Random(seed), vertices=6), limits=())
        quickest = solve_program(problem, QUICKEST)
        one_by_one = solve_program(problem, replace(QUICKEST, time="sequential"))
        assert quickest.time_s == pytest.approx(one_by_one.time_s)


def test_the_front_knows_branches() -> None:
    problem = replace(random_problem(Random(3)), limits=())
    points = front(problem, points=3, time="parallel")
    assert points[0].time_s == pytest.approx(solve_program(problem, QUICKEST).time_s)


@pytest.mark.parametrize("name", ["frank_wolfe", "gumbel", "proxyless"])
def test_expectations_know_no_branches(name: str) -> None:
    problem = diamond()
    space = Space("four", (Stage("s", tuple(Slot(f"v{v}", ("only",)) for v in range(4))),))
    task = Task(space, problem.accuracy, problem, Goal(time="parallel"))
    with pytest.raises(UsageError, match="sequential latency, not parallel"):
        strategy(name).search(task)
