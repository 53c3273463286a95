"""What a joint search found, as a value with a JSON form."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from splitter.errors import InfeasibleError
from splitter.joint.deploy import deploy, final_network
from splitter.joint.execution import Execution, settled
from splitter.joint.steps import Search
from splitter.search.estimate.conditional import interpretation
from splitter.search.strategy.baselines import baselines
from splitter.search.strategy.problem import Answer, Goal, JointProblem
from splitter.search.strategy.program import front, solve_program

FRONT_POINTS = 12
_MORE = 1.1
"""By which limits are widened to see whether they bind."""


@dataclass(frozen=True, slots=True)
class Row:
    """One network with its split, as predicted."""

    what: str
    """Which method, or empty for a point of the front."""
    network: str
    devices: tuple[str, ...]
    """Device of stem, slots and head."""
    accuracy: float
    latency_s: float


@dataclass(frozen=True)
class Outcome:
    """The result of one joint search."""

    space: str
    topology: str
    data: str
    budget_s: float
    winner: Row
    slots: tuple[str, ...]
    """Names of stem, slots and head."""
    held_in_accuracy: float
    """Of the winner after its fine-tuning."""
    tried: tuple[tuple[str, float, float], ...]
    """(network, estimated accuracy, accuracy after fine-tuning) of all candidates."""
    front: tuple[Row, ...]
    baselines: tuple[Row, ...]
    impossible: tuple[str, ...]
    """Baselines for which no network meets the budget."""
    binds: tuple[str, ...]
    """What limits the accuracy, in words."""
    worth: dict[str, dict[str, float]]
    """What each stage's depth and choices are worth, in accuracy above the mean."""
    executions: tuple[Execution, ...]
    """How winners ran, each correcting the tables for the next search."""
    deployed: dict[str, Any]
    """Plan's latency, test accuracy, executed latency and the like."""

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def run_search(search: Search) -> Outcome:
    """All steps: supernet, estimator, search, fine-tuning, compilation, execution.

    Raises:
        InfeasibleError: no network meets the budget, or fits the devices.
        SplitterError: of the step that failed.
    """
    search, executions = settled(search)
    deployed = search.workspace.kept("deployed", lambda: _deployed(search))
    problem = search.problem
    answer, held_in = search.tried[0]
    names, missing = _baselines(search)
    return Outcome(
        space=search.settings.space,
        topology=search.topology.name,
        data=search.settings.data,
        budget_s=search.settings.latency_s,
        winner=_row(search, "joint", answer),
        slots=tuple(vertex.name for vertex in problem.vertices),
        held_in_accuracy=held_in,
        tried=tuple(
            (search.family.space.text(a.joint.choices(problem)), a.accuracy, measured)
            for a, measured in search.tried
        ),
        front=tuple(_row(search, "", point) for point in front(problem, points=FRONT_POINTS)),
        baselines=names,
        impossible=missing,
        binds=tuple(binding(problem, search.goal())),
        worth=interpretation(search.family.space, search.accuracy),
        executions=executions,
        deployed=deployed,
    )


def _deployed(search: Search) -> dict[str, Any]:
    answer, _ = search.tried[0]
    network = final_network(search, answer.joint.choices(search.problem))
    deployed = deploy(search, network)
    return {
        "test_accuracy": deployed.test_accuracy,
        "planned_s": deployed.plan.estimate.latency_s + search.overhead_s,
        "computing_s": sum(deployed.plan.layer_seconds.values()),
        "lint": list(deployed.lint),
        "executed_s": deployed.executed_s,
        "floor": deployed.floor,
        "computed_s": sum(deployed.computed_s.values()) or None,
        "agreement": deployed.agreement,
        "emulated": deployed.emulated,
        "ran": deployed.ran,
    }


def _row(search: Search, what: str, answer: Answer) -> Row:
    return Row(
        what=what,
        network=search.family.space.text(answer.joint.choices(search.problem)),
        devices=tuple(search.problem.devices[d] for d in answer.joint.devices),
        accuracy=answer.accuracy,
        latency_s=answer.time_s + search.overhead_s,
    )


def _baselines(search: Search) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    rows, missing = [], []
    for name, method in baselines(search.problem).items():
        try:
            rows.append(_row(search, name, method(search.problem, search.goal())))
        except InfeasibleError:
            missing.append(name)
    return tuple(rows), tuple(missing)


def binding(problem: JointProblem, goal: Goal) -> list[str]:
    """What a tenth more of each limit would gain, where it gains anything."""
    now = solve_program(problem, goal)
    found: list[str] = []

    def compare(what: str, solve: Callable[[], Answer]) -> None:
        gain = solve().accuracy - now.accuracy
        if gain > 1e-6:
            found.append(f"{what}: a tenth more is worth {100 * gain:.2g} points of accuracy")

    wider = replace(goal, budget_s=goal.budget_s * _MORE)
    compare("the latency budget", lambda: solve_program(problem, wider))
    for d, name in enumerate(problem.devices):
        if problem.limits:
            limits = list(problem.limits)
            limits[d] *= _MORE
            more = replace(problem, limits=tuple(limits))
            compare(f"the memory of {name}", lambda more=more: solve_program(more, goal))  # type: ignore[misc]
    return found or ["nothing: the most accurate network of the space fits"]
