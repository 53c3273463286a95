"""A lower bound on the latency, by dynamic programming along paths.

A call is convex, so it holds an interval of every path. Take one path to each node (its *trunk*:
one chosen predecessor after the other). When the node runs on a processor, it ends no earlier than
every predecessor plus its own time. When it runs in a call, the call holds the trunk's nodes from
some first one on, with everything between them; it starts no earlier than the trunk's node before
that, and lasts at least what `LoadBound` says. Along every path no more calls are used than there
are accelerators, so the programme carries their number. Memory enters through the sets between two
nodes of a trunk: no call may hold more than fits.

On a chain this is exact. Any choice of trunks gives a valid bound.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from splitter.partitioning.latency.calls import CallProblem, bits
from splitter.partitioning.latency.load_bound import NOWHERE, LoadBound

Ends = NDArray[np.float64]
"""Least end by the number of calls used on the way, 0 to the number of accelerators."""


@dataclass(frozen=True, slots=True)
class Span:
    """A call along a trunk."""

    inside: int
    entry: int


@dataclass(frozen=True, slots=True)
class PathBound:
    """The bound and the calls along the path that gives it."""

    latency_s: float
    calls: tuple[int, ...]
    """Closed sets, the last one first; they may overlap away from the path."""


def path_bound(
    problem: CallProblem, trunk: tuple[int, ...], loads: LoadBound, deadline_s: float = inf
) -> PathBound:
    """A latency that no plan can beat.

    ``trunk`` names one predecessor of every node, `NOWHERE` for nodes without any. Nodes that are
    not reached before the ``deadline_s`` (of `time.monotonic`) are taken to need no time.
    """
    return _Programme(problem, trunk, loads, deadline_s).run()


class _Programme:
    def __init__(
        self, problem: CallProblem, trunk: tuple[int, ...], loads: LoadBound, deadline_s: float
    ) -> None:
        self.deadline_s = deadline_s
        self.problem = problem
        self.trunk = trunk
        self.loads = loads
        self.on_cpu: list[Ends] = []
        self.along: dict[tuple[int, int], Ends] = {}
        """Least end of a node for a successor outside its call, or for nobody (`NOWHERE`)."""
        self.ends: list[Ends] = []
        """Least end of each node, whoever reads it."""
        self.spans: list[list[tuple[Span, Ends]]] = []
        """Per node: the calls that may end a trunk at it, with their least starts."""

    def run(self) -> PathBound:
        latest, last = 0.0, NOWHERE
        for node in range(self.problem.n):
            late = monotonic() > self.deadline_s
            self.on_cpu.append(self._ready(node) + (0.0 if late else self.problem.cpu_s[node]))
            self.spans.append([] if late else self._spans(node))
            for reader in (*self.problem.after[node], NOWHERE):
                self.along[node, reader] = self._end(node, reader)
            self.ends.append(self.along[node, NOWHERE])
            end = float(self.along[node, NOWHERE][-1])
            if end > latest:
                latest, last = end, node
        return PathBound(latest, tuple(self._trace(last)) if latest < inf else ())

    def _ready(self, node: int) -> Ends:
        """When all predecessors have ended."""
        ready = np.zeros(self.problem.calls + 1)
        for source in self.problem.before[node]:
            np.maximum(ready, self.along[source, node], out=ready)
        return ready

    def _spans(self, node: int) -> list[tuple[Span, Ends]]:
        found: list[tuple[Span, Ends]] = []
        first, inside = node, self.problem.closure(1 << node)
        while self.loads.fits(inside):
            entry = self.trunk[first]
            start = np.full(self.problem.calls + 1, inf)
            start[1:] = 0.0 if entry == NOWHERE else self.along[entry, first][:-1]
            found += self._widened(inside, entry, start)
            if entry == NOWHERE:
                break
            first = entry
            inside = self.problem.closure(1 << first, inside)
        return found

    def _widened(self, inside: int, entry: int, start: Ends) -> Iterator[tuple[Span, Ends]]:
        """Either the source that ends last is outside, and delays the start, or it joins."""
        outside = self.loads.outside(entry, NOWHERE)
        while self.loads.fits(inside) and not inside & outside:
            late = self._latest(self.loads.sources(inside) & ~outside)
            if late == NOWHERE:
                yield Span(inside, entry), start
                return
            delayed = start.copy()
            np.maximum(start[1:], self.ends[late][:-1], out=delayed[1:])
            yield Span(inside, entry), delayed
            if delayed[-1] <= start[-1]:
                return
            inside = self.problem.closure(1 << late, inside)

    def _latest(self, sources: int) -> int:
        """The source with the latest end of those known; a group may hold later nodes."""
        known = sources & ((1 << len(self.ends)) - 1)
        return max(bits(known), key=lambda u: float(self.ends[u][-1]), default=NOWHERE)

    def _end(self, node: int, reader: int) -> Ends:
        least = self.on_cpu[node].copy()
        for span, start in self.spans[node]:
            load_s = self.loads.least_s(span.inside, span.entry, reader)
            np.minimum(least, start + load_s, out=least)
        return least

    def _trace(self, node: int) -> list[int]:
        """Calls on the path that determines the end of ``node``."""
        found: list[int] = []
        reader, calls = NOWHERE, self.problem.calls
        while node != NOWHERE:
            end = self.along[node, reader][calls]
            if end >= self.on_cpu[node][calls]:
                sources = self.problem.before[node]
                reader, here = node, node
                node = max(
                    sources, key=lambda u: float(self.along[u, here][calls]), default=NOWHERE
                )
                continue
            span = min(
                self.spans[node],
                key=lambda s: (
                    float(s[1][calls]) + self.loads.least_s(s[0].inside, s[0].entry, reader)
                ),
            )[0]
            found.append(span.inside)
            calls -= 1
            reader, node = self._first(node, span), span.entry
        return found

    def _first(self, node: int, span: Span) -> int:
        """The trunk's first node inside ``span``."""
        while self.trunk[node] != span.entry:
            node = self.trunk[node]
        return node


def trunks(problem: CallProblem) -> tuple[tuple[int, ...], ...]:
    """Trunks along the longest paths: by time on processors, and by time inside calls."""
    kinds = (problem.cpu_s, problem.call_s)
    return tuple(dict.fromkeys(_longest(problem, weights) for weights in kinds))


def _longest(problem: CallProblem, weights: tuple[float, ...]) -> tuple[int, ...]:
    reach: list[float] = []
    found: list[int] = []
    for node in range(problem.n):
        found.append(max(problem.before[node], key=lambda u: reach[u], default=NOWHERE))
        own = weights[node] if weights[node] < inf else 0.0
        reach.append(own + (reach[found[node]] if found[node] != NOWHERE else 0.0))
    return tuple(found)
