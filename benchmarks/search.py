"""python -m benchmarks.search: the joint search against search and split one after the other.

Parts: ``exact`` (program, path and brute force); ``table`` (estimators on NAS-Bench-201) and
``latency`` (models of measured cells, MnasNet's reward), which need --table FILE; ``estimator``
(rank correlation of conditional means on the mobile space); ``mobile`` (Fashion-MNIST, five
budgets on each topology, all methods). What was trained is kept under the cache folder, so that a
run that was stopped goes on where it was.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.search_exact import exact_part
from benchmarks.search_latency import latency_part
from benchmarks.search_table import table_part
from splitter.cost.measured import cache_directory
from splitter.errors import InfeasibleError
from splitter.files import write_whole
from splitter.joint.deploy import deploy
from splitter.joint.outcome import fastest_device
from splitter.joint.settings import Settings, Workspace
from splitter.joint.steps import Search
from splitter.search.estimate.correlation import kendall_tau
from splitter.search.estimate.estimator import Estimator, MacCount, ParameterCount
from splitter.search.space.nasbench201 import read_table
from splitter.search.strategy.baselines import baselines
from splitter.search.strategy.problem import Answer, Goal
from splitter.search.strategy.program import front, solve_program

PARTS = ("exact", "table", "latency", "estimator", "mobile")
TOPOLOGIES = ("phone_edge_cloud", "camera_chain", "loopback3")
EXECUTED = ("loopback3",)
"""Topologies whose devices are like this machine, so that executed times mean something."""
_RANKED, _RANKED_IMAGES = 100, 1000
"""Networks held out from the estimator, and images on which each is scored."""
BUDGETS = (0.05, 0.15, 0.3, 0.5, 1.1)
"""Parts of the way from the fastest network to the most accurate one's fastest split."""


def mobile_part(full: bool, topologies: tuple[str, ...], report: Any) -> Iterator[dict[str, Any]]:
    """One row per topology, budget, method and seed."""
    for name in topologies:
        for seed in (0, 1, 2) if full else (0,):
            search = _search(name, seed, full, report)
            budgets = budgets_of(search)
            for budget_s in budgets if seed == 0 else budgets[:2]:
                yield from _rows(search, budget_s)


def _search(topology: str, seed: int, full: bool, report: Any) -> Search:
    settings = Settings(
        space="mobile",
        topology=topology,
        data="fashion_mnist",
        latency_s=1.0,
        seed=seed,
        supernet_epochs=16.0 if full else 8.0,
        tune_epochs=2.0 if full else 0.5,
        passes=16 if full else 8,
    )
    kind = "full" if full else "quick"
    folder = cache_directory() / "search" / f"{kind}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    return Search(settings, Workspace(folder), report, 0.0)


def budgets_of(search: Search) -> list[float]:
    """Five latency budgets from tight to loose, in seconds."""
    points = front(search.problem, points=2)
    low = solve_program(search.problem, Goal(weight=0.0, price_per_s=1.0)).time_s
    high = points[-1].time_s
    return [low + (high - low) * part for part in BUDGETS]


def estimator_part(full: bool, report: Any) -> dict[str, Any]:
    """How conditional means rank networks held out, by the supernet's accuracy; and controls."""
    search = _search(TOPOLOGIES[0], 0, full, report)
    space = search.family.space

    def make() -> list[Any]:
        rng, data = Random(12345), search.data.held_in.rows(0, _RANKED_IMAGES)
        drawn = [space.random(rng) for _ in range(_RANKED)]
        found = []
        for i, architecture in enumerate(drawn):
            found.append([architecture, search.one_shot.on(architecture, data)])
            report(i + 1, _RANKED, "networks held out")
        return found

    kept = [(tuple(a), accuracy) for a, accuracy in search.workspace.kept("ranked", make)]
    truth = [accuracy for _, accuracy in kept]
    estimators: dict[str, Estimator] = {
        "conditional means": search.means.bilinear(space),
        "conditional means, global base": search.means.bilinear(space, centred=False),
        "parameters": ParameterCount(search.family),
        "macs": MacCount(search.family),
    }
    taus = {n: kendall_tau(truth, [e.score(a) for a, _ in kept]) for n, e in estimators.items()}
    return {"networks": len(kept), "images": _RANKED_IMAGES, "tau": taus}


