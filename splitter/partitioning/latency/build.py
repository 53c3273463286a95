"""From graph, topology, costs and rules to calls, and back to a placement."""

from collections.abc import Sequence
from math import inf

import networkx as nx

from splitter.errors import InfeasibleError, PlanError
from splitter.graph import Graph
from splitter.partitioning.latency.calls import CallProblem, bits
from splitter.partitioning.problem import Problem
from splitter.partitioning.throughput.build import device_groups, refuse
from splitter.partitioning.throughput.instance import Group


def build_calls(problem: Problem) -> CallProblem:
    """The problem of one request on one computer.

    Raises:
        PlanError: the topology, a rule or a layer does not go with this form of the problem.
        InfeasibleError: a layer can run nowhere.
    """
    refuse(problem)
    if problem.constraints.contiguous:
        raise PlanError(
            f"{problem.topology.name} asks for a pipeline (contiguous), which the latency of one "
            "request has no use for, as every call is one convex part anyway; drop the rule"
        )
    graph, accelerators = problem.graph, _group(problem, "accelerator")
    processors = _group(problem, "processor")
    never = (inf,) * problem.n
    byte_s = accelerators.byte_s if accelerators else 0.0
    found = CallProblem(
        cpu_s=processors.seconds if processors else never,
        call_s=accelerators.seconds if accelerators else never,
        size_bytes=tuple(float(graph.layer_weight_bytes(layer)) for layer in graph.layers),
        tensor_s=tuple(size * byte_s for size in _tensor_bytes(graph)),
        before=tuple(
            tuple(sorted({graph.index[graph.producer[t].name] for t in layer.inputs}))
            for layer in graph.layers
        ),
        group=_classes(problem),
        calls=len(accelerators.devices) if accelerators else 0,
        limit_bytes=accelerators.limit_bytes if accelerators else 0.0,
    )
    for node in bits(found.stuck):
        if found.cpu_s[node] == inf:
            raise InfeasibleError(
                f"layer {graph.layers[node].name} may not run on a processor of "
                f"{problem.topology.name}, and no accelerator can take it with the layers that "
                "must be with it; give the accelerators more memory or add a processor"
            )
    return found


def placement_of(problem: Problem, calls: Sequence[Sequence[int]]) -> dict[str, str]:
    """The placement of a solution: call i on the i-th accelerator, the rest on one processor."""
    accelerators, processors = _group(problem, "accelerator"), _group(problem, "processor")
    home = processors.devices[0] if processors else ""
    names = [layer.name for layer in problem.graph.layers]
    found = dict.fromkeys(names, home)
    for number, nodes in enumerate(calls):
        assert accelerators is not None
        found |= {names[node]: accelerators.devices[number] for node in nodes}
    return found


def _group(problem: Problem, role: str) -> Group | None:
    """The devices of a role, which must be equal in all that counts."""
    by_name = problem.topology.by_name
    found = [g for g in device_groups(problem) if by_name[g.devices[0]].role == role]
    if len(found) > 1:
        raise PlanError(
            f"the {role}s of {problem.topology.name} differ: {found[0].devices[0]} is not "
            f"{found[1].devices[0]}; the latency is planned for equal ones, so make their times, "
            "links, memory and rules alike"
        )
    return found[0] if found else None


def _tensor_bytes(graph: Graph) -> list[int]:
    """Bytes of the one tensor of each layer that others read."""
    found: list[int] = []
    for layer in graph.layers:
        read = [tensor for tensor in layer.outputs if graph.consumers[tensor]]
        if len(read) > 1:
            raise PlanError(
                f"layer {layer.name} makes {len(read)} tensors that others read; on one computer "
                "the latency is planned for one tensor per layer, so part it"
            )
        found.append(graph.tensors[read[0]].bytes if read else 0)
    return found


def _classes(problem: Problem) -> tuple[int, ...]:
    """The smallest layer of those that must be with each one."""
    together: nx.Graph[int] = nx.Graph()
    together.add_nodes_from(range(problem.n))
    for group in problem.rules.together:
        nx.add_path(together, group)
    found = [0] * problem.n
    for nodes in nx.connected_components(together):
        for node in nodes:
            found[node] = min(nodes)
    return tuple(found)
