"""Plans for problems too large for the integer program, with a bound on all other plans.

What is found is judged exactly; what is proved holds for every plan. The pieces: `load_bound`,
`path_bound` and `region_bound` prove, `pipelines`, `list_schedule`, `period_search` and
`latency_search` find.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from time import monotonic
from typing import Literal

import networkx as nx
import numpy as np

from splitter.errors import InfeasibleError, PlanError
from splitter.memory import NODE_OVERHEAD_BYTES
from splitter.partitioning.ilp import OPTIMAL_GAP, Solution
from splitter.partitioning.judge import fits, value
from splitter.partitioning.large import latency_search
from splitter.partitioning.large.levels import finest
from splitter.partitioning.large.list_schedule import scheduled
from splitter.partitioning.large.load_bound import least_cost, least_period_s
from splitter.partitioning.large.loads import Loads, UnconnectedError
from splitter.partitioning.large.path_bound import earliest, remaining
from splitter.partitioning.large.period_search import PeriodSearch
from splitter.partitioning.large.pipelines import Pipelines, walks
from splitter.partitioning.large.region_bound import chained_regions
from splitter.partitioning.large.tables import Floats, Tables
from splitter.partitioning.problem import Assignment, Problem
from splitter.partitioning.simulate import memory_bytes
from splitter.plan import Objective

LARGEST_EXACT = 20_000
"""Transport variables (edges x devices squared) up to which the integer program is built."""
_COMPARED = 5
"""Single devices with which a large plan is compared."""
_PATIENCE = 2
"""Rounds without progress after which the search ends."""
_LEAST_GAIN = 2e-3
_ROUNDS_TO_FIT = 6
_SEED_PART = 0.35
"""Of the time, for first plans."""
_EXCESS_WEIGHT = 20.0
"""How much worse a first plan looks for each part of all memory by which it is too large."""


def transport_variables(problem: Problem) -> int:
    """About how many variables the integer program has."""
    edges = sum(len(wire.readers) for wire in problem.wires if not wire.is_input)
    return (edges + problem.n) * problem.m**2


def is_large(problem: Problem) -> bool:
    """Whether the integer program would be too large to help."""
    return transport_variables(problem) > LARGEST_EXACT


def fastest_devices(problem: Problem) -> list[int]:
    """The few devices that compute the whole model in the least time, in the topology's order."""
    seconds = [sum(row[d] for row in problem.compute) for d in range(problem.m)]
    return sorted(sorted(range(problem.m), key=seconds.__getitem__)[:_COMPARED])


def solve_large(
    problem: Problem,
    objective: Objective,
    time_limit_s: float = 30.0,
    starts: Sequence[Assignment] = (),
) -> Solution:
    """A good placement and a bound, no worse than any of ``starts`` that holds.

    Raises:
        InfeasibleError: the weights alone exceed the memory of all devices together.
        PlanError: no placement that holds was found in the time.
    """
    began = monotonic()
    _check_memory(problem)
    search = _Search(Tables(problem), objective, began, time_limit_s)
    for start in starts:
        search.offer(start)
    search.run()
    if search.best is None:
        raise PlanError(
            f"no placement of {problem.graph.name} that respects all limits was found within "
            f"{time_limit_s:g} s, and none was excluded; allow more time or relax a rule"
        )
    bound = min(search.bound, search.best_value)
    closed = search.best_value - bound <= OPTIMAL_GAP * abs(search.best_value)
    status: Literal["optimal", "feasible"] = "optimal" if closed else "feasible"
    return Solution(
        search.best, search.best_value, bound, status, monotonic() - began, search.method
    )


def _check_memory(problem: Problem) -> None:
    weights, memory = problem.graph.total_weight_bytes, sum(problem.limits)
    if weights > memory:
        raise InfeasibleError(
            f"{problem.graph.name} has {weights / 1e6:.1f} MB of weights, the devices of "
            f"{problem.topology.name} have {memory / 1e6:.1f} MB of memory together; "
            "give them more, or add devices"
        )


