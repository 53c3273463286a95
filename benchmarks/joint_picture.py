"""Latency over lost accuracy: every network of every way, and the best within any budget."""

from pathlib import Path
from typing import Any

Row = dict[str, Any]
_WIDEST = 3.5
"""Points lost that are still drawn."""


def draw(rows: list[Row], picked: list[Row], path: Path) -> None:
    """One panel per topology; ``picked`` are joined, the others are faint."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["topology"] for row in rows))
    figure = Figure(figsize=(4.5 * len(names), 4), layout="constrained")
    for place, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), place + 1)
        here = [row for row in rows if row["topology"] == name]
        for number, way in enumerate(dict.fromkeys(row["way"] for row in here)):
            color = f"C{number}"
            axes.plot(*_points(here, way), ".", color=color, alpha=0.35)
            best = [row for row in picked if row["topology"] == name]
            axes.plot(*_points(best, way), "o-", color=color, label=way)
        axes.set(title=name, xlabel="accuracy lost on test images (points)", yscale="log")
        axes.set_xlim(-0.2, _WIDEST)
        for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            axis(lambda value, _: f"{value:g}")
    figure.axes[0].set_ylabel("latency (ms)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=80)


def _points(rows: list[Row], way: str) -> tuple[list[float], list[float]]:
    own = sorted((row["test"]["points"], row["latency_ms"]) for row in rows if row["way"] == way)
    return [x for x, _ in own], [y for _, y in own]
