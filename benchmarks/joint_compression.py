"""python -m benchmarks.joint_compression: rank, bits and split chosen together, or in turn.

A residual network on devices of which the first cannot hold it in float. Four ways to compress and
place it, all from one table of sensitivities, scaled by what training leaves of every kind of form:

- joint: one integer program of placement and variants;
- fewest bytes (or MACs), then split: the network is compressed, devices unseen, then split best;
- split, then compress: the best split of the float network, then the variants that make it fastest.

Every way chooses at the same allowed sums of predicted accuracy changes; every choice is trained
equally. Of a way's networks, the fastest counts whose loss on images held in, with ``--margin``
standard errors, is within the budget. Losses shown are of test images that no choice has seen,
latencies those of the plans (docs/latency.md). Results are kept under the cache folder, so that a
run that was stopped goes on where it was.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from benchmarks.compression_runs import SCHEDULES, Schedule, cached_json
from benchmarks.joint_picture import draw
from benchmarks.joint_runs import (
    latency_of,
    program_of,
    request_for,
    sensitivity_of,
    train_all,
    trials_of,
)
from benchmarks.joint_topologies import small_topologies
from benchmarks.joint_ways import WAYS, Case
from compress.candidates import recipe_of
from compress.recovery import after_training
from compress.sensitivity import Loss, Sensitivity
from splitter.cli.console import out, progress
from splitter.cli.shrink import trial_facts, trial_table

FLOAT = "float, split"
_CHOOSING = 3
"""Raised when a way of choosing changes, so that kept choices are made again."""
Row = dict[str, Any]


def choices(
    schedule: Schedule, sensitivity: Sensitivity, options: argparse.Namespace
) -> Iterator[Row]:
    """What every way chooses on every topology at every allowance: predicted, with its recipe."""
    program = program_of(schedule)
    for topology in small_topologies(program.graph.total_weight_bytes):
        case = Case(program, request_for(topology, options.time_limit), sensitivity)
        shared = {"topology": topology.name, "steps": options.steps}
        yield {**shared, "way": FLOAT, "allowed_drop": 0.0, "predicted_drop": 0.0, "recipe": ""}
        for way, allowed in product(WAYS, options.allow):
            found = _choice(schedule, case, way, allowed)
            if found is not None:
                predicted = sensitivity.predicted_points(found)
                yield {
                    **{**shared, "way": way, "allowed_drop": allowed},
                    **{"predicted_drop": predicted, "recipe": _recipe(found, options.steps)},
                }


def _choice(schedule: Schedule, case: Case, way: str, allowed: float) -> dict[str, str] | None:
    drops = {f"{layer}: {form}": drop for (layer, form), drop in case.sensitivity.drops.items()}
    limit_s = case.request.time_limit_s
    asked = {"choosing": _CHOOSING, "way": way, "allowed": allowed, "limit_s": limit_s}
    key = {"topology": repr(case.request.topology), "drops": drops, **asked}
    kept = cached_json(
        "joint-choice", {**schedule.key, **key}, lambda: {"variants": WAYS[way](case, allowed)}
    )
    found: dict[str, str] | None = kept["variants"]
    return found


def _recipe(variants: dict[str, str], steps: int) -> str:
    recipe = recipe_of(variants, steps)
    return recipe.to_toml() if recipe.rules else ""


def measured(schedule: Schedule, rows: list[Row], options: argparse.Namespace) -> Iterator[Row]:
    """The rows with what their networks lose, take and need."""
    with progress("training") as report:
        recipes = [row["recipe"] for row in rows]
        outcomes = list(train_all(schedule, options.steps, recipes, options.jobs, report))
    topologies = {
        one.name: one for one in small_topologies(program_of(schedule).graph.total_weight_bytes)
    }
    with progress("planning") as report:
        for i, (row, outcome) in enumerate(zip(rows, outcomes, strict=True)):
            report(i, len(rows), row["topology"])
            topology, limit_s = topologies[row["topology"]], options.time_limit
            seconds = latency_of(schedule, row["recipe"], topology, limit_s)
            if seconds is not None:
                yield {**row, "latency_ms": seconds * 1e3, **asdict(outcome)}


def best(rows: list[Row], budget: float, margin: float) -> Iterator[Row]:
    """Of every way on every topology, the fastest that keeps within the budget."""
    for topology, way in dict.fromkeys((row["topology"], row["way"]) for row in rows):
        kept = [
            row
            for row in rows
            if (row["topology"], row["way"]) == (topology, way)
            and Loss(**row["held_in"]).at_most(margin) <= budget
        ]
        if kept:
            yield min(kept, key=lambda row: (row["latency_ms"], row["held_in"]["points"]))


def front(rows: list[Row], margin: float) -> Iterator[Row]:
    """The best of every way within any budget."""
    budgets = sorted({Loss(**row["held_in"]).at_most(margin) for row in rows})
    found = [one for budget in budgets for one in best(rows, budget, margin)]
    yield from {id(row): row for row in found}.values()


def table_of(rows: list[Row], budgets: list[float], margin: float) -> Table:
    """The best network of every way within every budget."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("topology")
    table.add_column("way")
    headings = ("budget", "latency ms", "KB", "M MACs", "lost: predicted", "held in", "test")
    for heading in headings:
        table.add_column(heading, justify="right")
    for budget in budgets:
        for row in best(rows, budget, margin):
            lost = (
                f"{row[on]['points']:.2f} ± {row[on]['error']:.2f}" for on in ("held_in", "test")
            )
            table.add_row(
                *(row["topology"], row["way"], f"{budget:g}", f"{row['latency_ms']:.2f}"),
                *(f"{row['stored_bytes'] / 1e3:.0f}", f"{row['macs'] / 1e6:.2f}"),
                *(f"{row['predicted_drop']:.1f}", *lost),
            )
    return table


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.joint_compression",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", choices=tuple(SCHEDULES), default="fashion-10k")
    parser.add_argument(
        "--budget", type=float, nargs="+", default=[1.0, 1.5, 2.0], help="points that may be lost"
    )
    parser.add_argument(
        "--allow",
        type=float,
        nargs="+",
        default=[0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0],
        help="predicted points at which every way chooses",
    )
    parser.add_argument("--steps", type=int, default=800, help="of training, per network")
    parser.add_argument(
        "--margin", type=float, default=1.0, help="standard errors that must fit into the budget"
    )
    parser.add_argument("--images", type=int, default=1000, help="for the sensitivities")
    parser.add_argument("--time-limit", type=float, default=20.0, help="seconds per program")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--picture", type=Path, help="write latency over accuracy as .png")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    schedule = SCHEDULES[options.data]
    with progress("measuring sensitivities") as report:
        alone = sensitivity_of(schedule, options.images, report)
    with progress("training each kind of form") as report:
        trials = list(trials_of(schedule, options.steps, alone, report))
    out.print(trial_table(trials))
    chosen = list(choices(schedule, after_training(alone, trials), options))
    rows = list(measured(schedule, chosen, options))
    out.print(table_of(rows, options.budget, options.margin))
    if options.picture is not None:
        draw(rows, list(front(rows, options.margin)), options.picture)
    if options.json is not None:
        options.json.write_text(
            json.dumps({"trials": trial_facts(trials), "rows": rows}, indent=1) + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
