"""Forms and places of all layers, chosen within an allowed sum of accuracy changes.

The integer program keeps the two factors of a layer on one device. In the compressed network they
are layers of their own, and a cut between them sends few channels. So the program's choice is
compared with those that it begins from, and with mixtures of few seconds and few bytes, each
planned as the network that it makes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain
from math import inf

from compress.candidates import recipe_of
from compress.decoding import with_decoding
from compress.programs import compress_program
from splitter.costs import CostTable
from splitter.errors import InfeasibleError
from splitter.graph import Graph
from splitter.memory import REQUEST_SLOTS
from splitter.partitioning import partition
from splitter.partitioning.joint import partition_jointly
from splitter.partitioning.joint.start import distinct, first_choices, mixed_choices
from splitter.plan import Objective, Plan
from splitter.program import Program
from splitter.stored import Decoding, stored_program
from splitter.topology import Constraints, Topology
from splitter.variants import Choice, JointPlan, VariantTable, accuracy_drop, chosen

_QUICK = 4
"""The other choices are planned in so small a part of the time."""


@dataclass(frozen=True)
class JointRequest:
    """What is to be planned, and how hard it is tried."""

    topology: Topology
    costs: Callable[[Graph], CostTable]
    """Seconds of a graph's layers on the topology's devices."""
    max_drop: float
    """Percent points of accuracy that may be lost, as measured after training."""
    objective: Objective = "latency"
    constraints: Constraints = field(default_factory=Constraints)
    slots: int = REQUEST_SLOTS
    time_limit_s: float = 30.0
    steps: int = 500
    """Training steps of every attempt."""
    rounds: int = 4
    """Attempts, each with its training."""
    margin: float = 1.0
    """Standard errors of the measured loss that must fit into ``max_drop`` as well."""


def choose(
    program: Program, table: VariantTable, request: JointRequest, allowance: float
) -> JointPlan:
    """The forms whose network has the best plan, their accuracy changes within ``allowance``.

    Raises:
        InfeasibleError: nothing fits the devices.
        PlanError: nothing was found in the time.
    """
    costs = request.costs(program.graph)
    joint = partition_jointly(
        *(program.graph, request.topology, costs, table, allowance),
        objective=request.objective,
        constraints=request.constraints,
        slots=request.slots,
        time_limit_s=request.time_limit_s,
    )
    best, least = joint, _value(program, request, joint.variants)
    quick = replace(request, time_limit_s=request.time_limit_s / _QUICK)
    about = (table, request.topology, allowance)
    for choice in distinct(chain(first_choices(*about), mixed_choices(*about))):
        found = _value(program, quick, choice) if choice != joint.variants else inf
        if found < least:
            try:
                plan = _planned(*chosen(program.graph, costs, table, choice), request)
            except InfeasibleError:  # it fits in two layers each only
                continue
            best, least = JointPlan(plan, choice, accuracy_drop(table, choice), allowance), found
    return best


def plan_of(program: Program, request: JointRequest) -> Plan:
    """The best plan of a compressed network whose weights kernels decode.

    Raises:
        InfeasibleError: it does not fit the devices.
    """
    graph = in_kernel_graph(program)
    costs = with_decoding(program, request.topology, request.costs(graph))
    return _planned(graph, costs, request)


def in_kernel_graph(program: Program) -> Graph:
    """The program's graph with its constants at the bytes they take where kernels decode them."""
    return stored_program(program, Decoding("kernel")).graph


def _value(program: Program, request: JointRequest, choice: Choice) -> float:
    """What the plan of the network that ``choice`` makes comes to; infinite: it does not fit."""
    recipe = recipe_of(choice, 1)
    made = compress_program(program, recipe)[0] if recipe.rules else program
    try:
        return plan_of(made, request).estimate.value(request.objective)
    except InfeasibleError:
        return inf


def _planned(graph: Graph, costs: CostTable, request: JointRequest) -> Plan:
    return partition(
        *(graph, request.topology, costs),
        objective=request.objective,
        constraints=request.constraints,
        slots=request.slots,
        time_limit_s=request.time_limit_s,
    )
