"""python -m benchmarks.compression: what each method costs in accuracy and saves in bytes and MACs.

The quick setting trains a small residual network on digits with three seeds. ``--data fashion`` is
the real thing: Fashion-MNIST in full, one seed, some hours on two cores. Results are kept under
the cache folder, so that a run that was stopped goes on where it was.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.compression_runs import (
    FASHION,
    MNIST,
    QUICK,
    Figures,
    Schedule,
    compressed,
    fine_tuned_after,
    float_network,
    kept,
    macs_of,
    mean,
    score,
    split,
    spread,
    steps_of,
)
from compress.apply import apply_recipe
from compress.method import Method
from compress.methods import format_method, make_method
from compress.recipe import Recipe, Rule, recipe_for
from compress.sites import sites_of
from compress.slq import SLQ
from compress.svd import SVD
from compress.trp import TRP
from compress.widths.controller import Controller
from compress.widths.problem import Score, WidthProblem, budget_reward, network_problem
from compress.widths.search import greedy_search, ilp_search, random_search, sensitivity

SCHEDULES = {"digits": QUICK, "mnist": MNIST, "fashion": FASHION}
SEEDS = {"digits": 3, "mnist": 3, "fashion": 1}
TRP_ENERGY = {"nc": 0.95, "vh": 0.98, "nd": 0.9}
"""What a truncation in training keeps, so that about half of the MACs are left in the end."""
BUDGETS = (3.0, 4.0)
"""Mean bits per weight at which allocations of widths are compared with uniform ones."""
_EVALUATIONS = 120


@dataclass(frozen=True)
class Experiment:
    """One row of the table, for one seed at a time."""

    method: str
    setting: str
    run: Callable[[Schedule, int], Figures]


def experiments(schedule: Schedule) -> Iterator[Experiment]:
    yield _plain("float", "as trained", trained=False)
    yield _plain("float", "extra epochs", trained=True)
    for scheme in ("nc", "vh", "nd"):
        trp = TRP(scheme=scheme, period=10, nuclear=3e-3, train_energy=TRP_ENERGY[scheme])
        yield Experiment("trp", format_method(trp), _compress(_same(trp), scratch=True))
    yield _plain("float", "from scratch, extra epochs", trained=True, scratch=True)
    for scheme in ("nc", "vh", "nd"):
        yield Experiment("svd", f"{scheme}, half the MACs", _svd(scheme, tuned=False))
    yield Experiment("svd", "nc, half the MACs, then extra epochs", _svd("nc", tuned=True))
    for bits in (5, 4, 3):
        yield _from_weights("kmeans", bits=bits)
        for order in ("loss", "magnitude"):
            yield _gradual("slq", bits=bits, order=order)
        yield _gradual("inq", bits=bits)
    yield _from_weights("ternary")
    yield _gradual("mlq", layers_per_round=1)
    yield _gradual("mlq", layers_per_round=0)
    yield _gradual("mlq", layers_per_round=1, boundary_first=False)
    for bits in (2, 3, 4, 5):
        yield _gradual("dnq", bits=bits)
    for budget in BUDGETS:
        for search in ("controller", "random", "greedy", "ilp"):
            setting = f"{search}, {budget:g} bits per weight"
            yield Experiment("dnq widths", setting, _allocated(search, budget))


def _plain(method: str, setting: str, *, trained: bool, scratch: bool = False) -> Experiment:
    def run(schedule: Schedule, seed: int) -> Figures:
        return compressed(schedule, seed, None, trained=trained, scratch=scratch)

    return Experiment(method, setting, run)


def _compress(
    method: Callable[[Schedule], Method], *, scratch: bool = False, trained: bool = True
) -> Callable[[Schedule, int], Figures]:
    def run(schedule: Schedule, seed: int) -> Figures:
        recipe = recipe_for(method(schedule), sites_of(float_network(schedule, seed)))
        return compressed(schedule, seed, recipe, trained=trained, scratch=scratch)

    return run


def _same(method: Method) -> Callable[[Schedule], Method]:
    return lambda _: method


def _from_weights(name: str, **settings: Any) -> Experiment:
    method = make_method(name, settings)
    return Experiment(name, format_method(method), _compress(_same(method), trained=False))


def _gradual(name: str, **settings: Any) -> Experiment:
    """All rounds together take the extra epochs."""

    def fitted(schedule: Schedule) -> Method:
        return _fitted(make_method(name, settings), schedule)

    return Experiment(name, format_method(make_method(name, settings)), _compress(fitted))


def _fitted(method: Method, schedule: Schedule) -> Method:
    model = float_network(schedule, 0)
    probe = replace(method, steps_per_round=1)  # type: ignore[call-arg]
    probe.attach(deepcopy(model))
    rounds = probe.total_steps
    steps = steps_of(schedule, schedule.extra_epochs) // rounds
    return replace(method, steps_per_round=max(steps, 1))  # type: ignore[call-arg]


def _svd(scheme: str, *, tuned: bool) -> Callable[[Schedule, int], Figures]:
    def run(schedule: Schedule, seed: int) -> Figures:
        recipe = _half_the_macs(schedule, seed, scheme)
        if tuned:
            return fine_tuned_after(schedule, seed, recipe)
        return compressed(schedule, seed, recipe, trained=False, scratch=False)

    return run


def _half_the_macs(schedule: Schedule, seed: int, scheme: str) -> Recipe:
    """SVD of most energy that leaves at most half of the MACs, by bisection."""
    model = float_network(schedule, seed)
    sites, target = sites_of(model), macs_of(model, schedule) / 2
    low, high = 0.05, 1.0
    for _ in range(8):
        energy = (low + high) / 2
        recipe = recipe_for(SVD(scheme=scheme, energy=energy), sites)
        trial = deepcopy(model)
        apply_recipe(trial, recipe)
        low, high = (energy, high) if macs_of(trial, schedule) <= target else (low, energy)
    return recipe_for(SVD(scheme=scheme, energy=low), sites)


def _allocated(search: str, budget: float) -> Callable[[Schedule, int], Figures]:
    """Widths by a search on data held in, each with the same evaluations; then SLQ at these."""

    def run(schedule: Schedule, seed: int) -> Figures:
        model = deepcopy(float_network(schedule, seed))
        sites = SLQ().default_sites(sites_of(model))
        held_in = split(schedule.data).held_in

        def measure(net: torch.nn.Module) -> Score:
            accuracy, loss = score(net, held_in)
            return Score(accuracy / 100, loss)

        problem = network_problem(model, sites, measure, budget_reward(budget), (2, 3, 4, 5, 6))
        bits = _search(search, problem, seed)
        rules = tuple(
            Rule(s.layer, _fitted(make_method("dnq", {"bits": b}), schedule))
            for s, b in zip(sites, bits, strict=True)
        )
        return compressed(schedule, seed, Recipe(rules), trained=True, scratch=False)

    return run


def _search(search: str, problem: WidthProblem, seed: int) -> tuple[int, ...]:
    if search == "controller":
        Controller(evaluations=_EVALUATIONS, seed=seed).search(problem)
        return problem.best_seen()
    if search == "random":
        return random_search(problem, _EVALUATIONS, seed).bits
    if search == "greedy":
        return greedy_search(problem, sensitivity(problem)).bits
    return ilp_search(problem, table=sensitivity(problem)).bits


def rows_of(
    schedule: Schedule, seeds: int, methods: list[str], report: Callable[[str], None]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        reference: float | None = None
        for experiment in experiments(schedule):
            wanted = not methods or experiment.method.partition(" ")[0] in methods
            if not wanted and experiment.method != "float":
                continue
            report(f"seed {seed}: {experiment.method} {experiment.setting}")
            key = {
                **asdict(schedule),
                "method": experiment.method,
                "setting": experiment.setting,
                "seed": seed,
            }
            found = kept(key, lambda e=experiment, s=seed: asdict(e.run(schedule, s)))  # type: ignore[misc]
            if experiment.setting == "extra epochs":
                reference = found["accuracy"]
            rows.append(
                {
                    "network": schedule.network,
                    "data": schedule.data,
                    "method": experiment.method,
                    "setting": experiment.setting,
                    "seed": seed,
                    **found,
                }
            )
        for row in rows:
            row.setdefault("float_accuracy", reference)
    return rows


def table_of(rows: list[dict[str, Any]]) -> Table:
    network, data = rows[0]["network"], rows[0]["data"]
    count = len({row["seed"] for row in rows})
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=f"{network} on {data}, {count} seed(s)"
    )
    table.add_column("method")
    table.add_column("setting")
    for heading in ("accuracy %", "against float", "truncation", "disk KB", "k MACs", "train s"):
        table.add_column(heading, justify="right")
    for method, setting in dict.fromkeys((row["method"], row["setting"]) for row in rows):
        own = [r for r in rows if (r["method"], r["setting"]) == (method, setting)]
        table.add_row(method, setting, *_cells(own))
    return table


def _cells(own: list[dict[str, Any]]) -> list[str]:
    accuracy = [row["accuracy"] for row in own]
    lost = [row["accuracy"] - row["float_accuracy"] for row in own]
    cut = [r["accuracy"] - r["uncompressed_accuracy"] for r in own if r["uncompressed_accuracy"]]
    return [
        f"{mean(accuracy):.2f} ± {spread(accuracy):.2f}",
        f"{mean(lost):+.2f}",
        f"{mean(cut):+.2f}" if cut else "",
        f"{mean([row['disk_bytes'] for row in own]) / 1e3:.1f}",
        f"{mean([row['macs'] for row in own]) / 1e3:.0f}",
        f"{mean([row['seconds'] for row in own]):.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=tuple(SCHEDULES), default="digits")
    parser.add_argument("--method", action="append", default=[], help="only these; repeatable")
    parser.add_argument("--seeds", type=int, help="instead of the usual number")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--threads", type=int, default=1, help="more help only large networks")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    schedule = SCHEDULES[options.data]
    seeds = SEEDS[options.data] if options.seeds is None else options.seeds
    console = Console(width=None if Console().is_terminal else 120)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("training", total=None)
        rows = rows_of(
            schedule, seeds, options.method, lambda text: bar.update(task, description=text)
        )
    console.print(table_of(rows))
    if options.json is not None:
        options.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
