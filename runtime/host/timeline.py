"""The timeline of a run as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from runtime.host.report import RunReport
from runtime.host.spans import Span
from splitter.schedule import HOST

Colour = tuple[float, float, float, float]

_LANE_INCHES, _MARGIN_INCHES, _WIDTH_INCHES = 0.45, 1.3, 11.0
_BAR = 0.7
"""Height of a bar; lanes are 1 apart."""
_LABEL_SHARE = 0.02
"""A bar that takes less of the width has no number on it."""


def draw_timeline(report: RunReport, path: Path) -> None:
    """Write a PNG with one lane per device and link, one colour per request.

    Raises:
        OSError: it cannot be written.
    """
    lanes = _lanes(report)
    height = _MARGIN_INCHES + _LANE_INCHES * len(lanes)
    figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
    FigureCanvasAgg(figure)
    requests = sorted({span.request for span in report.timeline})
    colours = {request: colormaps["tab10"](i % 10) for i, request in enumerate(requests)}
    end_ms = max((span.end_s for span in report.timeline), default=0.001) * 1e3
    axes = figure.add_subplot()
    for span in report.timeline:
        place = _place(span, lanes, requests)
        _draw_span(axes, span, place, colours[span.request], end_ms)
    axes.set_yticks(range(len(lanes)), lanes)
    axes.invert_yaxis()
    axes.set_xlim(0, end_ms)
    axes.set_xlabel("milliseconds")
    axes.set_title(f"{report.model} on {report.topology}")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    legend = [Patch(color=colours[r], label=f"request {r}") for r in requests]
    figure.legend(handles=legend, loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=120, format="png", metadata={"Software": None})


def _place(span: Span, lanes: Sequence[str], requests: Sequence[int]) -> tuple[float, float]:
    """Middle and height of a bar. Requests overlap on the host's lane: each has its own strip."""
    lane = lanes.index(span.lane)
    if span.lane != HOST:
        return lane, _BAR
    strip = (requests.index(span.request) + 0.5) / len(requests) - 0.5
    return lane + strip * _BAR, _BAR / len(requests)


def _draw_span(
    axes: Axes, span: Span, place: tuple[float, float], colour: Colour, end_ms: float
) -> None:
    middle, height = place
    start_ms, width_ms = span.start_s * 1e3, (span.end_s - span.start_s) * 1e3
    wide = width_ms >= _LABEL_SHARE * end_ms
    edge = "white" if wide else colour  # a white edge would hide a bar that is a hair wide
    axes.barh(
        middle, width_ms, left=start_ms, height=height, color=colour, edgecolor=edge, linewidth=0.5
    )
    if wide and height == _BAR:
        at, text = start_ms + width_ms / 2, str(span.request)
        axes.text(at, middle, text, ha="center", va="center", fontsize=8, color="white")


def _lanes(report: RunReport) -> list[str]:
    """The host, then devices and links in the plan's order."""
    found = [HOST, *dict.fromkeys(stage.device for stage in report.stages)]
    found += [f"{link.source} → {link.target}" for link in report.links]
    return [*found, *dict.fromkeys(s.lane for s in report.timeline if s.lane not in found)]
