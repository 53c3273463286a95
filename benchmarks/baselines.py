"""How much better the planner is than published ways to split: real models on shipped topologies.

    python -m benchmarks.baselines [--models NAME|FILE.onnx ...] [--topologies NAME|FILE.toml ...]
                                   [--objectives latency,throughput,energy] [--limit SECONDS]
                                   [--json F]

Every method plans the same problem (costs from the device cards, so that the figures do not depend
on this machine) and is judged by the same estimate. A cell is the method's value over ours: 1.00 is
as good. ``-`` means that its split breaks a limit or that the method does not apply; the JSON file
says why. Where one device alone is best, the row says so.
"""

import argparse
import json
import math
from pathlib import Path
from time import monotonic
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

import splitter
from splitter.cli.console import err
from splitter.cost.roofline import roofline
from splitter.errors import InfeasibleError, PlanError
from splitter.graph import Graph
from splitter.objective import Objective, as_objective, objective_noun, quantity
from splitter.partitioning.baselines import METHODS
from splitter.partitioning.contest import Contest, contest
from splitter.topology_file import shipped_topologies

MODELS = (
    "mobilenet_v2",
    "efficientnet_lite0",
    "shufflenet_v2",
    "resnet18",
    "resnet50",
    "minilm_l6",
    "centerface",
)
SHORT = {
    "single_device": "one device",
    "memory_share": "memory share",
    "equal_flops": "equal FLOPs",
    "equal_parameters": "equal params",
    "one_cut": "one cut",
    "min_cut": "min cut",
    "pipedream": "Pipe Dream",
    "list_schedule": "HEFT",
    "fx_partitioner": "torch fx",
}


COLUMNS = 132
EQUAL = 1e-6


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.baselines",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--topologies", nargs="+", default=shipped_topologies())
    parser.add_argument("--objectives", default="latency,throughput,energy")
    parser.add_argument("--limit", type=float, default=10.0, help="seconds for each of our plans")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    objectives = [as_objective(name) for name in chosen.objectives.split(",")]
    rows: list[dict[str, Any]] = []
    for model in chosen.models:
        graph = splitter.load(model).graph
        for topology in chosen.topologies:
            for objective in objectives:
                rows.append(measure(graph, topology, objective, chosen.limit))
                err.print(f"{model} on {topology}, {objective}: {rows[-1]['seconds']:.1f} s")
    out = Console(width=COLUMNS, highlight=False)
    for objective in objectives:
        out.print(table_of([row for row in rows if row["objective"] == objective], objective))
    for line in summary(rows):
        out.print(line)
    if chosen.json:
        chosen.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


def measure(graph: Graph, name: str, objective: Objective, limit_s: float) -> dict[str, Any]:
    """One problem: our plan, and what every method makes of it."""
    topology = splitter.load_topology(name)
    row: dict[str, Any] = {"model": graph.name, "topology": topology.name, "objective": objective}
    began = monotonic()
    try:
        found = contest(
            graph, topology, roofline(graph, topology), objective=objective, time_limit_s=limit_s
        )
    except PlanError as error:
        what = "does not fit" if isinstance(error, InfeasibleError) else "no plan in time"
        return {**row, "unsolved": what, "why": str(error), "seconds": monotonic() - began}
    return {**row, **facts(found), "seconds": monotonic() - began}


def facts(found: Contest) -> dict[str, Any]:
    """What the table and the JSON file say about one problem."""
    plan = found.plan
    ours = plan.estimate.value(as_objective(plan.objective))
    return {
        "value": ours,
        "bound": plan.proof.bound,
        "gap": plan.proof.gap,
        "status": plan.proof.status,
        "devices": sorted(set(plan.placement.values())),
        "baselines": {
            one.method: {
                "value": one.value,
                "ratio": None if one.value is None or not ours else one.value / ours,
                "reason": one.reason,
            }
            for one in found.baselines
        },
    }


def table_of(rows: list[dict[str, Any]], objective: Objective) -> Table:
    """Methods across, problems down."""
    title = f"{objective_noun(objective)}: times ours"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("model", "topology"):
        table.add_column(heading, no_wrap=True)
    for heading in ("ours", "gap %", *SHORT.values()):
        table.add_column(heading, justify="right")
    for row in rows:
        if "unsolved" in row:
            table.add_row(row["model"], row["topology"], row["unsolved"])
            continue
        single = f", {row['devices'][0]} alone" if len(row["devices"]) == 1 else ""
        ratios = [row["baselines"][method]["ratio"] for method in METHODS]
        table.add_row(
            row["model"],
            row["topology"] + single,
            quantity(objective, row["value"]),
            f"{100 * row['gap']:.2g}",
            *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        )
    return table


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """In words: how often each method has a plan, and how far it is off."""
    solved = [row for row in rows if "unsolved" not in row]
    lines = [_about(method, solved) for method in METHODS]
    alone = sum(len(row["devices"]) == 1 for row in solved)
    lines.append(f"one device is best in {alone} of {len(solved)} problems")
    better = sum(best_ratio(row) > 1 + EQUAL for row in solved)
    lines.append(f"better than every baseline, or alone in fitting, in {better} of {len(solved)}")
    return lines


def _about(method: str, solved: list[dict[str, Any]]) -> str:
    ratios = [row["baselines"][method]["ratio"] for row in solved]
    held = [ratio for ratio in ratios if ratio is not None]
    if not held:
        return f"{method}: has no plan in any of {len(solved)}"
    mean = math.exp(sum(map(math.log, held)) / len(held))
    equal = sum(ratio <= 1 + EQUAL for ratio in held)
    return (
        f"{method}: has a plan in {len(held)} of {len(solved)}, as good as ours in {equal}; "
        f"geometric mean {mean:.2f} times ours, at worst {max(held):.2f}"
    )


def best_ratio(row: dict[str, Any]) -> float:
    """The best baseline's value over ours; infinite when none has a plan."""
    ratios = (one["ratio"] for one in row["baselines"].values())
    return min((ratio for ratio in ratios if ratio is not None), default=math.inf)


if __name__ == "__main__":
    main()
