"""How planning grows: generated networks of 100 to 10,000 layers on 10 and 100 unequal devices.

    python -m benchmarks.scale [--sizes 100,1000,10000] [--devices 10,100] [--families chain,nas]
                               [--objectives latency,throughput] [--limit S]
                               [--json F] [--plot F.png]

Each plan is made in a process of its own by `splitter.partition`, which verifies it; seconds and
peak memory are those of that call with everything it reads. The cost table is made before.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.generated import FAMILIES, generated_graph, generated_topology
from splitter.cost.roofline import roofline
from splitter.errors import SplitterError
from splitter.partitioning import partition

SIZES, DEVICES = "100,300,1000,3000,10000", "10,100"
OBJECTIVES = ("latency", "throughput")
LIMIT_S = 30.0

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--devices", default=DEVICES)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--objectives", default=",".join(OBJECTIVES))
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds per plan")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(_measured(json.loads(chosen.one))))
        return
    rows = [_in_own_process(case) for case in _cases(chosen)]
    Console().print(_table(rows))
    for row in rows:
        if row["why"]:
            Console(stderr=True).print(row["why"], markup=False)
    if chosen.json:
        chosen.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    if chosen.plot:
        _plot(rows, chosen.plot)


def _cases(chosen: argparse.Namespace) -> list[Row]:
    return [
        {
            "family": family,
            "layers": int(size),
            "devices": int(devices),
            "objective": objective,
            "limit_s": chosen.limit,
            "seed": chosen.seed,
        }
        for family in chosen.families.split(",")
        for devices in chosen.devices.split(",")
        for size in chosen.sizes.split(",")
        for objective in chosen.objectives.split(",")
    ]


def _in_own_process(case: Row) -> Row:
    Console(stderr=True).print(
        f"{case['family']} {case['layers']} x {case['devices']} {case['objective']}"
    )
    command = [sys.executable, "-m", "benchmarks.scale", "--one", json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    row: Row = json.loads(done.stdout)
    return row


def _measured(case: Row) -> Row:
    graph = generated_graph(case["family"], case["layers"], case["seed"])
    topology = generated_topology(case["devices"], case["seed"])
    costs = roofline(graph, topology)
    began = time.monotonic()
    found: Row = {"value": None, "bound": None, "gap": None, "method": "", "used_devices": 0}
    why = ""
    try:
        plan = partition(
            graph,
            topology,
            costs,
            objective=case["objective"],
            time_limit_s=case["limit_s"],
        )
        found = {
            "value": plan.estimate.value(plan.objective),
            "bound": plan.proof.bound,
            "gap": plan.proof.gap,
            "method": plan.proof.method,
            "used_devices": len(set(plan.placement.values())),
        }
        status = "verified, " + plan.proof.status
    except SplitterError as error:
        status, why = "no plan", str(error)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        **case,
        "layers": len(graph.layers),
        **found,
        "seconds": time.monotonic() - began,
        "peak_bytes": peak_kib * 1024,
        "status": status,
        "why": why,
    }


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="planning generated networks")
    for heading in ("family", "layers", "devices", "objective"):
        table.add_column(heading)
    for heading in ("value ms", "gap %", "used", "s", "peak MB"):
        table.add_column(heading, justify="right")
    table.add_column("status")
    for row in rows:
        known = row["value"] is not None
        table.add_row(
            row["family"],
            str(row["layers"]),
            str(row["devices"]),
            row["objective"],
            f"{row['value'] * 1e3:.3f}" if known else "",
            f"{100 * row['gap']:.2f}" if known else "",
            str(row["used_devices"]),
            f"{row['seconds']:.1f}",
            f"{row['peak_bytes'] / 1e6:.0f}",
            row["status"],
        )
    return table


def _plot(rows: Sequence[Row], path: Path) -> None:
    """Seconds, peak memory and gap over the number of layers; a line per family and devices."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [("seconds", "seconds", 1.0), ("peak_bytes", "peak memory, MB", 1e-6)]
    panels.append(("gap", "gap, %", 100.0))
    objectives = list(dict.fromkeys(row["objective"] for row in rows))
    figure, axes = pyplot.subplots(
        len(objectives), len(panels), figsize=(13, 4 * len(objectives)), squeeze=False
    )
    for line, objective in zip(axes, objectives, strict=True):
        for axis, (key, label, unit) in zip(line, panels, strict=True):
            for family in dict.fromkeys(row["family"] for row in rows):
                for devices in dict.fromkeys(row["devices"] for row in rows):
                    points = [
                        (row["layers"], row[key] * unit)
                        for row in rows
                        if (row["family"], row["devices"], row["objective"])
                        == (family, devices, objective)
                        and row[key] is not None
                    ]
                    if points:
                        axis.plot(*zip(*points, strict=True), "o-", label=f"{family}, {devices}")
            axis.set_xscale("log")
            axis.set_xlabel("layers")
            axis.set_ylabel(label)
            axis.set_title(objective)
            axis.grid(True, alpha=0.3)
    axes[0][-1].legend(fontsize="x-small", title="family, devices")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
