"""Joint search on the mobile space against search and split one after the other."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from time import monotonic
from typing import Any

import torch

from benchmarks.flow import Work, flow
from splitter.cost.measured import cache_directory
from splitter.errors import InfeasibleError
from splitter.files import write_whole
from splitter.joint.deploy import deploy, final_network
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
        found = Found(self)
        flow(jobs, found.begin(), found.then, report, torch.set_num_threads, (threads,))
        for row in found.in_order():
            chosen = row.pop("picked")
            row["accuracy"] = found.accuracy[row["seed"], chosen] if chosen else None
            if chosen and row["method"] == "joint" and row["topology"] in EXECUTED:
                search = search_of(row["topology"], row["seed"], self.setting, report)
                row |= _executed(search, chosen)
            yield row

    def runs(self, topology: str, budgets: Sequence[float]) -> Iterator[tuple[str, int, float]]:
        """(topology, seed, budget) of everything that is searched."""
        for k, budget_s in enumerate(budgets):
            for seed in self.seeds if k < self.tight else self.seeds[:1]:
                yield topology, seed, budget_s


@dataclass
class Found:
    """What is known so far, and what can be done next."""

    mobile: Mobile
    ready: set[int] = field(default_factory=set)
    """Seeds whose supernet and estimator are trained."""
    budgets: dict[str, list[float]] = field(default_factory=dict)
    rows: dict[tuple[str, int, float], list[Row] | None] = field(default_factory=dict)
    """Of each run; None while it is being planned."""
    accuracy: dict[tuple[int, Architecture], float | None] = field(default_factory=dict)
    """Of each picked network; None while it is fine-tuned."""

    def begin(self) -> Iterator[Work]:
        """A supernet and an estimator for each seed."""
        for seed in self.mobile.seeds:
            yield self._work("supernets and estimators", _prepared, seed)

    def then(self, work: Work, result: Any) -> Iterator[Work]:
        """Keep a result; planning waits for its seed and for the budgets of the first one."""
        asked = work.given[1:]
        if work.call is _prepared:
            self.ready.add(asked[0])
            if asked[0] == self.mobile.seeds[0]:
                for topology in self.mobile.topologies:
                    yield self._work("budgets", _budgets, topology, asked[0])
        elif work.call is _budgets:
            self.budgets[asked[0]] = result
        elif work.call is _planned:
            self.rows[asked] = result
            yield from self._tunings(result)
        else:
            self.accuracy[asked] = result
        yield from self._plans()

    def _plans(self) -> Iterator[Work]:
        for topology, budgets in self.budgets.items():
            for run in self.mobile.runs(topology, budgets):
                if run[1] in self.ready and run not in self.rows:
                    self.rows[run] = None
                    yield self._work("planning", _planned, *run)

    def _tunings(self, rows: Iterable[Row]) -> Iterator[Work]:
        for row in rows:
            key = row["seed"], row["picked"]
            if row["picked"] and key not in self.accuracy:
                self.accuracy[key] = None
                yield self._work("fine-tuning", _accuracy, *key)

    def _work(self, what: str, call: Callable[..., Any], *asked: Any) -> Work:
        return Work(what, call, (self.mobile.setting, *asked))

    def in_order(self) -> Iterator[Row]:
        """All rows: by topology and budget."""
        for topology in self.mobile.topologies:
            for run in self.mobile.runs(topology, self.budgets[topology]):
                yield from self.rows[run] or ()


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
    for method, solve in baselines(problem).items():
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
            "computing_ms": sum(made.computed_s.values()) * 1e3,
            "agreement": made.agreement,
        }

    kept: Mapping[str, Any] = search.workspace.kept(name, make)
    return kept


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


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
