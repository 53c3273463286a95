"""Contiguous placements, exactly: the best chain of down-sets, and branching on loose blocks.

The dynamic programme lets every stage take a loose block or leave it, as suits the stage. Where
stages disagree, the block is either where one of its neighbours is, or where none of them is. In
the first case it becomes a part of the down-sets that have met some of its neighbours but not all.
In the second it costs its neighbours what it costs to be elsewhere; if that is not yet too much it
becomes a part of all down-sets. Each case is a tighter problem of the same kind, over the down-sets
that a better pipeline may pass.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from heapq import heapify, heappop, heappush
from math import inf, prod
from time import monotonic

import networkx as nx

from splitter.partitioning.throughput.chain import Chain, best_chain, useful_downsets
from splitter.partitioning.throughput.contract import merged
from splitter.partitioning.throughput.downsets import (
    Order,
    all_downsets,
    joined,
    order_of,
)
from splitter.partitioning.throughput.instance import Assignment, Instance
from splitter.partitioning.throughput.orders import ROUNDING, on_devices, stage_devices
from splitter.partitioning.throughput.tables import LooseBlock, StageTables

_CELLS = 4e8
"""Most entries of the tables of one dynamic programme, to bound memory."""
_MOST = 120_000
"""Most down-sets, as the time grows with their square."""
_START_PART, _FILTER_PART = 0.2, 0.5
"""Of the time left, for a first pipeline and for leaving out down-sets that none better passes."""
_LISTED = 4_000
"""Down-sets up to which loose blocks simply take part in them, as blocks that no order binds."""


@dataclass(frozen=True, slots=True)
class Found:
    """The best assignment known and a period that none can beat."""

    assignment: Assignment | None
    value_s: float
    bound_s: float
    method: str = "dynamic programme over down-sets"


@dataclass(order=True, frozen=True, slots=True)
class _Case:
    """What is decided about loose blocks, with a period that no pipeline in it can beat."""

    bound_s: float
    number: int
    apart: frozenset[int] = field(default=frozenset(), compare=False)
    """Blocks that are where none of their neighbours is."""
    near: frozenset[int] = field(default=frozenset(), compare=False)
    """Blocks that are where some of their neighbours are."""
    free: frozenset[int] = field(default=frozenset(), compare=False)
    """Blocks that are listed as being anywhere."""


class PipelineSearch:
    """Branch and bound over the cases of loose blocks."""

    def __init__(self, instance: Instance, best: Found, first_s: float, deadline_s: float):
        self.instance = instance
        self.best = best
        self.first_s = first_s
        """When the first case must be done, so that there is time for another way."""
        self.deadline_s = deadline_s
        self.order = order_of(instance)
        self.masks = all_downsets(self.order, self._most(instance)) or []
        self.cases: list[_Case] = []
        self.open_s = inf
        """The least bound of the cases that cannot be split any further."""
        self.too_many = not self.masks
        """Whether the down-sets were too many to list or to look at."""

    def run(self, floor_s: float) -> Found:
        """The best pipeline, and the bound that was reached; at least ``floor_s``."""
        if self.too_many:
            return Found(self.best.assignment, self.best.value_s, floor_s)
        loose = frozenset(self.instance.loose())
        few = len(self.masks) << min(64, len(loose)) <= _LISTED
        self.cases = [_Case(floor_s, 0, free=loose if few else frozenset())]
        if not few:
            self._join_all()
        self._branch()
        bound_s = min([self.open_s, *(case.bound_s for case in self.cases)])
        return Found(self.best.assignment, self.best.value_s, min(bound_s, self.best.value_s))

    def _branch(self) -> None:
        """Look at cases until none can be better or time runs out.

        At first the last of each split comes next, so that there is a good pipeline early; then the
        case with the least bound, and of equal ones the newest.
        """
        number, diving = 0, True
        while self.cases and monotonic() <= self.deadline_s:
            case = self.cases.pop() if diving else heappop(self.cases)
            if not diving and case.bound_s >= self._limit_s():
                heappush(self.cases, case)
                return
            found = list(self._solve(case))
            for child in found:
                number -= 1
                self.cases.append(replace(child, number=number))
            diving &= bool(found)
            if not diving:
                heapify(self.cases)

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
            tables = StageTables(instance, order, masks)
            result = best_chain(tables, self._limit_s(), self._part_s(_START_PART))
            if result.best is not None:
                assignment = on_devices(instance, order, result.best)
                self._offer([assignment[new[block]] for block in range(self.instance.n)])

    def _part_s(self, part: float) -> float:
        """When a part of the time that is left is over."""
        now = monotonic()
        return now + part * (self.deadline_s - now)

    def _limit_s(self) -> float:
        return self.best.value_s * (1 - ROUNDING)

    def _solve(self, case: _Case) -> Iterator[_Case]:
        """Solve one case, and split it if its bound leaves something to find."""
        listed = self._listed(case.near, case.free)
        if listed is None:
            self._give_up(case.bound_s)
            return
        instance = replace(self.instance, ordered=self.instance.ordered | case.near | case.free)
        tables = StageTables(instance, *listed, case.apart - case.free)
        is_first = not case.number
        result = best_chain(tables, self._limit_s(), self.first_s if is_first else self.deadline_s)
        if not result.complete:
            self._give_up(case.bound_s)
            self.too_many = is_first
        if result.best is None:
            return
        assignment = on_devices(instance, tables.order, result.best)
        self._offer(assignment)
        bound_s = max(case.bound_s, result.best.value_s)
        if not result.complete or bound_s >= self._limit_s():
            return
        if is_first:
            found = useful_downsets(tables, self._limit_s(), self._part_s(_FILTER_PART))
            self.masks = self.masks if found is None else found
        if not any(True for _ in instance.loose()):  # Sums that differ in their last digit.
            self._give_up(bound_s)
            return
        block = _most_disputed(tables, result.best, assignment)
        yield from _split(replace(case, bound_s=bound_s), instance, block)

    def _listed(self, near: frozenset[int], free: frozenset[int]) -> tuple[Order, list[int]] | None:
        """Down-sets with the blocks ``near`` where their neighbours are, and ``free`` anywhere.

        Loose blocks that share a tensor have their neighbours in common, as one may be there for
        the other. None when there are too many.
        """
        ends = {block: self.neighbours[block] for block in sorted(near)}
        ends |= dict.fromkeys(sorted(free), ())
        return joined(self.order, self.masks, ends, self._most(self.instance))

    @cached_property
    def neighbours(self) -> dict[int, tuple[int, ...]]:
        """Ordered blocks that share a tensor with a loose block, or with one that does."""
        instance = self.instance
        loose: nx.Graph[int] = nx.Graph()
        loose.add_nodes_from(instance.loose())
        ends: dict[int, frozenset[int]] = dict.fromkeys(instance.loose(), frozenset())
        for net in instance.nets:
            unbound = net.blocks - instance.ordered
            nx.add_path(loose, unbound)
            for block in unbound:
                ends[block] |= net.blocks & instance.ordered
        return {
            block: tuple(sorted(frozenset().union(*(ends[b] for b in part))))
            for part in nx.connected_components(loose)
            for block in part
        }

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


def _split(case: _Case, instance: Instance, block: int | None) -> Iterator[_Case]:
    """``block`` apart from its neighbours, and with some; without one, the longest anywhere.

    ``instance`` has the blocks that the case lists among those in order.
    """
    if block is not None:
        yield replace(case, apart=case.apart | {block})
        yield replace(case, near=case.near | {block})
        return
    times = {b: min(group.seconds[b] for group in instance.groups) for b in instance.loose()}
    yield replace(case, free=case.free | {max(times, key=lambda b: times[b])})


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
