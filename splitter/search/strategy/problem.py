"""The joint choice of a network and its split, in numbers: what every strategy solves.

A *vertex* is a place of the network, an *option* one way to realise it: a choice of the space at
one width of its input. Widths are labels that both ends of an edge must agree on, so that costs
that depend on a neighbour's width stay linear. What counts as time is one of `Time`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import Literal

from splitter.search.estimate.bilinear import Bilinear
from splitter.timing import Hop

INPUT = -1
"""Stands for the vertex that makes the model's input."""
FIXED = -1
"""Slot number of vertices that the space does not choose."""
Time = Literal["sequential", "parallel", "period"]
"""Seconds of one request, one thing after the other; of one request whose branches devices and
links work on at once (`splitter.timing`); or between the requests of a pipeline. On chains the
first two are the same.
"""


@dataclass(frozen=True, slots=True)
class Option:
    """One way to realise a vertex."""

    choice: int
    """Number of the space's choice; several options may realise one, at different widths."""
    seconds: tuple[float, ...]
    """Computing time on each device."""
    output_bytes: int
    weight_bytes: int = 0
    working_bytes: int = 0
    """Memory that it needs besides its weights while it runs, input and output included."""
    takes: int = 0
    """Label that the outputs which it reads must carry."""
    gives: int = 0
    """Label of its output."""
    skip: bool = False
    """Whether it passes its input on."""
    macs: int = 0


@dataclass(frozen=True, slots=True)
class Vertex:
    """One place of the network."""

    name: str
    options: tuple[Option, ...]
    inputs: tuple[int, ...]
    """Earlier vertices that it reads, or `INPUT`."""
    slot: int = FIXED
    allowed: tuple[int, ...] = ()
    """Devices on which it may run; empty means all."""


@dataclass(frozen=True, slots=True)
class Move:
    """What it takes to bring one tensor from one device to another."""

    hops: tuple[Hop, ...] = ()

    @property
    def seconds(self) -> float:
        """From when it is made until it is there, alone on its way."""
        return sum(hop.busy_s + hop.delay_s for hop in self.hops)

    @property
    def through(self) -> tuple[int, ...]:
        """Devices that pass it on and hold it meanwhile."""
        return tuple(hop.target for hop in self.hops[:-1])


Moves = Mapping[tuple[int, int], Move]
"""By (from, to); a pair that is absent cannot be bridged."""


@dataclass(frozen=True)
class JointProblem:
    """Vertices in topological order, devices, and what moving costs."""

    vertices: tuple[Vertex, ...]
    devices: tuple[str, ...]
    moves: Mapping[int, Moves]
    """By size in bytes, for every size that occurs; nothing for a device to itself."""
    accuracy: Bilinear
    input_bytes: int
    source: int = 0
    sink: int = 0
    limits: tuple[float, ...] = ()
    """Memory of each device for what is counted here, in bytes; empty means no limit."""
    in_flight: int = 1
    """Requests for which tensors that cross links are held."""
    stages: tuple[tuple[int, ...], ...] = ()
    """Vertices of each stage of the space, in order: skips come last."""
    shared: tuple[bool, ...] = ()
    """Per stage: whether its vertices take the same choice."""
    outputs: tuple[int, ...] = ()
    """Vertices whose output is the model's; by default the last."""

    @property
    def ends(self) -> tuple[int, ...]:
        """Vertices whose outputs the sink wants."""
        return self.outputs or (len(self.vertices) - 1,)

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """Vertices that read each vertex's output."""
        found: list[list[int]] = [[] for _ in self.vertices]
        for v, vertex in enumerate(self.vertices):
            for u in vertex.inputs:
                if u != INPUT:
                    found[u].append(v)
        return tuple(map(tuple, found))

    @property
    def is_chain(self) -> bool:
        """Whether every vertex reads the one before it, and only that."""
        return all(vertex.inputs == (v - 1,) for v, vertex in enumerate(self.vertices))

    @property
    def vertex_of(self) -> dict[int, int]:
        """Vertex number of each slot."""
        return {vertex.slot: v for v, vertex in enumerate(self.vertices) if vertex.slot != FIXED}

    def allowed(self, v: int) -> tuple[int, ...]:
        """Devices on which vertex ``v`` may run."""
        return self.vertices[v].allowed or tuple(range(len(self.devices)))

    def move(self, size: int, start: int, end: int) -> Move | None:
        """What moving ``size`` bytes takes; None when the devices are not joined."""
        return Move() if start == end else self.moves[size].get((start, end))

    def limit(self, device: int) -> float:
        """Memory of ``device`` in bytes."""
        return self.limits[device] if self.limits else inf


@dataclass(frozen=True, slots=True)
class Goal:
    """Maximise accuracy - price x time, within a time budget and above a least accuracy."""

    budget_s: float = inf
    price_per_s: float = 0.0
    """Accuracy that one second is worth."""
    least_accuracy: float = -inf
    weight: float = 1.0
    """Of accuracy; 0 with a price minimises time alone."""
    time: Time = "sequential"
    """What is limited and priced."""
    most_cuts: int | None = None
    """Edges that may join two devices."""
    excluded: tuple[tuple[int, ...], ...] = ()
    """Architectures that may not be chosen (again)."""


@dataclass(frozen=True, slots=True)
class Joint:
    """A network and its split."""

    options: tuple[int, ...]
    """Option number of every vertex."""
    devices: tuple[int, ...]
    """Device number of every vertex."""

    def choices(self, problem: JointProblem) -> tuple[int, ...]:
        """The architecture: the choice of every slot."""
        return tuple(
            problem.vertices[v].options[self.options[v]].choice
            for _, v in sorted(problem.vertex_of.items())
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a strategy found, and what it proved."""

    joint: Joint
    value: float
    """Of the goal."""
    accuracy: float
    """As estimated."""
    time_s: float
    """As predicted: the latency, or the period."""
    bound: float = inf
    """No choice has a larger value; infinite when nothing is proved."""
    solve_s: float = 0.0
    method: str = ""
    history: tuple[float, ...] = field(default=())
    """Best value after each evaluation, for strategies that evaluate."""

    @property
    def proved(self) -> bool:
        """Whether nothing better exists."""
        return self.bound - self.value <= 1e-6 * max(1.0, abs(self.value))


def sizes_of(vertices: Sequence[Vertex], input_bytes: int) -> set[int]:
    """Every size in which something may cross a link."""
    return {input_bytes} | {o.output_bytes for v in vertices for o in v.options}
