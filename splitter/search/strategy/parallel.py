"""Rows for one request whose branches run at once: devices and media take turns, vertices in order.

finish[v] >= finish[u] + moving + computing for every edge; vertices without a path between them
may not overlap on one device, in vertex order; before a vertex starts, every device and medium
has done its share of what lies before it (the rows that carry the bound). How tensors queue is
known only once they are placed: `learn` adds the turns of two tensors that met on a medium, or, if
those are known already, the exact time of that very choice. All rows hold for every choice, so the
program's bound is one.
"""

from collections.abc import Mapping
from functools import cached_property
from math import inf

from splitter.partitioning.milp import ONE, Terms, combine
from splitter.search.strategy.judge import Simulated
from splitter.search.strategy.problem import INPUT, Joint, Move
from splitter.search.strategy.rows import SINK, JointModel

_SCALE = 1000.0
"""The horizon in units of the program."""
Crossing = tuple[int, int, int, int]
"""(producer, from, to, number of the hop on that way)."""


class ParallelRows:
    """Finish times and what they have to wait for.

    Args:
        model: the choice of options and devices.
        horizon_s: no solution that matters takes longer.
    """

    def __init__(self, model: JointModel, horizon_s: float) -> None:
        self.model, self.milp, self.problem = model, model.milp, model.problem
        self.total_s = _longest_s(model)
        self.unit_s = min(horizon_s, self.total_s) / _SCALE or 1.0
        self.end = self.milp.column()
        self.finish = [self.milp.column() for _ in self.problem.vertices]
        self.starts: dict[Crossing, Terms] = {}
        self.turns: set[tuple[Crossing, Crossing]] = set()

    def latency(self) -> Terms:
        """Add all rows; seconds of one request."""
        for v in range(len(self.problem.vertices)):
            self._follow(v)
        for u in self.problem.ends:
            self._at_least_end(combine((self._done(u), 1.0), (self._moving(u, SINK), 1.0)))
        self._add_shares()
        self._add_devices()
        return {self.end: self.unit_s}

    def _at_least_end(self, terms: Terms) -> None:
        self.milp.at_least({self.end: 1.0}, terms)

    def _done(self, u: int) -> Terms:
        return {} if u == INPUT else {self.finish[u]: 1.0}

    def _computing(self, v: int, device: int | None = None) -> Terms:
        options = self.problem.vertices[v].options
        return {
            column: options[o].seconds[d] / self.unit_s
            for (o, d), column in self.model.x[v].items()
            if device in (None, d)
        }

    def _moving(self, u: int, v: int) -> Terms:
        parts = [
            (term, move.seconds / self.unit_s)
            for ((size, _), d, e), term in self.model.transport[u, v].items()
            if d != e and (move := self.problem.move(size, d, e)) is not None
        ]
        return combine(*parts)

    def _follow(self, v: int) -> None:
        for u in self.problem.vertices[v].inputs:
            parts = (self._done(u), 1.0), (self._moving(u, v), 1.0), (self._computing(v), 1.0)
            self.milp.at_least(self._done(v), combine(*parts))

    @cached_property
    def before(self) -> tuple[frozenset[int], ...]:
        """Per vertex: all that its inputs depend on."""
        found: list[frozenset[int]] = []
        for vertex in self.problem.vertices:
            inputs = [u for u in vertex.inputs if u != INPUT]
            found.append(frozenset(inputs).union(*(found[u] for u in inputs)))
        return tuple(found)

    @cached_property
    def wanted(self) -> frozenset[int]:
        """Vertices that the outputs depend on."""
        ends = self.problem.ends
        return frozenset(ends).union(*(self.before[u] for u in ends))

    def _add_shares(self) -> None:
        """What every device and medium has to do before a vertex, and in all."""
        for v, own in enumerate(self.before):
            for share in self._shares(own, {v}):
                self.milp.at_least(self._done(v), combine((share, 1.0), (self._computing(v), 1.0)))
        for share in self._shares(self.wanted, {SINK}):
            self._at_least_end(share)

    def _shares(self, done: frozenset[int], readers: set[int]) -> list[Terms]:
        """Work of each device and medium on ``done`` and on the way to it and ``readers``."""
        found = [
            combine(*((self._computing(u, d), 1.0) for u in done))
            for d in range(len(self.problem.devices))
        ]
        media: dict[int, list[tuple[Terms, float]]] = {}
        for (u, size, d, e), term in self.model.sent.items():
            read_by = {v for w, v in self.model.transport if w == u}
            move = self.problem.move(size, d, e)
            if move is not None and (u == INPUT or u in done) and read_by <= done | readers:
                for hop in move.hops:
                    media.setdefault(hop.medium, []).append((term, hop.busy_s / self.unit_s))
        return [share for share in found + [combine(*parts) for parts in media.values()] if share]

    def _add_devices(self) -> None:
        """Two vertices on one device take turns, in vertex order."""
        for v in range(len(self.problem.vertices)):
            for u in range(v):
                if u not in self.before[v]:
                    for d in set(self.problem.allowed(u)) & set(self.problem.allowed(v)):
                        self._take_turns(u, v, d)

    def _take_turns(self, u: int, v: int, device: int) -> None:
        apart = self._apart(self.model.on(u, device), self.model.on(v, device))
        parts = (self._done(u), 1.0), (self._computing(v), 1.0), (apart, -self._most(u))
        self.milp.at_least(self._done(v), combine(*parts))

    def _most(self, *vertices: int) -> float:
        """No finish of these is later; what no output depends on may finish past the horizon."""
        kept = all(u == INPUT or u in self.wanted for u in vertices)
        return _SCALE if kept else self.total_s / self.unit_s

    def _apart(self, *both: Terms) -> Terms:
        """0 when all of these are 1, else at least 1."""
        return combine(({ONE: float(len(both))}, 1.0), *((one, -1.0) for one in both))

    def learn(self, joint: Joint, found: Simulated) -> None:
        """Rows that this choice evaded: it takes longer than the program believes."""
        new = False
        for first, second in found.waits:
            if (first, second) not in self.turns and (second, first) not in self.turns:
                self.turns.add((first, second))
                self._queue(first, second)
                new = True
        if not new:
            self._exact(joint, found.seconds / self.unit_s)

    def _exact(self, joint: Joint, units: float) -> None:
        picked = [
            ({own[pair]: 1.0}, 1.0)
            for own, pair in zip(
                self.model.x, zip(joint.options, joint.devices, strict=True), strict=True
            )
        ]
        other = combine(({ONE: float(len(picked))}, 1.0), (combine(*picked), -1.0))
        self._at_least_end(combine(({ONE: units}, 1.0), (other, -units)))

    def _queue(self, first: Crossing, second: Crossing) -> None:
        """One of two tensors goes first when both cross the same medium."""
        apart = self._apart(self._crosses(first), self._crosses(second))
        order = {self.milp.column(0.0, 1.0, integer=True): 1.0}
        late = combine(({ONE: 1.0}, 1.0), (order, -1.0))
        most = self._most(first[0], second[0])
        for one, other, not_so in ((first, second, late), (second, first, order)):
            left = combine((self._start(one), 1.0), (self._on_the_way(one, here=True), 1.0))
            slack = combine((not_so, most), (apart, most))
            self.milp.at_least(self._start(other), combine((left, 1.0), (slack, -1.0)))

    def _moves(self, crossing: Crossing) -> Mapping[int, tuple[Terms, Move]]:
        """By size: whether a tensor of that size goes this way, and how."""
        u, d, e, _ = crossing
        return {
            size: (term, move)
            for (w, size, start, end), term in self.model.sent.items()
            if (w, start, end) == (u, d, e) and (move := self.problem.move(size, d, e)) is not None
        }

    def _crosses(self, crossing: Crossing) -> Terms:
        return combine(*((term, 1.0) for term, _ in self._moves(crossing).values()))

    def _on_the_way(self, crossing: Crossing, *, here: bool = False, after: bool = False) -> Terms:
        """Units on the medium of this hop, or on earlier hops, or from this hop to the end."""
        number = crossing[3]
        parts = []
        for term, move in self._moves(crossing).values():
            hops = move.hops[number:] if after else move.hops[:number]
            seconds = sum(hop.busy_s + hop.delay_s for hop in hops)
            parts.append((term, (move.hops[number].busy_s if here else seconds) / self.unit_s))
        return combine(*parts)

    def _start(self, crossing: Crossing) -> Terms:
        """When a tensor gets onto a medium; its readers start after it has arrived."""
        if crossing not in self.starts:
            self.starts[crossing] = {self.milp.column(): 1.0}
            self._bind(crossing, self.starts[crossing])
        return self.starts[crossing]

    def _bind(self, crossing: Crossing, start: Terms) -> None:
        u, d, e, _ = crossing
        ready = combine((self._done(u), 1.0), (self._on_the_way(crossing), 1.0))
        self.milp.at_least(start, ready)
        there = combine((start, 1.0), (self._on_the_way(crossing, after=True), 1.0))
        for (w, v), z in self.model.transport.items():
            if w != u:
                continue
            comes = combine(*((t, 1.0) for (_, a, b), t in z.items() if (a, b) == (d, e)))
            slack = combine((self._apart(comes), self._most(u) + _SCALE))
            if v == SINK:
                self._at_least_end(combine((there, 1.0), (slack, -1.0)))
            else:
                later = combine((there, 1.0), (self._computing(v), 1.0), (slack, -1.0))
                self.milp.at_least(self._done(v), later)


def _longest_s(model: JointModel) -> float:
    """One thing after the other, each as slow as can be."""
    problem, longest = model.problem, 0.0
    for vertex in problem.vertices:
        longest += max(max(option.seconds) for option in vertex.options)
    worst: dict[tuple[int, int, int], float] = {}
    for u, size, d, e in model.sent:
        move = problem.move(size, d, e)
        if move is not None:
            worst[u, d, e] = max(worst.get((u, d, e), 0.0), move.seconds)
    return longest + sum(worst.values()) or inf
