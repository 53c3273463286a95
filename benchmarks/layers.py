"""Where the time goes: every layer of a built node against what the machine can do."""

from pathlib import Path
from typing import Any

from benchmarks.limits import Limits
from runtime.build.tune.reach import bench
from splitter.cost.roofline import touched_bytes
from splitter.graph import Graph

_RUNS = 30


def layer_rows(node: Path, graph: Graph, limits: Limits) -> list[dict[str, Any]]:
    """One row per layer, in order: medians within requests, rates, distance from the limit."""
    times = bench([str(node / "node")], _RUNS)
    total_s = sum(time.median_s for time in times.values())
    rows: list[dict[str, Any]] = []
    for layer in graph.layers:
        seconds = max(times[layer.name].median_s, 1e-9)
        rows.append(
            {
                "layer": layer.name,
                "kind": layer.kind,
                "ms": seconds * 1e3,
                "gflop_per_s": 2 * layer.macs / seconds / 1e9,
                "gb_per_s": touched_bytes(graph, layer) / seconds / 1e9,
                "of_limit": limits.seconds(graph, layer) / seconds,
                "share": seconds / total_s,
            }
        )
    return rows
