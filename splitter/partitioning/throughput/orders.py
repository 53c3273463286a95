"""Pipelines along topological orders: quick, and good where down-sets are too many to list.

The best split of one order is the dynamic programme over its prefixes. Orders are drawn at random,
and the prefixes of the best ones are put together, so that a pipeline may change between them.
"""

import random
from math import inf
from time import monotonic

from splitter.partitioning.throughput.chain import Chain, best_chain
from splitter.partitioning.throughput.downsets import (
    Order,
    downsets_through,
    order_of,
    prefixes,
)
from splitter.partitioning.throughput.instance import Assignment, Instance
from splitter.partitioning.throughput.loads import NOWHERE, Loads
from splitter.partitioning.throughput.tables import StageTables

ROUNDING = 1e-9
"""Relative difference of two periods that counts as none."""
_KEPT = 6
"""Orders whose prefixes are put together."""
_GUIDED_PART = 0.5
"""Of the orders, those drawn around the best pipeline known."""
_IDLE_ROUNDS = 60
"""Rounds without a better pipeline after which the search ends."""

Known = tuple[Assignment | None, float]
"""The best assignment and its period."""


def split_in_order(instance: Instance) -> Known:
    """The better of the best pipelines along two topological orders."""
    best: Known = None, inf
    for depth_first in (True, False):
        order = order_of(instance, depth_first=depth_first)
        best = _better(instance, order, prefixes(order), best, inf, inf)[0]
    return best


def split_in_many(instance: Instance, best: Known, deadline_s: float, seed: int = 0) -> Known:
    """The best pipeline along random orders and across them."""
    chance = random.Random(seed)
    order = order_of(instance)
    kept: list[tuple[float, list[int]]] = [(inf, list(range(order.n)))]
    idle = 0
    while idle < _IDLE_ROUNDS and monotonic() < deadline_s:
        path = _drawn(order, chance, _stage_ranks(instance, order, best[0]))
        before = best
        # Somewhat worse pipelines than the best show which orders are worth putting together.
        best, value_s = _better(
            instance, order, downsets_through(order, [path]), best, best[1] * 1.1, deadline_s
        )
        kept = sorted([*kept, (value_s, path)])[:_KEPT]
        together = downsets_through(order, [kept_path for _, kept_path in kept])
        best, _ = _better(instance, order, together, best, best[1], deadline_s)
        idle = 0 if best[1] < before[1] else idle + 1
    return best


def _better(
    instance: Instance,
    order: Order,
    masks: list[int],
    best: Known,
    below_s: float,
    deadline_s: float,
) -> tuple[Known, float]:
    """The better of ``best`` and the best pipeline over ``masks``, and the latter's value."""
    tables = StageTables(instance, order, masks)
    chain = best_chain(tables, below_s * (1 - ROUNDING), deadline_s).best
    if chain is None:
        return best, inf
    assignment = on_devices(instance, order, chain)
    value_s = instance.period_s(assignment)
    return ((assignment, value_s) if value_s < best[1] else best), chain.value_s


def _stage_ranks(instance: Instance, order: Order, known: Assignment | None) -> list[int]:
    """Per position: the stage of the known pipeline, counted from its start."""
    if known is None:
        return [0] * order.n
    rank: dict[int, int] = {}
    for block in order.blocks:
        rank.setdefault(known[block], 0)
    for _ in rank:  # At most so many stages follow one another.
        for u, v in instance.before:
            if known[u] != known[v]:
                rank[known[v]] = max(rank[known[v]], rank[known[u]] + 1)
    return [rank[known[block]] for block in order.blocks]


def _drawn(order: Order, chance: random.Random, ranks: list[int]) -> list[int]:
    """A random topological order that mostly goes on where it is.

    Half of them finish one known stage before the next, so that its borders can be moved a little.
    """
    if chance.random() < _GUIDED_PART:
        ranks = [0] * order.n
    missing = [mask.bit_count() for mask in order.before]
    stack = [i for i in range(order.n) if not missing[i]]
    chance.shuffle(stack)
    found: list[int] = []
    turn = chance.random()
    while stack:
        least = min(ranks[i] for i in stack)
        ready = [at for at, i in enumerate(stack) if ranks[i] == least]
        here = stack.pop(ready[-1] if chance.random() < turn else chance.choice(ready))
        found.append(here)
        fresh = []
        for after in order.after[here]:
            missing[after] -= 1
            if not missing[after]:
                fresh.append(after)
        chance.shuffle(fresh)
        stack += fresh
    return found


def on_devices(instance: Instance, order: Order, chain: Chain) -> Assignment:
    """The chain's stages on devices, and each loose block where it hurts least."""
    device = [NOWHERE] * instance.n
    before = 0
    for here, (_, after) in zip(stage_devices(instance, chain), chain.stages, strict=True):
        for i in range(order.n):
            if (after & ~before) >> i & 1:
                device[order.blocks[i]] = here
        before = after
    loads = Loads(instance, device)
    loose = sorted(instance.loose(), key=lambda block: -_seconds(instance, block))
    loads.settle(loose)
    loads.settle(loose)
    return tuple(loads.device)


def stage_devices(instance: Instance, chain: Chain) -> list[int]:
    """A device for each stage: of equal ones the first that is free."""
    free = [list(instance.numbers(g)) for g in range(len(instance.groups))]
    return [free[group].pop(0) for group, _ in chain.stages]


def _seconds(instance: Instance, block: int) -> float:
    """The least time of a block."""
    return min(group.seconds[block] for group in instance.groups)
