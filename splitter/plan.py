"""A plan: which layer runs where, what that costs, and how good it provably is.

Execution model (what `Estimate` predicts and the node program does): a device runs its layers one
at a time in graph order; a layer starts when the device is free and its inputs have arrived; a
tensor sent along a route takes each link's latency + bytes / bandwidth (store and forward);
transfers overlap with computing and with one another, but a link or shared medium carries one at a
time, in the order in which they are ready (`splitter.timing`). The inputs are on the source
device at time 0 and the latency is the moment the last output is on the sink device. The period
is the largest time per request that any device computes or any link or shared medium transfers.
Energy is computing time x active power + bytes x energy per byte; the price likewise.
"""

import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from math import isfinite, nan
from typing import Any, Literal, get_args, get_origin, get_type_hints

from splitter.errors import PlanError
from splitter.objective import OBJECTIVES as OBJECTIVES
from splitter.objective import Objective as Objective
from splitter.objective import quantity
from splitter.schedule import Transfer

PLAN_VERSION = 1
"""Of the JSON form; rises when a key changes its meaning."""


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
class MediumLoad:
    """What the links of one shared medium carry together for one request."""

    name: str
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predicted cost of one plan."""

    latency_s: float
    period_s: float
    energy_j: float
    sent_bytes: int
    devices: tuple[DeviceLoad, ...]
    links: tuple[LinkLoad, ...]
    media: tuple[MediumLoad, ...] = ()
    """Shared media that carry something, by name."""
    dollars: float = 0.0
    """Computing time x the devices' price + bytes x the links' price."""

    @property
    def peak_memory_bytes(self) -> int:
        """The memory of the device that needs most."""
        return max(load.memory_bytes for load in self.devices)

    def value(self, objective: Objective) -> float:
        """The figure that ``objective`` minimises, in SI units."""
        return {
            "latency": self.latency_s,
            "throughput": self.period_s,
            "energy": self.energy_j,
            "memory": float(self.peak_memory_bytes),
            "sent": float(self.sent_bytes),
            "dollars": self.dollars,
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
class Fallback:
    """What remains when one device leaves."""

    without: str
    """The device that leaves."""
    value: float
    """The objective's value then."""
    placement: Mapping[str, str]
    """Device of each layer then, in graph order."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the solver proved."""

    status: Literal["optimal", "feasible"]
    bound: float
    """No plan can have a smaller objective value than this."""
    gap: float
    """(value - bound) / value."""
    solve_s: float
    method: str = "integer program"
    """How the plan was found and its bound proved, in words."""


@dataclass(frozen=True)
class Turn:
    """One request of a plan with replicas."""

    placement: Mapping[str, str]
    transfers: tuple[Transfer, ...]
    estimate: Estimate


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
    layer_seconds: Mapping[str, float]
    """Predicted compute time of each layer on the device it is placed on."""
    bottleneck: str
    """What limits the objective, in words."""
    slots: int
    """Requests in flight for which memory was reserved."""
    rules: tuple[str, ...] = ()
    """Every rule that was in force, in words, and what the user wrote for it."""
    fallbacks: tuple[Fallback, ...] = ()
    """For every device that may leave: what would run where without it."""
    replicas: tuple[tuple[str, ...], ...] = ()
    """Groups of equal devices that take turns at what is placed on the first (`splitter.turns`)."""
    turns: tuple[Turn, ...] = ()
    """With replicas: what each request does until they repeat, the first like this plan."""

    def __str__(self) -> str:
        loads = [load for load in self.estimate.devices if load.layers]
        where = ", ".join(f"{load.device} {len(load.layers)}" for load in loads)
        value = quantity(self.objective, self.estimate.value(self.objective))
        return (
            f"{self.model} on {self.topology}: {self.objective} {value}, layers: "
            f"{where}; {self.proof.status}, gap {100 * self.proof.gap:.2g} %"
        )


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """JSON form; `plan_from_dict` inverts it."""
    data = {"version": PLAN_VERSION, **asdict(plan)}
    return {key: _plain(value) for key, value in data.items()}


def _plain(value: Any) -> Any:
    """Tuples as the lists that JSON makes of them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def plan_from_dict(data: object) -> Plan:
    """The plan that `plan_to_dict` wrote.

    Raises:
        PlanError: a key is missing, unknown or of the wrong type, or the version is another.
    """
    if not isinstance(data, Mapping):
        raise PlanError(f"a plan is a JSON object, not {_kind(data)}")
    version = data.get("version")
    if version != PLAN_VERSION:
        raise PlanError(
            f"the plan has format version {version!r}, this program reads {PLAN_VERSION}; "
            "make it again with this version"
        )
    body = {key: value for key, value in data.items() if key != "version"}
    plan = _read(Plan, body, "plan")
    assert isinstance(plan, Plan)
    return plan


def _read(wanted: Any, data: object, where: str) -> Any:
    """``data`` as a value of the annotated type ``wanted``; ``where`` is its path in the file."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if is_dataclass(wanted):
        return _read_record(wanted, data, where)
    if origin is Literal:
        return _expect(data in arguments, data, where, f"one of {', '.join(arguments)}")
    if origin is types.UnionType:
        return None if data is None else _read(arguments[0], data, where)
    if origin is tuple:
        items = _expect(isinstance(data, list | tuple), data, where, "a list")
        return tuple(_read(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(items))
    if origin is Mapping:
        pairs = _expect(isinstance(data, Mapping), data, where, "an object").items()
        return {
            _read(arguments[0], key, where): _read(arguments[1], value, f"{where}.{key}")
            for key, value in pairs
        }
    if wanted is float:
        number = data if isinstance(data, int | float) and not isinstance(data, bool) else nan
        return float(_expect(isfinite(number), data, where, "a finite number"))
    if wanted is int:
        whole = isinstance(data, int) and not isinstance(data, bool)
        return _expect(whole, data, where, "a whole number")
    return _expect(isinstance(data, str), data, where, "a string")


def _read_record(wanted: Any, data: object, where: str) -> Any:
    record = _expect(isinstance(data, Mapping), data, where, "an object")
    hints = get_type_hints(wanted)
    names = [field.name for field in fields(wanted)]
    defaults = {field.name for field in fields(wanted) if field.default is not MISSING}
    missing = [name for name in names if name not in record and name not in defaults]
    unknown = [str(name) for name in record if name not in names]
    if missing or unknown:
        fault = f"has no key {missing[0]!r}" if missing else f"has an unknown key {unknown[0]!r}"
        raise PlanError(f"{where} {fault}; make the plan again")
    return wanted(**{n: _read(hints[n], record[n], f"{where}.{n}") for n in names if n in record})


def _expect(holds: bool, data: Any, where: str, wanted: str) -> Any:
    if not holds:
        raise PlanError(f"{where} must be {wanted}, not {_kind(data)}; make the plan again")
    return data


def _kind(data: object) -> str:
    return repr(data) if isinstance(data, str | int | float | None) else type(data).__name__
