"""Checks of what a planner is asked, before anything is solved."""

from splitter.constraint_faults import constraint_faults
from splitter.costs import CostTable
from splitter.errors import InfeasibleError, PlanError, UsageError
from splitter.graph import Graph
from splitter.objective import as_objective
from splitter.partitioning.infeasible import Question, explain, explain_barred
from splitter.partitioning.problem import Problem, build_problem
from splitter.topology import Constraints, Topology


def question_of(
    graph: Graph,
    topology: Topology,
    costs: CostTable,
    constraints: Constraints | None,
    slots: int,
) -> Question:
    """What is asked, with the topology's own rules.

    Raises:
        UsageError: ``slots`` is impossible.
        PlanError: the graph is empty, or a source, sink or rule names what is not there.
    """
    if slots < 1:
        raise UsageError(f"slots is {slots}; at least one request must be in flight")
    if not graph.layers:
        raise PlanError(f"{graph.name} has no layers to place")
    _check_ends(graph, topology)
    both = topology.constraints + (constraints or Constraints())
    for fault in constraint_faults(both, topology):
        raise PlanError(f"{topology.name}: {fault}")
    return Question(graph, topology, costs, both, slots)


def check_effort(objective: str, time_limit_s: float) -> None:
    """The objective must be known and the time limit positive.

    Raises:
        UsageError: they are not.
    """
    as_objective(objective)
    if not time_limit_s > 0:
        raise UsageError(f"the time limit is {time_limit_s:g} s; give a positive number of seconds")


def problem_of(question: Question) -> Problem:
    """The question in numbers.

    Raises:
        InfeasibleError: rules leave a layer no device; the message says which conflict.
        PlanError: a rule names a layer that is not there.
    """
    q = question
    try:
        return build_problem(q.graph, q.topology, q.costs, q.constraints, q.slots)
    except InfeasibleError as error:
        if q.topology.is_one_computer:
            raise InfeasibleError(explain_barred(question)) from error
        raise InfeasibleError(explain(question)) from error


def _check_ends(graph: Graph, topology: Topology) -> None:
    """The topology's sources and sinks must name inputs and outputs of this model."""
    for what, pairs, names in (
        ("source", topology.sources, graph.inputs),
        ("sink", topology.sinks, graph.outputs),
    ):
        for tensor, device in pairs:
            if tensor not in names:
                kind = "inputs" if what == "source" else "outputs"
                raise PlanError(
                    f"{topology.name} gives {device} as the {what} of {tensor!r}, which is none "
                    f"of the {kind} of {graph.name}: {', '.join(names)}; rename or remove it"
                )
