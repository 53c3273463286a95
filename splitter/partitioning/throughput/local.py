"""Better free placements by single moves and swaps. Proves nothing.

A move of one block to another device is taken when it lowers the sorted loads lexicographically at
the top: the largest load, then the sum of squares, so that plateaus lead somewhere. Restarts shake
the best placement found (iterated local search).
"""

import random
from math import inf
from time import monotonic

from splitter.partitioning.throughput.instance import Assignment, Instance
from splitter.partitioning.throughput.loads import Loads

_SHAKEN = 0.08
"""Part of the blocks that a restart moves at random."""
_IDLE_ROUNDS = 60
"""Restarts without a better placement after which the search ends."""


def improve(instance: Instance, start: Assignment, deadline_s: float, seed: int = 0) -> Assignment:
    """The best placement found from ``start`` by the deadline."""
    chance = random.Random(seed)
    best, best_s = start, instance.period_s(start)
    idle = 0
    while idle < _IDLE_ROUNDS and monotonic() < deadline_s:
        loads = Loads(instance, best)
        if idle or best != start:
            _shake(loads, chance)
        _descend(loads, deadline_s, chance)
        found = tuple(loads.device)
        found_s = instance.period_s(found)
        if found_s < best_s * (1 - 1e-12):
            best, best_s, idle = found, found_s, 0
        else:
            idle += 1
    return best


def _shake(loads: Loads, chance: random.Random) -> None:
    instance = loads.instance
    for _ in range(max(2, int(_SHAKEN * instance.n * chance.random()))):
        block = chance.randrange(instance.n)
        near = [end for number in instance.nets_of[block] for end in instance.nets[number].blocks]
        device = loads.device[chance.choice(near)] if near else chance.randrange(len(loads.load))
        if loads.may(block, device):
            loads.put(block, device)


def _descend(loads: Loads, deadline_s: float, chance: random.Random) -> None:
    """Moves until none helps."""
    improved = True
    while improved and monotonic() < deadline_s:
        improved = False
        blocks = list(range(loads.instance.n))
        chance.shuffle(blocks)
        for block in blocks:
            improved |= _move(loads, block)


def _move(loads: Loads, block: int) -> bool:
    """Move ``block`` where that lowers the cost most; whether it moved."""
    home = loads.device[block]
    before = _cost(loads)
    best, best_cost = home, before
    for device in range(len(loads.load)):
        if device != home and loads.may(block, device):
            loads.put(block, device)
            cost = _cost(loads)
            if cost < best_cost:
                best, best_cost = device, cost
            loads.put(block, home)
    if best != home:
        loads.put(block, best)
    return best != home


def _cost(loads: Loads) -> tuple[float, float]:
    """The largest load to nine digits, then how uneven and large all are."""
    top = max(loads.load)
    return (
        (float(f"{top:.9e}"), sum(load * load for load in loads.load)) if top < inf else (inf, inf)
    )
