"""The integer program: variables for placement and transport, and the rows every objective shares.

One binary x[layer, device] per choice. For every edge (u, v) the transport variables z[d, e] (u on
d, v on e) satisfy two sets of equalities, which is tighter than the three-inequality product form:
sum_e z[d, e] = x[u, d] and sum_d z[d, e] = x[v, e]. A tensor is *sent* to e when any reader there
needs it, so it is sent once whatever the number of readers; a hop on a link counts once even when
the routes to several devices share it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from splitter.memory import aligned
from splitter.partitioning.milp import ONE, Milp, Terms, combine
from splitter.partitioning.problem import Problem, Wire


@dataclass
class PlacementModel:
    """Columns and expressions of one problem; rows are added by `limits` and `objectives`."""

    problem: Problem
    milp: Milp = field(default_factory=Milp)

    def __post_init__(self) -> None:
        # Building `sent` makes all placement and transport columns, and forbids missing routes.
        assert len(self.x) == self.problem.n
        assert len(self.sent) == len(self.problem.wires)

    @cached_property
    def x(self) -> tuple[dict[int, int], ...]:
        """Per layer: the column of each device that it may run on."""
        columns = tuple(
            {d: self.milp.column(0.0, 1.0, integer=True) for d in allowed}
            for allowed in self.problem.allowed
        )
        for choice in columns:
            self.milp.equal(dict.fromkeys(choice.values(), 1.0), {ONE: 1.0})
        return columns

    def on(self, layer: int, device: int) -> Terms:
        """The expression that is 1 when ``layer`` runs on ``device``."""
        column = self.x[layer].get(device)
        return {} if column is None else {column: 1.0}

    def born(self, wire: Wire, device: int) -> Terms:
        """The expression that is 1 when ``wire`` comes into being on ``device``."""
        if wire.is_input:
            return {ONE: 1.0} if device == wire.source else {}
        return self.on(wire.producer, device)

    def seconds_on(self, layer: int, device: int) -> Terms:
        """Seconds that ``layer`` computes on ``device``; 0 when it runs elsewhere."""
        return dict.fromkeys(self.on(layer, device), self.problem.compute[layer][device])

    def compute(self, layer: int) -> Terms:
        """Seconds that ``layer`` computes."""
        return combine(*((self.seconds_on(layer, d), 1.0) for d in self.x[layer]))

    def weight_bytes_on(self, device: int) -> Iterator[tuple[Terms, float]]:
        """(1 when ``device`` holds a constant, its bytes), for every constant."""
        graph = self.problem.graph
        readers: dict[str, list[Terms]] = {}
        for i, layer in enumerate(graph.layers):
            for weight in dict.fromkeys(layer.weights):
                on = self.on(i, device)
                if on:
                    readers.setdefault(weight, []).append(on)
        for weight, terms in readers.items():
            yield self.any_of(terms), float(graph.weight_bytes[weight])

    def scratch_bytes_on(self, layer: int, device: int) -> Terms:
        """Scratch that ``layer`` takes on ``device``."""
        size = aligned(self.problem.graph.layers[layer].scratch_bytes)
        return {column: float(size) for column in self.on(layer, device)}

    @cached_property
    def flow(self) -> dict[tuple[int, int], dict[tuple[int, int], int]]:
        """z: per pair of adjacent layers, the column of each pair of devices."""
        pairs = {
            (wire.producer, reader): None
            for wire in self.problem.wires
            if not wire.is_input
            for reader in wire.readers
        }
        return {pair: self._transport(*pair) for pair in pairs}

    def _transport(self, u: int, v: int) -> dict[tuple[int, int], int]:
        z = {(d, e): self.milp.column(0.0, 1.0) for d in self.x[u] for e in self.x[v]}
        for d in self.x[u]:
            self.milp.equal({z[d, e]: 1.0 for e in self.x[v]}, self.on(u, d))
        for e in self.x[v]:
            self.milp.equal({z[d, e]: 1.0 for d in self.x[u]}, self.on(v, e))
        return z

    def needs(self, w: int, reader: int) -> dict[tuple[int, int], Terms]:
        """Per (home, other device): 1 when ``reader`` runs there and must be sent wire ``w``."""
        wire = self.problem.wires[w]
        if wire.is_input:
            home = wire.source
            return {(home, e): {c: 1.0} for e, c in self.x[reader].items() if e != home}
        flow = self.flow[wire.producer, reader]
        return {(d, e): {column: 1.0} for (d, e), column in flow.items() if d != e}

    @cached_property
    def sent(self) -> tuple[dict[tuple[int, int], Terms], ...]:
        """Per wire and (home, destination): 1 when the tensor is wanted there."""
        return tuple(self._sent(w) for w in range(len(self.problem.wires)))

    def _sent(self, w: int) -> dict[tuple[int, int], Terms]:
        problem, wire = self.problem, self.problem.wires[w]
        wants: dict[tuple[int, int], list[Terms]] = {}
        for reader in wire.readers:
            for key, term in self.needs(w, reader).items():
                wants.setdefault(key, []).append(term)
        found = {key: self.any_of(terms) for key, terms in wants.items()}
        if wire.is_output:
            for d in range(problem.m):
                if d != wire.sink and self.born(wire, d):
                    found[d, wire.sink] = self.born(wire, d)
        self._forbid_missing_routes(w, found)
        return found

    def _forbid_missing_routes(self, w: int, found: dict[tuple[int, int], Terms]) -> None:
        problem = self.problem
        for key, term in found.items():
            route = problem.routes[w].get(key)
            passes = route and {end for link in route.links for end in problem.link_ends[link]}
            private = problem.wires[w].is_input and problem.constraints.private_input
            if not passes or passes & problem.closed or private or self._relayed(passes, key):
                self.milp.equal(term, {})

    def _relayed(self, passes: set[int], ends: tuple[int, int]) -> bool:
        """Whether a route leads through a device that passes nothing on."""
        return bool((passes - set(ends)) & self.problem.rules.no_relay)

    def any_of(self, terms: Sequence[Terms]) -> Terms:
        """An expression that is at least each of ``terms``."""
        if len(terms) == 1:
            return terms[0]
        either = {self.milp.column(0.0, 1.0): 1.0}
        for term in terms:
            self.milp.at_least(either, term)
        return either

    def _one_destination(self, wire: Wire) -> bool:
        return len(wire.readers) + wire.is_output == 1

    @cached_property
    def hop(self) -> tuple[dict[tuple[int, int], Terms], ...]:
        """Per wire and (home, link): 1 when the tensor, made at home, crosses the link."""
        return tuple(self._hop(w) for w in range(len(self.problem.wires)))

    def _hop(self, w: int) -> dict[tuple[int, int], Terms]:
        uses: dict[tuple[int, int], list[Terms]] = {}
        for (d, e), term in self.sent[w].items():
            route = self.problem.routes[w].get((d, e))
            for link in route.links if route else ():
                uses.setdefault((d, link), []).append(term)
        if self._one_destination(self.problem.wires[w]):
            return {key: combine(*((t, 1.0) for t in terms)) for key, terms in uses.items()}
        return {key: self.any_of(terms) for key, terms in uses.items()}

    @cached_property
    def leaves(self) -> tuple[dict[int, Terms], ...]:
        """Per wire and home: 1 when the tensor must outlive its stage there to be sent."""
        return tuple(self._leaves(w) for w in range(len(self.problem.wires)))

    def _leaves(self, w: int) -> dict[int, Terms]:
        wire = self.problem.wires[w]
        found: dict[int, Terms] = {}
        for d in range(self.problem.m):
            born = self.born(wire, d)
            if not born:
                continue
            terms = [term for (home, _), term in self.sent[w].items() if home == d]
            if wire.is_output or wire.is_input:
                found[d] = born
            elif self._one_destination(wire):
                found[d] = combine(*((t, 1.0) for t in terms))
            else:
                found[d] = self.any_of(terms) if terms else {}
        return found

    def arrives(self, w: int, device: int) -> Terms:
        """1 when the tensor is received by ``device``, to be used or passed on."""
        ends = self.problem.link_ends
        return combine(
            *((term, 1.0) for (_, link), term in self.hop[w].items() if ends[link][1] == device)
        )

    def assignment(self, values: Sequence[float]) -> tuple[int, ...]:
        """The placement that a solution encodes."""
        return tuple(max(choice, key=lambda d: values[choice[d]]) for choice in self.x)

    def start(self, assignment: Sequence[int]) -> dict[int, float]:
        """Values of the placement columns for a known assignment."""
        return {
            column: float(assignment[layer] == d)
            for layer, choice in enumerate(self.x)
            for d, column in choice.items()
        }
