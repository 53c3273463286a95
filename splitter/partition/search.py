"""Good plans quickly: two-part splits, then moves of layers and of runs of layers.

What it finds only gives the integer program a start and an upper bound; it proves nothing.
"""

from collections.abc import Iterator, Sequence
from time import monotonic

from splitter.partition.judge import fits, value
from splitter.partition.problem import Assignment, Problem
from splitter.plan import OBJECTIVES, Objective


def first_plan(problem: Problem, objective: Objective, deadline_s: float) -> Assignment | None:
    """The best of all splits in two along the graph order that respects every limit, improved."""
    ranked = sorted(
        {split: value(problem, objective, split) for split in _splits(problem)}.items(),
        key=lambda item: (item[1], item[0]),
    )
    for split, _ in ranked:
        if monotonic() > deadline_s:
            return None
        if fits(problem, split):
            return improve(problem, objective, split, deadline_s)
    return None


def _splits(problem: Problem) -> Iterator[Assignment]:
    for first in range(problem.m):
        for second in range(problem.m):
            for cut in range(problem.n if first != second else 1):
                wanted = (first if i < cut else second for i in range(problem.n))
                yield tuple(
                    d if d in allowed else allowed[0]
                    for d, allowed in zip(wanted, problem.allowed, strict=True)
                )


def improve(
    problem: Problem, objective: Objective, assignment: Assignment, deadline_s: float
) -> Assignment:
    """Repeat the first move that makes the plan better until none does."""
    best, score = assignment, _score(problem, objective, assignment)
    moved = True
    while moved and monotonic() < deadline_s:
        moved = False
        for candidate in _moves(problem, best):
            found = _score(problem, objective, candidate)
            if _better(found, score) and fits(problem, candidate):
                best, score, moved = candidate, found, True
                break
            if monotonic() > deadline_s:
                break
    return best


def _score(problem: Problem, objective: Objective, assignment: Sequence[int]) -> tuple[float, ...]:
    """The objective first; the other two decide ties."""
    others = [other for other in OBJECTIVES if other != objective]
    return tuple(value(problem, o, assignment) for o in (objective, *others))


def _better(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Lexicographically smaller by more than rounding."""
    for a, b in zip(one, other, strict=True):
        if a < b * (1 - 1e-9):
            return True
        if a > b * (1 + 1e-9):
            return False
    return False


def _moves(problem: Problem, assignment: Assignment) -> Iterator[Assignment]:
    """Every change of one run of layers, or of a run's head or tail, to another device."""
    for first, last in _pieces(assignment):
        for device in range(problem.m):
            changed = tuple(
                device if first <= i <= last and device in problem.allowed[i] else current
                for i, current in enumerate(assignment)
            )
            if changed != assignment:
                yield changed


def _pieces(assignment: Assignment) -> Iterator[tuple[int, int]]:
    starts = [i for i, d in enumerate(assignment) if i == 0 or assignment[i - 1] != d]
    for start, after in zip(starts, [*starts[1:], len(assignment)], strict=True):
        yield start, after - 1
        for i in range(start, after):
            yield start, i
            yield i, after - 1
            yield i, i
