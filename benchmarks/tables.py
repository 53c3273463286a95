"""What the benchmark of kernels prints."""

from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table


def model_table(rows: list[dict[str, Any]]) -> Table:
    """One line per model and number of threads (x): ours / ONNX Runtime's."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model")
    headings = ("x", "ms", "ratio", "differ", "peak MB", "disk MB", "first ms")
    for heading in (*headings, "compile s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            escape(row["model"]),
            str(row["threads"]),
            f"{row['ours_ms']:.2f} / {row['onnxruntime_ms']:.2f}",
            f"{row['ratio']:.2f}",
            f"{row['max_abs_diff']:.0e}",
            f"{_mb(row['peak_bytes'])} / {_mb(row['onnxruntime_peak_bytes'])}",
            f"{_mb(row['disk_bytes'])} / {_mb(row['onnxruntime_disk_bytes'])}",
            f"{row['first_answer_ms']:.0f} / {row['onnxruntime_first_answer_ms']:.0f}",
            "" if row["compile_s"] is None else f"{row['compile_s']:.1f}",
        )
    return table


def _mb(size: int | None) -> str:
    return f"{size / 1e6:.0f}" if size else "?"


def layer_table(row: dict[str, Any]) -> Table:
    """The layers of one row, slowest first, and how far each is from the machine's limit."""
    limits = row["limits"]
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title=f"{escape(row['model'])}, {row['threads']} thread(s); this machine: "
        f"{limits['flops_per_s'] / 1e9:.0f} GFLOP/s, {limits['bytes_per_s'] / 1e9:.1f} GB/s from "
        "and to memory (what stays in caches may move faster)",
        title_justify="left",
    )
    for heading in ("layer", "kind"):
        table.add_column(heading)
    for heading in ("ms", "GFLOP/s", "GB/s", "of limit", "share"):
        table.add_column(heading, justify="right")
    for layer in sorted(row["layers"], key=lambda layer: -layer["ms"]):
        table.add_row(
            escape(layer["layer"]),
            layer["kind"],
            f"{layer['ms']:.3f}",
            f"{layer['gflop_per_s']:.1f}" if layer["gflop_per_s"] else "",
            f"{layer['gb_per_s']:.1f}",
            f"{layer['of_limit']:.0%}",
            f"{layer['share']:.1%}",
        )
    return table
