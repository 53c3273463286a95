"""The exact value and the exact faults of one assignment, for solvers and searches."""

from collections.abc import Sequence
from math import inf

from splitter.objective import Objective, objective_noun, quantity
from splitter.partitioning.problem import BUDGET_TOLERANCE, Problem
from splitter.partitioning.rule_check import broken, keeps_rules
from splitter.partitioning.simulate import hops, memory_bytes, timing


def value(problem: Problem, objective: Objective, assignment: Sequence[int]) -> float:
    """What the objective says of ``assignment``; infinite when devices are not connected."""
    if objective == "latency":
        return timing(problem, assignment).latency_s
    crossed = hops(problem, assignment)
    if crossed is None:
        return inf
    if objective == "memory":
        return float(max(memory_bytes(problem, assignment)))
    busy = [0.0] * problem.m
    for layer, device in enumerate(assignment):
        busy[device] += problem.compute[layer][device]
    if objective in problem.rates:
        per_second, per_byte = problem.rates[objective]
        return sum(b * rate for b, rate in zip(busy, per_second, strict=True)) + sum(
            problem.wires[w].bytes * per_byte[link] for w, link in crossed
        )
    carried = [0.0] * len(problem.links)
    for w, link in crossed:
        carried[link] += problem.links[link].seconds(problem.wires[w].bytes)
    media = (sum(carried[link] for link in links) for links in problem.media)
    return max([*busy, *carried, *media])


def overfull(problem: Problem, assignment: Sequence[int]) -> tuple[int, ...]:
    """Devices whose exact memory exceeds their limit."""
    if not any(problem.may_overflow):
        return ()
    used = memory_bytes(problem, assignment)
    return tuple(d for d in range(problem.m) if used[d] > problem.limits[d])


def excess_bytes(problem: Problem, assignment: Sequence[int]) -> int:
    """By how much all devices together exceed their limits."""
    if not any(problem.may_overflow):
        return 0
    used = memory_bytes(problem, assignment)
    return sum(max(0, u - limit) for u, limit in zip(used, problem.limits, strict=True))


def broken_rules(problem: Problem, assignment: Sequence[int]) -> tuple[str, ...]:
    """Rules besides memory that ``assignment`` breaks, in words."""
    words = tuple(dict.fromkeys(text for _, text in broken(problem, assignment)))
    return words + over_budget(problem, assignment)


def over_budget(problem: Problem, assignment: Sequence[int]) -> tuple[str, ...]:
    """Caps on time, energy, bytes or price that ``assignment`` exceeds, in words."""
    found: list[str] = []
    for objective, cap in problem.budgets:
        reached = value(problem, objective, assignment)
        if reached > cap * (1.0 + BUDGET_TOLERANCE):
            noun = objective_noun(objective)
            found.append(
                f"the {noun} is {quantity(objective, reached)}, more than the limit of "
                f"{quantity(objective, cap)}"
            )
    return tuple(found)


def births(problem: Problem) -> str:
    """The devices on which the model's inputs appear, in words."""
    numbers = dict.fromkeys(wire.source for wire in problem.wires if wire.is_input)
    return " and ".join(problem.topology.devices[d].name for d in numbers)


def fits(problem: Problem, assignment: Sequence[int]) -> bool:
    """Whether ``assignment`` respects every rule and limit, exactly."""
    return (
        keeps_rules(problem, assignment)
        and not over_budget(problem, assignment)
        and not overfull(problem, assignment)
    )
