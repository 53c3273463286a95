"""Tune every device of a plan that can be measured, within one budget."""

import math
from collections.abc import Mapping
from time import monotonic

from runtime.build.kernels import Progress
from runtime.build.tune.database import TuningDatabase
from runtime.build.tune.reach import Place, place_of
from runtime.build.tune.tuner import TuningReport, tune_device
from splitter.errors import UsageError
from splitter.plan import Plan
from splitter.program import Program
from splitter.schedule import NodeSchedule, node_schedules
from splitter.topology import Topology


def tune_plan(
    program: Program,
    plan: Plan,
    topology: Topology,
    seconds: float,
    places: Mapping[str, str],
    progress: Progress = lambda done, total, what: None,
) -> tuple[TuningReport, ...]:
    """Measure ways to compute the layers of ``plan`` on each device that can be reached.

    Devices that cannot be measured from here are left out. Time is shared by what the devices'
    layers are predicted to take; what one leaves over goes to the next.

    Raises:
        UsageError: the budget is no number above 0, or a place is wrong.
        ToolchainError: see `tune_device`.
    """
    if not 0 < seconds < math.inf:
        raise UsageError(f"the time to tune is {seconds:g} s; give a number above 0")
    reached = _reached(program, plan, topology, places)
    database = TuningDatabase()
    reports: list[TuningReport] = []
    left_s = seconds
    for k, (schedule, place) in enumerate(reached):
        share = _weight(plan, schedule) / sum(_weight(plan, s) for s, _ in reached[k:])
        device = topology.by_name[schedule.device]
        begun_s = monotonic()
        report = tune_device(program, schedule, device, place, left_s * share, database, progress)
        left_s = max(0.0, left_s - (monotonic() - begun_s))
        reports.append(report)
    return tuple(reports)


def _reached(
    program: Program, plan: Plan, topology: Topology, places: Mapping[str, str]
) -> list[tuple[NodeSchedule, Place]]:
    unknown = sorted(set(places) - set(topology.by_name))
    if unknown:
        raise UsageError(
            f"{topology.name} has no device {unknown[0]}; it has {', '.join(topology.by_name)}"
        )
    found: list[tuple[NodeSchedule, Place]] = []
    for schedule in node_schedules(program.graph, topology, plan.placement):
        place = place_of(topology.by_name[schedule.device], places)
        if place is not None and schedule.layers:
            found.append((schedule, place))
    return found


def _weight(plan: Plan, schedule: NodeSchedule) -> float:
    return max(1e-9, sum(plan.layer_seconds[layer] for layer in schedule.layers))
