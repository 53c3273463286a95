"""Contiguous placements, exactly: the best chain of down-sets, and branching on loose blocks.

The dynamic programme lets every stage take a loose block or leave it, as suits the stage. Where
stages disagree, the block is either where one of its neighbours is, and so one with it, or where
none of them is: each case is a tighter problem of the same kind.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from math import inf, prod
from time import monotonic

import networkx as nx

from splitter.partitioning.throughput.chain import Chain, best_chain
from splitter.partitioning.throughput.contract import merged
from splitter.partitioning.throughput.downsets import all_downsets, order_of
from splitter.partitioning.throughput.instance import Assignment, Instance
from splitter.partitioning.throughput.orders import ROUNDING, on_devices, stage_devices
from splitter.partitioning.throughput.tables import LooseBlock, StageTables

_CELLS = 4e8
"""Most entries of the tables of one dynamic programme, to bound memory."""
_MOST = 120_000
"""Most down-sets, as the time grows with their square."""
_LISTED = 4_000
"""Down-sets up to which loose blocks simply take part in them, as blocks that no order binds."""

Parts = tuple[frozenset[int], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The best assignment known and a period that none can beat."""

    assignment: Assignment | None
    value_s: float
    bound_s: float
    method: str = "dynamic programme over down-sets"


@dataclass(order=True, slots=True)
class _Case:
    """What is decided about loose blocks, with a period that no pipeline in it can beat."""

    bound_s: float
    number: int
    parts: Parts = field(compare=False)
    apart: frozenset[int] = field(compare=False)
    """Blocks that are where none of their neighbours is."""


class PipelineSearch:
    """Branch and bound over the cases of loose blocks."""

    def __init__(self, instance: Instance, best: Found, deadline_s: float):
        self.instance = instance
        self.best = best
        self.deadline_s = deadline_s
        self.cases: list[_Case] = []
        self.open_s = inf
        """The least bound of the cases that cannot be split any further."""
        self.floor_s = 0.0
        self.too_many = False
        """Whether the down-sets were too many to list or to look at."""

    def run(self, floor_s: float) -> Found:
        """The best pipeline, and the bound that was reached; at least ``floor_s``."""
        self.floor_s = floor_s
        whole = tuple(frozenset([block]) for block in range(self.instance.n))
        self.cases = [_Case(floor_s, 0, whole, frozenset())]
        self._join_all()
        number = 0
        while self.cases and self.cases[0].bound_s < self._limit_s():
            if monotonic() > self.deadline_s:
                break
            for parts, apart, bound_s in self._solve(heappop(self.cases)):
                number -= (
                    1  # Of equal bounds the newest comes first, so that some case is finished.
                )
                heappush(self.cases, _Case(bound_s, number, parts, apart))
        bound_s = min([self.open_s, *(case.bound_s for case in self.cases)])
        return Found(self.best.assignment, self.best.value_s, min(bound_s, self.best.value_s))

    def _join_all(self) -> None:
        """A good pipeline to begin with: every loose block where its heaviest tensor leads."""
        ordered = self.instance.ordered
        joined: nx.Graph[int] = nx.Graph()
        joined.add_nodes_from(range(self.instance.n))
        for block in self.instance.loose():
            shared = _shared_bytes(self.instance, block)
            home = max(shared, key=lambda b: (b in ordered, shared[b], -b), default=block)
            joined.add_edge(block, home)
        parts = list(nx.connected_components(joined))
        if len(ordered) == self.instance.n or any(len(part & ordered) > 1 for part in parts):
            return
        instance, new = merged(self.instance, parts)
        order = order_of(instance)
        masks = all_downsets(order, self._most(instance))
        if masks is not None:
            result = best_chain(
                StageTables(instance, order, masks), self._limit_s(), self.deadline_s
            )
            if result.best is not None:
                assignment = on_devices(instance, order, result.best)
                self._offer([assignment[new[block]] for block in range(self.instance.n)])

    def _limit_s(self) -> float:
        return self.best.value_s * (1 - ROUNDING)

    def _solve(self, case: _Case) -> list[tuple[Parts, frozenset[int], float]]:
        """Solve one case, and split it if its bound leaves something to find."""
        instance, new = merged(self.instance, case.parts)
        order = order_of(instance)
        masks = all_downsets(order, self._most(instance))
        if masks is None:
            self.too_many = True
            self._give_up(case.bound_s)
            return []
        subsets = len(masks) << min(64, sum(1 for _ in instance.loose()))
        if subsets <= _LISTED:
            self._list_all(instance, new, case.bound_s)
            return []
        tables = StageTables(instance, order, masks, {new[block] for block in case.apart})
        chain, complete = self._chain(tables, case.bound_s)
        if chain is None:
            return []
        assignment = on_devices(instance, order, chain)
        self._offer([assignment[new[block]] for block in range(self.instance.n)])
        bound_s = max(case.bound_s, chain.value_s)
        if not complete or bound_s >= self._limit_s():
            return []
        block = _most_disputed(tables, chain, assignment)
        if block is not None:
            return list(_children(case, instance, block, bound_s))
        if subsets <= self._most(instance):
            self._list_all(instance, new, bound_s)
        else:
            self._give_up(bound_s)
        return []

    def _list_all(self, instance: Instance, new: tuple[int, ...], bound_s: float) -> None:
        """Solve with every loose block as one that no order binds: exact, if they are few."""
        listed = replace(instance, ordered=frozenset(range(instance.n)))
        order = order_of(listed)
        masks = all_downsets(order, self._most(listed))
        if masks is None:
            self._give_up(bound_s)
            return
        chain, _ = self._chain(StageTables(listed, order, masks), bound_s)
        if chain is not None:
            assignment = on_devices(listed, order, chain)
            self._offer([assignment[new[block]] for block in range(self.instance.n)])

    def _chain(self, tables: StageTables, bound_s: float) -> tuple[Chain | None, bool]:
        """The best chain below what is known, and whether all were looked at."""
        result = best_chain(tables, self._limit_s(), self.deadline_s)
        if not result.complete:
            self._give_up(bound_s)
            self.too_many |= bound_s == self.floor_s
        return result.best, result.complete

    def _give_up(self, bound_s: float) -> None:
        self.open_s = min(self.open_s, bound_s)

    def _most(self, instance: Instance) -> int:
        """The number of down-sets whose tables still fit into memory."""
        states = prod(len(group.devices) + 1 for group in instance.groups)
        return min(_MOST, int(_CELLS / (instance.n + 2 * len(instance.nets) + 14 * states)))

    def _offer(self, assignment: Sequence[int]) -> None:
        value_s = self.instance.period_s(assignment)
        if value_s < self.best.value_s:
            self.best = Found(tuple(assignment), value_s, 0.0)


