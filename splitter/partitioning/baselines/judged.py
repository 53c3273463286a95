"""The table of baselines, and what each proposes, judged by the planner's own judge."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from time import monotonic

from splitter.objective import Objective
from splitter.partitioning.baselines.method import DoesNotApplyError, Method
from splitter.partitioning.judge import broken_rules, overfull, value
from splitter.partitioning.problem import Assignment, Problem
from splitter.partitioning.simulate import memory_bytes

METHODS: Mapping[str, str] = {
    "single_device": "single_device:SingleDevice",
    "memory_share": "memory_share:MemoryShare",
    "equal_flops": "equal_parts:EqualParts:macs",
    "equal_parameters": "equal_parts:EqualParts:weights",
    "one_cut": "one_cut:OneCut",
    "min_cut": "min_cut:MinCut",
    "pipedream": "pipedream:PipeDream",
    "list_schedule": "list_schedule:ListSchedule",
    "fx_partitioner": "fx_partitioner:FxPartitioner",
}
"""Every baseline: module here, class, settings."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What one published method makes of a problem."""

    method: str
    paper: str
    value: float | None
    """The objective's value; None when it has no plan that holds."""
    reason: str
    """Why it has none; empty when it has one."""
    placement: Mapping[str, str]
    """Device of each layer; empty when the method does not apply."""
    seconds: float
    """Time that the method took."""


def method_named(name: str) -> Method:
    """The method of `METHODS` called ``name``."""
    module, kind, *settings = METHODS[name].split(":")
    found = getattr(import_module(f"splitter.partitioning.baselines.{module}"), kind)(*settings)
    assert hasattr(found, "propose")
    method: Method = found
    return method


def judged_baselines(
    problem: Problem, objective: Objective, names: Iterable[str] = tuple(METHODS)
) -> tuple[Baseline, ...]:
    """Every named baseline with its value, or why it has none."""
    return tuple(_judged(problem, objective, name) for name in names)


def _judged(problem: Problem, objective: Objective, name: str) -> Baseline:
    method, began = method_named(name), monotonic()
    try:
        assignment = method.propose(problem, objective)
    except DoesNotApplyError as error:
        return Baseline(name, method.paper, None, str(error), {}, monotonic() - began)
    took = monotonic() - began
    faults = _faults(problem, assignment)
    reached = None if faults else value(problem, objective, assignment)
    placement = problem.placement(assignment)
    return Baseline(name, method.paper, reached, "; ".join(faults[:2]), placement, took)


def _faults(problem: Problem, assignment: Assignment) -> tuple[str, ...]:
    rules = broken_rules(problem, assignment)
    if any("not connected" in words for words in rules):
        return rules
    used, names = memory_bytes(problem, assignment), list(problem.topology.by_name)
    return rules + tuple(
        f"{names[d]} needs {used[d] / 1e6:.1f} MB, has {problem.limits[d] / 1e6:.1f} MB"
        for d in overfull(problem, assignment)
    )
