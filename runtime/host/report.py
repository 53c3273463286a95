"""Predicted beside measured: what a run of a bundle says about its plan."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from runtime.host.bundle import Bundle
from runtime.host.processor import is_native
from runtime.host.requests import RequestTime
from runtime.host.spans import Span, crossing, longest_run, runs_of, timeline_of
from runtime.host.trace import NodeTrace, read_trace, trace_name
from splitter.schedule import Stage, Transfer

PROGRAM_BYTES = 4_000_000
"""Resident memory that a node may use besides its weights and planned activations."""


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage of one device; measured is the median over requests."""

    device: str
    stage: int
    first_layer: str
    last_layer: str
    layers: int
    predicted_s: float
    measured_s: float | None
    emulated: bool
    """Whether the node ran under an emulator, so that its time says nothing about the device."""


@dataclass(frozen=True, slots=True)
class LinkTime:
    """All tensors that one link carries for one request, one after the other."""

    source: str
    target: str
    tensors: int
    bytes: int
    predicted_s: float
    arrival_s: float | None
    """From the moment the sender began to send until the receiver had all, checked."""
    send_s: float | None
    """Until the sender's operating system had taken all."""


@dataclass(frozen=True, slots=True)
class NodeMemory:
    """Peak resident memory of one node."""

    device: str
    planned_bytes: int
    """Weights, request slots and arena as compiled, and `PROGRAM_BYTES`."""
    limit_bytes: int
    """What the topology grants the device."""
    measured_bytes: int | None
    """None when unknown, or when an emulator's memory would be counted as well."""
    emulated: bool


@dataclass(frozen=True)
class RunReport:
    """One run of one bundle."""

    model: str
    topology: str
    requests: int
    latency_predicted_s: float
    latency_measured_s: float | None
    """Median over the requests that were alone, the first one aside; None when there are none."""
    period_predicted_s: float
    period_measured_s: float | None
    """Mean time from result to result in the longest pipelined run; None when there is none."""
    stages: tuple[StageTime, ...]
    links: tuple[LinkTime, ...]
    memory: tuple[NodeMemory, ...]
    timeline: tuple[Span, ...]
    """What happened when, for a few requests."""

    def __str__(self) -> str:
        from runtime.host.report_view import run_text  # which shows this class

        return run_text(self)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def run_report(
    bundle: Bundle, trace_dir: Path | None, host_times: Sequence[RequestTime]
) -> RunReport:
    """Compare a finished run with the plan of ``bundle``.

    Args:
        bundle: What ran.
        trace_dir: The folder with the nodes' traces; None when they ran elsewhere.
        host_times: `Deployment.times`.

    Raises:
        DeploymentError: a trace is missing or malformed.
    """
    traces = {
        device: read_trace(trace_dir / trace_name(device))
        for device in bundle.manifest.nodes
        if trace_dir is not None
    }
    times = sorted(host_times, key=lambda t: t.start_ns)
    alone = _alone(times)
    steady = _without_first(alone) or _without_first(times)
    asked = [t.request for t in steady]
    estimate = bundle.plan.estimate
    return RunReport(
        model=bundle.manifest.model,
        topology=bundle.topology.name,
        requests=len(times),
        latency_predicted_s=estimate.latency_s,
        latency_measured_s=_median(_seconds(t) for t in _without_first(alone)),
        period_predicted_s=estimate.period_s,
        period_measured_s=_period_s(times),
        stages=_stage_times(bundle, traces, asked),
        links=_link_times(bundle, traces, asked),
        memory=_memory(bundle, traces),
        timeline=timeline_of(bundle, traces, times),
    )


# --- requests


def _seconds(time: RequestTime) -> float:
    return (time.end_ns - time.start_ns) / 1e9


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return median(known) if known else None


def _without_first(times: Sequence[RequestTime]) -> Sequence[RequestTime]:
    """The first request also reads the weights from disk, so it counts only when it is alone."""
    later = [t for t in times if t.request != 0]
    return later or times


def _alone(times: Sequence[RequestTime]) -> list[RequestTime]:
    return [run[0] for run in runs_of(times) if len(run) == 1]


def _period_s(times: Sequence[RequestTime]) -> float | None:
    ends = sorted(t.end_ns for t in longest_run(times))
    return (ends[-1] - ends[0]) / (len(ends) - 1) / 1e9 if len(ends) > 1 else None


# --- stages, links, memory


def _stage_times(
    bundle: Bundle, traces: Mapping[str, NodeTrace], requests: Sequence[int]
) -> tuple[StageTime, ...]:
    return tuple(
        _stage_time(bundle, schedule.device, number, stage, traces.get(schedule.device), requests)
        for schedule in bundle.node_schedules
        for number, stage in enumerate(schedule.stages)
    )


def _stage_time(
    bundle: Bundle,
    device: str,
    number: int,
    stage: Stage,
    trace: NodeTrace | None,
    requests: Sequence[int],
) -> StageTime:
    taken = {} if trace is None else trace.stages
    return StageTime(
        device=device,
        stage=number,
        first_layer=stage.layers[0],
        last_layer=stage.layers[-1],
        layers=len(stage.layers),
        predicted_s=sum(bundle.plan.layer_seconds[layer] for layer in stage.layers),
        measured_s=_median(taken[r, number].seconds for r in requests if (r, number) in taken),
        emulated=_emulated(bundle, device),
    )


def _emulated(bundle: Bundle, device: str) -> bool:
    return not is_native(bundle.manifest.nodes[device].processor)


def _link_times(
    bundle: Bundle, traces: Mapping[str, NodeTrace], requests: Sequence[int]
) -> tuple[LinkTime, ...]:
    found: list[LinkTime] = []
    for load in bundle.plan.estimate.links:
        hops = [
            t for t in bundle.plan.transfers if (t.source, t.target) == (load.source, load.target)
        ]
        arrivals = [_median(_arrivals(bundle, traces, hop, requests)) for hop in hops]
        sends = [_median(_sends(bundle, traces, hop, requests)) for hop in hops]
        found.append(
            LinkTime(
                source=load.source,
                target=load.target,
                tensors=len(hops),
                bytes=load.bytes,
                predicted_s=load.seconds,
                arrival_s=_sum(arrivals),
                send_s=_sum(sends),
            )
        )
    return tuple(found)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _arrivals(
    bundle: Bundle, traces: Mapping[str, NodeTrace], hop: Transfer, requests: Iterable[int]
) -> list[float]:
    return [
        span.seconds
        for request in requests
        if (span := crossing(bundle, traces, hop, request)) is not None
    ]


def _sends(
    bundle: Bundle, traces: Mapping[str, NodeTrace], hop: Transfer, requests: Iterable[int]
) -> list[float]:
    if hop.source not in traces:
        return []
    sends, wire = traces[hop.source].sends, bundle.wire[hop.tensor]
    return [sends[r, wire].seconds for r in requests if (r, wire) in sends]


def _memory(bundle: Bundle, traces: Mapping[str, NodeTrace]) -> tuple[NodeMemory, ...]:
    found: list[NodeMemory] = []
    for device, node in bundle.manifest.nodes.items():
        emulated = _emulated(bundle, device)
        peak_bytes = traces[device].peak_bytes if device in traces else None
        activations = bundle.manifest.slots * node.slot_bytes + node.arena_bytes
        found.append(
            NodeMemory(
                device=device,
                planned_bytes=node.weights_bytes + node.decoded_bytes + activations + PROGRAM_BYTES,
                limit_bytes=bundle.topology.by_name[device].memory_bytes,
                measured_bytes=None if emulated else peak_bytes,
                emulated=emulated,
            )
        )
    return tuple(found)
