"""The predicted cost of one placement, by simulating the execution model of `splitter.plan`."""

from collections.abc import Mapping

from splitter.calls import calls_latency_s
from splitter.costs import CostTable
from splitter.graph import Graph
from splitter.memory import NODE_OVERHEAD_BYTES, plan_memory
from splitter.plan import DeviceLoad, Estimate, LinkLoad, MediumLoad
from splitter.schedule import NodeSchedule, Transfer, node_schedules, transfers_of
from splitter.timing import Hop, Place, Run, run_request
from splitter.topology import SECONDS_PER_HOUR, Device, Link, Topology


def estimate(
    graph: Graph,
    topology: Topology,
    costs: CostTable,
    placement: Mapping[str, str],
    slots: int,
) -> Estimate:
    """What ``placement`` costs with memory reserved for ``slots`` requests in flight.

    Every device of the topology is listed; one that neither computes nor relays needs no memory.

    Raises:
        networkx.NetworkXNoPath: two devices that must talk are not connected.
    """
    transfers = transfers_of(graph, topology, placement)
    schedules = {s.device: s for s in node_schedules(graph, topology, placement)}
    devices = tuple(
        _device_load(graph, costs, schedules.get(device.name), device, transfers, slots)
        for device in topology.devices
    )
    links = _link_loads(topology, transfers)
    media = _medium_loads(topology, links)
    return Estimate(
        latency_s=latency_s(graph, topology, costs, placement),
        period_s=max(
            [
                *(d.compute_s + moving_s(topology, links, d.device) for d in devices),
                *(link.seconds for link in links),
                *(medium.seconds for medium in media),
            ]
        ),
        energy_j=sum(d.energy_j for d in devices) + sum(link.energy_j for link in links),
        sent_bytes=sum(t.bytes for t in transfers),
        devices=devices,
        links=links,
        media=media,
        dollars=_dollars(topology, devices, links),
    )


def moving_s(topology: Topology, links: tuple[LinkLoad, ...], device: str) -> float:
    """Seconds for which moving tensors keeps ``device`` from computing: only accelerators'."""
    if topology.by_name[device].role != "accelerator":
        return 0.0
    return sum(link.seconds for link in links if device in (link.source, link.target))


def latency_s(
    graph: Graph, topology: Topology, costs: CostTable, placement: Mapping[str, str]
) -> float:
    """Seconds from the inputs at the source to the last output at the sink.

    On one computer with accelerators, which has neither, to the last end of any layer.

    Raises:
        networkx.NetworkXNoPath: two devices that must talk are not connected.
    """
    if topology.is_one_computer:
        return calls_latency_s(graph, topology, costs, placement)
    there_s = request_run(graph, topology, costs, placement).there_s
    tensor = {name: i for i, name in enumerate(graph.tensors)}
    device = {one.name: i for i, one in enumerate(topology.devices)}
    wanted = [(tensor[name], device[topology.sink_of(name)]) for name in graph.outputs]
    return max((there_s[place] for place in wanted), default=0.0)


def request_run(
    graph: Graph, topology: Topology, costs: CostTable, placement: Mapping[str, str]
) -> Run:
    """When everything happens; layers, tensors and devices by number, in their owners' order.

    Raises:
        networkx.NetworkXNoPath: two devices that must talk are not connected.
    """
    tensor = {name: i for i, name in enumerate(graph.tensors)}
    device = {one.name: i for i, one in enumerate(topology.devices)}
    medium = {name: i for i, name in enumerate(dict.fromkeys(k.medium for k in topology.links))}
    hops: dict[Place, list[Hop]] = {}
    for t in transfers_of(graph, topology, placement):
        link = topology.link_between[t.source, t.target]
        hop = Hop(device[t.target], medium[link.medium], link.busy_s(t.bytes), link.latency_s)
        hops.setdefault((tensor[t.tensor], device[t.source]), []).append(hop)
    return run_request(
        [device[placement[layer.name]] for layer in graph.layers],
        [costs.seconds(layer.name, placement[layer.name]) for layer in graph.layers],
        [[tensor[name] for name in layer.inputs] for layer in graph.layers],
        [[tensor[name] for name in layer.outputs] for layer in graph.layers],
        [(tensor[name], device[topology.source_of(name)]) for name in graph.inputs],
        hops,
    )


def _device_load(
    graph: Graph,
    costs: CostTable,
    schedule: NodeSchedule | None,
    device: Device,
    transfers: tuple[Transfer, ...],
    slots: int,
) -> DeviceLoad:
    if schedule is None:
        return DeviceLoad(device.name, (), 0.0, 0, 0, 0, device.memory_bytes, 0, 0, 0.0)
    compute_s = sum(costs.seconds(layer, device.name) for layer in schedule.layers)
    weight_bytes = sum(graph.weight_bytes[w] for w in graph.weights_of(schedule.layers))
    activation_bytes, node_bytes = 0, 0
    if device.role == "node":
        activation_bytes = plan_memory(graph, schedule).activation_bytes(slots)
        node_bytes = NODE_OVERHEAD_BYTES
    return DeviceLoad(
        device=device.name,
        layers=schedule.layers,
        compute_s=compute_s,
        weight_bytes=weight_bytes,
        activation_bytes=activation_bytes,
        memory_bytes=weight_bytes + activation_bytes + node_bytes,
        memory_limit_bytes=device.memory_bytes,
        received_bytes=sum(t.bytes for t in transfers if t.target == device.name),
        sent_bytes=sum(t.bytes for t in transfers if t.source == device.name),
        energy_j=compute_s * device.card.active_w,
    )


def _link_loads(topology: Topology, transfers: tuple[Transfer, ...]) -> tuple[LinkLoad, ...]:
    """Loads of the links that carry something, in the topology's order."""
    sizes: dict[tuple[str, str], list[int]] = {}
    for transfer in transfers:
        sizes.setdefault((transfer.source, transfer.target), []).append(transfer.bytes)
    return tuple(
        _link_load(link, sizes[link.source, link.target])
        for link in topology.links
        if (link.source, link.target) in sizes
    )


def _dollars(
    topology: Topology, devices: tuple[DeviceLoad, ...], links: tuple[LinkLoad, ...]
) -> float:
    computing = sum(d.compute_s * topology.by_name[d.device].dollars_per_hour for d in devices)
    moving = sum(
        k.bytes * topology.link_between[k.source, k.target].dollars_per_byte for k in links
    )
    return computing / SECONDS_PER_HOUR + moving


def _link_load(link: Link, sizes: list[int]) -> LinkLoad:
    seconds = sum(link.seconds(size) for size in sizes)
    joules = sum(sizes) * link.energy_j_per_byte
    return LinkLoad(link.source, link.target, sum(sizes), seconds, joules)


def _medium_loads(topology: Topology, links: tuple[LinkLoad, ...]) -> tuple[MediumLoad, ...]:
    """What the links of each shared medium carry together."""
    loads: dict[str, list[LinkLoad]] = {}
    for load in links:
        shared = topology.link_between[load.source, load.target].shared
        if shared:
            loads.setdefault(shared, []).append(load)
    return tuple(
        MediumLoad(name, sum(x.bytes for x in loads[name]), sum(x.seconds for x in loads[name]))
        for name in sorted(loads)
    )
