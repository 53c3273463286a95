"""What one assignment does: its memory, its timing, its transfers."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from splitter.memory import NODE_OVERHEAD_BYTES, plan_memory
from splitter.partitioning.problem import INPUT, Problem
from splitter.schedule import node_schedules


def memory_bytes(problem: Problem, assignment: Sequence[int]) -> tuple[int, ...]:
    """Exact memory of every device: weights + activations + node program; 0 where nothing runs.

    Raises:
        networkx.NetworkXNoPath: two devices that must talk are not connected.
    """
    used = [0] * problem.m
    placement = problem.placement(assignment)
    for schedule in node_schedules(problem.graph, problem.topology, placement):
        weights = problem.graph.weights_of(schedule.layers)
        used[problem.device_number[schedule.device]] = (
            sum(problem.graph.weight_bytes[w] for w in weights)
            + plan_memory(problem.graph, schedule).activation_bytes(problem.slots)
            + NODE_OVERHEAD_BYTES
        )
    return tuple(used)


@dataclass(frozen=True, slots=True)
class Timing:
    """When things happen in one assignment."""

    latency_s: float
    start_s: tuple[float, ...]
    finish_s: tuple[float, ...]


def timing(problem: Problem, assignment: Sequence[int]) -> Timing:
    """The execution model: layers in graph order, one at a time per device; transfers overlap.

    The latency is infinite when two devices that must talk are not connected.
    """
    free = [0.0] * problem.m
    start, finish = [0.0] * problem.n, [0.0] * problem.n
    for layer, device in enumerate(assignment):
        ready = free[device]
        for producer, routes in problem.feeds[layer]:
            home = -1 - producer if producer < 0 else assignment[producer]
            here = 0.0 if producer < 0 else finish[producer]
            if home != device:
                here += routes.seconds_from(home)[device]
            if here > ready:
                ready = here
        start[layer] = ready
        finish[layer] = free[device] = ready + problem.compute[layer][device]
    outputs = (w for w, wire in enumerate(problem.wires) if wire.is_output)
    latency = max(
        (arrival_s(problem, assignment, finish, w, problem.wires[w].sink) for w in outputs),
        default=0.0,
    )
    return Timing(latency, tuple(start), tuple(finish))


def arrival_s(
    problem: Problem, assignment: Sequence[int], finish: Sequence[float], w: int, device: int
) -> float:
    """When wire ``w`` is on ``device``; infinite when it cannot get there."""
    wire = problem.wires[w]
    home = problem.home(wire, assignment)
    made = 0.0 if wire.producer == INPUT else finish[wire.producer]
    if home == device:
        return made
    route = problem.routes[w].get((home, device))
    return inf if route is None else made + route.seconds


def hops(problem: Problem, assignment: Sequence[int]) -> dict[tuple[int, int], None] | None:
    """(wire, link) of every transfer, each once; None when devices are not connected."""
    found: dict[tuple[int, int], None] = {}
    for w, wire in enumerate(problem.wires):
        home = problem.home(wire, assignment)
        targets = {assignment[reader] for reader in wire.readers}
        if wire.is_output:
            targets.add(wire.sink)
        for target in targets - {home}:
            route = problem.routes[w].get((home, target))
            if route is None:
                return None
            found.update(dict.fromkeys((w, link) for link in route.links))
    return found
