"""Rank and bits of every layer chosen together with the split, under an accuracy budget.

The integer program sees the sum of the layers' accuracy changes, each measured alone and without
training. What it chooses is applied and trained; the accuracy is measured then, on requests
that were not trained on, and counts with its standard error. Where the sum was too kind the program
is solved again with less of it, where training made up for more than was used, with more.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

from compress.candidates import recipe_of
from compress.compare import stored_bytes
from compress.joint_choice import Chosen, JointRequest, choose, plan_of, weights_now
from compress.programs import compress_program
from compress.recipe import Recipe
from compress.sensitivity import Judge, Loss
from compress.teach import Samples, Training, trainer
from splitter.errors import InfeasibleError, PlanError
from splitter.partitioning.joint.forms import parts_of
from splitter.plan import Objective, Plan
from splitter.program import Program
from splitter.variants import VariantTable

_LOOSER, _TIGHTER = 2.5, 0.5
_DOUBLINGS = 8
"""How often a sum that no plan stays within is doubled, since training makes up for much."""


@dataclass(frozen=True)
class Attempt:
    """One choice, as predicted and as it came out."""

    chosen: Chosen
    loss: Loss
    """Below the original network, after training, on requests that were not trained on."""
    plan: Plan
    """Of the compressed network itself, whose factors are layers of their own."""
    program: Program
    recipe: Recipe
    stored_bytes: int

    def devices(self, table: VariantTable) -> dict[str, tuple[str, ...]]:
        """Where each layer that may change runs: on two devices where its factors are apart."""
        graph, place = self.program.graph, self.plan.placement
        parts = parts_of(graph, weights_now(table, graph))
        return {n: tuple(dict.fromkeys(place[p] for p in own)) for n, own in parts.items()}

    def value(self, objective: Objective) -> float:
        """What the plan makes of the objective."""
        return self.plan.estimate.value(objective)


@dataclass(frozen=True)
class JointCompression:
    """The best attempt that kept the accuracy, and all of them."""

    best: Attempt
    attempts: tuple[Attempt, ...]
    table: VariantTable


Retrain = Callable[[Recipe], Program]
"""The program that a recipe makes of the original one, trained."""


def compress_jointly(
    program: Program,
    table: VariantTable,
    request: JointRequest,
    train: Retrain,
    judge: Judge,
    report: Callable[[str], None] = lambda text: None,
) -> JointCompression:
    """The best network and plan whose measured accuracy is within the budget.

    Args:
        program: what to compress and place.
        table: what every form of every layer costs (`compress.sensitivity`).
        request: where to, and within which limits.
        train: applies a recipe, with training.
        judge: measures accuracy, on requests that are not trained on.
        report: is told what happens.

    Raises:
        InfeasibleError: no form of the network fits the devices.
        PlanError: every attempt lost too much accuracy.
    """
    attempts: list[Attempt] = []
    allowance, low, high = request.max_drop, 0.0, inf
    for _ in range(request.rounds):
        report(f"choosing forms and places for at most {allowance:.2f} predicted points")
        chosen = _solved(program, table, request, allowance, not attempts)
        if chosen is None or any(chosen.variants == one.chosen.variants for one in attempts):
            break
        allowance = max(allowance, chosen.allowed_drop)
        report(f"training a network predicted to lose {chosen.accuracy_drop:.2f} points at most")
        attempts.append(_attempt(program, request, chosen, train, judge))
        kept = _likely_drop(attempts[-1], request) <= request.max_drop
        low, high = (allowance, high) if kept else (low, chosen.accuracy_drop)
        allowance = _next(low, high)
    return JointCompression(_best(program, request, attempts), tuple(attempts), table)


def trained_by(program: Program, samples: Samples, settings: Training) -> Retrain:
    """Training of ``program`` as `splitter compress` does it.

    Raises:
        InputError: the samples do not fit.
    """
    train = trainer(program, samples, settings)
    return lambda recipe: compress_program(program, recipe, train)[0]


def _next(low: float, high: float) -> float:
    if high == inf:
        return low * _LOOSER
    return (low + high) / 2 if low else high * _TIGHTER


def _solved(
    program: Program,
    table: VariantTable,
    request: JointRequest,
    allowance: float,
    can_grow: bool,
) -> Chosen | None:
    """The choice; at the first attempt with as much allowance as it takes to fit at all."""
    for allowed in _allowances(allowance, can_grow):
        try:
            return choose(program, table, request, allowed)
        except InfeasibleError:
            if can_grow and allowed == inf:
                raise
    return None


def _allowances(allowance: float, can_grow: bool) -> Iterator[float]:
    yield allowance
    if can_grow:
        yield from (max(allowance, 0.1) * 2.0**k for k in range(1, _DOUBLINGS))
        yield inf


def _attempt(
    program: Program, request: JointRequest, chosen: Chosen, train: Retrain, judge: Judge
) -> Attempt:
    recipe = recipe_of(chosen.variants, request.steps)
    made = train(recipe) if recipe.rules else program
    plan = plan_of(made, request)
    return Attempt(chosen, judge.loss(made.module), plan, made, recipe, stored_bytes(made))


def _likely_drop(attempt: Attempt, request: JointRequest) -> float:
    """Percent points that ``attempt`` is taken to lose."""
    return attempt.loss.at_most(request.margin)


def _best(program: Program, request: JointRequest, attempts: list[Attempt]) -> Attempt:
    kept = [one for one in attempts if _likely_drop(one, request) <= request.max_drop]
    if not kept:
        least = min(attempts, key=lambda one: _likely_drop(one, request)).loss
        raise PlanError(
            f"no form of {program.graph.name} that fits {request.topology.name} was found to lose "
            f"at most {request.max_drop:g} points: the best of {len(attempts)} lost "
            f"{least.points:.2f} ± {least.error:.2f}; allow more, train longer, or give more "
            "requests to train with"
        )
    return min(kept, key=lambda one: (one.value(request.objective), one.loss.points))
