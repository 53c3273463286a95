"""What one joint choice is worth, from the definitions alone; shares nothing with any solver."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf

from splitter.search.strategy.problem import (
    INPUT,
    Answer,
    Goal,
    Joint,
    JointProblem,
    Move,
    Time,
    Vertex,
)
from splitter.timing import Hop, Place, run_request

_ROUNDING = 1e-9


def judge(problem: JointProblem, goal: Goal, joint: Joint) -> Answer | None:
    """The answer that ``joint`` is; None when it breaks a rule or a limit."""
    if any(broken(problem, goal, joint)):
        return None
    time_s = TIMES[goal.time](problem, joint)
    accuracy = problem.accuracy.score(joint.choices(problem))
    late = time_s > goal.budget_s + _ROUNDING * max(1.0, abs(time_s))
    if late or accuracy < goal.least_accuracy - 1e3 * _ROUNDING:
        return None
    value = goal.weight * accuracy - goal.price_per_s * time_s
    return Answer(joint, value, accuracy, time_s)


def broken(problem: JointProblem, goal: Goal, joint: Joint) -> Iterator[str]:
    """Every rule that ``joint`` breaks, in words; time and accuracy aside."""
    chosen = [v.options[o] for v, o in zip(problem.vertices, joint.options, strict=True)]
    for v, vertex in enumerate(problem.vertices):
        if joint.devices[v] not in problem.allowed(v):
            yield f"{vertex.name} may not run on {problem.devices[joint.devices[v]]}"
        for u in vertex.inputs:
            if u != INPUT and chosen[u].gives != chosen[v].takes:
                yield f"{vertex.name} takes another width than {problem.vertices[u].name} gives"
    for k, stage in enumerate(problem.stages):
        standing = [not chosen[v].skip for v in stage]
        if sorted(standing, reverse=True) != standing:
            yield f"stage {k} skips a vertex before one that stands"
        picks = {chosen[v].choice for v in stage if not chosen[v].skip}
        if problem.shared and problem.shared[k] and len(picks) > 1:
            yield f"stage {k} must take one choice"
    if any(problem.move(*where) is None for where in _sent(problem, joint)):
        yield "two devices that must talk are not joined"
        return
    if joint.choices(problem) in goal.excluded:
        yield "this architecture is excluded"
    if goal.most_cuts is not None and cuts(problem, joint) > goal.most_cuts:
        yield f"more than {goal.most_cuts} edges are cut"
    for d, need in enumerate(memory_bytes(problem, joint)):
        if need > problem.limit(d) + _ROUNDING:
            yield f"{problem.devices[d]} needs {need} bytes, has {problem.limit(d):.0f}"


def cuts(problem: JointProblem, joint: Joint) -> int:
    """Edges between vertices that join two devices."""
    return sum(
        joint.devices[u] != joint.devices[v]
        for v, vertex in enumerate(problem.vertices)
        for u in vertex.inputs
        if u != INPUT
    )


def _sent(problem: JointProblem, joint: Joint) -> list[tuple[int, int, int]]:
    """(bytes, from, to) of everything that crosses links, each tensor once per receiver."""
    found: list[tuple[int, int, int]] = []
    devices = joint.devices
    readers = {devices[v] for v, x in enumerate(problem.vertices) if INPUT in x.inputs}
    found += [(problem.input_bytes, problem.source, e) for e in sorted(readers)]
    for u, vertex in enumerate(problem.vertices):
        ends = {devices[v] for v in problem.readers[u]}
        ends |= {problem.sink} if u in problem.ends else set()
        size = vertex.options[joint.options[u]].output_bytes
        found += [(size, devices[u], e) for e in sorted(ends)]
    return [where for where in found if where[1] != where[2]]


def _moves(problem: JointProblem, joint: Joint) -> list[tuple[int, int, int, Move]]:
    found = []
    for size, start, end in _sent(problem, joint):
        move = problem.move(size, start, end)
        assert move is not None
        found.append((size, start, end, move))
    return found


def _computing(problem: JointProblem, joint: Joint) -> list[float]:
    busy = [0.0] * len(problem.devices)
    for vertex, o, d in zip(problem.vertices, joint.options, joint.devices, strict=True):
        busy[d] += vertex.options[o].seconds[d]
    return busy


def latency_s(problem: JointProblem, joint: Joint) -> float:
    """Seconds of one request, one thing after the other."""
    moving = sum(move.seconds for _, _, _, move in _moves(problem, joint))
    return sum(_computing(problem, joint)) + moving


def period_s(problem: JointProblem, joint: Joint) -> float:
    """Seconds between requests of a pipeline: the busiest device or medium."""
    media: dict[int, float] = {}
    for _, _, _, move in _moves(problem, joint):
        for hop in move.hops:
            media[hop.medium] = media.get(hop.medium, 0.0) + hop.busy_s
    return max([*_computing(problem, joint), *media.values()], default=inf)


@dataclass(frozen=True, slots=True)
class Simulated:
    """One request of a joint choice, second by second."""

    seconds: float
    """Until the last output is where it is wanted."""
    waits: tuple[tuple[tuple[int, int, int, int], tuple[int, int, int, int]], ...]
    """Pairs of tensors of which the second waited for the first to leave a medium, each as
    (producer, from, to, number of the hop)."""


def simulated(problem: JointProblem, joint: Joint) -> Simulated:
    """A request that devices and media work on at once.

    A tensor is sent to the device of each reader by itself.
    """
    tensors = _tensors(problem, joint)
    number = {tensor: t for t, tensor in enumerate(tensors)}
    hops, crossing = _hops(problem, joint, tensors)
    run = run_request(
        joint.devices,
        [v.options[o].seconds[d] for v, o, d in _placed(problem, joint)],
        [[number[u, d] for u in v.inputs] for v, _, d in _placed(problem, joint)],
        [[t for t, (u, _) in enumerate(tensors) if u == v] for v in range(len(problem.vertices))],
        [(t, problem.source) for t, (u, _) in enumerate(tensors) if u == INPUT],
        hops,
    )
    outputs = [(number[u, problem.sink], problem.sink) for u in problem.ends]
    waits = tuple((crossing[first], crossing[second]) for first, second in run.waits)
    return Simulated(max(run.there_s.get(place, inf) for place in outputs), waits)


def _placed(problem: JointProblem, joint: Joint) -> Iterator[tuple[Vertex, int, int]]:
    return zip(problem.vertices, joint.options, joint.devices, strict=True)


def _tensors(problem: JointProblem, joint: Joint) -> list[tuple[int, int]]:
    """(producer, device that wants it), in graph order."""
    wanted = {
        (u, joint.devices[v]) for v, vertex in enumerate(problem.vertices) for u in vertex.inputs
    }
    wanted |= {(u, problem.sink) for u in problem.ends}
    return sorted(wanted)


def _hops(
    problem: JointProblem, joint: Joint, tensors: list[tuple[int, int]]
) -> tuple[dict[Place, list[Hop]], dict[Place, tuple[int, int, int, int]]]:
    """The hop by which each tensor leaves each device, and which one of its way it is."""
    hops: dict[Place, list[Hop]] = {}
    crossing: dict[Place, tuple[int, int, int, int]] = {}
    for t, (u, end) in enumerate(tensors):
        size, start = problem.input_bytes, problem.source
        if u != INPUT:
            size = problem.vertices[u].options[joint.options[u]].output_bytes
            start = joint.devices[u]
        move, at = problem.move(size, start, end), start
        for k, hop in enumerate(move.hops if move is not None else ()):
            hops[t, at], crossing[t, at], at = [hop], (u, start, end, k), hop.target
    return hops, crossing


def parallel_s(problem: JointProblem, joint: Joint) -> float:
    """Seconds of one request whose branches run at once."""
    return simulated(problem, joint).seconds


def memory_bytes(problem: JointProblem, joint: Joint) -> list[int]:
    """Per device: weights, the largest working set, and what crosses its links, per request."""
    need = [0] * len(problem.devices)
    working = [0] * len(problem.devices)
    for vertex, o, d in zip(problem.vertices, joint.options, joint.devices, strict=True):
        option = vertex.options[o]
        need[d] += option.weight_bytes
        working[d] = max(working[d], option.working_bytes)
    for size, start, end, move in _moves(problem, joint):
        for d in (start, end, *move.through):
            need[d] += problem.in_flight * size
    return [a + b for a, b in zip(need, working, strict=True)]


TIMES: Mapping[Time, Callable[[JointProblem, Joint], float]] = {
    "sequential": latency_s,
    "parallel": parallel_s,
    "period": period_s,
}
