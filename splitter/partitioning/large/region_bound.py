"""Regions of a graph that cannot be spread in no time: lower bounds on a request's latency.

A *region* is everything that comes after one layer and before another. Let the first run on e and
the last on f. What device d does for the region it does after a tensor came from e and before one
arrives on f, so within the region's time less the way there and back; devices nearby can help,
devices far away cannot help with little work. With d's share r_d per second,

    sum over d of r_d x max(0, time - way(e, d) - way(d, f)) >= K,

where r_d = 1 / (seconds of the whole region on d) and K = sum over layers of the least r_d x
seconds (1 for devices that differ by a factor only). This holds for every placement, since each
layer adds at least its part of K to the left side wherever it runs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from splitter.partitioning.large.tables import Floats, Integers, Tables

_NEAREST = 16
"""Devices by distance that are looked at; beyond them only how far they are is used."""
_CANDIDATES = 12
_MANY_DEVICES = 32


@dataclass(frozen=True, slots=True)
class Region:
    """All layers after ``first`` and before ``last``."""

    first: int
    """A layer, or the device ``d`` on which all inputs are born as ``-1 - d``."""
    last: int
    """A layer, or n for the end of the request."""
    layers: tuple[int, ...]
    size_class: int
    """Of the smallest tensor in it."""


def chained_regions(tables: Tables) -> dict[int, list[Region]]:
    """Chains of regions of growing size, by last layer; none where they would prove nothing."""
    found: dict[int, list[Region]] = {}
    order = _Order(tables)
    size = 16 if tables.m > _MANY_DEVICES else 6
    while size < tables.n:
        for region in _chain(tables, order, size):
            found.setdefault(region.last, []).append(region)
        size *= 2
    for region in _whole(tables, order):
        found.setdefault(region.last, []).append(region)
    return found


class _Order:
    """Who makes what a layer reads, as layer numbers; who reads what it makes."""

    def __init__(self, tables: Tables):
        problem = tables.problem
        makers = [[tables.maker[w] for w in reads] for reads in problem.reads]
        self.before = [[u for u in us if u >= 0] for us in makers]
        self.reads_input = [any(u < 0 for u in us) for us in makers]
        self.after = [
            [r for w in makes for r in problem.wires[w].readers] for makes in problem.makes
        ]

    def ancestors(self, last: int, floor: int) -> set[int]:
        """Layers from ``floor`` on that come before ``last``."""
        found, waiting = set[int](), [last]
        while waiting:
            for layer in self.before[waiting.pop()]:
                if layer >= floor and layer not in found:
                    found.add(layer)
                    waiting.append(layer)
        return found

    def between(self, first: int, among: set[int]) -> set[int]:
        """Those of ``among`` that come after ``first``."""
        found, waiting = set[int](), [first]
        while waiting:
            for layer in self.after[waiting.pop()]:
                if layer in among and layer not in found:
                    found.add(layer)
                    waiting.append(layer)
        return found


def _chain(tables: Tables, order: _Order, size: int) -> Iterator[Region]:
    """Regions of about ``size`` layers, each beginning where the one after it ends."""
    last = tables.n - 1
    while last > size:
        floor = max(0, last - size - size // 4)
        among = order.ancestors(last, floor)
        near = sorted(among)[: max(1, size // 2)]
        step = max(1, len(near) // _CANDIDATES)
        options = [(order.between(u, among), u) for u in near[::step]]
        layers, first = max(options, key=lambda o: (len(o[0]), o[1]), default=(set[int](), -1))
        if len(layers) < 2:
            last -= 1
            continue
        yield Region(first, last, tuple(sorted(layers)), _smallest(tables, layers, first))
        last = first


def _whole(tables: Tables, order: _Order) -> Iterator[Region]:
    """Everything between the inputs and the outputs, when each have one device."""
    problem = tables.problem
    births = {wire.source for wire in problem.wires if wire.is_input}
    sinks = {sink for sink in tables.sink if sink >= 0}
    if len(births) != 1 or len(sinks) != 1:
        return
    after_input = [False] * tables.n
    before_output = [False] * tables.n
    for layer in range(tables.n):
        after_input[layer] = order.reads_input[layer] or any(
            after_input[u] for u in order.before[layer]
        )
    for layer in reversed(range(tables.n)):
        wanted = any(tables.sink[w] >= 0 for w in problem.makes[layer])
        before_output[layer] = wanted or any(before_output[r] for r in order.after[layer])
    layers = {v for v in range(tables.n) if after_input[v] and before_output[v]}
    if layers:
        yield Region(-1 - births.pop(), tables.n, tuple(sorted(layers)), 0)


def _smallest(tables: Tables, layers: Iterable[int], first: int) -> int:
    made = (w for layer in (first, *layers) for w in tables.problem.makes[layer])
    return min((tables.class_of[w] for w in made), default=0)


def region_s(tables: Tables, region: Region) -> Floats:
    """Least seconds (m, m) of ``region``: its first layer on the row's device, its last on the
    column's.
    """
    ways, devices = _ways(tables, region.size_class)
    rate, needed = _rates(tables.compute[list(region.layers)])
    nearest = min(_NEAREST, tables.m)
    rates = rate[devices[..., :nearest]]
    reach = ways[..., :nearest]
    total = np.cumsum(rates, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        late = np.cumsum(np.where(rates > 0.0, rates * reach, 0.0), axis=-1)
        level = np.where(total > 0.0, (needed + late) / total, np.inf)
    found: Floats = level.min(axis=-1)
    if tables.m > nearest:
        # Devices beyond the nearest can only help after their distance.
        np.minimum(found, ways[..., nearest], out=found)
    return found


def _rates(seconds: Floats) -> tuple[Floats, float]:
    """(1 / seconds (m,) of all rows together, the sum of the rows' least rate x seconds)."""
    possible = np.isfinite(seconds)
    whole = np.where(possible, seconds, 0.0).sum(axis=0)
    rate = np.divide(1.0, whole, out=np.zeros_like(whole), where=whole > 0.0)
    usable = possible & (rate > 0.0)
    parts = np.where(usable, np.where(usable, seconds, 0.0) * rate, np.inf).min(axis=1)
    return rate, float(parts[np.isfinite(parts)].sum())


def _ways(tables: Tables, size_class: int) -> tuple[Floats, Integers]:
    """Per (e, f): seconds e -> d -> f ascending, and the devices d in that order."""
    cache = tables.detours
    if size_class not in cache:
        travel = tables.travel[size_class]
        ways = travel[:, None, :] + travel.T[None, :, :]
        keep = min(_NEAREST + 1, tables.m)
        devices = np.argsort(ways, axis=-1, kind="stable")[..., :keep]
        cache[size_class] = np.take_along_axis(ways, devices, axis=-1), devices
    return cache[size_class]
