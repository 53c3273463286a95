"""Joint search on the mobile space against search and split one after the other."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from statistics import fmean
from time import monotonic
from typing import Any

from rich import box
from rich.table import Table

from splitter.cost.measured import cache_directory
from splitter.errors import InfeasibleError
from splitter.joint.deploy import deploy, final_network
from splitter.joint.outcome import fastest_device
from splitter.joint.settings import Settings, Workspace
from splitter.joint.steps import Progress, Search
from splitter.search.estimate.training import network_accuracy
from splitter.search.strategy.baselines import baselines
from splitter.search.strategy.judge import cuts
from splitter.search.strategy.problem import Answer, Goal
from splitter.search.strategy.program import front, solve_program

TOPOLOGIES = ("phone_edge_cloud", "camera_chain", "loopback3")
EXECUTED = ("loopback3",)
"""Topologies whose devices are like this machine, so that executed times mean something."""
BUDGETS = (0.05, 0.15, 0.3, 0.5, 1.1)
"""Parts of the way from the fastest network to the most accurate one's fastest split."""
_TIGHT, _SEEDS = 2, 3
"""The tightest budgets, and the fine-tunings of every network picked there."""


def mobile_part(
    full: bool, topologies: tuple[str, ...], seed: int, report: Progress
) -> Iterator[dict[str, Any]]:
    """One row per topology, budget, method and fine-tuning; ``seed`` is that of the search."""
    for name in topologies:
        search = search_of(name, seed, full, report)
        for k, budget_s in enumerate(budgets_of(search)):
            seeds = range(seed, seed + (_SEEDS if k < _TIGHT else 1))
            yield from _rows(search, budget_s, seeds)


def search_of(topology: str, seed: int, full: bool, report: Progress) -> Search:
    """The search whose steps are kept in the cache; trainings do not depend on the topology."""
    settings = Settings(
        space="mobile",
        topology=topology,
        data="fashion_mnist",
        latency_s=1.0,
        seed=seed,
        supernet_epochs=12.0 if full else 8.0,
        tune_epochs=1.0 if full else 0.5,
        passes=12 if full else 8,
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


def _rows(search: Search, budget_s: float, seeds: range) -> Iterator[dict[str, Any]]:
    problem, goal = search.problem, Goal(budget_s=budget_s)
    for method, solve in baselines(problem, fastest_device(problem)).items():
        row: dict[str, Any] = {
            "topology": search.topology.name,
            "budget_ms": budget_s * 1e3,
            "method": method,
            "search_seed": search.settings.seed,
        }
        missing = ("network", "accuracy", "estimated", "predicted_ms", "executed_ms", "devices")
        try:
            answer = solve(problem, goal)
        except InfeasibleError:
            yield row | {"seed": seeds[0]} | dict.fromkeys(missing)
            continue
        row |= _found(search, answer, executed=method == "joint")
        for seed in seeds:
            measured = search.measured(answer.joint.choices(problem), "test", seed)
            yield row | {"seed": seed, "accuracy": measured}


def _found(search: Search, answer: Answer, *, executed: bool) -> dict[str, Any]:
    architecture = answer.joint.choices(search.problem)
    found = {
        "network": search.family.space.text(architecture),
        "devices": sorted({search.problem.devices[d] for d in answer.joint.devices}),
        "cuts": cuts(search.problem, answer.joint),
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


def table_of(rows: list[dict[str, Any]]) -> Table:
    """Mean accuracies with their spread, by topology, budget and method."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Fashion-MNIST, mobile space")
    for heading in ("topology", "budget ms", "method"):
        table.add_column(heading)
    headings = ("test accuracy %", "min to max", "cuts", "predicted ms", "executed ms", "floor")
    for heading in headings:
        table.add_column(heading, justify="right")
    keys = ("topology", "budget_ms", "method")
    for _, same in groupby(rows, key=lambda row: [row[k] for k in keys]):
        table.add_row(*_line(list(same)))
    return table


def _line(rows: list[dict[str, Any]]) -> list[str]:
    row, found = rows[0], [100 * one["accuracy"] for one in rows if one["accuracy"] is not None]
    head = [row["topology"], f"{row['budget_ms']:.4g}", row["method"]]
    if not found:
        return [*head, "impossible"]
    executed = row.get("executed_ms")
    return [
        *head,
        f"{fmean(found):.2f}",
        f"{min(found):.2f} to {max(found):.2f}" if len(found) > 1 else "",
        str(row["cuts"]),
        f"{row['predicted_ms']:.4g}",
        "" if executed is None else f"{executed:.4g}",
        "" if executed is None else f"{row['floor']:.1%}",
    ]


def longer_part(
    topology: str, full: bool, epochs: float, minutes: float | None, report: Progress
) -> dict[str, Any]:
    """The joint choice at the largest budget, trained on from its fine-tuning.

    ``minutes`` ends the training sooner, with the learning rate gone down by then.
    """
    search = search_of(topology, 0, full, report)
    settings = replace(search.settings, final_epochs=epochs, budget_minutes=minutes)
    search = replace(search, settings=settings, began_s=monotonic())
    answer = solve_program(search.problem, Goal(budget_s=budgets_of(search)[-1]))
    architecture = answer.joint.choices(search.problem)
    network = final_network(search, architecture)
    return {
        "topology": topology,
        "network": search.family.space.text(architecture),
        "predicted_ms": answer.time_s * 1e3,
        "epochs": epochs,
        "accuracy": network_accuracy(network, search.data.test),
    }
