"""The exact value and the exact faults of one assignment, for solvers and searches."""

from collections.abc import Sequence
from math import inf

from splitter.partitioning.problem import Problem
from splitter.partitioning.rule_check import broken
from splitter.partitioning.simulate import hops, memory_bytes, timing
from splitter.plan import Objective


def value(problem: Problem, objective: Objective, assignment: Sequence[int]) -> float:
    """What the objective says of ``assignment``; infinite when devices are not connected."""
    if objective == "latency":
        return timing(problem, assignment).latency_s
    crossed = hops(problem, assignment)
    if crossed is None:
        return inf
    busy = [0.0] * problem.m
    for layer, device in enumerate(assignment):
        busy[device] += problem.compute[layer][device]
    if objective == "energy":
        return sum(b * w for b, w in zip(busy, problem.active_w, strict=True)) + sum(
            problem.wires[w].bytes * problem.links[link].energy_j_per_byte for w, link in crossed
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
    found = [
        f"{layer.name} may not run on {problem.topology.devices[device].name}"
        for layer, device, allowed in zip(
            problem.graph.layers, assignment, problem.allowed, strict=True
        )
        if device not in allowed
    ]
    crossed = hops(problem, assignment)
    if crossed is None:
        return (*found, "two devices that must talk are not connected")
    sent = sum(problem.wires[w].bytes for w, _ in crossed)
    cap = problem.constraints.max_sent_bytes
    if cap is not None and sent > cap:
        found.append(f"it sends {sent} bytes, more than the cap of {cap}")
    if problem.constraints.private_input and any(problem.wires[w].is_input for w, _ in crossed):
        found.append(f"raw input would leave {births(problem)}")
    return (*found, *broken(problem, assignment))


def births(problem: Problem) -> str:
    """The devices on which the model's inputs appear, in words."""
    numbers = dict.fromkeys(wire.source for wire in problem.wires if wire.is_input)
    return " and ".join(problem.topology.devices[d].name for d in numbers)


def fits(problem: Problem, assignment: Sequence[int]) -> bool:
    """Whether ``assignment`` respects every rule and limit, exactly."""
    return not broken_rules(problem, assignment) and not overfull(problem, assignment)
