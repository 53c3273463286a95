"""Good plans of calls: simulated annealing over moves that keep every call sound."""

from collections.abc import Callable, Sequence
from math import exp
from random import Random
from time import monotonic

from splitter.partitioning.latency.calls import CallProblem, bits
from splitter.partitioning.latency.timing import Clock

Calls = tuple[int, ...]
"""One set of nodes per accelerator; an empty one is not used."""

_ANYWHERE = 0.1
"""Part of the growing moves that need not keep a call connected."""
_HOT, _COLD = 1e-2, 1e-5
"""First and last temperature, relative to the latency."""


def first_calls(clock: Clock, found: Sequence[int]) -> Calls:
    """Disjoint sound calls out of sets that may overlap, earlier ones first."""
    problem = clock.problem
    calls: list[int] = []
    taken = 0
    for mask in found:
        rest = mask & ~taken
        if rest and len(calls) < problem.calls and clock.sound(rest):
            calls.append(rest)
            taken |= rest
    return tuple(calls) + (0,) * (problem.calls - len(calls))


def packed_calls(clock: Clock) -> Calls:
    """One call after the other filled along the graph, as far as memory and groups let it."""
    problem = clock.problem
    calls: list[int] = []
    taken = now = 0
    for node in range(problem.n):
        if taken >> node & 1 or now >> node & 1:
            continue
        wider = problem.closure(1 << node, now)
        if not wider & taken and clock.sound(wider):
            now = wider
            continue
        calls.append(now)
        taken |= now
        alone = problem.closure(1 << node)
        now = alone if not alone & taken and clock.sound(alone) else 0
    found = [mask for mask in (*calls, now) if mask][: problem.calls]
    return tuple(found) + (0,) * (problem.calls - len(found))


def anneal(
    clock: Clock, start: Calls, steps: int, seed: int, deadline_s: float, goal_s: float = 0.0
) -> tuple[float, Calls]:
    """The cheapest point of a walk of ``steps`` moves, by `Clock.cost_s`.

    It stops early at ``goal_s``, a proved bound.
    """
    random = Random(seed)
    moves = _Moves(clock, random)
    now_s, now = clock.cost_s(start), start
    best_s, best = now_s, now
    for step in range(steps):
        if best_s <= goal_s or (step % 64 == 0 and monotonic() > deadline_s):
            break
        heat = best_s * _HOT * (_COLD / _HOT) ** (step / steps)
        after = moves.next(now)
        if after is None:
            continue
        after_s = clock.cost_s(after)
        if after_s <= now_s or random.random() < exp((now_s - after_s) / heat):
            now_s, now = after_s, after
            if now_s < best_s:
                best_s, best = now_s, now
    return best_s, best


class _Moves:
    """Random neighbours of a plan."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self.clock = clock
        self.problem: CallProblem = clock.problem
        self.random = random
        self.kinds: tuple[Callable[[Calls], Calls | None], ...] = (
            self._grow, self._grow, self._shrink, self._shift, self._shift, self._open, self._join,
        )  # fmt: skip

    def next(self, calls: Calls) -> Calls | None:
        """A neighbour, or None when the move drawn makes no sound plan."""
        return self.random.choice(self.kinds)(calls)

    def _used(self, calls: Calls) -> int | None:
        used = [number for number, mask in enumerate(calls) if mask]
        return self.random.choice(used) if used else None

    def _near(self, mask: int) -> int:
        """Nodes next to a call."""
        found = 0
        for node in bits(mask):
            for other in (*self.problem.before[node], *self.problem.after[node]):
                found |= 1 << other
        return found & ~mask

    def _pick(self, mask: int) -> int | None:
        """A random node of a set."""
        count = mask.bit_count()
        if count == 0:
            return None
        at = self.random.randrange(count)
        return next(node for i, node in enumerate(bits(mask)) if i == at)

    def _grow(self, calls: Calls) -> Calls | None:
        """Take in a neighbour, or now and then any node, sometimes with one a few steps further."""
        number = self._used(calls)
        if number is None:
            return self._open(calls)
        anywhere = self.random.random() < _ANYWHERE
        node = None if anywhere else self._pick(self._near(calls[number]))
        if node is None:
            node = self.random.randrange(self.problem.n)
        return self._place(calls, number, calls[number] | self._stretch(node))

    def _stretch(self, node: int) -> int:
        """A node and, half the time, another one up or down from it by a random walk."""
        found = 1 << node
        edges = self.random.choice((self.problem.before, self.problem.after))
        while self.random.random() < 0.6:
            further = edges[node]
            if not further:
                break
            node = self.random.choice(further)
            found |= 1 << node
        return found

    def _part(self, mask: int) -> int:
        """A random head or tail of a call, whole groups, such that the rest stays convex."""
        node = self._pick(mask)
        assert node is not None
        reach = self.random.choice((self.problem.above, self.problem.below))
        part, grown = 0, 1 << node
        while part != grown:
            fresh, part = grown & ~part, grown
            for one in bits(fresh):
                grown |= (reach[one] | self.problem.mates[one]) & mask
        return part

    def _shrink(self, calls: Calls) -> Calls | None:
        number = self._used(calls)
        if number is None:
            return None
        return self._with(calls, {number: calls[number] & ~self._part(calls[number])})

    def _shift(self, calls: Calls) -> Calls | None:
        """Move a head or tail of one call to another, or to an accelerator not yet used."""
        number = self._used(calls)
        if number is None or len(calls) < 2:
            return None
        other = self.random.choice([c for c in range(len(calls)) if c != number])
        return self._place(calls, other, calls[other] | self._part(calls[number]))

    def _open(self, calls: Calls) -> Calls | None:
        """Start a call around some node."""
        unused = [number for number, mask in enumerate(calls) if not mask]
        if not unused:
            return None
        return self._place(calls, unused[0], self._stretch(self.random.randrange(self.problem.n)))

    def _join(self, calls: Calls) -> Calls | None:
        """Make one call of two."""
        used = [number for number, mask in enumerate(calls) if mask]
        if len(used) < 2:
            return None
        one, two = self.random.sample(used, 2)
        return self._place(calls, one, calls[one] | calls[two])

    def _place(self, calls: Calls, number: int, mask: int) -> Calls | None:
        """Make ``mask``, closed, the call of ``number`` at the others' expense."""
        whole = self.problem.closure(mask)
        changed = {
            other: held & ~whole
            for other, held in enumerate(calls)
            if other != number and held & whole
        }
        return self._with(calls, {**changed, number: whole})

    def _with(self, calls: Calls, changed: dict[int, int]) -> Calls | None:
        if not all(self.clock.sound(mask) for mask in changed.values()):
            return None
        after = tuple(changed.get(number, mask) for number, mask in enumerate(calls))
        return None if after == calls else after
