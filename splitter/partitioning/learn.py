"""What the rows of the integer program missed in one solution."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import networkx as nx

from splitter.objective import Objective
from splitter.partitioning.judge import over_budget, overfull
from splitter.partitioning.limits import Crossing, Cuts, Floor, Refuted, Slow
from splitter.partitioning.problem import Assignment, Problem
from splitter.partitioning.simulate import hops, memory_bytes, timing
from splitter.schedule import node_schedules
from splitter.timing import Run

_NEARBY = 3
"""Distance in graph order within which parallel layers are kept apart from the outset."""


def learn_limits(problem: Problem, assignment: Assignment, cuts: Cuts) -> Cuts:
    """``cuts`` and what excludes ``assignment``; the same cuts when it respects all limits."""
    learned = learn_memory(problem, assignment, cuts)
    if over_budget(problem, assignment):
        timed = learned
        if any(name == "latency" for name, _ in problem.budgets):
            timed = _learn_overlaps(problem, assignment, learned)
        if timed == cuts:
            timed = replace(cuts, refuted=(*cuts.refuted, Refuted(assignment, None)))
        learned = timed
    return learned


def learn_value(problem: Problem, objective: Objective, assignment: Assignment, cuts: Cuts) -> Cuts:
    """``cuts`` and what lifts the price that the rows have for ``assignment`` to its true one."""
    if objective == "latency":
        return _learn_overlaps(problem, assignment, cuts)
    if objective == "memory":
        return _learn_peak(problem, assignment, cuts)
    return cuts


def _learn_overlaps(problem: Problem, assignment: Assignment, cuts: Cuts) -> Cuts:
    pairs = overlaps(problem, assignment) - cuts.exclusive
    if pairs:
        return replace(cuts, exclusive=cuts.exclusive | pairs)
    found = timing(problem, assignment)
    slow = Slow(assignment, found.latency_s)
    if not found.run.waits or slow in cuts.slow:
        return cuts
    return replace(cuts, slow=(*cuts.slow, slow))


def _learn_peak(problem: Problem, assignment: Assignment, cuts: Cuts) -> Cuts:
    used = memory_bytes(problem, assignment)
    fullest = used.index(max(used))
    found = crossings(problem, assignment, fullest) - cuts.crossings
    if found:
        return replace(cuts, crossings=cuts.crossings | found)
    where = None if _relays(problem, assignment, fullest) else fullest
    floor = Floor(Refuted(assignment, where), used[fullest])
    return cuts if floor in cuts.floors else replace(cuts, floors=(*cuts.floors, floor))


def learn_memory(problem: Problem, assignment: Assignment, cuts: Cuts) -> Cuts:
    """``cuts`` and what excludes ``assignment``; the same cuts when its memory is within limits."""
    for device in overfull(problem, assignment):
        found = crossings(problem, assignment, device) - cuts.crossings
        if found:
            cuts = replace(cuts, crossings=cuts.crossings | found)
            continue
        where = None if _relays(problem, assignment, device) else device
        cuts = replace(cuts, refuted=(*cuts.refuted, Refuted(assignment, where)))
    return cuts


def _relays(problem: Problem, assignment: Sequence[int], device: int) -> bool:
    """Whether anything passes through ``device`` that it does not itself use."""
    for w, link in hops(problem, assignment) or ():
        wire = problem.wires[w]
        users = {assignment[reader] for reader in wire.readers}
        users |= {wire.sink} if wire.is_output else set()
        if problem.link_ends[link][1] == device and device not in users:
            return True
    return False


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


def likely_overlaps(problem: Problem) -> frozenset[tuple[int, int]]:
    """Pairs of layers close to one another in graph order with no path between them."""
    dag = problem.graph.dag()
    index = problem.graph.index
    found: set[tuple[int, int]] = set()
    for layer in problem.graph.layers:
        later = index[layer.name]
        before = {index[name] for name in nx.ancestors(dag, layer.name)}
        nearby = range(max(0, later - _NEARBY), later)
        found |= {(earlier, later) for earlier in nearby if earlier not in before}
    return frozenset(found)


def overlaps(problem: Problem, assignment: Sequence[int]) -> frozenset[tuple[int, int]]:
    """Pairs of layers of which the later waited only because its device was busy."""
    run = timing(problem, assignment).run
    found: set[tuple[int, int]] = set()
    running: dict[int, int] = {}
    for layer, device in enumerate(assignment):
        before = running.get(device)
        if before is not None and _waited(problem, run, layer, device):
            found.add((before, layer))
        running[device] = layer
    return frozenset(found)


def _waited(problem: Problem, run: Run, layer: int, device: int) -> bool:
    """Whether the inputs of ``layer`` had arrived before its device was free."""
    ready = max((run.there_s.get((w, device), inf) for w in problem.reads[layer]), default=0.0)
    return ready < run.start_s[layer] - 1e-12
