"""Program, shortest path and brute force on the same random instances."""

from dataclasses import replace
from random import Random
from statistics import median
from typing import Any

from rich.console import Console

from splitter.errors import InfeasibleError
from splitter.search.strategy.brute import brute_force
from splitter.search.strategy.chain import shortest_path
from splitter.search.strategy.problem import Answer, Goal, JointProblem, Time
from splitter.search.strategy.program import solve_program
from splitter.search.strategy.random_problems import random_goal, random_problem

INSTANCES = 300
SLOTS, CHOICES, DEVICES = 30, 8, 3
_LARGE = 5


def exact_part(console: Console) -> dict[str, Any]:
    """Compare, time, print."""
    small = [_compared(seed) for seed in range(INSTANCES)]
    branched = [one for one in (_compared(seed, "parallel") for seed in range(INSTANCES)) if one]
    for what, rows in (("sequential or pipelined", small), ("branches at once", branched)):
        equal, feasible = (sum(row[k] for row in rows if row) for k in ("equal", "feasible"))
        console.print(
            f"{what}: program = brute force on {equal} of {len(rows)} instances, {feasible} of "
            "them feasible"
        )
    faster = sum(one["faster"] for one in branched)
    console.print(f"better than the sequential form on {faster} of those")
    large = [_large(seed, memory) for seed in range(_LARGE) for memory in (False, True)]
    for one in large:
        memory = "with memory caps" if one["memory"] else "no memory caps"
        path = "" if one["path_s"] is None else f", shortest path {one['path_s']:.2f} s, equal"
        console.print(
            f"{SLOTS} slots, {CHOICES} choices, {DEVICES} devices, {memory}: "
            f"{'proved' if one['proved'] else 'NOT proved'} in {one['program_s']:.2f} s{path}"
        )
    slowest = max(one["program_s"] for one in large)
    middle = median(one["program_s"] for one in large)
    console.print(f"median {middle:.2f} s, slowest {slowest:.2f} s")
    return {"small": small, "branched": branched, "large": large}


def _compared(seed: int, time: Time | None = None) -> dict[str, bool] | None:
    """One random instance; None for a chain whose branches are asked for."""
    rng = Random(seed)
    problem, goal = random_problem(rng), random_goal(rng)
    one_by_one = None
    if time is not None:
        if problem.is_chain:
            return None
        goal = replace(goal, time="sequential")
        one_by_one = _or_none(solve_program, problem, goal)
        goal = replace(goal, time=time)
    tried, found = _or_none(brute_force, problem, goal), _or_none(solve_program, problem, goal)
    return {
        "feasible": tried is not None,
        "equal": _same(tried, found),
        "faster": tried is not None
        and (one_by_one is None or one_by_one.value < tried.value - 1e-6),
    }


def _or_none(method: Any, problem: JointProblem, goal: Goal) -> Answer | None:
    try:
        found: Answer = method(problem, goal)
    except InfeasibleError:
        return None
    return found


def _same(one: Answer | None, other: Answer | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one.value - other.value) < 1e-6


def _large(seed: int, memory: bool) -> dict[str, Any]:
    problem = random_problem(Random(seed), SLOTS, CHOICES, DEVICES)
    problem = replace(problem, shared=(False,) * len(problem.stages))
    weights = sum(max(o.weight_bytes for o in v.options) for v in problem.vertices)
    limits = tuple((0.3 + 0.2 * d) * weights + 5000 for d in range(DEVICES)) if memory else ()
    pairs = {k: t for k, t in problem.accuracy.pairs.items() if k == (0, 1)}
    accuracy = problem.accuracy if memory else replace(problem.accuracy, pairs=pairs)
    problem = replace(problem, limits=limits, accuracy=accuracy)
    fastest = solve_program(problem, Goal(weight=0.0, price_per_s=1.0))
    goal = Goal(budget_s=1.5 * fastest.time_s)
    answer = solve_program(problem, goal)
    path = None if memory else shortest_path(problem, goal)
    assert path is None or abs(path.value - answer.value) < 1e-6
    return {
        "seed": seed,
        "memory": memory,
        "proved": answer.proved,
        "program_s": answer.solve_s,
        "path_s": None if path is None else path.solve_s,
    }
