"""Work shared out over unequal devices: lower bounds on a pipeline's period.

For any weights u of the devices, period x sum of u >= sum over devices of u x load >= sum over
layers of the least u x seconds: the dual of sharing layers out in fractions. The weights are found
by mirror ascent (Nemirovski and Yudin, 1983), so any number of steps gives a valid bound.

Links strengthen it. If a layer runs on device d, then on every path that leads from an input to the
layer some tensor crosses every cut between the input's device and d; the path's smallest tensor
crosses at least one link of every route, so the period is at least the time that it takes over the
best route's slowest link. Which layers can run where within a period therefore follows from the
period, and a period for which the work does not fit is too short.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from splitter.partitioning.large.tables import Floats, Tables

_STEPS = 120
_BISECTIONS = 12
_TIGHT = 1e-9


@dataclass
class _Shares:
    """Equal layers merged: how often each row of ``seconds`` occurs, and its cost of entry."""

    seconds: Floats
    entry_s: Floats
    count: Floats
    weights: Floats

    def least_s(self, period_s: float) -> float:
        """A lower bound on the period if layers run only where ``period_s`` lets them."""
        possible = (self.entry_s <= period_s * (1 + _TIGHT)) & (self.seconds <= period_s)
        if not possible.any(axis=1).all():
            return inf
        seconds = np.where(possible, self.seconds, inf)
        best = 0.0
        for step in range(_STEPS):
            priced = seconds * self.weights
            chosen = priced.argmin(axis=1)
            rows = np.arange(len(chosen))
            value = float((priced[rows, chosen] * self.count).sum() / self.weights.sum())
            if value > best:
                best, kept = value, self.weights
            if best > period_s:
                break
            load = np.bincount(
                chosen, seconds[rows, chosen] * self.count, minlength=seconds.shape[1]
            )
            rate = 1.0 / (1.0 + 0.1 * step)
            self.weights = self.weights * np.exp(rate * (load / max(load.max(), 1e-300) - 0.5))
            self.weights /= self.weights.sum()
        self.weights = kept if best > 0.0 else self.weights
        return best


def least_period_s(tables: Tables, known_s: float) -> float:
    """A period below which no plan is; ``known_s`` is one that some plan reaches."""
    shares = _shares(tables)
    low = max(shares.least_s(inf), float(np.maximum(shares.entry_s, shares.seconds).min(1).max()))
    high = known_s
    for _ in range(_BISECTIONS):
        if high <= low * (1 + 1e-4):
            break
        middle = (low + high) / 2
        # A plan within `middle` obeys its restrictions, so it is at least `found`.
        low = max(low, min(found := shares.least_s(middle), middle))
        if found <= middle:
            high = middle
    return min(low, known_s)


def shared_work_s(tables: Tables) -> float:
    """The same when requests may take turns on devices, so that links carry only some of them."""
    return _shares(tables).least_s(inf)


def least_cost(tables: Tables, per_second: Sequence[float]) -> float:
    """Cost below which no plan is: every layer on its cheapest device, nothing sent."""
    usable = np.isfinite(tables.compute)
    cost = np.where(usable, tables.compute, 0.0) * np.array(per_second)
    return float(np.where(usable, cost, inf).min(axis=1).sum())


def _shares(tables: Tables) -> _Shares:
    entry = entry_s(tables)
    rows = np.concatenate([tables.compute, entry], axis=1)
    distinct, count = np.unique(rows, axis=0, return_counts=True)
    seconds = distinct[:, : tables.m]
    whole = np.where(np.isfinite(tables.compute), tables.compute, 0.0).sum(axis=0)
    weights = np.where(whole > 0.0, 1.0 / np.maximum(whole, 1e-300), 1e-9)
    return _Shares(
        seconds, distinct[:, tables.m :], count.astype(np.float64), weights / weights.sum()
    )


def entry_s(tables: Tables) -> Floats:
    """Least time (n, m) that some link takes per request if the layer runs on the device."""
    found = np.zeros((tables.n, tables.m))
    for device, sizes in _smallest_in(tables):
        slowest = np.array([_slowest_link(tables, s, device, False) for s in tables.class_sizes])
        _raise_to(found, sizes, slowest)
    for device, sizes in _smallest_out(tables):
        slowest = np.array([_slowest_link(tables, s, device, True) for s in tables.class_sizes])
        _raise_to(found, sizes, slowest)
    return found


def _raise_to(found: Floats, classes: list[int], slowest: Floats) -> None:
    for layer, size_class in enumerate(classes):
        if size_class >= 0:
            np.maximum(found[layer], slowest[size_class], out=found[layer])


def _smallest_in(tables: Tables) -> Iterator[tuple[int, list[int]]]:
    """Per device with inputs: for each layer the largest over paths of the least class; or -1."""
    problem = tables.problem
    for device in sorted({wire.source for wire in problem.wires if wire.is_input}):
        found: list[int] = []
        for layer in range(tables.n):
            best = -1
            for w in problem.reads[layer]:
                maker, size = tables.maker[w], tables.class_of[w]
                if maker == -1 - device:
                    best = max(best, size)
                elif maker >= 0:
                    best = max(best, min(size, found[maker]))
            found.append(best)
        yield device, found


def _smallest_out(tables: Tables) -> Iterator[tuple[int, list[int]]]:
    """The same towards each device with outputs."""
    problem = tables.problem
    for device in sorted({sink for sink in tables.sink if sink >= 0}):
        found = [-1] * tables.n
        for layer in reversed(range(tables.n)):
            for w in problem.makes[layer]:
                size = tables.class_of[w]
                if tables.sink[w] == device:
                    found[layer] = max(found[layer], size)
                for reader in problem.wires[w].readers:
                    found[layer] = max(found[layer], min(size, found[reader]))
        yield device, found


def _slowest_link(tables: Tables, size: int, start: int, backwards: bool) -> Floats:
    """Per device: the least, over routes from (or to) ``start``, of the slowest link's seconds."""
    found = np.full(tables.m, inf)
    found[start] = 0.0
    seconds = tables.link_latency_s + size * tables.link_s_per_byte
    ends = [(b, a) if backwards else (a, b) for a, b in tables.problem.link_ends]
    changed = True
    while changed:
        changed = False
        for (a, b), link_s in zip(ends, seconds.tolist(), strict=True):
            reached = max(found[a], link_s)
            if reached < found[b]:
                found[b], changed = reached, True
    return found
