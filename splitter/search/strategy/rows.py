"""Columns and rows of the JMSNAS integer program.

x[vertex, option, device] is binary. For every edge (u, v) and kind of output g of u (size and
label), the transport variables z[g, d, e] satisfy sum_e z[g, d, e] = sum of x[u, o in g, d] and,
label by label, sum_d z[g, d, e] = sum of x[v, o that takes the label, e]: tighter than products
bounded one by one, and choice consistency comes with it. Terms of pairs of slots are products of
the same kind: y[c, c'] with both marginals equal to the choices'.
"""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import isfinite

from splitter.partitioning.milp import ONE, Milp, Terms, combine
from splitter.search.strategy.problem import INPUT, Goal, Joint, JointProblem

SINK = -2
"""Stands for who wants the outputs, as a reader."""
Kind = tuple[int, int]
"""(size in bytes, label) of an output."""


@dataclass
class JointModel:
    """The program under construction."""

    problem: JointProblem
    goal: Goal
    milp: Milp = field(default_factory=Milp)

    @cached_property
    def x(self) -> tuple[dict[tuple[int, int], int], ...]:
        """Per vertex: the column of each (option, device)."""
        columns = tuple(
            {
                (o, d): self.milp.column(0.0, 1.0, integer=True)
                for o in range(len(vertex.options))
                for d in self.problem.allowed(v)
            }
            for v, vertex in enumerate(self.problem.vertices)
        )
        for own in columns:
            self.milp.equal(dict.fromkeys(own.values(), 1.0), {ONE: 1.0})
        return columns

    def kinds(self, u: int) -> dict[Kind, list[int]]:
        """Options of ``u`` by the kind of their output; the model's input is one kind."""
        if u == INPUT:
            return {(self.problem.input_bytes, -1): []}
        found: dict[Kind, list[int]] = {}
        for o, option in enumerate(self.problem.vertices[u].options):
            found.setdefault((option.output_bytes, option.gives), []).append(o)
        return found

    def born(self, u: int, kind: Kind, device: int) -> Terms:
        """1 when ``u`` makes an output of ``kind`` on ``device``."""
        if u == INPUT:
            return {ONE: 1.0} if device == self.problem.source else {}
        return {self.x[u][o, device]: 1.0 for o in self.kinds(u)[kind] if (o, device) in self.x[u]}

    def taken(self, v: int, label: int | None, device: int) -> Terms:
        """1 when ``v`` runs on ``device`` with an option that takes ``label``."""
        options = self.problem.vertices[v].options
        return {
            column: 1.0
            for (o, d), column in self.x[v].items()
            if d == device and (label is None or options[o].takes == label)
        }

    @cached_property
    def transport(self) -> dict[tuple[int, int], dict[tuple[Kind, int, int], Terms]]:
        """By (producer, reader): z of each (kind, from, to); the reader may be the sink."""
        edges = [(u, v) for v, x in enumerate(self.problem.vertices) for u in x.inputs]
        found = {edge: self._edge(*edge) for edge in edges}
        sink = self.problem.sink
        for u in self.problem.ends:
            found[u, SINK] = {
                (kind, d, sink): self.born(u, kind, d)
                for kind in self.kinds(u)
                for d in self.problem.allowed(u)
            }
        return found

    def _edge(self, u: int, v: int) -> dict[tuple[Kind, int, int], Terms]:
        homes = (self.problem.source,) if u == INPUT else self.problem.allowed(u)
        ends = self.problem.allowed(v)
        if u == INPUT:
            (kind,) = self.kinds(u)
            return {(kind, homes[0], e): self.taken(v, None, e) for e in ends}
        z: dict[tuple[Kind, int, int], Terms] = {
            (kind, d, e): {self.milp.column(0.0, 1.0): 1.0}
            for kind in self.kinds(u)
            for d in homes
            for e in ends
        }
        for kind in self.kinds(u):
            for d in homes:
                leaving = combine(*((z[kind, d, e], 1.0) for e in ends))
                self.milp.equal(leaving, self.born(u, kind, d))
        taken = {o.takes for o in self.problem.vertices[v].options}
        for label in sorted(taken | {label for _, label in self.kinds(u)}):
            same = [kind for kind in self.kinds(u) if kind[1] == label]
            for e in ends:
                arriving = combine(*((z[kind, d, e], 1.0) for kind in same for d in homes))
                self.milp.equal(arriving, self.taken(v, label, e))
        return z

    @cached_property
    def sent(self) -> dict[tuple[int, int, int, int], Terms]:
        """By (producer, bytes, from, to): 1 when a tensor of that size crosses, once for all."""
        wishes: dict[tuple[int, int, int, int], dict[int, list[Terms]]] = {}
        for (u, v), z in self.transport.items():
            for ((size, _), d, e), term in z.items():
                if term and d != e:
                    wishes.setdefault((u, size, d, e), {}).setdefault(v, []).append(term)
        return {where: self._any_of(by_reader) for where, by_reader in wishes.items()}

    def _any_of(self, by_reader: dict[int, list[Terms]]) -> Terms:
        sums = [combine(*((t, 1.0) for t in terms)) for terms in by_reader.values()]
        if len(sums) == 1:
            return sums[0]
        either = {self.milp.column(0.0, 1.0): 1.0}
        for one in sums:
            self.milp.at_least(either, one)
        return either

    def add_limits(self) -> None:
        """Everything that is not about time or accuracy."""
        self.forbid_missing_links()
        self.add_stages()
        self.add_memory()
        self.add_cuts()
        self.add_excluded()

    def forbid_missing_links(self) -> None:
        """Nothing is sent where no path leads."""
        for (_, size, d, e), term in self.sent.items():
            if self.problem.move(size, d, e) is None:
                self.milp.equal(term, {})

    def computing(self, device: int) -> Terms:
        """Seconds that ``device`` computes."""
        return {
            column: vertex.options[o].seconds[d]
            for vertex, own in zip(self.problem.vertices, self.x, strict=True)
            for (o, d), column in own.items()
            if d == device
        }

    def latency(self) -> Terms:
        """Seconds of one request, one thing after the other."""
        parts = [(self.computing(d), 1.0) for d in range(len(self.problem.devices))]
        for (_, size, d, e), term in self.sent.items():
            move = self.problem.move(size, d, e)
            if move is not None:
                parts.append((term, move.seconds))
        return combine(*parts)

    def period(self) -> Terms:
        """Seconds between requests of a pipeline."""
        period = {self.milp.column(): 1.0}
        media: dict[int, list[tuple[Terms, float]]] = {}
        for (_, size, d, e), term in self.sent.items():
            move = self.problem.move(size, d, e)
            for hop in move.hops if move is not None else ():
                media.setdefault(hop.medium, []).append((term, hop.busy_s))
        for d in range(len(self.problem.devices)):
            self.milp.at_least(period, self.computing(d))
        for parts in media.values():
            self.milp.at_least(period, combine(*parts))
        return period

    def add_memory(self) -> None:
        """Weights, the largest working set and what crosses links fit every device."""
        for d in range(len(self.problem.devices)):
            if isfinite(self.problem.limit(d)):
                self._add_memory(d)

    def _add_memory(self, device: int) -> None:
        problem = self.problem
        held: list[tuple[Terms, float]] = []
        for vertex, own in zip(problem.vertices, self.x, strict=True):
            weights = {
                column: float(vertex.options[o].weight_bytes)
                for (o, d), column in own.items()
                if d == device
            }
            held.append((weights, 1.0))
        for (_, size, d, e), term in self.sent.items():
            move = problem.move(size, d, e)
            times = (d, e, *(move.through if move is not None else ())).count(device)
            held.append((term, float(times * problem.in_flight * size)))
        unit = max(problem.limit(device), 1.0)
        # One column for the largest working set keeps the long sum in one row.
        peak = {self.milp.column(): 1.0}
        for own, vertex in zip(self.x, problem.vertices, strict=True):
            working = {
                column: vertex.options[o].working_bytes / unit
                for (o, d), column in own.items()
                if d == device
            }
            self.milp.at_least(peak, working)
        room: Terms = {ONE: problem.limit(device) / unit}
        self.milp.at_least(room, combine((combine(*held), 1 / unit), (peak, 1.0)))

    def on(self, v: int, device: int) -> Terms:
        """1 when vertex ``v`` runs on ``device``."""
        return self.taken(v, None, device)

    def chosen(self, v: int) -> dict[int, Terms]:
        """Per choice of the space: 1 when vertex ``v`` takes it."""
        found: dict[int, Terms] = {}
        options = self.problem.vertices[v].options
        for (o, _), column in self.x[v].items():
            found.setdefault(options[o].choice, {})[column] = 1.0
        return found

    def standing(self, v: int) -> Terms:
        """1 when vertex ``v`` is not skipped."""
        options = self.problem.vertices[v].options
        return {column: 1.0 for (o, _), column in self.x[v].items() if not options[o].skip}

    def add_stages(self) -> None:
        """Skips come last in their stage; shared stages take one choice."""
        shared = self.problem.shared or (False,) * len(self.problem.stages)
        for stage, same in zip(self.problem.stages, shared, strict=True):
            for v, w in pairwise(stage):
                self.milp.at_least(self.standing(v), self.standing(w))
                if same:
                    self._add_shared(v, w)

    def _add_shared(self, v: int, w: int) -> None:
        skips = {o.choice for o in self.problem.vertices[w].options if o.skip}
        for choice, term in self.chosen(w).items():
            if choice not in skips:
                self.milp.at_least(self.chosen(v).get(choice, {}), term)

    def add_cuts(self) -> None:
        """At most so many edges join two devices."""
        if self.goal.most_cuts is None:
            return
        crossing = [
            (term, 1.0)
            for (u, v), z in self.transport.items()
            if u != INPUT and v != SINK
            for (_, d, e), term in z.items()
            if d != e
        ]
        self.milp.at_least({ONE: float(self.goal.most_cuts)}, combine(*crossing))

    def add_excluded(self) -> None:
        """None of the excluded architectures."""
        vertex_of = self.problem.vertex_of
        for architecture in self.goal.excluded:
            taken = [
                (self.chosen(vertex_of[slot]).get(choice, {}), 1.0)
                for slot, choice in enumerate(architecture)
            ]
            self.milp.at_least({ONE: float(len(architecture) - 1)}, combine(*taken))

    def accuracy(self) -> Terms:
        """The estimate, linear in x and the products of pairs."""
        model, vertex_of = self.problem.accuracy, self.problem.vertex_of
        parts: list[tuple[Terms, float]] = [({ONE: 1.0}, model.base)]
        for slot, terms in enumerate(model.unary):
            for choice, term in self.chosen(vertex_of[slot]).items():
                parts.append((term, terms[choice]))
        for terms, stage in zip(model.depth, model.stages, strict=False):
            if terms:
                parts += self._depth([vertex_of[slot] for slot in stage], terms)
        for (i, j), table in model.pairs.items():
            parts += self._pair(vertex_of[i], vertex_of[j], table)
        return combine(*parts)

    def _depth(self, stage: list[int], terms: tuple[float, ...]) -> list[tuple[Terms, float]]:
        """Standing slots come first, so each adds what one more of them is worth."""
        parts: list[tuple[Terms, float]] = [({ONE: 1.0}, terms[0])]
        for k, v in enumerate(stage):
            parts.append((self.standing(v), terms[k + 1] - terms[k]))
        return parts

    def _pair(
        self, u: int, v: int, table: tuple[tuple[float, ...], ...]
    ) -> list[tuple[Terms, float]]:
        first, second = self.chosen(u), self.chosen(v)
        y = {(c, k): {self.milp.column(0.0, 1.0): 1.0} for c in first for k in second}
        for c, term in first.items():
            self.milp.equal(combine(*((y[c, k], 1.0) for k in second)), term)
        for k, term in second.items():
            self.milp.equal(combine(*((y[c, k], 1.0) for c in first)), term)
        return [(y[c, k], table[c][k]) for c, k in y]

    def joint(self, values: tuple[float, ...]) -> Joint:
        """The choice that a solution encodes."""
        picked = [max(own, key=lambda pair: values[own[pair]]) for own in self.x]
        options, devices = zip(*picked, strict=True)
        return Joint(options, devices)

    def start(self, joint: Joint) -> dict[int, float]:
        """Values of the binary columns for a known choice."""
        return {
            column: float((o, d) == (joint.options[v], joint.devices[v]))
            for v, own in enumerate(self.x)
            for (o, d), column in own.items()
        }
