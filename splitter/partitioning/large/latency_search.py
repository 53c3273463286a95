"""Better plans for latency: what is on the critical path moves, in runs.

Every trial is judged by the exact timing, so runs of layers move rather than layers: a stretch of
the graph order that is on one device and holds a part of the critical path, as a whole, its head,
or its tail, to a device nearby.
"""

from collections.abc import Iterator, Sequence
from random import Random
from time import monotonic

from splitter.partitioning.judge import fits, value
from splitter.partitioning.large.tables import Tables
from splitter.partitioning.problem import Assignment
from splitter.partitioning.simulate import timing

_NEAR = 3


def improved(tables: Tables, assignment: Assignment, until_s: float) -> Assignment:
    """A placement that is at least as good as ``assignment``, which holds."""
    problem, random = tables.problem, Random(0)
    best, best_s = assignment, value(problem, "latency", assignment)
    moved = True
    while moved and monotonic() < until_s:
        moved = False
        runs = _critical_runs(tables, best)
        random.shuffle(runs)
        for candidate in _moves(tables, best, runs):
            if monotonic() > until_s:
                break
            reached = value(problem, "latency", candidate)
            if reached < best_s * (1 - 1e-9) and fits(problem, candidate):
                best, best_s, moved = candidate, reached, True
                break
    return best


def _critical_runs(tables: Tables, assignment: Assignment) -> list[tuple[int, int]]:
    """(first, last) of the stretches in graph order, on one device, that hold critical layers."""
    starts = [i for i, d in enumerate(assignment) if i == 0 or assignment[i - 1] != d]
    run_of = [0] * tables.n
    for number, start in enumerate(starts):
        end = starts[number + 1] if number + 1 < len(starts) else tables.n
        run_of[start:end] = [number] * (end - start)
    wanted = {run_of[layer] for layer in _critical(tables, assignment)}
    ends = [*(start - 1 for start in starts[1:]), tables.n - 1]
    return [(starts[number], ends[number]) for number in sorted(wanted)]


def _critical(tables: Tables, assignment: Assignment) -> Iterator[int]:
    """Layers back along the path that ends last: the device's last layer, or the latest input."""
    times = timing(tables.problem, assignment).run
    before: list[int] = []
    last_on: dict[int, int] = {}
    for layer, device in enumerate(assignment):
        before.append(last_on.get(device, -1))
        last_on[device] = layer
    layer = max(range(tables.n), key=times.finish_s.__getitem__)
    while layer >= 0:
        yield layer
        waits = [before[layer]]
        waits += [tables.maker[w] for w in tables.problem.reads[layer]]
        layer = max((w for w in waits if w >= 0), key=times.finish_s.__getitem__, default=-1)


def _moves(
    tables: Tables, assignment: Assignment, runs: Sequence[tuple[int, int]]
) -> Iterator[Assignment]:
    for first, last in runs:
        around = {assignment[i] for i in (first - 1, last + 1) if 0 <= i < tables.n}
        here = assignment[first]
        row = tables.travel[0, here]
        around.update(int(d) for d in row.argsort(kind="stable")[1 : 1 + _NEAR])
        middle = (first + last) // 2
        pieces = dict.fromkeys(((first, last), (first, middle), (middle, last), (first, first)))
        for device in sorted(around - {here}):
            for start, end in pieces:
                yield _changed(tables, assignment, start, end, device)


def _changed(
    tables: Tables, assignment: Assignment, first: int, last: int, device: int
) -> Assignment:
    allowed = tables.problem.allowed
    middle = tuple(
        device if device in allowed[i] else assignment[i] for i in range(first, last + 1)
    )
    return assignment[:first] + middle + assignment[last + 1 :]
