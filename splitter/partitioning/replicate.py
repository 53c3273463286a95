"""Replicas that raise throughput: idle devices equal to the busiest take turns with it.

Opt-in by the topology's ``replicas``. From the best plain plan, and from everything on one device,
one device's group, or those of all the busiest, grow by an equal idle device as long as the period
falls.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import networkx as nx

from splitter.estimate import estimate
from splitter.partitioning.compare import bottleneck
from splitter.partitioning.judge import fits
from splitter.partitioning.large import fastest_devices, is_large
from splitter.partitioning.large.load_bound import shared_work_s
from splitter.partitioning.large.tables import Tables
from splitter.partitioning.problem import Problem
from splitter.plan import Estimate, Plan, Proof, Turn
from splitter.schedule import transfers_of
from splitter.turns import Groups, mean_estimate, turns_of

_MOST_TURNS = 12
_LEAST_GAIN = 1e-6
_BUSY = 0.9
"""Part of the period from which a device counts as one of the busiest."""
_TRIED_WHEN_LARGE = 2


@dataclass(frozen=True, slots=True)
class _Choice:
    placement: Mapping[str, str]
    groups: Groups
    estimate: Estimate
    turns: tuple[Estimate, ...]


def with_replicas(problem: Problem, plan: Plan) -> Plan:
    """``plan``, or a plan whose parts take turns on equal devices if its period is shorter."""
    starts = [plan.placement]
    alone = fastest_devices(problem)[-1:] if is_large(problem) else range(problem.m)
    starts += [problem.placement((device,) * problem.n) for device in alone]
    best: _Choice | None = None
    for placement in starts:
        found = _grown(problem, placement)
        if found is not None and (best is None or _period(found) < _period(best)):
            best = found
    if best is None or _period(best) >= plan.estimate.period_s * (1 - _LEAST_GAIN):
        return plan
    return _replicated(problem, plan, best)


def _period(choice: _Choice) -> float:
    return choice.estimate.period_s


def _grown(problem: Problem, placement: Mapping[str, str]) -> _Choice | None:
    """``placement`` with the groups that shorten its period most; None when none does."""
    best: _Choice | None = None
    here = _judged(problem, placement, ())
    while here is not None:
        options = [_judged(problem, placement, groups) for groups in _next(problem, here)]
        better = [o for o in options if o and _period(o) < _period(here) * (1 - _LEAST_GAIN)]
        if not better:
            break
        here = best = min(better, key=_period)
    return best


def _next(problem: Problem, choice: _Choice) -> Iterator[Groups]:
    """The groups with one more replica for one device, or for each of the busiest."""
    loads = sorted(choice.estimate.devices, key=lambda load: -load.compute_s)
    used = set(choice.placement.values())
    by_load = [load for load in loads if load.device in used]
    firsts = [load.device for load in by_load]
    for first in firsts[:_TRIED_WHEN_LARGE] if is_large(problem) else firsts:
        yield from _with_more(problem, choice, [first])
    busiest = [d.device for d in by_load if d.compute_s >= _BUSY * choice.estimate.period_s]
    if len(busiest) > 1:
        yield from _with_more(problem, choice, busiest)


def _with_more(problem: Problem, choice: _Choice, firsts: list[str]) -> Iterator[Groups]:
    """The groups in which each of ``firsts`` has one more replica, if there are idle ones."""
    devices = problem.topology.by_name
    taken = {*choice.placement.values(), *(n for group in choice.groups for n in group)}
    groups = {group[0]: group for group in choice.groups}
    for first in firsts:
        model = devices[first]
        equal = [
            name
            for name, one in devices.items()
            if name not in taken and (one.card, one.threads) == (model.card, model.threads)
        ]
        if not equal:
            return
        taken.add(equal[0])
        groups[first] = (*groups.get(first, (first,)), equal[0])
    yield tuple(groups.values())


def _judged(problem: Problem, placement: Mapping[str, str], groups: Groups) -> _Choice | None:
    """The choice with its figures; None when a turn breaks a rule or does not fit."""
    placements = turns_of(placement, groups)
    if len(placements) > _MOST_TURNS:
        return None
    try:
        if not all(fits(problem, problem.assignment(turn)) for turn in placements):
            return None
    except nx.NetworkXNoPath:
        return None
    turns = tuple(
        estimate(problem.graph, problem.topology, problem.costs, turn, problem.slots)
        for turn in placements
    )
    return _Choice(placement, groups, mean_estimate(turns), turns)


def _replicated(problem: Problem, plan: Plan, choice: _Choice) -> Plan:
    period_s = _period(choice)
    bound = min(shared_work_s(Tables(problem)), period_s)
    proof = Proof(
        "feasible",
        bound,
        (period_s - bound) / period_s if period_s > 0 else 0.0,
        plan.proof.solve_s,
        "equal devices in turns; work shared over all devices",
    )
    graph, topology, costs = problem.graph, problem.topology, problem.costs
    turns = tuple(
        Turn(placement, transfers_of(graph, topology, placement), reached)
        for placement, reached in zip(
            turns_of(choice.placement, choice.groups), choice.turns, strict=True
        )
    )
    names = " and ".join(", ".join(group) for group in choice.groups)
    placed = choice.placement.items()
    return replace(
        plan,
        placement=choice.placement,
        transfers=turns[0].transfers,
        estimate=choice.estimate,
        proof=proof,
        flips=(),
        cost_sources={name: costs[name, device].source for name, device in placed},
        layer_seconds={name: costs.seconds(name, device) for name, device in placed},
        bottleneck=f"{names} take turns; {bottleneck(problem, choice.estimate, plan.objective)}",
        replicas=choice.groups,
        turns=turns,
    )
