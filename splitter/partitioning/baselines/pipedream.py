"""The stages of a pipeline whose slowest stage or transfer is as fast as can be."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from splitter.memory import NODE_OVERHEAD_BYTES
from splitter.objective import Objective
from splitter.partitioning.baselines.method import DoesNotApplyError, runs
from splitter.partitioning.problem import Assignment, Problem

_MOST_LAYERS = 3000
"""The tables have the square of this many entries."""
Table = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PipeDream:
    """PipeDream's dynamic programme (Narayanan et al., SOSP 2019), for one level of workers.

    best[j, d] = min over i, c of max(best[i, c], transfer of what crosses i from c to d, time of
    the layers i to j on d). Deviations: workers may differ, so stages go to devices in the
    topology's order, any of which may be left out, and a transfer takes its route's time; no stage
    is replicated; a stage's weights must fit its device and pins and bans hold; other rules are
    only judged afterwards. It minimises the period whatever the objective.
    """

    paper: ClassVar[str] = "PipeDream, SOSP 2019"

    def propose(self, problem: Problem, objective: Objective) -> Assignment:
        """Stages along the graph's order."""
        del objective
        if problem.n > _MOST_LAYERS:
            raise DoesNotApplyError(f"its tables are too large for more than {_MOST_LAYERS} layers")
        stages = [_stage_s(problem, device) for device in range(problem.m)]
        best = np.full((problem.m, problem.n + 1), np.inf)
        came: dict[tuple[int, int], tuple[int, int]] = {}
        for device in range(problem.m):
            first = np.array([_input_s(problem, device)])
            _relax(best, came, device, -1, first, stages[device])
            for before in range(device):
                reached = np.maximum(best[before], _crossing_s(problem, before, device))
                _relax(best, came, device, before, reached, stages[device])
        ends = [max(best[d, -1], _output_s(problem, d)) for d in range(problem.m)]
        last = int(np.argmin(ends))
        if not np.isfinite(ends[last]):
            raise DoesNotApplyError("no stages in the order of devices fit memory, pins and bans")
        return _traced(came, last, problem.n)


def _relax(
    best: Table,
    came: dict[tuple[int, int], tuple[int, int]],
    device: int,
    before: int,
    reached: Table,
    stage: Table,
) -> None:
    """Let ``device`` follow ``before``, which has done the layers up to i in ``reached[i]``."""
    whole = np.maximum(reached[:, None], stage[: len(reached)])
    at = np.argmin(whole, axis=0)
    value = whole[at, np.arange(whole.shape[1])]
    for end in np.flatnonzero(value < best[device]):
        best[device, end] = value[end]
        came[device, int(end)] = (before, int(at[end]))


def _traced(came: dict[tuple[int, int], tuple[int, int]], device: int, n: int) -> Assignment:
    bounds: list[tuple[int, int]] = []
    end = n
    while device >= 0:
        bounds.append((device, end))
        device, end = came[device, end]
    return runs(reversed(bounds), n)


def _stage_s(problem: Problem, device: int) -> Table:
    """[i, j]: seconds of the layers i to j - 1; infinite where they may not or cannot be there."""
    n = problem.n
    seconds = [
        row[device] if device in allowed else np.inf
        for row, allowed in zip(problem.compute, problem.allowed, strict=True)
    ]
    weights = [problem.graph.layer_weight_bytes(layer) for layer in problem.graph.layers]
    room = problem.limits[device] - NODE_OVERHEAD_BYTES
    table = np.full((n + 1, n + 1), np.inf)
    for i in range(n):
        sums = np.cumsum(seconds[i:])
        sums[np.cumsum(weights[i:]) > room] = np.inf
        table[i, i + 1 :] = sums
    return table


def _crossing_s(problem: Problem, start: int, end: int) -> Table:
    """[i]: seconds of all tensors made before layer i and read from i on."""
    steps = np.zeros(problem.n + 2)
    for w, wire in enumerate(problem.wires):
        if wire.is_input or not wire.readers:
            continue
        route = problem.routes[w].get((start, end))
        seconds = np.inf if route is None else route.seconds
        for at in range(wire.producer + 1, max(wire.readers) + 1):
            steps[at] += seconds
    return steps[: problem.n + 1]


def _input_s(problem: Problem, device: int) -> float:
    seconds = [0.0]
    for w, wire in enumerate(problem.wires):
        if wire.is_input and wire.source != device:
            route = problem.routes[w].get((wire.source, device))
            seconds.append(np.inf if route is None else route.seconds)
    return sum(seconds)


def _output_s(problem: Problem, device: int) -> float:
    seconds = [0.0]
    for w, wire in enumerate(problem.wires):
        if wire.is_output and not wire.is_input and wire.sink != device:
            route = problem.routes[w].get((device, wire.sink))
            seconds.append(np.inf if route is None else route.seconds)
    return sum(seconds)
