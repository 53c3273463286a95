"""python -m benchmarks.joint_compression: rank, bits and split chosen together, or in turn.

A residual network on devices of which the first cannot hold it in float. Three ways to compress and
place it, all from one table of sensitivities, with equal training and the same accuracy budget:

- joint: one integer program of placement and variants;
- compress, then split: the smallest network (or the one of fewest MACs, whichever is faster) within
  the budget, devices unseen; then the best split of that;
- split, then compress: the best split of the float network; then the variants that make it fastest.

Each solves, trains, measures accuracy on images held in, and solves again with more or less of the
predicted loss, equally often. Accuracies are of test images that no choice has seen. Latencies are
those of the plans (docs/latency.md).
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.table import Table

from benchmarks.compression import SCHEDULES
from benchmarks.compression_runs import Schedule, float_network, split
from benchmarks.joint_topologies import small_topologies
from compress.compare import stored_bytes
from compress.joint import (
    JointCompression,
    JointRequest,
    Retrain,
    Solve,
    compress_jointly,
    jointly,
    trained_by,
)
from compress.recipe import Recipe, exactly
from compress.sensitivity import Judge, Loss, Sensitivity, measure_forms
from compress.teach import Samples, Training
from splitter.cli.console import err, out, progress
from splitter.cost.roofline import roofline
from splitter.errors import PlanError
from splitter.partitioning import partition
from splitter.partitioning.milp import ONE, Milp
from splitter.program import Program
from splitter.topology import Constraints, Topology
from splitter.tracing.trace import trace
from splitter.variants import JointPlan, Variant, VariantTable, accuracy_drop, chosen
from splitter.zoo.datasets import Images, disturbed

_COPIES = 3
"""Disturbed copies of every training image that are trained on."""


@dataclass(frozen=True)
class Setting:
    """What all ways share."""

    program: Program
    train: Samples
    held_in: Judge
    test: Judge
    request: JointRequest
    training: Training


def setting_of(
    schedule: Schedule, max_drop: float, steps: int, rounds: int, limit_s: float, margin: float
) -> Setting:
    """The network and its data; the topology is set later."""
    data = split(schedule.data)
    model = float_network(schedule, 0).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    program = trace(model, (data.test.images[:1],), name=schedule.network)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(data.train), generator=generator)[: steps * 64 // _COPIES + 64]
    images = data.train.images[rows].repeat(_COPIES, 1, 1, 1)
    moved = disturbed(images, data.shift, data.noise, generator)
    train = samples_of(Images(moved, data.train.labels[rows].repeat(_COPIES)))
    first = small_topologies(program.graph.total_weight_bytes)[0]
    request = JointRequest(
        *(first, lambda graph: roofline(graph, first), max_drop),
        time_limit_s=limit_s,
        steps=steps,
        rounds=rounds,
        margin=margin,
    )
    return Setting(
        program,
        train,
        Judge(program, samples_of(data.held_in)),
        Judge(program, samples_of(data.test)),
        request,
        Training(batch=64, learning_rate=1e-3),
    )


def samples_of(images: Images) -> Samples:
    """One request per image."""
    return Samples((images.images[:, None],), images.labels[:, None])


def drops_on(setting: Setting, count: int) -> Samples:
    """The images held in that sensitivities are measured on."""
    held_in = setting.held_in.samples
    return held_in.take(torch.arange(min(count, len(held_in))))


def ways(
    program: Program, sensitivity: Sensitivity, table: VariantTable, request: JointRequest
) -> Iterator[tuple[str, Solve]]:
    """Each way of choosing, as a function of the allowed sum of accuracy changes."""
    yield "joint", jointly(program, table, request)
    sizes = {key: float(v.weight_bytes) for key, v in _variants(table)}
    yield "fewest bytes, then split", _then_split(program, table, request, sizes)
    macs = {
        (layer, one.variant.name): float(one.macs)
        for layer, own in sensitivity.candidates.items()
        for one in own
    }
    yield "fewest MACs, then split", _then_split(program, table, request, macs)
    costs = request.costs(program.graph)
    whole = partition(
        *(program.graph, request.topology, costs),
        slots=request.slots,
        time_limit_s=request.time_limit_s,
    )
    pins = Constraints(pins=tuple((exactly(name), d) for name, d in whole.placement.items()))
    yield "split, then compress", jointly(program, table, replace(request, constraints=pins))


def _variants(table: VariantTable) -> Iterator[tuple[tuple[str, str], Variant]]:
    for layer, variants in table.variants.items():
        for one in variants:
            yield (layer, one.name), one


def _then_split(
    program: Program,
    table: VariantTable,
    request: JointRequest,
    price: dict[tuple[str, str], float],
) -> Solve:
    """The choice of least price, devices unseen; then the best split of what it makes."""

    def solve(allowance: float) -> JointPlan:
        choice = cheapest(table, price, allowance)
        costs = request.costs(program.graph)
        graph, own = chosen(program.graph, costs, table, choice)
        plan = partition(
            *(graph, request.topology, own),
            slots=request.slots,
            time_limit_s=request.time_limit_s,
        )
        return JointPlan(plan, choice, accuracy_drop(table, choice), allowance)

    return solve


def cheapest(
    table: VariantTable, price: dict[tuple[str, str], float], allowance: float
) -> dict[str, str]:
    """One variant per layer: the least total price with accuracy changes within the allowance."""
    program = Milp()
    columns = {key: program.column(0.0, 1.0, integer=True) for key, _ in _variants(table)}
    for layer, variants in table.variants.items():
        program.equal({columns[layer, one.name]: 1.0 for one in variants}, {ONE: 1.0})
    drops = {columns[key]: one.accuracy_drop for key, one in _variants(table)}
    if allowance < inf:
        program.at_least({ONE: allowance + 1e-9}, drops)
    top = max(price.values())
    program.objective = {columns[key]: price[key] / top for key in columns}
    values = program.solve(20.0).values
    assert values is not None, "leaving every layer as it is costs no accuracy"
    return {layer: name for (layer, name), column in columns.items() if values[column] > 0.5}


def compared(
    setting: Setting, sensitivity: Sensitivity, topology: Topology, train: Retrain
) -> Iterator[dict[str, Any]]:
    """One row per attempt of every way."""
    program = setting.program
    request = replace(setting.request, topology=topology, costs=lambda g: roofline(g, topology))
    costs = request.costs(program.graph)
    table = sensitivity.table(program.graph, topology, costs)
    whole = partition(
        *(program.graph, topology, costs),
        slots=request.slots,
        time_limit_s=request.time_limit_s,
    )
    same = Loss(0.0)
    yield _row(topology, "float, split", whole.estimate.latency_s, 0.0, same, same, True, program)
    for way, solve in ways(program, sensitivity, table, request):
        err.print(f"{topology.name}: {way}")
        found = _tried(setting, table, request, train, solve)
        for attempt in found.attempts if found else ():
            yield _row(
                *(topology, way, attempt.plan.estimate.latency_s, attempt.joint.accuracy_drop),
                *(attempt.loss, setting.test.loss(attempt.program.module)),
                *(found is not None and attempt is found.best, attempt.program),
            )


def _tried(
    setting: Setting, table: VariantTable, request: JointRequest, train: Retrain, solve: Solve
) -> JointCompression | None:
    """None where nothing fits, or nothing keeps the accuracy."""
    try:
        return compress_jointly(
            setting.program, table, request, train, setting.held_in, err.print, solve
        )
    except PlanError as error:  # InfeasibleError among them
        err.print(str(error))
        return None


def _row(
    topology: Topology,
    way: str,
    latency_s: float,
    predicted: float,
    held_in: Loss,
    test: Loss,
    best: bool,
    program: Program,
) -> dict[str, Any]:
    return {
        "topology": topology.name,
        "way": way,
        "latency_ms": latency_s * 1e3,
        "predicted_drop": predicted,
        "held_in_drop": held_in.points,
        "held_in_error": held_in.error,
        "test_drop": test.points,
        "test_error": test.error,
        "chosen": best,
        "stored_bytes": stored_bytes(program),
        "macs": program.graph.macs,
    }


def table_of(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("topology")
    table.add_column("way")
    headings = ("latency ms", "KB", "M MACs", "drop: predicted", "held in", "test")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        if row["chosen"]:
            measured = (
                f"{row[f'{on}_drop']:.2f} ± {row[f'{on}_error']:.2f}" for on in ("held_in", "test")
            )
            table.add_row(
                *(row["topology"], row["way"], f"{row['latency_ms']:.2f}"),
                *(f"{row['stored_bytes'] / 1e3:.0f}", f"{row['macs'] / 1e6:.2f}"),
                *(f"{row['predicted_drop']:.2f}", *measured),
            )
    return table


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Latency over lost accuracy: every attempt of every way, one panel per topology."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["topology"] for row in rows))
    figure = Figure(figsize=(4.5 * len(names), 4), layout="constrained")
    for place, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), place + 1)
        own = [row for row in rows if row["topology"] == name]
        for way in dict.fromkeys(row["way"] for row in own):
            points = sorted((r["test_drop"], r["latency_ms"]) for r in own if r["way"] == way)
            axes.plot(*zip(*points, strict=True), "o-", label=way)
        axes.set(title=name, xlabel="accuracy lost on test images (points)", yscale="log")
    figure.axes[0].set_ylabel("latency (ms)")
    figure.axes[-1].legend()
    figure.savefig(path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.joint_compression",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", choices=tuple(SCHEDULES), default="fashion")
    parser.add_argument("--max-accuracy-drop", type=float, default=1.0, help="percent points")
    parser.add_argument("--steps", type=int, default=300, help="of training, per attempt")
    parser.add_argument("--rounds", type=int, default=4, help="attempts of every way")
    parser.add_argument(
        "--margin", type=float, default=1.0, help="standard errors that must fit into the budget"
    )
    parser.add_argument("--images", type=int, default=1000, help="for the sensitivities")
    parser.add_argument("--time-limit", type=float, default=15.0, help="seconds per solve")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--picture", type=Path, help="write latency over accuracy as .png")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    setting = setting_of(
        SCHEDULES[options.data],
        *(options.max_accuracy_drop, options.steps, options.rounds, options.time_limit),
        options.margin,
    )
    with progress("measuring sensitivities") as report:
        sensitivity = measure_forms(setting.program, drops_on(setting, options.images), report)
    known: dict[str, Program] = {}
    fresh = trained_by(setting.train, setting.training)

    def train(program: Program, recipe: Recipe) -> Program:
        """What was trained before is not trained again."""
        text = recipe.to_toml()
        if text not in known:
            known[text] = fresh(program, recipe)
        return known[text]

    out.print(f"{setting.program.graph}; {setting.test.original:.2f} % of test images right")
    rows: list[dict[str, Any]] = []
    for topology in small_topologies(setting.program.graph.total_weight_bytes):
        own = list(compared(setting, sensitivity, topology, train))
        out.print(table_of(own))
        rows += own
    if options.picture is not None:
        draw(rows, options.picture)
    if options.json is not None:
        options.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