def _children(
    case: _Case, instance: Instance, block: int, bound_s: float
) -> Iterator[tuple[Parts, frozenset[int], float]]:
    """``block`` with none of its neighbours, and with each; the last is the likeliest."""
    own = case.parts[block]
    yield case.parts, case.apart | {min(own)}, bound_s
    shared = _shared_bytes(instance, block)
    for end in sorted(shared, key=lambda end: (shared[end], end)):
        joined = (part | own if i == end else part for i, part in enumerate(case.parts))
        yield tuple(part for i, part in enumerate(joined) if i != block), case.apart, bound_s


def _shared_bytes(instance: Instance, block: int) -> dict[int, float]:
    """What moving ``block`` away from each neighbour would cost, a net's bytes shared equally."""
    shared: dict[int, float] = {}
    for number in instance.nets_of[block]:
        net = instance.nets[number]
        for end in net.blocks - {block}:
            shared[end] = shared.get(end, 0.0) + net.bytes / (len(net.blocks) - 1)
    return shared


def _most_disputed(tables: StageTables, chain: Chain, assignment: Assignment) -> int | None:
    """The loose block whose true cost exceeds most what the stages supposed.

    Only devices dearer than the chain count; None when every block on them was decided before.
    """
    instance = tables.instance
    loads = instance.loads_s(assignment)
    stages = _stages_by_device(tables, chain)
    over: dict[int, float] = {}
    for loose in tables.loose:
        if loose.apart:
            continue
        for device, load in enumerate(loads):
            if load > chain.value_s * (1 + ROUNDING):
                true_s = _true_cost_s(instance, loose, device, assignment)
                supposed_s = tables.loose_cost_s(loose, *stages[device]) if device in stages else 0
                over[loose.block] = over.get(loose.block, 0.0) + true_s - supposed_s
    disputed = max(over, key=lambda block: over[block], default=None)
    return disputed if disputed is not None and over[disputed] > 0 else None


def _stages_by_device(tables: StageTables, chain: Chain) -> dict[int, tuple[int, int, int]]:
    """(group, first down-set, last down-set) of the stage on each device."""
    number = {mask: i for i, mask in enumerate(tables.masks)}
    found: dict[int, tuple[int, int, int]] = {}
    before = 0
    for device, (group, after) in zip(
        stage_devices(tables.instance, chain), chain.stages, strict=True
    ):
        found[device] = group, number[before], number[after]
        before = after
    return found


def _true_cost_s(
    instance: Instance, loose: LooseBlock, device: int, assignment: Assignment
) -> float:
    """What a loose block and the nets that count for it add to the load of a device."""
    group = instance.groups[instance.group_of[device]]
    total = group.seconds[loose.block] if assignment[loose.block] == device else 0.0
    for number in instance.nets_of[loose.block]:
        net = instance.nets[number]
        users = {assignment[block] for block in net.blocks}
        first = min(block for block in net.blocks if block not in instance.ordered)
        if first == loose.block and device in users and len(users) > 1:
            total += net.bytes * group.byte_s
    return total
