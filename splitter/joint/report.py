"""A joint search for people: tables, the network with its devices, and the picture of the front."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from splitter.joint.outcome import Outcome, Row

_SHOWN = 4
"""Choices of a stage whose worth is shown, from best to worst."""


def search_report(outcome: Outcome) -> RenderableType:
    """The result for a terminal of 100 columns or more."""
    title = Text.assemble(
        (f"{outcome.space} on {outcome.topology}", "bold"),
        f": {outcome.data}, at most {outcome.budget_s * 1e3:g} ms",
    )
    return Group(
        title,
        Text(drawing(outcome)),
        _result(outcome),
        *([_executions(outcome)] if outcome.executions else []),
        _compared(outcome),
        _worth(outcome.worth),
        *(Text(f"lint        {line}") for line in outcome.deployed["lint"]),
        Text("binds       " + "\n            ".join(outcome.binds)),
    )


def drawing(outcome: Outcome) -> str:
    """The chosen network, one line per device in turn: ``phone  stem | s1: k3e4w16 ...``."""
    words = [
        w for part in outcome.winner.network.split("|") for w in part.partition(":")[2].split()
    ]
    blocks = ["stem", *words, "head"]
    lines: list[tuple[str, list[str]]] = []
    for device, slot, word in zip(outcome.winner.devices, outcome.slots, blocks, strict=True):
        if word == "skip":
            continue
        if not lines or lines[-1][0] != device:
            lines.append((device, []))
        lines[-1][1].append(word if word == slot else f"{slot} {word}")
    wide = max(len(device) for device, _ in lines)
    arrow = " " * (wide // 2) + "|"
    drawn = [f"{device:<{wide}}  {' -> '.join(own)}" for device, own in lines]
    return f"\n{arrow}\n".join(drawn)


def _result(outcome: Outcome) -> Table:
    made = outcome.deployed
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "predicted", "measured"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row(
        "accuracy, held in", _percent(outcome.winner.accuracy), _percent(outcome.held_in_accuracy)
    )
    table.add_row("accuracy, test images, trained longer", "", _percent(made["test_accuracy"]))
    table.add_row("latency as searched", _ms(outcome.winner.latency_s), "")
    table.add_row("latency as planned layer by layer", _ms(made["planned_s"]), executed(made))
    if made["agreement"] is not None:
        table.add_row("classes equal on the nodes", "", _percent(made["agreement"]))
    return table


def _executions(outcome: Outcome) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("network executed", "predicted", "measured", "error", "floor"):
        table.add_column(heading, justify="left" if heading.startswith("net") else "right")
    for run in outcome.executions:
        table.add_row(
            run.network,
            _ms(run.predicted_s),
            _ms(run.executed_s),
            f"{run.executed_s / run.predicted_s - 1.0:+.1%}",
            f"{run.floor:.1%}",
        )
    return table


def executed(made: Mapping[str, Any]) -> str:
    """Executed latency in words."""
    if not made["ran"]:
        return "not run"
    if made["emulated"]:
        return "emulated"
    return f"{_ms(made['executed_s'])} (floor {100 * made['floor']:.1f} %)"


def _compared(outcome: Outcome) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method")
    table.add_column("estimated accuracy", justify="right")
    table.add_column("latency", justify="right")
    table.add_column("devices")
    for row in outcome.baselines:
        used = " -> ".join(dict.fromkeys(row.devices))
        table.add_row(row.what, _percent(row.accuracy), _ms(row.latency_s), used)
    for name in outcome.impossible:
        table.add_row(name, "impossible", "", "")
    return table


def _worth(worth: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage")
    table.add_column("depths, in points of accuracy")
    table.add_column("choices, best and worst")
    for stage, terms in worth.items():
        depths = [f"{k[6:]}: {100 * v:+.2f}" for k, v in terms.items() if k.startswith("depth ")]
        others = sorted(
            ((v, k) for k, v in terms.items() if not k.startswith("depth ")), reverse=True
        )
        ends = others if len(others) <= _SHOWN else others[:2] + others[-2:]
        table.add_row(stage, ", ".join(depths), ", ".join(f"{k} {100 * v:+.2f}" for v, k in ends))
    return table


def front_picture(rows: Sequence[Row], winner: Row, baselines: Sequence[Row], title: str) -> bytes:
    """Estimated accuracy against predicted latency as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    across = [row.latency_s * 1e3 for row in rows]
    axes.step(across, [100 * row.accuracy for row in rows], where="post", color="0.7", zorder=1)
    axes.scatter(across, [100 * row.accuracy for row in rows], label="front", zorder=2)
    for row in baselines:
        if row.what != "joint":
            axes.scatter(row.latency_s * 1e3, 100 * row.accuracy, marker="x", label=row.what)
    axes.scatter(
        *(winner.latency_s * 1e3, 100 * winner.accuracy), marker="*", s=140, label="chosen"
    )
    axes.set_xlabel("latency (ms)")
    axes.set_ylabel("estimated accuracy (%)")
    axes.set_title(title)
    axes.legend()
    image = BytesIO()
    figure.savefig(image, format="png", dpi=120, metadata={"Software": None})
    return image.getvalue()


def _percent(part: float) -> str:
    return f"{100 * part:.2f} %"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.4g} ms"
