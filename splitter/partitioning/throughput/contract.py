"""Smaller problems with the same optimum.

Blocks that a pipeline cannot part are one. A block whose own tensor costs more to move than all
that moving the block would cost belongs to the one block that the tensor joins it with: wherever a
plan keeps them apart, moving it there raises no load.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf

import networkx as nx

from splitter.partitioning.throughput.instance import Assignment, Group, Instance, Net


def merged(instance: Instance, parts: Iterable[Iterable[int]]) -> tuple[Instance, tuple[int, ...]]:
    """The instance whose blocks are ``parts``, and the new number of every old block."""
    blocks = [sorted(part) for part in parts]
    new = [0] * instance.n
    for number, part in enumerate(blocks):
        for block in part:
            new[block] = number
    nets: dict[frozenset[int], int] = {}
    for net in instance.nets:
        ends = frozenset(new[block] for block in net.blocks)
        if len(ends) > 1:
            nets[ends] = nets.get(ends, 0) + net.bytes
    found = Instance(
        layers=tuple(tuple(x for b in part for x in instance.layers[b]) for part in blocks),
        sizes=tuple(sum(instance.sizes[b] for b in part) for part in blocks),
        nets=tuple(Net(size, ends) for ends, size in nets.items()),
        groups=tuple(_merged_group(group, blocks) for group in instance.groups),
        before=frozenset((new[u], new[v]) for u, v in instance.before if new[u] != new[v]),
        ordered=frozenset(new[block] for block in instance.ordered),
    )
    return found, tuple(new)


def _merged_group(group: Group, blocks: list[list[int]]) -> Group:
    return replace(group, seconds=tuple(sum(group.seconds[b] for b in part) for part in blocks))


def rings(instance: Instance) -> list[set[int]]:
    """Blocks by what a pipeline cannot part: those on a ring of the order, else each by itself."""
    order: nx.DiGraph[int] = nx.DiGraph()
    order.add_nodes_from(range(instance.n))
    order.add_edges_from(instance.before)
    return sorted(nx.strongly_connected_components(order), key=min)


@dataclass(frozen=True, slots=True)
class Contracted:
    """A smaller instance, and how to get there and back."""

    instance: Instance
    new: tuple[int, ...]
    """New number of every old block."""
    home: tuple[int, ...]
    """Per new block: the old one to which the others moved."""

    def spread(self, assignment: Assignment) -> Assignment:
        """An assignment of the smaller instance as one of the larger."""
        return tuple(assignment[block] for block in self.new)

    def shrunk(self, assignment: Assignment) -> Assignment:
        """An assignment of the larger instance with every block where the one it belongs to is."""
        return tuple(assignment[block] for block in self.home)


def _barred(instance: Instance, period_s: float) -> Instance:
    """The instance with blocks kept off devices on which they alone take longer than that.

    Sums over many blocks would otherwise lose their last digits to such times.
    """
    groups = tuple(
        replace(group, seconds=tuple(s if s <= period_s else inf for s in group.seconds))
        for group in instance.groups
    )
    return replace(instance, groups=groups)


def contract(instance: Instance, period_s: float) -> Contracted:
    """The instance without blocks that belong to another.

    Some placement of the smaller instance reaches the optimum of the larger one if that is below
    ``period_s``; every placement of the smaller one is one of the larger one.
    """
    instance = _barred(instance, period_s)
    work = _Contraction(instance, period_s)
    work.run()
    parts: dict[int, list[int]] = defaultdict(list)
    for block in range(instance.n):
        parts[work.root(block)].append(block)
    smaller, new = merged(instance, parts.values())
    return Contracted(smaller, new, tuple(parts))


@dataclass
class _Contraction:
    """Blocks, nets and order while they shrink; a block is named by its root."""

    instance: Instance
    period_s: float
    parent: list[int] = field(init=False)
    seconds: list[list[float]] = field(init=False)
    sizes: list[float] = field(init=False)
    nets: dict[frozenset[int], int] = field(init=False)
    nets_of: list[set[frozenset[int]]] = field(init=False)
    after: list[set[int]] = field(init=False)
    before: list[set[int]] = field(init=False)

    def __post_init__(self) -> None:
        instance = self.instance
        self.parent = list(range(instance.n))
        self.seconds = [list(group.seconds) for group in instance.groups]
        self.sizes = list(instance.sizes)
        self.nets = {net.blocks: net.bytes for net in instance.nets}
        self.nets_of = [set() for _ in range(instance.n)]
        for net in instance.nets:
            for block in net.blocks:
                self.nets_of[block].add(net.blocks)
        self.after = [set() for _ in range(instance.n)]
        self.before = [set() for _ in range(instance.n)]
        for u, v in cover(instance.n, instance.before):
            self.after[u].add(v)
            self.before[v].add(u)

    def root(self, block: int) -> int:
        while self.parent[block] != block:
            block = self.parent[block]
        return block

    def run(self) -> None:
        waiting = set(range(self.instance.n))
        while waiting:
            block = min(waiting)
            waiting.discard(block)
            home = self._home(block)
            if home is None:
                continue
            self._join(block, home)
            near = {end for net in self.nets_of[home] for end in net}
            waiting |= near | {home} | self.after[home] | self.before[home]
            waiting.discard(block)

    def _home(self, block: int) -> int | None:
        """The block to which ``block`` belongs."""
        for net in sorted(self.nets_of[block], key=lambda net: (-self.nets[net], sorted(net))):
            if len(net) == 2:
                (home,) = net - {block}
                if self._keeps_order(block, home) and self._pays(block, home, self.nets[net]):
                    return home
        return None

    def _keeps_order(self, block: int, home: int) -> bool:
        """Whether ``block`` may join ``home`` in any pipeline without turning anything back."""
        if block not in self.instance.ordered:
            return True
        return self.after[block] == {home} or self.before[block] == {home}

    def _pays(self, block: int, home: int, joint_bytes: int) -> bool:
        """Whether no load rises when ``block`` moves to where ``home`` is."""
        if self.sizes[block] > 0 and not self.instance.roomy:
            return False
        others = sum(self.nets[net] for net in self.nets_of[block] if home not in net)
        if others > joint_bytes:
            return False
        return all(
            seconds[home] >= self.period_s
            or seconds[block] <= (joint_bytes - others) * group.byte_s
            for seconds, group in zip(self.seconds, self.instance.groups, strict=True)
        )

    def _join(self, block: int, home: int) -> None:
        self.parent[block] = home
        for seconds in self.seconds:
            seconds[home] += seconds[block]
        self.sizes[home] += self.sizes[block]
        for net in list(self.nets_of[block]):
            self._rename(net, block, home)
        for u in self.before[block]:
            self.after[u] = (self.after[u] - {block}) | ({home} - {u})
            self.before[home] |= {u} - {home}
        for v in self.after[block]:
            self.before[v] = (self.before[v] - {block}) | ({home} - {v})
            self.after[home] |= {v} - {home}

    def _rename(self, net: frozenset[int], block: int, home: int) -> None:
        size = self.nets.pop(net)
        for end in net:
            self.nets_of[end].discard(net)
        renamed = net - {block} | {home}
        if len(renamed) < 2:
            return
        self.nets[renamed] = self.nets.get(renamed, 0) + size
        for end in renamed:
            self.nets_of[end].add(renamed)


def cover(n: int, before: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The order without the pairs that follow from others."""
    order: nx.DiGraph[int] = nx.DiGraph()
    order.add_nodes_from(range(n))
    order.add_edges_from(before)
    reach = reachable(order)
    found: list[tuple[int, int]] = []
    for u in order:
        for v in order.successors(u):
            if not any(w != v and reach[w] >> v & 1 for w in order.successors(u)):
                found.append((u, v))
    return found


def reachable(order: "nx.DiGraph[int]") -> Mapping[int, int]:
    """The blocks after each block, as bits."""
    found: dict[int, int] = {}
    for block in reversed(list(nx.topological_sort(order))):
        mask = 0
        for after in order.successors(block):
            mask |= found[after] | 1 << after
        found[block] = mask
    return found
