"""The bandwidth at which one device alone would become as good as the plan."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from splitter.objective import Objective
from splitter.partitioning.judge import value
from splitter.partitioning.problem import Assignment, Problem
from splitter.partitioning.simulate import hops
from splitter.plan import Alternative, Estimate, Flip, LinkLoad

_FACTOR_RANGE = 1e4
"""Flips are looked for between today's bandwidth divided and multiplied by this."""
_STEPS_PER_DECADE = 16
_EXACT = 1e-12
"""Relative width of an interval at which a flip counts as found."""
_MOST_STEPS = 60


def flips(
    problem: Problem,
    objective: Objective,
    assignment: Assignment,
    singles: tuple[Alternative, ...],
    reached: Estimate,
) -> tuple[Flip, ...]:
    """Per possible single device: the bandwidth at which it equals the plan, nearest to today's.

    Only time depends on the bandwidth.
    """
    if objective not in ("latency", "throughput"):
        return ()
    scaling = _Scaling(problem, objective)
    found: list[Flip] = []
    for single in singles:
        alone = (problem.device_number[single.device],) * problem.n
        if single.value is None or alone == assignment:
            continue
        factor = _crossing(scaling.difference(assignment, alone))
        busiest = _busiest_link(problem, reached.links, alone)
        if factor is None or busiest is None:
            continue
        source, target, mbit_s = busiest
        found.append(Flip(single.device, factor, f"{source} -> {target}", factor * mbit_s))
    return tuple(found)


@dataclass
class _Scaling:
    """Values at other bandwidths, each computed once: all devices are compared with one plan."""

    problem: Problem
    objective: Objective
    scaled: dict[float, Problem] = field(default_factory=dict)
    known: dict[tuple[float, Assignment], float] = field(default_factory=dict)

    def value(self, factor: float, assignment: Assignment) -> float:
        """What ``assignment`` takes when every link's bandwidth is multiplied."""
        if factor not in self.scaled:
            self.scaled[factor] = _scaled(self.problem, factor)
        key = factor, assignment
        if key not in self.known:
            self.known[key] = value(self.scaled[factor], self.objective, assignment)
        return self.known[key]

    def difference(self, plan: Assignment, alone: Assignment) -> Callable[[float], float]:
        """How much dearer ``alone`` is than ``plan`` at a bandwidth."""
        return lambda factor: self.value(factor, alone) - self.value(factor, plan)


def _scaled(problem: Problem, factor: float) -> Problem:
    links = tuple(
        replace(link, bandwidth_bytes_per_s=link.bandwidth_bytes_per_s * factor)
        for link in problem.links
    )
    return problem.over(replace(problem.topology, links=links))


def _crossing(difference: Callable[[float], float]) -> float | None:
    """The factor nearest to 1 at which the difference changes sign."""
    for low, high in _outward():
        at_low, at_high = difference(low), difference(high)
        if math.isinf(at_low) or math.isinf(at_high):
            return None
        if (at_low > 0) != (at_high > 0):
            return _between(difference, low, high)
    return None


def _outward() -> list[tuple[float, float]]:
    """Intervals around 1, nearest first, alternately above and below."""
    steps = int(_STEPS_PER_DECADE * math.log10(_FACTOR_RANGE))
    edges = [10 ** (i / _STEPS_PER_DECADE) for i in range(steps + 1)]
    found: list[tuple[float, float]] = []
    for near, far in itertools.pairwise(edges):
        found += [(near, far), (1 / far, 1 / near)]
    return found


def _between(difference: Callable[[float], float], low: float, high: float) -> float:
    """Where the sign changes: mostly by the false position, since time is piecewise linear in the
    inverse of the bandwidth; every third step halves, since it may also jump.
    """
    at_low, at_high = difference(low), difference(high)
    positive = at_low > 0
    for step in range(_MOST_STEPS):
        if high <= low * (1 + _EXACT):
            break
        middle = math.sqrt(low * high)
        if step % 3 < 2 and at_low != at_high:
            part = at_low / (at_low - at_high)
            guess = 1 / (1 / low + part * (1 / high - 1 / low))
            # A step beyond the guess by a hair, in turns, closes the interval from both sides.
            guess *= 1 + (0.3 * _EXACT if step % 3 else -0.3 * _EXACT)
            middle = guess if low < guess < high else middle
        at = difference(middle)
        if (at > 0) == positive:
            low, at_low = middle, at
        else:
            high, at_high = middle, at
    return math.sqrt(low * high)


def _busiest_link(
    problem: Problem, loads: tuple[LinkLoad, ...], alone: tuple[int, ...]
) -> tuple[str, str, float] | None:
    """The plan's link with the most time per request; the alternative's when the plan has none."""
    if loads:
        load = max(loads, key=lambda one: one.seconds)
        link = problem.topology.link_between[load.source, load.target]
        return load.source, load.target, link.bandwidth_bytes_per_s * 8 / 1e6
    carried = {number: 0.0 for _, number in hops(problem, alone) or ()}
    for w, number in hops(problem, alone) or ():
        carried[number] += problem.links[number].seconds(problem.wires[w].bytes)
    if not carried:
        return None
    link = problem.links[max(carried, key=lambda number: carried[number])]
    return link.source, link.target, link.bandwidth_bytes_per_s * 8 / 1e6
