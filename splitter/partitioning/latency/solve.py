"""The best calls for one request: a bound along paths, then annealing from what it shows, and
for few nodes a search through all plans.
"""

from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Literal

from splitter.errors import InfeasibleError, PlanError
from splitter.partitioning.latency.anneal import Calls, anneal, first_calls, packed_calls
from splitter.partitioning.latency.calls import CallProblem, bits
from splitter.partitioning.latency.exact import MOST_GROUPS, search_all
from splitter.partitioning.latency.load_bound import LoadBound
from splitter.partitioning.latency.merge import merge
from splitter.partitioning.latency.path_bound import path_bound, trunks
from splitter.partitioning.latency.timing import Clock

OPTIMAL_GAP = 1e-6
"""Relative gap at which a plan counts as proved optimal."""
_ROUNDING = 1e-9
"""Relative difference of two latencies that counts as none: the same sums in another order."""
_BOUND_PART = 0.6
"""Of the time, for bounds at most."""
_STEPS, _STEPS_PER_NODE = 1_000, 60
"""Moves of one walk: so many, and so many more per node."""
_NO_ROOM = (
    "the nodes that no processor can run do not fit on the accelerators, each called once; "
    "give them more memory, or add an accelerator or a processor"
)
_MOST_WALKS = 12
"""Walks without a better plan after which the search ends before its time does."""


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Which nodes each accelerator runs as one call; all others run on processors."""

    calls: tuple[tuple[int, ...], ...]
    latency_s: float
    bound_s: float
    """No plan ends earlier."""
    status: Literal["optimal", "feasible"]


def solve_calls(problem: CallProblem, time_limit_s: float = 30.0, seed: int = 0) -> CallPlan:
    """The plan with the smallest latency that was found in the time, and what is proved.

    Raises:
        InfeasibleError: some node can run neither on a processor nor in a call.
        PlanError: no plan was found in the time, and none was excluded.
    """
    deadline_s = monotonic() + time_limit_s
    merged = merge(problem)
    smaller = merged.problem
    homeless = [v for v in bits(smaller.stuck) if smaller.cpu_s[v] == inf]
    if homeless:
        raise InfeasibleError(
            f"node {merged.members[homeless[0]][0]} can run neither on a processor nor, with the "
            f"nodes that must be with it, on an accelerator of {problem.limit_bytes:g} bytes"
        )
    bound_s, starts = _bounds(smaller, monotonic() + _BOUND_PART * time_limit_s)
    if bound_s == inf:
        raise InfeasibleError(_NO_ROOM)
    clock = Clock(smaller)
    best = _search(clock, starts, bound_s, deadline_s, seed)
    best_s = clock.latency_s(best)
    if not _proved(best_s, bound_s) and len(set(smaller.group)) <= MOST_GROUPS:
        whole = search_all(clock, best, deadline_s)
        best, best_s, bound_s = whole.calls, whole.latency_s, max(bound_s, whole.bound_s)
    if bound_s == inf:
        raise InfeasibleError(_NO_ROOM)
    if best_s == inf:
        raise PlanError("no plan was found in the time, and none was excluded; allow more time")
    if best_s - bound_s <= _ROUNDING * best_s:
        bound_s = best_s
    return CallPlan(
        calls=tuple(
            tuple(sorted(node for v in bits(mask) for node in merged.members[v]))
            for mask in best
            if mask
        ),
        latency_s=best_s,
        bound_s=bound_s,
        status="optimal" if _proved(best_s, bound_s) else "feasible",
    )


def _proved(latency_s: float, bound_s: float) -> bool:
    return latency_s < inf and latency_s - bound_s <= OPTIMAL_GAP * latency_s


def _bounds(problem: CallProblem, deadline_s: float) -> tuple[float, list[tuple[int, ...]]]:
    """The best bound over all trunks, and the calls that each shows."""
    loads = LoadBound(problem)
    found = [path_bound(problem, trunk, loads, deadline_s) for trunk in (None, *trunks(problem))]
    return max((one.latency_s for one in found), default=0.0), [one.calls for one in found]


def _search(
    clock: Clock, shown: list[tuple[int, ...]], bound_s: float, deadline_s: float, seed: int
) -> Calls:
    """Walks from the calls that the bounds showed, from full ones, from none, and from the best."""
    nothing: Calls = (0,) * clock.problem.calls
    starts = [*(first_calls(clock, calls) for calls in shown), packed_calls(clock), nothing]
    best_s, best = min((clock.cost_s(start), start) for start in starts)
    steps = _STEPS + _STEPS_PER_NODE * clock.problem.n
    idle = walk = 0
    while not _proved(best_s, bound_s) and idle < _MOST_WALKS:
        if monotonic() > deadline_s:
            break
        begin = starts[walk // 2 % len(starts)] if walk % 2 == 0 else best
        found_s, found = anneal(clock, begin, steps, seed + walk, deadline_s, bound_s)
        idle = 0 if found_s < best_s else idle + 1
        best_s, best = min((best_s, best), (found_s, found))
        walk += 1
    return best
