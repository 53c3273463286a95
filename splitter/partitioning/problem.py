"""The placement problem in numbers: layers, devices, wires and routes by index.

Everything a solver or a search needs is looked up once here, so that judging one assignment takes
microseconds. An *assignment* is a tuple with the device number of every layer, in graph order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from splitter.costs import CostTable
from splitter.errors import InfeasibleError
from splitter.graph import Graph
from splitter.memory import NODE_OVERHEAD_BYTES, aligned
from splitter.objective import Objective, as_objective
from splitter.partitioning.routes import RouteTable
from splitter.partitioning.rules import Rules, allowed_devices, memory_limits, resolve
from splitter.timing import Hop
from splitter.topology import SECONDS_PER_HOUR, Constraints, Link, Topology

INPUT = -1
"""Stands for the layer that makes a model input."""

BUDGET_TOLERANCE = 1e-7
"""Relative excess at which a cap on time, energy or price still counts as kept: rounding."""

Assignment = tuple[int, ...]
_UNLINKED = ("wires", "reads", "makes", "compute", "active_w", "device_number", "n", "m")
"""Tables of a problem that its links have no part in."""


@dataclass(frozen=True, slots=True)
class Wire:
    """One tensor: who makes it, who reads it."""

    name: str
    bytes: int
    producer: int
    """Layer number, or `INPUT`."""
    readers: tuple[int, ...]
    is_output: bool
    source: int = 0
    """Of a model input: the device on which it appears."""
    sink: int = 0
    """Of a model output: the device on which it is wanted."""

    @property
    def is_input(self) -> bool:
        """Whether the user supplies it."""
        return self.producer == INPUT


@dataclass(frozen=True)
class Problem:
    """A graph, a topology, costs and constraints, by index."""

    graph: Graph
    topology: Topology
    costs: CostTable
    constraints: Constraints
    slots: int
    allowed: tuple[tuple[int, ...], ...]
    """Devices on which each layer may run; never empty."""
    limits: tuple[int, ...]
    """Memory cap of each device in bytes."""

    @cached_property
    def n(self) -> int:
        """Number of layers."""
        return len(self.graph.layers)

    @cached_property
    def m(self) -> int:
        """Number of devices."""
        return len(self.topology.devices)

    @cached_property
    def device_number(self) -> Mapping[str, int]:
        """Number of each device."""
        return {device.name: i for i, device in enumerate(self.topology.devices)}

    @cached_property
    def ends(self) -> frozenset[int]:
        """Devices on which an input appears or an output is wanted."""
        inputs = {wire.source for wire in self.wires if wire.is_input}
        return frozenset(inputs | {wire.sink for wire in self.wires if wire.is_output})

    @cached_property
    def rules(self) -> Rules:
        """Rules besides ``allowed`` and memory.

        Raises:
            PlanError: a pattern matches no layer.
        """
        return resolve(self.graph, self.topology, self.constraints)

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """All links; a route's numbers point here."""
        return self.topology.links

    @cached_property
    def media(self) -> tuple[tuple[int, ...], ...]:
        """Link numbers of each shared medium."""
        members: dict[str, list[int]] = {}
        for number, link in enumerate(self.links):
            if link.shared:
                members.setdefault(link.shared, []).append(number)
        return tuple(tuple(numbers) for numbers in members.values())

    @cached_property
    def _medium_number(self) -> Mapping[str, int]:
        return {name: i for i, name in enumerate(dict.fromkeys(k.medium for k in self.links))}

    def link_hop(self, link: int, size_bytes: int) -> Hop:
        """How a tensor of this size crosses a link."""
        key = link, size_bytes
        if key not in self._hops:
            one = self.links[link]
            self._hops[key] = Hop(
                self.link_ends[link][1],
                self._medium_number[one.medium],
                one.busy_s(size_bytes),
                one.latency_s,
            )
        return self._hops[key]

    @cached_property
    def _hops(self) -> dict[tuple[int, int], Hop]:
        return {}

    @cached_property
    def link_ends(self) -> tuple[tuple[int, int], ...]:
        """(source, target) device numbers of each link."""
        number = self.device_number
        return tuple((number[link.source], number[link.target]) for link in self.links)

    @cached_property
    def compute(self) -> tuple[tuple[float, ...], ...]:
        """Seconds of each layer on each device."""
        return tuple(
            tuple(self.costs.seconds(layer.name, d.name) for d in self.topology.devices)
            for layer in self.graph.layers
        )

    @cached_property
    def active_w(self) -> tuple[float, ...]:
        """Power of each device while it computes."""
        return tuple(device.card.active_w for device in self.topology.devices)

    @cached_property
    def budgets(self) -> tuple[tuple[Objective, float], ...]:
        """Caps on other objectives, save on memory, whose cap is among the ``limits``."""
        caps = self.constraints.at_most
        return tuple((as_objective(name), cap) for name, cap in caps if name != "memory")

    @cached_property
    def rates(self) -> Mapping[Objective, tuple[tuple[float, ...], tuple[float, ...]]]:
        """Of the additive objectives: (per second of each device, per byte of each link)."""
        devices, links = self.topology.devices, self.links
        per_second = tuple(device.dollars_per_hour / SECONDS_PER_HOUR for device in devices)
        return {
            "energy": (self.active_w, tuple(link.energy_j_per_byte for link in links)),
            "sent": ((0.0,) * self.m, (1.0,) * len(links)),
            "dollars": (per_second, tuple(link.dollars_per_byte for link in links)),
        }

    @cached_property
    def wires(self) -> tuple[Wire, ...]:
        """All tensors, in the graph's order."""
        index = self.graph.index
        outputs = set(self.graph.outputs)
        return tuple(
            Wire(
                name=name,
                bytes=tensor.bytes,
                producer=index[self.graph.producer[name].name]
                if name in self.graph.producer
                else INPUT,
                readers=tuple(index[layer.name] for layer in self.graph.consumers[name]),
                is_output=name in outputs,
                source=self.device_number[self.topology.source_of(name)],
                sink=self.device_number[self.topology.sink_of(name)],
            )
            for name, tensor in self.graph.tensors.items()
        )

    @cached_property
    def forward_edges(self) -> tuple[tuple[int, int], ...]:
        """(producer, reader) of adjacent layers of which none is of kind ``backward``."""
        forward = [layer.kind != "backward" for layer in self.graph.layers]
        pairs = {
            (wire.producer, reader)
            for wire in self.wires
            if not wire.is_input
            for reader in wire.readers
        }
        return tuple(sorted((u, v) for u, v in pairs if forward[u] and forward[v]))

    @cached_property
    def reads(self) -> tuple[tuple[int, ...], ...]:
        """Wire numbers that each layer reads."""
        number = {wire.name: i for i, wire in enumerate(self.wires)}
        return tuple(tuple(number[t] for t in layer.inputs) for layer in self.graph.layers)

    @cached_property
    def feeds(self) -> tuple[tuple[tuple[int, RouteTable], ...], ...]:
        """Per layer and wire read: (producer, or where an input is born; routes).

        The device ``d`` on which an input is born is written as ``-1 - d``.
        """
        made = [-1 - wire.source if wire.is_input else wire.producer for wire in self.wires]
        return tuple(tuple((made[w], self.routes[w]) for w in reads) for reads in self.reads)

    @cached_property
    def makes(self) -> tuple[tuple[int, ...], ...]:
        """Wire numbers that each layer makes."""
        number = {wire.name: i for i, wire in enumerate(self.wires)}
        return tuple(tuple(number[t] for t in layer.outputs) for layer in self.graph.layers)

    @cached_property
    def closed(self) -> frozenset[int]:
        """Devices that take no part, not even to pass on: by a rule, or for want of memory."""
        small = {d for d, limit in enumerate(self.limits) if limit < NODE_OVERHEAD_BYTES}
        return frozenset(small | {self.device_number[d] for d in self.constraints.without})

    @cached_property
    def may_overflow(self) -> tuple[bool, ...]:
        """Per device: whether some placement could exceed its memory."""
        most = (
            NODE_OVERHEAD_BYTES
            + self.graph.total_weight_bytes
            + (self.slots + 1) * sum(aligned(wire.bytes) for wire in self.wires)
            + sum(aligned(layer.scratch_bytes) for layer in self.graph.layers)
        )
        return tuple(most > limit for limit in self.limits)

    @cached_property
    def routes(self) -> tuple[RouteTable, ...]:
        """Per wire: the route between two different devices; absent when there is none."""
        by_size = {
            size: RouteTable(self.topology, size) for size in {wire.bytes for wire in self.wires}
        }
        return tuple(by_size[wire.bytes] for wire in self.wires)

    def over(self, topology: Topology) -> "Problem":
        """The same problem over other links; tables that do not depend on them are kept."""
        kept = {name: self.__dict__[name] for name in _UNLINKED if name in self.__dict__}
        found = replace(self, topology=topology)
        found.__dict__.update(kept)
        return found

    def home(self, wire: Wire, assignment: Sequence[int]) -> int:
        """Device on which ``wire`` comes into being."""
        return wire.source if wire.is_input else assignment[wire.producer]

    def placement(self, assignment: Sequence[int]) -> dict[str, str]:
        """The assignment with names."""
        names = [device.name for device in self.topology.devices]
        return {
            layer.name: names[d] for layer, d in zip(self.graph.layers, assignment, strict=True)
        }

    def assignment(self, placement: Mapping[str, str]) -> Assignment:
        """The placement with numbers."""
        return tuple(self.device_number[placement[layer.name]] for layer in self.graph.layers)


def build_problem(
    graph: Graph, topology: Topology, costs: CostTable, constraints: Constraints, slots: int
) -> Problem:
    """The problem with its patterns resolved.

    Raises:
        PlanError: a constraint names a layer pattern or device that does not exist.
        InfeasibleError: rules leave a layer no device.
    """
    allowed = allowed_devices(graph, topology, constraints)
    for layer, devices in zip(graph.layers, allowed, strict=True):
        if not devices:
            raise InfeasibleError(f"the rules leave no device for layer {layer.name}")
    return Problem(
        graph=graph,
        topology=topology,
        costs=costs,
        constraints=constraints,
        slots=slots,
        allowed=allowed,
        limits=memory_limits(topology, constraints),
    )
