"""The rows of `benchmarks.compression`: each method and each control at equal extra training.

Every choice (energies of TRP, ranks of SVD, bit widths) is made on the training set or on images
held in; the test set is only reported on.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.compression_runs import (
    Outcome,
    Schedule,
    compressed,
    fine_tuned_after,
    float_network,
    macs_of,
    score,
    split,
    steps_of,
    trained_float,
)
from benchmarks.residual import build
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

TRP_SETTINGS = {
    "digits": {"nc": (0.95, 10), "vh": (0.98, 10), "nd": (0.9, 10)},
    "mnist": {"nc": (0.95, 10), "vh": (0.98, 10), "nd": (0.9, 10)},
    "fashion": {"nc": (0.98, 20), "vh": (0.99, 20), "nd": (0.95, 20)},
}
"""The energy that a truncation in training keeps, and steps between truncations: about half of the
MACs are left in the end."""
BUDGETS = (3.0, 4.0)
"""Mean bits per weight at which allocations of widths are compared with uniform ones."""
EVALUATIONS = 120


@dataclass(frozen=True)
class Experiment:
    """One row of the table, for one seed at a time."""

    method: str
    setting: str
    run: Callable[[Schedule, int], Outcome]


def experiments(schedule: Schedule) -> Iterator[Experiment]:
    yield Experiment("float", "as trained", trained_float)
    yield _plain("extra epochs")
    for scheme, (energy, period) in TRP_SETTINGS[schedule.data].items():
        trp = TRP(scheme=scheme, period=period, nuclear=3e-3, train_energy=energy)
        yield Experiment("trp", format_method(trp), _compress(_same(trp), scratch=True))
    yield _plain("from scratch, extra epochs", scratch=True)
    for scheme in ("nc", "vh", "nd"):
        yield Experiment("svd", f"{scheme}, half the MACs", _svd(scheme, tuned=False))
    for scheme in ("nc", "vh"):
        setting = f"{scheme}, half the MACs, then extra epochs"
        yield Experiment("svd", setting, _svd(scheme, tuned=True))
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


def _plain(setting: str, *, scratch: bool = False) -> Experiment:
    def run(schedule: Schedule, seed: int) -> Outcome:
        return compressed(schedule, seed, None, trained=True, scratch=scratch)

    return Experiment("float", setting, run)


def _compress(
    method: Callable[[Schedule], Method], *, scratch: bool = False, trained: bool = True
) -> Callable[[Schedule, int], Outcome]:
    def run(schedule: Schedule, seed: int) -> Outcome:
        sites = sites_of(build(schedule.depth, schedule.width, seed))
        recipe = recipe_for(method(schedule), sites)
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
    probe = replace(method, steps_per_round=1)  # type: ignore[call-arg]
    probe.attach(build(schedule.depth, schedule.width, 0))
    rounds = probe.total_steps
    steps = steps_of(schedule, schedule.extra_epochs) // rounds
    return replace(method, steps_per_round=max(steps, 1))  # type: ignore[call-arg]


def _svd(scheme: str, *, tuned: bool) -> Callable[[Schedule, int], Outcome]:
    def run(schedule: Schedule, seed: int) -> Outcome:
        recipe = half_the_macs(schedule, seed, scheme)
        if tuned:
            return fine_tuned_after(schedule, seed, recipe)
        return compressed(schedule, seed, recipe, trained=False, scratch=False)

    return run


def half_the_macs(schedule: Schedule, seed: int, scheme: str) -> Recipe:
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


def _allocated(search: str, budget: float) -> Callable[[Schedule, int], Outcome]:
    """Widths by a search on data held in, each with the same evaluations; then DNQ at these."""

    def run(schedule: Schedule, seed: int) -> Outcome:
        model = float_network(schedule, seed)
        sites = SLQ().default_sites(sites_of(model))
        held_in = split(schedule.data, schedule.device).held_in

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
        Controller(evaluations=EVALUATIONS, seed=seed).search(problem)
        return problem.best_seen()
    if search == "random":
        return random_search(problem, EVALUATIONS, seed).bits
    if search == "greedy":
        return greedy_search(problem, sensitivity(problem)).bits
    return ilp_search(problem, table=sensitivity(problem)).bits
