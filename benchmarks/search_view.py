"""The joint search beside other methods, as a table."""

from statistics import fmean
from typing import Any

from rich import box
from rich.table import Table


def table_of(rows: list[dict[str, Any]]) -> Table:
    """Mean accuracies with their spread, by topology, budget and method."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Fashion-MNIST, mobile space")
    for heading in ("topology", "budget ms", "method"):
        table.add_column(heading)
    figures = (
        "test accuracy %",
        "min to max",
        "cuts",
        "predicted ms",
        "executed ms",
        "error",
        "floor",
    )
    for heading in (*figures, "of computing"):
        table.add_column(heading, justify="right")
    same: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        same.setdefault((row["topology"], row["budget_ms"], row["method"]), []).append(row)
    for group in same.values():
        table.add_row(*_line(group))
    return table


def _line(rows: list[dict[str, Any]]) -> list[str]:
    head = [rows[0]["topology"], f"{rows[0]['budget_ms']:.4g}", rows[0]["method"]]
    solved = [row for row in rows if row["accuracy"] is not None]
    if not solved:
        return [*head, "impossible"]
    found = [100 * row["accuracy"] for row in solved]
    executed = [row for row in solved if row["executed_ms"] is not None]
    return [
        *head,
        f"{fmean(found):.2f}",
        f"{min(found):.2f} to {max(found):.2f}" if len(found) > 1 else "",
        ", ".join(map(str, sorted({row["cuts"] for row in solved}))),
        f"{fmean(row['predicted_ms'] for row in solved):.4g}",
        *(_executions(executed) if executed else ()),
    ]


def _executions(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """Latency, its error, the floor, and the error of the computing in it."""
    return (
        f"{fmean(row['executed_ms'] for row in rows):.4g}",
        f"{fmean(row['executed_ms'] / row['planned_ms'] - 1 for row in rows):+.1%}",
        f"{max(row['floor'] for row in rows):.1%}",
        f"{fmean(row['computing_ms'] / row['planned_computing_ms'] - 1 for row in rows):+.1%}",
    )
