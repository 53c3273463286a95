"""Joint search on the mobile space against search and split one after the other."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
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
from splitter.search.strategy.problem import Answer, Goal
from splitter.search.strategy.program import front, solve_program

TOPOLOGIES = ("phone_edge_cloud", "camera_chain", "loopback3")
EXECUTED = ("loopback3",)
"""Topologies whose devices are like this machine, so that executed times mean something."""
BUDGETS = (0.05, 0.15, 0.3, 0.5, 1.1)
"""Parts of the way from the fastest network to the most accurate one's fastest split."""
_TIGHT = 2
"""Budgets at which every seed is tried."""


def mobile_part(
    full: bool, topologies: tuple[str, ...], seeds: tuple[int, ...], report: Progress
) -> Iterator[dict[str, Any]]:
    """One row per topology, budget, method and seed."""
    for name in topologies:
        for seed in seeds:
            search = search_of(name, seed, full, report)
            budgets = budgets_of(search)
            for budget_s in budgets if seed == 0 else budgets[:_TIGHT]:
                yield from _rows(search, budget_s)


def search_of(topology: str, seed: int, full: bool, report: Progress) -> Search:
    """The search whose steps are kept in the cache; trainings do not depend on the topology."""
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


def table_of(rows: list[dict[str, Any]]) -> Table:
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


def longer_part(topology: str, full: bool, epochs: float, report: Progress) -> dict[str, Any]:
    """The joint choice at the largest budget, trained on from its fine-tuning."""
    search = search_of(topology, 0, full, report)
    search = replace(search, settings=replace(search.settings, final_epochs=epochs))
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
