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
from splitter.partitioning.latency.load_bound import NOWHERE, Held, LoadBound

Ends = NDArray[np.float64]
"""Least end by the number of calls used on the way, 0 to the number of accelerators."""


@dataclass(frozen=True, slots=True)
class Span:
    """A call along a trunk."""

    held: Held
    """What the call must hold."""
    entry: int
    start: Ends


@dataclass(frozen=True, slots=True)
class PathBound:
    """The bound and the calls along the path that gives it."""

    latency_s: float
    calls: tuple[int, ...]
    """Closed sets, the last one first; they may overlap away from the path."""


def path_bound(
    problem: CallProblem,
    trunk: tuple[int, ...] | None,
    loads: LoadBound,
    deadline_s: float = inf,
) -> PathBound:
    """A latency that no plan can beat.

    ``trunk`` names one predecessor of every node, `NOWHERE` for nodes without any; when none is
    given, it is the predecessor for which the node has to wait longest. Nodes that are
    not reached before the ``deadline_s`` (of `time.monotonic`) take the least time they can.
    """
    return _Programme(problem, trunk, loads, deadline_s).run()


class _Programme:
    def __init__(
        self,
        problem: CallProblem,
        trunk: tuple[int, ...] | None,
        loads: LoadBound,
        deadline_s: float,
    ) -> None:
        self.deadline_s = deadline_s
        self.problem = problem
        self.given = trunk
        self.trunk: list[int] = []
        self.loads = loads
        self.on_cpu: list[Ends] = []
        self.along: dict[tuple[int, int], Ends] = {}
        """Least end of a node for a successor outside its call, or for nobody (`NOWHERE`)."""
        self.ends: list[Ends] = []
        """Least end of each node, whoever reads it."""
        self.shortest = _shortest(problem)
        self.spans: list[list[Span]] = []
        """Per node: the calls that lowered what is known to end a trunk at it."""

    def run(self) -> PathBound:
        latest, last = 0.0, NOWHERE
        for node in range(self.problem.n):
            late = monotonic() > self.deadline_s
            self.trunk.append(self._waited_for(node) if self.given is None else self.given[node])
            self.on_cpu.append(self._at_least(node) if late else self._on_cpu(node))
            self.spans.append([])
            readers = (*self.problem.after[node], NOWHERE)
            least = {reader: self.on_cpu[node].copy() for reader in readers}
            if not late:
                self._call(node, least)
            self.along |= {(node, reader): end for reader, end in least.items()}
            self.ends.append(least[NOWHERE])
            end = float(least[NOWHERE][-1])
            if end > latest:
                latest, last = end, node
        return PathBound(latest, tuple(self._trace(last)) if latest < inf else ())

    def _waited_for(self, node: int) -> int:
        """The predecessor that ends last, first of all with as many calls as there are."""
        return max(
            self.problem.before[node],
            key=lambda u: tuple(self.along[u, node][::-1]),
            default=NOWHERE,
        )

    def _on_cpu(self, node: int) -> Ends:
        """The end after all predecessors, which have ended outside."""
        ready = np.zeros(self.problem.calls + 1)
        for source in self.problem.before[node]:
            np.maximum(ready, self.along[source, node], out=ready)
        return ready + self.problem.cpu_s[node]

    def _at_least(self, node: int) -> Ends:
        """After the predecessors, and after the longest path when all take their least times."""
        ready = np.full(self.problem.calls + 1, self.shortest[node])
        for source in self.problem.before[node]:
            np.maximum(ready, self.ends[source], out=ready)
        return ready

    def _call(self, node: int, least: dict[int, Ends]) -> None:
        """Lower ``least``, per reader, to what calls that end a trunk at ``node`` can reach."""
        spans = [(self._quick_s(span), span) for span in self._spans(node)]
        for quick_s, span in sorted(spans, key=lambda pair: pair[0] + float(pair[1].start[-1])):
            if any(quick_s < _needed_s(span, end) for end in least.values()):
                for wider in self._widened(span):
                    self._lower(wider, node, least)

    def _spans(self, node: int) -> Iterator[Span]:
        """One call from each node of the trunk on, as long as it fits."""
        first, held = node, Held().wider(self.problem, node)
        while self._fits(held):
            entry = self.trunk[first]
            start = np.full(self.problem.calls + 1, inf)
            start[1:] = 0.0 if entry == NOWHERE else self.along[entry, first][:-1]
            yield Span(held, entry, start)
            if entry == NOWHERE:
                return
            first, held = entry, held.wider(self.problem, entry)

    def _fits(self, held: Held) -> bool:
        problem = self.problem
        return not held.inside & problem.stuck and held.size_bytes <= problem.most_bytes

    def _quick_s(self, span: Span) -> float:
        """What the call takes at least, whoever reads its last node, as sources may all join."""
        problem, held = self.problem, span.held
        outside = self.loads.outside(span.entry, NOWHERE) | problem.stuck
        total = held.call_s
        for source in bits(held.sources):
            move_s = problem.tensor_s[source]
            total += move_s if outside >> source & 1 else min(move_s, problem.call_s[source])
        return total

    def _lower(self, span: Span, node: int, least: dict[int, Ends]) -> None:
        quick_s, sent_s, lowered = self._quick_s(span), self.problem.tensor_s[node], False
        for reader, end in least.items():
            needed_s = _needed_s(span, end)
            if quick_s + (0.0 if reader == NOWHERE else sent_s) < needed_s:
                load_s = self.loads.least_s(span.held, span.entry, reader, needed_s)
                lowered |= load_s < needed_s
                np.minimum(end, span.start + load_s, out=end)
        if lowered:
            self.spans[node].append(span)

    def _widened(self, span: Span) -> Iterator[Span]:
        """Either the source that ends last is outside, and delays the start, or it joins."""
        held, start = span.held, span.start
        outside = self.loads.outside(span.entry, NOWHERE)
        while self._fits(held) and not held.inside & outside:
            late = self._latest(held.sources & ~outside)
            if late == NOWHERE:
                yield Span(held, span.entry, start)
                return
            delayed = start.copy()
            np.maximum(start[1:], self.ends[late][:-1], out=delayed[1:])
            yield Span(held, span.entry, delayed)
            if delayed[-1] <= start[-1]:
                return
            held = held.wider(self.problem, late)

    def _latest(self, sources: int) -> int:
        """The source with the latest end of those known; a group may hold later nodes."""
        known = sources & ((1 << len(self.ends)) - 1)
        return max(bits(known), key=lambda u: float(self.ends[u][-1]), default=NOWHERE)

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
                key=lambda s: float(s.start[calls]) + self.loads.least_s(s.held, s.entry, reader),
            )
            found.append(span.held.inside)
            calls -= 1
            reader, node = self._first(node, span), span.entry
        return found

    def _first(self, node: int, span: Span) -> int:
        """The trunk's first node inside ``span``."""
        while self.trunk[node] != span.entry:
            node = self.trunk[node]
        return node


def _needed_s(span: Span, end: Ends) -> float:
    """A call that takes this long or longer ends no earlier than what is known."""
    possible = span.start < inf
    return float((end[possible] - span.start[possible]).max(initial=0.0))


def _shortest(problem: CallProblem) -> list[float]:
    """The longest path to each node when every node takes the least time it can."""
    found: list[float] = []
    for node, sources in enumerate(problem.before):
        ready = max((found[source] for source in sources), default=0.0)
        found.append(ready + min(problem.cpu_s[node], problem.call_s[node]))
    return found


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
