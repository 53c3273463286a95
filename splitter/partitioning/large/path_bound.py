"""Critical paths when every layer may run wherever it suits: lower bounds on a request's latency.

`earliest` relaxes two things. Devices run any number of layers at once, and a layer may run on a
different device for each of its readers. What is left is a shortest-path recursion over (layer,
device): no plan ends a layer earlier. `remaining` is the same backwards; lists are scheduled by it
(the optimistic cost table of Arabnejad and Barbosa, "List Scheduling Algorithm for Heterogeneous
Systems by an Optimistic Cost Table", 2014).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from splitter.partitioning.large.region_bound import Region, region_s
from splitter.partitioning.large.tables import Floats, Tables


def earliest(
    tables: Tables, regions: Mapping[int, Sequence[Region]] | None = None
) -> tuple[Floats, float]:
    """(earliest end (n, m) of each layer on each device, least latency), both in seconds.

    Args:
        tables: The problem.
        regions: Per last layer (n: the end of the request) the regions that end with it.
    """
    found = np.empty((tables.n, tables.m))
    arrivals = _Arrivals(tables, found)
    ends = regions or {}
    for layer in range(tables.n):
        ready = np.zeros(tables.m)
        for wire in tables.problem.reads[layer]:
            np.maximum(ready, arrivals.of(wire), out=ready)
        for region in ends.get(layer, ()):
            np.maximum(ready, _after(tables, region, found), out=ready)
        np.add(ready, tables.compute[layer], out=found[layer])
    outputs = [(w, sink) for w, sink in enumerate(tables.sink) if sink >= 0]
    latency_s = max((float(arrivals.of(w)[sink]) for w, sink in outputs), default=0.0)
    for region in ends.get(tables.n, ()):
        latency_s = max(latency_s, float(_after(tables, region, found)[outputs[0][1]]))
    return found, latency_s


def _after(tables: Tables, region: Region, found: Floats) -> Floats:
    """Earliest moment (m,) at which all of ``region`` can be over, as seen from each device."""
    begin = np.zeros(tables.m) if region.first < 0 else found[region.first]
    if region.first < 0:
        begin = np.full(tables.m, np.inf)
        begin[-1 - region.first] = 0.0
    after: Floats = (begin[:, None] + region_s(tables, region)).min(axis=0)
    return after


class _Arrivals:
    """Earliest arrival of each wire on each device, computed when first wanted."""

    def __init__(self, tables: Tables, ends: Floats):
        self._tables, self._ends = tables, ends
        self._known: dict[int, Floats] = {}

    def of(self, wire: int) -> Floats:
        """Seconds (m,)."""
        if wire not in self._known:
            tables, maker = self._tables, self._tables.maker[wire]
            travel = tables.travel[tables.class_of[wire]]
            if maker < 0:
                self._known[wire] = travel[-1 - maker]
            else:
                self._known[wire] = (self._ends[maker][:, None] + travel).min(axis=0)
        return self._known[wire]


def remaining(tables: Tables) -> Floats:
    """Least seconds (n, m) from the end of each layer on each device to the end of the request."""
    found = np.zeros((tables.n, tables.m))
    problem = tables.problem
    known: dict[tuple[int, int], Floats] = {}
    for layer in reversed(range(tables.n)):
        for wire in problem.makes[layer]:
            size_class = tables.class_of[wire]
            travel = tables.travel[size_class]
            if tables.sink[wire] >= 0:
                np.maximum(found[layer], travel[:, tables.sink[wire]], out=found[layer])
            for reader in problem.wires[wire].readers:
                key = reader, size_class
                if key not in known:
                    to_go = tables.compute[reader] + found[reader]
                    known[key] = (travel + to_go).min(axis=1)
                np.maximum(found[layer], known[key], out=found[layer])
    return found
