"""Joint search on the mobile space against search and split one after the other."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean
from time import monotonic
from typing import Any

import torch
from rich import box
from rich.table import Table

from splitter.cost.measured import cache_directory
from splitter.errors import InfeasibleError
from splitter.files import write_whole
from splitter.joint.deploy import deploy, final_network
from splitter.joint.outcome import fastest_device
from splitter.joint.settings import Settings, Workspace
from splitter.joint.steps import Progress, Search
from splitter.pipeline import profile
from splitter.search.estimate.blocks import parts_of
from splitter.search.estimate.training import network_accuracy, silent
from splitter.search.space.families import family
from splitter.search.space.space import Architecture
from splitter.search.strategy.baselines import baselines
from splitter.search.strategy.judge import cuts
from splitter.search.strategy.problem import Answer, Goal
from splitter.search.strategy.program import front, solve_program

TOPOLOGIES = ("phone_edge_cloud", "boards", "camera_chain", "loopback3")
EXECUTED = ("loopback3",)
"""Topologies whose devices are like this machine: layers are measured, networks executed."""
BUDGETS = (0.05, 0.15, 0.3, 0.5, 1.1)
"""Parts of the way from the fastest network to the most accurate one's fastest split."""
SEEDS = 3
"""How often all is done at the tightest budgets: each time with a supernet, an estimator and
fine-tunings of its own."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """How thoroughly."""

    full: bool = False
    tune_epochs: float | None = None
    """Of every picked network, where not the usual."""

    def of(self, topology: str, seed: int) -> Settings:
        """The settings of a search."""
        usual = 1.0 if self.full else 0.25
        return Settings(
            space="mobile",
            topology=topology,
            data="fashion_mnist",
            latency_s=1.0,
            seed=seed,
            supernet_epochs=12.0 if self.full else 3.0,
            tune_epochs=usual if self.tune_epochs is None else self.tune_epochs,
            passes=12 if self.full else 4,
        )


_SHARED = ("blocks.json", "supernet.pt", "means.json")
"""What does not depend on how long picked networks are fine-tuned."""


def search_of(topology: str, seed: int, setting: Setting, report: Progress) -> Search:
    """The search whose steps are kept in the cache; trainings do not depend on the topology."""
    usual = cache_directory() / "search" / f"{'full' if setting.full else 'quick'}-{seed}"
    tune = setting.tune_epochs
    folder = usual if tune is None else usual.with_name(f"{usual.name}-tune{tune:g}")
    folder.mkdir(parents=True, exist_ok=True)
    for name in _SHARED:
        if (usual / name).is_file() and not (folder / name).is_file():
            write_whole(folder / name, (usual / name).read_bytes())
    return Search(setting.of(topology, seed), Workspace(folder), report, 0.0)


@dataclass(frozen=True)
class Mobile:
    """All runs of part mobile."""

    setting: Setting
    topologies: tuple[str, ...]
    seeds: tuple[int, ...]
    tight: int = 2
    """The tightest budgets, at which all seeds run; elsewhere only the first does."""

    def rows(self, jobs: int, report: Progress) -> Iterator[Row]:
        """One row per topology, budget, method and seed, by ``jobs`` processes at a time."""
        for name in set(self.topologies) & set(EXECUTED):
            profile(parts_of(family("mobile")).program(), name, progress=report)
        threads = max(1, len(os.sched_getaffinity(0)) // jobs)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, spawn, torch.set_num_threads, (threads,)) as pool:

            def every(what: str, work: Callable[..., Any], asked: Sequence[Any]) -> list[Any]:
                found = [pool.submit(work, self.setting, *one) for one in asked]
                try:
                    for number, one in enumerate(as_completed(found)):
                        one.result()
                        report(number + 1, len(found), what)
                except BaseException:  # what has begun keeps its checkpoint; nothing else begins
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
                return [one.result() for one in found]

            report(0, len(self.seeds), "supernets and estimators")
            every("supernets and estimators", _prepared, [(seed,) for seed in self.seeds])
            asked = [(t, self.seeds[0]) for t in self.topologies]
            budgets = every("budgets", _budgets, asked)
            runs = list(self.runs(dict(zip(self.topologies, budgets, strict=True))))
            rows = [row for some in every("planning", _planned, runs) for row in some]
            picked = {(row["seed"], row["picked"]) for row in rows if row["picked"]}
            trained = sorted(picked)
            accuracy = dict(zip(trained, every("fine-tuning", _accuracy, trained), strict=True))
        for row in rows:
            chosen = row.pop("picked")
            row["accuracy"] = accuracy[row["seed"], chosen] if chosen else None
            if chosen and row["method"] == "joint" and row["topology"] in EXECUTED:
                search = search_of(row["topology"], row["seed"], self.setting, report)
                row |= _executed(search, chosen)
            yield row

    def runs(self, budgets: Mapping[str, list[float]]) -> Iterator[tuple[str, int, float]]:
        """(topology, seed, budget) of everything that is searched."""
        for topology in self.topologies:
            for k, budget_s in enumerate(budgets[topology]):
                for seed in self.seeds if k < self.tight else self.seeds[:1]:
                    yield topology, seed, budget_s


@cache
def _own(topology: str, seed: int, setting: Setting) -> Search:
    """A worker's search."""
    return search_of(topology, seed, setting, silent)


