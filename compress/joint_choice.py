"""Forms and places of all layers, chosen within an allowed sum of accuracy changes.

The integer program keeps the two factors of a layer on one device. In the compressed network they
are layers of their own, and a cut between them sends few channels. So other choices
are planned as the networks that they make: those that the program begins from, mixtures of few
seconds and few bytes, and for every placement that comes up the best forms for it. The best wins.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from math import inf
from time import monotonic

from compress.apply import factor_weight
from compress.candidates import recipe_of
from compress.decoding import with_decoding
from compress.programs import compress_program
from splitter.costs import CostTable
from splitter.errors import PlanError
from splitter.graph import Graph
from splitter.memory import REQUEST_SLOTS
from splitter.partitioning import partition
from splitter.partitioning.joint import partition_jointly
from splitter.partitioning.joint.forms import Made, variants_for
from splitter.partitioning.joint.start import distinct, first_choices, mixed_choices
from splitter.partitioning.posing import question_of
from splitter.plan import Objective, Plan
from splitter.program import Program
from splitter.stored import Decoding, stored_program
from splitter.topology import Constraints, Topology
from splitter.variants import Choice, VariantTable, accuracy_drop

_QUICK = 4
"""The other choices are planned in so small a part of the time each."""
_PARTS = 24
"""After so many of these parts no other choice is begun."""
_FACTORS = (1.0, 1.25, 1.6)
"""Of the allowance, for networks whose places are tried."""
_ROUNDING = 1e-6
"""Percent points by which sums may differ."""


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
    """Of the integer program of one choice; its other networks take up to six times as much."""
    steps: int = 500
    """Training steps of every attempt."""
    rounds: int = 4
    """Attempts, each with its training."""
    margin: float = 1.0
    """Standard errors of the measured loss that must fit into ``max_drop`` as well."""


@dataclass(frozen=True)
class Chosen:
    """A form of every layer that may take several."""

    variants: Choice
    accuracy_drop: float
    """Predicted: the sum over the layers, in percent points."""
    allowed_drop: float
    """What the sum was to stay within."""


def choose(
    program: Program, table: VariantTable, request: JointRequest, allowance: float
) -> Chosen:
    """The forms whose network has the best plan, their accuracy changes within ``allowance``.

    Raises:
        InfeasibleError: nothing fits the devices.
        PlanError: nothing was found in the time.
    """
    joint = partition_jointly(
        *(program.graph, request.topology, request.costs(program.graph), table, allowance),
        objective=request.objective,
        constraints=request.constraints,
        slots=request.slots,
        time_limit_s=request.time_limit_s,
    )
    best, least = joint.variants, inf
    quick = replace(request, time_limit_s=request.time_limit_s / _QUICK)
    for choice, found in _tried(program, table, quick, allowance, joint.variants):
        if found < least:
            best, least = choice, found
    return Chosen(best, accuracy_drop(table, best), allowance)


def _tried(
    program: Program, table: VariantTable, request: JointRequest, allowance: float, first: Choice
) -> Iterator[tuple[Choice, float]]:
    """Choices within the allowance, ``first`` among them, and what their networks' plans come to.

    Where a network is placed, others do better: forms and places take turns. Places of networks
    that lose a little more are tried as well.
    """
    known: dict[tuple[str, ...], Made | None] = {}
    placed: list[Hashable] = []

    def made(choice: Choice) -> Made | None:
        key = tuple(choice[layer] for layer in table.variants)
        if key not in known:
            known[key] = _made(program, table, request, choice)
        return known[key]

    def turns(one: Made | None) -> Iterator[tuple[Choice, Made]]:
        while one is not None and one.place not in placed:
            placed.append(one.place)
            choice = variants_for(one, table, request.objective, allowance)
            if choice is None or (one := made(choice)) is None:
                return
            yield choice, one

    end_s = monotonic() + _PARTS * request.time_limit_s
    for choice in distinct(chain([dict(first)], _starts(table, request.topology, allowance))):
        if monotonic() > end_s:
            return
        one = made(choice)
        if one is not None and accuracy_drop(table, choice) <= allowance + _ROUNDING:
            yield choice, one.plan.estimate.value(request.objective)
        for other, found in turns(one):
            yield other, found.plan.estimate.value(request.objective)


def _starts(table: VariantTable, topology: Topology, allowance: float) -> Iterator[dict[str, str]]:
    for factor in _FACTORS:
        about = (table, topology, factor * allowance)
        yield from first_choices(*about)
        yield from mixed_choices(*about)


def plan_of(program: Program, request: JointRequest) -> Plan:
    """The best plan of a compressed network whose weights kernels decode.

    Raises:
        InfeasibleError: it does not fit the devices.
    """
    graph = in_kernel_graph(program)
    costs = with_decoding(program, request.topology, request.costs(graph))
    return _planned(graph, costs, request)


def weights_now(table: VariantTable, graph: Graph) -> dict[str, tuple[str, ...]]:
    """What each layer's weight is in the compressed ``graph``: itself, or two factors."""
    return {
        layer: (weight,)
        if weight in graph.weight_bytes
        else (factor_weight(weight, 0), factor_weight(weight, 1))
        for layer, weight in table.weight.items()
    }


def in_kernel_graph(program: Program) -> Graph:
    """The program's graph with its constants at the bytes they take where kernels decode them."""
    return stored_program(program, Decoding("kernel")).graph


def _made(
    program: Program, table: VariantTable, request: JointRequest, choice: Choice
) -> Made | None:
    """The network that ``choice`` makes, with its best plan; None: it does not fit."""
    recipe = recipe_of(choice, 1)
    made = compress_program(program, recipe)[0] if recipe.rules else program
    graph = in_kernel_graph(made)
    costs = with_decoding(made, request.topology, request.costs(graph))
    try:
        plan = _planned(graph, costs, request)
    except PlanError:  # InfeasibleError among them
        return None
    asked = (request.topology, costs, request.constraints, request.slots)
    return Made(question_of(graph, *asked), plan, weights_now(table, graph))


def _planned(graph: Graph, costs: CostTable, request: JointRequest) -> Plan:
    return partition(
        *(graph, request.topology, costs),
        objective=request.objective,
        constraints=request.constraints,
        slots=request.slots,
        time_limit_s=request.time_limit_s,
    )
