"""The whole way from a model to a bundle, as one short function of named steps."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from runtime.build.bundle import TOLERANCE, build_bundle
from runtime.build.kernels import compiler_key
from runtime.build.profile import profile_layers
from runtime.build.tune import TuningReport, tune_plan
from runtime.host.bundle import Bundle
from runtime.host.processor import is_native
from splitter.cost.measured import ProfileStore, measured_costs
from splitter.cost.roofline import roofline
from splitter.costs import CostTable
from splitter.errors import PlanError
from splitter.graph import Graph
from splitter.memory import REQUEST_SLOTS
from splitter.partitioning import partition as solve
from splitter.partitioning.contest import Contest, contest
from splitter.partitioning.pareto import POINTS, Front, pareto_front
from splitter.plan import Objective, Plan
from splitter.program import Program
from splitter.stored import DECODE_AT_LOAD, Decoding
from splitter.topology import Constraints, Device, Topology
from splitter.topology_file import load_topology

Progress = Callable[[int, int, str], None]


def _silent(done: int, total: int, what: str) -> None:
    del done, total, what


def profile_store() -> ProfileStore:
    """Measurements made with the kernels of this version."""
    return ProfileStore(compiler_key())


def cost_table(graph: Graph, topology: Topology, *, measured: bool = True) -> CostTable:
    """Seconds of every layer on every device: measured where there is a profile, else roofline."""
    if not measured:
        return roofline(graph, topology)
    return measured_costs(graph, topology, profile_store())


def partition(
    program: Program | Graph,
    topology: Topology | str | Path,
    *,
    objective: Objective = "latency",
    costs: CostTable | None = None,
    constraints: Constraints | None = None,
    slots: int = REQUEST_SLOTS,
    time_limit_s: float = 30.0,
    placement: Mapping[str, str] | None = None,
) -> Plan:
    """Decide which layer runs on which device.

    Args:
        program: what to place: a traced program, or its graph alone.
        topology: where to place it: a Topology, the name of a shipped one, or a file.
        objective: ``latency`` of one request, ``throughput`` (period of a pipeline), ``energy``,
            ``memory`` (of the device that needs most), bytes ``sent`` or ``dollars``.
        costs: seconds of every layer on every device; by default what `profile` measured on
            devices like these, else the device cards' roofline.
        constraints: rules besides those of the topology.
        slots: requests in flight for which memory is reserved.
        time_limit_s: when the search stops and reports the gap that is left.
        placement: device of each layer; given, it is only evaluated.

    Raises:
        InfeasibleError: no placement respects all limits; the message says what conflicts.
        PlanError, TopologyError, UsageError: an argument does not hold.
    """
    graph, where, table = _posed(program, topology, costs)
    return solve(
        graph,
        where,
        table,
        objective=objective,
        constraints=constraints,
        slots=slots,
        time_limit_s=time_limit_s,
        placement=placement,
    )


def compare(
    program: Program | Graph,
    topology: Topology | str | Path,
    *,
    objective: Objective = "latency",
    costs: CostTable | None = None,
    constraints: Constraints | None = None,
    slots: int = REQUEST_SLOTS,
    time_limit_s: float = 30.0,
) -> Contest:
    """`partition`'s plan, and what nine published methods make of the same problem.

    The arguments and errors are those of `partition`. The search starts from the best method, so
    its plan is never worse.
    """
    graph, where, table = _posed(program, topology, costs)
    return contest(
        *(graph, where, table),
        objective=objective,
        constraints=constraints,
        slots=slots,
        time_limit_s=time_limit_s,
    )


def pareto(
    program: Program | Graph,
    topology: Topology | str | Path,
    objectives: tuple[Objective, Objective],
    *,
    costs: CostTable | None = None,
    constraints: Constraints | None = None,
    slots: int = REQUEST_SLOTS,
    time_limit_s: float = 60.0,
    points: int = POINTS,
) -> Front:
    """The plans between which only you can choose: no other is better in both objectives.

    Args:
        program: what to place: a traced program, or its graph alone.
        topology: where to place it: a Topology, the name of a shipped one, or a file.
        objectives: two of latency, throughput (the period), energy, memory, sent and dollars.
        costs: seconds of every layer on every device; by default as for `partition`.
        constraints: rules besides those of the topology.
        slots: requests in flight for which memory is reserved.
        time_limit_s: for the whole front; what is found until then says whether it is complete.
        points: most plans to look for; they are spread over the front.

    Raises:
        InfeasibleError: no placement respects all limits; the message says what conflicts.
        PlanError, TopologyError, UsageError: an argument does not hold.
    """
    graph, where, table = _posed(program, topology, costs)
    return pareto_front(
        *(graph, where, table, objectives),
        constraints=constraints,
        slots=slots,
        time_limit_s=time_limit_s,
        points=points,
    )


def _posed(
    program: Program | Graph, topology: Topology | str | Path, costs: CostTable | None
) -> tuple[Graph, Topology, CostTable]:
    graph = program.graph if isinstance(program, Program) else program
    where = topology if isinstance(topology, Topology) else load_topology(topology)
    return graph, where, cost_table(graph, where) if costs is None else costs


def compile(
    program: Program,
    plan: Plan,
    topology: Topology | str | Path,
    path: str | Path,
    *,
    tolerance: float = TOLERANCE,
    progress: Progress = _silent,
    tuned: bool = True,
    decoding: Decoding = DECODE_AT_LOAD,
) -> Bundle:
    """Compile ``program`` as ``plan`` says: one native program per device, as a bundle at ``path``.

    The bundle appears only after its nodes gave the unsplit model's answer within ``tolerance``,
    relative to the largest magnitude of each output. Layers are computed in the ways that `tune`
    found fastest on devices like theirs, unless ``tuned`` is false. Compressed constants are stored
    compressed; ``decoding`` says for each device when they become floats.

    Raises:
        PlanError: the plan is not one for this program and topology.
        EquivalenceError: the nodes' answer differs.
        BundleError, ToolchainError, UnsupportedOperatorError: building failed.
    """
    where = topology if isinstance(topology, Topology) else load_topology(topology)
    _check_plan(program.graph, plan, where)
    built = build_bundle(
        *(program, plan, where, Path(path)),
        tolerance=tolerance,
        progress=progress,
        tuned=tuned,
        decoding=decoding,
    )
    return Bundle.open(built.path, verify=False)


def _check_plan(graph: Graph, plan: Plan, topology: Topology) -> None:
    if plan.replicas:
        names = " and ".join(", ".join(group) for group in plan.replicas)
        raise PlanError(
            f"{names} take turns in this plan, which bundles cannot do; plan again without "
            f"replicas = true in {topology.name}"
        )
    if plan.topology != topology.name:
        raise PlanError(f"the plan is for {plan.topology}, not for {topology.name}; plan again")
    placed, known = set(plan.placement), set(graph.index)
    if placed != known:
        odd = sorted(placed ^ known)[0]
        raise PlanError(
            f"the plan is not one for {graph.name}: layer {odd} is in only one of them; plan again"
        )
    if topology.is_one_computer:
        raise PlanError(
            f"{topology.name} is one computer with accelerators, which is planned for but not "
            "compiled for; give a topology whose devices are nodes"
        )
    unknown = sorted(set(plan.placement.values()) - set(topology.by_name))
    if unknown:
        raise PlanError(f"the plan uses device {unknown[0]}, which {topology.name} does not have")


def _is_like_this_machine(device: Device) -> bool:
    return is_native(device.card.processor) and device.threads <= (os.cpu_count() or 1)


def profile(
    program: Program,
    topology: Topology | str | Path,
    *,
    runs: int = 20,
    progress: Progress = _silent,
    tuned: bool = True,
) -> dict[tuple[str, int], Mapping[str, float]]:
    """Measure every distinct layer on this machine and keep the times for later plans.

    Devices of ``topology`` with one card and thread count are measured once; those of another
    processor, or with more threads than this machine has cores, are left to the roofline. Layers
    are computed as `compile` has them computed with the same ``tuned``. Returns seconds by layer
    signature per (card, threads).

    Raises:
        ToolchainError: the node could not be built or failed.
    """
    where = topology if isinstance(topology, Topology) else load_topology(topology)
    store = profile_store()
    found: dict[tuple[str, int], Mapping[str, float]] = {}
    for device in where.devices:
        key = (device.card.name, device.threads)
        if key in found or not _is_like_this_machine(device):
            continue
        found[key] = profile_layers(program, device.card, device.threads, runs, progress, tuned)
        store.add(*key, found[key])
    return found


def tune(
    program: Program,
    plan: Plan,
    topology: Topology | str | Path,
    seconds: float,
    *,
    places: Mapping[str, str] | None = None,
    progress: Progress = _silent,
) -> tuple[TuningReport, ...]:
    """Measure other ways to compute the layers of ``plan``, and keep the figures for `compile`.

    The budget is shared among the devices by what their layers are predicted to take. What is
    measured is the node as it will be deployed, by its own benchmark mode.

    Args:
        program: the model.
        plan: which layer runs on which device.
        topology: of the plan.
        seconds: the budget, not counting what the first compilation takes.
        places: where devices are measured, by name: ``emulator`` or ``ssh:HOST``; others here if
            this machine is like them, else not at all.
        progress: called with seconds gone, the budget, and what is measured.

    Raises:
        UsageError: a place or the budget is wrong.
        ToolchainError: a node could not be built, or measured where it was said to be.
    """
    where = topology if isinstance(topology, Topology) else load_topology(topology)
    _check_plan(program.graph, plan, where)
    return tune_plan(program, plan, where, seconds, places or {}, progress)
