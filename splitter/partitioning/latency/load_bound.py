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

from splitter.partitioning.latency.calls import CallProblem, bits

NOWHERE = -1
"""In place of an entry or exit: nothing is known to be outside."""


@dataclass(frozen=True, slots=True)
class _Border:
    """A set and the tensors across its edge."""

    inside: int
    call_s: float
    bytes: float
    move_s: float
    """Time to move all tensors across the border."""
    sources: int
    """Nodes outside whose tensors enter."""
    targets: tuple[tuple[int, tuple[int, ...], int], ...]
    """Nodes inside whose tensors leave at a cost, and their readers outside, also as a set."""
    shares: dict[int, int]
    """How many of `targets` each reader outside reads."""


class LoadBound:
    """Lower bounds on loads for one problem, remembered."""

    def __init__(self, problem: CallProblem) -> None:
        self.problem = problem
        self._fits: dict[int, bool] = {}
        self._borders: dict[int, _Border] = {}
        self._loads: dict[tuple[int, int, int], float] = {}

    def fits(self, inside: int) -> bool:
        """Whether a call may hold the closed set ``inside``."""
        if inside not in self._fits:
            stuck, most = self.problem.stuck, self.problem.most_bytes
            self._fits[inside] = not inside & stuck and self.problem.bytes_of(inside) <= most
        return self._fits[inside]

    def outside(self, entry: int, leave: int) -> int:
        """Nodes that are not in a call with this entry and exit."""
        found = 0
        if entry != NOWHERE:
            found |= self.problem.above[entry] | 1 << entry
        if leave != NOWHERE:
            found |= self.problem.below[leave] | 1 << leave
        return found

    def sources(self, inside: int) -> int:
        """Nodes outside ``inside`` whose tensors enter it."""
        return self._border(inside).sources

    def least_s(self, inside: int, entry: int, leave: int) -> float:
        """Least time of a call that holds ``inside``; infinite when there is none."""
        key = (inside, entry, leave)
        if key not in self._loads:
            outside = self.outside(entry, leave)
            self._loads[key] = inf if outside & inside else self._least_s(inside, outside)
        return self._loads[key]

    def _least_s(self, inside: int, outside: int) -> float:
        border = self._border(inside)
        room = self.problem.most_bytes - border.bytes
        total = border.call_s + border.move_s
        joins = [*self._arriving(border, outside), *self._leaving(border, outside)]
        for saving_s, size in sorted(joins, key=lambda join: join[1] / join[0]):
            if size > room:
                return total - saving_s * room / size
            total -= saving_s
            room -= size
        return total

    def _border(self, inside: int) -> _Border:
        if inside not in self._borders:
            self._borders[inside] = self._new_border(inside)
        return self._borders[inside]

    def _new_border(self, inside: int) -> _Border:
        problem = self.problem
        tensor_s = problem.tensor_s
        sources = 0
        call_s = size = move_s = 0.0
        targets: list[tuple[int, tuple[int, ...], int]] = []
        shares: dict[int, int] = {}
        for node in bits(inside):
            call_s += problem.call_s[node]
            size += problem.size_bytes[node]
            sources |= problem.sources[node]
            outside = problem.targets[node] & ~inside
            if outside and tensor_s[node] > 0.0:
                move_s += tensor_s[node]
                readers = tuple(bits(outside))
                targets.append((node, readers, outside))
                for reader in readers:
                    shares[reader] = shares.get(reader, 0) + 1
        sources &= ~inside
        move_s += sum(tensor_s[node] for node in bits(sources))
        return _Border(inside, call_s, size, move_s, sources, tuple(targets), shares)

    def _may_join(self, border: _Border, mask: int, outside: int) -> bool:
        """Whether a call may hold these nodes as well, with all that they bring along."""
        whole = self.problem.closure(mask, border.inside)
        return not whole & outside and self.fits(whole)

    def _arriving(self, border: _Border, outside: int) -> Iterator[tuple[float, float]]:
        """(time saved at most, memory taken at least) per source that may join."""
        problem = self.problem
        for source in bits(border.sources & ~outside & ~problem.stuck):
            saving_s = problem.tensor_s[source]
            if saving_s > 0.0:
                saving_s -= self._up(source, border.sources, outside)
            if saving_s > 0.0 and self._may_join(border, 1 << source, outside):
                yield saving_s, problem.size_bytes[source]

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

    def _leaving(self, border: _Border, outside: int) -> Iterator[tuple[float, float]]:
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
            if saving_s > 0.0 and self._may_join(border, all_readers, outside):
                yield saving_s, size

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
