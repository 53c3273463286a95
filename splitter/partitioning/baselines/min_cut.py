"""The least sum of computing and sending over two devices, as a minimum cut."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import networkx as nx

from splitter.objective import Objective
from splitter.partitioning.baselines.method import DoesNotApplyError, best_of, origin
from splitter.partitioning.problem import Assignment, Problem, Wire

_NEAR, _FAR = "near", "far"
_STEPS = 10**12
"""Capacities are whole numbers: a cost is counted in this part of the sum of all costs."""


@dataclass(frozen=True, slots=True)
class MinCut:
    """DADS under light load (Hu et al., "Dynamic Adaptive DNN Surgery", INFOCOM 2019).

    The near side is the device with the input. A tensor with several readers has a node of its own,
    so that sending it is paid once; nothing comes back before the result, as in the paper.
    Deviations: every other device is tried as the far side; pins and bans become edges that cannot
    be cut, other rules and memory are only judged afterwards; energy, bytes and price are cut in
    the same way as time. The sum stands for the latency, so parallel branches are paid in full; a
    pipeline's period is no sum: the paper's cut for heavy load is not rebuilt here.
    """

    paper: ClassVar[str] = "DADS, INFOCOM 2019"

    def propose(self, problem: Problem, objective: Objective) -> Assignment:
        """The cut with the best partner."""
        if objective in ("memory", "throughput"):
            raise DoesNotApplyError("a minimum cut adds costs up; this objective is a largest one")
        return best_of(problem, objective, self._cuts(problem, objective))

    def _cuts(self, problem: Problem, objective: Objective) -> Iterator[Assignment]:
        near = origin(problem)
        for far in range(problem.m):
            if far != near:
                found = _cut(_Costs(problem, objective, near, far))
                if found is not None:
                    yield found


@dataclass(frozen=True, slots=True)
class _Costs:
    """Costs of one pair of devices."""

    problem: Problem
    objective: Objective
    near: int
    far: int

    def compute(self, layer: int, device: int) -> float:
        """Of running a layer."""
        seconds = self.problem.compute[layer][device]
        if self.objective not in self.problem.rates:
            return seconds
        return seconds * self.problem.rates[self.objective][0][device]

    def send(self, w: int, start: int, end: int) -> float | None:
        """Of sending a tensor; None where there is no way."""
        if start == end:
            return 0.0
        route = self.problem.routes[w].get((start, end))
        if route is None:
            return None
        if self.objective not in self.problem.rates:
            return route.seconds
        per_byte = self.problem.rates[self.objective][1]
        return self.problem.wires[w].bytes * sum(per_byte[link] for link in route.links)


def _cut(costs: _Costs) -> Assignment | None:
    """The cheapest sides, or None when the rules leave no such cut."""
    network = _network(costs)
    try:
        _, (near_side, _) = nx.minimum_cut(network, _NEAR, _FAR)
    except nx.NetworkXUnbounded:
        return None
    return tuple(costs.near if v in near_side else costs.far for v in range(costs.problem.n))


def _network(costs: _Costs) -> "nx.DiGraph[object]":
    """Layers as numbers, tensors with theirs; an edge without capacity cannot be cut."""
    problem = costs.problem
    edges: list[tuple[object, object, float | None]] = []
    for layer, allowed in enumerate(problem.allowed):
        far = costs.compute(layer, costs.far) if costs.far in allowed else None
        near = costs.compute(layer, costs.near) if costs.near in allowed else None
        edges += [(_NEAR, layer, far), (layer, _FAR, near)]
    for w, wire in enumerate(problem.wires):
        edges += _sending(costs, w, wire)
    total = sum(cost for _, _, cost in edges if cost is not None) or 1.0
    sums: dict[tuple[object, object], float] = defaultdict(float)
    for start, end, cost in edges:
        sums[start, end] += inf if cost is None else cost
    network: nx.DiGraph[object] = nx.DiGraph()
    for (start, end), cost in sums.items():
        room = {} if cost == inf else {"capacity": round(cost / total * _STEPS)}
        network.add_edge(start, end, **room)
    return network


def _sending(costs: _Costs, w: int, wire: Wire) -> list[tuple[object, object, float | None]]:
    maker: object = _NEAR if wire.is_input else wire.producer
    tensor = ("tensor", w)
    edges: list[tuple[object, object, float | None]] = []
    if wire.readers:
        edges.append((maker, tensor, costs.send(w, costs.near, costs.far)))
        edges += [(tensor, reader, None) for reader in wire.readers]
        edges += [] if wire.is_input else [(reader, maker, None) for reader in wire.readers]
    if wire.is_output and not wire.is_input:
        edges.append((_NEAR, maker, costs.send(w, costs.far, wire.sink)))
        edges.append((maker, _FAR, costs.send(w, costs.near, wire.sink)))
    return edges
