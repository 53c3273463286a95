"""A plan: which layer runs where, what that costs, and how good it provably is.

Execution model (what `Estimate` predicts and the node program does): a device runs its layers one
at a time in graph order; a layer starts when the device is free and its inputs have arrived; a
tensor sent along a route takes the sum of its links' latency + bytes / bandwidth (store and
forward); transfers overlap with computing and with one another. The inputs are on the source
device at time 0 and the latency is the moment the last output is on the sink device. The period
is the largest time per request that any device computes or any link transfers. Energy is
computing time x active power + bytes x energy per byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from splitter.schedule import Transfer

Objective = Literal["latency", "throughput", "energy"]
OBJECTIVES: tuple[Objective, ...] = ("latency", "throughput", "energy")


@dataclass(frozen=True, slots=True)
class DeviceLoad:
    """What one device does for one request."""

    device: str
    layers: tuple[str, ...]
    compute_s: float
    weight_bytes: int
    activation_bytes: int
    """Request slots and arena, as the compiler will lay them out."""
    memory_bytes: int
    """Weights + activations + the node program itself."""
    memory_limit_bytes: int
    received_bytes: int
    sent_bytes: int
    energy_j: float


@dataclass(frozen=True, slots=True)
class LinkLoad:
    """What one link carries for one request."""

    source: str
    target: str
    bytes: int
    seconds: float
    energy_j: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predicted cost of one plan."""

    latency_s: float
    period_s: float
    energy_j: float
    sent_bytes: int
    devices: tuple[DeviceLoad, ...]
    links: tuple[LinkLoad, ...]

    def value(self, objective: Objective) -> float:
        """The figure that ``objective`` minimises, in seconds or joules."""
        return {
            "latency": self.latency_s,
            "throughput": self.period_s,
            "energy": self.energy_j,
        }[objective]


@dataclass(frozen=True, slots=True)
class Alternative:
    """The whole model on one device, for comparison."""

    device: str
    value: float | None
    """The objective's value; None when it is impossible."""
    reason: str
    """Why it is worse, or what makes it impossible."""


@dataclass(frozen=True, slots=True)
class Flip:
    """The bandwidth at which a single device would become the better choice."""

    device: str
    bandwidth_factor: float
    """Multiple of today's bandwidth of every link at which both are equal."""
    link: str
    bandwidth_mbit_s: float
    """The same for the plan's busiest link, in Mbit/s."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the solver proved."""

    status: Literal["optimal", "feasible"]
    bound: float
    """No plan can have a smaller objective value than this."""
    gap: float
    """(value - bound) / value."""
    solve_s: float


@dataclass(frozen=True)
class Plan:
    """An assignment of every layer to a device, with its prediction and proof."""

    model: str
    topology: str
    objective: Objective
    placement: Mapping[str, str]
    """Device of each layer, in graph order."""
    transfers: tuple[Transfer, ...]
    estimate: Estimate
    proof: Proof
    alternatives: tuple[Alternative, ...]
    flips: tuple[Flip, ...]
    cost_sources: Mapping[str, str]
    """Per layer: ``roofline`` or ``measured``, on the device it is placed on."""
    bottleneck: str
    """What limits the objective, in words."""
    slots: int
    """Requests in flight for which memory was reserved."""
