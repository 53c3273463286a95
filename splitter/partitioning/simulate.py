"""What one assignment does: its memory, its timing, its transfers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from splitter.memory import NODE_OVERHEAD_BYTES, plan_memory
from splitter.partitioning.problem import Problem
from splitter.schedule import node_schedules
from splitter.timing import Hop, Place, Run, run_request


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
    run: Run


def timing(problem: Problem, assignment: Sequence[int]) -> Timing:
    """The execution model of `splitter.timing`.

    The latency is infinite when two devices that must talk are not connected.
    """
    found = run_request(
        assignment,
        [row[device] for row, device in zip(problem.compute, assignment, strict=True)],
        problem.reads,
        problem.makes,
        [(w, wire.source) for w, wire in enumerate(problem.wires) if wire.is_input],
        _hops_by_place(problem, assignment),
    )
    outputs = ((w, wire.sink) for w, wire in enumerate(problem.wires) if wire.is_output)
    return Timing(max((found.there_s.get(place, inf) for place in outputs), default=0.0), found)


def _hops_by_place(problem: Problem, assignment: Sequence[int]) -> dict[Place, list[Hop]]:
    """What leaves each device; hops without end are left out, so that their readers never run."""
    found: dict[Place, list[Hop]] = {}
    for w, wire in enumerate(problem.wires):
        home = problem.home(wire, assignment)
        targets = dict.fromkeys(assignment[reader] for reader in wire.readers)
        if wire.is_output:
            targets[wire.sink] = None
        targets.pop(home, None)
        if targets:
            for link in route_tree(problem, w, home, targets):
                start, hop = problem.link_ends[link][0], problem.link_hop(link, wire.bytes)
                found.setdefault((w, start), []).append(hop)
    return found


def route_tree(problem: Problem, w: int, home: int, targets: Iterable[int]) -> Iterable[int]:
    """Links on the routes from ``home``, each once."""
    routes = problem.routes[w]
    found: dict[int, None] = {}
    for target in targets:
        route = routes.get((home, target))
        if route is not None:
            found.update(dict.fromkeys(route.links))
    return found


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
