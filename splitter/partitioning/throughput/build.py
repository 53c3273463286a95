"""From graph, topology, costs and rules to blocks, nets and groups."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import fields
from math import inf

import networkx as nx

from splitter.constraints import Constraints
from splitter.errors import InfeasibleError, PlanError
from splitter.graph import BACKWARD, Graph
from splitter.partitioning.problem import Problem
from splitter.partitioning.throughput.contract import merged, rings
from splitter.partitioning.throughput.instance import Group, Instance, Net
from splitter.topology import Device, Topology

_KNOWN = {"pins", "bans", "together", "contiguous", "drained", "without", "reserves", "origins"}
"""Rules that this form of the problem takes."""


def build_instance(problem: Problem, *, contiguous: bool) -> Instance:
    """The problem as blocks, nets and groups; blocks are what the rules keep together.

    ``contiguous`` says whether devices must form a pipeline.

    Raises:
        PlanError: the topology or a rule does not go with this form of the problem.
        InfeasibleError: a block may run nowhere.
    """
    refuse(problem)
    graph = problem.graph
    layers = Instance(
        layers=tuple((layer.name,) for layer in graph.layers),
        sizes=tuple(float(graph.layer_weight_bytes(layer)) for layer in graph.layers),
        nets=tuple(_nets(graph)),
        groups=device_groups(problem),
        before=frozenset(_before(graph)) if contiguous else frozenset(),
        ordered=_ordered(graph) if contiguous else frozenset(),
    )
    together: nx.Graph[int] = nx.Graph()
    together.add_nodes_from(range(layers.n))
    for group in problem.rules.together:
        nx.add_path(together, group)
    colored, _ = merged(layers, nx.connected_components(together))
    instance, _ = merged(colored, rings(colored))
    _check_homes(problem, instance)
    return instance


def refuse(problem: Problem) -> None:
    """Refuse what is not one computer, and rules that its plans do not know.

    Raises:
        PlanError: with what is wrong.
    """
    roles = [device.role for device in problem.topology.devices]
    name = problem.topology.name
    if "node" in roles or roles.count("memory") != 1:
        raise PlanError(
            f"{name} mixes computers with parts of one, or has not exactly one memory; give all "
            "devices the role node, or one the role memory and the others processor or accelerator"
        )
    for field in fields(Constraints):
        given = getattr(problem.constraints, field.name)
        if field.name not in _KNOWN and given != getattr(Constraints(), field.name):
            raise PlanError(
                f"the rule {field.name} is not known for {name}, a computer with accelerators; "
                f"it takes {', '.join(sorted(_KNOWN - {'origins'}))}"
            )
    if problem.graph.inputs or problem.graph.outputs:
        raise PlanError(
            f"{problem.graph.name} has inputs and outputs of its own; on {name} every tensor "
            "must be made by a layer and read by one"
        )


def device_groups(problem: Problem) -> tuple[Group, ...]:
    """Devices that compute, those with equal figures together.

    Raises:
        PlanError: an accelerator's links are missing or unequal.
    """
    topology = problem.topology
    memory = next(device.name for device in topology.devices if device.role == "memory")
    found: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for number, device in enumerate(topology.devices):
        if device.role == "memory":
            continue
        seconds = tuple(
            costs[number] if number in allowed else inf
            for costs, allowed in zip(problem.compute, problem.allowed, strict=True)
        )
        byte_s = _byte_s(topology, device, memory)
        limit = float(problem.limits[number]) if device.role == "accelerator" else inf
        found[seconds, byte_s, limit].append(device.name)
    return tuple(
        Group(tuple(names), *figures)  # type: ignore[arg-type]
        for figures, names in found.items()
    )


def _byte_s(topology: Topology, device: Device, memory: str) -> float:
    """Time of one byte between an accelerator and the memory."""
    if device.role == "processor":
        return 0.0
    pair = [(memory, device.name), (device.name, memory)]
    links = [topology.link_between.get(ends) for ends in pair]
    speeds = {link.bandwidth_bytes_per_s for link in links if link and not link.latency_s}
    if None in links or len(speeds) != 1:
        raise PlanError(
            f"{device.name} of {topology.name} must have a link from and to {memory}, equally fast "
            "and without latency"
        )
    return 1.0 / speeds.pop()


def _nets(graph: Graph) -> Iterator[Net]:
    for name, tensor in graph.tensors.items():
        ends = {graph.index[layer.name] for layer in graph.consumers[name]}
        ends.add(graph.index[graph.producer[name].name])
        if len(ends) > 1 and tensor.bytes:
            yield Net(tensor.bytes, frozenset(ends))


def _ordered(graph: Graph) -> frozenset[int]:
    return frozenset(i for i, layer in enumerate(graph.layers) if layer.kind != BACKWARD)


def _before(graph: Graph) -> Iterator[tuple[int, int]]:
    """Pairs of forward layers of which the later reads the earlier."""
    forward = _ordered(graph)
    for i, layer in enumerate(graph.layers):
        for tensor in layer.inputs:
            made = graph.index[graph.producer[tensor].name]
            if i in forward and made in forward:
                yield made, i


def _check_homes(problem: Problem, instance: Instance) -> None:
    for block, names in enumerate(instance.layers):
        able = [group for group in instance.groups if group.seconds[block] < inf]
        if not able:
            raise InfeasibleError(
                f"{_named(names)}: the rules leave no device of {problem.topology.name} for it; "
                "drop a pin or a ban"
            )
        size = instance.sizes[block]
        if all(size > group.limit_bytes for group in able):
            raise InfeasibleError(
                f"{_named(names)}: {size / 1e6:g} MB, more than any device of "
                f"{problem.topology.name} that may run it has; give a device more memory"
            )


def _named(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"layer {names[0]}"
    more = "" if len(names) < 4 else f" and {len(names) - 3} more"
    return f"layers {', '.join(names[:3])}{more}, which must share a device"
