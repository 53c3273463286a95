"""What the rows of the integer program missed in one solution."""

from collections.abc import Sequence

from splitter.partition.limits import Crossing
from splitter.partition.problem import Problem, arrival_s, timing
from splitter.schedule import node_schedules


def crossings(problem: Problem, assignment: Sequence[int], device: int) -> frozenset[Crossing]:
    """All reasons for which the tensors now kept across stages on ``device`` might be kept."""
    graph = problem.graph
    name = problem.topology.devices[device].name
    schedules = node_schedules(graph, problem.topology, problem.placement(assignment))
    schedule = next(s for s in schedules if s.device == name)
    moved = {tensor for tensor, _ in (*schedule.receives, *schedule.sends)}
    number = {wire.name: w for w, wire in enumerate(problem.wires)}
    kept = [number[t] for t in schedule.slot_tensors if t not in moved]
    return frozenset(reason for w in kept for reason in _reasons(problem, w))


def _reasons(problem: Problem, w: int) -> list[Crossing]:
    wire = problem.wires[w]
    return [
        Crossing(w, reader, waits, fresh)
        for reader in wire.readers
        for waits in range(wire.producer + 1, reader + 1)
        for fresh in problem.reads[waits]
        if fresh != w and problem.wires[fresh].producer != wire.producer
    ]


def overlaps(problem: Problem, assignment: Sequence[int]) -> frozenset[tuple[int, int]]:
    """Pairs of layers of which the later waited only because its device was busy."""
    times = timing(problem, assignment)
    found: set[tuple[int, int]] = set()
    running: dict[int, int] = {}
    for layer, device in enumerate(assignment):
        before = running.get(device)
        if before is not None and _waited(problem, assignment, times.finish_s, layer):
            found.add((before, layer))
        running[device] = layer
    return frozenset(found)


def _waited(
    problem: Problem, assignment: Sequence[int], finish: Sequence[float], layer: int
) -> bool:
    """Whether the inputs of ``layer`` had arrived before its device was free."""
    device = assignment[layer]
    ready = max(
        (arrival_s(problem, assignment, finish, w, device) for w in problem.reads[layer]),
        default=0.0,
    )
    start = finish[layer] - problem.compute[layer][device]
    return ready < start - 1e-12
