"""What each node does, in order: the one place that says how a placement is executed.

The planner predicts it, `verify` checks it, the compiler emits it and the host labels traces with
it.

A device runs its layers in graph order. It starts a new *stage* whenever the next layer needs a
tensor that has to arrive from outside and is not here yet; a stage never waits once it has
started. Every tensor is sent to each device that needs it once, along the fastest route, hop by
hop; a device on the way relays it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from splitter.graph import Graph
from splitter.topology import Topology

HOST = "host"
"""Name of the peer that feeds the source device and collects from the sink device."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One tensor crossing one link."""

    tensor: str
    source: str
    target: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of layers on one device that runs to its end once its needs have arrived."""

    needs: tuple[str, ...]
    """Tensors that must have been received before the stage starts."""
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeSchedule:
    """Everything one node does for one request."""

    device: str
    stages: tuple[Stage, ...]
    receives: tuple[tuple[str, str], ...]
    """(tensor, peer), in graph order of the tensors."""
    sends: tuple[tuple[str, str], ...]
    """(tensor, peer): sent as soon as the tensor exists here."""
    slot_tensors: tuple[str, ...]
    """Tensors that live as long as the request: received, sent, or passed between stages."""

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers of the node in execution order."""
        return tuple(layer for stage in self.stages for layer in stage.layers)


def transfers_of(
    graph: Graph, topology: Topology, placement: Mapping[str, str]
) -> tuple[Transfer, ...]:
    """Every tensor hop that ``placement`` causes: tensors in graph order, hops in route order.

    A hop shared by the routes to several devices appears once.

    Raises:
        networkx.NetworkXNoPath: two devices that must talk are not connected.
    """
    found: dict[tuple[str, str, str], Transfer] = {}
    for name, tensor in graph.tensors.items():
        producer = graph.producer.get(name)
        home = topology.source if producer is None else placement[producer.name]
        for target in destinations(graph, topology, placement, name):
            for link in topology.route(home, target, tensor.bytes):
                hop = Transfer(name, link.source, link.target, tensor.bytes)
                found.setdefault((name, link.source, link.target), hop)
    return tuple(found.values())


def destinations(
    graph: Graph, topology: Topology, placement: Mapping[str, str], tensor: str
) -> tuple[str, ...]:
    """Devices other than its home that need ``tensor``, in order of first use."""
    producer = graph.producer.get(tensor)
    home = topology.source if producer is None else placement[producer.name]
    wanted = [placement[layer.name] for layer in graph.consumers[tensor]]
    if tensor in graph.outputs:
        wanted.append(topology.sink)
    return tuple(dict.fromkeys(device for device in wanted if device != home))


def node_schedules(
    graph: Graph, topology: Topology, placement: Mapping[str, str]
) -> tuple[NodeSchedule, ...]:
    """The schedule of every device that computes or relays, in the topology's device order."""
    transfers = transfers_of(graph, topology, placement)
    schedules = (
        _node_schedule(graph, topology, placement, transfers, device.name)
        for device in topology.devices
    )
    return tuple(s for s in schedules if s.stages or s.receives or s.sends)


def _node_schedule(
    graph: Graph,
    topology: Topology,
    placement: Mapping[str, str],
    transfers: tuple[Transfer, ...],
    device: str,
) -> NodeSchedule:
    receives = [(t.tensor, t.source) for t in transfers if t.target == device]
    sends = [(t.tensor, t.target) for t in transfers if t.source == device]
    if device == topology.source:
        receives = [(name, HOST) for name in graph.inputs] + receives
    if device == topology.sink:
        sends += [(name, HOST) for name in dict.fromkeys(graph.outputs)]
    layers = [layer.name for layer in graph.layers if placement[layer.name] == device]
    stages = _stages(graph, layers, {tensor for tensor, _ in receives})
    boundary = {tensor for tensor, _ in (*receives, *sends)} | _between_stages(graph, stages)
    return NodeSchedule(
        device=device,
        stages=stages,
        receives=tuple(receives),
        sends=tuple(sends),
        slot_tensors=tuple(name for name in graph.tensors if name in boundary),
    )


def _stages(graph: Graph, layers: list[str], received: set[str]) -> tuple[Stage, ...]:
    stages: list[tuple[list[str], list[str]]] = []
    arrived: set[str] = set()
    for name in layers:
        fresh = [t for t in graph.by_name[name].inputs if t in received and t not in arrived]
        if fresh or not stages:
            stages.append((fresh, []))
            arrived.update(fresh)
        stages[-1][1].append(name)
    return tuple(Stage(tuple(needs), tuple(run)) for needs, run in stages)


def _between_stages(graph: Graph, stages: tuple[Stage, ...]) -> set[str]:
    stage_of = {layer: i for i, stage in enumerate(stages) for layer in stage.layers}
    return {
        tensor
        for layer, stage in stage_of.items()
        for tensor in graph.by_name[layer].outputs
        if any(stage_of.get(reader.name, stage) != stage for reader in graph.consumers[tensor])
    }
