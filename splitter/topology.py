"""Devices, links and constraints: what a network is split over. Pure values; see `topology_file`.

Links are one-way here; a two-way link in a file becomes two.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush
from itertools import pairwise
from typing import Literal

import networkx as nx

from splitter.constraints import Constraints as Constraints

_TREES_KEPT = 4096
"""Trees of fastest paths that a topology remembers."""

SECONDS_PER_HOUR = 3600.0
PROCESSORS = ("x86_64", "aarch64", "armv7", "riscv64")

Role = Literal["node", "memory", "processor", "accelerator"]
"""What a device is. A *node* is a computer of its own: its links work while it computes. The others
are parts of one computer. Its *memory* holds tensors and computes nothing; its *processors* work on
that memory and move nothing. An *accelerator* is called: moving each distinct tensor from or to the
memory takes its own time, and its memory holds nothing but what its layers weigh."""


@dataclass(frozen=True, slots=True)
class Card:
    """What one kind of device can do. Every shipped figure's source stands in its file."""

    name: str
    description: str
    processor: str
    """One of `PROCESSORS`: picks the code generator, the linker target and the emulator."""
    mcpu: str
    """LLVM's name of the processor, e.g. ``x86-64-v3`` or ``cortex-a72``."""
    macs_per_s: float
    """fp32 multiply-accumulates per second that compiled kernels reach on all ``threads``."""
    memory_bytes_per_s: float
    """Main-memory bandwidth that a streaming kernel reaches."""
    call_overhead_s: float
    """Fixed cost of launching one kernel."""
    memory_bytes: int
    """Memory that a node may use unless the topology says less."""
    active_w: float
    """Power drawn while computing, above idle."""
    mattr: tuple[str, ...] = ()
    """LLVM features to add (``+neon``) or drop (``-prefer-256-bit``)."""
    threads: int = 1
    """Compute threads."""
    vector_bytes: int = 16
    """Width of one vector register."""


@dataclass(frozen=True, slots=True)
class Device:
    """One machine in a topology."""

    name: str
    card: Card
    memory_bytes: int
    """Cap on weights + activations + the node program itself."""
    threads: int
    host: str = "127.0.0.1"
    """Address on which the device's node listens."""
    port: int = 0
    """Port on which it listens; 0 lets the launcher choose."""
    dollars_per_hour: float = 0.0
    """Price of computing there, paid for the time that layers run."""
    role: Role = "node"
    """What it is to the others; anything but a node is planned for, not compiled for."""


@dataclass(frozen=True, slots=True)
class Link:
    """A one-way connection between two devices."""

    source: str
    target: str
    bandwidth_bytes_per_s: float
    latency_s: float
    energy_j_per_byte: float = 0.0
    """Energy that both ends spend to move one byte."""
    shared: str = ""
    """Name of the medium that it shares with all links of that name, which carries one transfer
    at a time (a Wi-Fi channel, a bus); empty for a link of its own."""
    dollars_per_byte: float = 0.0
    """Price of moving one byte."""

    @property
    def medium(self) -> str:
        """What carries one transfer at a time: the shared medium, or the link itself."""
        return self.shared or f"{self.source} -> {self.target}"

    def busy_s(self, size_bytes: int) -> float:
        """Time for which a tensor of ``size_bytes`` keeps the medium from carrying another."""
        return size_bytes / self.bandwidth_bytes_per_s

    def seconds(self, size_bytes: int) -> float:
        """Time for one tensor of ``size_bytes`` to cross."""
        return self.latency_s + size_bytes / self.bandwidth_bytes_per_s


