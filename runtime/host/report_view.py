"""A run report for people: on a terminal and as plain text."""

from io import StringIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from runtime.host.report import LinkTime, NodeMemory, RunReport, StageTime

TEXT_COLUMNS = 100
_UNKNOWN = "-"


def run_view(report: RunReport) -> RenderableType:
    """The report for a terminal of 100 columns or more."""
    parts: list[RenderableType] = [_headline(report), _whole(report), _stages(report.stages)]
    if report.links:
        parts.append(_links(report.links))
    parts.append(_memory(report.memory))
    return Group(*parts)


def run_text(report: RunReport) -> str:
    """The same as plain text, 100 columns wide."""
    out = StringIO()
    console = Console(
        file=out, width=TEXT_COLUMNS, color_system=None, force_terminal=False, legacy_windows=False
    )
    console.print(run_view(report))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _headline(report: RunReport) -> Text:
    requests = f"{report.requests} request{'s' if report.requests != 1 else ''}"
    return Text.assemble((f"{report.model} on {report.topology}", "bold"), f": {requests}")


def _table(title: str, *columns: str, numbers: int) -> Table:
    """A table whose last ``numbers`` columns are figures."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        right = i >= len(columns) - numbers
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def _whole(report: RunReport) -> Table:
    table = _table("", "", "predicted ms", "measured ms", "ratio", numbers=3)
    for name, predicted_s, measured_s in (
        ("one request alone", report.latency_predicted_s, report.latency_measured_s),
        ("pipelined, per request", report.period_predicted_s, report.period_measured_s),
    ):
        table.add_row(name, *_pair(predicted_s, measured_s))
    return table


def _stages(stages: tuple[StageTime, ...]) -> Table:
    table = _table(
        "Computing", "device", "stage", "layers", "predicted ms", "measured ms", "ratio", numbers=3
    )
    for stage in stages:
        device = f"{stage.device} (emulated)" if stage.emulated else stage.device
        ends = dict.fromkeys((stage.first_layer, stage.last_layer))
        layers = f"{stage.layers}: {' .. '.join(ends)}"
        figures = _pair(stage.predicted_s, stage.measured_s)
        table.add_row(device, str(stage.stage), layers, *figures)
    return table


def _links(links: tuple[LinkTime, ...]) -> Table:
    table = _table(
        "Sending", "link", "KB", "predicted ms", "arrival ms", "ratio", "send ms", numbers=5
    )
    for link in links:
        table.add_row(
            f"{link.source} → {link.target}",
            f"{link.bytes / 1e3:.1f}",
            *_pair(link.predicted_s, link.arrival_s),
            _ms(link.send_s),
        )
    return table


def _memory(memory: tuple[NodeMemory, ...]) -> Table:
    table = _table("Memory", "node", "peak MB", "plan + 4 MB", "granted MB", numbers=3)
    for node in memory:
        if node.emulated:
            peak = "emulated, not measured"
        elif node.measured_bytes is None:
            peak = _UNKNOWN
        else:
            peak = _mb(node.measured_bytes)
        table.add_row(node.device, peak, _mb(node.planned_bytes), _mb(node.limit_bytes))
    return table


def _pair(predicted_s: float, measured_s: float | None) -> tuple[str, str, str]:
    if measured_s is None or predicted_s <= 0:
        return _ms(predicted_s), _ms(measured_s), _UNKNOWN
    return _ms(predicted_s), _ms(measured_s), f"{measured_s / predicted_s:.2f}"


def _ms(seconds: float | None) -> str:
    return _UNKNOWN if seconds is None else f"{seconds * 1e3:.3f}"


def _mb(size: int) -> str:
    return f"{size / 1e6:.2f}"
