"""Devices, links and constraints: what a network is split over. Pure values; see `topology_file`.

Links are one-way here; a two-way link in a file becomes two.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import networkx as nx

PROCESSORS = ("x86_64", "aarch64", "armv7", "riscv64")


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


@dataclass(frozen=True, slots=True)
class Link:
    """A one-way connection between two devices."""

    source: str
    target: str
    bandwidth_bytes_per_s: float
    latency_s: float
    energy_j_per_byte: float = 0.0
    """Energy that both ends spend to move one byte."""

    def seconds(self, size_bytes: int) -> float:
        """Time for one tensor of ``size_bytes`` to cross."""
        return self.latency_s + size_bytes / self.bandwidth_bytes_per_s


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a placement must respect besides memory. Patterns are shell-style (``features.1.*``)."""

    pins: tuple[tuple[str, str], ...] = ()
    """(layer pattern, device): matching layers run there."""
    bans: tuple[tuple[str, str], ...] = ()
    """(layer pattern, device): matching layers never run there."""
    private_input: bool = False
    """The model's raw inputs never leave the device where they are born."""
    max_sent_bytes: int | None = None
    """Cap on the bytes that all links together carry for one request."""

    def __add__(self, other: "Constraints") -> "Constraints":
        """Both at once; of two caps the smaller holds."""
        caps = [c.max_sent_bytes for c in (self, other) if c.max_sent_bytes is not None]
        return Constraints(
            pins=self.pins + other.pins,
            bans=self.bans + other.bans,
            private_input=self.private_input or other.private_input,
            max_sent_bytes=min(caps, default=None),
        )


@dataclass(frozen=True)
class Topology:
    """Devices joined by links, where inputs are born, where results are wanted."""

    name: str
    description: str
    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    source: str
    """Device on which the model's inputs appear."""
    sink: str
    """Device on which the model's outputs are wanted."""
    constraints: Constraints = field(default_factory=Constraints)

    def __str__(self) -> str:
        devices = ", ".join(f"{device.name} ({device.card.name})" for device in self.devices)
        return f"{self.name}: {devices}; input on {self.source}, result on {self.sink}"

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
        best: dict[str, tuple[float, int, tuple[str, ...]]] = {source: (0.0, 0, (source,))}
        open_set = {source}
        while open_set:
            here = min(open_set, key=lambda name: best[name])
            if here == target:
                break
            open_set.discard(here)
            seconds, hops, path = best[here]
            for (start, end), link in self.link_between.items():
                if start != here:
                    continue
                found = (seconds + link.seconds(size_bytes), hops + 1, (*path, end))
                if end not in best or found < best[end]:
                    best[end] = found
                    open_set.add(end)
        if target not in best:
            raise nx.NetworkXNoPath(f"no path from {source} to {target}")
        path = best[target][2]
        return tuple(self.link_between[hop] for hop in pairwise(path))
