"""Who was busy when: what traces and request times say about a few requests, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.host.bundle import Bundle
from runtime.host.requests import RequestTime
from runtime.host.trace import Interval, NodeTrace
from splitter.schedule import HOST, Transfer


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took its time in a lane of the timeline."""

    lane: str
    request: int
    start_s: float
    """Since the start of the timeline."""
    end_s: float


_SHOWN = 8
"""Requests in a timeline."""


def timeline_of(
    bundle: Bundle, traces: Mapping[str, NodeTrace], times: Sequence[RequestTime]
) -> tuple[Span, ...]:
    """The first requests of the longest run; when none is pipelined, the last ones."""
    run = longest_run(times)
    shown = run[:_SHOWN] if len(run) > 1 else list(times[-_SHOWN:])
    if not shown:
        return ()
    start_ns = min(t.start_ns for t in shown)
    spans: list[Span] = []

    def add(lane: str, request: int, start: int, end: int) -> None:
        spans.append(Span(lane, request, (start - start_ns) / 1e9, (end - start_ns) / 1e9))

    for time in shown:
        request = time.request
        add(HOST, request, time.start_ns, time.end_ns)
        for device, trace in traces.items():
            for (of, _), interval in trace.stages.items():
                if of == request:
                    add(device, request, interval.start_ns, interval.end_ns)
        for hop in bundle.plan.transfers:
            sent = crossing(bundle, traces, hop, request)
            if sent is not None:
                lane = f"{hop.source} → {hop.target}"
                add(lane, request, sent.start_ns, sent.end_ns)
    return tuple(spans)


def crossing(
    bundle: Bundle, traces: Mapping[str, NodeTrace], hop: Transfer, request: int
) -> Interval | None:
    """From the start of sending until the receiver had all; None when a trace lacks it."""
    if not {hop.source, hop.target} <= traces.keys():
        return None
    key = (request, bundle.wire[hop.tensor])
    sent = traces[hop.source].sends.get(key)
    received = traces[hop.target].receives.get(key)
    if sent is None or received is None:
        return None
    return Interval(sent.start_ns, received.end_ns)


def runs_of(times: Sequence[RequestTime]) -> list[list[RequestTime]]:
    """``times``, sorted by start, cut wherever nothing is in flight."""
    runs: list[list[RequestTime]] = []
    busy_until_ns = -1
    for time in times:
        if not runs or time.start_ns >= busy_until_ns:
            runs.append([])
        runs[-1].append(time)
        busy_until_ns = max(busy_until_ns, time.end_ns)
    return runs


def longest_run(times: Sequence[RequestTime]) -> list[RequestTime]:
    """The largest number of requests without a pause between them."""
    return max(runs_of(times), key=len, default=[])
