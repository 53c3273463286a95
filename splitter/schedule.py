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
"""Name of the peer that feeds the source devices and collects from the sink devices."""


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
        home = home_of(graph, topology, placement, name)
        for target in destinations(graph, topology, placement, name):
            for link in topology.route(home, target, tensor.bytes):
                hop = Transfer(name, link.source, link.target, tensor.bytes)
                found.setdefault((name, link.source, link.target), hop)
    return tuple(found.values())


def home_of(graph: Graph, topology: Topology, placement: Mapping[str, str], tensor: str) -> str:
    """The device on which ``tensor`` comes into being."""
    producer = graph.producer.get(tensor)
    return topology.source_of(tensor) if producer is None else placement[producer.name]


def host_ports(graph: Graph, topology: Topology) -> dict[str, int]:
    """Devices that deliver outputs to the host, each with its distance from the host's first port.

    Every sink has a port of its own, so that the host knows whom to expect there.
    """
    wanted = dict.fromkeys(topology.sink_of(name) for name in graph.outputs)
    sinks = [device.name for device in topology.devices if device.name in wanted]
    return {sink: after for after, sink in enumerate(sinks)}


def destinations(
    graph: Graph, topology: Topology, placement: Mapping[str, str], tensor: str
) -> tuple[str, ...]:
    """Devices other than its home that need ``tensor``, in order of first use."""
    home = home_of(graph, topology, placement, tensor)
    wanted = [placement[layer.name] for layer in graph.consumers[tensor]]
    if tensor in graph.outputs:
        wanted.append(topology.sink_of(tensor))
    return tuple(dict.fromkeys(device for device in wanted if device != home))


def node_schedules(
    graph: Graph, topology: Topology, placement: Mapping[str, str]
) -> tuple[NodeSchedule, ...]:
    """The schedule of every device that computes or relays, in the topology's device order."""
    receives, sends = _peers(graph, topology, transfers_of(graph, topology, placement))
    layers: dict[str, list[str]] = {name: [] for name in topology.by_name}
    for layer in graph.layers:
        layers[placement[layer.name]].append(layer.name)
    position = {name: i for i, name in enumerate(graph.tensors)}
    schedules = (
        _node_schedule(graph, name, layers[name], receives[name], sends[name], position)
        for name in topology.by_name
    )
    return tuple(s for s in schedules if s.stages or s.receives or s.sends)


_Peers = dict[str, list[tuple[str, str]]]


def _peers(
    graph: Graph, topology: Topology, transfers: tuple[Transfer, ...]
) -> tuple[_Peers, _Peers]:
    """(tensor, peer) pairs that each device receives and sends."""
    receives: _Peers = {name: [] for name in topology.by_name}
    sends: _Peers = {name: [] for name in topology.by_name}
    for name in graph.inputs:
        receives[topology.source_of(name)].append((name, HOST))
    for transfer in transfers:
        receives[transfer.target].append((transfer.tensor, transfer.source))
        sends[transfer.source].append((transfer.tensor, transfer.target))
    for name in dict.fromkeys(graph.outputs):
        sends[topology.sink_of(name)].append((name, HOST))
    return receives, sends


def _node_schedule(
    graph: Graph,
    device: str,
    layers: list[str],
    receives: list[tuple[str, str]],
    sends: list[tuple[str, str]],
    position: Mapping[str, int],
) -> NodeSchedule:
    stages = _stages(graph, layers, {tensor for tensor, _ in receives})
    boundary = {tensor for tensor, _ in (*receives, *sends)} | _between_stages(graph, stages)
    return NodeSchedule(
        device=device,
        stages=stages,
        receives=tuple(receives),
        sends=tuple(sends),
        slot_tensors=tuple(sorted(boundary, key=position.__getitem__)),
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