def _rows(search: Search, budget_s: float) -> Iterator[dict[str, Any]]:
    problem, goal = search.problem, Goal(budget_s=budget_s)
    for method, solve in baselines(problem, fastest_device(problem)).items():
        row: dict[str, Any] = {
            "topology": search.topology.name,
            "budget_ms": budget_s * 1e3,
            "method": method,
            "seed": search.settings.seed,
        }
        missing = ("network", "accuracy", "estimated", "predicted_ms", "executed_ms", "devices")
        try:
            answer = solve(problem, goal)
        except InfeasibleError:
            yield row | dict.fromkeys(missing)
            continue
        yield row | _measured(search, answer, executed=method == "joint")


def _measured(search: Search, answer: Answer, *, executed: bool) -> dict[str, Any]:
    architecture = answer.joint.choices(search.problem)
    found = {
        "network": search.family.space.text(architecture),
        "devices": sorted({search.problem.devices[d] for d in answer.joint.devices}),
        "accuracy": search.measured(architecture, "test"),
        "estimated": answer.accuracy,
        "predicted_ms": answer.time_s * 1e3,
        "executed_ms": None,
    }
    if executed and search.topology.name in EXECUTED:
        found |= _executed(search, architecture)
    return found


def _executed(search: Search, architecture: tuple[int, ...]) -> Mapping[str, Any]:
    name = "executed-" + "-".join(map(str, architecture))

    def make() -> dict[str, Any]:
        tuned = search.tuned(
            *(architecture, search.settings.tune_epochs, 0.02),
            "candidate-" + "-".join(map(str, architecture)),
        )
        made = deploy(search, tuned)
        return {
            "planned_ms": made.plan.estimate.latency_s * 1e3,
            "executed_ms": None if made.executed_s is None else made.executed_s * 1e3,
            "floor": made.floor,
            "agreement": made.agreement,
        }

    kept: Mapping[str, Any] = search.workspace.kept(name, make)
    return kept


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Fashion-MNIST, mobile space")
    for heading in ("topology", "budget ms", "method"):
        table.add_column(heading)
    for heading in ("test accuracy %", "predicted ms", "executed ms"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            *(row["topology"], f"{row['budget_ms']:.4g}", row["method"]),
            "impossible" if row["accuracy"] is None else f"{100 * row['accuracy']:.2f}",
            "" if row["predicted_ms"] is None else f"{row['predicted_ms']:.4g}",
            "" if row.get("executed_ms") is None else f"{row['executed_ms']:.4g}",
        )
    return table


def main() -> None:
    """Run the chosen parts, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--full", action="store_true", help="longer training, three seeds")
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--topology", action="append", choices=TOPOLOGIES)
    parser.add_argument("--table", type=Path, metavar="FILE", help="of NAS-Bench-201, .csv.gz")
    given = parser.parse_args()
    parts = given.part or list(PARTS)
    console = Console(width=110)
    found: dict[str, Any] = {"rows": []}
    if "exact" in parts:
        found["exact"] = exact_part(console)
    if "table" in parts:
        if given.table is None:
            parser.error("part table needs --table FILE")
        found["table"] = table_part(read_table(given.table), console)
    if "latency" in parts:
        if given.table is None:
            parser.error("part latency needs --table FILE")
        found["latency"] = latency_part(read_table(given.table), console)
    if "estimator" in parts:
        found["estimator"] = estimator_part(given.full, lambda done, total, what: None)
        taus = ", ".join(f"{k} {v:.3f}" for k, v in found["estimator"]["tau"].items())
        console.print(f"Kendall tau over {_RANKED} networks held out: {taus}")
    if "mobile" in parts:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)

            def report(done: int, total: int, what: str) -> None:
                bar.update(task, completed=done, total=total or None, description=what)

            topologies = tuple(given.topology or TOPOLOGIES)
            for row in mobile_part(given.full, topologies, report):
                found["rows"].append(row)
        console.print(_table(found["rows"]))
    if given.json is not None:
        write_whole(given.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
