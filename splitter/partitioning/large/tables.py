"""A large problem as arrays: what layers cost, what tensors weigh, how long they travel.

Routes depend on a tensor's size. With hundreds of sizes and ten thousand pairs of devices not all
can be looked up, so sizes fall into at most `_CLASSES` classes, each as large as its smallest
tensor. Bounds may use a class as it is, since a smaller tensor never takes longer; what a search
finds with them is judged exactly afterwards.
"""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from math import inf

import numpy as np
import numpy.typing as npt

from splitter.memory import aligned
from splitter.partitioning.problem import Problem
from splitter.partitioning.routes import RouteTable

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_CLASSES = 16


@dataclass(frozen=True)
class Tables:
    """One problem; rows are layers, columns devices."""

    problem: Problem

    @property
    def n(self) -> int:
        """Number of layers."""
        return self.problem.n

    @property
    def m(self) -> int:
        """Number of devices."""
        return self.problem.m

    @cached_property
    def compute(self) -> Floats:
        """Seconds (n, m); infinite where a layer may not run."""
        seconds = np.array(self.problem.compute, dtype=np.float64)
        forbidden = np.ones_like(seconds, dtype=bool)
        for layer, allowed in enumerate(self.problem.allowed):
            forbidden[layer, list(allowed)] = False
        forbidden[:, list(self.problem.closed)] = True
        seconds[forbidden] = inf
        return seconds

    @cached_property
    def active_w(self) -> Floats:
        """Watts (m,) while computing."""
        return np.array(self.problem.active_w, dtype=np.float64)

    @cached_property
    def bytes(self) -> Integers:
        """Size of each wire."""
        return np.array([wire.bytes for wire in self.problem.wires], dtype=np.int64)

    @cached_property
    def maker(self) -> list[int]:
        """Layer that makes each wire; an input born on device ``d`` is written as ``-1 - d``."""
        wires = self.problem.wires
        return [-1 - wire.source if wire.is_input else wire.producer for wire in wires]

    @cached_property
    def sink(self) -> list[int]:
        """Device on which each wire is wanted as an output, else -1."""
        return [wire.sink if wire.is_output else -1 for wire in self.problem.wires]

    @cached_property
    def weight_bytes(self) -> Integers:
        """Bytes of constants that each layer reads, shared ones counted for each reader."""
        graph = self.problem.graph
        return np.array([graph.layer_weight_bytes(layer) for layer in graph.layers], dtype=np.int64)

    @cached_property
    def local_bytes(self) -> Integers:
        """Bytes that a layer needs while it runs: what it reads and makes, and its scratch."""
        problem = self.problem
        room = [aligned(wire.bytes) for wire in problem.wires]
        return np.array(
            [
                aligned(layer.scratch_bytes) + sum(room[w] for w in (*reads, *makes))
                for layer, reads, makes in zip(
                    problem.graph.layers, problem.reads, problem.makes, strict=True
                )
            ],
            dtype=np.int64,
        )

    @cached_property
    def class_sizes(self) -> tuple[int, ...]:
        """The sizes for which routes are known, ascending."""
        sizes = sorted(set(self.bytes.tolist()))
        if len(sizes) <= _CLASSES:
            return tuple(sizes)
        steps = (i * len(sizes) // _CLASSES for i in range(_CLASSES))
        return tuple(dict.fromkeys(sizes[step] for step in steps))

    @cached_property
    def class_of(self) -> list[int]:
        """Size class of each wire: the largest that is not larger."""
        return [bisect_right(self.class_sizes, size) - 1 for size in self.bytes.tolist()]

    @cached_property
    def routes(self) -> tuple[RouteTable, ...]:
        """Per size class."""
        return tuple(RouteTable(self.problem.topology, size) for size in self.class_sizes)

    @cached_property
    def travel(self) -> Floats:
        """Seconds (class, from, to); infinite without a route, or through a closed device."""
        found = np.full((len(self.class_sizes), self.m, self.m), inf)
        closed = self.problem.closed
        for k, table in enumerate(self.routes):
            for a in range(self.m):
                found[k, a] = table.seconds_from(a)
                if closed:
                    for b, route in table.routes_from(a).items():
                        if closed & {e for i in route.links for e in self.problem.link_ends[i]}:
                            found[k, a, b] = inf
        return found

    @cached_property
    def detours(self) -> dict[int, tuple[Floats, Integers]]:
        """What `region_bound` remembers per size class."""
        return {}

    @cached_property
    def link_latency_s(self) -> Floats:
        """Latency of each link."""
        return np.array([link.latency_s for link in self.problem.links], dtype=np.float64)

    @cached_property
    def link_s_per_byte(self) -> Floats:
        """Seconds per byte of each link."""
        rates = [link.bandwidth_bytes_per_s for link in self.problem.links]
        return 1.0 / np.array(rates, dtype=np.float64) if rates else np.zeros(0)
