"""What a call costs at least when only some of its nodes are known.

Known are: a set that the call holds, a node outside from which an edge enters the set (the
*entry*), and a node outside to which an edge leaves it (the *exit*). As calls are convex, no
ancestor of the entry and no descendant of the exit is in the call. Every other node across an edge
of the set either stays outside, and a tensor is moved, or joins. Joining takes memory, adds the
node's own time, and often only moves the border further along a chain that no other tensor shares:
then the cheapest place to cut that chain is paid. At best the joins are a fractional knapsack over
the memory that is left.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from splitter.partitioning.latency.calls import KEPT, CallProblem, bits

NOWHERE = -1
"""In place of an entry or exit: nothing is known to be outside."""


@dataclass(frozen=True, slots=True)
class Held:
    """A closed set that a call holds, with what its nodes add up to."""

    inside: int = 0
    call_s: float = 0.0
    size_bytes: float = 0.0
    sources: int = 0
    """Nodes outside whose tensors enter."""
    leaving: int = 0
    """Nodes inside that others outside read."""

    def wider(self, problem: CallProblem, node: int) -> "Held":
        """The smallest closed set that holds ``node`` as well."""
        whole = problem.closure(1 << node, self.inside)
        call_s, size, sources = self.call_s, self.size_bytes, self.sources
        leaving = self.leaving
        for fresh in bits(whole & ~self.inside):
            call_s += problem.call_s[fresh]
            size += problem.size_bytes[fresh]
            sources |= problem.sources[fresh]
            leaving |= 1 << fresh
        for node in bits(leaving):
            if not problem.targets[node] & ~whole:
                leaving ^= 1 << node
        return Held(whole, call_s, size, sources & ~whole, leaving)


@dataclass(frozen=True, slots=True)
class _Border:
    """The tensors across the edge of a set."""

    held: Held
    move_s: float
    """Time to move all tensors across the border."""
    targets: tuple[tuple[int, tuple[int, ...], int], ...]
    """Nodes inside whose tensors leave at a cost, and their readers outside, also as a set."""
    shares: dict[int, int]
    """How many of `targets` each reader outside reads."""


@dataclass(frozen=True, slots=True)
class _Join:
    """Nodes that may join a call, so that a tensor need not be moved."""

    saving_s: float
    """Time saved at most."""
    bytes: float
    """Memory taken at least."""
    nodes: int


class LoadBound:
    """Lower bounds on loads for one problem, remembered."""

    def __init__(self, problem: CallProblem) -> None:
        self.problem = problem
        self._borders: dict[int, _Border] = {}
        self._loads: dict[tuple[int, int, int], float] = {}

    def outside(self, entry: int, leave: int) -> int:
        """Nodes that are not in a call with this entry and exit."""
        found = 0
        if entry != NOWHERE:
            found |= self.problem.above[entry] | 1 << entry
        if leave != NOWHERE:
            found |= self.problem.below[leave] | 1 << leave
        return found

    def least_s(self, held: Held, entry: int, leave: int, enough_s: float = inf) -> float:
        """Least time of a call that holds ``held``; infinite when there is none.

        A bound of ``enough_s`` or more is not sharpened any further.
        """
        key = (held.inside, entry, leave)
        if key in self._loads:
            return self._loads[key]
        outside = self.outside(entry, leave)
        if outside & held.inside:
            return inf
        border = self._border(held)
        joins = [*self._arriving(border, outside), *self._leaving(border, outside)]
        least_s = self._packed_s(border, joins)
        if least_s < enough_s:
            joins = [join for join in joins if self._may_join(border, join.nodes, outside)]
            if len(self._loads) >= KEPT:
                self._loads.clear()
            least_s = self._loads[key] = self._packed_s(border, joins)
        return least_s

    def _packed_s(self, border: _Border, joins: list[_Join]) -> float:
        """The time when what saves most for its memory joins, the last of it in part."""
        room = self.problem.most_bytes - border.held.size_bytes
        total = border.held.call_s + border.move_s
        for join in sorted(joins, key=lambda join: join.bytes / join.saving_s):
            if join.bytes > room:
                return total - join.saving_s * room / join.bytes
            total -= join.saving_s
            room -= join.bytes
        return total

    def _border(self, held: Held) -> _Border:
        if held.inside not in self._borders:
            if len(self._borders) >= KEPT:
                self._borders.clear()
            self._borders[held.inside] = self._new_border(held)
        return self._borders[held.inside]

    def _new_border(self, held: Held) -> _Border:
        tensor_s = self.problem.tensor_s
        move_s = sum(tensor_s[node] for node in bits(held.sources))
        targets: list[tuple[int, tuple[int, ...], int]] = []
        shares: dict[int, int] = {}
        for node in bits(held.leaving):
            if tensor_s[node] > 0.0:
                outside = self.problem.targets[node] & ~held.inside
                move_s += tensor_s[node]
                readers = tuple(bits(outside))
                targets.append((node, readers, outside))
                for reader in readers:
                    shares[reader] = shares.get(reader, 0) + 1
        return _Border(held, move_s, tuple(targets), shares)

    def _may_join(self, border: _Border, mask: int, outside: int) -> bool:
        """Whether a call may hold these nodes as well, with all that they bring along."""
        problem, held = self.problem, border.held
        fresh = problem.closure(mask, held.inside) & ~held.inside
        if fresh & (outside | problem.stuck):
            return False
        return held.size_bytes + problem.bytes_of(fresh) <= problem.most_bytes

    def _arriving(self, border: _Border, outside: int) -> Iterator[_Join]:
        """Sources that may join."""
        problem, sources = self.problem, border.held.sources
        for source in bits(sources & ~outside & ~problem.stuck):
            saving_s = problem.tensor_s[source]
            if saving_s > 0.0:
                saving_s -= self._up(source, sources, outside)
            if saving_s > 0.0:
                yield _Join(saving_s, problem.size_bytes[source], 1 << source)

    def _up(self, source: int, arriving: int, outside: int) -> float:
        """Least time that joining ``source`` adds: its own, and the cut of the chain above it."""
        problem = self.problem
        own_s, least_s = problem.call_s[source], inf
        node = source
        while len(problem.before[node]) == 1:
            over = problem.before[node][0]
            if len(problem.after[over]) > 1:
                if outside >> over & 1 and not arriving >> over & 1:
                    own_s += problem.tensor_s[over] / len(problem.after[over])
                break
            least_s = min(least_s, own_s + problem.tensor_s[over])
            if outside >> over & 1 or problem.stuck >> over & 1:
                return least_s
            own_s += problem.call_s[over]
            node = over
        return min(least_s, own_s)

    def _leaving(self, border: _Border, outside: int) -> Iterator[_Join]:
        """The same per tensor that leaves; all its readers must join."""
        problem = self.problem
        closed = outside | problem.stuck
        for node, readers, all_readers in border.targets:
            if closed & all_readers:
                continue
            saving_s = problem.tensor_s[node]
            # A reader may serve several tensors; each bears its part of the memory.
            size = sum(problem.size_bytes[r] / border.shares[r] for r in readers)
            saving_s -= sum(self._down(r, closed) for r in readers if len(problem.before[r]) == 1)
            if saving_s > 0.0:
                yield _Join(saving_s, size, all_readers)

    def _down(self, reader: int, closed: int) -> float:
        """Least time that joining ``reader`` adds, when only the call feeds it."""
        problem = self.problem
        own_s, least_s = 0.0, inf
        node = reader
        while True:
            own_s += problem.call_s[node]
            targets = problem.after[node]
            cut_s = own_s + problem.tensor_s[node]
            if any(closed >> target & 1 for target in targets):
                return min(least_s, cut_s)
            if len(targets) != 1 or len(problem.before[targets[0]]) != 1:
                return min(least_s, own_s)
            least_s = min(least_s, cut_s)
            node = targets[0]
