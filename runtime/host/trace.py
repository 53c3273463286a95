"""The traces that nodes write; docs/node.md describes them."""

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from splitter.errors import DeploymentError

TRACE_COLUMNS = ["event", "request", "index", "start_ns", "end_ns"]
_EVENTS = ("receive", "stage", "send", "exit")


@dataclass(frozen=True, slots=True)
class Interval:
    """CLOCK_MONOTONIC, the same for all programs of one machine."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True)
class NodeTrace:
    """What one node did, by (request, stage number or wire number of the tensor)."""

    stages: Mapping[tuple[int, int], Interval]
    receives: Mapping[tuple[int, int], Interval]
    sends: Mapping[tuple[int, int], Interval]
    """Of a tensor that goes to several peers, the send that started first."""
    peak_bytes: int | None
    """Largest resident memory; None when the node did not come to a good end."""


def trace_name(device: str) -> str:
    """Name of the file in a trace folder that ``device`` writes."""
    return f"trace-{device}.csv"


def read_trace(path: Path) -> NodeTrace:
    """The trace in ``path``.

    Raises:
        DeploymentError: it cannot be read, or is no trace.
    """
    found: dict[str, dict[tuple[int, int], Interval]] = defaultdict(dict)
    for event, request, index, interval in _lines(path):
        known = found[event].get((request, index))
        if known is None or interval.start_ns < known.start_ns:
            found[event][request, index] = interval
    peak_bytes = next((index for _, index in found["exit"]), None)
    return NodeTrace(found["stage"], found["receive"], found["send"], peak_bytes)


def _lines(path: Path) -> Iterator[tuple[str, int, int, Interval]]:
    try:
        with path.open(newline="") as file:
            for number, line in enumerate(csv.reader(file), 1):
                if number == 1 and line == TRACE_COLUMNS:
                    continue
                yield _line(path, number, line)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DeploymentError(f"the trace {path} cannot be read: {error}") from error


def _line(path: Path, number: int, line: list[str]) -> tuple[str, int, int, Interval]:
    try:
        event, *rest = line
        request, index, start_ns, end_ns = map(int, rest)
    except ValueError:
        event = ""
    if event not in _EVENTS:
        raise DeploymentError(
            f"the trace {path}, line {number}: expected {','.join(TRACE_COLUMNS)}, "
            f"got {','.join(line)!r}"
        )
    return event, request, index, Interval(start_ns, end_ns)