def _prepared(setting: Setting, seed: int) -> None:
    assert _own(TOPOLOGIES[0], seed, setting).means


def _budgets(setting: Setting, topology: str, seed: int) -> list[float]:
    return budgets_of(_own(topology, seed, setting))


def _planned(setting: Setting, topology: str, seed: int, budget_s: float) -> list[Row]:
    return list(_rows(_own(topology, seed, setting), budget_s))


def _accuracy(setting: Setting, seed: int, picked: Architecture) -> float:
    return _own(TOPOLOGIES[0], seed, setting).measured(picked, "test")


def budgets_of(search: Search) -> list[float]:
    """Five latency budgets from tight to loose, in seconds."""
    points = front(search.problem, points=2)
    low = solve_program(search.problem, Goal(weight=0.0, price_per_s=1.0)).time_s
    high = points[-1].time_s
    return [low + (high - low) * part for part in BUDGETS]


def _rows(search: Search, budget_s: float) -> Iterator[Row]:
    """What each method picks, without its accuracy."""
    problem, goal = search.problem, Goal(budget_s=budget_s)
    for method, solve in baselines(problem, fastest_device(problem)).items():
        row: Row = {
            "topology": search.topology.name,
            "budget_ms": budget_s * 1e3,
            "method": method,
            "seed": search.settings.seed,
            "executed_ms": None,
        }
        missing = ("picked", "network", "estimated", "predicted_ms", "devices", "cuts")
        try:
            answer = solve(problem, goal)
        except InfeasibleError:
            yield row | dict.fromkeys(missing)
        else:
            yield row | _found(search, answer)


def _found(search: Search, answer: Answer) -> Row:
    architecture = answer.joint.choices(search.problem)
    return {
        "picked": architecture,
        "network": search.family.space.text(architecture),
        "devices": sorted({search.problem.devices[d] for d in answer.joint.devices}),
        "cuts": cuts(search.problem, answer.joint),
        "estimated": answer.accuracy,
        "predicted_ms": answer.time_s * 1e3,
    }


def _executed(search: Search, architecture: Architecture) -> Mapping[str, Any]:
    name = "executed-" + "-".join(map(str, architecture))

    def make() -> dict[str, Any]:
        made = deploy(search, search.tuned(architecture))
        return {
            "planned_ms": made.plan.estimate.latency_s * 1e3,
            "executed_ms": _ms(made.executed_s),
            "floor": made.floor,
            "planned_computing_ms": sum(made.plan.layer_seconds.values()) * 1e3,
            "computing_ms": _ms(made.computed_s),
            "agreement": made.agreement,
        }

    kept: Mapping[str, Any] = search.workspace.kept(name, make)
    return kept


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


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


def longer_part(
    topology: str,
    seed: int,
    setting: Setting,
    epochs: float,
    minutes: float | None,
    report: Progress,
) -> Row:
    """The joint choice at the largest budget, trained on from its fine-tuning.

    ``minutes`` ends the training sooner, with the learning rate gone down by then.
    """
    search = search_of(topology, seed, setting, report)
    settings = replace(search.settings, final_epochs=epochs, budget_minutes=minutes)
    search = replace(search, settings=settings, began_s=monotonic())
    answer = solve_program(search.problem, Goal(budget_s=budgets_of(search)[-1]))
    architecture = answer.joint.choices(search.problem)
    network = final_network(search, architecture)
    return {
        "topology": topology,
        "seed": seed,
        "network": search.family.space.text(architecture),
        "predicted_ms": answer.time_s * 1e3,
        "epochs": epochs,
        "accuracy": network_accuracy(network, search.data.test),
    }