@dataclass(frozen=True)
class Topology:
    """Devices joined by links, where inputs are born, where results are wanted."""

    name: str
    description: str
    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    source: str
    """Device on which the model's inputs appear, save those of ``sources``."""
    sink: str
    """Device on which the model's outputs are wanted, save those of ``sinks``."""
    constraints: Constraints = field(default_factory=Constraints)
    sources: tuple[tuple[str, str], ...] = ()
    """(input tensor, device on which it appears)."""
    sinks: tuple[tuple[str, str], ...] = ()
    """(output tensor, device on which it is wanted)."""
    replicas: bool = False
    """Whether equal devices may take turns at one part, each with another request."""

    def __str__(self) -> str:
        devices = ", ".join(f"{device.name} ({device.card.name})" for device in self.devices)
        return f"{self.name}: {devices}; input on {self.source}, result on {self.sink}"

    @property
    def is_one_computer(self) -> bool:
        """Whether the devices are parts of one computer, with an execution model of its own."""
        return any(device.role != "node" for device in self.devices)

    def source_of(self, tensor: str) -> str:
        """Device on which the model's input ``tensor`` appears."""
        return self._source_of.get(tensor, self.source)

    def sink_of(self, tensor: str) -> str:
        """Device on which the model's output ``tensor`` is wanted."""
        return self._sink_of.get(tensor, self.sink)

    def is_source(self, device: str) -> bool:
        """Whether inputs may appear on ``device``."""
        return device == self.source or device in self._source_of.values()

    def is_sink(self, device: str) -> bool:
        """Whether outputs may be wanted on ``device``."""
        return device == self.sink or device in self._sink_of.values()

    @cached_property
    def _source_of(self) -> Mapping[str, str]:
        return dict(self.sources)

    @cached_property
    def _sink_of(self) -> Mapping[str, str]:
        return dict(self.sinks)

    @cached_property
    def by_name(self) -> Mapping[str, Device]:
        """Devices by name."""
        return {device.name: device for device in self.devices}

    @cached_property
    def link_between(self) -> Mapping[tuple[str, str], Link]:
        """Links by (source, target)."""
        return {(link.source, link.target): link for link in self.links}

    def network(self) -> "nx.DiGraph[str]":
        """Devices and links as a networkx graph; an edge carries its ``link``."""
        network: nx.DiGraph[str] = nx.DiGraph()
        network.add_nodes_from(device.name for device in self.devices)
        for link in self.links:
            network.add_edge(link.source, link.target, link=link)
        return network

    def route(self, source: str, target: str, size_bytes: int) -> tuple[Link, ...]:
        """The fastest path for one tensor of ``size_bytes``; empty when source is target.

        Hops are store-and-forward: the time of a route is the sum of its links' times. Ties go
        to fewer hops, then to the names' alphabetical order, so the answer is deterministic.

        Raises:
            networkx.NetworkXNoPath: no path joins the two devices.
        """
        key = source, size_bytes
        if key not in self._trees:
            if len(self._trees) >= _TREES_KEPT:
                self._trees.clear()
            self._trees[key] = self._fastest_from(source, size_bytes)
        path = self._trees[key].get(target)
        if path is None:
            raise nx.NetworkXNoPath(f"no path from {source} to {target}")
        return tuple(self.link_between[hop] for hop in pairwise(path))

    def _fastest_from(self, source: str, size_bytes: int) -> Mapping[str, tuple[str, ...]]:
        """The fastest path to every device that can be reached (Dijkstra, 1959)."""
        found: dict[str, tuple[str, ...]] = {}
        waiting: list[tuple[float, int, tuple[str, ...]]] = [(0.0, 0, (source,))]
        while waiting:
            seconds, hops, path = heappop(waiting)
            if path[-1] in found:
                continue
            found[path[-1]] = path
            for link in self.links_from.get(path[-1], ()):
                if link.target not in found:
                    further = seconds + link.seconds(size_bytes)
                    heappush(waiting, (further, hops + 1, (*path, link.target)))
        return found

    @cached_property
    def links_from(self) -> Mapping[str, tuple[Link, ...]]:
        """The links that leave each device."""
        leaving: dict[str, list[Link]] = {}
        for link in self.link_between.values():
            leaving.setdefault(link.source, []).append(link)
        return {name: tuple(links) for name, links in leaving.items()}

    @cached_property
    def _trees(self) -> dict[tuple[str, int], Mapping[str, tuple[str, ...]]]:
        """Fastest paths by (source, size), as far as they were asked for."""
        return {}
