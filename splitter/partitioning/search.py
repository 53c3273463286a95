"""Good plans quickly: splits along the graph order, then moves of layers and of runs of layers.

What it finds only gives the integer program a start and an upper bound; it proves nothing.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import permutations
from time import monotonic

from splitter.objective import Objective
from splitter.partitioning.judge import broken_rules, excess_bytes, fits, value
from splitter.partitioning.problem import Assignment, Problem

_REPAIR_S = 1.5
"""Time for one attempt to make a plan fit."""
_MOST_PARTS = 4
"""Parts of a balanced split: the orders of more devices would be too many to try."""
_BISECTIONS = 30
_TIE_BREAKERS: tuple[Objective, ...] = ("latency", "throughput", "energy")


def first_plan(problem: Problem, objective: Objective, deadline_s: float) -> Assignment | None:
    """The best split along the graph order that respects every limit, improved."""
    ranked = sorted(
        {split: value(problem, objective, split) for split in _splits(problem)}.items(),
        key=lambda item: (item[1], item[0]),
    )
    closest: tuple[int, Assignment] | None = None
    for split, _ in ranked:
        if monotonic() > deadline_s:
            break
        if broken_rules(problem, split):
            continue
        if closest is not None and _weights_excess(problem, split) >= closest[0]:
            continue
        excess = excess_bytes(problem, split)
        if not excess:
            return improve(problem, objective, split, deadline_s)
        if closest is None or excess < closest[0]:
            closest = excess, split
    if closest is None:
        return None
    return repair(problem, objective, closest[1], deadline_s + _REPAIR_S)


def _weights_excess(problem: Problem, assignment: Assignment) -> int:
    """A quick lower bound on `excess_bytes`."""
    held: list[set[str]] = [set() for _ in range(problem.m)]
    for layer, device in zip(problem.graph.layers, assignment, strict=True):
        held[device].update(layer.weights)
    sizes = (sum(problem.graph.weight_bytes[w] for w in names) for names in held)
    return sum(max(0, size - limit) for size, limit in zip(sizes, problem.limits, strict=True))


def repair(
    problem: Problem, objective: Objective, assignment: Assignment, deadline_s: float
) -> Assignment | None:
    """Move layers off overfull devices until all fit, then improve; None when that fails."""
    fitted = _fitted(problem, assignment, min(deadline_s, monotonic() + _REPAIR_S))
    return None if fitted is None else improve(problem, objective, fitted, deadline_s)


def any_plan(problem: Problem, deadline_s: float) -> Assignment | None:
    """Some plan that respects every limit, if a split or moves from the closest one give it."""
    closest: tuple[int, Assignment] | None = None
    for split in dict.fromkeys(_splits(problem)):
        if monotonic() > deadline_s:
            break
        if closest is not None and _weights_excess(problem, split) >= closest[0]:
            continue
        if broken_rules(problem, split):
            continue
        excess = excess_bytes(problem, split)
        if not excess:
            return split
        if closest is None or excess < closest[0]:
            closest = excess, split
    return None if closest is None else _fitted(problem, closest[1], deadline_s)


def _fitted(problem: Problem, assignment: Assignment, patience_s: float) -> Assignment | None:
    """``assignment`` with layers moved off overfull devices until all fit."""
    excess = excess_bytes(problem, assignment)
    while excess:
        for candidate in _moves(problem, assignment):
            if monotonic() > patience_s:
                return None
            if broken_rules(problem, candidate):
                continue
            left = excess_bytes(problem, candidate)
            if left < excess:
                assignment, excess = candidate, left
                break
        else:
            return None
    return assignment if fits(problem, assignment) else None


def _splits(problem: Problem) -> Iterator[Assignment]:
    for first in range(problem.m):
        for second in range(problem.m):
            for cut in range(problem.n if first != second else 1):
                wanted = (first if i < cut else second for i in range(problem.n))
                yield _permitted(problem, wanted)
    for count in range(3, min(problem.m, _MOST_PARTS) + 1):
        for order in permutations(range(problem.m), count):
            yield _balanced(problem, order)


def _permitted(problem: Problem, wanted: Iterable[int]) -> Assignment:
    """``wanted``, with layers that may not run there on the first device that they may."""
    found = [
        d if d in allowed else allowed[0]
        for d, allowed in zip(wanted, problem.allowed, strict=True)
    ]
    for group in problem.rules.together:
        for layer in group:
            found[layer] = found[group[0]]
    return tuple(found)


def _balanced(problem: Problem, order: Sequence[int]) -> Assignment:
    """Consecutive pieces, one per device, such that the slowest piece is as fast as can be."""
    low, high = 0.0, max(sum(row[d] for row in problem.compute) for d in order)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _filled(problem, order, middle) is None:
            low = middle
        else:
            high = middle
    return _permitted(problem, _filled(problem, order, high) or [order[0]] * problem.n)


def _filled(problem: Problem, order: Sequence[int], most_s: float) -> list[int] | None:
    """Fill one device after the other, each for at most ``most_s``; None when layers are left."""
    found: list[int] = []
    part, busy = 0, 0.0
    for row in problem.compute:
        while busy + row[order[part]] > most_s:
            part, busy = part + 1, 0.0
            if part == len(order):
                return None
        busy += row[order[part]]
        found.append(order[part])
    return found


def improve(
    problem: Problem, objective: Objective, assignment: Assignment, deadline_s: float
) -> Assignment:
    """Repeat the first move that makes the plan better until none does."""
    best = assignment
    moved = True
    while moved and monotonic() < deadline_s:
        moved = False
        score = [value(problem, goal, best) for goal in _goals(objective)]
        for candidate in _moves(problem, best):
            if _better(problem, objective, candidate, score) and fits(problem, candidate):
                best, moved = candidate, True
                break
            if monotonic() > deadline_s:
                break
    return best


def _goals(objective: Objective) -> list[Objective]:
    """The objective first; the others decide ties."""
    return [objective, *(other for other in _TIE_BREAKERS if other != objective)]


def _better(
    problem: Problem, objective: Objective, candidate: Assignment, score: Sequence[float]
) -> bool:
    """Whether the candidate is lexicographically smaller by more than rounding."""
    for goal, known in zip(_goals(objective), score, strict=True):
        found = value(problem, goal, candidate)
        if found < known * (1 - 1e-9):
            return True
        if found > known * (1 + 1e-9):
            return False
    return False


def _moves(problem: Problem, assignment: Assignment) -> Iterator[Assignment]:
    """Every change of one run of layers, or of a run's head or tail, to another device."""
    for first, last in _pieces(assignment):
        for device in range(problem.m):
            moved = _with_company(problem, first, last)
            changed = tuple(
                device if i in moved and device in problem.allowed[i] else current
                for i, current in enumerate(assignment)
            )
            if changed != assignment:
                yield changed


def _with_company(problem: Problem, first: int, last: int) -> Collection[int]:
    """The layers from ``first`` to ``last`` and all that must run where one of them does."""
    run = range(first, last + 1)
    groups = problem.rules.together
    if not groups:
        return run
    return set(run).union(*(group for group in groups if any(layer in run for layer in group)))


def _pieces(assignment: Assignment) -> Iterator[tuple[int, int]]:
    starts = [i for i, d in enumerate(assignment) if i == 0 or assignment[i - 1] != d]
    for start, after in zip(starts, [*starts[1:], len(assignment)], strict=True):
        yield start, after - 1
        for i in range(start, after):
            yield start, i
            yield i, after - 1
            yield i, i
