"""What the joint choice is compared with: the same space and estimator, chosen less freely."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from splitter.errors import InfeasibleError
from splitter.search.strategy.problem import Answer, Goal, JointProblem, Option, Vertex
from splitter.search.strategy.program import solve_program
from splitter.search.strategy.task import best_split

MAC_BUDGETS = 25
"""Budgets of multiply-accumulates that are tried."""
FASTEST = 3
"""Devices, besides the source, on each of which alone everything is tried."""
Method = Callable[[JointProblem, Goal], Answer]


def on_device(problem: JointProblem, goal: Goal, device: int) -> Answer:
    """The best network with everything on one device.

    Raises:
        InfeasibleError: none meets the goal.
    """
    vertices = []
    for v, vertex in enumerate(problem.vertices):
        if device not in problem.allowed(v):
            raise InfeasibleError(f"{vertex.name} may not run on {problem.devices[device]}")
        vertices.append(replace(vertex, allowed=(device,)))
    return solve_program(replace(problem, vertices=tuple(vertices)), goal)


def single_cut(problem: JointProblem, goal: Goal) -> Answer:
    """The best network that is cut at most once.

    Raises:
        InfeasibleError: none meets the goal.
    """
    return solve_program(problem, replace(goal, most_cuts=1))


def macs_then_split(problem: JointProblem, goal: Goal) -> Answer:
    """Search under budgets of multiply-accumulates, then split each network; the best that fits.

    Raises:
        InfeasibleError: none meets the goal.
    """
    by_macs = _by_macs(problem)
    least = solve_program(by_macs, Goal(weight=0.0, price_per_s=1.0)).time_s
    most = solve_program(by_macs, Goal()).time_s
    best: Answer | None = None
    seen: set[tuple[int, ...]] = set()
    for k in range(MAC_BUDGETS):
        budget = least + (most - least) * k / (MAC_BUDGETS - 1)
        network = solve_program(by_macs, Goal(budget_s=budget * (1 + 1e-9)))
        architecture = network.joint.choices(by_macs)
        if architecture in seen:
            continue
        seen.add(architecture)
        try:
            split = best_split(problem, architecture, replace(goal, weight=0.0, price_per_s=1.0))
        except InfeasibleError:
            continue
        if best is None or network.accuracy > best.accuracy:
            best = replace(split, accuracy=network.accuracy, value=network.accuracy)
    if best is None:
        raise InfeasibleError("no network found under a MAC budget meets the goal")
    return best


def _by_macs(problem: JointProblem) -> JointProblem:
    """The problem on one device that takes a second for a million multiply-accumulates."""
    vertices = tuple(
        Vertex(v.name, tuple(_counted(o) for o in v.options), v.inputs, v.slot)
        for v in problem.vertices
    )
    return replace(
        problem, vertices=vertices, devices=("macs",), moves={}, source=0, sink=0, limits=()
    )


def _counted(option: Option) -> Option:
    return replace(option, seconds=(option.macs / 1e6,))


def baselines(problem: JointProblem) -> Mapping[str, Method]:
    """The methods by name."""
    alone = {
        f"all on {problem.devices[d]}": partial(on_device, device=d) for d in _worth_trying(problem)
    }
    return {
        "joint": solve_program,
        "MACs, then split": macs_then_split,
        **alone,
        "single cut": single_cut,
    }


def _worth_trying(problem: JointProblem) -> list[int]:
    """The source, and the devices that compute everything soonest."""
    others = [d for d in range(len(problem.devices)) if d != problem.source]
    others.sort(key=lambda d: sum(o.seconds[d] for v in problem.vertices for o in v.options))
    return [problem.source, *others[:FASTEST]]
