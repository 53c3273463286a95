"""The ways of one tensor size between all devices, looked up when they are first asked for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

import networkx as nx

from splitter.topology import Topology

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Route:
    """The way of one tensor size between two devices."""

    seconds: float
    links: tuple[int, ...]


class RouteTable(Mapping[Pair, Route]):
    """Route by (device, other device); absent where there is none.

    A hundred devices have ten thousand pairs, of which a plan uses few: a device's routes are
    computed when one of them is wanted.
    """

    def __init__(self, topology: Topology, size_bytes: int):
        self._topology, self._size_bytes = topology, size_bytes
        self._names = [device.name for device in topology.devices]
        self._link_number = {(k.source, k.target): i for i, k in enumerate(topology.links)}
        self._from: dict[int, dict[int, Route]] = {}
        self._seconds: dict[int, list[float]] = {}

    def seconds_from(self, device: int) -> list[float]:
        """Seconds to every device; 0 to itself, infinite where no route leads."""
        if device not in self._seconds:
            routes = self.routes_from(device)
            seconds = [routes[e].seconds if e in routes else inf for e in range(len(self._names))]
            seconds[device] = 0.0
            self._seconds[device] = seconds
        return self._seconds[device]

    def routes_from(self, device: int) -> Mapping[int, Route]:
        """The route to every other device that can be reached."""
        if device not in self._from:
            self._from[device] = {
                end: route
                for end in range(len(self._names))
                if end != device and (route := self._route(device, end)) is not None
            }
        return self._from[device]

    def _route(self, start: int, end: int) -> Route | None:
        try:
            hops = self._topology.route(self._names[start], self._names[end], self._size_bytes)
        except nx.NetworkXNoPath:
            return None
        return Route(
            sum(hop.seconds(self._size_bytes) for hop in hops),
            tuple(self._link_number[hop.source, hop.target] for hop in hops),
        )

    def __getitem__(self, pair: Pair) -> Route:
        return self.routes_from(pair[0])[pair[1]]

    def __iter__(self) -> Iterator[Pair]:
        for start in range(len(self._names)):
            for end in self.routes_from(start):
                yield start, end

    def __len__(self) -> int:
        return sum(len(self.routes_from(start)) for start in range(len(self._names)))
