"""Down-sets of the order: the sets of blocks that the first stages of a pipeline may hold.

Every stage of a pipeline is the difference of two down-sets, so whatever a stage costs is read off
a pair of them. Bits of a down-set are positions in one fixed topological order of the ordered
blocks, 64 to a word.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from splitter.partitioning.throughput.instance import Instance

Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Order:
    """The ordered blocks in one topological order."""

    blocks: tuple[int, ...]
    before: tuple[int, ...]
    """Per position: the positions right before it, as bits."""
    after: tuple[tuple[int, ...], ...]
    """Per position: the positions right after it."""

    @cached_property
    def n(self) -> int:
        """Number of ordered blocks."""
        return len(self.blocks)

    @cached_property
    def turned(self) -> "Order":
        """The order from behind; its down-sets are what those of this one leave out."""
        return Order(
            self.blocks,
            tuple(sum(1 << j for j in later) for later in self.after),
            tuple(tuple(j for j in range(self.n) if mask >> j & 1) for mask in self.before),
        )

    @cached_property
    def position(self) -> dict[int, int]:
        """Position of each block."""
        return {block: i for i, block in enumerate(self.blocks)}


def order_of(instance: Instance, *, depth_first: bool = True) -> Order:
    """The blocks in an order that finishes one branch before the next, or takes turns."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(sorted(instance.ordered))
    graph.add_edges_from(sorted(instance.before))
    blocks = (
        _depth_first(graph) if depth_first else list(nx.lexicographical_topological_sort(graph))
    )
    position = {block: i for i, block in enumerate(blocks)}
    before = [0] * len(blocks)
    after: list[list[int]] = [[] for _ in blocks]
    for u, v in sorted(instance.before):
        before[position[v]] |= 1 << position[u]
        after[position[u]].append(position[v])
    return Order(tuple(blocks), tuple(before), tuple(map(tuple, after)))


def _depth_first(graph: "nx.DiGraph[int]") -> list[int]:
    """Kahn's order with a stack: what has just become free comes next."""
    missing = dict(graph.in_degree())
    stack = [block for block in reversed(list(graph)) if missing[block] == 0]
    found: list[int] = []
    while stack:
        block = stack.pop()
        found.append(block)
        for after in graph.successors(block):
            missing[after] -= 1
            if missing[after] == 0:
                stack.append(after)
    return found


def prefixes(order: Order) -> list[int]:
    """The down-sets that one topological order passes through."""
    return [(1 << i) - 1 for i in range(order.n + 1)]


def all_downsets(order: Order, most: int) -> list[int] | None:
    """Every down-set, or None when there are more than ``most``."""
    first = tuple(i for i in range(order.n) if not order.before[i])
    level: dict[int, tuple[int, ...]] = {0: first}
    found: list[int] = []
    while level:
        found += level
        if len(found) > most:
            return None
        above: dict[int, tuple[int, ...]] = {}
        for mask, free in level.items():
            for i in free:
                larger = mask | 1 << i
                if larger not in above:
                    fresh = [j for j in order.after[i] if not order.before[j] & ~larger]
                    above[larger] = (*(j for j in free if j != i), *fresh)
        level = above
    return found


def downsets_through(order: Order, paths: Iterable[Sequence[int]]) -> list[int]:
    """The down-sets that several orders (as positions) pass through, smallest first."""
    found = {0}
    for path in paths:
        mask = 0
        for i in path:
            mask |= 1 << i
            found.add(mask)
    return sorted(found, key=lambda mask: (mask.bit_count(), mask))


def joined(
    order: Order, masks: Sequence[int], near: Mapping[int, Sequence[int]], most: int
) -> tuple[Order, list[int]] | None:
    """Down-sets with blocks that no order binds, each where its neighbours are.

    ``near`` has the neighbours of each such block. A down-set may hold the block from the first
    neighbour on, and must hold it when it has them all: a stage with one of them can take it. Any
    stage can take a block that is said to have no neighbours. None when there are more than
    ``most`` such sets.
    """
    sides = [sum(1 << order.position[b] for b in ends) for ends in near.values()]
    found: list[int] = []
    for mask in masks:
        sets = [mask]
        for bit, side in enumerate(sides, order.n):
            met = side & mask
            with_it = [one | 1 << bit for one in sets] if met or not side else []
            sets = with_it if side and met == side else sets + with_it
        found += sets
        if len(found) > most:
            return None
    wider = Order(
        blocks=(*order.blocks, *near),
        before=(*order.before, *(0 for _ in near)),
        after=(*order.after, *(() for _ in near)),
    )
    return wider, found


def as_words(order: Order, masks: Sequence[int]) -> Words:
    """Masks as an array [word, mask]."""
    words = max(1, -(-order.n // 64))
    raw = b"".join(mask.to_bytes(8 * words, "little") for mask in masks)
    return np.ascontiguousarray(np.frombuffer(raw, dtype="<u8").reshape(len(masks), words).T)


def members(words: Words, n: int) -> NDArray[np.uint8]:
    """Membership [position, down-set]."""
    as_bytes = np.ascontiguousarray(words.T).view(np.uint8)
    return np.ascontiguousarray(np.unpackbits(as_bytes, axis=1, count=n, bitorder="little").T)


def heads(order: Order, words: Words, inside: NDArray[np.uint8]) -> Words:
    """The last blocks of each down-set: a down-set contains another if it contains its heads."""
    inner = np.zeros_like(words)
    for i, mask in enumerate(order.before):
        for word in range(len(words)):
            part = mask >> 64 * word & 0xFFFFFFFFFFFFFFFF
            if part:
                inner[word] |= inside[i] * np.uint64(part)
    return words & ~inner