class _Search:
    """Bounds first, since they are quick; then plans until the time is over."""

    def __init__(self, tables: Tables, objective: Objective, began: float, time_limit_s: float):
        self.tables, self.problem, self.objective = tables, tables.problem, objective
        self.began, self.deadline_s = began, began + time_limit_s
        self.grace_s = time_limit_s
        """Time beyond the limit for finding any plan at all."""
        self.best: Assignment | None = None
        self.best_value = inf
        self.bound = 0.0
        self.method = ""
        possible = np.isfinite(tables.compute)
        seconds = np.where(possible, tables.compute, 0.0)
        self.whole_s = seconds.sum(axis=0) + (~possible).sum(axis=0) * seconds.max()
        """The whole model on each device; where a layer may not run it counts as the slowest."""
        self.pipelines = Pipelines(tables)
        arena = 2 * int(tables.local_bytes.max())
        self.reserve = [min(arena, limit // 8) for limit in tables.problem.limits]
        """Bytes per device that activations take beyond what the search counts."""

    def _late(self) -> bool:
        grace_s = self.grace_s if self.best is None else 0.0
        return monotonic() > self.deadline_s + grace_s

    def run(self) -> None:
        """Fill in the best plan and the bound."""
        if self.objective == "latency":
            self._latency()
        else:
            self._loads()

    def offer(self, assignment: Sequence[int]) -> bool:
        """Keep ``assignment`` if it is better and holds."""
        found = tuple(assignment)
        reached = value(self.problem, self.objective, found)
        if reached >= self.best_value or not fits(self.problem, found):
            return False
        self.best, self.best_value = found, reached
        return True

    # --- latency

    def _latency(self) -> None:
        tables = self.tables
        self.method = "list schedules and moves; critical paths and regions"
        ends, self.bound = earliest(tables)
        to_go = remaining(tables)
        # Every layer runs on one device: what comes before it and what comes after meet there.
        self.bound = max(self.bound, float((ends + to_go).min(axis=1).max()))
        self._schedules(to_go)
        regions = chained_regions(tables)
        ends, latency_s = earliest(tables, regions)
        self.bound = max(self.bound, latency_s, float((ends + to_go).min(axis=1).max()))
        if self.best is not None and self.best_value > self.bound:
            self.offer(latency_search.improved(tables, self.best, self.deadline_s))

    def _schedules(self, to_go: Floats) -> None:
        """List schedules on ever more devices, the most useful ones first; fillings in turn."""
        until = self.began + 0.5 * (self.deadline_s - self.began)
        alone = sorted(range(self.tables.m), key=self._alone_s)
        self._offer_singles([1.0] * self.tables.m)
        for walk in (alone, *(_nearest_first(self.tables, device) for device in alone[:3])):
            self._offer_fitting(partial(self._filled, walk), until)
        count = 1
        while count <= self.tables.m and monotonic() < until:
            self._offer_fitting(partial(self._scheduled, to_go, tuple(alone[:count]), 0.0), until)
            count += max(1, count // 2)
        for hold_s in (1e-4, 1e-3, 1e-2):
            everywhere = range(self.tables.m)
            self._offer_fitting(partial(self._scheduled, to_go, everywhere, hold_s), until)

    def _filled(self, walk: Sequence[int], room: Sequence[int]) -> list[int] | None:
        """One device after the other as full as it may be."""
        return self.pipelines.split(walk, inf, room)

    def _scheduled(
        self, to_go: Floats, devices: Sequence[int], hold_s: float, room: Sequence[int]
    ) -> list[int]:
        return scheduled(self.tables, to_go, devices, room, hold_s)

    def _alone_s(self, device: int) -> float:
        """About how long the whole model takes on ``device``, there and back."""
        problem, tables = self.problem, self.tables
        births = [wire.source for wire in problem.wires if wire.is_input]
        sinks = [sink for sink in tables.sink if sink >= 0]
        there = max((tables.travel[0, b, device] for b in births), default=0.0)
        back = max((tables.travel[0, device, s] for s in sinks), default=0.0)
        return float(there + back + self.whole_s[device])

    def _offer_fitting(
        self, make: Callable[[list[int]], list[int] | None], until_s: float
    ) -> list[int] | None:
        """Offer what ``make`` gives for the room there is; with less room while it is overfull.

        Returns what it gave last; None when it gave nothing.
        """
        room = self._room()
        found: list[int] | None = None
        before: dict[int, int] = {}
        for _ in range(_ROUNDS_TO_FIT):
            if monotonic() > until_s and self.best is not None:
                break
            made = make(room)
            if made is None:
                break
            try:
                over = self._over(made)
            except nx.NetworkXNoPath:
                break
            found = made
            if not over:
                self.offer(found)
            if not over or over == before:
                break
            before = over
            for device, size in over.items():
                room[device] -= size + size // 4 + 4096
        return found

    def _offer_singles(self, per_second: Sequence[float]) -> None:
        """Offer everything on one device: the cheapest devices, the fastest, the nearest."""
        devices = range(self.tables.m)
        cost = [float(s * rate) for s, rate in zip(self.whole_s, per_second, strict=True)]
        cheapest = sorted(devices, key=cost.__getitem__)[:_COMPARED]
        nearest = sorted(devices, key=self._alone_s)[:_COMPARED]
        for device in dict.fromkeys((*cheapest, *nearest, *fastest_devices(self.problem))):
            # Two readers of one constant share it, so this never drops a device that would do.
            if self.problem.graph.total_weight_bytes < self.problem.limits[device]:
                self.offer([device] * self.tables.n)

    def _over(self, layers: Sequence[int]) -> dict[int, int]:
        """Bytes by which devices are overfull."""
        if not any(self.problem.may_overflow):
            return {}
        used, limits = memory_bytes(self.problem, layers), self.problem.limits
        return {d: u - cap for d, (u, cap) in enumerate(zip(used, limits, strict=True)) if u > cap}

    def _room(self) -> list[int]:
        return [a - b for a, b in zip(self.problem.limits, self.reserve, strict=True)]

    # --- loads: throughput and sums

    def _loads(self) -> None:
        tables = self.tables
        search = self._load_search()
        high = max(self._upper(), 1e-12)
        if self.objective == "throughput":
            self.method = "multilevel annealing; work shared over devices and slowest links"
            self.bound = least_period_s(tables, high)
        elif self.objective == "memory":
            self.method = "multilevel annealing; weights shared out evenly"
            self.bound = _least_memory_bytes(tables)
        else:
            self.method = "multilevel annealing; every layer on its cheapest device"
            self.bound = least_cost(tables, search.network.per_second)
        total = self.deadline_s - self.began
        seeds = self._seeds(search, high)
        for number, seed in enumerate(seeds):
            if self._late():
                break
            with suppress(UnconnectedError):
                self._try(search, search.projected(seed), monotonic() + 0.15 * total)
            if number < 2 and monotonic() < self.deadline_s:
                with suppress(UnconnectedError):
                    pieces = search.from_pieces(seed, monotonic() + 0.12 * total)
                    self._try(search, pieces, monotonic() + 0.08 * total)
        self._rounds(search, total)

    def _load_search(self) -> PeriodSearch:
        tables = self.tables
        per = self.problem.rates.get(self.objective)
        return PeriodSearch(tables, finest(tables), self._room(), per)

    def _upper(self) -> float:
        """A period that one device or the slowest pipeline reaches, roughly."""
        finite = np.where(np.isfinite(self.tables.compute), self.tables.compute, 0.0)
        return 2.0 * float(finite.sum(axis=0).max())

    def _seeds(self, search: PeriodSearch, high_s: float) -> list[list[int]]:
        """Known plans, single devices and pipelines as devices of layers, most promising first."""
        tables = self.tables
        until = self.began + _SEED_PART * (self.deadline_s - self.began)
        found = [] if self.best is None else [list(self.best)]
        for device in sorted(range(tables.m), key=self._alone_s)[:2]:
            found.append([device] * tables.n)
        self._offer_singles(search.network.per_second)
        for walk in walks(tables, self.bound or high_s):
            if monotonic() > until and self.best is not None:
                break
            split = self._offer_fitting(partial(self.pipelines.best, walk, high_s), until)
            found += [] if split is None else [split]
        ranked: dict[tuple[int, ...], float] = {}
        for layers in found:
            excess = search.excess_bytes(search.projected(layers))
            reached = value(self.problem, self.objective, layers)
            if excess is not None:
                part = excess / sum(search.room)
                ranked[tuple(layers)] = reached * (1.0 + _EXCESS_WEIGHT * part)
        return [list(layers) for layers in sorted(ranked, key=ranked.__getitem__)[:3]]

    def _try(self, search: PeriodSearch, placed: list[int], until_s: float) -> None:
        """Make ``placed`` fit, improve it, and offer both."""
        fitting = self._repaired(search, placed)
        if fitting is None or self._late():
            return
        better = search.improved(fitting, max(until_s, monotonic() + 0.2))
        self._repaired(search, better)

    def _repaired(self, search: PeriodSearch, placed: list[int]) -> list[int] | None:
        """``placed`` with groups moved until no device is overfull, offered; None if that fails."""
        for _ in range(_ROUNDS_TO_FIT):
            search.room = self._room()
            placed = search.made_fit(placed)
            layers = search.finest.assignment(placed)
            over = self._learned_over(search, placed, layers)
            if not over:
                self.offer(layers)
                return placed
            if self._late():
                break
        return None

    def _learned_over(
        self, search: PeriodSearch, placed: Sequence[int], layers: Sequence[int]
    ) -> bool:
        """Whether a device is overfull; reserves grow by what the search does not count."""
        if not any(self.problem.may_overflow):
            return False
        used = memory_bytes(self.problem, layers)
        counted = Loads(self.tables, search.finest, search.network, placed).memory
        over = False
        for device, (size, limit) in enumerate(zip(used, self.problem.limits, strict=True)):
            missed = size - counted[device]
            if size > limit:
                over, missed = True, missed + missed // 4
            self.reserve[device] = max(self.reserve[device], min(missed, limit))
        return over

    def _rounds(self, search: PeriodSearch, total_s: float) -> None:
        """Improve the best plan again and again while that helps."""
        idle = 0
        while self.best is not None and monotonic() < self.deadline_s and idle < _PATIENCE:
            before = self.best_value
            until = min(self.deadline_s, monotonic() + 0.15 * total_s)
            self._try(search, search.projected(self.best), until)
            idle = 0 if self.best_value < before * (1 - _LEAST_GAIN) else idle + 1


def _least_memory_bytes(tables: Tables) -> float:
    """What the fullest device holds at least: its share of the weights, or the largest layer."""
    share = tables.problem.graph.total_weight_bytes / tables.m
    largest = int((tables.weight_bytes + tables.local_bytes).max())
    return float(NODE_OVERHEAD_BYTES + max(share, largest))


def _nearest_first(tables: Tables, start: int) -> list[int]:
    """Devices from ``start`` on, each time one that is near and fast."""
    seconds = np.where(np.isfinite(tables.compute), tables.compute, 0.0).sum(axis=0)
    travel = tables.travel[len(tables.class_sizes) // 2]
    found, left = [start], set(range(tables.m)) - {start}
    while left:
        here = found[-1]
        found.append(min(left, key=lambda d: (travel[here, d] * 50 + seconds[d], d)))
        left.remove(found[-1])
    return found
