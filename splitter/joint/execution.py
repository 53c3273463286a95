"""Execution corrects the tables: search, execute the winner, search again until they agree."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

from runtime.host.processor import is_native
from splitter.errors import InfeasibleError
from splitter.joint.deploy import deploy
from splitter.joint.steps import Search
from splitter.search.space.space import Architecture
from splitter.search.strategy.problem import Joint

ROUNDS = 4
"""Executions at most."""
_AGREES = 0.02
"""Relative difference that is not worth another search, if the floor is not above it."""


@dataclass(frozen=True)
class Execution:
    """How the winner of one round ran, beside what was predicted."""

    network: str
    predicted_s: float
    """Of one request, with what earlier rounds have corrected."""
    executed_s: float
    floor: float
    """Relative difference between the medians of both halves of the requests."""
    overhead_s: float
    """Of ``predicted_s``, what is in no plan: sockets and waking up."""
    predicted_computing_s: Mapping[str, float]
    """Of each device, without ``overhead_s``."""
    computing_s: Mapping[str, float]

    @property
    def tolerance(self) -> float:
        """Relative difference that means nothing."""
        return max(self.floor, _AGREES)

    @property
    def agrees(self) -> bool:
        """Whether the prediction came true."""
        return abs(self.executed_s / self.predicted_s - 1.0) <= self.tolerance

    def late(self, budget_s: float) -> bool:
        """Whether a request took longer than it may."""
        return self.executed_s > budget_s * (1.0 + self.tolerance)


Execute = Callable[[Search, Architecture], Execution]


def settled(search: Search, execute: Execute | None = None) -> tuple[Search, tuple[Execution, ...]]:
    """The search whose tables agree with how its winner runs, and what was run for it.

    The first execution corrects the tables in both directions, later ones only where they are
    late, so that a machine that is slow for a moment cannot make it go round in circles. Nothing
    is executed where a device of the winner is emulated: its time means nothing.

    Args:
        search: as predicted.
        execute: runs a network of a search; by default the compiled bundle on this machine.
    """
    made: list[Execution] = []
    before: Joint | None = None
    while len(made) < ROUNDS and _is_native(search):
        chosen = search.tried[0][0].joint
        if chosen == before:
            break
        architecture = chosen.choices(search.problem)
        run = _kept(search, architecture, len(made), execute or executed)
        made.append(run)
        wrong = run.late(search.settings.latency_s)
        if not (wrong or (before is None and not run.agrees)):
            break
        better = corrected(search, run)
        try:
            better.check_budget()
        except InfeasibleError:
            break  # the report says by how much the execution is late
        search, before = better, chosen
    return search, tuple(made)


def corrected(search: Search, run: Execution) -> Search:
    """The search with computing as slow as it was, and what is in no plan as an overhead."""
    slowdown = dict(search.slowdown)
    for device, taken_s in run.computing_s.items():
        if (predicted_s := run.predicted_computing_s[device]) > 0:
            slowdown[device] = slowdown.get(device, 1.0) * taken_s / predicted_s
    planned_s = run.predicted_s - run.overhead_s
    slower_s = sum(run.computing_s.values()) - sum(run.predicted_computing_s.values())
    overhead_s = max(0.0, run.executed_s - planned_s - slower_s)
    return replace(search, slowdown=slowdown, overhead_s=overhead_s)


def executed(search: Search, architecture: Architecture) -> Execution:
    """Compile and run a network as it is after its fine-tuning: weights do not change its time."""
    made = deploy(search, search.tuned(architecture))
    planned: dict[str, float] = {}
    for layer, seconds in made.plan.layer_seconds.items():
        device = made.plan.placement[layer]
        planned[device] = planned.get(device, 0.0) + seconds
    assert made.executed_s is not None
    assert made.floor is not None
    return Execution(
        network=search.family.space.text(architecture),
        predicted_s=made.plan.estimate.latency_s + search.overhead_s,
        executed_s=made.executed_s,
        floor=made.floor,
        overhead_s=search.overhead_s,
        predicted_computing_s=planned,
        computing_s=made.computed_s,
    )


def _kept(search: Search, architecture: Architecture, number: int, execute: Execute) -> Execution:
    made = search.workspace.kept(
        f"execution-{number}", lambda: asdict(execute(search, architecture))
    )
    return Execution(**made)


def _is_native(search: Search) -> bool:
    problem, answer = search.problem, search.tried[0][0]
    used = {problem.devices[d] for d in answer.joint.devices}
    return all(is_native(search.topology.by_name[name].card.processor) for name in used)
