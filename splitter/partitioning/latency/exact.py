"""All plans of calls of a small problem, by branch and bound over the groups.

Groups are decided in graph order: on the processors, in a call that is begun, or in a new one;
equal accelerators are told apart by their first group only. A call takes its whole closure at once.
The bound of a part-made plan is its longest path, where what is undecided takes its least time
and moves nothing, and a call starts after all that is known to be outside and lasts at least what
is known to be in it and to cross its border.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from time import monotonic

from splitter.partitioning.latency.anneal import Calls
from splitter.partitioning.latency.calls import CallProblem, bits
from splitter.partitioning.latency.timing import Clock

MOST_GROUPS = 40
"""Groups up to which it is worth trying."""
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Searched:
    """The best plan, and a latency that no plan can beat."""

    calls: Calls
    latency_s: float
    bound_s: float


@dataclass(frozen=True, slots=True)
class _Part:
    """A part-made plan."""

    bound_s: float
    on_cpu: int
    calls: Calls
    """Closed sets; those that are begun come first."""

    @property
    def decided(self) -> int:
        found = self.on_cpu
        for mask in self.calls:
            found |= mask
        return found


def search_all(clock: Clock, calls: Calls, deadline_s: float) -> Searched:
    """The best plan, beginning with ``calls``; it is proved when time does not run out."""
    problem = clock.problem
    best_s, best = clock.latency_s(calls), calls
    todo = [_Part(0.0, 0, (0,) * problem.calls)]
    everything = (1 << problem.n) - 1
    while todo and monotonic() <= deadline_s:
        part = todo.pop()
        if part.bound_s >= best_s * (1 - _ROUNDING):
            continue
        if part.decided == everything:
            reached_s = clock.latency_s(part.calls)
            if reached_s < best_s:
                best_s, best = reached_s, part.calls
            continue
        # The child with the least bound is on top of the stack.
        todo += sorted(_children(clock, part, best_s), key=lambda child: -child.bound_s)
    return Searched(best, best_s, min([best_s, *(part.bound_s for part in todo)]))


def _children(clock: Clock, part: _Part, best_s: float) -> Iterator[_Part]:
    problem = clock.problem
    decided = part.decided
    node = next(v for v in range(problem.n) if not decided >> v & 1)
    on_cpu = part.on_cpu | problem.mates[node]
    choices = [(on_cpu, part.calls)] if not problem.mates[node] & clock.must_call else []
    for number, mask in enumerate(part.calls):
        wider = problem.closure(1 << node, mask)
        if not wider & decided & ~mask and clock.sound(wider):
            calls = (*part.calls[:number], wider, *part.calls[number + 1 :])
            choices.append((part.on_cpu, calls))
        if not mask:
            break
    for on_cpu, calls in choices:
        child = _Part(part.bound_s, on_cpu, calls)
        bound_s = max(part.bound_s, _bound_s(problem, child))
        if bound_s < best_s:
            yield replace(child, bound_s=bound_s)


def _bound_s(problem: CallProblem, part: _Part) -> float:
    """No plan that begins like this ends earlier; infinite when calls wait for one another."""
    unit = [-1] * problem.n
    for number, mask in enumerate(part.calls):
        for node in bits(mask):
            unit[node] = number
    loads = [_least_load_s(problem, mask, part.decided & ~mask) for mask in part.calls]
    ended = [0.0] * problem.calls
    # One pass more than there are calls passes their ends on, unless they form a ring.
    for _ in range(problem.calls + 2):
        end, starts = _pass(problem, part, unit, ended)
        after = [start + load for start, load in zip(starts, loads, strict=True)]
        if after == ended:
            return max(end)
        ended = after
    return inf


def _least_load_s(problem: CallProblem, mask: int, outside: int) -> float:
    """What a call with at least these nodes, and none of ``outside``, takes at least."""
    total, arriving = 0.0, 0
    for node in bits(mask):
        total += problem.call_s[node]
        arriving |= problem.sources[node]
        if problem.targets[node] & outside:
            total += problem.tensor_s[node]
    return total + sum(problem.tensor_s[node] for node in bits(arriving & outside))


def _pass(
    problem: CallProblem, part: _Part, unit: list[int], ended: list[float]
) -> tuple[list[float], list[float]]:
    """Least ends of all nodes, and least starts of the calls, given least ends of the calls."""
    end: list[float] = []
    starts = [0.0] * len(ended)
    on_cpu, decided = part.on_cpu | problem.stuck, part.decided
    for node, sources in enumerate(problem.before):
        here = unit[node]
        ready = max((end[source] for source in sources), default=0.0)
        if here >= 0:
            known = [end[u] for u in sources if decided >> u & 1 and unit[u] != here]
            starts[here] = max([starts[here], *known])
            end.append(max(ready, ended[here]))
            continue
        own = problem.cpu_s[node]
        end.append(ready + (own if on_cpu >> node & 1 else min(own, problem.call_s[node])))
    return end, starts
