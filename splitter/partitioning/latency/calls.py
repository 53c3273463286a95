"""One request over processors and accelerators that run one call each: the problem in numbers.

The form of the published placement problems (Tarnawski et al., "Efficient Algorithms for Device
Placement of DNN Graph Operators", 2020). A node on the processors ends at the latest end of its
predecessors plus its own time; any number run at once. Every accelerator runs one convex set of
nodes as one *call*: it starts when all predecessors outside the set have ended, then takes in each
distinct incoming tensor, computes its nodes one after the other, puts out each distinct outgoing
tensor, and only then all its nodes have ended.

Sets of nodes are bit masks: bit v is node v.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

ROOM = 1e-12
"""Relative slack on the memory limit, for sizes that are not whole numbers."""

KEPT = 200_000
"""Sets about which something is remembered, so that memory stays bounded."""


def bits(mask: int) -> Iterator[int]:
    """The nodes of a set, in ascending order."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def mask_of(nodes: Sequence[int]) -> int:
    """The set of these nodes."""
    found = 0
    for node in nodes:
        found |= 1 << node
    return found


@dataclass(frozen=True)
class CallProblem:
    """Nodes in a topological order, and equal accelerators. Any one unit of time will do."""

    cpu_s: tuple[float, ...]
    """Time of each node on a processor; infinite where it cannot run there."""
    call_s: tuple[float, ...]
    """Time of each node inside a call; infinite where it cannot run there."""
    size_bytes: tuple[float, ...]
    """Memory that each node takes on an accelerator."""
    tensor_s: tuple[float, ...]
    """Time to move each node's output into or out of an accelerator."""
    before: tuple[tuple[int, ...], ...]
    """Direct predecessors, each with a smaller number."""
    group: tuple[int, ...]
    """Nodes with the same group stay on the same device."""
    calls: int
    """Number of accelerators."""
    limit_bytes: float
    """Memory of one accelerator."""

    @cached_property
    def n(self) -> int:
        """Number of nodes."""
        return len(self.before)

    @cached_property
    def after(self) -> tuple[tuple[int, ...], ...]:
        """Direct successors."""
        found: list[list[int]] = [[] for _ in self.before]
        for node, sources in enumerate(self.before):
            for source in sources:
                found[source].append(node)
        return tuple(tuple(targets) for targets in found)

    @cached_property
    def sources(self) -> tuple[int, ...]:
        """The direct predecessors of each node as a set."""
        return tuple(mask_of(nodes) for nodes in self.before)

    @cached_property
    def targets(self) -> tuple[int, ...]:
        """The direct successors of each node as a set."""
        return tuple(mask_of(nodes) for nodes in self.after)

    @cached_property
    def above(self) -> tuple[int, ...]:
        """All ancestors of each node."""
        found: list[int] = []
        for sources in self.before:
            mask = 0
            for source in sources:
                mask |= found[source] | 1 << source
            found.append(mask)
        return tuple(found)

    @cached_property
    def below(self) -> tuple[int, ...]:
        """All descendants of each node."""
        found = [0] * self.n
        for node in reversed(range(self.n)):
            for target in self.after[node]:
                found[node] |= found[target] | 1 << target
        return tuple(found)

    @cached_property
    def mates(self) -> tuple[int, ...]:
        """The group of each node as a set."""
        groups: dict[int, int] = {}
        for node, group in enumerate(self.group):
            groups[group] = groups.get(group, 0) | 1 << node
        return tuple(groups[group] for group in self.group)

    @cached_property
    def most_bytes(self) -> float:
        """The memory limit with slack for rounding."""
        return self.limit_bytes * (1 + ROOM)

    def bytes_of(self, mask: int) -> float:
        """Memory of a call."""
        return sum(self.size_bytes[node] for node in bits(mask))

    def closure(self, mask: int, closed: int = 0) -> int:
        """The smallest set around ``mask`` and ``closed`` that is convex and breaks no group.

        ``closed`` is a set that this function returned; knowing it saves time.
        """
        above, below = self._reach(closed)
        seen, mask = closed, mask | closed
        while seen != mask:
            fresh, seen = mask & ~seen, mask
            for node in bits(fresh):
                above |= self.above[node]
                below |= self.below[node]
                mask |= self.mates[node]
            mask |= above & below
        if len(self._reached) >= KEPT:
            self._reached.clear()
        self._reached[mask] = above, below
        return mask

    def _reach(self, closed: int) -> tuple[int, int]:
        """All ancestors and all descendants of a closed set."""
        if closed not in self._reached:
            above = below = 0
            for node in bits(closed):
                above |= self.above[node]
                below |= self.below[node]
            self._reached[closed] = above, below
        return self._reached[closed]

    @cached_property
    def _reached(self) -> dict[int, tuple[int, int]]:
        return {}

    @cached_property
    def stuck(self) -> int:
        """Nodes that no call can hold: unsupported, or their closure is too large or holds one."""
        found = mask_of([node for node in range(self.n) if self.call_s[node] == inf])
        closures = {group: self.closure(group) for group in set(self.mates)}
        for group, whole in closures.items():
            if self.bytes_of(whole) > self.most_bytes:
                found |= group
        grown = -1
        while grown != found:
            grown = found
            for group, whole in closures.items():
                if whole & found:
                    found |= group
        return found

    def load_s(self, mask: int) -> float:
        """Time from start to end of a call of exactly these nodes."""
        total = 0.0
        arriving = 0
        for node in bits(mask):
            total += self.call_s[node]
            arriving |= self.sources[node]
            if self.targets[node] & ~mask:
                total += self.tensor_s[node]
        return total + sum(self.tensor_s[node] for node in bits(arriving & ~mask))
