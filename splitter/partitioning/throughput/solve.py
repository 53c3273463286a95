"""The least period of a placement on one computer, and a proof or a gap."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Literal

from splitter.errors import InfeasibleError, PlanError
from splitter.partitioning.problem import Problem
from splitter.partitioning.throughput.bounds import period_bound
from splitter.partitioning.throughput.build import build_instance
from splitter.partitioning.throughput.contract import contract
from splitter.partitioning.throughput.instance import Assignment, Instance
from splitter.partitioning.throughput.loads import NOWHERE, Loads
from splitter.partitioning.throughput.local import improve
from splitter.partitioning.throughput.orders import (
    ROUNDING,
    Known,
    split_in_many,
    split_in_order,
)
from splitter.partitioning.throughput.pipeline import Found, PipelineSearch
from splitter.partitioning.throughput.program import build_seconds, solve_program

OPTIMAL_GAP = 1e-6
"""Relative gap at which a placement counts as proved optimal."""
_START_PART = 0.2
"""Of the time, for the pipeline from which a free placement starts."""
_ORDERS, _MOVES, _PROGRAM = "search along orders", "search by moves", "integer program"
_LISTING_PART = 0.7
"""Of the time, for pipelines over all down-sets."""
_ORDERS_PART = 0.3
"""Of the time, for pipelines along random orders when down-sets are too many."""
_WRITING_PART = 0.4
"""Of the time, for writing the integer program; one that takes longer is left alone."""
_LOCAL_PART, _LOCAL_S = 0.1, 3.0
"""Longest local search, as a part of the time and absolute."""


@dataclass(frozen=True, slots=True)
class PeriodPlan:
    """The best placement found, and what is proved about all others."""

    placement: Mapping[str, str]
    """Device of each layer."""
    period_s: float
    bound_s: float
    status: Literal["optimal", "feasible"]
    method: str = "bounds and search"
    """How it was found."""


def solve_period(problem: Problem, time_limit_s: float = 30.0, threads: int = 1) -> PeriodPlan:
    """The placement with the least period, a pipeline if the rules say ``contiguous``.

    Raises:
        InfeasibleError: it is proved that no placement respects the rules and the memory.
        PlanError: the rules do not go with this form of the problem, or no placement was found in
            the time and none was excluded.
    """
    deadline_s = monotonic() + time_limit_s
    contiguous = problem.constraints.contiguous
    instance = build_instance(problem, contiguous=contiguous)
    found = (
        _pipeline(instance, deadline_s, threads)
        if contiguous
        else _free(problem, instance, deadline_s, threads)
    )
    if found.assignment is None and found.bound_s == inf:
        raise InfeasibleError(
            f"no placement of {problem.graph.name} fits into the accelerators of "
            f"{problem.topology.name} with these rules; give them more memory or drop a rule"
        )
    if found.assignment is None:
        raise PlanError(
            f"no placement of {problem.graph.name} was found within {time_limit_s:g} s, and none "
            "was excluded; allow more time"
        )
    bound_s = min(found.bound_s, found.value_s)
    closed = found.value_s - bound_s <= OPTIMAL_GAP * found.value_s
    if found.value_s - bound_s <= 2 * ROUNDING * found.value_s:
        bound_s = found.value_s
    return PeriodPlan(
        placement=_placement(instance, found.assignment),
        period_s=found.value_s,
        bound_s=bound_s,
        status="optimal" if closed else "feasible",
        method=found.method,
    )


def _placement(instance: Instance, assignment: Assignment) -> dict[str, str]:
    return {
        layer: instance.device_names[device]
        for layers, device in zip(instance.layers, assignment, strict=True)
        for layer in layers
    }


def _pipeline(instance: Instance, deadline_s: float, threads: int) -> Found:
    """The best pipeline: along an order first, then over all down-sets, or by integer program."""
    known, known_s = split_in_order(instance)
    floor_s = period_bound(instance)
    if floor_s >= known_s * (1 - ROUNDING):
        return Found(known, known_s, known_s)
    smaller = contract(instance, known_s)
    now = monotonic()
    until_s = now + _LISTING_PART * (deadline_s - now)
    search = PipelineSearch(smaller.instance, Found(None, known_s, 0.0), until_s, deadline_s)
    found = search.run(floor_s)
    if found.assignment is not None:
        known, known_s = smaller.spread(found.assignment), found.value_s
    if search.too_many:
        return _wide_pipeline(instance, (known, known_s), floor_s, deadline_s, threads)
    return Found(known, known_s, found.bound_s)


def _wide_pipeline(
    instance: Instance, known: Known, floor_s: float, deadline_s: float, threads: int
) -> Found:
    """The best pipeline when down-sets are too many: along many orders, then by program."""
    now = monotonic()
    writable = build_seconds(instance) < _WRITING_PART * (deadline_s - now)
    part = _ORDERS_PART if writable else 1.0
    known = split_in_many(instance, known, now + part * (deadline_s - now))
    if not writable:
        return Found(*known, floor_s, _ORDERS)
    smaller = contract(instance, known[1])
    start = None if known[0] is None else smaller.shrunk(known[0])
    left_s = max(0.1, deadline_s - monotonic())
    result = solve_program(smaller.instance, start, floor_s, left_s, threads)
    if result.assignment is not None:
        found = smaller.spread(result.assignment)
        if instance.period_s(found) < known[1]:
            known = found, instance.period_s(found)
    bound_s = result.bound_s if known[0] is not None or result.complete else floor_s
    return Found(*known, bound_s, _PROGRAM)


def _free(problem: Problem, instance: Instance, deadline_s: float, threads: int) -> Found:
    """The best placement: from a pipeline by local search, then the integer program."""
    best = _start(problem, instance, deadline_s)
    if best is None:
        result = solve_program(instance, None, 0.0, deadline_s - monotonic(), threads)
        if result.assignment is None:
            return Found(None, inf, result.bound_s if result.complete else 0.0, _PROGRAM)
        best = result.assignment
    now = monotonic()
    best = improve(instance, best, now + min(_LOCAL_S, _LOCAL_PART * (deadline_s - now)))
    best_s = instance.period_s(best)
    floor_s = period_bound(instance)
    if floor_s >= best_s * (1 - ROUNDING):
        return Found(best, best_s, best_s, _MOVES)
    smaller = contract(instance, best_s)
    if build_seconds(smaller.instance) > _WRITING_PART * (deadline_s - monotonic()):
        best = improve(instance, best, deadline_s)
        return Found(best, instance.period_s(best), floor_s, _MOVES)
    left_s = max(0.1, deadline_s - monotonic())
    result = solve_program(smaller.instance, smaller.shrunk(best), floor_s, left_s, threads)
    if result.assignment is not None:
        found = smaller.spread(result.assignment)
        best = min(best, found, key=instance.period_s)
    return Found(best, instance.period_s(best), result.bound_s, _PROGRAM)


def _start(problem: Problem, instance: Instance, deadline_s: float) -> Assignment | None:
    """A pipeline as a free placement, or blocks one after the other where they hurt least."""
    now = monotonic()
    try:
        ordered = build_instance(problem, contiguous=True)
        pipeline = _pipeline(ordered, now + _START_PART * (deadline_s - now), 1)
    except InfeasibleError:  # only of the order, which a free placement need not keep
        pipeline = Found(None, inf, inf)
    if pipeline.assignment is not None:
        device = {
            layer: number
            for layers, number in zip(ordered.layers, pipeline.assignment, strict=True)
            for layer in layers
        }
        return tuple(device[layers[0]] for layers in instance.layers)
    loads = Loads(instance, [NOWHERE] * instance.n)
    loads.settle(sorted(range(instance.n), key=lambda block: -instance.sizes[block]))
    found = tuple(loads.device)
    return found if instance.period_s(found) < inf else None
