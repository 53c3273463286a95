"""The least period as an integer program: for free placements, and for pipelines of which the
down-sets are too many to list.

x[block, device] places a block. A net is cut on a device by the difference of the largest and the
smallest x of its blocks there. Of equal devices, the i-th heaviest block of a free placement uses
one of the first i: every placement has a renamed copy that does. In a pipeline, equal devices are
numbered as they come: no block is on a later one than a block that follows it. Unequal devices have
positions, and a tensor between two of them goes to the higher one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from time import monotonic

import networkx as nx

from splitter.partitioning.milp import ONE, Milp, MilpResult, Terms, combine
from splitter.partitioning.throughput.contract import cover
from splitter.partitioning.throughput.instance import Assignment, Instance

_SCALE = 1000.0
"""Objective value that the solver sees for the best known period; its tolerances are absolute."""

_ROWS_PER_S = 5_000.0
"""Pace at which rows are written and handed to the solver."""


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """What the integer program found."""

    assignment: Assignment | None
    bound_s: float
    complete: bool
    """Whether the bound is final: nothing is better than the assignment, or than the start."""


def solve_program(
    instance: Instance,
    start: Assignment | None,
    floor_s: float,
    time_limit_s: float,
    threads: int = 1,
) -> ProgramResult:
    """The best placement found in the time, from a known one, if any, and a known bound."""
    deadline_s = monotonic() + time_limit_s
    period_s = _horizon_s(instance) if start is None else instance.period_s(start)
    model = _Model(instance, period_s)
    model.milp.threads = threads
    left_s = max(deadline_s - monotonic(), 0.1)
    result = model.milp.solve(left_s, None if start is None else model.start(start))
    bound_s = min(max(result.bound * model.unit_s, floor_s), period_s)
    if result.status == "infeasible":
        return ProgramResult(None, inf if start is None else period_s, True)
    found = model.assignment(result)
    return ProgramResult(found, bound_s, result.status == "optimal")


def build_seconds(instance: Instance) -> float:
    """About how long it takes to write the program down."""
    devices = len(instance.group_of)
    rows = sum(len(net.blocks) for net in instance.nets) * 2 * devices
    if instance.before:
        rows += len(instance.before) * devices * len(instance.groups)
    return rows / _ROWS_PER_S


def _horizon_s(instance: Instance) -> float:
    """A period that no placement exceeds, and that is not 0."""
    blocks = sum(
        max(g.seconds[block] for g in instance.groups if isfinite(g.seconds[block]))
        for block in range(instance.n)
    )
    nets = sum(net.bytes for net in instance.nets) * max(g.byte_s for g in instance.groups)
    return (blocks + nets) or 1.0


class _Model:
    def __init__(self, instance: Instance, period_s: float):
        self.instance = instance
        self.unit_s = period_s / _SCALE
        self.milp = Milp()
        self.period = self.milp.column(0.0, _SCALE)
        self.milp.objective = {self.period: 1.0}
        self.heaviest = sorted(range(instance.n), key=lambda block: -self._weight(block))
        self.x = self._placed(period_s)
        self._add_loads()
        if instance.before:
            self._add_order()

    def _weight(self, block: int) -> float:
        return max(g.seconds[block] for g in self.instance.groups if isfinite(g.seconds[block]))

    def _placed(self, period_s: float) -> dict[tuple[int, int], int]:
        """Columns of every block on every device where it may be."""
        x: dict[tuple[int, int], int] = {}
        instance = self.instance
        for rank, block in enumerate(self.heaviest):
            for group in range(len(instance.groups)):
                if instance.groups[group].seconds[block] > period_s * (1 + 1e-9):
                    continue
                numbers = instance.numbers(group)
                for device in numbers if instance.before else numbers[: rank + 1]:
                    x[block, device] = self.milp.column(0.0, 1.0, integer=True)
        choices: list[Terms] = [{} for _ in range(instance.n)]
        for (block, _), column in x.items():
            choices[block][column] = 1.0
        for choice in choices:
            self.milp.equal(choice, {ONE: 1.0})
        return x

    def on(self, block: int, device: int) -> Terms:
        column = self.x.get((block, device))
        return {} if column is None else {column: 1.0}

    def _add_loads(self) -> None:
        instance = self.instance
        for device, g in enumerate(instance.group_of):
            group = instance.groups[g]
            parts = [
                (self.on(block, device), group.seconds[block] / self.unit_s)
                for block in range(instance.n)
                if (block, device) in self.x
            ]
            if group.byte_s:
                parts += self._cut_parts(device, group.byte_s)
            self.milp.at_least({self.period: 1.0}, combine(*parts))
            if sum(instance.sizes) > group.limit_bytes:
                limit = max(group.limit_bytes, 1e-300)
                held = [
                    (self.on(block, device), instance.sizes[block] / limit)
                    for block in range(instance.n)
                ]
                self.milp.at_least({ONE: 1.0}, combine(*held))

    def _cut_parts(self, device: int, byte_s: float) -> list[tuple[Terms, float]]:
        return [
            (self._cut(sorted(net.blocks), device), net.bytes * byte_s / self.unit_s)
            for net in self.instance.nets
        ]

    def _cut(self, blocks: Sequence[int], device: int) -> Terms:
        """At least 1 when some but not all of ``blocks`` are on ``device``."""
        terms = [self.on(block, device) for block in blocks]
        cut = {self.milp.column(0.0, 1.0): 1.0}
        if len(terms) == 2:
            for one, other in (terms, terms[::-1]):
                self.milp.at_least(cut, combine((one, 1.0), (other, -1.0)))
            return cut
        least = {self.milp.column(0.0, 1.0): 1.0}
        for term in terms:
            self.milp.at_least(term, least)
            self.milp.at_least(combine((cut, 1.0), (least, 1.0)), term)
        return cut

    def _add_order(self) -> None:
        """No tensor between ordered blocks goes back to a device."""
        instance, most = self.instance, float(len(self.instance.group_of))
        place = [{self.milp.column(0.0, most): 1.0} for _ in instance.group_of]
        edges = cover(instance.n, instance.before)
        for here, g in enumerate(instance.group_of):
            for there, h in enumerate(instance.group_of):
                if g == h and there == here + 1:
                    later = combine((place[here], 1.0), ({ONE: 1.0}, 1.0))
                    self.milp.at_least(place[there], later)
                if g != h:
                    self._add_steps(edges, here, there, place, most)
        for g in range(len(instance.groups)):
            for u, v in edges:
                self._add_prefixes(u, v, g)

    def _add_prefixes(self, u: int, v: int, group: int) -> None:
        """Where ``v`` is on one of the first devices of a group, so is ``u``, or on no other."""
        for last in self.instance.numbers(group)[:-1]:
            first = [d for d in self.instance.numbers(group) if d <= last]
            behind = [d for d in self.instance.numbers(group) if d > last]
            ahead = combine(*((self.on(v, d), 1.0) for d in first))
            back = combine(*((self.on(u, d), 1.0) for d in behind))
            self.milp.at_least({ONE: 1.0}, combine((ahead, 1.0), (back, 1.0)))

    def _add_steps(
        self,
        edges: Sequence[tuple[int, int]],
        here: int,
        there: int,
        place: Sequence[Terms],
        most: float,
    ) -> None:
        """If a tensor goes from one device to another, the other's place is higher."""
        goes = {self.milp.column(0.0, 1.0): 1.0}
        for u, v in edges:
            if (u, here) in self.x and (v, there) in self.x:
                both = combine(
                    (self.on(u, here), 1.0), (self.on(v, there), 1.0), ({ONE: 1.0}, -1.0)
                )
                self.milp.at_least(goes, both)
        unless = combine(({ONE: 1.0}, -most), (goes, most + 1.0))
        self.milp.at_least(place[there], combine((place[here], 1.0), (unless, 1.0)))

    def assignment(self, result: MilpResult) -> Assignment | None:
        if result.values is None:
            return None
        values = result.values
        here: list[dict[int, float]] = [{} for _ in range(self.instance.n)]
        for (block, device), column in self.x.items():
            here[block][device] = values[column]
        return tuple(max(parts, key=lambda d: parts[d]) for parts in here)

    def start(self, assignment: Assignment) -> Mapping[int, float]:
        """Values of the placement columns for a known assignment, its equal devices renamed."""
        instance = self.instance
        renamed: dict[int, int] = {}
        used = [0] * len(instance.groups)
        for device in self._named_in_turn(assignment):
            if device not in renamed:
                group = instance.group_of[device]
                renamed[device] = instance.numbers(group)[used[group]]
                used[group] += 1
        home = [renamed[device] for device in assignment]
        return {column: float(home[b] == d) for (b, d), column in self.x.items()}

    def _named_in_turn(self, assignment: Assignment) -> list[int]:
        """Devices as they come in the pipeline, or with the heaviest blocks first."""
        if not self.instance.before:
            return [assignment[block] for block in self.heaviest]
        steps: nx.DiGraph[int] = nx.DiGraph()
        steps.add_nodes_from(assignment)
        steps.add_edges_from(
            (assignment[u], assignment[v])
            for u, v in self.instance.before
            if assignment[u] != assignment[v]
        )
        return list(nx.topological_sort(steps))
