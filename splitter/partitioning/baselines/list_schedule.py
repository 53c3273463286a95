"""Greedy list scheduling: the most urgent layer first, where it ends soonest."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

from splitter.memory import NODE_OVERHEAD_BYTES
from splitter.objective import Objective
from splitter.partitioning.baselines.method import DoesNotApplyError
from splitter.partitioning.problem import Assignment, Problem


@dataclass(frozen=True, slots=True)
class ListSchedule:
    """HEFT (Topcuoglu, Hariri and Wu, IEEE TPDS 2002).

    Layers by decreasing upward rank (mean computing and sending on the longest way to the end),
    each on the device where it ends soonest, gaps included. Deviations: pins and bans hold, layers
    to be kept together follow the first of them, and a device whose weights would not fit is passed
    over; other rules are only judged afterwards. It minimises the latency whatever the objective.
    """

    paper: ClassVar[str] = "HEFT, TPDS 2002"

    def propose(self, problem: Problem, objective: Objective) -> Assignment:
        """Place one layer after the other."""
        del objective
        schedule = _Schedule(problem)
        ranks = _upward_ranks(problem)
        for layer in sorted(range(problem.n), key=lambda v: (-ranks[v], v)):
            schedule.place(layer)
        return tuple(schedule.device)


def _upward_ranks(problem: Problem) -> list[float]:
    ranks = [0.0] * problem.n
    for layer in reversed(range(problem.n)):
        after = 0.0
        for w in problem.makes[layer]:
            sending = _mean_s(problem, w)
            after = max([after, *(sending + ranks[v] for v in problem.wires[w].readers)])
        computing = [problem.compute[layer][d] for d in problem.allowed[layer]]
        ranks[layer] = sum(computing) / len(computing) + after
    return ranks


def _mean_s(problem: Problem, w: int) -> float:
    """Mean over all links of what sending the tensor takes: routes of many hops are not averaged,
    for the sake of large networks.
    """
    seconds = [link.seconds(problem.wires[w].bytes) for link in problem.links]
    return sum(seconds) / len(seconds) if seconds else 0.0


@dataclass
class _Schedule:
    """Who runs where and when, so far."""

    problem: Problem
    device: list[int] = field(default_factory=list)
    end_s: list[float] = field(default_factory=list)
    busy: list[list[tuple[float, float]]] = field(default_factory=list)
    held: list[set[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.device = [-1] * self.problem.n
        self.end_s = [0.0] * self.problem.n
        self.busy = [[] for _ in range(self.problem.m)]
        self.held = [set() for _ in range(self.problem.m)]

    def place(self, layer: int) -> None:
        """Run ``layer`` where it ends soonest."""
        ends = {d: self._end_s(layer, d) for d in self._choices(layer)}
        where = min(ends, key=lambda d: (ends[d], d), default=-1)
        if where < 0 or ends[where] == inf:
            name = self.problem.graph.layers[layer].name
            raise DoesNotApplyError(f"it comes to {name} when no device is left for it")
        self.device[layer], self.end_s[layer] = where, ends[where]
        self.busy[where].append((ends[where] - self.problem.compute[layer][where], ends[where]))
        self.busy[where].sort()
        self.held[where].update(self.problem.graph.layers[layer].weights)

    def _choices(self, layer: int) -> list[int]:
        for group in self.problem.rules.together:
            placed = [self.device[v] for v in group if layer in group and self.device[v] >= 0]
            if placed:
                return placed[:1]
        sizes = self.problem.graph.weight_bytes
        weights = self.problem.graph.layers[layer].weights
        return [
            d
            for d in self.problem.allowed[layer]
            if sum(sizes[w] for w in self.held[d].union(weights))
            <= self.problem.limits[d] - NODE_OVERHEAD_BYTES
        ]

    def _end_s(self, layer: int, device: int) -> float:
        ready = max((self._there_s(w, device) for w in self.problem.reads[layer]), default=0.0)
        seconds = self.problem.compute[layer][device]
        return _gap_s(self.busy[device], ready, seconds) + seconds

    def _there_s(self, w: int, device: int) -> float:
        wire = self.problem.wires[w]
        home = wire.source if wire.is_input else self.device[wire.producer]
        made = 0.0 if wire.is_input else self.end_s[wire.producer]
        if home == device:
            return made
        route = self.problem.routes[w].get((home, device))
        return inf if route is None else made + route.seconds


def _gap_s(busy: Sequence[tuple[float, float]], ready: float, seconds: float) -> float:
    """When a free span of ``seconds`` begins."""
    at = ready
    for start, end in busy:
        if at + seconds <= start:
            return at
        at = max(at, end)
    return at
