"""One request on one computer: processors share its memory, accelerators are called.

A layer on a processor ends at the latest end of the layers it reads, plus its own time; processors
run any number at once. An accelerator runs its layers in *calls*: a call starts when every tensor
that it takes from outside has been made, takes each in once, computes its layers one after the
other, and puts out each tensor that others read once; then all its layers have ended. An
accelerator gathers its layers, in graph order, into as few calls as it can: it starts another one
when the next layer waits for something that waits for the call.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from splitter.costs import CostTable
from splitter.graph import Graph
from splitter.topology import Topology


@dataclass(frozen=True, slots=True)
class Call:
    """Layers that start and end together; on a processor always a single one."""

    device: str
    layers: tuple[int, ...]
    """By number in graph order."""


def calls_of(graph: Graph, topology: Topology, placement: Mapping[str, str]) -> tuple[Call, ...]:
    """All calls of one request; none waits for itself through others."""
    device: list[str] = []
    layers: list[list[int]] = []
    needs: list[int] = []
    """Per call: all calls that must end before it starts, as bits."""
    held_by: dict[str, int] = {}
    open_call: dict[str, int] = {}
    for number, layer in enumerate(graph.layers):
        home = placement[layer.name]
        sources = {held_by[t] for t in layer.inputs if t in held_by}
        wanted = 0
        for source in sources:
            wanted |= needs[source] | 1 << source
        call = open_call.get(home)
        if call is None or any(needs[source] >> call & 1 for source in sources):
            call = len(layers)
            device.append(home)
            layers.append([])
            needs.append(0)
            if topology.by_name[home].role == "accelerator":
                open_call[home] = call
        layers[call].append(number)
        _wait_for(needs, call, wanted & ~(1 << call))
        held_by.update(dict.fromkeys(layer.outputs, call))
    return tuple(Call(d, tuple(held)) for d, held in zip(device, layers, strict=True))


def _wait_for(needs: list[int], call: int, wanted: int) -> None:
    """Let ``call``, and all that wait for it, wait for ``wanted`` as well."""
    if wanted & ~needs[call]:
        needs[call] |= wanted
        for other, needed in enumerate(needs):
            if needed >> call & 1:
                needs[other] |= needs[call]


def calls_latency_s(
    graph: Graph, topology: Topology, costs: CostTable, placement: Mapping[str, str]
) -> float:
    """Seconds from the start to the last end of any layer."""
    calls = calls_of(graph, topology, placement)
    call_of = {layer: c for c, call in enumerate(calls) for layer in call.layers}
    sources = [_sources(graph, call, call_of) for call in calls]
    loads_s = [_load_s(graph, topology, costs, call) for call in calls]
    ends: dict[int, float] = {}
    for call in _in_order(sources):
        start = max((ends[source] for source in sources[call]), default=0.0)
        ends[call] = start + loads_s[call]
    return max(ends.values(), default=0.0)


def _sources(graph: Graph, call: Call, call_of: Mapping[int, int]) -> frozenset[int]:
    """Calls that make what ``call`` reads."""
    made_by = (
        call_of[graph.index[graph.producer[tensor].name]]
        for layer in call.layers
        for tensor in graph.layers[layer].inputs
        if tensor in graph.producer
    )
    return frozenset(made_by) - {call_of[call.layers[0]]}


def _in_order(sources: list[frozenset[int]]) -> Iterator[int]:
    """Every call after its sources."""
    done: set[int] = set()
    for first in range(len(sources)):
        path = [first]
        while path:
            missing = sources[path[-1]] - done
            if missing:
                path.append(min(missing))
                continue
            call = path.pop()
            if call not in done:
                done.add(call)
                yield call


def _load_s(graph: Graph, topology: Topology, costs: CostTable, call: Call) -> float:
    """Seconds from start to end."""
    layers = [graph.layers[number] for number in call.layers]
    computing = sum(costs.seconds(layer.name, call.device) for layer in layers)
    if topology.by_name[call.device].role != "accelerator":
        return computing
    memory = next(d.name for d in topology.devices if d.role == "memory")
    arriving, leaving = boundary(graph, call)
    inwards = topology.link_between[memory, call.device]
    outwards = topology.link_between[call.device, memory]
    moving = sum(inwards.seconds(graph.tensors[tensor].bytes) for tensor in arriving)
    return computing + moving + sum(outwards.seconds(graph.tensors[t].bytes) for t in leaving)


def boundary(graph: Graph, call: Call) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tensors that a call takes in and puts out, each once."""
    names = {graph.layers[number].name for number in call.layers}
    layers = [graph.layers[number] for number in call.layers]
    made = [tensor for layer in layers for tensor in layer.outputs]
    read = dict.fromkeys(tensor for layer in layers for tensor in layer.inputs)
    leaving = (
        tensor
        for tensor in made
        if tensor in graph.outputs
        or any(reader.name not in names for reader in graph.consumers[tensor])
    )
    return tuple(t for t in read if t not in set(made)), tuple(leaving)
